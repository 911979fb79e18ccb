"""Moving many messages: transactions of many writes, pages of many rows, and copies that end in between."""
import re
import signal
import sqlite3
import subprocess
import xml.etree.ElementTree as ElementTree

import bed
from suite import behaviour
from test_storage import over
from test_storage_move import OTHERS, remove_data, start_with, totals
from test_storage_move_faults import item, write
from test_storage_tool import bad, command, data_file, good, on_terminal, stat

HOST = "prosody.test"
MANY = 1300  # more than the rows that are read, or the writes that are committed, at once
BODIES = ["hi", "1 & 2 < 3 > \"4\" '5'", "line\nline\ttab", "\N{EURO SIGN}\N{GRINNING FACE}", "item({", "}); --", ""]

DUMP = """
	local lines = {};
	local archive = require "core.storagemanager".open("%s", "archive", "archive");
	for id, stanza, when, with in assert(archive:find("%s")) do
		table.insert(lines, table.concat({ id, ("%%.6f"):format(when), with or "", (tostring(stanza):gsub("\\n", "&#10;")) }, " "));
	end
	return table.concat(lines, "\\n")"""


def message(n):
	body = BODIES[n % len(BODIES)].replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
	if n % 3 == 0:  # as a client's stream gives it
		return f"<message to='bob@other.test' id='m{n}' type='chat' xml:lang='de'><body>{body}</body><x xmlns='urn:x'><y/></x></message>"
	if n % 3 == 1:  # with prefixes, and attributes of a namespace
		return f"<message xmlns='jabber:client' id='m{n}'><body>{body}</body><p:a xmlns:p='urn:p' p:k='1' k='2'>t<b/>u</p:a></message>"
	return f"<message id='m{n}' from='room@rooms.test/n&apos;n'><subject/><body>{body}</body></message>"


