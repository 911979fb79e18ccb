"""Clients that write to each other while their connections are cut, again and again, in every way."""
import collections
import random
import select
import signal

import suite
from steps import counters
from suite import behaviour
from xmpp import READ_TIMEOUT, SM3, WebSocket, escape

CUTS = suite.tries(400, 15000)
CLIENTS = 8

KINDS = ["message"] * 8 + ["iq", "presence"]
TRANSPORTS = ["tcp"] * 4 + ["websocket"]
STEPS = {
	"connected": {"write": 8, "read": 8, "ack": 2, "request": 1, "freeze": 1, "cut": 2},
	"frozen": {"write": 2, "cut": 1},
	"away": {"write": 1, "resume": 1},
}


def body_of(n):
	"""Texts of many lengths, some of which fill several segments."""
	return f"{n} " + "\u00e4<&>\U0001f600" * (1500 if n % 97 == 0 else n * 7 % 40)


def make_stanza(kind, to, n):
	if kind == "message":
		return f"<message type='chat' to='{to}' id='{n}'><body>{escape(body_of(n))}</body></message>"
	attr = " type='result'" if kind == "iq" else ""
	return f"<{kind}{attr} to='{to}' id='{n}'/>"


class Nomad:
	"""Does what XEP-0198 asks of a client: counts what it has read, and keeps what it has written until
	the server has acknowledged it. What it writes to another client is numbered, from 0."""

	def __init__(self, server, rng):
		self.server, self.rng = server, rng
		self.client = server.login("nomad")
		self.client.enable()
		self.jid = self.client.jid
		self.state = "connected"  # or "frozen": it does not receive any more; or "away"
		self.line = self.client  # the connection on which its stanzas reach the server; None if there is none
		self.left_open = []
		self.cuts = self.acked = self.requests = 0
		self.unacked = collections.deque()
		self.sent, self.received = collections.Counter(), collections.Counter()

	def step(self):
		choices = STEPS[self.state]
		getattr(self, self.rng.choices(list(choices), choices.values())[0])()

	# --- reading and writing ---

	def write(self):
		for _ in range(self.rng.randrange(1, 6)):
			to = self.rng.choice(self.others).jid
			stanza = make_stanza(self.rng.choice(KINDS), to, self.sent[to])
			self.sent[to] += 1
			self.unacked.append(stanza)
			if self.line:
				self._write_on_line(stanza)

	def _write_on_line(self, stanza):
		try:
			self.line.send(stanza)
		except OSError:
			assert self.state == "away", self  # the server closes the connection that was replaced
			self.line = None

	def read(self):
		"""Read what has come, or some of it; what is left may get lost with the connection."""
		for _ in range(self.rng.randrange(40)):
			transport = self.client.transport
			if transport.ready or select.select([transport.sock], [], [], 0)[0]:
				self.read_one()

	def read_one(self):
		element = self.client.next()
		if element.name == "a":
			self.requests -= 1
			self._note_ack(element)
		elif element.name != "r":
			self._note_stanza(element)
		elif self.rng.random() < 0.6:
			self.ack()

	def ack(self):
		self.client.ack()

	def request(self):
		self.client.send(f"<r xmlns='{SM3}'/>")
		self.requests += 1

	def _note_ack(self, element):
		count = (int(element["h"]) - self.acked) % 2**32
		assert count <= len(self.unacked), f"{element}: {self}"
		self.acked = int(element["h"])
		for _ in range(count):
			self.unacked.popleft()

	def _note_stanza(self, stanza):
		expected = self.received[stanza["from"]]
		assert stanza.is_stanza and stanza["type"] != "error", f"{stanza}: {self}"
		assert stanza["id"] == str(expected), f"number {expected} should come before {stanza}: {self}"
		assert stanza.name != "message" or stanza.body == body_of(expected), f"{stanza}: {self}"
		self.received[stanza["from"]] += 1

	# --- losing the connection ---

	def freeze(self):
		"""The connection does not receive any more; written data may be lost, or not."""
		self.state = "frozen"
		if self.rng.random() < 0.5:
			self.line = None

	def cut(self):
		self.rng.choice([self._reset, self._close, self._stop_midway, self._leave_open])(self.client)
		self.cuts += 1
		self.state = "away"

	def _reset(self, client):
		client.transport.cut()
		self.line = None

	def _close(self, client):
		"""The stream stays open, so that it can be resumed."""
		client.transport.disconnect()
		self.line = None

	def _stop_midway(self, client):
		"""The server's last input is half a stanza, or half a frame."""
		if self.line:
			data = f"<message to='{self.jid}'><body>never complete</body></message>".encode()
			if isinstance(client.transport, WebSocket):
				data = WebSocket.frame(WebSocket.TEXT, data)
			client.transport.send_raw(data[:self.rng.randrange(len(data))])
		self.line = None
		self.rng.choice([self._close, self._leave_open])(client)

	def _leave_open(self, client):
		"""The server does not notice anything until the session is resumed on another connection."""
		self.left_open.append(client)

	# --- coming back ---

	def resume(self):
		new = self._ask_to_resume()
		while self.rng.random() < 0.15:
			self._lose_the_answer(new)
			new = self._ask_to_resume()
		if self.rng.random() < 0.5:
			self._write_stragglers(new)
		resumed = new.next()
		assert resumed.name == "resumed", f"{resumed}: {self}"
		new.sm, new.id, new.jid, new.h = SM3, self.client.id, self.jid, self.client.h
		self.client = self.line = new
		self.state, self.requests = "connected", 0
		self._note_ack(resumed)
		if self.unacked:
			self.client.send(*self.unacked)
		for client in self.left_open:
			client.transport.disconnect()
		self.left_open.clear()

	def _ask_to_resume(self):
		new = self.server.authenticated(self.client.user, self.rng.choice(TRANSPORTS))
		new.send(f"<resume xmlns='{SM3}' previd='{self.client.id}' h='{self.client.h}'/>")
		return new

	@staticmethod
	def _wait_for_answer(new):
		"""Return when there is something to read."""
		select.select([new.transport.sock], [], [], READ_TIMEOUT)

	def _write_stragglers(self, new):
		"""What is written on an old connection is handled before the resumption, or never."""
		if self.rng.random() < 0.5:
			self._wait_for_answer(new)
		self.write()

	def _lose_the_answer(self, new):
		"""The server resumes, or is about to, and writes everything again; the client sees nothing of it."""
		if self.rng.random() < 0.7:
			self._wait_for_answer(new)
		self.rng.choice([self._reset, self._close, self._leave_open])(new)
		self.cuts += 1

	# --- the end ---

	def last_resume(self):
		if self.state != "away":
			self.cut()
		self.resume()

	def come_to_rest(self):
		"""Read until everything that was sent has arrived and is acknowledged."""
		self.request()
		while self.requests or any(self.received[other.jid] < other.sent[self.jid] for other in self.others):
			self.read_one()

	def check(self):
		"""There are no duplicates, and the counters of both sides agree."""
		self.client.nothing_more()
		assert self.client.handled() == self.acked == sum(self.sent.values()) % 2**32, self
		self.client.ack()
		self.client.handled()
		assert counters(self.server, self.client) == (self.client.h, 0), self
		assert self.client.h == sum(other.sent[self.jid] for other in self.others), self

	def __str__(self):
		return (f"{self.jid} {self.state}, {self.cuts} cuts, h={self.client.h}, "
			f"{self.acked} acknowledged, {len(self.unacked)} not")


@behaviour(f"soak: {CUTS} cuts, every stanza arrives exactly once, in order")
def every_stanza_arrives_exactly_once(server):
	signal.alarm(suite.tries(5, 50) * suite.TIME_LIMIT)  # in the place of the usual limit
	rng = random.Random(suite.SEED)
	nomads = [Nomad(server, rng) for _ in range(CLIENTS)]
	for nomad in nomads:
		nomad.others = [other for other in nomads if other is not nomad]
	while sum(nomad.cuts for nomad in nomads) < CUTS:
		rng.choice(nomads).step()
	for finish in (Nomad.last_resume, Nomad.come_to_rest, Nomad.check):
		for nomad in nomads:
			finish(nomad)
