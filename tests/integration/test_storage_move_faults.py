"""Items that cannot be copied between storage drivers: they fail alone and are named, and everything else is copied."""
import json
import os
import random
import re
import shutil
import sqlite3
import subprocess

import bed
from suite import SEED, behaviour
from test_storage import over
from test_storage_faults import private_mounts
from test_storage_move import OTHERS, remove_data, start_with, totals
from test_storage_tool import NOBODY, bad, command, data_file, good, stat, tool

HOST = "prosody.test"
TABLE = 'return { ["bob@other.test"] = { ["subscription"] = "both" } };\n'
FACE = "\N{GRINNING FACE}"
LONG_NODE, LONG_USER = "pep_" + 100 * FACE, 300 * "u"


def item(key, body="text", when="1700000000", before=""):
	"""A record as Prosody writes it."""
	return (f'{before}item({{\n\t["name"] = "message";\n\t["attr"] = {{\n\t\t["id"] = "m";\n\t}};\n\t{{\n\t\t["name"] = "body";\n'
		f'\t\t["attr"] = {{}};\n\t\t"{body}";\n\t}};\n\t["key"] = {key};\n\t["when"] = {when};\n\t["with"] = "bob@other.test";\n}});\n')


def place(server, store):
	path = server.directory / "data" / HOST.replace(".", "%2e") / store
	path.mkdir(parents=True, exist_ok=True)
	return path


def write(server, store, files):
	for name, content in files.items():
		(place(server, store) / name).write_bytes(content.encode())


def failures(server, *words, status=1):
	"""{(store, user): [(item, reason), ...]}"""
	output = tool(server, *words, "--json")
	assert output.status == status, output
	report = json.loads(output.out)
	assert report["conflicts"] == [] and (not status) == (not report["failures"]), output
	found = {}
	for failure in report["failures"]:
		assert failure["host"].endswith(HOST), output
		found.setdefault((failure["store"], failure["user"]), []).append((failure["item"], failure["reason"]))
	return found


def assert_named(found, expected):
	"""expected: {(store, user): [(item, pattern), ...]}"""
	assert found.keys() == expected.keys(), (found, expected)
	for name, pairs in expected.items():
		assert [i for i, _ in found[name]] == [i for i, _ in pairs], (name, found[name])
		assert all(re.search(p, reason) for (_, reason), (_, p) in zip(found[name], pairs)), (name, found[name])


def transaction(server):
	return json.loads(good(server, "stat", "--json"))["store"]["transaction"]


def named_again(server, expected, *words):
	"""Two runs name the same failures, and the second one writes nothing into the native store."""
	assert_named(failures(server, *words), expected)
	before = transaction(server)
	assert_named(failures(server, *words), expected)
	assert transaction(server) == before


def ids(server, user, store="archive", host=HOST):
	return server.lua(f"""
		local ids = {{}};
		for id in assert(require "core.storagemanager".open({bed.lua(host)}, "{store}", "archive"):find({bed.lua(user)})) do
			table.insert(ids, id);
		end
		return table.concat(ids, " ")""").split()


# --- import from files ---

UNREADABLE = {
	"torn": ('return { ["bob@', "torn.dat: line 1: unfinished string"),
	"nothing": ("", "nothing.dat: the file is empty"),
	"text": ('return "x";', "text.dat: holds a string instead of a table"),
	"comment": ("-- not here\n", "comment.dat: holds a nil instead of a table"),
	"raises": ('return {\n\tx = 1 + {};\n};', "raises.dat: line 2: attempt to perform arithmetic"),
	"binary": ("\x1bLua", "binary.dat: .*attempt to load a binary chunk"),
	"function": ("return { f = function () end };", "^a value of this type cannot be stored$"),
	"cyclic": ("local t = {}; t.t = t; return t;", "^a value of this type cannot be stored$"),
}


