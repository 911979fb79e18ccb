"""Tests of the figures of a message's path: the load, tables and goals, and their section in the documents."""
import re
import socket
import subprocess
import sys
import threading
import types

import compiled
import documents
import load
import message
import page
import room
import server
import sessions
import storage
import tables
from cases import MACHINE, measured, test


# --- tables and goals ---

def page_tables():
	targets = storage.Targets()
	values = {("time", "ours"): [0.0005, 0.0006, 0.0007], ("time", "sql"): [0.05] * 3,
		("CPU", "ours"): [0.0005] * 3, ("CPU", "sql"): [0.005] * 3}
	table, = page.page_table({"13.0": measured(values)}, targets)
	return table, targets.table


@test("a page has limits in milliseconds, and one of SQLite's CPU")
def _():
	table, targets = page_tables()
	assert [tables.write(cell) for cell in table.rows[0]] == ["13.0", "time", "0.60 ±17%", "50.0 ±0%", "0.012 ±17%"], table.rows
	assert [(row[3], row[4]) for row in targets.rows] == [("at most 0.60", "met"), ("at most 0.40", "NOT met"), ("at most 0.050", "NOT met")]


@test("a message is compared with stock, and with ejabberd if it is archived for a resource each")
def _():
	values = {((kind, shape), which): [{"ours": 50e-6, "stock": 500e-6, "ejabberd": 100e-6}[which]]
		for kind, columns in message.KINDS.items() for shape in ("paced", "bursts") for which in columns}
	values.update({((kind, "requests"), "ours"): [1.0] for kind in message.KINDS})
	targets = storage.Targets()
	table, = message.message_table({"13.0": measured(values)}, targets)
	assert [tables.write(cell) for cell in table.rows[0][3:]] == ["50.0", "500.0", "100.0", "0.10", "0.50", "1.00"], table.rows[0]
	assert len(targets.table.rows) == len(message.WANTED) == 10 and {row[4] for row in targets.table.rows} == {"met"}
	assert [row[5] for row in table.rows[2:]] == ["-"] * 6 and [row[8] for row in table.rows] == ["1.00", "-"] * 4


@test("a copy in a room, a login and an idle session are compared with stock")
def _():
	targets = storage.Targets()
	room.room_table({"13.0": measured({(1000, "ours"): [10e-6], (1000, "stock"): [100e-6]})}, targets)
	sessions.login_table({"13.0": measured({(300, "ours"): [0.07], (300, "stock"): [0.1]})}, targets)
	sessions.idle_table({"13.0": measured({(row, which): [number] for row in ("resident", "heap") for which, number in
		(("ours", 30000.0), ("stock", 40000.0))})}, targets)
	assert [(tables.write(row[2]), row[4]) for row in targets.table.rows] == [("0.10", "met"), ("0.70", "NOT met"), ("0.75", "met")]


# --- the load, beside a server that is played here ---

class Client:
	"""One end of a connection, as a client of tests/integration."""

	def __init__(self):
		self.sock, self.far = socket.socketpair()
		self.transport, self.h = types.SimpleNamespace(sock=self.sock), 0


class Idle:
	"""A server that uses no CPU."""

	def idle(self):
		pass

	def cpu(self):
		return 0.0


def answering(client, answer):
	"""A thread that answers each <message/> from the client, and ends with its connection; and the acks from the client."""
	def read():
		got = ""
		while data := client.far.recv(65536):
			got += data.decode()
			acks.extend(re.findall("<a [^>]*/>", got))
			for _ in range(got.count("<message/>")):
				client.far.sendall(answer.encode())
			got = got[got.rindex(">") + 1:]
	acks = []
	thread = threading.Thread(target=read, daemon=True)
	thread.start()
	return thread, acks


