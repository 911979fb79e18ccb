"""The end of a session: the table in mod_smacks' README row by row, and a random test against a model."""
import random
import signal

import bed
import suite
from steps import cut, pair, pending_offline, say, wait_offline
from suite import behaviour
from test_delivery import archive, drain, is_bounce, use_archive

SHORT = {"smacks_hibernation_time": 1}
LONG = {"smacks_hibernation_time": 300}
NO_OFFLINE = {**SHORT, "modules_disabled": ["tls", "s2s", "offline"]}
CARBONS = "<enable xmlns='urn:xmpp:carbons:2'/>"
MUC = "http://jabber.org/protocol/muc"
ROOMS = {"rooms.prosody.test": "muc"}


def end(server, client):
	"""Ends a connected or hibernating session, as an administrator does."""
	server.lua(f"prosody.full_sessions[{bed.lua(client.jid)}]:close('policy-violation')")
	server.wait_gone(client)


def device(server, first, priority=0, carbons=True):
	"""A further session of an account, with stream management, available."""
	client = server.again(first) if first.jid else first.bind()
	if carbons:
		client.ask(CARBONS, "set")
	client.enable()
	client.send(f"<presence><priority>{priority}</priority></presence>")
	client.handled()
	client.unread.clear()
	return client


def devices(server, *priorities, carbons=True):
	"""Devices of a new account, all of them available, without unacknowledged stanzas."""
	first = server.authenticated(server.account("alice"))
	clients = [device(server, first, priority, carbons) for priority in priorities]
	for client in clients:
		client.handled()
		client.unread.clear()
		client.ack()
		client.handled()
	return clients


def send(sender, to, kind="chat", payload="<body>hello</body>", ident="1"):
	sender.send(f"<message type='{kind}' id='{ident}' to='{to}'>{payload}</message>")
	sender.ping()


def nothing_came(client):
	client.ping()
	assert not client.unread, client.unread


# --- dropped ---

@behaviour("ends: presence of any type is neither stored nor answered", options=SHORT)
def presence_is_dropped(server):
	alice, bob = pair(server)
	cut(server, alice)
	for kind in ("", " type='unavailable'", " type='subscribed'", " type='probe'"):
		bob.send(f"<presence to='{alice.jid}'{kind}/>")
	server.wait_gone(alice)
	bob.ping()
	assert not [e for e in bob.unread if e["type"] == "error"], bob.unread


DROPPED = {
	"a headline": ("headline", "<body>news</body>"),
	"a groupchat message": ("groupchat", "<body>hi all</body>"),
	"an error": ("error", "<error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"),
	"a chat state": ("chat", "<composing xmlns='http://jabber.org/protocol/chatstates'/><thread>t</thread>"),
	"a receipt": ("chat", "<received xmlns='urn:xmpp:receipts' id='1'/>"),
	"a marker": ("normal", "<displayed xmlns='urn:xmpp:chat-markers:0' id='1'/>"),
	"a message with a no-store hint": ("chat", "<body>secret</body><no-store xmlns='urn:xmpp:hints'/>"),
	"an event of PEP": ("normal", "<event xmlns='http://jabber.org/protocol/pubsub#event'><items node='n'/></event>"),
}


def dropped(what, kind, payload):
	@behaviour(f"ends: {what} is dropped", options=SHORT)
	def others_are_dropped(server):
		alice, bob = pair(server)
		cut(server, alice)
		send(bob, alice.jid, kind, payload)
		server.wait_gone(alice)
		nothing_came(bob)
		assert drain(server.again(alice).available()) == []
		assert pending_offline(server, alice.user) == []
		assert server.lua(f"""
			local store = require "core.storagemanager".open({bed.lua(server.host)}, "offline", "archive");
			return tostring((assert(store:find({bed.lua(alice.user)}))()))""") == "nil"


for name, (message_type, children) in DROPPED.items():
	dropped(name, message_type, children)


