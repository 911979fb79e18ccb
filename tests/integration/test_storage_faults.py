"""Faults below the storage driver: clear errors, no data loss, and service after the repair."""
import ctypes
import errno
import fcntl
import hashlib
import json
import os
import pathlib
import re
import shutil
import struct
import subprocess
import time

import bed
from mam import Entry, fill, forth, query, run_task
from nativesite import ERRORS, findings
from steps import say
from terminal import Tool
from suite import behaviour
from test_storage import login, over, private, result, stores

SYNC_INTERVAL = 0.1
TOOL, STORAGE_TOOL = Tool("mod_native"), Tool("mod_storage_native")
F_OFD_SETLK = 37  # Python 3.11 has no name for it
SMALL = 1024 * 1024
TEXT = "x" * 100000
COUNT = 10  # texts that are stored before something happens
CLONE_NEWNS, CLONE_NEWUSER, MS_REC, MS_PRIVATE = 0x20000, 0x10000000, 0x4000, 0x40000


def private_mounts():
	"""Later mounts of this process and its children are private, and end with them."""
	user, group = os.getuid(), os.getgid()
	libc = ctypes.CDLL(None, use_errno=True)
	if libc.unshare(CLONE_NEWNS | (CLONE_NEWUSER if user else 0)):
		raise OSError(ctypes.get_errno(), "unshare")
	if user:
		pathlib.Path("/proc/self/setgroups").write_text("deny")
		pathlib.Path("/proc/self/uid_map").write_text(f"0 {user} 1")
		pathlib.Path("/proc/self/gid_map").write_text(f"0 {group} 1")
	if libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None) and ctypes.get_errno() != errno.EINVAL:
		raise OSError(ctypes.get_errno(), "mount")  # EINVAL: in a chroot; then only umount ends the mounts


class Disk:
	"""A small file system for the server's store."""

	def __init__(self, server, size):
		private_mounts()
		self.server, self.path = server, server.directory / "disk"
		self.ballast = self.path / "ballast"
		self.path.mkdir()
		subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", self.path], check=True)
		server.finish()
		server.options["storage_native_path"] = self.path / "store"
		server.start()

	def __enter__(self):
		return self

	def __exit__(self, *_):
		self.server.kill()
		subprocess.run(["umount", self.path], check=True)

	def remount(self, option):
		subprocess.run(["mount", "-o", f"remount,{option}", self.path], check=True)

	def fill(self):
		with open(self.ballast, "wb", buffering=0) as file:
			for size in (1 << 16, 1 << 10, 1):
				try:
					while True:
						file.write(bytes(size))
				except OSError:
					pass

	def make_room(self):
		self.ballast.unlink()


def store_of(server):
	return server.directory / "data" / "native"


def attempt(client, text, name="note"):
	"""Stores a text; returns whether the server says that it is stored."""
	answer = private(client, text, name=name)
	if answer["type"] == "error":
		assert answer.find("error", "internal-server-error"), answer
	return answer["type"] == "result"


def write_until_refused(client):
	"""Stores more and more texts; returns the number of accepted ones."""
	count = 0
	while attempt(client, TEXT, f"note{count}"):
		count += 1
	return count


def assert_kept(client, count):
	for n in range(count):
		assert private(client, name=f"note{n}") == TEXT, n


# --- the end of the process ---

@behaviour("storage faults: a killed server does not lose data that were stored before the sync interval",
	**over(["private", "mam", "offline"], {"storage_native_sync_interval": SYNC_INTERVAL}))
def a_kill_loses_only_the_sync_interval(server):
	alice, bob = server.login("alice"), server.login("bob")
	for n in range(3):
		result(private(alice, f"note {n}"))
		say(bob, alice, *(f"{n} {m}" for m in range(50)))
		alice.bodies(50)
		stored = time.monotonic()
		bed.wait_for(lambda: time.monotonic() > stored + SYNC_INTERVAL, "what is stored is promised")
		server.kill()
		server.close_clients()
		server.start()
		alice, bob = login(server, alice.user), login(server, bob.user)
		assert private(alice) == f"note {n}"
		told = [body for page in forth(alice, 50) for body in page.bodies]
		assert told == [f"{m} {k}" for m in range(n + 1) for k in range(50)]


