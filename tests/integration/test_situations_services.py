"""Answers of the server itself: discovery, time and version, uploads, external services, commands, passwords, accounts."""
import bed
import xmpp
from situations import ANY, FILES, NODES, ROOMS, befriend, error, situation

DISCO = "http://jabber.org/protocol/disco"
FORM = "jabber:x:data"
LAST = "jabber:iq:last"
REGISTER = "jabber:iq:register"
EXTDISCO = "urn:xmpp:extdisco:2"
UPLOAD = "urn:xmpp:http:upload:0"
COMMANDS = "http://jabber.org/protocol/commands"


# --- discovery and status ---

@situation("discovery: account, server, and its services")
def _(alice):
	identity = "<query xmlns='{}#info'><identity category='{}' type='{}'/></query>"
	info = alice.asks(f"<query xmlns='{DISCO}#info'/>", identity.format(DISCO, "account", "registered"))
	assert {"urn:xmpp:mam:2", "urn:xmpp:bookmarks:1#compat"} <= {feature["var"] for feature in info.all("feature")}, info
	info = alice.asks(f"<query xmlns='{DISCO}#info'/>", identity.format(DISCO, "server", "im"), to=bed.HOST)
	assert {"urn:xmpp:ping", "urn:xmpp:carbons:2", "urn:xmpp:blocking"} <= {feature["var"] for feature in info.all("feature")}, info
	listed = alice.asks(f"<query xmlns='{DISCO}#items'/>", to=bed.HOST)
	assert {ROOMS, NODES, FILES} <= {entry["jid"] for entry in listed.children}, listed


@situation("discovery: contact addresses")
def _(alice):
	info = alice.asks(f"<query xmlns='{DISCO}#info'/>", to=bed.HOST)
	form = next(x for x in info.all("x", FORM) if "serverinfo" in str(x))
	addresses = {field["var"]: {value.text for value in field.children} for field in form.children}
	assert addresses["abuse-addresses"] == {"mailto:abuse@prosody.test"}, addresses
	assert addresses["support-addresses"] == {"https://prosody.test/help", "xmpp:help@prosody.test"}, addresses


@situation("server: version, time and uptime")
def _(alice):
	version = alice.asks("<query xmlns='jabber:iq:version'/>",
		"<query xmlns='jabber:iq:version'><name>Prosody</name></query>", to=bed.HOST)
	assert version.child("os") is None, version
	alice.asks("<time xmlns='urn:xmpp:time'/>", f"<time xmlns='urn:xmpp:time'><tzo>{ANY}</tzo><utc>{ANY}</utc></time>", to=bed.HOST)
	alice.asks(f"<query xmlns='{LAST}'/>", f"<query xmlns='{LAST}' seconds='{ANY}'/>", to=bed.HOST)


@situation("server: pings, and unknown requests")
def _(alice):
	for to in (bed.HOST, alice.bare_jid, None):
		alice.asks("<ping xmlns='urn:xmpp:ping'/>", to=to)
		alice.iq("get", "<query xmlns='urn:test:unknown'/>", to)
		alice.refused("service-unavailable", "cancel")


@situation("last activity: for contacts only")
def _(alice, bob, carol):
	alice.online("<status>Hello</status>")
	alice.sends("<presence type='unavailable'><status>Goodbye</status></presence>")
	alice.gets(f"<presence type='unavailable' from='{alice.jid}'><status>Goodbye</status></presence>")
	befriend(alice, bob)
	bob.asks(f"<query xmlns='{LAST}'/>", f"<query xmlns='{LAST}' seconds='{ANY}'>Goodbye</query>", to=alice.bare_jid)
	carol.iq("get", f"<query xmlns='{LAST}'/>", alice.bare_jid)
	carol.refused("forbidden", "auth")


# --- external services and uploads ---

@situation("external services: all, by type, and credentials")
def _(alice):
	def services(query):
		return {service["type"]: service for service in alice.asks(query, to=bed.HOST).children}
	found = services(f"<services xmlns='{EXTDISCO}'/>")
	assert set(found) == {"stun", "turn", "ftp"} and found["turn"]["password"] and found["ftp"]["username"] == "john", found
	assert set(services(f"<services xmlns='{EXTDISCO}' type='ftp'/>")) == {"ftp"}
	credentials = services(f"<credentials xmlns='{EXTDISCO}'><service type='turn' host='relay.prosody.test'/></credentials>")
	assert credentials["turn"]["password"] and credentials["turn"]["restricted"] in ("1", "true"), credentials
	alice.iq("get", f"<credentials xmlns='{EXTDISCO}'><service host='relay.prosody.test'/></credentials>", bed.HOST)
	alice.refused("bad-request", "modify")


