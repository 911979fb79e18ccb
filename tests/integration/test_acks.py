"""Acks are not sent before the stanzas that they acknowledge are committed (storage native), and each request is
answered."""
import random

import bed
import xmpp
from steps import cut
from suite import behaviour
from xmpp import SM3

NATIVE = {"storage": "native"}
TURNS = "prosody.hosts['prosody.test'].modules.smacks.module:shared('/*/storage_native/turns')"
KILLS = 8


def stored(server, user):
	"""The bodies in a user's offline storage, oldest first."""
	return server.lua(f"""
		local store = require "core.storagemanager".open({bed.lua(server.host)}, "offline", "archive");
		local bodies = {{}};
		for _, stanza in assert(store:find({bed.lua(user)})) do table.insert(bodies, stanza:get_child_text("body")); end
		return table.concat(bodies, " ")""").split()


def burst(client, to, numbers):
	"""Messages with a request for an ack behind each, in one segment."""
	client.send("".join(f"<message type='chat' to='{to}' id='{n}'><body>{n}</body></message><r xmlns='{SM3}'/>" for n in numbers))


def acknowledged_one(server):
	"""Alice, one of whose messages to an account that is away was acknowledged, and that account."""
	alice, to = server.login("alice"), f"{server.account('bob')}@{server.host}"
	alice.enable()
	burst(alice, to, [1])
	assert int(alice.until("a")["h"]) == 1
	return alice, to


def read_acks(client):
	"""Reads to the end of the connection; returns the highest h."""
	h = 0
	try:
		while True:
			element = client.transport.receive()
			if element.name == "a":
				h = int(element["h"])
	except xmpp.Closed:
		return h


@behaviour("acks: acknowledged stanzas are in storage after the server was killed", options=NATIVE)
def acknowledged_stanzas_survive_a_kill(server):
	rng = random.Random(server.version)
	alice, bob = server.account("alice"), server.account("bob")
	sent = 0
	for _ in range(KILLS):
		client, first = server.authenticated(alice).bind(), sent
		client.enable()
		for _ in range(rng.randrange(1, 20)):
			burst(client, f"{bob}@{server.host}", range(sent, sent + 10))
			sent += 10
		client.until("a")
		server.kill()
		acknowledged = [str(n) for n in range(first, first + read_acks(client))]
		server.close_clients()
		server.start()
		missing = set(acknowledged) - set(stored(server, bob))
		assert not missing, sorted(missing)


@behaviour("acks: each request is answered, in order, and the last answer counts all", options=NATIVE)
def each_request_is_answered_in_order(server):
	alice, bob = server.login("alice"), server.login("bob")
	alice.enable()
	burst(alice, bob.bare_jid, range(50))
	answers = [int(alice.until("a")["h"]) for _ in range(50)]
	assert answers == sorted(answers) and answers[-1] == 50, answers


@behaviour("acks: stanzas of a lost turn are not acknowledged until the client has sent them again", options=NATIVE)
def a_lost_turn_is_not_acknowledged(server):
	alice, to = acknowledged_one(server)
	server.lua(f"local turns = {TURNS}; prosody.lose = function () turns.lost[turns.number] = true end; "
		"prosody.hosts['prosody.test'].events.add_handler('message/bare', prosody.lose, 1000)")
	burst(alice, to, [2])
	assert int(alice.until("a")["h"]) == 1
	server.lua("prosody.hosts['prosody.test'].events.remove_handler('message/bare', prosody.lose)")
	burst(alice, to, [3])
	assert int(alice.until("a")["h"]) == 1
	cut(server, alice)
	alice = server.resume(alice)
	assert alice.resumed["h"] == "1"
	burst(alice, to, [2, 3, 4])
	assert [int(alice.until("a")["h"]) for _ in range(3)][-1] == 4


@behaviour("acks: a request is answered with the committed count if a commit takes long", options=NATIVE)
def a_slow_commit_delays_only_its_own_answer(server):
	alice = server.login("alice")
	alice.enable()
	alice.ping()
	assert alice.handled() == 1
	server.lua(f"""
		local turns, session = {TURNS}, prosody.full_sessions[{bed.lua(alice.jid)}];
		function turns.is_open() session.handled_turn = turns.number; return true; end
		function turns.when_committed() end""")
	alice.ping()
	assert alice.handled() == 1
	server.lua(f"{TURNS}.is_open = function () return false end")
	assert alice.handled() == 2


