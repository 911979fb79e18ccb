"""All of Prosody's data with the storage driver: kept across restarts, or removed."""
import http.client
import os
import re
import subprocess
import urllib.parse

import bed
import xmpp
from mam import Entry, fill, run_task
from steps import pending_offline, say
from suite import behaviour

ROOMS, PUBSUB, UPLOAD = "rooms.prosody.test", "pubsub.prosody.test", "upload.prosody.test"
MUC = "http://jabber.org/protocol/muc"
PS = "http://jabber.org/protocol/pubsub"
BLOCKING = "urn:xmpp:blocking"
SLOT = "urn:xmpp:http:upload:0"
DAY = 86400


def over(modules=(), options=None, **settings):
	"""Settings of a server that stores everything with the driver."""
	return {"modules": list(modules), "options": {"storage": "native", **(options or {})}, **settings}


def restart(server):
	server.finish()
	server.start()


def result(answer):
	assert answer["type"] == "result", answer
	return answer


def stores(server, user, host=None):
	"""Names of the stores with data of a user; True: of any user."""
	user = "true" if user is True else bed.lua(user)
	return set(server.lua(f"""
		local names = {{}};
		for name in assert(require "core.storagemanager".get_driver({bed.lua(host or server.host)}):stores({user})) do
			table.insert(names, name);
		end
		return table.concat(names, "\\n")""").splitlines())


