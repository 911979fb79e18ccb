"""prosodyctl mod_storage_native compact: beside the running server, and without one."""
import gzip
import pathlib
import re
import secrets
import shutil
import subprocess
import threading
import time

import bed
from mam import Entry, fill
from steps import say
from suite import behaviour
from test_storage import over
from test_storage_faults import Disk
from test_storage_tool import CONTACT, bad, bodies, command, data_file, entries, good, on_terminal, stat, store_of

LIBRARY = pathlib.Path(__file__).resolve().parents[2] / "lua/mod_storage_native/store.so"
STORES = pathlib.Path(__file__).parent / "stores"
FILES = {"data.mdb", "lock.mdb", "lock", "durable"}
PAGE = 4096


def size(server):
	return data_file(server).stat().st_size


def files(server):
	"""Names in the directory of the database, without the log, and without an answer."""
	return {path.name for path in store_of(server).iterdir() if not path.name.startswith(("log.", "compact.answer"))}


def delete(server, user, deleted):
	ids = bed.lua([entry.id for entry in deleted])
	count = server.lua(f"""
		local archive = require "core.storagemanager".open({bed.lua(server.host)}, "archive", "archive");
		return tostring(archive:delete({bed.lua(user)}, {{ ids = {ids} }}))""")
	assert count == str(len(deleted)), count


def spare(server, user, count=3000):
	"""An archive of which most was deleted. Returns the bodies that are left."""
	kept, deleted = entries(50, "kept"), entries(count, "deleted " + secrets.token_hex(300))
	fill(server, user, kept)
	fill(server, user, deleted)
	delete(server, user, deleted)
	return [entry.body for entry in kept]


