"""Streams with another server: Prosody's own authentication and ours, in both directions."""
import contextlib
import sys
import time

from figures import by_turns
from samples import Samples
from server import COLLECTOR, HERE, OURS, SERVER_CORE, STOCK, bed, cpu_of, pin
from tables import Table, milli, verdict, write

sys.path.insert(0, str(HERE.parent / "lab"))

from lab import Lab  # noqa: E402
from servers import PORT, Server, tls  # noqa: E402

PEER, OURS_DANE = "peer.lab", "ours, DANE"
KINDS = {STOCK: "stock.lab", OURS: "pkix.lab", OURS_DANE: "dane.lab"}
DIRECTIONS = ("outgoing", "incoming")
MOST_OF_STOCK = 1.05
PAUSE, TIMEOUT = 0.1, 120


class Measured(Server):
	"""A server with one domain, whose certificate is a public authority's, on a core of its own."""

	def __init__(self, lab, version, domain, number, which):
		self.domain = domain
		certificate = lab.public.issue(domain, [f"DNS:{domain}"])
		label, address = domain.removesuffix(".lab"), lab.address(number)
		zone = lab.zone("lab")
		zone.add(f"_xmpp-server._tcp.{label}", "SRV", f"10 0 {PORT} {domain}.")
		zone.add(label, "A", address)
		zone.add(f"_{PORT}._tcp.{label}", "TLSA", certificate.tlsa(3, 1, 1))
		plugins = [HERE / "modules"] if which == STOCK else [bed.PROJECT / "lua", HERE / "modules"]
		options = {"s2s_secure_auth": True, "use_dane": which == OURS_DANE, "plugin_paths": plugins, "gc": COLLECTOR,
			"modules_enabled": ["s2s", "tls", "saslauth", "admin_shell", "bench_streams"] +
				([] if which == STOCK else ["s2s_auth_native"])}
		super().__init__(lab, version, address, {domain: tls(certificate, lab)}, options, stock=which == STOCK)
		self.options["log"] = {"info": self.logfile}

	def cpu(self):
		return cpu_of(self.process.pid)

	def call(self, text):
		return self.lua(f"return require'core.modulemanager'.get_module('*', 'bench_streams').{text}")

	def open_streams(self, to, count):
		"""Opens streams one after another, and waits for the end of the last one."""
		self.call(f"start({bed.lua(self.domain)}, {bed.lua(to)}, {count})")
		deadline, left = time.monotonic() + TIMEOUT, count
		while left > 0:
			time.sleep(PAUSE)
			left, failed = map(int, self.call("left()").split())
			if failed > 0 or time.monotonic() > deadline:
				raise RuntimeError(f"{failed} streams from {self.domain} to {to} failed, {left} are left")


def measure(server, peer, direction, count):
	"""Seconds of the server's CPU per stream."""
	before = server.cpu()
	if direction == "outgoing":
		server.open_streams(peer.domain, count)
	else:
		peer.open_streams(server.domain, count)
	return (server.cpu() - before) / count


def streams(version, rounds, count=50):
	samples = Samples()
	with contextlib.ExitStack() as stack:
		lab = stack.enter_context(Lab(bed.BUILD / "lab"))
		running = {which: Measured(lab, version, domain, number, which)
			for number, (which, domain) in enumerate(KINDS.items(), 11)}
		peer = Measured(lab, version, PEER, 10, STOCK)
		lab.start()
		for server in [peer, *running.values()]:
			stack.enter_context(server.start())
			pin(server.process.pid, SERVER_CORE)
		for direction in DIRECTIONS:
			for server in running.values():
				measure(server, peer, direction, count)  # warms up
		for number in samples.rounds(rounds):
			for direction in DIRECTIONS:
				for which, server in by_turns(running, number):
					samples.add(direction, which, measure(server, peer, direction, count))
	return samples


def streams_table(results):
	table = Table("A stream with another server",
		"The server's CPU from connecting to closing: TLS, SASL EXTERNAL, certificates of a public authority; "
		"with DANE, records of usage 3 that the resolver has in its cache. Target: with DANE at most 1.05 of stock without.",
		"Prosody", "direction", "stock, ms", "ours, ms", "ours, DANE, ms", "ours / stock", "DANE / stock")
	for version, samples in results.items():
		for direction in DIRECTIONS:
			shares = [samples.ratio(direction, which, STOCK) for which in (OURS, OURS_DANE)]
			table.add(version, direction, *(milli(samples.median(direction, which)) for which in KINDS), *shares)
			table.text += f" {version}, {direction}: {write(shares[1])}, {verdict(shares[1] <= MOST_OF_STOCK)}."
	return [table]
