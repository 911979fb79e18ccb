"""Copies of a message to a room, which are encoded once, and written as bytes where nobody else would see them."""

import bed
from bed import wait_for
from situations import content
from suite import behaviour

MUC = "http://jabber.org/protocol/muc"
ROOMS = "rooms.prosody.test"
ROOM = f"room@{ROOMS}"
MARK = "urn:test:mark"
SID = "urn:xmpp:sid:0"
# mod_mam asks others about the stanza of which it passes on a copy
DECISIONS = ["decision to archive", "decision to copy"]
STAGES = [*DECISIONS, "first handler", "last handler", "handler that replaces the stanza", "wrapped event", "wrapped events", "debug hook", "first filter", "last filter", "filter of bytes", "wrapped send",
	"wrapped rawsend", "route of the room"]


def rooms(**options):
	return {ROOMS: {"component_module": "muc", "modules_enabled": ["muc_mam"], "muc_room_locking": False, **options}}


# At level debug every copy is routed, so that the log has its lines
QUIET = {"modules": ["mam", "blocklist", "csi", "csi_simple", "test_copies"], "components": rooms(),
	"options": {"log": {"info": "log"}, "test_rooms": ROOMS}}


def enter(client, nick, room=ROOM):
	client.send(f"<presence to='{room}/{nick}'><x xmlns='{MUC}'><history maxstanzas='0'/></x></presence>")
	while not (got := client.stanza()).child("subject"):
		assert got["type"] != "error", got
	return client


def copy(client, body):
	"""The copy with this body that the client gets next; presence before it is skipped."""
	while (stanza := client.stanza()).name == "presence":
		pass
	assert stanza.name == "message" and stanza.body == body, stanza
	assert stanza["to"] == client.jid and stanza["type"] == "groupchat", stanza
	return stanza


def say(clients, body, payload="", room=ROOM):
	"""The first client says it. Returns the copy of each."""
	clients[0].chat(room, body, "groupchat", payload)
	return [copy(client, body) for client in clients]


def managed(client):
	client.enable()
	return client


def mixed(server):
	"""Occupants with and without stream management, on each transport, one with two sessions, one with odd characters in its JID."""
	clients = [server.login("plain"), managed(server.login("managed")), server.login("odd", resource="<a&b>'\"c"),
		managed(server.login("odd", resource="<a&b>'\"d")), server.login("socket", "websocket"), server.login("bosh", "bosh")]
	for n, client in enumerate(clients):
		enter(client, f"n{n}")
	clients.append(enter(server.again(clients[0]), "n0"))
	clients.append(enter(managed(server.again(clients[1])), "n1"))
	return clients


def encoded(server):
	return int(server.lua(f"return tostring(prosody.hosts['{server.host}'].modules.test_copies.module.environment.encoded)"))


def call(server, code):
	server.lua(f"prosody.hosts['{server.host}'].modules.test_copies.module.environment.{code}")


def fingerprint(message):
	"""All that the copies of a message have in common."""
	attr = {name: value for name, value in message.attr.items() if name not in ("to", "id")}
	return attr, sorted(map(content, message.children))


@behaviour("room copies: a message is encoded once for all occupants of a kind", **QUIET)
def a_message_is_encoded_once(server):
	managed(server.login("counted"))
	call(server, "count()")
	for kind, wrap in (("plain", lambda client: client), ("managed", managed)):
		room = f"{kind}@{ROOMS}"
		clients = [enter(wrap(server.login(kind)), f"n{n}", room) for n in range(8)]
		say(clients, "warm", room=room)
		before = encoded(server)
		say(clients, "hello", room=room)
		assert encoded(server) - before == 1, (kind, encoded(server) - before)