def prosodyctl(server, *words, stdin=""):
	"""prosodyctl WORDS..., beside the server or without it; returns what it printed."""
	launcher = bed.PROSODIES / f"prosody-{server.version}/prosodyctl"
	done = subprocess.run([launcher, "--config", server.config, *words], timeout=30, input=stdin,
		stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
	assert done.returncode == 0, (words, done.stdout)
	return done.stdout


def login(server, user, password=bed.PASSWORD):
	client = server.connect(user)
	client.password = password
	client.open()
	client.authenticate()
	return client.bind()


def refused(server, user, password=bed.PASSWORD):
	"""Whether a login with this password is refused for wrong credentials."""
	client = server.connect(user)
	client.open()
	secret = xmpp.base64.b64encode(f"\0{user}\0{password}".encode()).decode()
	client.send(f"<auth xmlns='{xmpp.SASL}' mechanism='PLAIN'>{secret}</auth>")
	return client.next().child("not-authorized") is not None


# --- accounts ---

HASHED = over(["register", "user_account_management"], {"authentication": "internal_hashed"})


@behaviour("storage: an account is created, changes its password, and logs in after a restart", **HASHED)
def an_account_logs_in_after_a_restart(server):
	prosodyctl(server, "register", "alice", server.host, "first")
	alice = login(server, "alice", "first")
	change = "<query xmlns='jabber:iq:register'><username>alice</username><password>second</password></query>"
	result(alice.ask(change, "set"))
	for _ in range(2):
		assert refused(server, "alice", "first")
		login(server, "alice", "second").ping()
		restart(server)


@behaviour("storage: prosodyctl creates, changes and deletes accounts beside the running server", **HASHED)
def prosodyctl_manages_accounts_while_running(server):
	jid = f"alice@{server.host}"
	for password in ("one", "two"):
		prosodyctl(server, "adduser", jid, stdin=f"{password}\n{password}\n")
		login(server, "alice", password).ping()
		prosodyctl(server, "passwd", jid, stdin="changed\nchanged\n")
		assert refused(server, "alice", password)
		login(server, "alice", "changed").ping()
		server.close_clients()
		prosodyctl(server, "deluser", jid)
		assert refused(server, "alice", "changed")
		assert not stores(server, "alice")


@behaviour("storage: accounts that another process creates while the server writes are there, as are the server's writes",
	**HASHED)
def another_process_may_write_accounts(server):
	alice, bob = server.login("alice"), server.login("bob")
	alice.cut()
	server.wait_gone(alice)
	launcher = bed.PROSODIES / f"prosody-{server.version}/prosodyctl"
	others = [subprocess.Popen([launcher, "--config", server.config, "register", f"other{n}", server.host, "secret"],
		stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, preexec_fn=bed.end_with_parent) for n in range(3)]
	sent = []
	while any(process.poll() is None for process in others):
		say(bob, alice.bare_jid, str(len(sent)))
		sent.append(str(len(sent)))
	assert [process.returncode for process in others] == [0, 0, 0]
	assert pending_offline(server, alice.user) == sent
	for n in range(3):
		login(server, f"other{n}").ping()


@behaviour("storage: accounts that prosodyctl creates without the server are there when it starts", **HASHED)
def accounts_made_offline_are_there(server):
	server.finish()
	prosodyctl(server, "register", "alice", server.host, "secret")
	server.start()
	login(server, "alice").ping()


# --- rosters ---

def roster(client):
	items = result(client.ask("<query xmlns='jabber:iq:roster'/>")).child("query").children
	return {i["jid"]: (i["name"], i["subscription"], i["ask"], {g.text for g in i.children}) for i in items}


def set_contact(client, jid, name, *groups):
	groups = "".join(f"<group>{xmpp.escape(g)}</group>" for g in groups)
	item = f"<item jid='{jid}' name={xmpp.quoteattr(name)}>{groups}</item>"
	result(client.ask(f"<query xmlns='jabber:iq:roster'>{item}</query>", "set"))


@behaviour("storage: a roster with groups is kept, changed and emptied across restarts", **over())
def a_roster_survives_restarts(server):
	alice = server.login("alice")
	expected = {}
	for n in range(50):
		jid, name, groups = f"contact{n}@other.example", f"\u00e4 <{n}> \U0001f600", {f"g{g}" for g in range(n % 3)}
		set_contact(alice, jid, name, *groups)
		expected[jid] = (name, "none", None, groups)
	restart(server)
	alice = login(server, alice.user)
	assert roster(alice) == expected
	for jid in list(expected)[::2]:
		result(alice.ask(f"<query xmlns='jabber:iq:roster'><item jid='{jid}' subscription='remove'/></query>", "set"))
		del expected[jid]
	restart(server)
	assert roster(login(server, alice.user)) == expected


@behaviour("storage: a subscription request survives a restart, and the roster shows its state", **over())
def a_subscription_request_survives_a_restart(server):
	alice, bob = server.login("alice").available(), server.login("bob")
	alice.send(f"<presence type='subscribe' to='{bob.bare_jid}'/>")
	alice.ping()
	restart(server)
	alice, bob = login(server, alice.user), login(server, bob.user)
	assert roster(alice)[bob.bare_jid][1:3] == ("none", "subscribe"), roster(alice)
	bob.send("<presence/>")
	request = bob.until("presence")
	while request["type"] != "subscribe":
		request = bob.until("presence")
	assert request["from"] == alice.bare_jid, request
	bob.send(f"<presence type='subscribed' to='{alice.bare_jid}'/>")
	bob.ping()
	restart(server)
	assert roster(login(server, alice.user))[bob.bare_jid][1:3] == ("to", None)
	assert roster(login(server, bob.user))[alice.bare_jid][1:3] == ("from", None)


# --- data of an account ---

def private(client, *value, name="note"):
	"""Private XML (XEP-0049), read or set."""
	payload = f"<query xmlns='jabber:iq:private'><{name} xmlns='urn:test:note'>{''.join(value)}</{name}></query>"
	if value:
		return client.ask(payload, "set")
	return result(client.ask(payload)).find("query", name).text


def vcard(client, *name):
	if name:
		return client.ask(f"<vCard xmlns='vcard-temp'><FN>{name[0]}</FN></vCard>", "set")
	return client.ask("<vCard xmlns='vcard-temp'/>").find("vCard", "FN").text


def blocked(client):
	return {item["jid"] for item in result(client.ask(f"<blocklist xmlns='{BLOCKING}'/>")).child("blocklist").children}


def block(client, jid):
	return client.ask(f"<block xmlns='{BLOCKING}'><item jid='{jid}'/></block>", "set")


@behaviour("storage: private XML, vCard and block list are kept across restarts",
	**over(["private", "vcard", "blocklist"]))
def user_data_survive_restarts(server):
	alice, bob = server.login("alice"), server.login("bob")
	for text in ("first", "x" * 100000):
		result(private(alice, text))
		result(vcard(alice, text))
		result(block(alice, f"{text[:5]}@other.example"))
		restart(server)
		alice, bob = login(server, alice.user), login(server, bob.user)
		assert private(alice) == text and vcard(alice) == text and private(bob) == ""
	assert blocked(alice) == {"first@other.example", "xxxxx@other.example"} and not blocked(bob)


@behaviour("storage: offline messages survive a restart, and come once, in order",
	**over(["offline"]))
def offline_messages_survive_a_restart(server):
	alice, bob = server.login("alice"), server.login("bob")
	alice.cut()
	server.wait_gone(alice)
	sent = [str(n) for n in range(100)]
	say(bob, alice.bare_jid, *sent[:60])
	restart(server)
	say(login(server, bob.user), alice.bare_jid, *sent[60:])
	alice = login(server, alice.user).available()
	assert alice.bodies(100) == sent
	assert pending_offline(server, alice.user) == []
	restart(server)
	alice = login(server, alice.user).available()
	alice.ping()
	assert not [e for e in alice.unread if e.name == "message"], alice.unread


# --- PubSub ---

def pubsub(payload, owner=""):
	return f"<pubsub xmlns='{PS}{owner}'>{payload}</pubsub>"


def config(kind, fields):
	fields = "".join(f"<field var='pubsub#{name}'><value>{value}</value></field>" for name, value in fields.items())
	return (f"<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'>"
		f"<value>{PS}#{kind}</value></field>{fields}</x>")


def publication(node, item, text, **options):
	options = f"<publish-options>{config('publish-options', options)}</publish-options>" if options else ""
	entry = f"<item id='{item}'><entry xmlns='urn:test:entry'>{text}</entry></item>"
	return pubsub(f"<publish node={xmpp.quoteattr(node)}>{entry}</publish>{options}")


def items(client, node, to=None):
	"""[(id, text)] of a node, newest first."""
	answer = result(client.ask(pubsub(f"<items node={xmpp.quoteattr(node)}/>"), to=to))
	return [(item["id"], item.find("entry").text) for item in answer.find("pubsub", "items").children]


def all_at_once(client, payloads, kind="get"):
	"""Asks everything before reading the first answer; returns the answers in order."""
	idents = [f"q{n}" for n in range(len(payloads))]
	client.send(*[f"<iq type='{kind}' id='{ident}'>{payload}</iq>" for ident, payload in zip(idents, payloads)])
	answers = {}
	while len(answers) < len(payloads):
		answer = client.until("iq")
		answers[answer["id"]] = result(answer)
	return [answers[ident] for ident in idents]


@behaviour("storage: a thousand PEP nodes are kept across a restart", **over(["pep"]))
def pep_nodes_survive_a_restart(server):
	alice = server.login("alice")
	nodes = [f"urn:test:{n} \u00e4/%<&>" for n in range(1000)]
	all_at_once(alice, [publication(node, "current", f"of {node[9:12]}", persist_items="true") for node in nodes], "set")
	restart(server)
	alice = login(server, alice.user)
	answers = all_at_once(alice, [pubsub(f"<items node={xmpp.quoteattr(node)}/>") for node in nodes])
	told = [answer.find("pubsub", "items", "item", "entry").text for answer in answers]
	assert told == [f"of {node[9:12]}" for node in nodes]


@behaviour("storage: a PEP node keeps its newest items, and drops retracted and replaced ones", **over(["pep"]))
def a_pep_node_keeps_its_newest_items(server):
	alice, node = server.login("alice"), "urn:test:feed"
	for n in range(20):
		result(alice.ask(publication(node, f"i{n}", n, persist_items="true", max_items="5", access_model="open"), "set"))
	assert dict(items(alice, node)) == {f"i{n}": str(n) for n in range(15, 20)}
	result(alice.ask(pubsub(f"<retract node='{node}'><item id='i17'/></retract>"), "set"))
	result(alice.ask(publication(node, "i15", "again"), "set"))
	expected = {"i15": "again", "i16": "16", "i18": "18", "i19": "19"}
	assert dict(items(alice, node)) == expected
	restart(server)
	alice, bob = login(server, alice.user), server.login("bob")
	assert dict(items(bob, node, to=alice.bare_jid)) == expected
	result(alice.ask(pubsub(f"<delete node='{node}'/>", "#owner"), "set"))
	restart(server)
	alice = login(server, alice.user)
	assert alice.ask(pubsub(f"<items node='{node}'/>"))["type"] == "error"
	assert f"pep_{node}" not in stores(server, alice.user)


@behaviour("storage: bookmarks set as private XML are a PEP node too, after a restart as before",
	**over(["pep", "bookmarks"]))
def private_bookmarks_become_a_pep_node(server):
	alice = server.login("alice")
	conference = "<conference jid='room@rooms.example' name='Room' autojoin='true'><nick>al</nick></conference>"
	result(alice.ask("<query xmlns='jabber:iq:private'><storage xmlns='storage:bookmarks'>"
		f"{conference}</storage></query>", "set"))
	for _ in range(2):
		answer = result(alice.ask(pubsub("<items node='urn:xmpp:bookmarks:1'/>")))
		item = answer.find("pubsub", "items", "item")
		assert item["id"] == "room@rooms.example" and item.find("conference", "nick").text == "al", answer
		restart(server)
		alice = login(server, alice.user)


@behaviour("storage: nodes, items and subscriptions of a PubSub service are kept across restarts",
	**over(options={"admins": ["alice1@prosody.test"]},
		components={PUBSUB: {"component_module": "pubsub", "autocreate_on_publish": True}}))
def pubsub_survives_restarts(server):
	alice, bob = server.login("alice"), server.login("bob")
	for node in ("first", "second"):
		for n in range(30):
			result(alice.ask(publication(node, f"i{n}", f"{node} {n}"), "set", to=PUBSUB))
	result(bob.ask(pubsub(f"<subscribe node='first' jid='{bob.bare_jid}'/>"), "set", to=PUBSUB))
	before = {node: items(alice, node, to=PUBSUB) for node in ("first", "second")}
	assert ("i29", "first 29") in before["first"] and before["first"] != before["second"]
	for n in range(2):
		restart(server)
		alice, bob = login(server, alice.user), login(server, bob.user).available()
		assert {node: items(alice, node, to=PUBSUB) for node in before} == before
		result(alice.ask(publication("first", "i29", f"first {n}"), "set", to=PUBSUB))
		event = bob.until("message")
		assert event.find("event", "items", "item")["id"] == "i29", event
		before["first"] = items(alice, "first", to=PUBSUB)


# --- uploads ---

def http_request(server, method, url, body=None, **headers):
	parts = urllib.parse.urlsplit(url)
	connection = http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=xmpp.READ_TIMEOUT)
	try:
		connection.request(method, parts.path, body, {"Host": parts.netloc, **headers})
		answer = connection.getresponse()
		return answer.status, answer.read()
	finally:
		connection.close()


