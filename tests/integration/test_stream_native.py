"""mod_stream_native: stanza functions, sending, connections, carbons; loading, reloading and unloading with living sessions."""
import bed
import certsite
from steps import cut, pair, say
from suite import behaviour
from test_s2s import OUT, both
from test_tuning import NO_SMACKS, client_sends_at_once, encrypted_client

QUIET = {"log": {"info": "log"}}  # the bed's log has debug lines, with which nothing is spared
OURS = {"modules": ["stream_native"], "options": QUIET}
CARBONS = "urn:xmpp:carbons:2"
PRIVATE = f"<private xmlns='{CARBONS}'/>"

# Lua: whether `f`, or a function that it wraps, is our way of sending
FIND_LEAN = """
	local function is_lean(f, depth)
		if type(f) ~= "function" then return false; end
		if debug.getinfo(f, "S").source:find("send.lib.lua", 1, true) then return true; end
		for i = 1, depth > 0 and 255 or 0 do
			local name, value = debug.getupvalue(f, i);
			if not name then return false; end
			if is_lean(value, depth - 1) then return true; end
		end
		return false;
	end
"""

LEVEL_SINKS = """
	local sinks;
	for i = 1, 9 do
		local name, value = debug.getupvalue(require "util.logger".add_level_sink, i);
		if name == "level_sinks" then sinks = value.debug; end
	end
"""


# Lua: the next debug lines of clients' sessions go to prosody.lines as { source, text }, until the sink is removed
LOG_SENDING = LEVEL_SINKS + """
	prosody.lines = {};
	table.insert(sinks, function (source, _, message, kind, ...)
		if message:find("^Sending") and kind == "c2s" or message == "probe" then
			table.insert(prosody.lines, { source, message:format(kind, ...) });
		end
	end);"""
STOP_LOGGING = LEVEL_SINKS + "table.remove(sinks);"


def module(server, verb, name="stream_native", host="*"):
	assert server.lua(f"return tostring((require 'core.modulemanager'.{verb}({bed.lua(host)}, {bed.lua(name)})) ~= nil)") == "true"


def is_lean(server, client, depth=3):
	return server.lua(f"{FIND_LEAN} return tostring(is_lean(prosody.full_sessions[{bed.lua(client.jid)}].send, {depth}))") == "true"


def exchange(*clients):
	"""Each client sends a message to each other one."""
	for sender in clients:
		for receiver in clients:
			if sender is not receiver:
				sender.chat(receiver, f"from {sender.user}")
				assert receiver.message().body == f"from {sender.user}"


# --- stanza functions ---

FUNCTIONS = """
	local st = require "util.stanza";
	local kinds = {};
	for i, f in ipairs { st.stanza_mt.top_tag, st.stanza_mt.__tostring, st.clone, st.stanza_mt.tag, st.stanza_mt.text } do
		kinds[i] = debug.getinfo(f, "S").what;
	end
	return table.concat(kinds, " ");
"""


@behaviour("stanza functions: C while the module is loaded, Lua before and after")
def stanza_functions_come_and_go(server):
	alice, bob = pair(server)
	before = server.lua("""
		local st = require "util.stanza";
		prosody.before = { st.stanza_mt.top_tag, st.stanza_mt.__tostring, st.clone, st.stanza_mt.tag, st.stanza_mt.text };"""
		+ FUNCTIONS)
	assert before == "Lua Lua Lua Lua Lua"
	for verb, kinds in ("load", "C C C C C"), ("reload", "C C C C C"), ("unload", before):
		module(server, verb)
		assert server.lua(FUNCTIONS) == kinds, verb
		exchange(alice, bob)
	assert server.lua("""
		local st, before = require "util.stanza", prosody.before;
		return tostring(before[1] == st.stanza_mt.top_tag and before[2] == st.stanza_mt.__tostring and before[3] == st.clone
			and before[4] == st.stanza_mt.tag and before[5] == st.stanza_mt.text)""") == "true"