KEPT = {
	"a chat message": ("chat", "<body>hello</body>"),
	"a chat state in a message": ("chat", "<body>hello</body><active xmlns='http://jabber.org/protocol/chatstates'/>"),
	"an invitation": ("normal", "<x xmlns='jabber:x:conference' jid='room@rooms.prosody.test'/>"),
	"an encrypted message without a body": ("chat", "<encrypted xmlns='eu.siacs.conversations.axolotl'><header sid='1'/></encrypted>"),
	"a call": ("chat", "<propose xmlns='urn:xmpp:jingle-message:0' id='1'/><store xmlns='urn:xmpp:hints'/>"),
	"a marker with a store hint": ("chat",
		"<displayed xmlns='urn:xmpp:chat-markers:0' id='1'/><store xmlns='urn:xmpp:hints'/><no-store xmlns='urn:xmpp:hints'/>"),
}


def kept(what, kind, payload):
	@behaviour(f"ends: {what} is stored offline, once", options=SHORT)
	def others_are_stored_offline(server):
		alice, bob = pair(server)
		cut(server, alice)
		send(bob, alice.jid, kind, payload, "it")
		server.wait_gone(alice)
		nothing_came(bob)
		again = server.again(alice).available()
		again.ping()
		assert [e["id"] for e in again.unread if e.name == "message"] == ["it"], again.unread


for name, (message_type, children) in KEPT.items():
	kept(name, message_type, children)


@behaviour("ends: the answer of a handler of archive-should-store decides", options=SHORT)
def archive_should_store_decides(server):
	alice, bob = pair(server)
	server.lua("prosody.hosts['prosody.test'].events.add_handler('archive-should-store', function (event) "
		"return event.stanza:get_child('wanted', 'urn:test') ~= nil end)")
	cut(server, alice)
	send(bob, alice.jid, payload="<body>unwanted</body>")
	send(bob, alice.jid, payload="<composing xmlns='http://jabber.org/protocol/chatstates'/><wanted xmlns='urn:test'/>", ident="it")
	server.wait_gone(alice)
	nothing_came(bob)
	again = server.again(alice).available()
	again.ping()
	assert [e["id"] for e in again.unread if e.name == "message"] == ["it"], again.unread


@behaviour("ends: a room learns that its occupant is gone, and does not get an error", components=ROOMS, options=SHORT)
def a_room_sees_its_occupant_leave(server):
	alice, bob = pair(server)
	for client, nick in ((bob, "bob"), (alice, "alice")):
		client.send(f"<presence to='r@rooms.prosody.test/{nick}'><x xmlns='{MUC}'/></presence>")
		while True:
			stanza = client.stanza()
			if stanza.name == "message" and stanza.child("subject"):
				break
		if nick == "bob":
			client.ask("<query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'/></query>",
				"set", "r@rooms.prosody.test")
	cut(server, alice)
	bob.unread.clear()
	bob.send("<message type='groupchat' to='r@rooms.prosody.test'><body>hi</body></message>")
	bob.send("<message type='chat' to='r@rooms.prosody.test/alice'><body>psst</body></message>")
	bob.send("<message type='groupchat' to='r@rooms.prosody.test'><body>ho</body></message>")
	server.wait_gone(alice)
	bob.ping()
	left = [e for e in bob.unread if e.name == "presence" and e["type"] == "unavailable"]
	assert len(left) == 1, bob.unread
	statuses = [s["code"] for s in left[0].find("x").all("status")]
	assert "333" not in statuses and "307" not in statuses, left
	assert not [e for e in bob.unread if e["type"] == "error"], bob.unread


# --- other resources ---

@behaviour("ends: a message for a resource that is gone goes to the available one", options=SHORT)
def a_gone_resource_yields_to_an_available_one(server):
	alice, bob = pair(server)
	tablet = server.again(alice).available()
	cut(server, alice)
	bob.chat(alice, "for the phone")
	server.wait_gone(alice)
	assert drain(tablet) == ["for the phone"]
	assert drain(bob) == []
	assert pending_offline(server, alice.user) == []


