"""Limits of the store: of its file, of a host, and of a user's offline messages."""
import json
import time

import bed
from mam import Entry, fill
from steps import pending_offline, say
from suite import behaviour
from test_native_status import status
from test_storage import ROOMS, login, over, private, prosodyctl, result
from test_storage_faults import SMALL, TEXT, assert_kept, attempt, store_of, wait_durable, write_until_refused
from test_tuning import reload_config

FEW, MANY = 20, 3000
SET_ASIDE = 2 * SMALL + (64 << 10)  # with the blocks of the file system


@behaviour("storage limits: a full store is writable again once a reload of the configuration has raised its limit",
	**over(["private"], {"storage_native_max_size": 4 * SMALL}))
def a_reload_raises_the_limit(server):
	alice = server.login("alice")
	taken = write_until_refused(alice)
	server.expect_log("storage_native_max_size; raise it")
	assert not attempt(alice, TEXT, "more")
	reload_config(server, storage_native_max_size=8 * SMALL)
	server.expect_log(f"Changed storage_native_max_size from {4 * SMALL} to {8 * SMALL} bytes")
	result(private(alice, TEXT, name="more"))
	reload_config(server, storage_native_max_size=4 * SMALL)
	server.expect_log(f"Changed storage_native_max_size from {8 * SMALL} to {4 * SMALL} bytes")
	refused = [n for n in range(taken) if not attempt(alice, TEXT, f"other{n}")]
	assert refused
	assert_kept(alice, taken)
	assert private(alice, name="more") == TEXT


def has_little_beside_its_pages(server):
	file = (store_of(server) / "data.mdb").stat()
	return file.st_size <= file.st_blocks * 512 <= file.st_size + SET_ASIDE


@behaviour("storage limits: the file has little space on the disk beside its pages, while the server runs and afterwards",
	**over(["private", "mam"]))
def the_file_is_as_large_as_its_content(server):
	alice = server.login("alice")
	first = int(time.time()) - MANY  # none expires
	fill(server, alice.user, [Entry(f"message {n} of an archive", first + n, "peer@prosody.test") for n in range(MANY)])
	result(private(alice, TEXT))
	wait_durable(server)
	assert has_little_beside_its_pages(server)
	server.finish()
	assert has_little_beside_its_pages(server)
	server.start()
	assert private(login(server, alice.user)) == TEXT and has_little_beside_its_pages(server)


# --- a host ---

HOST_LIMIT = 2 * SMALL
CONFIGURED = {"storage_native_max_host_size": HOST_LIMIT}


@behaviour("storage limits: a host at its limit refuses writes and allows deletions, and other hosts are not affected",
	components={ROOMS: "muc"}, **over(["private", "native"], CONFIGURED))
def a_full_host_refuses_writes_only(server):
	alice = server.login("alice")
	taken = write_until_refused(alice)
	server.expect_log(f"{server.host}: the host has reached storage_native_max_host_size; raise it")
	assert_kept(alice, taken)
	figures = status(server)["storage_native"][server.host]
	assert figures["host_size_limit"] == HOST_LIMIT and HOST_LIMIT - 2 * len(TEXT) < figures["host_size"] <= HOST_LIMIT, figures
	shown = json.loads(prosodyctl(server, "mod_storage_native", "stat", server.host, "--json"))
	assert shown["hosts"] == [{"host": server.host, "bytes": figures["host_size"], "max_bytes": HOST_LIMIT}], shown
	assert "limit" in prosodyctl(server, "mod_storage_native", "stat")
	stored = server.lua(f"""
		local store = require "core.storagemanager".open({bed.lua(ROOMS)}, "things", "map");
		return tostring(store:set("user", "key", "value"))""")
	assert stored == "true"
	for name in ("note0", "note1"):
		result(private(alice, "", name=name))
	result(private(alice, TEXT, name="again"))
	assert not attempt(alice, 2 * TEXT, "more")
	reload_config(server, storage_native_max_host_size=2 * HOST_LIMIT)
	result(private(alice, TEXT, name="more"))
	wait_durable(server)
	server.kill()
	server.close_clients()
	server.start()
	assert private(login(server, alice.user), name="more") == TEXT
	counted = status(server)["storage_native"][server.host]["host_size"]
	assert counted > taken * len(TEXT), counted
	assert "no problems" in prosodyctl(server, "mod_storage_native", "check")


# --- offline messages ---

@behaviour("storage limits: a stranger cannot fill the store with offline messages: further ones are returned",
	**over(["offline"], {"storage_native_offline_limit": FEW}))
def offline_messages_are_limited(server):
	alice, stranger = server.login("alice"), server.login("mallory")
	alice.cut()
	server.wait_gone(alice)
	sent = [str(n) for n in range(FEW + 1)]
	say(stranger, alice.bare_jid, *sent)
	bounced = stranger.until("message")
	assert bounced["type"] == "error" and bounced["from"] == alice.bare_jid, bounced
	assert bounced.find("error", "service-unavailable"), bounced
	assert pending_offline(server, alice.user) == sent[:FEW]
	reload_config(server, storage_native_offline_limit=FEW + 1)
	say(stranger, alice.bare_jid, "one more", "too many")
	assert stranger.until("message")["type"] == "error"
	alice = login(server, alice.user).available()
	assert alice.bodies(FEW + 1) == [*sent[:FEW], "one more"]
	alice.cut()
	server.wait_gone(alice)
	say(stranger, alice.bare_jid, "again")
	assert pending_offline(server, alice.user) == ["again"]
