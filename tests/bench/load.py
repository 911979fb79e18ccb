"""The load on a server: clients that are logged in send stanzas, and it is checked that everything arrives. load.c does the work.

	room = Group(speaker, "<message .../>", {occupant: {"message": 1, "body": 1} for occupant in occupants})
	spent = run(server, [room], window=1, count=10)
	spent.cpu  # seconds of the server's CPU for each message
"""
import collections
import subprocess

import compiled

PATIENCE = 120_000  # milliseconds without an answer: a server that syncs the disk for each message answers a burst late

# sender: a client; text: what it sends; expected: client -> name of an element -> how many of them come there for each text
Group = collections.namedtuple("Group", "sender text expected")

# For each text: seconds of the server's CPU, elapsed seconds from the first text to the last answer, and number of <r/>
Spent = collections.namedtuple("Spent", "cpu elapsed requests")


def descriptor(client):
	return client.transport.sock.fileno()


def plan(groups):
	"""The lines for load.c, and the clients in their order."""
	lines, clients = [], []
	for group in groups:
		lines.append(f"send {descriptor(group.sender)} {group.text}")
		for client, expected in {group.sender: {}, **group.expected}.items():
			lines.append(f"hear {descriptor(client)} {client.h} " + " ".join(f"{name}={number}" for name, number in expected.items()))
			clients.append(client)
	return "".join(line + "\n" for line in lines), clients


def run(server, groups, window, count, patience=PATIENCE):
	"""Each group sends its text `count` times, `window` at a time. An answer that is missing or wrong raises an error."""
	lines, clients = plan(groups)
	server.idle()
	before = server.cpu()
	done = subprocess.run([compiled.LOAD, str(window), str(count), str(patience)], input=lines, check=False,
		pass_fds=tuple(map(descriptor, clients)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
	if done.returncode != 0:
		raise RuntimeError(f"the load failed: {done.stderr.strip()}")
	server.idle()
	cpu = server.cpu() - before
	first, *handled = done.stdout.splitlines()
	texts, requests, elapsed = map(float, first.split())
	for client, h in zip(clients, handled):
		client.h = int(h)
	return Spent(cpu / texts, elapsed / texts, requests / texts)


# --- chat ---

CARBONS = "<enable xmlns='urn:xmpp:carbons:2'/>"
ACTIVE = "<active xmlns='urn:xmpp:csi:0'/>"
DELIVERED = {"message": 1, "body": 1}
ARCHIVED = {**DELIVERED, "stanza-id": 1}
COPIED = {"message": 2, "body": 1, "forwarded": 1}  # a carbon: the inner message counts, too


class Pairs:
	"""Clients that chat in pairs, each with its further resources. delivered: the elements that come for each message; active: they
	indicate their state."""

	def __init__(self, server, count, managed, message, delivered=None, carbons=False, active=False, resources=1):
		self.server, self.groups, self.sent = server, [], 0  # sent: messages of each pair
		for _ in range(count):
			sender, receiver = (self.side(name, managed, carbons, active, resources) for name in ("sender", "receiver"))
			expected = {client: COPIED for client in [*sender[1:], *receiver[1:]]}
			expected[receiver[0]] = delivered or DELIVERED
			self.groups.append(Group(sender[0], message.format(to=receiver[0].jid), expected))
		for client in [client for group in self.groups for client in (group.sender, *group.expected)]:
			settle(client)

	def side(self, name, managed, carbons, active, resources):
		"""A user's clients."""
		clients = []
		for _ in range(resources):
			client = self.server.client(clients[0] if clients else name, managed)
			if carbons:
				answer = client.ask(CARBONS, "set")
				assert answer["type"] == "result", answer
			if active:
				client.send(ACTIVE)
			clients.append(client)
		return clients

	def chat(self, window, messages):
		"""Each pair sends `messages`."""
		self.sent += messages
		return run(self.server, self.groups, window, messages)


def settle(client):
	"""Reads and acknowledges what has come so far, such as the presence of a further resource."""
	client.ask("<query xmlns='http://jabber.org/protocol/disco#info'/>", to=client.host)
	client.unread.clear()
	if client.sm:
		client.ack()