@behaviour("ends: a hibernating desktop of high priority does not lose messages to the phone that is online", options=SHORT)
def a_desktop_loses_nothing_to_a_phone(server):
	desktop, phone = devices(server, 10, 0, carbons=False)
	bob = server.login("bob")
	cut(server, desktop)
	say(bob, phone.bare_jid, "hello")
	server.wait_gone(desktop)
	assert drain(phone) == ["hello"]
	assert pending_offline(server, phone.user) == []
	nothing_came(bob)


@behaviour("ends: a message is stored if the only resource has a negative priority", options=SHORT)
def a_negative_priority_gets_nothing(server):
	alice, bob = pair(server)
	tablet = server.again(alice)
	tablet.send("<presence><priority>-1</priority></presence>")
	tablet.ping()
	cut(server, alice)
	bob.chat(alice, "hello")
	server.wait_gone(alice)
	wait_offline(server, alice.user, ["hello"])
	assert drain(tablet) == []


@behaviour("ends: a message that one device has acknowledged is not stored for another", options=SHORT)
def devices_acknowledge_separately(server):
	desktop, phone = devices(server, 0, 0)
	bob = server.login("bob")
	cut(server, desktop)
	say(bob, phone.bare_jid, "to both")
	say(bob, desktop.jid, "to the desktop, with a carbon copy")
	phone.handled()
	phone.ack()
	phone.handled()
	server.wait_gone(desktop)
	assert pending_offline(server, phone.user) == []
	phone.unread.clear()
	assert drain(phone) == []
	nothing_came(bob)


@behaviour("ends: of several devices that end, the last one decides, once", options=LONG)
def the_last_device_decides(server):
	clients = devices(server, 0, 0, 0)
	bob = server.login("bob")
	for client in clients:
		cut(server, client)
	say(bob, clients[0].bare_jid, "to all")
	say(bob, clients[1].jid, "to one, with two carbon copies")
	for client in clients[:2]:
		end(server, client)
		assert pending_offline(server, client.user) == []
	end(server, clients[2])
	assert drain(server.again(clients[0]).available()) == ["to all", "to one, with two carbon copies"]
	nothing_came(bob)


@behaviour("ends: five stale sessions make one error for a message, not five", options={**NO_OFFLINE, **LONG})
def stale_sessions_make_one_error(server):
	clients = devices(server, 0, 0, 0, 0, 0)
	bob = server.login("bob")
	for client in clients:
		cut(server, client)
	say(bob, clients[0].bare_jid, "hello")
	for client in clients:
		end(server, client)
	assert is_bounce(bob.stanza())
	nothing_came(bob)


@behaviour("ends: a message that a carbon copy holds last is stored as it was sent", options=LONG)
def a_carbon_is_stored_as_sent(server):
	one, two = devices(server, 0, 0)
	bob = server.login("bob")
	cut(server, one)
	cut(server, two)
	say(bob, one.jid, "hello")
	end(server, one)
	end(server, two)
	message = server.again(one).available().message()
	assert (message.body, message["from"], message["to"]) == ("hello", bob.jid, one.jid), message
	assert not message.child("received", "urn:xmpp:carbons:2"), message


@behaviour("ends: copies of a device's own messages are dropped", options=LONG)
def copies_of_own_messages_are_dropped(server):
	one, two = devices(server, 0, 0)
	bob = server.login("bob")
	cut(server, two)
	one.chat(bob, "mine")
	one.handled()
	end(server, two)
	assert pending_offline(server, one.user) == []
	assert drain(one) == []


@behaviour("ends: a carbon copy that a stranger forges is a message like any other", options=SHORT)
def a_forged_carbon_is_an_ordinary_message(server):
	alice, bob = pair(server)
	cut(server, alice)
	send(bob, alice.jid, payload="<sent xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'>"
		"<message xmlns='jabber:client' from='x@y' id='1'><body>forged</body></message></forwarded></sent>", ident="outer")
	server.wait_gone(alice)
	again = server.again(alice).available()
	again.ping()
	assert [e["id"] for e in again.unread if e.name == "message"] == ["outer"], again.unread