def loaded(answer, expected, window=1, count=3, patience=load.PATIENCE):
	"""Runs the load on one client, which gets `answer` for each text. Returns what was spent, the client, its acks, the error."""
	compiled.build()
	client, spent, failure = Client(), None, None
	thread, acks = answering(client, answer)
	try:
		spent = load.run(Idle(), [load.Group(client, "<message/>", {client: expected})], window, count, patience)
	except RuntimeError as error:
		failure = str(error)
	client.sock.close()
	thread.join()
	client.far.close()
	return spent, client, acks, failure


@test("the load counts nested, empty and cut elements, and stanzas for their acknowledgement")
def _():
	copy = "<message a='1/2'><forwarded xmlns='urn:xmpp:forward:0'><message><body>a &gt; b</body><x/></message></forwarded></message>"
	spent, client, acks, error = loaded(copy + "<r xmlns='urn:xmpp:sm:3'/>", {"message": 2, "body": 1, "forwarded": 1, "x": 1, "r": 1})
	assert error is None and client.h == 3 and spent.requests == 1 and spent.elapsed > 0, (spent, client.h)
	assert acks == [f"<a xmlns='urn:xmpp:sm:3' h='{h}'/>" for h in (1, 2, 3)], acks


@test("the load fails at more elements than expected")
def _():
	assert "more <message/> than expected" in loaded("<message/><message/>", {"message": 1})[3]


@test("the load fails at fewer elements than expected, and at answers that do not come")
def _():
	assert "nothing happens, 1 groups wait" in loaded("<message/>", {"message": 1, "body": 1}, patience=50)[3]
	assert "nothing happens, 1 groups wait" in loaded("", {"message": 1}, patience=50)[3]


@test("the load fails at errors, and at the end of a stream")
def _():
	assert "sent an error" in loaded("<message type='error'><error/></message>", {"message": 1})[3]
	assert "ended a stream" in loaded("</stream:stream>", {"message": 1})[3]


@test("the load sends a window at a time, and all of them")
def _():
	spent, client, _, error = loaded("<message><body/></message>", {"message": 1, "body": 1}, window=4, count=10)
	assert error is None and client.h == 10 and spent.requests == 0


@test("a process's CPU time is that of all its threads")
def _():
	work = ("import hashlib, sys, threading, time\n"
		"def burn():\n\twhile time.thread_time() < 0.2: hashlib.sha256(bytes(1 << 20))\n"
		"threads = [threading.Thread(target=burn) for _ in range(2)]\n"
		"[thread.start() for thread in threads]; [thread.join() for thread in threads]\n"
		"print(time.process_time(), flush=True); sys.stdin.read()\n")
	with subprocess.Popen([sys.executable, "-c", work], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
		own = float(process.stdout.readline())
		seen = server.cpu_of(process.pid)
		process.stdin.close()
	assert 0.4 <= own <= seen < 2 * own, (own, seen)


# --- the section in the documents ---

@test("the section about messages shows every goal beside what was measured")
def _():
	table, targets = page_tables()
	text = documents.MESSAGES.write(MACHINE, [table], targets, "tests/bench/run --docs messages")
	assert "### A page of the archive" in text and "| page of 50 with count: CPU, ms" in text, text
	assert text.count("| met ") == 1 and text.count("| NOT met |") == 2, text


@test("tables of another system are shown beside, with its name")
def _():
	table, _ = page_tables()
	text = documents.as_json(MACHINE, [table], True)
	documents.add_elsewhere([table], text, "Debian 13")
	assert table.rows[2:] == [("13.0, Debian 13", *map(tables.write, row[1:])) for row in table.rows[:2]], table.rows
	assert "| 13.0, Debian 13 | time |" in table.markdown()


@test("tables of another system that was busy are not shown")
def _():
	table, _ = page_tables()
	try:
		documents.add_elsewhere([table], documents.as_json(MACHINE, [table], False), "Debian 13")
	except ValueError:
		assert len(table.rows) == 2
	else:
		raise AssertionError("they were shown")
