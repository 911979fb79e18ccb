"""prosodyctl mod_storage_native: stat, check, backup and restore, and refused commands."""
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess

import bed
from mam import Entry, fill
from steps import say
from suite import behaviour
from terminal import Tool
from test_storage import over

COMMANDS = ["stat", "check", "backup", "restore", "compact", "import", "export"]
CONTACT = "bob@prosody.test"
PAGE = 4096
TOOL = Tool("mod_storage_native")
command, tool, good, bad, on_terminal = TOOL.command, TOOL.run, TOOL.good, TOOL.bad, TOOL.on_terminal


def store_of(server):
	return server.directory / "data/native"


def data_file(server):
	return store_of(server) / "data.mdb"


def digest(server):
	return hashlib.sha256(data_file(server).read_bytes()).hexdigest()


def accounts(server, *users):
	"""What stat counts for the accounts of these users: 13.0 notes two times beside the password."""
	return {(server.host, "accounts", "keyval", user): 1 if server.version == "0.12" else 3 for user in users}


def stat(server, *words):
	"""{(host, store, type, user): entries}"""
	found = json.loads(good(server, "stat", *words, "--json"))
	return {(c["host"], c["store"], c["type"], c["user"]): c["entries"] for c in found["collections"]}


def entries(count, mark="message"):
	return [Entry(f"{mark} {n}", 1700000000 + n, CONTACT) for n in range(count)]


def bodies(server, user):
	"""Bodies in an archive, in order."""
	return server.lua(f"""
		local bodies = {{}};
		local archive = require "core.storagemanager".open({bed.lua(server.host)}, "archive", "archive");
		for _, stanza in assert(archive:find({bed.lua(user)})) do table.insert(bodies, stanza:get_child_text("body")); end
		return table.concat(bodies, "\\n")""").splitlines()


# --- usage ---

@behaviour("storage tool: without a command, and with --help, it prints its usage", **over())
def help_lists_the_commands(server):
	for words in ([], ["--help"], ["stat", "--help"]):
		text = good(server, *words)
		assert all(re.search(rf"^  {name}( .*)?\n      \w", text, re.M) for name in COMMANDS), text


@behaviour("storage tool: invalid arguments are rejected with status 2", **over())
def bad_arguments_exit_with_2(server):
	for words in (["statistics"], ["stat", "a", "b", "c", "d"], ["check", "x"], ["check", "--merge"], ["backup"],
			["backup", "a", "b"], ["restore"], ["restore", "a", "--jsn"], ["restore", "a", "--replace=no"], ["compact", "x"],
			["import"], ["import", "--from"], ["import", "--from="], ["export", "--from", "sql"]):
		bad(server, *words, status=2, says="--help")


@behaviour("storage tool: a missing store is not created", options={"storage": "internal"})
def no_store_is_made(server):
	target = server.directory / "file"
	for words in (["stat"], ["check"], ["backup", target], ["export", "--to", "internal"]):
		bad(server, *words, says="no database in .*/data/native")
	server.finish()
	bad(server, "compact", says="no database in .*/data/native")
	assert not store_of(server).exists() and not target.exists()


# --- stat ---

@behaviour("storage tool: stat counts by host, store and user, beside the running server", **over())
def stat_counts_beside_the_server(server):
	alice, carol = server.account("alice"), server.account("carol")
	fill(server, alice, entries(7))
	fill(server, carol, entries(5))
	fill(server, alice, entries(3), store="offline")
	server.lua(f"""
		local store = require "core.storagemanager".open({bed.lua(server.host)}, "own");
		assert(store:set(nil, {{ a = 1, b = 2 }}))""")
	host = server.host
	assert stat(server) == accounts(server, alice, carol) | {
		(host, "archive", "archive", alice): 7, (host, "archive", "archive", carol): 5,
		(host, "offline", "archive", alice): 3, (host, "own", "keyval", None): 2}, stat(server)
	assert stat(server, host, "archive", alice) == {(host, "archive", "archive", alice): 7}
	assert len(stat(server, host, "a*")) == 4
	assert stat(server, host, "archiv") == {} and stat(server, "no*") == {}