def wait_durable(server):
	"""Wait until the driver reports all writes so far durable."""
	server.lua(f"""
		prosody.test_durable = nil;
		require "core.storagemanager".get_driver({bed.lua(server.host)}, "private").when_durable(function (ok)
			prosody.test_durable = ok;
		end)""")
	bed.wait_for(lambda: server.lua("return tostring(prosody.test_durable)") == "true", "what was written is durable")


for sync in ("group", "commit"):
	@behaviour(f"storage faults: durable data are there after a kill, with storage_native_sync = {sync}",
		**over(["private"], {"storage_native_sync": sync}))
	def synced_writes_survive_a_kill(server):
		alice = server.login("alice")
		for n in range(5):
			result(private(alice, f"note {n}"))
			wait_durable(server)
			server.kill()
			server.close_clients()
			server.start()
			alice = login(server, alice.user)
			assert private(alice) == f"note {n}"


# --- no space ---

@behaviour("storage faults: on a full disk writes fail and reads work; with free space writes work again",
	**over(["private", "mam"]))
def a_full_disk_refuses_writes_only(server):
	with Disk(server, 4 * SMALL) as disk:
		alice, bob = server.login("alice"), server.login("bob")
		say(bob, alice, "before")
		alice.message()
		result(private(alice, "before"))
		disk.fill()
		taken = write_until_refused(alice)
		server.expect_log("no space left on the disk")
		assert private(alice) == "before"
		assert_kept(alice, taken)
		disk.make_room()
		assert attempt(alice, "after")
		say(bob, alice, "after")
		alice.message()
		assert forth(alice, 50)[0].bodies == ["before", "after"]
		server.finish()
		server.start()
		alice = login(server, alice.user)
		assert private(alice) == "after"
		assert_kept(alice, taken)


@behaviour("storage faults: a server that is killed on a full disk reads and deletes when it starts again, and writes once it can",
	**over(["private"]))
def a_killed_server_starts_on_a_full_disk(server):
	with Disk(server, 16 * SMALL) as disk:
		alice = server.login("alice")
		for n in range(COUNT):
			result(private(alice, TEXT, name=f"note{n}"))
		disk.fill()
		server.announced.append("no space left on the disk|disk-full")
		server.kill()
		server.close_clients()
		server.start()
		alice = login(server, alice.user)
		assert_kept(alice, COUNT)
		assert not all(attempt(alice, TEXT, f"more{n}") for n in range(4 * COUNT))
		for n in range(COUNT):
			result(private(alice, "", name=f"note{n}"))
		disk.make_room()
		assert attempt(alice, TEXT, "after")
		server.finish()
		server.start()
		alice = login(server, alice.user)
		assert private(alice, name="after") == TEXT and private(alice, name="note0") == ""


@behaviour("storage faults: a full store refuses writes, and allows reads and deletions, which free space",
	**over(["private", "mam"], {"storage_native_max_size": 8 * SMALL}))
def a_full_store_refuses_writes_only(server):
	alice, bob = server.login("alice"), server.login("bob")
	result(private(bob, "small"))
	taken = write_until_refused(alice)
	server.expect_log("storage_native_max_size")
	assert taken > 0 and private(bob) == "small"
	assert_kept(alice, taken)
	for n in range(taken):
		result(private(alice, "", name=f"note{n}"))
	wait_durable(server)
	result(private(bob, TEXT))
	assert private(alice, name="note0") == ""
	server.finish()
	server.start()
	assert private(login(server, bob.user)) == TEXT


# --- another process ---

class WritersLock:
	"""Holds the lock, like a process that was stopped in the middle of writing."""

	def __init__(self, server):
		self.path = store_of(server) / "lock"

	def __enter__(self):
		self.file = open(self.path, "r+b")
		lock = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, 0, 1, 0)
		bed.wait_for(lambda: self._try(lock), "the writer's lock")

	def _try(self, lock):
		try:
			fcntl.fcntl(self.file, F_OFD_SETLK, lock)
			return True
		except BlockingIOError:
			return False

	def __exit__(self, *_):
		self.file.close()


