"""What cannot be copied between storage drivers: it fails alone and is named, and everything else is copied."""
import json
import os
import re
import shutil
import sqlite3
import subprocess

import bed
from suite import behaviour
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
	"nothing": ("", "nothing.dat: the file has 0 bytes"),
	"text": ('return "x";', "text.dat: holds a string instead of a table"),
	"comment": ("-- not here\n", "comment.dat: holds a nil instead of a table"),
	"raises": ('return {\n\tx = 1 + {};\n};', "raises.dat: line 2: attempt to perform arithmetic"),
	"binary": ("\x1bLua", "binary.dat: .*attempt to load a binary chunk"),
	"function": ("return { f = function () end };", "^a value of this type cannot be stored$"),
	"cyclic": ("local t = {}; t.t = t; return t;", "^a value of this type cannot be stored$"),
}


@behaviour("move faults: files of tables that cannot be read fail alone, until they are mended", **over())
def test(server):
	server.finish()
	write(server, "roster", {"alice.dat": TABLE, "zoe.dat": TABLE})
	write(server, "roster", {f"{user}.dat": content for user, (content, _) in UNREADABLE.items()})
	rosters = place(server, "roster")
	(rosters / "folder.dat").mkdir()
	(rosters / "loop.dat").symlink_to("loop.dat")
	(rosters / "dangling.dat").symlink_to("elsewhere")
	expected = {("roster", user): [(None, reason)] for user, (_, reason) in UNREADABLE.items()} | {
		("roster", "folder"): [(None, "folder.dat: Is a directory; mend or remove it, and run it again")],
		("roster", "loop"): [(None, "loop.dat: Too many levels of symbolic links")],
		("roster", "dangling"): [(None, "dangling.dat: No such file or directory")]}
	named_again(server, expected, "import", "--from", "internal")
	assert {key[3] for key in stat(server)} == {"alice", "zoe"}
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
		[("n", "time is nil"), ("t", "time is noon"), ("i", "time is inf"), ("x", "time is -?nan")], ["5"]),
	"keys": (item("7") + item('""') + item('"3"') + item('"3"', "again"),
		[("item 1", "id is not a name"), ("item 2", "id is not a name"), ("3", "id is that of an earlier one")], ["3"]),
	"odd": ('item("x");\nitem({});\nitem({ ["key"] = "k" });\nnonsense\nitem();\n' + item('"6"'),
		[("item 1", "line 1: it is not a stanza"), ("item 2", "line 2: it is not a stanza"), ("k", "line 3: it is not a stanza"),
			("item 4", "line 5: syntax error"), ("item 5", "line 5: no item")], ["6"]),
}


@behaviour("move faults: of a damaged list every good item is copied, and each other one named", **over())
def test(server):
	server.finish()
	write(server, "archive", {"alice.list": item('"1"') + item('"2"'), "zoe.list": item('"1"'), "nothing.list": ""})
	write(server, "archive", {f"{user}.list": content for user, (content, _, _) in LISTS.items()})
	(place(server, "archive") / "folder.list").mkdir()
	expected = {("archive", user): left_out for user, (_, left_out, _) in LISTS.items()} | {
		("archive", "nothing"): [(None, "nothing.list: the file has 0 bytes")],
		("archive", "folder"): [(None, "folder.list: Is a directory")]}
	named_again(server, expected, "import", "--from", "internal")
	good(server, "check")
	server.start()
	copied = {user: ids(server, user) for user in LISTS}
	assert copied == {user: keys for user, (_, _, keys) in LISTS.items()}, copied
	assert ids(server, "alice") == ["1", "2"] and ids(server, "zoe") == ["1"]
