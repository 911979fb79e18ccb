"""A chat message through the whole server, as an operator gets it: each side with its default garbage collector, its own archive,
and accounts that cost nothing. Ours, Prosody's own, and an ejabberd that does not archive."""
import contextlib
import pathlib
import subprocess
import tempfile

import certs
import compiled
from ejabberd import Ejabberd
from figures import MESSAGE, SHAPES, by_turns
from load import ARCHIVED, Pairs
from samples import Samples
from server import LOAD_CORE, OURS, STOCK, bed, pin
from storage import INTERNAL, NATIVE, Keeper
from tables import Table, micro, write

EJABBERD = "ejabberd"
DRIVERS = {OURS: NATIVE, STOCK: INTERNAL}
ARCHIVE = ["carbons", "mam", "csi_simple"]

FULL, TLS, TWO, BARE = "archived", "archived, TLS 1.3", "archived, two resources a side", "without archive"
KINDS = {FULL: (OURS, STOCK, EJABBERD), TLS: (OURS, STOCK), TWO: (OURS, STOCK), BARE: (OURS, STOCK)}

# (kind, shape, of which) -> the most that ours may cost of it
WANTED = {
	(FULL, "paced", EJABBERD): 0.65, (FULL, "bursts", EJABBERD): 0.75,
	(FULL, "paced", STOCK): 0.20, (FULL, "bursts", STOCK): 0.12,
	(BARE, "paced", STOCK): 0.45, (BARE, "bursts", STOCK): 0.45,
	(TWO, "paced", STOCK): 0.25, (TWO, "bursts", STOCK): 0.25,
	(TLS, "paced", STOCK): 0.30, (TLS, "bursts", STOCK): 0.25,
}


class Whole(Keeper):
	"""A server that is measured as a whole: it looks up no accounts, which would be most of stock's CPU."""

	def __init__(self, version, which, modules, **options):
		super().__init__(version, DRIVERS.get(which, which), modules, **{"authentication": "bench", "gc": None,
			"storage_archive_item_limit": 10**6, **options})  # archives of internal are slow to trim, once they are full


	@contextlib.contextmanager
	def filling(self):
		"""Collects no garbage meanwhile: with each new session the whole heap would be traversed a few times."""
		self.lua("collectgarbage('stop')")
		yield
		self.lua("collectgarbage('restart') collectgarbage()")


