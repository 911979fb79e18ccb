"""Operation: reload, stop and restart, log lines, metrics, memory."""
import bed
from steps import EVERY_TRANSPORT, counters, cut, pair, say, stream_error
from suite import behaviour
from test_delivery import drain, is_bounce
from xmpp import SM3, failure

METRICS = ["tx_queued_stanzas", "tx_dropped_stanzas", "tx_acked_stanzas", "session_resumption_expired",
	"resumption_age_seconds", "sessions_expired", "sessions_started"]


def reload(server):
	assert "reloaded" in server.shell("module", "reload", "smacks", server.host).lower()


# --- reload ---

@behaviour("reload: a live session goes on, with its counters and its queue", over=EVERY_TRANSPORT)
def a_reload_keeps_a_live_session(server, transport):
	alice, bob = pair(server, transport)
	alice.ping()
	say(bob, alice, "before")
	before = counters(server, alice)
	reload(server)
	say(bob, alice, "after")
	assert alice.bodies(2) == ["before", "after"]
	alice.ping()
	assert alice.handled() == 2
	assert counters(server, alice) == (before[0], before[1] + 2)
	alice.ack()
	alice.handled()
	assert counters(server, alice)[1] == 0
	cut(server, alice)
	say(bob, alice, "detached")
	alice = server.resume(alice)
	assert alice.resumed["h"] == "2"
	assert alice.message().body == "detached"


@behaviour("reload: a hibernating session can be resumed, with stanzas from before and after")
def a_reload_keeps_a_hibernating_session(server):
	alice, bob = pair(server)
	say(bob, alice, "unread")
	cut(server, alice)
	say(bob, alice, "before")
	reload(server)
	say(bob, alice, "after")
	alice = server.resume(alice, h=0)
	assert alice.bodies(3) == ["unread", "before", "after"]
	alice.ping()
	assert alice.handled() == 1


@behaviour("reload: the hibernation timeout still runs, into storage", options={"smacks_hibernation_time": 2})
def the_timeout_runs_on_after_a_reload(server):
	alice, bob = pair(server)
	cut(server, alice)
	say(bob, alice, "kept")
	reload(server)
	server.wait_gone(alice)
	assert drain(server.again(alice).available()) == ["kept"]


@behaviour("reload: several times, with sessions enabled between them")
def sessions_survive_several_reloads(server):
	clients, bob = [], server.login("bob")
	for _ in range(4):
		clients.append(server.login("alice"))
		clients[-1].enable()
		reload(server)
	for client in clients:
		cut(server, client)
		say(bob, client, "kept")
		client = server.resume(client)
		assert client.message().body == "kept"
		client.ping()
		assert client.handled() == 1


@behaviour("reload: each stanza is counted once afterwards, in and out")
def stanzas_are_counted_once_after_a_reload(server):
	alice, bob = pair(server)
	for _ in range(3):
		reload(server)
	say(bob, alice, "one")
	alice.message()
	alice.ping()
	assert alice.handled() == 1
	assert counters(server, alice) == (0, 2)


@behaviour("reload: changed options apply to sessions enabled afterwards")
def changed_options_apply_to_new_sessions(server):
	server.options["smacks_hibernation_time"] = 77
	server.rewrite_config()
	server.shell("config", "reload")
	reload(server)
	assert server.login("alice").enable()["max"] == "77"


# --- stop and restart ---

@behaviour("stop: unacknowledged stanzas are delivered elsewhere, and h is known after the restart")
def a_stop_hands_over_and_remembers_h(server):
	alice, bob = pair(server)
	alice.ping()
	alice.ack()
	say(bob, alice, "unacknowledged")
	server.settle()
	server.terminate()
	server.start()
	client = server.authenticated(alice.user)
	failed = client.try_resume(alice, alice.h)
	assert failure(failed) == "item-not-found" and failed["h"] == "1", failed
	client.bind().available()
	assert drain(client) == ["unacknowledged"]


@behaviour("stop: a hibernating session's stanzas are delivered elsewhere, and its h is known after the restart")
def a_stop_hands_over_hibernating_sessions(server):
	alice, bob = pair(server)
	alice.send("<presence/>", "<presence/>")
	alice.handled()
	cut(server, alice)
	say(bob, alice, "one", "two")
	server.settle()
	server.terminate()
	server.start()
	client = server.authenticated(alice.user)
	failed = client.try_resume(alice, 0)
	assert failure(failed) == "item-not-found" and failed["h"] == "2", failed
	client.bind().available()
	assert [b for b in drain(client) if b] == ["one", "two"]