@behaviour("storage tool: stat of a host that is neither configured nor in the store is an error", **over())
def stat_of_an_unknown_host_fails(server):
	server.account("alice")
	for words in ((), ("--json",), ("archive", "alice")):
		output = bad(server, "stat", "no.such.host", *words, says="no.such.host is neither in the configuration nor in the database")
		assert output.out == "", output


@behaviour("storage tool: stat shows the limit of the configuration", **over(options={"storage_native_max_size": 4 << 20}))
def stat_shows_the_configured_limit(server):
	server.account("alice")
	assert "at most 4.0 MB" in good(server, "stat")
	assert json.loads(good(server, "stat", "--json"))["store"]["max_bytes"] == 4 << 20


@behaviour("storage tool: invalid option values are reported on standard error, and not among the results",
	**over(options={"storage_native_sync": "groups"}))
def option_warnings_go_to_stderr(server):
	server.account("alice")
	server.announced.append("storage_native_sync")
	for command_name in ("stat", "check"):
		output = tool(server, command_name, "--json")
		assert output.status == 0 and json.loads(output.out) and "storage_native_sync" in output.err, output
	server.finish()
	output = tool(server, "export", "--to", "internal")
	assert output.out.startswith("host ") and "storage_native_sync" in output.err, output


NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]


def as_nobody(server, *words):
	"""The tool as a user without special permissions; only root can switch to another user."""
	return subprocess.run([*(NOBODY if os.geteuid() == 0 else []), *command(server, *words)], timeout=35, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)


@behaviour("storage tool: a store that the tool cannot access is distinguished from a missing one", **over())
def a_closed_store_differs_from_a_missing_one(server):
	server.account("alice")
	file = server.directory / "backup"
	good(server, "backup", file)
	file.chmod(0o644)
	server.finish()
	for path in (server.directory, server.directory / "data"):
		path.chmod(0o755)
	store_of(server).chmod(0 if os.geteuid() else 0o700)
	for words in (["stat"], ["check"], ["compact"], ["backup", "/tmp/no-backup"], ["export", "--to", "internal"]):
		done = as_nobody(server, *words)
		assert done.returncode == 1 and "no store" not in done.stderr, (words, done)
		assert re.search("data/native: Permission denied; prosodyctl works as the user that", done.stderr), (words, done)
	done = as_nobody(server, "restore", file, "--replace")
	assert re.search("restore.part: Permission denied; prosodyctl works as the user that", done.stderr), done
	store_of(server).chmod(0o700)


@behaviour("storage tool: status says why the store is not open", **over(["native"]))
def status_says_why_the_store_is_closed(server):
	def status():
		return json.loads(Tool("mod_native").good(server, "status", "--json"))["storage_native"]["*"]
	server.account("alice")
	server.lua('assert(require "core.modulemanager".reload("*", "storage_native"))')
	found = status()
	assert found["open"] is False and "since the module was loaded" in found["reason"], found
	server.finish()
	data_file(server).write_text("a text, and no database")
	server.start()
	server.announced.append("storage_native")
	server.lua(f'pcall(require "core.usermanager".user_exists, "alice", {bed.lua(server.host)})')
	found = status()
	assert found["open"] is False and "not a database of this program" in found["reason"], found


def row(text, name):
	"""The cells of the row that begins with this name."""
	found = [line.split() for line in text.splitlines() if line.startswith(name + " ")]
	assert len(found) == 1, (name, text)
	return found[0][1:]