@behaviour("ends: two messages with the same text and id are both kept", options=LONG)
def equal_messages_are_both_kept(server):
	one, two = devices(server, 0, 0)
	bob = server.login("bob")
	cut(server, two)
	for _ in range(2):
		bob.chat(one.bare_jid, "again")
	bob.ping()
	assert one.bodies(2) == ["again"] * 2
	one.ack(one.h - 1)
	one.handled()
	end(server, one)
	end(server, two)
	assert drain(server.again(one).available()) == ["again"] * 2  # the second one of each device: copies are not recognized


@behaviour("ends: messages of an account that is deleted are not stored", options=LONG)
def a_deleted_account_stores_nothing(server):
	alice, bob = pair(server)
	cut(server, alice)
	bob.chat(alice, "too late")
	bob.ping()
	server.lua(f"assert(require 'core.usermanager'.delete_user({bed.lua(alice.user)}, {bed.lua(server.host)}))")
	server.wait_gone(alice)
	assert is_bounce(bob.stanza())
	assert pending_offline(server, alice.user) == []


@behaviour("ends: a device that does not read the archive gets messages that another one leaves there",
	modules=["mam"], options=LONG)
def devices_with_and_without_archive_share(server):
	reader, other = devices(server, 0, 0)
	bob = server.login("bob")
	use_archive(reader)
	reader.handled()
	reader.ack()
	cut(server, reader)
	cut(server, other)
	say(bob, reader.bare_jid, "hello")
	end(server, reader)
	assert pending_offline(server, reader.user) == []
	end(server, other)
	assert pending_offline(server, reader.user) == ["hello"]
	assert archive(server.again(reader)) == ["hello"]


# --- a few at a time ---

ENDINGS = "prosody.hosts['prosody.test'].modules.smacks.module:shared('/*/smacks/endings')"


@behaviour("ends: messages stored offline meanwhile come after those that an ended session still has to deliver", options=LONG)
def offline_order_is_kept(server):
	alice, bob = pair(server)
	cut(server, alice)
	say(bob, alice, "one", "two")
	server.lua(f"local e = {ENDINGS}; e.left, e.scheduled = 0, true")  # as at the end of a long turn
	end(server, alice)
	say(bob, alice.bare_jid, "three")
	assert pending_offline(server, alice.user) == []
	server.lua(f"local e = {ENDINGS}; e.left, e.scheduled = 1, false; for step in pairs(e.steps) do step(); end")
	assert pending_offline(server, alice.user) == ["one", "two", "three"]
	nothing_came(bob)


@behaviour("ends: of many sessions that expire at once, a few end in each turn of the event loop", options=SHORT)
def expiries_are_spread_over_turns(server):
	first = server.login("alice")
	clients = [first, *(server.again(first) for _ in range(39))]
	server.options["smacks_max_hibernated_sessions"] = 100
	server.rewrite_config()
	server.shell("config", "reload")
	server.shell("module", "reload", "smacks", server.host)
	for client in clients:
		client.enable()
	server.lua("""
		local ends, most = 0, 0;
		local timer = require "util.timer";
		timer.add_task(0, function () ends = 0; return 0; end);
		prosody.hosts["prosody.test"].events.add_handler("resource-unbind", function ()
			ends = ends + 1;
			most = math.max(most, ends);
		end);
		function prosody.most_ends() return most; end""")
	for client in clients:
		client.cut()
	for client in clients:
		server.wait_gone(client)
	assert 1 <= int(server.lua("return prosody.most_ends()")) <= 10


@behaviour("ends: an error in a handler affects one stanza, which is returned with an error", options=LONG)
def a_handler_error_refuses_one_stanza(server):
	alice, bob = pair(server)
	cut(server, alice)
	say(bob, alice, "one", "two", "three")
	server.lua("prosody.hosts['prosody.test'].events.add_handler('delivery/failure', function (event) "
		"if event.stanza:get_child_text('body') == 'two' then error('expected'); end end, 10)")
	server.announced += ["expected", "stack traceback"]
	end(server, alice)
	bounce = bob.stanza()
	assert is_bounce(bounce) and bounce["id"] == "two", bounce
	assert drain(server.again(alice).available()) == ["one", "three"]


