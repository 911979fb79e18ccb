"""The end of sessions, a few at a time, while other things happen: reloads, handlers that wait or fail, the end of a host."""
import bed
from steps import cut, pair, pending_offline, say, stream_error, wait_offline
from suite import behaviour
from test_delivery import drain, is_bounce
from test_ends import ENDINGS, LONG, SHORT, end, nothing_came
from test_operation import reload
from xmpp import failure

HOOK = "prosody.hosts['prosody.test'].events.add_handler"
ACCOUNTS = "prosody.hosts['prosody.test'].modules.smacks.module:shared('/*/smacks/accounts')"


def hold(server):
	"""Stops all ends of sessions, as if each turn were over."""
	server.lua(f"local e = {ENDINGS}; prosody.held = e; e.left, e.ends, e.scheduled = 0, 0, true")


def go_on(server):
	server.lua("local e = prosody.held; e.left, e.ends, e.scheduled = 1, 10, false; for step in pairs(e.steps) do step(); end")


@behaviour("paces: sessions that are due when the module is reloaded still end", options=SHORT)
def due_sessions_end_after_a_reload(server):
	alice, bob = pair(server)
	cut(server, alice)
	say(bob, alice, "kept")
	hold(server)
	server.wait_until(alice, "next(prosody.held.steps)")
	reload(server)
	go_on(server)
	server.wait_gone(alice)
	wait_offline(server, alice.user, ["kept"])


@behaviour("paces: the event loop rests while a handler waits, with any number of due sessions", options=SHORT)
def a_waiting_handler_rests_the_loop(server):
	alice, bob = pair(server)
	carol = server.login("carol")
	carol.enable()
	cut(server, alice)
	say(bob, alice, "one")
	server.lua(f"""
		local async = require "util.async";
		{HOOK}("delivery/failure", function ()
			local wait, done = async.waiter();
			prosody.done = done;
			wait();
		end, 10)""")
	end(server, alice)
	cut(server, carol)
	server.lua(f"""
		local e, scheduled = {ENDINGS}, false;
		prosody.turns = 0;
		e.scheduled = nil;
		setmetatable(e, {{
			__index = function (_, name) if name == "scheduled" then return scheduled; end end;
			__newindex = function (_, _, value)
				scheduled = value;
				if value then prosody.turns = prosody.turns + 1; end
			end;
		}});""")
	bed.wait_for(lambda: server.lua("return tostring(prosody.turns > 0)") == "true", "carol's session is due")
	for _ in range(20):
		server.lua("true")
	assert int(server.lua("return prosody.turns")) < 5
	server.lua("prosody.done()")
	server.wait_gone(carol)
	wait_offline(server, alice.user, ["one"])


@behaviour("paces: while a handler waits, messages are still stored offline in their order", options=LONG)
def offline_order_holds_while_a_handler_waits(server):
	alice, bob = pair(server)
	cut(server, alice)
	say(bob, alice, "one", "two")
	server.lua(f"""
		local async = require "util.async";
		{HOOK}("delivery/failure", function ()
			if prosody.done then return; end
			local wait, done = async.waiter();
			prosody.done = done;
			wait();
		end, 10)""")
	end(server, alice)
	say(bob, alice.bare_jid, "three")
	assert pending_offline(server, alice.user) == []
	server.lua("prosody.done()")
	wait_offline(server, alice.user, ["one", "two", "three"])
	nothing_came(bob)


@behaviour("paces: new stanzas go to a new resource, too", options=LONG)
def a_new_resource_gets_what_follows(server):
	alice, bob = pair(server)
	cut(server, alice)
	say(bob, alice, "one")
	hold(server)
	end(server, alice)
	say(bob, alice.bare_jid, "two")
	phone = server.again(alice).available()
	go_on(server)
	assert phone.bodies(2) == ["one", "two"]
	assert pending_offline(server, alice.user) == []


@behaviour("paces: a handler that fails while a session ends does not lose stanzas", options=SHORT)
def a_failing_handler_loses_nothing(server):
	alice, bob = pair(server)
	cut(server, alice)
	say(bob, alice, "one")
	server.lua(f"{HOOK}('resource-unbind', function (event) if event.session.full_jid == {bed.lua(alice.jid)} then "
		"error('expected'); end end, 10)")
	server.announced += ["expected", "raceback"]
	wait_offline(server, alice.user, ["one"])


# --- unloading the module or the host ---

@behaviour("unload: sessions with stream management end, without loss", over=("tcp", "websocket", "bosh"))
def unloading_ends_sessions(server, transport):
	alice, bob = pair(server, transport)
	carol, plain = server.login("carol"), server.login("plain")
	carol.enable()
	cut(server, carol)
	say(bob, alice, "one")
	say(bob, carol, "two")
	server.shell("module", "unload", "smacks", server.host)
	server.wait_gone(alice)
	server.wait_gone(carol)
	if transport == "tcp":
		assert failure(stream_error(alice)) == "reset"
	assert pending_offline(server, alice.user) == ["one"]
	assert pending_offline(server, carol.user) == ["two"]
	plain.ping()
	server.shell("module", "load", "smacks", server.host)
	assert server.lua(f"return tostring(next({ACCOUNTS}))") == "nil"
	assert drain(server.again(alice).available()) == ["one"]