@behaviour("move faults: unreadable files of tables fail alone, until they are repaired", **over())
def unreadable_files_fail_alone(server):
	server.finish()
	write(server, "roster", {"alice.dat": TABLE, "zoe.dat": TABLE})
	write(server, "roster", {f"{user}.dat": content for user, (content, _) in UNREADABLE.items()})
	rosters = place(server, "roster")
	(rosters / "folder.dat").mkdir()
	(rosters / "loop.dat").symlink_to("loop.dat")
	(rosters / "dangling.dat").symlink_to("elsewhere")
	(rosters.parent / "cron.dat").write_text("return { [")
	stray = server.directory / "data/no%2esuch%2ehost/roster"  # does not belong to a host of the configuration
	stray.mkdir(parents=True)
	(stray / "alice.dat").write_text("return { [")
	expected = {("roster", user): [(None, reason)] for user, (_, reason) in UNREADABLE.items()} | {
		("cron", None): [(None, "prosody%2etest/cron.dat: line 1: unexpected symbol")],
		("roster", "folder"): [(None, "folder.dat: Is a directory; repair or remove it, and run the command again")],
		("roster", "loop"): [(None, "loop.dat: Too many levels of symbolic links")],
		("roster", "dangling"): [(None, "dangling.dat: No such file or directory")]}
	named_again(server, expected, "import", "--from", "internal")
	assert {key[3] for key in stat(server)} == {"alice", "zoe"}
	(rosters.parent / "cron.dat").unlink()
	for path in rosters.iterdir():
		if path.is_dir():
			path.rmdir()
		elif path.is_symlink():
			path.unlink()
		else:
			path.write_text(TABLE)
	assert totals(good(server, "import", "--from", "internal")) == [10, 10, 10]


FORGED = 'item({name=[[message]],attr={},key=[[forged]],when=1});'
TORN = item('"torn"', FORGED).partition(FORGED)[0] + FORGED
LISTS = {  # user: (content, items that are left out, ids that are copied)
	"end": (item('"1"') + item('"2"') + TORN, [("item 3", "end.list, line 37: unfinished string")], ["1", "2"]),
	"middle": (item('"1"') + TORN + item('"3"') + item('"4"'), [("item 2", "middle.list, line 23: unfinished string")], ["1", "3", "4"]),
	"zeros": (item('"1"') + "\0" * 4000 + item('"3"') + item('"4"') + "\0" * 9,
		[("item 2", "line 15: zeros"), ("item 5", "line 43: zeros")], ["1", "3", "4"]),
	"control": (item('"1"') + item('"c"', r"\001") + item('"3"'), [("c", "line 15: invalid text .*control char")], ["1", "3"]),
	"utf8": (item('"1"') + item('"u"', r"\255") + item('"3"'), [("u", "line 15: invalid text .*utf8")], ["1", "3"]),
	"times": (item('"n"', when="nil") + item('"t"', when='"noon"') + item('"i"', when="1/0") + item('"x"', when="0/0") + item('"5"'),
		[("n", "time: nil"), ("t", "time: noon"), ("i", "time: inf"), ("x", "time: -?nan")], ["5"]),
	"keys": (item("7") + item('""') + item('"3"') + item('"3"', "again"),
		[("item 1", "invalid id"), ("item 2", "invalid id"), ("3", "duplicate id")], ["3"]),
	"odd": ('item("x");\nitem({});\nitem({ ["key"] = "k" });\nnonsense\nitem();\n' + item('"6"'),
		[("item 1", "line 1: not a stanza"), ("item 2", "line 2: not a stanza"), ("k", "line 3: not a stanza"),
			("item 4", "line 5: syntax error"), ("item 5", "line 5: no item")], ["6"]),
}


@behaviour("move faults: every good item of a damaged list is copied, and each damaged one is named", **over())
def good_items_of_a_damaged_list_are_copied(server):
	server.finish()
	write(server, "archive", {"alice.list": item('"1"') + item('"2"'), "zoe.list": item('"1"'), "nothing.list": ""})
	write(server, "archive", {f"{user}.list": content for user, (content, _, _) in LISTS.items()})
	(place(server, "archive") / "folder.list").mkdir()
	expected = {("archive", user): left_out for user, (_, left_out, _) in LISTS.items()} | {
		("archive", "nothing"): [(None, "nothing.list: the file is empty")],
		("archive", "folder"): [(None, "folder.list: Is a directory")]}
	named_again(server, expected, "import", "--from", "internal")
	good(server, "check")
	server.start()
	copied = {user: ids(server, user) for user in LISTS}
	assert copied == {user: keys for user, (_, _, keys) in LISTS.items()}, copied
	assert ids(server, "alice") == ["1", "2"] and ids(server, "zoe") == ["1"]