@behaviour("stanza functions: another module's replacement of ours stays, and works after the module is unloaded", **OURS)
def a_later_replacement_stays(server):
	alice, bob = server.login("alice"), server.login("bob")
	server.lua("""
		local st = require "util.stanza";
		local clone = st.clone;
		prosody.clones = 0;
		st.clone = function (...) prosody.clones = prosody.clones + 1; return clone(...); end
		prosody.theirs = st.clone;""")
	for verb in "reload", "unload":
		module(server, verb)
		exchange(alice, bob)
		assert server.lua("return tostring(require 'util.stanza'.clone == prosody.theirs)") == "true"
	assert server.lua("""
		local st, before = require "util.stanza", prosody.clones;
		local clone = st.clone(st.message({ to = "a@b" }, "hi"));
		return tostring(clone) == tostring(st.message({ to = "a@b" }, "hi")) and prosody.clones - before""") == "1"


@behaviour("stanza functions: an earlier replacement is left alone, and the log says so", options=QUIET)
def an_earlier_replacement_stays(server):
	server.lua("""
		local st = require "util.stanza";
		local clone = st.clone;
		st.clone = function (...) return clone(...); end""")
	module(server, "load")
	assert server.lua(FUNCTIONS) == "C C Lua C C"
	server.expect_log("Another module has replaced clone of util.stanza: leaving it")


# --- sending ---

@behaviour("lean send: used for TCP and WebSocket, not for BOSH, whose function is another one", **OURS)
def lean_where_the_function_is_prosodys(server):
	clients = {transport: server.login("alice", transport) for transport in ("tcp", "websocket", "bosh")}
	assert {transport: is_lean(server, client) for transport, client in clients.items()} == {
		"tcp": True, "websocket": True, "bosh": False}
	for transport in "tcp", "websocket":
		exchange(clients[transport], server.login("bob"))


COUNT_TOP_TAGS = """
	local mt = require "util.stanza".stanza_mt;
	local top_tag = mt.top_tag;
	prosody.sent = {};
	function mt:top_tag()
		if debug.getinfo(2, "S").source:find("sessionmanager.lua", 1, true) then table.insert(prosody.sent, self.name); end
		return top_tag(self);
	end"""


@behaviour("lean send: no text is made for debug lines unless somebody logs them, from one stanza to the next", **OURS)
def debug_lines_come_and_go(server):
	alice, bob = server.login("alice"), server.login("bob")
	server.lua(COUNT_TOP_TAGS)
	say(bob, alice, "quiet")
	assert alice.message().body == "quiet" and server.lua("return #prosody.sent") == "0"
	server.lua(LOG_SENDING)
	say(bob, alice, "logged")
	assert alice.message().body == "logged"
	assert server.lua("return prosody.sent[1]") == "message"
	line = server.lua("return prosody.lines[1][2]")
	assert line.startswith("Sending[c2s]: <message ") and "id='logged'" in line, line
	server.lua(STOP_LOGGING + "prosody.sent = {};")
	say(bob, alice, "quiet again")
	assert alice.message().body == "quiet again" and server.lua("return #prosody.sent") == "0"


@behaviour("lean send: what is neither a stanza nor a string raises the same error as without", **OURS)
def wrong_arguments_raise_the_same(server):
	alice = server.login("alice")
	errors = []
	for verb in "reload", "unload":
		module(server, verb)
		errors.append([server.session(alice, f"select(2, pcall(s.send, {value}))").split(": ", 1)[-1]
			for value in ("nil", "{}", "5", "{ name = 'a' }")])
	assert errors[0] == errors[1] and all("attempt to" in error for error in errors[0]), errors
	alice.ping()


@behaviour("lean send: loading, reloading and unloading with living sessions, with stream management and without", options=QUIET)
def sessions_go_on(server):
	alice, bob = pair(server)
	carol = server.login("carol", "websocket")
	server.lua(f"""
		local s = prosody.full_sessions[{bed.lua(bob.jid)}];
		prosody.before = s.send;""")
	for verb, lean in ("load", True), ("reload", True), ("unload", False), ("load", True), ("unload", False):
		module(server, verb)
		assert [is_lean(server, client) for client in (alice, bob, carol)] == [lean] * 3, verb
		exchange(alice, bob, carol)
	assert server.session(bob, "s.send == prosody.before") == "true"
	alice.handled()
	exchange(alice, server.login("dave"))