@behaviour("storage tool: stat prints a table of hosts, of a host's stores, of a store's users, with totals", **over())
def stat_prints_tables_with_totals(server):
	alice, carol = server.account("alice"), server.account("carol")
	fill(server, alice, entries(7))
	fill(server, carol, entries(5))
	for node in range(3):
		fill(server, alice, entries(1), store=f"pep_node{node}")
	text = good(server, "stat")
	counts = ["7", str(15 + sum(accounts(server, alice, carol).values()))]
	assert row(text, server.host)[:2] == counts and row(text, "total")[:2] == counts, text
	assert re.search(r"file +\S+ [KM]B, \S+ KB used, \S+ [KM]B free", text), text
	assert re.search(r"durable +all of \d+ transactions", text), text
	text = good(server, "stat", server.host)
	assert row(text, "archive")[:3] == ["archive", "2", "12"], text
	assert row(text, "pep_*")[:3] == ["archive", "3", "3"], text
	assert row(good(server, "stat", server.host, "pep_*"), "pep_node2")[:3] == ["archive", "1", "1"]
	text = good(server, "stat", server.host, "archive")
	assert row(text, alice)[:3] == ["archive", "1", "7"] and row(text, "total")[:2] == ["2", "12"], text
	titles, cells = (next(line for line in text.splitlines() if line.startswith(f"{name} ")) for name in ("user", alice))
	assert cells.index(" 7 ") + 1 == titles.index("entries") + len("entries") - 1, text


@behaviour("storage tool: control characters and broken UTF-8 of a name are escaped on terminals and in JSON", **over())
def unsafe_names_are_escaped(server):
	server.lua(f"""
		local store = require "core.storagemanager".open({bed.lua(server.host)}, "odd");
		assert(store:set("\\27[31mred\\10", {{ a = 1 }})); assert(store:set("\\255", {{ a = 1 }}))""")
	users = {user for _, store, _, user in stat(server) if store == "odd"}
	assert users == {"\\x1b[31mred\\x0a", "\\xff"}, users
	text = good(server, "stat", server.host, "odd")
	assert "\\x1b[31mred\\x0a" in text and "\\xff" in text, text


# --- check ---

def spoil_index(data):
	"""Changes the ordinals of messages 33 to 50 in the record of their correspondent, at any place in the file."""
	record = re.compile(rb"(r\0\0\0.q\0\0\0\x01\x01\xff\0.{1,80}?)\x20(\x21\x01{17})", re.S)
	return record.subn(lambda match: match[1] + b"\x60" + match[2], data)


@behaviour("storage tool: check does not find errors in the store of a running server", **over(["mam"]))
def check_passes_on_a_running_server(server):
	alice, bob = server.login("alice"), server.login("bob")
	for n in range(20):
		say(bob, alice, str(n))
	alice.bodies(20)
	assert "no problems" in good(server, "check")
	report = json.loads(good(server, "check", "--json"))
	assert report["problems"] == [] and report["records"] > 40, report


@behaviour("storage tool: check names an index that does not agree with the messages", **over())
def check_names_a_wrong_index(server):
	fill(server, server.account("alice"), entries(50))
	server.finish()
	data, count = spoil_index(data_file(server).read_bytes())
	assert count, "no such index record"
	data_file(server).write_bytes(data)
	output = bad(server, "check")
	assert re.search("[1-9][0-9]* problems", output.out) and "no problems" not in output.out, output
	report = json.loads(bad(server, "check", "--json").out)
	assert report["problems"] and all(isinstance(p, str) for p in report["problems"]), report


@behaviour("storage tool: each command reports a damaged file with status 1, and does not read on", **over())
def a_damaged_file_fails_every_command(server):
	fill(server, server.account("alice"), entries(300))
	server.finish()
	whole = data_file(server).read_bytes()
	for offset in (0, 10, 16):  # in a page's header: its number, its flags, its content
		damaged = bytearray(whole)
		for page in range(2 * PAGE, len(whole), PAGE):
			damaged[page + offset] ^= 0xFF
		data_file(server).write_bytes(damaged)
		for words in (["stat"], ["check"], ["backup", server.directory / "file"], ["compact"], ["export", "--to", "sql"]):
			bad(server, *words, says="damaged")
	assert not (server.directory / "file").exists()
	data_file(server).write_bytes(whole)
	good(server, "check")