@behaviour("stop: stanzas that cannot be stored bounce while their sender can still be reached",
	options={"modules_disabled": ["tls", "s2s", "offline"]})
def unstorable_messages_bounce_at_the_stop(server):
	alice, bob = pair(server)
	say(bob, alice, "for the phone only")
	server.settle()
	server.terminate()
	assert is_bounce(bob.stanza())


@behaviour("stop: clients on every transport see the end of their connection")
def clients_see_the_stop(server):
	clients = [server.login("alice", transport) for transport in EVERY_TRANSPORT]
	for client in clients:
		client.enable()
	clients[-1].transport.poll()
	server.settle()
	server.terminate()
	for client in clients:
		client.transport.wait_for_end()


def stored_counters(server, user):
	"""The number of ended or hibernating sessions of a user whose h is on disk."""
	return int(server.lua(f"""
		local store = require "core.storagemanager".open({bed.lua(server.host)}, "smacks_h");
		local n = 0;
		for _ in pairs(store:get({bed.lua(user)}) or {{}}) do n = n + 1; end
		return tostring(n)"""))


@behaviour("restart: the h of a killed server's hibernating session is still known")
def h_survives_a_kill(server):
	alice, _ = pair(server)
	alice.ping()
	cut(server, alice)
	bed.wait_for(lambda: stored_counters(server, alice.user) == 1, "h is on disk")
	server.kill()
	server.start()
	failed = server.authenticated(alice.user).try_resume(alice, 0)
	assert failure(failed) == "item-not-found" and failed["h"] == "1", failed


# --- log, metrics, fields, memory ---

@behaviour("log: an h too high is a warning with all the numbers")
def an_h_too_high_is_logged(server):
	alice, bob = pair(server)
	say(bob, alice, "one")
	alice.message()
	alice.ack(42)
	stream_error(alice)
	server.expect_log(r"\twarn\t.*\b42\b.*\b1\b")


@behaviour("log: an h that is not a number is a warning")
def a_malformed_h_is_logged(server):
	alice, _ = pair(server)
	alice.send(f"<a xmlns='{SM3}' h='many'/>")
	stream_error(alice)
	server.expect_log(r"\twarn\t.*\bh\b")


@behaviour("log: a failed <enable/> is a warning that says why")
def a_failed_enable_is_logged(server):
	client = server.authenticated(server.account("alice"))
	client.send(f"<enable xmlns='{SM3}'/>")
	client.next()
	server.expect_log(r"\twarn\t.*enable.*bind")


@behaviour("metrics: the names are those of the stock module", options={"statistics": "internal"})
def metrics_keep_their_names(server):
	alice, bob = pair(server)
	say(bob, alice, "one")
	cut(server, alice)
	server.resume(alice).message()
	code = """
		local names = {};
		local registry = require "core.statsmanager".get_metric_registry();
		for name in pairs(registry:get_metric_families()) do table.insert(names, name); end
		return table.concat(names, " ")"""
	names = server.lua(code).split()
	for metric in METRICS:
		assert f"prosody_mod_smacks/{metric}" in names, (metric, [n for n in names if "smacks" in n])


@behaviour("shell: sessions can be listed, connected and hibernating")
def the_shell_lists_sessions(server):
	alice, _ = pair(server)
	carol = server.login("carol")
	carol.enable()
	cut(server, carol)
	listed = server.shell("c2s", "show")
	assert alice.jid.split("/")[0] in listed and "OK" in listed, listed