def upload(server, client, name, data):
	"""Asks for a slot and fills it; returns the URL to get it from."""
	slot = result(client.ask(f"<request xmlns='{SLOT}' filename='{name}' size='{len(data)}'/>", to=UPLOAD)).child("slot")
	token = slot.find("put", "header").text
	status, _ = http_request(server, "PUT", slot.child("put")["url"], data, Authorization=token)
	assert status == 201, status
	return slot.child("get")["url"]


@behaviour("storage: uploads are kept across a restart, and expire",
	**over(components={UPLOAD: {"component_module": "http_file_share", "http_file_share_expires_after": 7 * DAY,
		"modules_enabled": ["cron"]}}))
def uploads_survive_and_expire(server):
	alice, data = server.login("alice"), os.urandom(10000)
	urls = [upload(server, alice, f"{n}.bin", data) for n in range(3)]
	restart(server)
	assert [http_request(server, "GET", url) for url in urls] == [(200, data)] * 3
	run_task(server, "Remove expired files", UPLOAD, ahead=6 * DAY)
	assert [http_request(server, "GET", url)[0] for url in urls] == [200] * 3
	run_task(server, "Remove expired files", UPLOAD, ahead=8 * DAY)
	server.expect_log("expired files successfully pruned")
	assert [http_request(server, "GET", url)[0] for url in urls] == [404] * 3
	assert not stores(server, None, UPLOAD) & {"uploads"}, stores(server, None, UPLOAD)