@behaviour("ends: a handler may wait, and the others follow in order", options=LONG)
def waiting_handlers_keep_order(server):
	alice, bob = pair(server)
	cut(server, alice)
	say(bob, alice, "one", "two", "three")
	server.lua("""
		local async, timer = require "util.async", require "util.timer";
		prosody.hosts["prosody.test"].events.add_handler("delivery/failure", function (event)
			local wait, done = async.waiter();
			timer.add_task(0.05, done);
			wait();
		end, 10)""")
	end(server, alice)
	wait_offline(server, alice.user, ["one", "two", "three"])


# --- random sequences ---

class Model:
	"""An account's devices, and their acknowledged messages. Every message ends up in exactly one place: a device
	that has acknowledged it, or offline storage."""

	STEPS = {"to_bare": 5, "to_one": 5, "acknowledge": 4, "cut": 3, "resume": 2, "end": 2}

	def __init__(self, server, seed):
		self.server, self.rng = server, random.Random(seed)
		self.bob = server.login("bob")
		self.devices = devices(server, *(self.rng.choice([0, 0, 5]) for _ in range(3)))
		self.user, self.bare = self.devices[0].user, self.devices[0].bare_jid
		self.away, self.sent, self.acknowledged = set(), 0, set()
		self.unacked = {id(d): [] for d in self.devices}  # messages that it has read

	def run(self, steps):
		for _ in range(steps):
			getattr(self, self.rng.choices(list(self.STEPS), self.STEPS.values())[0])()
		while self.devices:
			self.end()
		return self.check()

	def say(self, to):
		say(self.bob, to, f"m{self.sent}")
		self.sent += 1

	def to_bare(self):
		self.say(self.bare)

	def to_one(self):
		self.say(self.rng.choice(self.devices).jid if self.devices else self.bare)

	def pick(self, away):
		chosen = [d for d in self.devices if (id(d) in self.away) == away]
		return self.rng.choice(chosen) if chosen else None

	def read(self, device):
		device.handled()
		while device.unread:
			stanza = device.unread.popleft()
			if stanza.is_stanza:
				self.unacked[id(device)].append(self.body_of(stanza))

	@staticmethod
	def body_of(stanza):
		if stanza.body:
			return stanza.body
		carbon = stanza.find("received", "forwarded", "message")
		return carbon.body if carbon else None

	def acknowledge(self):
		device = self.pick(False)
		if not device:
			return
		self.read(device)
		read = self.unacked[id(device)]
		count = self.rng.randrange(len(read) + 1)
		self.acknowledged.update(read[:count])
		del read[:count]
		device.ack(device.h - len(read))
		device.handled()

	def cut(self):
		device = self.pick(False)
		if device:
			cut(self.server, device)
			self.away.add(id(device))

	def resume(self):
		device = self.pick(True)
		if not device:
			return
		unacked = self.unacked.pop(id(device))
		new = self.server.resume(device, h=device.h - len(unacked))
		self.devices[self.devices.index(device)] = new
		self.away.discard(id(device))
		self.unacked[id(new)] = []

	def end(self):
		device = self.rng.choice(self.devices) if self.devices else None
		if device:
			end(self.server, device)
			self.devices.remove(device)

	def check(self):
		stored = drain(self.server.authenticated(self.user).bind().available())
		assert drain(self.bob) == []
		missing = [f"m{n}" for n in range(self.sent) if f"m{n}" not in self.acknowledged]
		assert sorted(stored) == sorted(missing), (stored, missing)


@behaviour("ends: in any order of copies, acks and ends, each message is delivered or stored once", options=LONG)
def every_message_is_delivered_once(server):
	signal.alarm(suite.tries(1, 20) * suite.TIME_LIMIT)  # in the place of the usual limit
	for seed in range(suite.SEED, suite.SEED + suite.tries(6, 100)):
		try:
			Model(server, seed).run(30)
		except Exception as error:
			raise AssertionError(f"seed {seed}") from error