@behaviour("lean send: after an unload nothing keeps the module's code", **OURS)
def old_code_is_collected(server):
	alice, bob = pair(server)
	exchange(alice, bob)
	server.lua(f"""
		local s = prosody.full_sessions[{bed.lua(bob.jid)}];
		local events = prosody.hosts[{bed.lua(server.host)}].events;
		local module = require "core.modulemanager".get_module("*", "stream_native");
		prosody.weak = setmetatable({{ lean = s.send, module = module, clone = require "util.stanza".clone }}, {{ __mode = "v" }});
		for handler in pairs(events._event_map["message/full"]) do
			if debug.getinfo(handler, "S").source:find("mod_stream_native", 1, true) then prosody.weak.carbons = handler; end
		end""")
	kept = "collectgarbage(); collectgarbage(); local n = 0; for _ in pairs(prosody.weak) do n = n + 1; end return n"
	assert server.lua(kept) == "4"
	module(server, "reload")
	exchange(alice, bob)
	assert server.lua(kept) == "0"
	server.lua(f"prosody.weak.lean = prosody.full_sessions[{bed.lua(bob.jid)}].send")
	assert server.lua(kept) == "1"
	module(server, "unload")
	exchange(alice, bob)
	assert server.lua(kept) == "0"


@behaviour("lean send: a wrapper of another module stays outside, also across a reload and an unload",
	modules=["stream_native", "test_wrapper"], options=QUIET)
def wrappers_keep_their_order(server):
	server.lua(f"require 'core.modulemanager'.get_module({bed.lua(server.host)}, 'test_wrapper').wrapped = 'send'")
	alice, bob = server.login("alice"), server.login("bob")
	server.lua(f"prosody.wrapper = prosody.full_sessions[{bed.lua(alice.jid)}].send")
	assert not is_lean(server, alice, 0) and is_lean(server, alice)
	for verb, lean in ("reload", True), ("unload", False):
		module(server, verb)
		exchange(alice, bob)
		assert server.session(alice, "s.send == prosody.wrapper") == "true" and is_lean(server, alice) is lean


def resume_and_log(server, transport):
	"""Resumes a session, and checks that the sender works for it, with debug lines and without."""
	alice, bob = pair(server, transport)
	cut(server, alice)
	say(bob, alice, "while away")
	alice = server.resume(alice, transport)
	assert alice.message().body == "while away"
	exchange(alice, bob)
	server.lua(LOG_SENDING)
	say(bob, alice, "logged")
	assert alice.message().body == "logged"
	server.session(alice, "s.log('debug', 'probe') or 1")
	server.lua(STOP_LOGGING)
	exchange(alice, bob)
	return alice, server.lua("""
		local own = prosody.lines[#prosody.lines][1];
		for _, line in ipairs(prosody.lines) do
			if line[1] == own and line[2]:find("id='logged'", 1, true) then return line[2]; end
		end""")


@behaviour("lean send: a resumed session has it, and its debug lines are those of the session", over=("tcp", "websocket"), **OURS)
def resumption_moves_it(server, transport):
	alice, line = resume_and_log(server, transport)
	assert is_lean(server, alice)
	assert line.startswith("Sending[c2s]: <message "), line
	module(server, "unload")
	exchange(alice, server.login("carol"))
	assert not is_lean(server, alice)


def plugins_without_smacks():
	"""A plugin path that has this module alone, so that Prosody loads its own mod_smacks."""
	path = bed.BUILD / "bed/stream_native_alone"
	path.mkdir(parents=True, exist_ok=True)
	link, module_path = path / "mod_stream_native", bed.PROJECT / "lua/mod_stream_native"
	if link.resolve() != module_path:
		link.unlink(missing_ok=True)
		link.symlink_to(module_path)
	return str(path)


@behaviour("lean send: a session that Prosody's mod_smacks resumes has it, too",
	modules=["stream_native"], options={**QUIET, "plugin_paths": [plugins_without_smacks()]})
