"""Real clients resume: every message arrives once, in order, in both directions."""
from programs import COMMANDS, Program
from proxy import Proxy
from suite import behaviour

AT_ONCE = 20
ROUNDS = 3
CUTS = 10

# libstrophe (0.12, 0.14) numbers its own stanzas wrongly after a <resumed/> that acknowledges some of them
MISCOUNTING = {"libstrophe"}


class Conversation:
	"""A real client behind a proxy, and a raw one without stream management, write to each other."""

	def __init__(self, server, library):
		self.server = server
		self.proxy = Proxy(server.http_port if "WebSocket" in library else server.port)
		self.client = Program(library, self.proxy.port, server.host, server.account("client"))
		self.peer = server.login("peer")
		self.to_client, self.to_peer, self.at_peer = [], [], []

	def __enter__(self):
		self.client.connect()
		return self

	def __exit__(self, *_):
		self.client.stop()
		self.proxy.stop()

	@staticmethod
	def _next(sent, count):
		bodies = [f"{n} \u00e4 <&> \U0001f600" for n in range(len(sent), len(sent) + count)]
		sent += bodies
		return bodies

	def start_to_write_to_client(self):
		for body in self._next(self.to_client, AT_ONCE):
			self.peer.chat(self.client.jid, body)

	def write_to_client(self):
		"""Returns when the server has written them to the client's connection, or queued them."""
		self.start_to_write_to_client()
		self.peer.ping()

	def write_to_peer(self, count=AT_ONCE):
		self.client.send(self.peer.jid, *self._next(self.to_peer, count))

	def write(self):
		self.write_to_client()
		self.write_to_peer()

	def settle(self):
		"""Wait until everything has arrived and has been acknowledged, and compare."""
		self._read_at_peer()
		self.client.expect("received", len(self.to_client))
		assert self.client.seen["received"] == self.to_client, self.client.seen["received"]
		self.server.wait_until(self.client, "s.outgoing_stanza_queue:count_unacked() == 0")
		self._let_client_learn_acks()

	def _read_at_peer(self):
		self.at_peer += self.peer.bodies(len(self.to_peer) - len(self.at_peer))
		assert self.at_peer == self.to_peer, self.at_peer

	def _let_client_learn_acks(self):
		"""A client may request an ack only together with a message, and not while it waits for another ack."""
		acked = self.client.seen["acked"]
		while acked[-1:] != [self.server.session(self.client, "s.handled_stanza_count")]:
			known = len(acked)
			self.write_to_peer(1)
			self._read_at_peer()
			self.client.expect("acked", known + 1)

	def cut(self):
		cuts = len(self.client.seen["disconnected"])
		self.proxy.kill()
		self.client.expect("disconnected", cuts + 1)
		self.server.wait_hibernating(self.client)


def resumes_after_a_cut(server, library):
	with Conversation(server, library) as conversation:
		for _ in range(ROUNDS):
			conversation.write()
			conversation.settle()
			conversation.cut()
			conversation.write_to_client()
			conversation.client.resume()
			conversation.write()
		conversation.settle()


def resumes_after_a_freeze(server, library):
	with Conversation(server, library) as conversation:
		for _ in range(ROUNDS):
			conversation.write()
			conversation.settle()
			conversation.proxy.freeze()
			conversation.write()
			conversation.cut()
			conversation.write_to_client()
			conversation.client.resume()
			conversation.write()
		conversation.settle()


def resumes_amid_traffic(server, library):
	"""The values of its counters at the moment of a cut are random."""
	with Conversation(server, library) as conversation:
		for cut in range(CUTS):
			conversation.start_to_write_to_client()
			if library not in MISCOUNTING:
				conversation.write_to_peer()
			if cut % 2:
				conversation.proxy.freeze()
			conversation.cut()
			conversation.client.resume()
		conversation.write()
		conversation.settle()


for name in COMMANDS:
	for title, function in (
			("resumes after a cut", resumes_after_a_cut),
			("resumes after a freeze", resumes_after_a_freeze),
			(f"resumes {CUTS} times amid traffic", resumes_amid_traffic)):
		behaviour(f"clients: {name} {title}, without loss or duplicates")(
			lambda server, function=function, library=name: function(server, library))