def rows(count):
	"""key, when, with, XML. The clock has fractions, stands still, and goes back; one message is of the future."""
	times = [1700000000 + n // 2 - (40 if n % 50 == 7 else 0) + (n % 8) / 8 for n in range(count)]
	times[count // 16 * 8] += 1 << 30  # a whole second, which 32 bits cannot hold
	return [(f"key{n:05}", times[n], ["bob@other.test", "bob@other.test/r", "", "room@rooms.test"][n % 4], message(n)) for n in range(count)]


def canonical(xml):
	return ElementTree.canonicalize(xml, rewrite_prefixes=True)


def sql_file(server):
	return server.directory / "data/prosody.sqlite"


def make_sql(server, content, user="alice"):
	"""Prosody makes the tables. Its driver would commit each row."""
	server.finish()
	start_with(server, "sql")
	server.lua(f"""assert(require "core.storagemanager".open("{HOST}", "archive", "archive"):find("{user}"))""")
	server.finish()
	with sqlite3.connect(sql_file(server)) as connection:
		connection.executemany(f"""INSERT INTO prosodyarchive (host, user, store, "key", "when", "with", type, value)
			VALUES ('{HOST}', '{user}', 'archive', ?, ?, ?, 'xml', ?)""", content)
	connection.close()
	server.options["storage"] = "native"
	server.rewrite_config()


def read_sql(server, user="alice"):
	connection = sqlite3.connect(sql_file(server))
	found = connection.execute("""SELECT "key", "when", "with", value FROM prosodyarchive WHERE user=? ORDER BY sort_id""", [user]).fetchall()
	connection.close()
	return found


def comparable(content, whole_seconds=False):
	return [(key, int(when) if whole_seconds else when, with_, canonical(xml)) for key, when, with_, xml in content]


def dump(server, user="alice"):
	server.start()
	text = server.lua(DUMP % (HOST, user))
	server.finish()
	return text


def dumped(text):
	lines = [line.split(" ", 3) for line in text.splitlines()]
	return [(key, float(when), with_, canonical(xml)) for key, when, with_, xml in lines]


# --- there and back ---

@behaviour("storage move: many messages keep their ids, order, times, peers and contents, from SQL, to it, and over files", **over())
def many_messages_are_the_same_everywhere(server):
	content = rows(MANY)
	make_sql(server, content)
	expected = comparable(content, whole_seconds=server.version == "0.12")
	assert totals(good(server, "import", "--from", "sql")) == [1, MANY, MANY]
	good(server, "check")
	assert dumped(dump(server)) == expected
	remove_data(server, "sql")
	for driver in OTHERS:
		assert totals(good(server, "export", "--to", driver)) == [1, MANY, MANY]
	assert comparable(read_sql(server)) == expected
	for driver in OTHERS:
		remove_data(server, "native")
		assert totals(good(server, "import", "--from", driver)) == [1, MANY, MANY]
		assert dumped(dump(server)) == expected


# --- writes that fail ---

@behaviour("storage move: messages that SQL refuses are named, and all others are exported once, in their order", **over())
def refused_messages_do_not_affect_their_transaction(server):
	content = rows(MANY)
	make_sql(server, content)
	good(server, "import", "--from", "sql")
	refused = ["key00000", "key00500", "key00501", f"key{MANY - 1:05}"]
	with sqlite3.connect(sql_file(server)) as connection:
		connection.execute("DELETE FROM prosodyarchive")
		names = ", ".join(f"'{key}'" for key in refused)
		connection.execute(f"""CREATE TRIGGER refuse BEFORE INSERT ON prosodyarchive WHEN NEW."key" IN ({names})
			BEGIN SELECT RAISE(ABORT, 'refused here'); END""")
	connection.close()
	output = bad(server, "export", "--to", "sql", says="error: 4 failures; the rest was copied")
	assert totals(output.out) == [1, MANY, MANY - 4], output
	assert re.findall(r"alice +(key\d+) +.*refused here", output.err) == refused, output
	kept = [row[0] for row in content if row[0] not in refused]
	assert [row[0] for row in read_sql(server)] == kept
	bad(server, "export", "--to", "sql", says="missing in sql, although later ones are there")
	assert [row[0] for row in read_sql(server)] == kept


# --- copies that end in between ---

def end_in_between(server, words, begun, how):
	"""Runs a command, and ends it by a signal once begun() is true."""
	process = subprocess.Popen(command(server, *words), preexec_fn=bed.end_with_parent,
		stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
	bed.wait_for(lambda: begun() or process.poll() is not None, "it copies", 20)
	process.send_signal(how)
	assert process.wait(20) == -how, "it ended before"


def size_of(path):
	return path.stat().st_size if path.exists() else 0


LONG = 12000


def make_long(server, driver, count=LONG):
	"""An archive that takes a while. Its keys."""
	keys, body = [f"key{n:05}" for n in range(count)], "x" * 100
	if driver == "sql":
		make_sql(server, [(key, 1700000000, "bob@other.test", f"<message id='{key}'><body>{body}</body></message>") for key in keys])
	else:
		server.finish()
		write(server, "archive", {"alice.list": "".join(item(f'"{key}"', body) for key in keys)})
	return keys


@behaviour("storage move: an export to SQL that is killed or interrupted continues, without loss or duplicates", **over())
def an_ended_export_to_sql_continues(server):
	keys = make_long(server, "sql")
	good(server, "import", "--from", "sql")
	remove_data(server, "sql")
	before = 0
	for how in (signal.SIGKILL, signal.SIGINT):
		enough = size_of(sql_file(server)) + (3 << 19)  # more than the pages of one transaction
		end_in_between(server, ("export", "--to", "sql"), lambda: size_of(sql_file(server)) > enough, how)
		found = [row[0] for row in read_sql(server)]
		assert before < len(found) < LONG and found == keys[:len(found)], (before, len(found))
		before = len(found)
	assert totals(good(server, "export", "--to", "sql")) == [1, LONG, LONG]
	assert [row[0] for row in read_sql(server)] == keys


@behaviour("storage move: an import that is interrupted continues, without loss or duplicates", over=OTHERS, **over())
def an_interrupted_import_continues(server, driver):
	keys = make_long(server, driver)
	end_in_between(server, ("import", "--from", driver), lambda: size_of(data_file(server)) > 1 << 20, signal.SIGINT)
	good(server, "check")
	assert 0 < stat(server)[(HOST, "archive", "archive", "alice")] < LONG
	assert totals(good(server, "import", "--from", driver)) == [1, LONG, LONG]
	assert [line.split(" ", 1)[0] for line in dump(server).splitlines()] == keys


# --- progress ---

@behaviour("storage move: on a terminal a line shows what is copied, how fast, the share and the time left", over=OTHERS, **over())
def a_terminal_shows_progress(server, driver):
	count = len(make_long(server, driver, LONG // 2))
	text = on_terminal(server, "import", "--from", driver, environment={"NO_COLOR": "1"})
	states = re.findall(r"\r\x1b\[KCopying  archive \(archive\) of alice@prosody.test  (\d+) written  (?:\d+/s  )?(\d+) %", text)
	assert states and sorted(states, key=lambda s: int(s[0])) == states, text
	assert all(abs(int(n) * 100 / count - int(share)) < 10 for n, share in states), states
	assert text.rindex("\x1b[K") < text.rindex("total"), text