@behaviour("room copies: each occupant gets the whole message with its own JID, and can resume", **QUIET)
def each_gets_its_own(server):
	clients = mixed(server)
	payload = f"<x xmlns='urn:test' a='&lt;&amp;&apos;'>&lt;t&gt;<y/></x><origin-id xmlns='{SID}' id='o'/>"
	copies = say(clients, "h\u00e9llo <&>", payload)
	assert all(fingerprint(c) == fingerprint(copies[0]) for c in copies), copies
	assert copies[0]["from"] == f"{ROOM}/n0" and copies[0].child("stanza-id", SID)["by"] == ROOM, copies[0]
	away = clients[1]
	away.transport.cut()
	server.wait_hibernating(away)
	say([c for c in clients if c is not away], "meanwhile")
	back = server.resume(away, h=0)
	again = []
	while len(again) < 2:
		stanza = back.stanza()
		if stanza.name == "message" and stanza.body:
			again.append(stanza)
	assert [m.body for m in again] == ["h\u00e9llo <&>", "meanwhile"], again
	assert all(m["to"] == away.jid for m in again), again


@behaviour("room copies: a module that changes a copy is seen at any stage", **QUIET)
def changes_are_seen(server):
	clients = [enter(c, f"n{n}") for n, c in enumerate([server.login("a"), managed(server.login("b")), server.login("c"),
		managed(server.login("d"))])]
	say(clients, "before")
	for stage in STAGES:
		call(server, f"start({bed.lua(stage)})")
		marks = [{mark["to"] for mark in message.all("mark", MARK)} for message in say(clients, stage)]
		jids = [client.jid for client in clients]
		if stage in DECISIONS:
			assert set.union(*marks) & set(jids), (stage, marks)
		else:
			assert all(jid in seen for jid, seen in zip(jids, marks)), (stage, jids, marks)
		call(server, "stop()")
		for message in say(clients, f"after {stage}"):
			assert not message.all("mark", MARK), (stage, str(message))


@behaviour("room copies: a module that changes the message for the room is seen by all", **QUIET)
def changes_for_the_room_are_seen(server):
	clients = mixed(server)
	server.lua(f"""
		local events = prosody.hosts["{ROOMS}"].events;
		events.add_handler("muc-broadcast-message", function (event)
			event.stanza:tag("mark", {{ xmlns = "{MARK}" }}):up();
		end, -50)""")
	assert all(len(message.all("mark", MARK)) == 1 for message in say(clients, "hello"))


@behaviour("room copies: an account that blocks the sender or the room gets none", **QUIET)
def blocked_senders(server):
	alice, bob, carol = (enter(c, n) for c, n in ((server.login("alice"), "A"), (managed(server.login("bob")), "B"),
		(server.login("carol"), "C")))
	def block(client, kind, jid):
		answer = client.ask(f"<{kind} xmlns='urn:xmpp:blocking'><item jid='{jid}'/></{kind}>", "set")
		assert answer["type"] == "result", answer
	block(bob, "block", f"{ROOM}/A")
	block(carol, "block", ROOMS)
	say([alice], "unheard")
	block(bob, "unblock", f"{ROOM}/A")
	say([alice, bob], "heard by B")
	block(carol, "unblock", ROOMS)
	say([alice, bob, carol], "heard by all")


@behaviour("room copies: the modules of the occupant's host remove what they always remove", **QUIET)
def modules_of_the_host_remove(server):
	clients = mixed(server)
	for client in clients:
		by = client.bare_jid
		spoofed = f"<stanza-id xmlns='{SID}' id='spoofed' by='{by}'/><stanza-id xmlns='{SID}' id='spoofed' by='{ROOM}'/>"
		for message, receiver in zip(say(clients, "spoofed", spoofed), clients):
			ids = {e["by"]: e["id"] for e in message.all("stanza-id", SID)}
			assert receiver.bare_jid not in ids and ids[ROOM] != "spoofed", (receiver.jid, ids)
	private = "<private xmlns='urn:xmpp:carbons:2'/>"
	for message in say(clients, "private", private):
		assert not message.child("private"), str(message)