@behaviour("unload: streams to other servers end, and their stanzas are answered", federation=True)
def unloading_ends_s2s_streams(servers):
	alice, bob = servers.a.login("alice"), servers.b.login("bob")
	say(alice, bob, "first")
	assert bob.message().body == "first"
	servers.to_b.freeze()
	alice.chat(bob, "second")
	alice.ping()
	servers.a.shell("module", "unload", "smacks", "a.test")
	assert alice.stanza()["type"] == "error"
	servers.a.shell("module", "load", "smacks", "a.test")
	code = "return tostring(next(prosody.hosts['a.test'].modules.smacks.module:shared('/*/smacks/accounts')))"
	assert servers.a.lua(code) == "nil"


@behaviour("deactivation: queues of a host's sessions are stored before its modules are unloaded", options=LONG)
def a_deactivated_host_stores_its_queues(server):
	alice, bob = pair(server)
	clients = [alice, *(server.login("carol") for _ in range(3))]
	for client in clients[1:]:
		client.enable()
	for client in clients:
		cut(server, client)
		say(bob, client, "kept")
	server.lua(f"{ENDINGS}.left = 0")
	server.lua("require 'core.hostmanager'.deactivate('prosody.test')")
	server.lua("require 'core.hostmanager'.activate('prosody.test')")
	for client in clients:
		assert pending_offline(server, client.user) == ["kept"]


@behaviour("stop: stanzas that wait for delivery are stored before the server stops", options=LONG)
def a_stop_stores_unfinished_handovers(server):
	alice, bob = pair(server)
	carol = server.login("carol")
	carol.enable()
	for client in (alice, carol):
		cut(server, client)
		say(bob, client, "one", "two")
	hold(server)
	end(server, alice)
	end(server, carol)
	say(bob, alice.bare_jid, "three")
	server.settle()
	server.terminate()
	server.start()
	assert pending_offline(server, alice.user) == ["one", "two", "three"]
	assert pending_offline(server, carol.user) == ["one", "two"]


# --- two steps, a handler that waits, resources that are taken ---

SMACKS = "prosody.hosts['prosody.test'].modules.smacks"
DESTROY = "require 'core.sessionmanager'.destroy_session"


@behaviour("two steps: a session that ends before it is enabled is freed")
def a_session_that_ends_before_enabling_is_gone(server):
	alice = server.login("alice")
	server.lua(f"""
		local session = prosody.full_sessions[{bed.lua(alice.jid)}];
		local enable = require "util.stanza".stanza("enable", {{ xmlns = "urn:xmpp:sm:3", resume = "true" }});
		local enabled, again = {SMACKS}.do_enable(session, enable), {SMACKS}.do_enable(session, enable);
		{DESTROY}(session);
		enabled.finish();
		again.finish();""")
	assert server.lua(f"return tostring(next({ACCOUNTS}))") == "nil"
	assert server.lua(f"return tostring(next({SMACKS}.module:shared('/*/smacks/resumption-tokens')))") == "nil"


@behaviour("two steps: a connection that is lost before the resumption is finished leaves a session that can be resumed")
def a_cut_during_resumption_stays_resumable(server):
	alice, bob = pair(server)
	cut(server, alice)
	say(bob, alice, "one")
	new = server.authenticated(alice.user)
	server.lua(f"""
		local session;
		for _, s in pairs({SMACKS}.module:shared("/*/c2s/sessions")) do
			if s.username == {bed.lua(alice.user)} and not s.full_jid then session = s; end
		end
		local resumed = assert({SMACKS}.do_resume(session, require "util.stanza".stanza("resume",
			{{ xmlns = "urn:xmpp:sm:3", previd = {bed.lua(alice.id)}, h = "0" }})));
		{DESTROY}(resumed.session);
		resumed.finish();""")
	assert server.session(alice, "s.hibernating and not s.smacks_resending and not s.resending_unacked") == "true"
	new.transport.wait_for_end()
	alice = server.resume(alice)
	assert alice.message().body == "one"
	assert server.lua(f"return tostring({ACCOUNTS}[{bed.lua(alice.bare_jid)}].hibernating)") == "0"


@behaviour("waiting: a session that is cut while a handler waits handles the stanzas that it has read, and is stripped then",
	options=LONG)
def a_cut_session_finishes_its_handlers(server):
	alice, bob = pair(server)
	server.lua(f"""
		local async = require "util.async";
		{HOOK}("message/full", function (event)
			if event.stanza.attr.id ~= "one" then return; end
			local wait, done = async.waiter();
			prosody.done = done;
			wait();
		end, 10)""")
	bob.ping()
	to = bob.jid
	alice.send("".join(f"<message type='chat' to='{to}' id='{n}'><body>{n}</body></message>" for n in ("one", "two")))
	bed.wait_for(lambda: server.lua("return tostring(prosody.done ~= nil)") == "true", "the handler waits")
	server.lua(f"{DESTROY}(prosody.full_sessions[{bed.lua(alice.jid)}])")
	server.wait_hibernating(alice)
	server.settle()
	server.lua("prosody.done()")
	assert bob.bodies(2) == ["one", "two"]
	server.wait_until(alice, "not s.thread and not s.stream")
	assert server.resume(alice).resumed["h"] == "2"
