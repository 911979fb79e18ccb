"""The measurements. Each function takes a Prosody version and a number of rounds, in which ours and
stock alternate, and returns its Samples."""
import contextlib
import time

from load import Pairs
from samples import Samples
from server import LONG_QUEUES, OURS, STOCK, Server

BOTH = (OURS, STOCK)
KINDS = ("short", "typical", "presence", "long")
SHAPES = {"paced": 1, "bursts": 50}  # messages that a pair has in transit at a time
LENGTHS = (10000, 3000, 300, 10)
RESUME_TIMEOUT = 120  # the stock module on 13.0 takes half of it for 10000 stanzas

MESSAGE = ("<message to='{to}' type='chat' id='8c1f0a52-4d0e'>"
	"<body>Don&apos;t wait for me at the station, the train is late &amp; I walk</body>"
	"<origin-id xmlns='urn:xmpp:sid:0' id='8c1f0a52-4d0e'/><request xmlns='urn:xmpp:receipts'/>"
	"<markable xmlns='urn:xmpp:chat-markers:0'/></message>")


def by_turns(running, number):
	"""Alternates the direction, so that no item always follows the same one."""
	return list(running.items())[::-1 if number % 2 else 1]


def servers(stack, version, names=BOTH, options=None):
	return {which: stack.enter_context(Server(version, which, options)) for which in names}


def outgoing(version, rounds):
	"""Seconds per stanza of the stanzas/out filters and serialization."""
	samples, count = Samples(), 1000
	with contextlib.ExitStack() as stack:
		running = servers(stack, version)
		jids = {which: server.client("juliet", managed=True).jid for which, server in running.items()}
		for which, server in running.items():
			server.measure("outgoing", jids[which], "typical", count)  # warms up
		for number in samples.rounds(rounds):
			for kind in KINDS:
				for which, server in by_turns(running, number):
					samples.add(kind, which, *server.measure("outgoing", jids[which], kind, count))
	return samples


def chat(version, rounds, pairs=10, messages=600):
	"""Seconds of the server's CPU per message, with and without stream management.

	Each of the four is a process of its own: one heap must not pay for the other's garbage."""
	samples = Samples()
	with contextlib.ExitStack() as stack:
		running = {(which, managed): Pairs(stack.enter_context(Server(version, which)), pairs, managed, MESSAGE)
			for managed in (False, True) for which in BOTH}
		for clients in running.values():
			clients.chat(1, messages // pairs)  # warms up
		for number in samples.rounds(rounds):
			for shape, window in SHAPES.items():
				for (which, managed), clients in by_turns(running, number):
					spent = clients.chat(window, messages // pairs)
					samples.add(shape, (which, managed), spent.cpu)
					samples.add(shape, (which, managed, "requests"), spent.requests)
	return samples


def hibernation(version, rounds, lengths=LENGTHS):
	"""Memory of the longest queue, CPU to queue one more stanza, CPU and time to resume.

	`lengths` decrease, because only the memory of a new process can be measured."""
	samples = Samples()
	for _ in samples.rounds(rounds):
		for which in BOTH:
			with Server(version, which, LONG_QUEUES) as server:
				client = server.client("juliet", managed=True)
				client.cut()
				server.wait_hibernating(client)
				measure_memory(server, client, which, lengths[0], samples)
				for length in lengths:
					measure_queueing(server, client, which, length, samples)
				measure_resume(server, client, which, lengths[0], samples)
	return samples


def measure_memory(server, client, which, queued, samples):
	empty = server.measure("memory", client.jid)
	server.measure("fill", client.jid, queued)
	resident, heap, native = (full - before for full, before in zip(server.measure("memory", client.jid), empty))
	samples.add("resident", which, resident / queued)
	samples.add("held", which, (heap + native) / queued)


def measure_queueing(server, client, which, length, samples):
	server.measure("fill", client.jid, length)
	for listeners in (0, 1):
		spent, = server.measure("queueing", client.jid, listeners == 1)
		samples.add((listeners, length), which, spent)


def measure_resume(server, client, which, queued, samples):
	server.measure("fill", client.jid, queued)
	h = server.session(client, "s.outgoing_stanza_queue:count_acked()")
	new = server.authenticated(client.user)
	new.transport.sock.settimeout(RESUME_TIMEOUT)
	server.idle()
	cpu, started = server.cpu(), time.monotonic()
	new.send(f"<resume xmlns='{client.sm}' previd='{client.id}' h='{h}'/>")
	read_until(new.transport.sock, f"Message {queued}:".encode())
	took = time.monotonic() - started
	server.idle()
	samples.add("cpu", which, server.cpu() - cpu)
	samples.add("time", which, took)


def read_until(sock, mark):
	tail = b""
	while mark not in tail:
		data = sock.recv(1 << 20)
		if not data:
			raise RuntimeError("the server ended the connection while it resumed a session")
		tail = tail[-len(mark):] + data


CODECS = ("tostring", "encode", "util.xml.parse", "util.xmppstream", "decode", "bytes")


def codec(version, rounds):
	"""Seconds per stanza of the encoder and the decoder, and of Prosody's functions."""
	samples = Samples()
	with Server(version, OURS) as server:
		for _ in samples.rounds(rounds):
			for kind in KINDS:
				for column, value in zip(CODECS, server.measure("codec", kind, 500)):
					samples.add(kind, column, value)
	return samples