class Encrypted(Whole):
	"""With direct TLS, at the far end of a relay to which the clients talk."""

	def __init__(self, version, which, modules):
		self.tls_port, self.relay = bed.Port(), None
		self.certificate = tempfile.TemporaryDirectory(dir=bed.BUILD)
		certs.issue(pathlib.Path(self.certificate.name), "peer", [f"subjectAltName=DNS:{bed.HOST}"])
		files = {name: f"{self.certificate.name}/peer.{ending}" for name, ending in (("key", "key"), ("certificate", "pem"))}
		super().__init__(version, which, modules, c2s_direct_tls_ports=[self.tls_port.number], c2s_direct_tls_ssl=files)
		self.relay = subprocess.Popen([compiled.RELAY, str(self.tls_port.number)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
			preexec_fn=bed.end_with_parent)
		pin(self.relay.pid, LOAD_CORE)
		self.relay_port = int(self.relay.stdout.readline())

	def connect(self, user, transport="tcp", port=None):
		return super().connect(user, transport, port or self.relay_port)

	def check_encrypted(self):
		"""Every session of a client uses TLS 1.3."""
		versions = self.lua("""
			local found = {};
			for _, session in pairs(prosody.full_sessions) do
				local info = session.conn and session.conn:socket().info and session.conn:socket():info();
				found[info and info.protocol or "none"] = true;
			end
			local names = {};
			for name in pairs(found) do table.insert(names, name); end
			return table.concat(names, " ");""")
		if versions != "TLSv1.3":
			raise RuntimeError(f"TLS 1.3 is to be measured, but sessions use {versions}")

	def discard(self):
		if self.relay:
			self.relay.communicate()  # ends with its standard input
		self.certificate.cleanup()
		self.tls_port.socket.close()
		super().discard()


def chatting(stack, version, kind, which, pairs):
	"""Pairs on a server of their own."""
	if which == EJABBERD:
		return Pairs(stack.enter_context(Ejabberd()), pairs, True, MESSAGE, carbons=True, active=True)
	if kind == BARE:
		return Pairs(stack.enter_context(Whole(version, which, [])), pairs, which == OURS, MESSAGE)
	server = stack.enter_context((Encrypted if kind == TLS else Whole)(version, which, ARCHIVE))
	clients = Pairs(server, pairs, True, MESSAGE, ARCHIVED, carbons=True, active=True, resources=2 if kind == TWO else 1)
	if kind == TLS:
		server.check_encrypted()
	return clients


def message(version, rounds, pairs=10, messages=60):
	"""Seconds of the server's CPU per message. Rows: (kind, shape); columns: OURS, STOCK, EJABBERD."""
	samples = Samples()
	with contextlib.ExitStack() as stack:
		running = {(kind, which): chatting(stack, version, kind, which, pairs) for kind, columns in KINDS.items() for which in columns}
		for clients in running.values():
			clients.chat(1, messages)  # warms up
		for number in samples.rounds(rounds, most=2):
			for shape, window in SHAPES.items():
				for (kind, which), clients in by_turns(running, number):
					spent = clients.chat(window, messages)
					samples.add((kind, shape), which, spent.cpu)
					if shape == "paced":  # in bursts it depends on chance
						samples.add((kind, "requests"), which, spent.requests)
		for (kind, which), clients in running.items():
			if kind != BARE and which != EJABBERD:
				check_archived(clients)
	return samples


def check_archived(clients):
	"""The archives of both sides have all messages."""
	group = clients.groups[0]
	for user in group.sender.user, receiver_of(group).user:
		archived, = clients.server.measure("archived", user)
		if archived != clients.sent:
			raise RuntimeError(f"{user} has {archived:.0f} messages in the archive, and not {clients.sent}")


def receiver_of(group):
	return next(client for client, expected in group.expected.items() if expected == ARCHIVED)


def compare(table, targets, results, unit, figure, most):
	"""Adds a row for each number of clients: ours and stock. `figure`: the target's name, with {} for the number."""
	for version, samples in results.items():
		for count in sorted({row for row, _ in samples}):
			share = samples.ratio(count, OURS, STOCK)
			table.add(version, count, unit(samples.median(count, OURS)), unit(samples.median(count, STOCK)), share)
			targets.add(version, f"{figure.format(count)}: ours / stock", share, most)


def message_table(results, targets):
	table = Table("A chat message",
		"The server's CPU for a message between two clients with stream management, carbons and client state indication, archived for "
		"both; the accounts cost nothing. Paced: each pair of clients has one message in transit, and each message has its own `<r/>` and "
		"`<a/>`. Bursts: 50. Ours: all our modules, storage native. Stock: Prosody's own, storage internal. ejabberd: Debian's, with stream "
		"management and carbons, which does not archive. Without archive: ours has stream management, stock has not, and neither has carbons.",
		"Prosody", "message", "shape", "ours, us", "stock, us", "ejabberd, us", "ours / stock", "ours / ejabberd", "`<r/>` per message")
	for version, samples in results.items():
		for kind, columns in KINDS.items():
			for shape in SHAPES:
				row = (kind, shape)
				cells = [micro(samples.median(row, which)) if which in columns else "-" for which in (OURS, STOCK, EJABBERD)]
				shares = {which: samples.ratio(row, OURS, which) for which in columns[1:]}
				requests = write(samples.median((kind, "requests"), OURS)) if shape == "paced" else "-"
				table.add(version, kind, shape, *cells, *(shares.get(which, "-") for which in (STOCK, EJABBERD)), requests)
				for which, share in shares.items():
					targets.add(version, f"message, {kind}, {shape}: ours / {which}", share, WANTED[kind, shape, which])
	return [table]