# --- invitations and tokens ---

def call(server, module, code):
	"""Runs code in which `m` is a module of the server's host."""
	return server.lua(f"local m = require 'core.modulemanager'.get_module({bed.lua(server.host)}, '{module}'); {code}")


@behaviour("storage: an invitation is kept across a restart, and is used once", **over(["invites"]))
def an_invitation_is_used_once(server):
	token = call(server, "invites", "return m.create_account('alice', { note = 1.5 }).token")
	restart(server)
	get = f"local invite, err = m.get({bed.lua(token)}); "
	assert call(server, "invites", get + "return invite.type .. ' ' .. invite.additional_data.note") == "register 1.5"
	assert call(server, "invites", get + "return tostring(invite:use())") == "true"
	restart(server)
	assert call(server, "invites", get + "return tostring(err)") == "token-invalid"


@behaviour("storage: tokens are kept across a restart, and can be revoked", **over(["tokenauth"]))
def tokens_survive_and_are_revoked(server):
	jid = bed.lua(f"{server.account('alice')}@{server.host}")
	if server.version == "0.12":
		create = f"return (m.create_jid_token({jid}, {jid}, 'prosody:user', 600))"
	else:
		create = f"return (m.create_token({jid}, assert(m.create_grant({jid}, {jid}, 600)), nil, 600))"
	token = call(server, "tokenauth", create)
	info = f"local info, err = m.get_token_info({bed.lua(token)}); return tostring(info and info.jid or err)"
	restart(server)
	assert call(server, "tokenauth", info) == jid.strip('"')
	call(server, "tokenauth", f"assert(m.revoke_token({bed.lua(token)}))")
	restart(server)
	assert call(server, "tokenauth", info) == "not-authorized"