def resumption_by_prosodys_smacks_moves_it(server):
	alice, line = resume_and_log(server, "tcp")
	assert server.session(alice, "debug.getinfo(s.outgoing_stanza_queue.push).source:find('util/smqueue', 1, true)") != "nil"
	assert is_lean(server, alice) and line.startswith("Sending[c2s]: <message "), line
	module(server, "unload")
	exchange(alice, server.login("carol"))
	server.kill()  # stock mod_smacks logs tracebacks when the server stops


@behaviour("lean send: the module may be loaded and unloaded while sessions hibernate", options=QUIET)
def changes_while_hibernating(server):
	alice, bob = pair(server)
	for verb in "load", "unload", "load", "reload":
		cut(server, alice)
		module(server, verb)
		say(bob, alice, verb)
		alice = server.resume(alice)
		assert alice.message().body == verb
		assert is_lean(server, alice) is (verb != "unload")
		exchange(alice, bob)


# --- sending to other servers ---

FEDERATED = {"modules": ["stream_native"], "options": QUIET, "federation": True}
COUNT_TOP_TAGS_S2S = COUNT_TOP_TAGS.replace("sessionmanager.lua", "mod_s2s.lua")


def is_lean_from_a(servers):
	way = OUT.format(a="a.test", b="b.test")
	return servers.a.lua(f"{FIND_LEAN} {way}; return tostring(is_lean(s.sends2s, 3))") == "true"


@behaviour("lean send: to other servers, too, with stream management", **FEDERATED)
def servers_send_without_text(servers):
	alice, bob = both(servers)
	assert is_lean_from_a(servers)
	for server in servers.a, servers.b:
		server.lua(COUNT_TOP_TAGS_S2S)
	exchange(alice, bob)
	assert servers.a.lua("return #prosody.sent") == "0"
	servers.a.lua(LEVEL_SINKS + "prosody.sink = function () end; table.insert(sinks, prosody.sink);")
	exchange(alice, bob)
	assert servers.a.lua("return prosody.sent[1]") == "message"
	servers.a.lua(STOP_LOGGING + "prosody.sent = {}")
	exchange(alice, bob)
	assert servers.a.lua("return #prosody.sent") == "0"


@behaviour("lean send: to other servers without stream management",
	**{**FEDERATED, "options": {**QUIET, "smacks_enabled_s2s": False}})
def servers_send_without_stream_management(servers):
	alice, bob = servers.a.login("alice"), servers.b.login("bob")
	exchange(alice, bob)
	assert is_lean_from_a(servers)
	alice.send(f"<message to='{bob.jid}'><body>&lt;&amp;</body><x xmlns='urn:x' y='&apos;'/></message>")
	message = bob.message()
	assert message.body == "<&" and message.child("x", "urn:x")["y"] == "'"


@behaviour("lean send: streams to other servers go on when the module is loaded, reloaded and unloaded",
	options=QUIET, federation=True)
def server_streams_go_on(servers):
	alice, bob = both(servers)
	for verb, lean in ("load", True), ("reload", True), ("unload", False):
		for server in servers.a, servers.b:
			module(server, verb)
		assert is_lean_from_a(servers) is lean
		exchange(alice, bob)


# --- connections ---

@behaviour("stream_native: connections that exist when it is loaded send at once", options=NO_SMACKS)
def existing_connections_send_at_once(server):
	alice = server.login("alice")
	assert not client_sends_at_once(server, alice)
	module(server, "load")
	assert client_sends_at_once(server, alice) and client_sends_at_once(server, server.login("bob"))
	exchange(alice, server.login("carol"))


@behaviour("stream_native: the operator's choice of Nagle's algorithm is kept",
	options={**NO_SMACKS, "network_settings": {"nagle": True}})
def the_operators_nagle_is_kept(server):
	alice = server.login("alice")
	module(server, "load")
	assert not client_sends_at_once(server, alice) and not client_sends_at_once(server, server.login("bob"))


@certsite.behaviour("stream_native: encrypted connections that exist send at once, too")
def existing_encrypted_connections_send_at_once(site):
	direct_port, _ = site.direct_ports()
	site.modules += ["ping"]
	site.install(site.issue(f"DNS:{site.host}"))
	site.start()
	clients = [encrypted_client(site, port, is_direct) for port, is_direct in ((site.port, False), (direct_port, True))]
	assert not any(client_sends_at_once(site, client) for client in clients)
	module(site, "load")
	assert all(client_sends_at_once(site, client) for client in clients)
	for client in clients:
		client.ping()


