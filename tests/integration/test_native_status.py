"""prosodyctl mod_native status, and the same in the shell, with and without a running server."""
import json
import os
import re
import signal

import bed
from mam import Entry, fill
from steps import cut, say
from suite import behaviour
from test_native import ERRORS, TOOL, site

LARGEST = 5


def status(server):
	return json.loads(TOOL.good(server, "status", "--json"))


def streams(server):
	return status(server)["smacks"][server.host]


@behaviour("native status: the identity of the server", **site())
def status_names_the_server(server):
	found = status(server)["server"]
	assert found["prosody"].startswith(server.version) and found["uptime"] >= 0, found
	assert TOOL.good(server, "status").startswith(f"Prosody {server.version}")


# --- figures ---

@behaviour("native status: live and hibernating sessions, and the size of their queues", **site())
def sessions_are_listed(server):
	alice, bob = server.login("alice"), server.login("bob")
	assert streams(server)["live"] == 0  # no client uses stream management
	alice.enable()
	assert (streams(server)["live"], streams(server)["hibernating"]) == (1, 0)
	assert streams(server)["largest_queues"] == []
	cut(server, alice)
	say(bob, alice, "one", "two")
	found = streams(server)
	assert (found["live"], found["hibernating"], found["held_stanzas"]) == (0, 1, 2), found
	assert found["held_bytes"] > 2 * 64 and found["held_bytes"] == found["all_hosts_bytes"], found
	assert found["all_hosts_bytes_limit"] == 512 << 20, found
	assert found["largest_queues"] == [
		{"jid": alice.jid, "state": "hibernating", "stanzas": 2, "bytes": found["held_bytes"]}], found
	server.resume(alice).ack(2)
	bed.wait_for(lambda: streams(server)["held_stanzas"] == 0, "nothing is held")


@behaviour("native status: only the largest queues are named, in order", **site())
def the_largest_queues_are_named(server):
	bob, away = server.login("bob"), []
	for count in range(LARGEST + 2):
		client = server.login("alice")
		client.enable()
		cut(server, client)
		say(bob, client, *range(count + 1))
		away.append(client.jid)
	found = streams(server)["largest_queues"]
	assert [row["jid"] for row in found] == away[:1:-1], found
	assert [row["stanzas"] for row in found] == [7, 6, 5, 4, 3], found


@behaviour("native status: the store", **site())
def the_store_is_shown(server):
	alice = server.account("alice")
	before = status(server)["storage_native"]["*"]
	fill(server, alice, [Entry(f"message {n}", 1700000000 + n, "bob@prosody.test") for n in range(50)])
	after = status(server)["storage_native"]["*"]
	assert after["directory"] == str(server.directory / "data/native")
	assert after["records"] >= before["records"] + 50 and after["transactions"] > before["transactions"], (before, after)
	assert after["size"] >= after["used"] > before["used"] and after["size_limit"] > after["size"], (before, after)
	assert after["rate"] >= 0 and after["readers"] >= 0, after
	bed.wait_for(lambda: status(server)["storage_native"]["*"]["behind"] == 0, "all is durable")
	assert status(server)["storage_native"]["*"]["sync_lag"] == 0


@behaviour("native status: a store that is not used yet is not opened", modules=["native"])
def an_unused_store_stays_closed(server):
	assert "storage_native" not in status(server)  # no data are stored with it
	server.lua(f'assert(require "core.storagemanager".load_driver({bed.lua(server.host)}, "native"))')
	store = status(server)["storage_native"]["*"]
	assert store["open"] is False and "nothing has been read or written" in store["reason"], store
	assert not (server.directory / "data/native").exists()


@behaviour("native status: streams of other servers that were refused",
	**site({"use_dane": False, "s2s_secure_domains": ["strict.test"]}, modules=["native", "s2s_auth_native"]))
def refused_streams_are_shown(server):
	server.lua("""
		local session = { direction = "incoming", log = function () end, close = function () end };
		for _, host in ipairs { "strict.test", "lax.test", "strict.test" } do
			prosody.events.fire_event("s2s-check-certificate", { session = session, host = host });
		end""")
	found = status(server)["s2s_auth_native"]["*"]
	refused = {row["reason"]: (row["incoming"], row["outgoing"]) for row in found["refused"]}
	assert refused.pop("no-certificate") == (2, 0) and set(refused.values()) == {(0, 0)}, found
	assert found["dane"] == "off: use_dane = false", found