@situation("upload: slots, and files that are too large, misnamed or of a wrong type")
def _(alice):
	def request(name, size, kind="text/plain"):
		alice.iq("get", f"<request xmlns='{UPLOAD}' filename='{name}' size='{size}' content-type='{kind}'/>", FILES)
	request("small.txt", 5)
	alice.result(f"<slot xmlns='{UPLOAD}'><get url='{ANY}'/><put url='{ANY}'><header name='Authorization'>{ANY}</header></put></slot>")
	request("large.txt", 10001)
	assert alice.refused("not-acceptable", "modify").find("file-too-large", "max-file-size").text == "10000"
	for name, size, kind, condition in (("negative.txt", -5, "text/plain", "bad-request"), ("a/b.txt", 5, "text/plain", "bad-request"),
			("evil.exe", 5, "application/x-executable", "not-acceptable")):
		request(name, size, kind)
		alice.refused(condition, "modify")


# --- commands, accounts ---

@situation("ad-hoc commands: listed and run according to rights")
def _(admin, alice):
	def listed(client):
		return {entry["node"] for entry in client.asks(f"<query xmlns='{DISCO}#items' node='{COMMANDS}'/>", to=bed.HOST).children}
	announce = "http://jabber.org/protocol/admin#announce"
	assert announce in listed(admin) and announce not in listed(alice)
	alice.online()
	form = (f"<x xmlns='{FORM}' type='submit'><field var='FORM_TYPE'><value>http://jabber.org/protocol/admin</value></field>"
		"<field var='subject'><value>News</value></field><field var='announcement'><value>Maintenance</value></field></x>")
	started = admin.sets(f"<command xmlns='{COMMANDS}' node='{announce}' action='execute'/>",
		f"<command xmlns='{COMMANDS}' node='{announce}' status='executing' sessionid='{ANY}'/>", to=bed.HOST)
	admin.iq("set", f"<command xmlns='{COMMANDS}' node='{announce}' sessionid='{started['sessionid']}'>{form}</command>", bed.HOST)
	alice.gets(f"<message type='headline' from='{bed.HOST}'><body>Maintenance</body><subject>News</subject></message>")
	admin.result(f"<command xmlns='{COMMANDS}' node='{announce}' status='completed'/>")
	alice.iq("set", f"<command xmlns='{COMMANDS}' node='{announce}' action='execute'/>", bed.HOST)
	alice.refused("forbidden", "auth")


@situation("invites: an account creates one for a contact")
def _(alice):
	node = "urn:xmpp:invite#invite"
	done = alice.sets(f"<command xmlns='{COMMANDS}' node='{node}' action='execute'/>",
		f"<command xmlns='{COMMANDS}' node='{node}' status='completed'><x xmlns='{FORM}'/></command>", to=bed.HOST)
	uri = next(field.child("value").text for field in done.child("x").children if field["var"] == "uri")
	assert uri.startswith(f"xmpp:{alice.bare_jid}?") and "preauth=" in uri, uri


@situation("password: changed within a session")
def _(alice):
	payload = f"<query xmlns='{REGISTER}'><username>{alice.user}</username><password>changed</password></query>"
	alice.delivers(f"<iq type='set' to='{bed.HOST}' id='change'>{payload}</iq>")
	alice.password = "changed"
	alice.gets("<iq type='result' id='change'/>")
	alice.gets_nothing()


@situation("account: removal ends the stream and both subscriptions, and leaves a tombstone")
def _(alice, bob):
	befriend(alice, bob)
	alice.asks("<query xmlns='jabber:iq:roster'/>", "<query xmlns='jabber:iq:roster'/>")
	bob.send(f"<iq type='set' id='bye'><query xmlns='{REGISTER}'><remove/></query></iq>")
	ended = {element.name: element for element in bob.transport.wait_for_end()}
	assert ended["iq"]["type"] == "result" and xmpp.failure(ended["error"]) == "not-authorized", ended
	bob.server.players.remove(bob)
	for kind, left in (("unsubscribed", "from"), ("unsubscribe", "none")):
		alice.gets(f"<presence type='{kind}' from='{bob.bare_jid}'/>", f"<iq type='set' id='{ANY}'><query xmlns='jabber:iq:roster'>"
			f"<item jid='{bob.bare_jid}' subscription='{left}'/></query></iq>")
	alice.sends(f"<presence type='probe' to='{bob.bare_jid}'/>")
	alice.gets(f"<presence type='error' from='{bob.bare_jid}'>{error('gone', 'cancel')}</presence>",
		f"<presence type='unsubscribed' from='{bob.bare_jid}'/>")