# --- carbons ---

COUNT_DECISIONS = """
	prosody.decisions = 0;
	prosody.hosts["{host}"].events.add_wrapper("carbons-should-copy", function (fire, ...)
		prosody.decisions = prosody.decisions + 1;
		return fire(...);
	end);"""


def count_decisions(server):
	server.lua(COUNT_DECISIONS.format(host=server.host))


def decisions(server):
	"""How often mod_carbons has decided since the last call."""
	return int(server.lua("local n = prosody.decisions; prosody.decisions = 0; return n"))


def desk(server, name, carbons=True, like=None):
	"""An available device, another one of the account of `like`."""
	client = server.again(like) if like else server.login(name)
	if carbons:
		assert client.ask(f"<enable xmlns='{CARBONS}'/>", "set")["type"] == "result"
	return client.available()


def drain(client):
	"""The messages that came: (kind, body, has <private/>)."""
	client.ping()
	found = []
	for message in (e for e in client.unread if e.name == "message"):
		kind = next((k for k in ("sent", "received") if message.child(k, CARBONS)), "direct")
		inner = message if kind == "direct" else message.find(kind, "forwarded", "message")
		found.append((kind, inner.body, inner.child("private", CARBONS) is not None))
	client.unread.clear()
	return found


def play(server):
	"""Sends messages of all kinds between devices with carbons and without. Returns what each device gets."""
	alice, bob = desk(server, "alice"), desk(server, "bob")
	others = []
	seen = []
	for step in range(3):
		if step == 1:
			others = [desk(server, "", False, alice), desk(server, "", False, bob)]
		elif step == 2:
			others += [desk(server, "", True, alice), desk(server, "", True, bob)]
		for client in (alice, bob, *others):
			client.ping()
			client.unread.clear()
		for to in bob.jid, bob.bare_jid, f"{bob.bare_jid}/gone", server.host, alice.bare_jid:
			for kind in "chat", "normal", "headline":
				for payload in "", PRIVATE, "<no-copy xmlns='urn:xmpp:hints'/>":
					alice.chat(to, f"{kind}{len(payload)}", kind, payload)
		alice.ping()
		seen += [sorted(drain(client), key=str) for client in (alice, bob, *others)]
	return seen


@behaviour("carbons: the same messages for all devices as without the module, <private/> removed all the same", options=QUIET)
def carbons_are_the_same(server):
	without = play(server)
	module(server, "load")
	assert play(server) == without
	received = [message for device in without for message in device]
	assert ("received", "chat0", False) in received and ("sent", "chat0", False) in received
	assert ("direct", f"chat{len(PRIVATE)}", False) in received
	module(server, "unload")
	assert play(server) == without


@behaviour("carbons: mod_carbons decides only where a device may get a copy", **OURS)
def decisions_only_where_needed(server):
	count_decisions(server)
	alice, bob = desk(server, "alice"), desk(server, "bob")
	for to in bob.jid, bob.bare_jid:
		say(alice, bob.jid, "hi") if to == bob.jid else alice.chat(to, "hi")
		alice.ping()
		assert drain(bob) == [("direct", "hi", False)]
	alice.chat(f"nobody@{server.host}", "hi")
	alice.ping()
	assert decisions(server) == 0
	alice.chat(bob.jid, "private", payload=PRIVATE)
	alice.ping()
	assert drain(bob) == [("direct", "private", False)] and decisions(server) == 1
	phone = desk(server, "", True, bob)
	say(alice, bob.jid, "hi")
	assert drain(bob) == [("direct", "hi", False)] and drain(phone) == [("received", "hi", False)]
	assert decisions(server) == 1