@behaviour("room copies: an inactive client gets what it would miss, and the rest in time", **QUIET)
def inactive_clients(server):
	alice, bob = enter(server.login("alice"), "A"), enter(managed(server.login("bob")), "B")
	bob.send("<inactive xmlns='urn:xmpp:csi:0'/>")
	bob.ping()
	for n in range(5):
		say([alice], str(n))
	bob.send("<active xmlns='urn:xmpp:csi:0'/>")
	for n in range(5):
		copy(bob, str(n))


@behaviour("room copies: occupants of a component and of this server get the same", modules=["mam", "test_copies"],
	components={**rooms(), "bot.prosody.test": {"component_secret": bed.PASSWORD}}, options=QUIET["options"])
def occupants_of_a_component(server):
	alice, bob = enter(server.login("alice"), "A"), enter(managed(server.login("bob")), "B")
	bot = bed.Component(server, "bot.prosody.test")
	bot.send(f"<presence from='x@bot.prosody.test/y' to='{ROOM}/Bot'><x xmlns='{MUC}'/></presence>")
	while not bot.stanza().child("subject"):
		pass
	copies = say([alice, bob], "hello")
	while (message := bot.stanza()).name == "presence":
		pass
	assert message["to"] == "x@bot.prosody.test/y" and message.body == "hello", message
	assert {c["by"] for c in message.all("stanza-id")} == {c["by"] for c in copies[0].all("stanza-id")} == {ROOM}


@behaviour("room copies: occupants of another server and of this one get the same", federation=True,
	modules=["mam", "test_copies"], components={"rooms.a.test": rooms()[ROOMS]},
	options={"log": {"info": "log"}, "test_rooms": "rooms.a.test"})
def occupants_of_another_server(both):
	room = "room@rooms.a.test"
	near = [enter(both.a.login("near"), "A", room), enter(managed(both.a.login("near")), "B", room)]
	both.b.lua(f"""
		require "core.hostmanager".deactivate("rooms.a.test");
		require "core.configmanager".get("*", "test_peers")["rooms.a.test"] = {both.to_a.port}""")
	far = enter(managed(both.b.login("far")), "C", room)
	copies = say([*near, far], "hello", room=room)
	assert all(fingerprint(c) == fingerprint(copies[0]) for c in copies), copies
	far.chat(room, "answer", "groupchat")
	for client in (*near, far):
		copy(client, "answer")


@behaviour("room copies: with debug logs every copy has its lines", modules=["mam"], components=rooms())
def debug_logs(server):
	clients = [enter(server.login("a"), "A"), enter(managed(server.login("b")), "B")]
	say(clients, "hello")
	for client in clients:
		wait_for(lambda c=client: f"Sending[c2s]: <message" in server.log(), "a line for each copy")


@behaviour("room copies: subject, nickname, role and leaving are as ever", **QUIET)
def other_traffic_is_as_ever(server):
	clients = mixed(server)
	alice = clients[0]
	alice.send(f"<message type='groupchat' to='{ROOM}' id='s'><subject>Topic</subject></message>")
	for client in clients:
		while (stanza := client.stanza()).name == "presence":
			pass
		assert stanza.child("subject").text == "Topic" and stanza["to"] == client.jid, stanza
	alice.send(f"<presence to='{ROOM}/renamed'/>")
	say(clients, "as renamed")
	last = clients.pop()
	last.send(f"<presence type='unavailable' to='{ROOM}/n1'/>")
	last.ping()
	say(clients, "without one")
	assert not [s for s in last.unread if s.name == "message"], last.unread


@behaviour("room copies: an unload of the module gives the room's own way back, a reload keeps ours", **QUIET)
def unload_and_reload(server):
	clients = [enter(server.login("a"), "A"), enter(managed(server.login("b")), "B"), enter(server.login("c"), "C")]
	call(server, "count()")
	say(clients, "ours")
	counts = []
	for step in ("reload", "unload", "load"):
		assert server.lua(f"return tostring(require 'core.modulemanager'.{step}('{ROOMS}', 'muc_mam') and true)") == "true", step
		before = encoded(server)
		say(clients, step)
		counts.append(encoded(server) - before)
	assert counts == [2, 3, 2], counts  # with stream management and without it; or for each occupant