@behaviour("fields: a session has the fields that other modules read")
def session_fields_stay_compatible(server):
	alice, bob = pair(server)
	fields = {
		"s.smacks": SM3, "s.resumption_token": alice.id, "s.handled_stanza_count": "0", "s.hibernating": "nil",
		"#s.outgoing_stanza_queue": "1", "s.outgoing_stanza_queue:count_unacked()": "1",
		"s.outgoing_stanza_queue:count_acked()": "0", "s.outgoing_stanza_queue:resumable()": "true",
		"#s.outgoing_stanza_queue:table()": "1",
		"s.outgoing_stanza_queue:table()[1]:get_child_text('body')": "one",
		"s.awaiting_ack": "true", "s.last_requested_h": "1", "s.delayed_ack_timer and true": "true",
	}
	say(bob, alice, "one")
	alice.until("r")
	server.settle()
	for expression, value in fields.items():
		assert server.session(alice, expression) == value, (expression, server.session(alice, expression))
	token = f"{alice.bare_jid}/{alice.id}"
	shared = f"module:context('*'):shared('/*/smacks/resumption-tokens')[{bed.lua(token)}]"
	code = f"local module = prosody.hosts[{bed.lua(server.host)}].modules.smacks.module; return tostring({shared} == " \
		f"prosody.full_sessions[{bed.lua(alice.jid)}])"
	assert server.lua(code) == "true"
	cut(server, alice)
	assert server.session(alice, "math.type(s.hibernating)") == "integer"
	assert server.session(alice, "s.hibernating_watchdog.timeout") == "600"


@behaviour("memory: the h of a session that was resumed and closed is no longer on disk")
def a_closed_session_leaves_no_h_on_disk(server):
	alice, _ = pair(server)
	cut(server, alice)
	bed.wait_for(lambda: stored_counters(server, alice.user) == 1, "h is on disk")
	reload(server)
	server.resume(alice).close()
	server.wait_gone(alice)
	assert stored_counters(server, alice.user) == 0


@behaviour("memory: ended sessions are freed")
def ended_sessions_are_forgotten(server):
	bob = server.login("bob")
	for n in range(30):
		alice = server.login("alice", EVERY_TRANSPORT[n % 2])
		alice.enable()
		cut(server, alice)
		say(bob, alice, "kept")
		server.resume(alice, EVERY_TRANSPORT[(n + 1) % 2]).close()
		server.wait_gone(alice)
	code = f"local module = prosody.hosts[{bed.lua(server.host)}].modules.smacks.module; local n = 0; " \
		"for _ in pairs(module:shared('/*/smacks/resumption-tokens')) do n = n + 1; end; return tostring(n)"
	assert server.lua(code) == "0"


@behaviour("memory: a hibernating session keeps little except its queue", over=("tcp", "websocket"))
def a_hibernating_session_keeps_little(server, transport):
	server.options["smacks_max_hibernated_sessions"] = 1000
	server.finish()
	server.start()
	heap = "collectgarbage(); collectgarbage(); return string.format('%d', collectgarbage('count') * 1024)"
	alice = [server.login("alice", transport) for _ in range(2)]  # objects that are created once
	for client in alice:
		client.enable()
		cut(server, client)
	before, clients = int(server.lua(heap)), [server.login("alice", transport) for _ in range(60)]
	for client in clients:
		client.enable()
		client.available()
	for client in clients:
		cut(server, client)
	server.wait_until(clients[-1], "not s.stream and not s.thread and not s.data and not s.conn")
	assert (int(server.lua(heap)) - before) / len(clients) < 10 * 1024


@behaviour("memory: a replaced connection does not keep data that its client has not read")
def a_replaced_connection_keeps_nothing(server):
	alice, bob = pair(server)
	for n in range(100):  # more than fits into the socket's buffers
		bob.send(f"<message to='{alice.jid}' id='{n}'><body>{'x' * 80000}</body></message>")
	bob.ping()
	server.lua(f"prosody.replaced = prosody.full_sessions[{bed.lua(alice.jid)}].conn; assert(#prosody.replaced.writebuffer > 0)")
	again = server.resume(alice, h=0)
	assert server.lua("return tostring(prosody.replaced.conn or prosody.replaced.writebuffer)") == "nil"
	assert [again.stanza()["id"] for _ in range(100)] == [str(n) for n in range(100)]


@behaviour("memory: an abandoned connection does not keep data that its client has not read")
def an_abandoned_connection_keeps_nothing(server):
	alice, bob = pair(server)
	for n in range(100):
		bob.send(f"<message to='{alice.jid}' id='{n}'><body>{'x' * 80000}</body></message>")
	bob.ping()
	server.lua(f"local s = prosody.full_sessions[{bed.lua(alice.jid)}]; prosody.given_up = s.conn; "
		"require 'core.sessionmanager'.destroy_session(s, 'read timeout')")
	server.wait_hibernating(alice)
	assert server.lua("return tostring(prosody.given_up.conn or prosody.given_up.writebuffer)") == "nil"
	assert [server.resume(alice, h=0).stanza()["id"]] == ["0"]