@behaviour("storage faults: while another process holds the lock writes fail and reads work; then writes work again",
	**over(["private"]))
def a_held_lock_refuses_writes_only(server):
	alice = server.login("alice")
	result(private(alice, "before"))
	with WritersLock(server):
		server.announced.append("storage_native")
		assert not attempt(alice, "meanwhile")
		server.expect_log("another process has locked the database")
		assert private(alice) == "before"
	assert attempt(alice, "after") and private(alice) == "after"


# --- a store that cannot be used ---

def put_in_place(server, change):
	"""Changes the stopped server's store, and starts it; returns a user and what was changed away."""
	alice = server.login("alice")
	result(private(alice, "kept"))
	server.finish()
	kept = server.directory / "kept"
	shutil.copytree(store_of(server), kept)
	change(store_of(server))
	server.start()
	return alice.user, kept


def put_back(server, kept):
	shutil.rmtree(store_of(server))
	kept.rename(store_of(server))


def logs_in(server, user):
	client = server.connect(user)
	client.open()
	try:
		client.authenticate()
	except AssertionError:
		return False
	return True


def refuses_store(server, change, text):
	"""The server runs without its store, says why, leaves the file alone, and opens the right one when it exists."""
	user, kept = put_in_place(server, change)
	before = (store_of(server) / "data.mdb").read_bytes()
	assert not logs_in(server, user)
	server.expect_log(text)
	assert (store_of(server) / "data.mdb").read_bytes() == before
	put_back(server, kept)
	assert private(login(server, user)) == "kept"


def with_foreign_file(store):
	(store / "data.mdb").write_bytes(b"this is no store\n" * 1000)


def with_empty_page(store):
	"""Zeros where the second page was: the file's length and magic are right."""
	data = bytearray((store / "data.mdb").read_bytes())
	data[2 * 4096:] = bytes(len(data) - 2 * 4096)
	(store / "data.mdb").write_bytes(data)


def with_newer_format(store):
	"""The record F, whose key is one byte, begins with a version byte."""
	data, found = (store / "data.mdb").read_bytes(), 0
	for match in re.finditer(rb"..\0\0\0\0\x01\0F", data, re.DOTALL):
		data, found = data[:match.end()] + b"\x7f" + data[match.end() + 1:], found + 1
	assert found, "there is no such record"
	(store / "data.mdb").write_bytes(data)


@behaviour("storage faults: a file that is not a store is refused and left alone", **over(["private"]))
def a_foreign_file_is_refused(server):
	refuses_store(server, with_foreign_file, "not a database of this program")


@behaviour("storage faults: a damaged store is refused and left alone", **over(["private"]))
def a_damaged_store_is_refused(server):
	refuses_store(server, with_empty_page, "is damaged")


# --- damage that is found while the server runs ---

RECORD, PAGE, BOOT = 8192, 4096, slice(32, 48)


def restart_machine(store):
	"""The file "durable" as it is after another start of the machine."""
	durable = bytearray((store / "durable").read_bytes())
	for at in range(0, len(durable), RECORD):
		record = durable[at:at + RECORD]
		if record.startswith(b"pn-durable"):
			record[BOOT] = b"\xb0" * 16
			rest = bytes(record[32:])
			record[16:32] = hashlib.sha256(struct.pack("=Q", len(rest) + 1) + rest).digest()[:16]
			durable[at:at + RECORD] = record
	(store / "durable").write_bytes(durable)