# --- rooms ---

def room_config(client, room):
	answer = result(client.ask(f"<query xmlns='{MUC}#owner'/>", to=room))
	fields = answer.find("query", "x").all("field")
	return {field["var"]: field.child("value").text for field in fields if field.child("value")}


def configure(client, room, **fields):
	fields = "".join(f"<field var='muc#roomconfig_{name}'><value>{xmpp.escape(str(value))}</value></field>"
		for name, value in fields.items())
	form = (f"<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'>"
		f"<value>{MUC}#roomconfig</value></field>{fields}</x>")
	result(client.ask(f"<query xmlns='{MUC}#owner'>{form}</query>", "set", to=room))


def affiliations(client, room, kind):
	answer = result(client.ask(f"<query xmlns='{MUC}#admin'><item affiliation='{kind}'/></query>", to=room))
	return {item["jid"] for item in answer.find("query").children}


@behaviour("storage: a persistent room keeps configuration, subject and affiliations; one that is not is gone",
	**over(components={ROOMS: "muc"}))
def a_persistent_room_survives(server):
	alice, room, other = server.login("alice"), f"room@{ROOMS}", f"other@{ROOMS}"
	for name in (room, other):
		alice.send(f"<presence to='{name}/al'><x xmlns='{MUC}'/></presence>")
		alice.until("presence")
	configure(alice, room, persistentroom=1, roomname="R\u00f6om <&>", roomdesc="About", membersonly=1)
	configure(alice, other, persistentroom=0)
	for kind, jid in (("member", "m@other.example"), ("outcast", "o@other.example"), ("admin", "a@other.example")):
		payload = f"<query xmlns='{MUC}#admin'><item affiliation='{kind}' jid='{jid}'/></query>"
		result(alice.ask(payload, "set", to=room))
	alice.send(f"<message type='groupchat' to='{room}'><subject>Subject</subject></message>")
	alice.ping()
	restart(server)
	alice = login(server, alice.user)
	kept = room_config(alice, room)
	assert kept["muc#roomconfig_roomname"] == "R\u00f6om <&>" and kept["muc#roomconfig_roomdesc"] == "About", kept
	assert kept["muc#roomconfig_membersonly"] == "1", kept
	told = [affiliations(alice, room, kind) for kind in ("owner", "member", "outcast", "admin")]
	assert told == [{alice.bare_jid}, {"m@other.example"}, {"o@other.example"}, {"a@other.example"}], told
	alice.unread.clear()
	alice.send(f"<presence to='{room}/al'><x xmlns='{MUC}'/></presence>")
	message = alice.until("message")
	assert message.child("subject").text == "Subject", message
	disco = result(alice.ask("<query xmlns='http://jabber.org/protocol/disco#items'/>", to=ROOMS))
	assert [item["jid"] for item in disco.child("query").children if item["jid"] == other] == []


# --- the end of an account ---

FULL = ["mam", "private", "vcard", "blocklist", "pep", "offline", "register", "user_account_management", "tokenauth",
	"invites"]