@behaviour("carbons: while another module takes part in the decision, it is asked for each message", **OURS)
def other_deciders_are_asked(server):
	count_decisions(server)
	alice, bob = desk(server, "alice"), desk(server, "bob")
	server.lua(f"""
		prosody.decide = function (event) event.reason = "private"; return false; end
		prosody.hosts[{bed.lua(server.host)}].events.add_handler("carbons-should-copy", prosody.decide, 5);""")
	say(alice, bob.jid, "asked")
	assert decisions(server) == 2
	server.lua(f"prosody.hosts[{bed.lua(server.host)}].events.remove_handler('carbons-should-copy', prosody.decide)")
	say(alice, bob.jid, "not asked")
	assert decisions(server) == 0 and [body for _, body, _ in drain(bob)] == ["asked", "not asked"]


HANDLERS = """
	local n = { stock = 0, ours = 0 };
	for _, name in ipairs { "pre-message/host", "pre-message/bare", "pre-message/full", "message/bare", "message/full" } do
		for handler, priority in pairs(prosody.hosts["%s"].events._event_map[name] or {}) do
			local source = debug.getinfo(handler, "S").source;
			if source:find("mod_carbons.lua", 1, true) then n.stock = n.stock + 1; end
			if source:find("carbons.lib.lua", 1, true) and source:find("stream_native", 1, true) then n.ours = n.ours + 1; end
			if priority ~= -0.5 and source:find("carbons", 1, true) then n.stock = 100; end
		end
	end
	return ("%%d %%d"):format(n.stock, n.ours)"""


def handlers(server):
	"""Numbers of mod_carbons's handlers, and of ours in their places."""
	stock, ours = map(int, server.lua(HANDLERS % server.host).split())
	return stock, ours


@behaviour("carbons: either module may be loaded, reloaded and unloaded at any time, in any order", options=QUIET)
def carbons_come_and_go(server):
	host = server.host
	assert handlers(server) == (5, 0)
	for verb, name, place, expected in (
			("load", "stream_native", "*", (0, 5)), ("reload", "carbons", host, (0, 5)), ("reload", "stream_native", "*", (0, 5)),
			("unload", "carbons", host, (0, 0)), ("reload", "stream_native", "*", (0, 0)), ("load", "carbons", host, (0, 5)),
			("unload", "carbons", host, (0, 0)), ("unload", "stream_native", "*", (0, 0)), ("load", "carbons", host, (5, 0)),
			("load", "stream_native", "*", (0, 5)), ("unload", "stream_native", "*", (5, 0)), ("reload", "carbons", host, (5, 0))):
		module(server, verb, name, place)
		assert handlers(server) == expected, (verb, name)
	alice, bob = desk(server, "alice"), desk(server, "bob")
	phone = desk(server, "", True, bob)
	say(alice, bob.jid, "hi")
	assert drain(phone) == [("received", "hi", False)]


@behaviour("carbons: an unknown mod_carbons is left alone, and the log says so", options=QUIET)
def an_unknown_mod_carbons_is_left_alone(server):
	server.lua(f"""
		local carbons = prosody.hosts[{bed.lua(server.host)}].modules.carbons.module;
		carbons:hook("message/full", function () end, -0.5);""")
	module(server, "load")
	assert handlers(server) == (5, 0)
	server.expect_log("mod_carbons is not the one that is known: leaving it as it is")


@behaviour("carbons: a host that is activated later has the short way, too", **OURS)
def later_hosts_have_it(server):
	server.lua("""
		prosody.hosts["%s"].events.fire_event("x");
		require "core.configmanager".set("later.test", "defined", true);
		require "core.hostmanager".activate("later.test");""" % server.host)
	assert server.lua(HANDLERS % "later.test") == "0 5"
	server.lua("require 'core.hostmanager'.deactivate('later.test')")
	module(server, "reload")
	assert handlers(server) == (0, 5)


# --- status ---

@behaviour("stream_native: the status tells what is in use", **{**OURS, "modules": ["stream_native", "native"]})
def the_status_tells_it(server):
	server.login("alice")
	server.login("bob", "bosh")
	figures = server.lua("""
		local parts = {};
		for _, item in ipairs(require "core.modulemanager".get_items("native-status", "*")) do
			if item.name == "stream_native" then
				for _, figure in ipairs(item.figures()) do table.insert(parts, figure.name.." "..figure.value); end
			end
		end
		return table.concat(parts, ", ")""")
	assert figures == "stanza_functions 5, lean_clients 1, lean_servers 0, carbons_hosts 1", figures