@behaviour("acks: the h of <resumed/> and of a closed stream count committed stanzas", options=NATIVE)
def resumed_and_closed_streams_count_what_is_committed(server):
	alice, bob = server.login("alice"), server.account("bob")
	alice.enable()
	burst(alice, f"{bob}@{server.host}", range(5))
	cut(server, alice)
	alice = server.resume(alice)
	assert alice.resumed["h"] == "5"
	burst(alice, f"{bob}@{server.host}", [5])
	assert [e["h"] for e in alice.close() if e.name == "a"][-1] == "6"
	assert stored(server, bob) == [str(n) for n in range(6)]


@behaviour("acks: a stanza is not acknowledged while it is handled, even if the store commits meanwhile", options=NATIVE)
def nothing_is_acknowledged_while_being_handled(server):
	alice, to = acknowledged_one(server)
	server.lua(f"""
		local store = require "core.storagemanager".open({bed.lua(server.host)}, "test", "map");
		prosody.hosts['prosody.test'].events.add_handler('message/bare', function (event)
			if event.stanza.attr.id == "3" then
				for n = 1, 1500 do store:set("somebody", tostring(n), n); end -- more than a transaction takes
			end
		end, 1000)""")
	server.lua(f"""
		local session = prosody.full_sessions[{bed.lua(alice.jid)}];
		local handling = false;
		prosody.hosts['prosody.test'].events.add_handler('message/bare', function () handling = true; end, 1001)
		prosody.hosts['prosody.test'].events.add_handler('message/bare', function () handling = false; end, 999)
		prosody.early = 0;
		require "util.filters".add_filter(session, "bytes/out", function (bytes)
			if handling and bytes:match("^<a ") then prosody.early = prosody.early + 1; end
			return bytes;
		end)""")
	burst(alice, to, [2, 3])
	alice.until("a")
	assert int(alice.until("a")["h"]) == 3
	assert server.lua("return tostring(prosody.early)") == "0"


@behaviour("acks: a stanza of which one part is committed and another is lost is not acknowledged", options=NATIVE)
def a_partly_lost_stanza_is_not_acknowledged(server):
	alice, to = acknowledged_one(server)
	server.lua(f"local turns = {TURNS}; prosody.hosts['prosody.test'].events.add_handler('message/bare', function () "
		"turns.commit(); turns.lost[turns.number] = true; end, 1000)")
	burst(alice, to, [2])
	assert int(alice.until("a")["h"]) == 1


@behaviour("acks: a request during a reload of the module is answered", options=NATIVE)
def requests_are_answered_across_a_reload(server):
	alice, bob = server.login("alice"), server.account("bob")
	to = f"{bob}@{server.host}"
	alice.enable()
	for number, (module, host) in enumerate([("smacks", "'prosody.test'"), ("storage_native", "'*'")], 1):
		server.lua(f"prosody.hosts['prosody.test'].events.add_handler('iq/host/urn:test:reload{number}:query', function () "
			f"assert(require 'core.modulemanager'.reload({host}, '{module}')); return true; end)")
		alice.send(f"<message type='chat' to='{to}' id='{number}'><body>{number}</body></message><r xmlns='{SM3}'/>"
			f"<iq type='get' id='r' to='prosody.test'><query xmlns='urn:test:reload{number}'/></iq>")
		assert int(alice.until("a")["h"]) in (2 * number - 1, 2 * number)
	alice.ping()
	assert alice.handled() == 5
	assert stored(server, bob) == ["1", "2"]


@behaviour("acks: successive lost turns do not take memory", options=NATIVE)
def lost_turns_take_no_memory(server):
	result = server.lua(f"""
		local turns = {TURNS};
		local first, heap = turns.number + 10, collectgarbage("count");
		collectgarbage(); collectgarbage();
		heap = collectgarbage("count");
		for number = first, first + 99999 do turns.lost[number] = true; end
		turns.lost[first + 100001] = true;
		collectgarbage(); collectgarbage();
		local seen = {{}};
		for _, n in ipairs {{ -1, 0, 50000, 99999, 100000, 100001, 100002 }} do seen[#seen + 1] = tostring(turns.lost[first + n] or false); end
		return table.concat(seen, " ")..(collectgarbage("count") - heap < 100 and " small" or " large")""")
	assert result == "false true true true false true false small", result