@behaviour("move faults: a record that is repaired later is not appended behind later ones, and does not stop others", **over())
def a_mended_record_keeps_its_place(server):
	server.finish()
	write(server, "archive", {"alice.list": item('"1"') + item('"2"', r"\001") + item('"3"')})
	failures(server, "import", "--from", "internal")
	write(server, "archive", {"alice.list": "".join(item(f'"{n}"') for n in range(1, 6)), "bob.list": item('"1"')})
	missing = {("archive", "alice"): [("2", "^missing in native, .* remove it there first")]}
	named_again(server, missing, "import", "--from", "internal")
	server.start()
	assert ids(server, "alice") == ["1", "3", "4", "5"] and ids(server, "bob") == ["1"]
	server.lua(f"""assert(require "core.storagemanager".open({bed.lua(HOST)}, "archive", "archive"):delete("alice"))""")
	server.finish()
	assert totals(good(server, "import", "--from", "internal")) == [2, 6, 6]
	server.start()
	assert ids(server, "alice") == ["1", "2", "3", "4", "5"]


@behaviour("move faults: NaN is equal to itself", **over())
def nan_equals_itself(server):
	server.finish()
	write(server, "odd", {"alice.dat": "return { nan = 0/0, deep = { nan = -(0/0), inf = 1/0 } };"})
	for words in (("import", "--from", "internal"), ("export", "--to", "internal")) * 2:
		assert totals(good(server, *words)) == [1, 2, 2]
	remove_data(server, "internal")
	for words in (("export", "--to", "internal"), ("import", "--from", "internal")) * 2:
		assert totals(good(server, *words)) == [1, 2, 2]


def closed_to_nobody(server):
	"""Changes the owner of the server's files to a user who is not root, if the tester is root."""
	for path in (server.directory, *server.directory.rglob("*")):
		if os.geteuid() == 0:
			os.chown(path, 65534, 65534, follow_symlinks=False)
	return NOBODY if os.geteuid() == 0 else []


@behaviour("move faults: a file, a store or a host that the tool cannot access is named",
	**over(components={"rooms." + HOST: "muc"}))