def leaves(data):
	"""(number, keys) of each leaf of the main tree: modules/db/lmdb_layout.h."""
	def number(form, at):
		return struct.unpack_from(form, data, at)[0]

	meta = max((0, PAGE), key=lambda at: number("=Q", at + 144))
	pages = [number("=Q", meta + 88 + 40)]
	while pages:
		page = pages.pop()
		at = page * PAGE
		flags, lower = struct.unpack_from("=HH", data, at + 10)
		nodes = struct.unpack_from(f"={(lower - 16) // 2}H", data, at + 16)
		if flags == 2:
			yield page, [bytes(data[at + node + 8:at + node + 8 + number("=H", at + node + 6)]) for node in nodes]
		else:
			pages.extend(number("=Q", at + node) & 0xffffffffffff for node in nodes)


def damage_messages(store):
	"""Zeros in place of a page with nothing but messages, from the middle; returns its number."""
	data = bytearray((store / "data.mdb").read_bytes())
	pages = [page for page, keys in leaves(data) if all(key[:1] == b"r" and key[5:6] == b"m" for key in keys)]
	page = pages[len(pages) // 2]
	data[page * PAGE:(page + 1) * PAGE] = bytes(PAGE)
	(store / "data.mdb").write_bytes(data)
	return page


def structure(server):
	output = TOOL.run(server, "status", "--json")
	return json.loads(output.out.splitlines()[-1])["storage_native"]["*"]["structure"]


@behaviour("storage faults: after a start of the machine the store is verified while the server runs, and once",
	**over(["private", "native"]))
def a_store_is_verified_in_the_background(server):
	alice = server.login("alice")
	result(private(alice, "kept"))
	assert structure(server) == "verified"
	server.finish()
	restart_machine(store_of(server))
	server.start()
	alice = login(server, alice.user)
	server.expect_log("Verified the structure of .*data.mdb: no damage")
	assert structure(server) == "verified" and private(alice) == "kept"
	result(private(alice, "changed"))
	server.finish()
	server.start()
	assert private(login(server, alice.user)) == "changed"
	assert structure(server) == "verified" and "Verifying the structure" not in server.log()[server.mark:]


def assert_reports_damage(server, what):
	finding = findings(server, ERRORS)["error", "store"]
	assert re.search(what, finding["what"]) and "mod_storage_native restore" in finding["line"], finding


@behaviour("storage faults: a damaged page is found while the server runs: writes are refused, and reads go on",
	**over(["private", "mam", "native"]))
def a_damaged_page_stops_writing(server):
	alice, bob = server.login("alice"), server.login("bob")
	result(private(bob, "kept"))
	first = int(time.time()) - 2000  # none expires
	fill(server, alice.user, [Entry(f"message {n} of an archive that has many pages", first + n, "peer@prosody.test")
		for n in range(2000)])
	wait_durable(server)
	STORAGE_TOOL.good(server, "backup", server.directory / "backup")
	server.finish()
	assert ("error", "store") not in findings(server, None)
	restart_machine(store_of(server))
	page = damage_messages(store_of(server))
	server.start()
	bob = login(server, bob.user)
	found = f"page {page} has the number of another page"
	server.expect_log(rf"Damaged file .*data.mdb: {found}\. .*mod_storage_native restore")
	server.announced.append("storage-damaged|storage-corrupt")
	assert not attempt(bob, "refused")
	server.expect_log("Cannot write to .*storage-damaged")
	assert private(bob) == "kept"
	assert query(login(server, alice.user), max=50).bodies[0].startswith("message 0")
	assert structure(server) == f"damaged: {found}"
	output = STORAGE_TOOL.run(server, "check")
	assert output.status == 1 and found in output.out, output
	assert "damaged" in STORAGE_TOOL.run(server, "stat").out
	assert_reports_damage(server, rf"damaged: {found}\.$")
	server.finish()
	assert_reports_damage(server, r"native is damaged\.$")
	server.start()
	server.announced.append("storage-damaged|storage-corrupt|Damaged file")
	bob = login(server, bob.user)
	assert private(bob) == "kept" and not attempt(bob, "refused")
	server.finish()
	output = STORAGE_TOOL.run(server, "export", "--to", "internal")
	assert output.status == 1 and re.search(r"archive +archive +alice", output.err), output
	server.options["storage"] = "internal"
	server.start()
	assert private(login(server, bob.user)) == "kept"
	server.finish()
	server.options["storage"] = "native"
	server.rewrite_config()
	STORAGE_TOOL.good(server, "restore", server.directory / "backup", "--replace")
	assert ("error", "store") not in findings(server, None)
	server.start()
	assert private(login(server, bob.user)) == "kept"


def spoil_correspondents(store):
	"""Damages the correspondents of the archive that was created first."""
	data = (store / "data.mdb").read_bytes()
	record = re.compile(rb"(r\0\0\0(.)q\0\0\0\x01)\x01", re.S)
	first = min(match[2] for match in record.finditer(data))
	data = record.sub(lambda match: match[1] + (b"\0" if match[2] == first else b"\1"), data)
	(store / "data.mdb").write_bytes(data)


# Appends to both archives in one turn; tells what came of it, and what became of the turn
BOTH = """
	local driver = require "core.storagemanager".get_driver(%(host)s, "archive");
	local archive = require "core.storagemanager".open(%(host)s, "archive", "archive");
	local message = require "util.stanza".message({ type = "chat" }, "together");
	local function append(user)
		local ok, condition = archive:append(user, nil, message, os.time(), "peer@prosody.test");
		return ok and "stored" or condition;
	end
	local results = { append(%(bob)s), append(%(alice)s), append(%(bob)s) };
	driver.when_durable(function (ok, condition)
		module:log("info", "Both: %%s, then %%s", table.concat(results, " "), ok and "durable" or condition);
	end);"""


@behaviour("storage faults: a damaged record of one user is an error for that user alone", modules=["mam", "cron"],
	options={"storage": "native", "archive_expires_after": "1w"})
def a_damaged_record_affects_one_user(server):
	alice, bob = server.account("alice"), server.account("bob")
	now = int(time.time())
	for user in (alice, bob):
		fill(server, user, [Entry(f"old {n}", now - 8 * 86400, "peer@prosody.test") for n in range(3)])
		fill(server, user, [Entry("new", now, "peer@prosody.test")])
	server.finish()
	spoil_correspondents(server.directory / "data/native")
	server.start()
	server.announced.append("storage-corrupt")
	server.lua(f"local module = require 'core.modulemanager'.get_module({bed.lua(server.host)}, 'mam').module;"
		+ BOTH % {"host": bed.lua(server.host), "alice": bed.lua(alice), "bob": bed.lua(bob)})
	server.expect_log("Both: stored storage-corrupt stored, then durable")
	server.expect_log(r"Cannot write to .*storage-corrupt")
	server.lua("true")
	with_mam = login(server, bob)
	assert forth(with_mam, 50)[0].bodies == ["old 0", "old 1", "old 2", "new", "together", "together"]
	run_task(server, "Remove expired messages")
	server.expect_log("skipped 1 damaged archives, deleted 3 messages from the others")
	assert forth(with_mam, 50)[0].bodies == ["new", "together", "together"]


@behaviour("storage faults: a store of a newer format is refused and left alone", **over(["private"]))
def a_newer_format_is_refused(server):
	refuses_store(server, with_newer_format, "newer version")


@behaviour("storage faults: on a read-only disk writes fail; after a writable remount all data are there",
	**over(["private"]))
def a_read_only_disk_refuses_writes_only(server):
	with Disk(server, 16 * SMALL) as disk:
		alice = server.login("alice")
		result(private(alice, "kept"))
		server.finish()
		disk.remount("ro")
		server.start()
		stored = server.lua(f"local store = require 'core.storagemanager'.open({bed.lua(server.host)}, 'private', 'map');"
			f" local ok, err = store:set({bed.lua(alice.user)}, 'k', 1); return tostring(ok) .. ' ' .. tostring(err)")
		assert re.match("nil .*read-only", stored), stored
		server.expect_log("read-only")
		disk.remount("rw")
		alice = login(server, alice.user)
		assert private(alice) == "kept"
		result(private(alice, "changed"))
		assert private(alice) == "changed" and "private" in stores(server, alice.user)