def furnish(server, client):
	"""Writes to every store that an account can have; returns their names."""
	set_contact(client, "contact@other.example", "contact", "group")
	result(private(client, "note"))
	result(vcard(client, "Name"))
	result(block(client, "o@other.example"))
	for node in ("urn:test:a", "urn:test:b"):
		result(client.ask(publication(node, "i", "text", persist_items="true"), "set"))
	result(client.ask("<prefs xmlns='urn:xmpp:mam:2' default='always'><always/><never/></prefs>", "set"))
	fill(server, client.user, [Entry("hello", 1600000000 + n, "contact@other.example") for n in range(100)])
	fill(server, client.user, [Entry("waits", 1600000000, "")], "offline")
	call(server, "invites", f"assert(m.create_contact({bed.lua(client.user)}))")
	return {"accounts", "roster", "private", "vcard", "blocklist", "pep", "pep_urn:test:a", "pep_urn:test:b",
		"archive", "archive_prefs", "offline", "invite_token"}


@behaviour("storage: deleting a user deletes all data of this user, and no other data", **over(FULL))
def a_deleted_user_leaves_nothing(server):
	alice, bob = server.login("alice"), server.login("bob")
	for client in (alice, bob):
		expected = furnish(server, client)
	assert stores(server, alice.user) >= expected, stores(server, alice.user)
	kept = stores(server, bob.user)
	result(alice.ask("<query xmlns='jabber:iq:register'><remove/></query>", "set"))
	alice.transport.wait_for_end()
	assert stores(server, alice.user) == set() and stores(server, bob.user) == kept
	restart(server)
	assert stores(server, alice.user) == set() and stores(server, bob.user) == kept
	assert refused(server, alice.user)
	assert private(login(server, bob.user)) == "note"


@behaviour("storage: a new user with the name of a deleted one does not get any of its data", **over(FULL))
def a_reused_name_starts_empty(server):
	alice = server.login("alice")
	furnish(server, alice)
	alice.cut()
	server.wait_gone(alice)
	prosodyctl(server, "deluser", alice.bare_jid)
	prosodyctl(server, "register", alice.user, server.host, bed.PASSWORD)
	assert stores(server, alice.user) == {"accounts"}
	restart(server)  # Prosody caches rosters and block lists by name
	alice = login(server, alice.user).available()
	assert private(alice) == "" and roster(alice) == {} and not blocked(alice)
	assert alice.ask(pubsub("<items node='urn:test:a'/>"))["type"] == "error"
	alice.ping()
	assert not [e for e in alice.unread if e.name == "message"], alice.unread


# --- anonymous users ---

def anonymous(server):
	client = server.connect("")
	client.open()
	client.send(f"<auth xmlns='{xmpp.SASL}' mechanism='ANONYMOUS'/>")
	answer = client.next()
	assert answer.name == "success", answer
	client.transport.restart(server.host)
	client.features = client.next()
	client.bind()
	client.user = re.match("[^@]*", client.jid)[0]
	client.bare_jid = f"{client.user}@{server.host}"
	return client


@behaviour("storage: anonymous users cannot store data, and get an error",
	**over(["private", "vcard"], {"authentication": "anonymous"}))
def anonymous_users_store_nothing(server):
	guest = anonymous(server)
	assert private(guest, "note")["type"] == "error" and private(guest) == ""
	assert vcard(guest, "Name")["type"] == "error"
	assert roster(guest) == {}
	assert stores(server, guest.user) == set() and stores(server, True) == set()


@behaviour("storage: anonymous users can store data if the operator allows it",
	**over(["private"], {"authentication": "anonymous", "allow_anonymous_storage": True}))
def anonymous_storage_can_be_allowed(server):
	guest = anonymous(server)
	result(private(guest, "note"))
	assert private(guest) == "note" and "private" in stores(server, guest.user)


@behaviour("storage: rooms beside a host of anonymous users are kept",
	**over(options={"authentication": "anonymous"},
		components={ROOMS: {"component_module": "muc", "muc_room_default_persistent": True}}))
def rooms_beside_anonymous_users_are_kept(server):
	guest, room = anonymous(server), f"room@{ROOMS}"
	guest.send(f"<presence to='{room}/al'><x xmlns='{MUC}'/></presence>")
	guest.until("presence")
	configure(guest, room, roomname="Kept", publicroom=1)
	restart(server)
	disco = result(anonymous(server).ask("<query xmlns='http://jabber.org/protocol/disco#items'/>", to=ROOMS))
	assert [(i["jid"], i["name"]) for i in disco.child("query").children] == [(room, "Kept")], disco