def closed_files_stores_and_hosts_are_named(server):
	server.finish()
	write(server, "roster", {"alice.dat": TABLE, "bob.dat": TABLE})
	write(server, "vcard", {"alice.dat": TABLE})
	rooms = server.directory / "data/rooms%2eprosody%2etest"
	rooms.write_text("no directory")
	user = closed_to_nobody(server)
	(place(server, "roster") / "alice.dat").chmod(0)
	place(server, "vcard").chmod(0)
	done = subprocess.run([*user, *command(server, "import", "--from", "internal", "--json")], timeout=35, check=False,
		stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
	place(server, "vcard").chmod(0o700)
	report = json.loads(done.stdout)
	named = {(f["host"], f["store"], f["user"]): f["reason"] for f in report["failures"]}
	denied = "Permission denied; prosodyctl works as the user that Prosody runs as"
	assert done.returncode == 1 and named.keys() == {(HOST, "roster", "alice"), (HOST, "vcard", "(all users)"),
		("rooms." + HOST, "(all stores)", "(all users)")}, done
	assert f"alice.dat: {denied}" in named[(HOST, "roster", "alice")], named
	assert f"vcard: {denied}" in named[(HOST, "vcard", "(all users)")], named
	assert f"{rooms}: it is not a directory" in named[("rooms." + HOST, "(all stores)", "(all users)")], named
	assert [c["target"] for c in report["counts"]] == [1], report


@behaviour("move faults: the printed tables are aligned, and say how many rows were left out", **over())
def printed_tables_line_up(server):
	server.finish()
	write(server, "archive", {"alice.list": item('"1"'), "bob.list": item('"1"') + item('"with-a-long-id"', r"\255")})
	write(server, "roster", {f"user{n}.dat": "" for n in range(101)})
	output = bad(server, "import", "--from", "internal", says="error: 102 failures; the rest was copied")
	assert re.search(r"^prosody.test  archive  archive      2       3       2  differs, 1 failed$", output.out, re.M), output
	assert totals(output.out) == [103, 3, 2], output
	_, title, *rows, more, _ = output.err.splitlines()
	columns = [title.index(name) for name in ("host", "store", "type", "user", "item", "reason")]
	assert len(rows) == 100 and more == "... and 2 more; --json shows all", output
	assert all(row[at - 1] == " " != row[at] for row in rows for at in columns[1:4] + columns[5:]), output
	assert rows[0].split()[:5] == ["prosody.test", "archive", "archive", "bob", "with-a-long-id"], output
	assert "run it again" not in rows[0], output


@behaviour("move faults: a truncated file of XEP-0227 fails for its user", **over())
def a_torn_xep_0227_file_fails_its_user(server):
	users = [server.account(name) for name in ("alice", "bob")]
	server.finish()
	tool(server, "export", "--to", "xep0227")
	remove_data(server, "native")
	file = server.directory / f"data/{users[1]}@{HOST}.xml"
	file.write_text(file.read_text()[:-20])
	found = failures(server, "import", "--from", "xep0227")
	assert {user for _, user in found} == {users[1]} and ("accounts", users[1]) in found, found
	assert all("file is not well-formed XML" in reason for pairs in found.values() for _, reason in pairs), found
	assert {key[3] for key in stat(server, HOST, "accounts")} == {users[0]}


# --- import from SQL ---

def fill_sql(server):
	server.finish()
	start_with(server, "sql")
	server.lua("""
		local sm, st = require "core.storagemanager", require "util.stanza";
		for _, user in ipairs { "alice", "bob", "carol", "dave", "erin", "zoe" } do
			local archive = sm.open("%s", "archive", "archive");
			for n = 1, 4 do
				local message = st.message({ id = "m" }, user..n..("x"):rep(3000)); -- a page of SQLite for each
				assert(archive:append(user, "id"..n, message, 1700000000 + n, "bob@other.test"));
			end
			local roster = { [false] = { version = 1 }, ["b@c.test"] = { name = "B" }, ["c@d.test"] = { name = "C" } };
			assert(sm.open("%s", "roster"):set(user, roster));
			assert(sm.open("%s", "numbers"):set(user, { number = 5 }));
		end""" % (HOST, HOST, HOST))
	server.finish()
	server.options["storage"] = "native"
	server.rewrite_config()
	return server.directory / "data/prosody.sqlite"


def change(database, statement, *values):
	connection = sqlite3.connect(database)
	with connection:
		assert connection.execute(statement, values).rowcount > 0
	connection.close()


@behaviour("move faults: a damaged row of SQL is named, and the others are copied", **over())
def a_damaged_sql_row_is_named(server):
	database = fill_sql(server)
	archive, table = 'UPDATE prosodyarchive SET %s WHERE user=? AND "key"=?', 'UPDATE prosody SET %s WHERE user=? AND "key"=?'
	change(database, archive % "value=substr(value, 1, 20)", "alice", "id2")
	change(database, archive % "type='thing'", "bob", "id1")
	change(database, archive % "type='string'", "carol", "id4")
	change(database, archive % "\"when\"='noon'", "dave", "id3")
	change(database, archive % "value=replace(value, 'erin3', cast(x'65ff' AS TEXT))", "erin", "id3")
	change(database, archive % "value=replace(value, 'erin4', char(1))", "erin", "id4")
	change(database, table % "value='{\"a'", "alice", "b@c.test")
	change(database, table % "value='[[]'", "bob", "")
	change(database, table % "type='thing'", "carol", "c@d.test")
	change(database, table % "value='inf'", "dave", "number")
	row, mend = "the row with the sort_id %d in the table prosodyarchive: ", "in the table prosody: .*; repair or remove it, and run the command again$"
	named_again(server, {
		("archive", "alice"): [("id2", row % 2 + "unclosed token")],
		("archive", "bob"): [("id1", row % 5 + "Unhandled value type")],
		("archive", "carol"): [("id4", "^not a stanza$")],
		("archive", "dave"): [("id3", "^invalid time: noon$")],
		("archive", "erin"): [("id3", row % 19 + "not well-formed"), ("id4", row % 20 + "not well-formed")],
		("roster", "alice"): [("b@c.test", "^the row with this key " + mend)],
		("roster", "bob"): [("", "^the row with an empty key " + mend)],
		("roster", "carol"): [("c@d.test", "^the row with this key " + mend)],
		("numbers", "dave"): [("number", "^the row with this key " + mend)]}, "import", "--from", "sql")
	counts = stat(server)
	assert [counts[(HOST, "archive", "archive", user)] for user in ("alice", "bob", "carol", "dave", "erin", "zoe")] == [3, 3, 3, 3, 2, 4]
	assert {key[3] for key in counts if key[1] == "roster"} == {"dave", "erin", "zoe"}
	server.start()
	assert ids(server, "alice") == ["id1", "id3", "id4"] and ids(server, "bob") == ["id2", "id3", "id4"]


@behaviour("move faults: a damaged page of SQLite fails for its archive", **over())
def a_damaged_sqlite_page_fails_its_archive(server):
	database = fill_sql(server)
	content = bytearray(database.read_bytes())
	page = content.index(b"dave2") // 4096 * 4096
	content[page:page + 4096] = bytes(4096)
	database.write_bytes(content)
	named_again(server, {("archive", "dave"): [(None, "database disk image is malformed")]}, "import", "--from", "sql")
	assert {key[3] for key in stat(server, HOST, "archive")} == {"alice", "bob", "carol", "erin", "zoe"}


@behaviour("move faults: a table that is missing in SQL is named for each host", **over(components={"rooms." + HOST: "muc"}))
def a_missing_sql_table_is_named_per_host(server):
	database = fill_sql(server)
	with sqlite3.connect(database) as connection:
		connection.execute("DROP TABLE prosodyarchive")
	connection.close()
	server.options["sql_manage_tables"] = False
	server.rewrite_config()
	assert_named(failures(server, "import", "--from", "sql"), {
		("(all stores)", "(all users)"): [(None, "^cannot list the archives: .*no such table: prosodyarchive")] * 2})


@behaviour("move faults: a locked database stops an import and an export, which continue when it is free", **over())
def a_locked_database_stops_until_free(server):
	database = fill_sql(server)
	good(server, "import", "--from", "sql", HOST, "roster")
	for words in (("import", "--from", "sql"), ("export", "--to", "sql")):
		with sqlite3.connect(database, isolation_level=None) as holder:
			holder.execute("BEGIN EXCLUSIVE")
			bad(server, *words, says=r"error: [^\n]*database is locked\nFix this, and run the command again")
			holder.execute("ROLLBACK")
		holder.close()
		good(server, *words)


# --- export ---

DIFFICULT = """
	local sm, st = require "core.storagemanager", require "util.stanza";
	local face, host = "\\240\\159\\152\\128", "%s";
	local long_user, long_node = ("u"):rep(300), face:rep(100);
	local function table_of(store, user, data) assert(sm.open(host, store):set(user, data)); end
	local function append(store, user, id, message)
		assert(sm.open(host, store, "archive"):append(user, id, message, 1700000000, "bob@other.test"));
	end
	local deep = {};
	for _ = 1, 140 do deep = { deep }; end
	table_of("roster", "alice", { ["b@c.test"] = { name = "B" } });
	table_of("roster", long_user, { ["b@c.test"] = { name = "B" } });
	table_of("pep", "alice", { [long_node] = { config = { max_items = 1/0 } } });
	table_of("pep", "bob", { ok = { config = {} }, bad = { config = { max_items = 0/0 } } });
	table_of("pep", "carol", { ok = { config = {} } });
	table_of("odd", "alice", { number = -1/0 });
	table_of("odd", "bob", { text = "a\\0b" });
	table_of("odd", "carol", { deep = deep });
	table_of("odd", "dave", { no = false, yes = true, fraction = 0.1 + 0.2, big = 1 << 60, [false] = "no", [1.5] = { 1, nil, 3 } });
	append("pep_"..long_node, "alice", "current", st.stanza("item", { id = "current" }));
	for n = 1, 5 do
		append("archive", long_user, "long"..n, st.message({}, "long"));
		local message = st.message({ id = "m" }, "DAMAGE"..n);
		if n == 2 then message.tags[1][1] = "bad \\255"; end
		if n == 3 then message.attr.to = "bad\\1"; end
		append("archive", "alice", "id"..n, message);
	end""" % HOST

TOO_LONG = r"^File name too long \(%d bytes\): internal cannot hold it$"
REFUSED = {
	"internal": {
		("archive", "alice"): [("id2", "contains invalid utf8"), ("id3", "contains control characters")],
		("archive", LONG_USER): [(None, TOO_LONG % 305)],
		("odd", "carol"): [(None, "max table depth reached")],
		(LONG_NODE, "alice"): [(None, TOO_LONG % 1204)],
		("roster", LONG_USER): [(None, TOO_LONG % 304)]},
	"sql": {
		("archive", "alice"): [("id2", "contains invalid utf8"), ("id3", "contains control characters")],
		("odd", "alice"): [("number", "^SQL cannot store this number: -inf$")],
		("odd", "bob"): [("text", "^SQL cannot store a text with a zero byte$")],
		("odd", "dave"): [("no", "reads back differently: false became nil")],
		("pep", "alice"): [(100 * FACE, "^SQL cannot store this number: config: max_items: inf$")],
		("pep", "bob"): [("bad", "^SQL cannot store this number: config: max_items: NaN$")]},
}
KEPT = """
	local sm, kept = require "core.storagemanager", {};
	for _, store in ipairs { "roster", "pep", "odd" } do
		for _, user in ipairs { "alice", "bob", "carol", "dave" } do
			if sm.open("%s", store):get(user) then table.insert(kept, store.." "..user); end
		end
	end
	return table.concat(kept, "\\n")""" % HOST


@behaviour("move faults: data that a driver cannot hold do not stop the export of the rest", over=OTHERS, **over())
def unsupported_data_do_not_block_the_rest(server, driver):
	server.lua(DIFFICULT)
	before = set(server.lua(KEPT).splitlines())
	server.finish()
	named_again(server, REFUSED[driver], "export", "--to", driver)
	lost = {" ".join(name) for name, pairs in REFUSED[driver].items() if "reads back" not in pairs[0][1]}
	start_with(server, driver)
	assert set(server.lua(KEPT).splitlines()) == before - lost and len(before) == 8
	assert ids(server, "alice") == ["id1", "id4", "id5"]
	dave = server.lua(f"""
		local data = require "core.storagemanager".open("{HOST}", "odd"):get("dave");
		return ("%s %d %s %d"):format(data.yes, data.big, data[false], data[1.5][3])""")
	assert dave == f"true {1 << 60} no 3", dave


@behaviour("move faults: a message that is damaged in the native store is named, and the others are exported", **over())
def a_damaged_native_message_is_named(server):
	server.lua(DIFFICULT)
	server.finish()
	content = data_file(server).read_bytes()
	text = b"\3\7DAMAGE4"
	assert content.count(text) == 1
	data_file(server).write_bytes(content.replace(text, b"\x09\7DAMAGE4"))
	named_again(server, REFUSED["internal"] | {("archive", "alice"): [
		("id2", "invalid utf8"), ("id3", "control characters"), ("id4", "the message is damaged in the database")]},
		"export", "--to", "internal")
	start_with(server, "internal")
	assert ids(server, "alice") == ["id1", "id5"]


@behaviour("move faults: damage in the target is named, and nothing is written there", over=OTHERS, **over())
def a_damaged_target_is_left_alone(server, driver):
	server.finish()
	write(server, "archive", {f"{user}.list": item('"1"') + item('"2"') for user in ("alice", "bob")})
	write(server, "roster", {f"{user}.dat": TABLE for user in ("alice", "bob")})
	good(server, "import", "--from", "internal")
	remove_data(server, "internal")
	good(server, "export", "--to", driver)
	if driver == "internal":
		files = [place(server, "archive") / "bob.list", place(server, "roster") / "bob.dat"]
		for file in files:
			file.write_text(file.read_text()[:-9])
		expected = {("archive", "bob"): [("item 2", "^cannot read the target: ")], ("roster", "bob"): [(None, "^cannot read the target: .*bob.dat: ")]}
	else:
		files = [server.directory / "data/prosody.sqlite"]
		change(files[0], "UPDATE prosodyarchive SET value='<a' WHERE user='bob' AND \"key\"=?", "2")
		change(files[0], "UPDATE prosody SET value='[[' WHERE user='bob' AND \"key\"=?", "bob@other.test")
		expected = {("archive", "bob"): [(None, "^cannot read the target: ")],
			("roster", "bob"): [("bob@other.test", "^cannot read the target: the row with this key ")]}
	before = [file.read_bytes() for file in files]
	named_again(server, expected, "export", "--to", driver)
	assert [file.read_bytes() for file in files] == before


@behaviour("move faults: with --json, conflicting data are an object, too", **over())
def json_names_the_data_in_the_way(server):
	server.account("alice")
	server.finish()
	good(server, "export", "--to", "internal")
	write(server, "accounts", {"alice1.dat": TABLE, "zoe.dat": ""})
	output = bad(server, "export", "--to", "internal", "--json", says="has other data: accounts .keyval. of alice1@prosody.test")
	report = json.loads(output.out)
	assert report == {"counts": [], "failures": [], "conflicts": [
		{"host": HOST, "store": "accounts", "type": "keyval", "user": "alice1"}]}, output


# --- faults that stop the run ---

class Disk:
	"""A small file system in a directory of the server's data."""

	def __init__(self, path):
		private_mounts()
		self.path, self.ballast = path, path / "ballast"
		path.mkdir(parents=True)
		subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", path], check=True)

	def __enter__(self):
		return self

	def __exit__(self, *_):
		subprocess.run(["umount", self.path], check=True)

	def remount(self, option):
		subprocess.run(["mount", "-o", f"remount,{option}", self.path], check=True)

	def fill(self, leaving):
		with open(self.ballast, "wb", buffering=0) as file:
			while os.statvfs(self.path).f_bavail * os.statvfs(self.path).f_bsize > leaving:
				file.write(bytes(4096))


@behaviour("move faults: a full disk, or a read-only one, stops the export, which continues afterwards", over=OTHERS, **over())
def an_export_continues_after_a_full_disk(server, driver):
	server.lua(f"""
		local sm, st = require "core.storagemanager", require "util.stanza";
		for n = 1, 20 do
			assert(sm.open("{HOST}", "archive", "archive"):append("alice", "id"..n, st.message({{}}, ("x"):rep(3000)), 1700000000));
			assert(sm.open("{HOST}", "vcard"):set("user"..n, {{ text = ("x"):rep(3000) }}));
		end""")
	server.finish()
	directory = server.directory / "data" / (HOST.replace(".", "%2e") if driver == "internal" else "database")
	server.options["sql"] = {"driver": "SQLite3", "database": directory / "db"}
	server.rewrite_config()
	full, read_only = {"internal": ("No space left on device", "Read-only file system"),
		"sql": ("(did not commit; check whether its disk is|database or disk is) full", "readonly database|unable to open database file")}[driver]
	with Disk(directory) as disk:
		if driver == "sql":
			good(server, "export", "--to", "sql", HOST, "roster")  # makes the tables
		disk.remount("ro")
		bad(server, "export", "--to", driver, says=rf"error: [^\n]*({read_only})[^\n]*\nFix this, and run the command again")
		disk.remount("rw")
		for room in (24 << 10, 96 << 10):  # enough for a part of the archive, and of the tables after it
			disk.fill(leaving=room)
			bad(server, "export", "--to", driver, says=rf"error: [^\n]*{full}[^\n]*\nFix this, and run the command again")
			disk.ballast.unlink()
		assert totals(good(server, "export", "--to", driver)) == [21, 40, 40]


@behaviour("move faults: a full native store stops the import, which continues with a higher limit",
	**over(options={"storage_native_max_size": 4 << 20}))
def an_import_continues_after_a_full_store(server):
	server.finish()
	noise = random.Random(SEED)  # text that repeats itself is compressed
	content = "".join(item(f'"{n}"', noise.randbytes(5000).hex()) for n in range(200))
	write(server, "archive", {f"user{n}.list": content for n in range(4)})
	output = bad(server, "import", "--from", "internal", says="\nFix this, and run the command again")
	assert "storage_native_max_size" in output.err, output
	server.options["storage_native_max_size"] = 64 << 20
	server.rewrite_config()
	assert totals(good(server, "import", "--from", "internal")) == [4, 800, 800]
	output = bad(server, "import", "--from", "nosuch", says="cannot load the storage driver")
	assert "run it again" not in output.err, output