def begin(server, *words):
	"""The command in the background."""
	return subprocess.Popen(command(server, "compact", *words), preexec_fn=bed.end_with_parent, stdin=subprocess.DEVNULL,
		stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


class Holder:
	"""Another process that has the database open."""

	def __init__(self, server):
		code = (f"local open = package.loadlib({bed.lua(str(LIBRARY))}, 'luaopen_store')().open; "
			f"local handle = assert(open {{ directory = {bed.lua(str(store_of(server)))} }}); "
			"io.write('open\\n'); io.flush(); io.read(); handle:close()")
		self.process = subprocess.Popen(["lua5.4", "-e", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
			preexec_fn=bed.end_with_parent)
		assert self.process.stdout.readline() == "open\n"

	def end(self):
		self.process.communicate("\n", timeout=10)


def end_turn(server):
	"""Waits until everything that was written before has been committed."""
	bed.wait_for(lambda: server.lua("""
		local storage = require "core.modulemanager".get_module("*", "storage_native").module;
		return tostring(storage:shared "/*/storage_native/turns".is_open())""") == "false", "the end of the turn")


def began(server):
	bed.wait_for(lambda: (store_of(server) / "compact.part").exists(), "the copy to be begun")


# --- without a server ---

def secret_entries(mark):
	"""Messages are compressed; the names of peers are not."""
	return [Entry(f"{mark} {n} " + mark * 20, 1700000000 + n, f"{mark}{n % 20}@prosody.test") for n in range(200)]


def wait_written(server, *texts):
	"""Until the data file has them: the log has them before."""
	give_up = time.monotonic() + 8
	while not all(text in data_file(server).read_bytes() for text in texts):
		assert time.monotonic() < give_up, texts
		time.sleep(0.05)


def removes_deleted_bytes(server, running):
	alice, carol = server.account("alice"), server.account("carol")
	kept, deleted = secret_entries("keptkept"), secret_entries("XdeletedX")
	fill(server, alice, kept)
	fill(server, alice, deleted)
	fill(server, carol, secret_entries("YpurgedY"))
	wait_written(server, b"XdeletedX", b"YpurgedY", b"keptkept")
	delete(server, alice, deleted)
	server.lua(f"""
		assert(require "core.usermanager".delete_user({bed.lua(carol)}, {bed.lua(server.host)}))""")
	if not running:
		server.finish()
	before = data_file(server).read_bytes()
	output = good(server, "compact")
	after = data_file(server).read_bytes()
	assert b"XdeletedX" in before and b"YpurgedY" in before and b"keptkept" in before
	assert b"XdeletedX" not in after and b"YpurgedY" not in after and b"keptkept" in after
	assert carol.encode() not in after
	assert len(after) < len(before) and re.search(r"\d+ records, .* before, .* now", output), output
	logs = b"".join(path.read_bytes() for path in store_of(server).glob("log.*"))
	assert b"XdeletedX" not in logs and b"YpurgedY" not in logs
	good(server, "check")
	if not running:
		server.start()
	assert bodies(server, alice) == [e.body for e in kept]
	fill(server, alice, entries(3))


@behaviour("storage compact: every byte of deleted messages and users leaves the file, and all else is kept", **over())
def compact_removes_deleted_bytes(server):
	removes_deleted_bytes(server, running=False)


@behaviour("storage compact: beside the running server, too, every byte of deleted messages and users leaves the file", **over())
def the_server_removes_deleted_bytes(server):
	removes_deleted_bytes(server, running=True)


@behaviour("storage compact: files of an interrupted compact or restore do not block the next one", **over())
def leftovers_are_no_obstacle(server):
	alice = server.account("alice")
	fill(server, alice, entries(3))
	file = server.directory / "backup"
	good(server, "backup", file)
	server.finish()
	(store_of(server) / "compact.part").write_bytes(b"x" * PAGE)
	(store_of(server) / "restore.part").mkdir()
	(store_of(server) / "restore.part/data.mdb").write_bytes(b"x" * PAGE)
	good(server, "compact")
	good(server, "restore", file, "--replace")
	assert not list(store_of(server).glob("*.part"))
	server.start()
	assert len(bodies(server, alice)) == 3


@behaviour("storage compact: a process that holds the store open and is no server is named", **over())
def a_holder_is_named(server):
	spare(server, server.account("alice"))
	server.finish()
	before = size(server)
	holder = Holder(server)
	bad(server, "compact", says=rf"process {holder.process.pid} \(lua5.4 .*\) has the database open, and does not answer")
	assert size(server) >= before and files(server) == FILES
	holder.end()
	good(server, "compact")
	assert size(server) < before / 2


# --- beside the server ---

@behaviour("storage compact: while two clients chat nothing is lost, and the file shrinks", **over(["mam"]))
def compact_while_chatting(server):
	alice, bob = server.login("alice"), server.login("bob")
	kept = spare(server, alice.user, 6000)
	before = size(server)
	process = begin(server)
	sent = 0
	while process.poll() is None or sent < 40:
		say(bob, alice, f"to alice {sent}")
		say(alice, bob, f"to bob {sent}")
		assert alice.bodies(1) == [f"to alice {sent}"] and bob.bodies(1) == [f"to bob {sent}"]
		sent += 1
	output = process.communicate()[0]
	assert process.returncode == 0 and re.search(r"\d+ records, .* before, .* now", output), output
	for n in range(sent, sent + 10):
		say(bob, alice, f"to alice {n}")
		say(alice, bob, f"to bob {n}")
	sent += 10
	assert size(server) < before / 2 and files(server) == FILES, (before, size(server), files(server))
	def both(first, second):
		return [body for n in range(sent) for body in (f"{first} {n}", f"{second} {n}")]
	for _ in range(2):
		found = bodies(server, alice.user)[len(kept):]
		wanted = both("to alice", "to bob")
		assert found == wanted, (len(found), len(wanted))
		assert bodies(server, bob.user) == wanted
		assert "no problems" in good(server, "check")
		server.finish()
		server.start()
	assert "Compacted" in server.log()


@behaviour("storage compact: what was written before and after it is there when the server is killed", **over())
def a_kill_after_it_loses_nothing(server):
	alice = server.account("alice")
	kept = spare(server, alice)
	good(server, "compact")
	more = [e.body for e in fill(server, alice, entries(5, "later"))]
	end_turn(server)
	server.kill()
	server.start()
	assert bodies(server, alice) == kept + more
	assert not list(store_of(server).glob("rejected.*"))


@behaviour("storage compact: two commands at once both succeed", **over())
def two_commands_succeed(server):
	alice = server.account("alice")
	kept = spare(server, alice)
	before = size(server)
	processes = [begin(server) for _ in range(2)]
	outputs = [process.communicate(timeout=35)[0] for process in processes]
	assert [process.returncode for process in processes] == [0, 0], outputs
	assert size(server) < before / 2 and bodies(server, alice) == kept


@behaviour("storage compact: a terminal shows the progress", **over())
def a_terminal_shows_progress(server):
	spare(server, server.account("alice"))
	holder = Holder(server)
	def end():
		answer = store_of(server) / "compact.answer"
		bed.wait_for(lambda: re.search(r'"done":[1-9]', answer.read_text() if answer.exists() else ""), "all to be copied")
		time.sleep(0.5)  # the tool looks more often
		holder.end()
	thread = threading.Thread(target=end)
	thread.start()
	text = on_terminal(server, "compact")
	thread.join()
	assert re.search(r"Compacting +100 % +\d+ of \d+", text) and text.rindex("\x1b[K") < text.rindex("records"), text


@behaviour("storage compact: the server waits for a tool that has the store open", **over())
def the_server_waits_for_a_tool(server):
	alice = server.account("alice")
	kept = spare(server, alice)
	before = size(server)
	holder = Holder(server)
	process = begin(server)
	began(server)
	more = [e.body for e in fill(server, alice, entries(20, "meanwhile"))]
	holder.end()
	output = process.communicate(timeout=35)[0]
	assert process.returncode == 0, output
	assert size(server) < before / 2 and bodies(server, alice) == kept + more


@behaviour("storage compact: the server names a process that keeps the store open, and goes on with the old file", **over())
def the_server_names_a_tool(server):
	alice = server.account("alice")
	kept = spare(server, alice)
	holder = Holder(server)
	server.announced.append("Cannot compact")
	bad(server, "compact", says=rf"process {holder.process.pid} \(lua5.4 .* has the database open; run compact again")
	assert bodies(server, alice) == kept and files(server) == FILES
	holder.end()
	good(server, "compact")
	assert bodies(server, alice) == kept


@behaviour("storage compact: a reload of the module, and the end of the server, give it up cleanly", **over())
def it_is_given_up_cleanly(server):
	alice = server.account("alice")
	kept = spare(server, alice)
	holder = Holder(server)
	for stop in ('assert(require "core.modulemanager".reload("*", "storage_native"))', None):
		server.announced.append("Cannot compact")
		process = begin(server)
		began(server)
		if stop:
			server.lua(stop)
			assert bodies(server, alice) == kept
		else:
			server.finish()
		output = process.communicate(timeout=35)[0]
		assert process.returncode == 1 and "stops, or mod_storage_native is unloaded" in output, output
		assert files(server) == FILES, files(server)
	holder.end()
	server.start()
	assert bodies(server, alice) == kept
	good(server, "compact")


@behaviour("storage compact: a server that is killed meanwhile loses nothing, and its copy is removed", **over())
def a_kill_meanwhile_loses_nothing(server):
	alice = server.account("alice")
	kept = spare(server, alice)
	holder = Holder(server)
	process = begin(server)
	began(server)
	more = [e.body for e in fill(server, alice, entries(5, "later"))]
	end_turn(server)
	server.kill()
	output = process.communicate(timeout=35)[0]
	assert process.returncode == 1 and "does not answer any more" in output, output
	holder.end()
	server.start()
	found = bodies(server, alice)
	assert found == kept + more, found[-10:]
	assert files(server) == FILES and not list(store_of(server).glob("rejected.*"))
	good(server, "compact")


@behaviour("storage compact: without room on the disk it fails, and the server goes on", **over())
def a_full_disk_is_an_error(server):
	with Disk(server, 12 << 20) as disk:
		alice = server.account("alice")
		kept = fill(server, alice, entries(1300, "kept " + secrets.token_hex(3000)))
		server.announced.append("Cannot compact .*no space left")
		bad(server, "compact", says="no space left on the disk")
		assert not (disk.path / "store/compact.part").exists()
		assert bodies(server, alice) == [e.body for e in kept]
		fill(server, alice, entries(3, "later"))
		assert len(bodies(server, alice)) == 1303


@behaviour("storage compact: a store of the first format is read as it is, and compact compresses its messages", **over())
def an_older_store_is_compressed(server):
	server.finish()
	shutil.rmtree(store_of(server), ignore_errors=True)
	store_of(server).mkdir(mode=0o700, parents=True)
	data_file(server).write_bytes(gzip.decompress((STORES / "version1.mdb.gz").read_bytes()))
	old = [f"Message {n}, and the same words again and again and again" for n in range(1, 21)]
	server.start()
	assert bodies(server, "alice") == old
	new = entries(3)
	fill(server, "alice", new)
	server.finish()
	assert old[0].encode() in data_file(server).read_bytes()
	assert "Compressed 20 messages" in good(server, "compact")
	assert b"again and again" not in data_file(server).read_bytes()
	assert "no problems" in good(server, "check")
	assert "Compressed" not in good(server, "compact")
	server.start()
	assert bodies(server, "alice") == old + [e.body for e in new]
	assert stat(server)[(server.host, "archive", "archive", "alice")] == 23