@behaviour("native status: a module without figures does not hide the others", **site())
def one_failing_module_hides_no_other(server):
	server.lua("""require "core.modulemanager".get_module("*", "native").module:add_item("native-status", {
		name = "broken", figures = function () error("no figures \\27[31m today") end })""")
	found = status(server)
	assert "no figures" in found["broken"]["*"]["error"] and found["smacks"][server.host]["live"] == 0, found
	text = TOOL.good(server, "status")
	assert "no figures \\x1b[31m today" in text and "smacks on prosody.test" in text, text
	server.expect_log("figures of broken")


@behaviour("native status: modules come and go while the server runs", **site())
def modules_come_and_go(server):
	server.shell("module", "unload", "smacks", server.host)
	assert "smacks" not in status(server)
	server.shell("module", "load", "smacks", server.host)
	server.shell("module", "reload", "native")
	assert streams(server)["live"] == 0
	assert len(re.findall(r"^smacks on ", TOOL.good(server, "status"), re.M)) == 1


# --- texts ---

@behaviour("native status: the text has every figure, and the shell has the same text", **site())
def text_and_shell_agree(server):
	alice, bob = server.login("alice"), server.login("bob")
	alice.enable()
	say(bob, alice, "hello")
	text = TOOL.good(server, "status")
	for pattern in (r"^smacks on prosody\.test$", r"^  live +1$", r"^  held stanzas +1$",
			r"^  all hosts bytes  \d+ B of at most 512\.0 MB$", r"^  largest queues\n    jid +state +stanzas +bytes$",
			rf"^    {re.escape(alice.jid)} +live +1 +\d+ B$", r"^storage_native$", r"^  rate +[\d.]+ a second$",
			r"^  sync lag +\S+ s$", r"^  structure +verified$"):
		assert re.search(pattern, text, re.M), (pattern, text)
	shell = server.shell("native", "status")
	assert re.search(rf"^    {re.escape(alice.jid)} +live +1 +\d+ B$", shell, re.M), shell
	assert "OK: Figures of 2 modules" in shell, shell


@behaviour("native status: colours are used on terminals only", **site())
def only_a_terminal_gets_colours(server):
	colourless = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
	assert "\x1b[1msmacks on" in TOOL.on_terminal(server, "status", environment={**colourless, "NO_COLOR": ""})
	assert "\x1b" not in TOOL.on_terminal(server, "status", environment={"NO_COLOR": "1"})


# --- no answer ---

@behaviour("native status: an answer may have any length, and any characters", **site())
def answers_may_be_long(server):
	server.lua("""require "core.modulemanager".get_module("*", "native").module:add_item("native-status", {
		name = "long", figures = function () return { { name = "text", value = ("\\u{fc}\\"<"):rep(30000) } } end })""")
	assert status(server)["long"]["*"]["text"] == 'ü"<' * 30000


@behaviour("native status: the server does not run", **site())
def the_server_is_stopped(server):
	server.finish()
	TOOL.bad(server, "status", status=ERRORS, says="Prosody is not running: .*data.*|Prosody is not running: .*sock")


@behaviour("native status: the server was killed, and its socket still exists", **site())
def a_killed_server_leaves_its_socket(server):
	server.kill()
	assert (server.directory / "sock").exists()
	TOOL.bad(server, "status", "--json", status=ERRORS, says="Prosody is not running")


@behaviour("native status: the server runs without mod_native", modules=[])
def mod_native_is_not_loaded(server):
	TOOL.bad(server, "status", status=ERRORS, says='mod_native is not loaded.*\n.*"native"')


@behaviour("native status: the socket is at another path", **site())
def the_socket_is_elsewhere(server):
	server.options["admin_socket"] = server.directory / "elsewhere"
	server.rewrite_config()
	TOOL.bad(server, "status", status=ERRORS, says='Cannot reach the admin socket .*elsewhere .*\n.*"native"')


@behaviour("native status: the server hangs", **site())
def the_server_hangs(server):
	server.process.send_signal(signal.SIGSTOP)
	try:
		TOOL.bad(server, "status", status=ERRORS, says="No answer from Prosody")
	finally:
		server.process.send_signal(signal.SIGCONT)


@behaviour("native status: mod_native loads the admin socket, and does not need the shell", **site())
def the_admin_socket_needs_no_shell(server):
	server.lua("""require "core.modulemanager".unload("*", "admin_shell")""")
	assert streams(server)["live"] == 0
	server.admin.close()
	server.admin = None
	server.settle = lambda: None  # which uses the shell