@behaviour("storage tool: single flipped bytes end a check with a status, never with a crash", **over())
def flipped_bytes_never_crash_a_check(server):
	fill(server, server.account("alice"), entries(40))
	server.finish()
	whole = data_file(server).read_bytes()
	for offset in range(0, len(whole), len(whole) // 40 | 1):
		damaged = bytearray(whole)
		damaged[offset] ^= 0xFF
		data_file(server).write_bytes(damaged)
		assert tool(server, "check").status in (0, 1), offset


@behaviour("storage tool: a file that is not a store is recognized, and left alone", **over())
def a_foreign_file_is_recognized(server):
	server.account("alice")
	server.finish()
	for content in (b"a text, and no database\n", os.urandom(3 * PAGE), b"\0" * 2 * PAGE):
		data_file(server).write_bytes(content)
		for words in (["stat"], ["check"], ["backup", server.directory / "file"], ["compact"]):
			bad(server, *words, says="not a database of this program|damaged")
		assert data_file(server).read_bytes() == content


# --- backup and restore ---

@behaviour("storage tool: a backup made while clients chat is consistent, and has all messages up to one of them",
	**over(["mam"]))
def a_backup_while_chatting_is_consistent(server):
	alice, bob = server.login("alice"), server.login("bob")
	fill(server, alice.user, entries(2000))
	file = server.directory / "backup"
	process = subprocess.Popen(command(server, "backup", file), preexec_fn=bed.end_with_parent,
		stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
	sent = 0
	while process.poll() is None or sent < 10:
		say(bob, alice, f"chat {sent}")
		alice.bodies(1)
		sent += 1
	output = process.communicate()[0]
	assert process.returncode == 0 and re.search(r"\d+ records, .*B", output), output
	assert len(bodies(server, alice.user)) == 2000 + sent
	server.finish()
	good(server, "restore", file, "--replace")
	good(server, "check")
	server.start()
	kept = bodies(server, alice.user)
	expected = [e.body for e in entries(2000)] + [f"chat {n}" for n in range(sent)]
	assert len(kept) >= 2000 and kept == expected[:len(kept)], kept[-3:]
	server.again(alice).ping()


@behaviour("storage tool: a backup does not overwrite files", **over())
def a_backup_overwrites_nothing(server):
	server.account("alice")
	file, part = server.directory / "backup", server.directory / "backup.part"
	file.write_text("precious")
	bad(server, "backup", file, says="exists")
	assert file.read_text() == "precious" and not part.exists()
	file.unlink()
	part.write_text("precious")
	bad(server, "backup", file, says=r"backup\.part exists")
	assert part.read_text() == "precious" and not file.exists()
	bad(server, "backup", server.directory / "no/such/directory", says="no/such/directory")


@behaviour("storage tool: a backup's name is relative to the operator's directory, and only the owner can read it", **over())
def a_backup_is_private_and_relative(server):
	fill(server, server.account("alice"), entries(3))
	good(server, "backup", "here", cwd=server.directory, env={**os.environ, "PWD": str(server.directory)})
	assert (server.directory / "here").stat().st_mode & 0o077 == 0
	assert not (server.directory / "here.part").exists()


@behaviour("storage tool: a refused restore does not change the store", **over())
def a_refused_restore_changes_nothing(server):
	fill(server, server.account("alice"), entries(300))
	file, broken = server.directory / "backup", server.directory / "broken"
	good(server, "backup", file)
	bad(server, "restore", file, "--replace", says="running")
	server.finish()
	before = digest(server)
	bad(server, "restore", file, says="not empty.*--replace")
	bad(server, "restore", server.directory / "nothing", "--replace", says="No such file")
	for content in (b"", b"text" * PAGE, file.read_bytes()[:3 * PAGE], file.read_bytes()[:2 * PAGE] + b"\xff" * 20 * PAGE):
		broken.write_bytes(content)
		bad(server, "restore", broken, "--replace", says="broken")
	assert digest(server) == before
	assert {path.name for path in store_of(server).iterdir()} <= {"data.mdb", "lock.mdb", "lock", "durable"}
	good(server, "check")


@behaviour("storage tool: a backup with inconsistent records is not restored", **over())
def an_inconsistent_backup_is_not_restored(server):
	fill(server, server.account("alice"), entries(50))
	file = server.directory / "backup"
	good(server, "backup", file)
	server.finish()
	data, count = spoil_index(file.read_bytes())
	assert count == 1
	file.write_bytes(data)
	bad(server, "restore", file, "--replace", says="problems")
	good(server, "check")


@behaviour("storage tool: a restore keeps the replaced store, which can be restored in turn", **over())
def a_replaced_store_is_kept(server):
	alice = server.account("alice")
	fill(server, alice, entries(3, "old"))
	good(server, "backup", server.directory / "old")
	fill(server, alice, entries(3, "new"))
	server.finish()
	kept = [store_of(server) / f"data.mdb.before-restore-{n}" for n in (1, 2)]
	assert str(kept[0]) in good(server, "restore", server.directory / "old", "--replace")
	server.start()
	assert bodies(server, alice) == ["old 0", "old 1", "old 2"]
	server.finish()
	good(server, "restore", kept[0], "--replace")
	assert all(path.exists() for path in kept)
	server.start()
	assert len(bodies(server, alice)) == 6


@behaviour("storage tool: a restore fills a store that is missing, empty, or unreadable", **over())
def a_restore_fills_an_unusable_store(server):
	alice = server.account("alice")
	fill(server, alice, entries(3))
	file = server.directory / "backup"
	good(server, "backup", file)
	server.finish()
	for path in list(store_of(server).iterdir()):
		path.unlink()
	store_of(server).rmdir()
	good(server, "restore", file)
	assert store_of(server).stat().st_mode & 0o077 == 0 and data_file(server).stat().st_mode & 0o077 == 0
	data_file(server).write_text("no store")
	bad(server, "restore", file, says="--replace")
	good(server, "restore", file, "--replace")
	assert (store_of(server) / "data.mdb.before-restore-1").read_text() == "no store"
	server.start()
	assert len(bodies(server, alice)) == 3


def hide(server):
	"""Hides from prosodyctl that the server runs, like a missing pidfile."""
	server.options["pidfile"] = server.directory / "no-pidfile"
	server.rewrite_config()


@behaviour("storage tool: a store that a process has open is never replaced, even if the process is unknown", **over())
def an_open_store_is_never_replaced(server):
	alice = server.account("alice")
	fill(server, alice, entries(3))
	file = server.directory / "backup"
	good(server, "backup", file)
	hide(server)
	bad(server, "restore", file, "--replace", says="has the database open")
	fill(server, alice, entries(3, "later"))
	assert len(bodies(server, alice)) == 6
	names = {path.name for path in store_of(server).iterdir()}
	assert {name for name in names if not name.startswith("log.")} == {"data.mdb", "lock.mdb", "lock", "durable"}


# --- terminals ---

@behaviour("storage tool: colours and a progress line are used on terminals only, and colours not with NO_COLOR", **over())
def only_a_terminal_gets_colours_and_progress(server):
	fill(server, server.account("alice"), entries(3))
	colourless = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
	text = on_terminal(server, "check", environment={**colourless, "NO_COLOR": ""})
	assert "\x1b[32m" in text and re.search(r"\r\x1b\[KChecking +\d+ %", text), text
	text = on_terminal(server, "check", environment={"NO_COLOR": "1"})
	assert "\x1b[32m" not in text and "no problems" in text, text
	text = on_terminal(server, "backup", server.directory / "file", environment={"NO_COLOR": "1"})
	assert re.search(r"Copying +100 %", text) and text.rindex("\x1b[K") < text.rindex("records"), text
