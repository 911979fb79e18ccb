"""An archived chat message through the whole server: a comparison of drivers, and of Lua's garbage collectors."""
import contextlib

from figures import MESSAGE, SHAPES, by_turns
from load import ARCHIVED, Pairs
from samples import Samples
from storage import INTERNAL, NATIVE, SQL, TIMEOUT, Keeper
from tables import Table, mebi, micro, milli

# Prosody reads both sides' archive_prefs for each message, from where a driver keeps them, and the account of a recipient who is
# not connected. The second row compares archives alone.
BESIDE = {"": lambda driver: {}, ", archive alone": lambda driver: {
	"storage": {"archive": driver}, "default_storage": "memory", "authentication": "bench"}}

DEFAULT = "threshold 105"
COLLECTORS = {DEFAULT: {"threshold": 105}, "threshold 200": {"threshold": 200}, "generational": {"mode": "generational"}}
BALLAST = 32  # further MiB in use, as with some hundred sessions


def chatting(stack, version, driver, pairs, messages, **options):
	"""Clients with stream management and carbons, on a server that archives for both."""
	# Archives of internal are slow to trim, once they are full
	server = stack.enter_context(Keeper(version, driver, ["carbons", "mam"], storage_archive_item_limit=10**6, **options))
	clients = Pairs(server, pairs, True, MESSAGE, ARCHIVED, carbons=True)
	clients.chat(1, messages)  # warms up
	return clients


def archived(version, rounds, pairs=10, messages=60):
	"""Seconds of the server's CPU per message. Each side uses its default collector."""
	samples = Samples()
	with contextlib.ExitStack() as stack:
		running = {(driver, name): chatting(stack, version, driver, pairs, messages, gc=None, **options(driver))
			for name, options in BESIDE.items() for driver in (NATIVE, INTERNAL, SQL)}
		for number in samples.rounds(rounds):
			for shape, window in SHAPES.items():
				for (driver, name), clients in by_turns(running, number):
					samples.add(shape + name, driver, clients.chat(window, messages).cpu)
	return samples


def archived_table(results, targets):
	table = Table("An archived chat message through the whole server",
		"The server's CPU per message between two clients with stream management and carbons, archived for both. Native: our "
		"mod_smacks and storage, and the collector that they set; the others: Prosody's own. `collector` measures the collector's "
		"share. Archive alone: both sides keep all other data in memory.",
		"Prosody", "shape", "native, us", "internal, us", "native / internal", "SQLite, us", "native / SQLite")
	for version, samples in results.items():
		for name in BESIDE:
			for shape in SHAPES:
				row = shape + name
				native, internal, sql = (micro(samples.median(row, driver)) for driver in (NATIVE, INTERNAL, SQL))
				share = samples.ratio(row, NATIVE, INTERNAL)
				table.add(version, row, native, internal, share, sql, samples.ratio(row, NATIVE, SQL))
				targets.add(version, f"archived chat message, {row}: native / internal", share, 1 / 3)
	return [table]


def collector(version, rounds, pairs=10, messages=300):
	"""Seconds of the server's CPU per message, bytes of memory, and seconds of the longest pause, with each of the collectors.
	Enough messages for several collections of garbage in a round."""
	samples = Samples()
	with contextlib.ExitStack() as stack:
		running = {name: chatting(stack, version, NATIVE, pairs, messages, gc=gc)
			for name, gc in COLLECTORS.items()}
		for ballast in (0, BALLAST):
			for clients in running.values():
				clients.server.admin.sock.settimeout(TIMEOUT)
				clients.server.measure("ballast", ballast)
				clients.chat(1, messages)
			for number in samples.rounds(rounds):
				for shape, window in SHAPES.items():
					for which, clients in by_turns(running, number):
						samples.add((ballast, shape), which, clients.chat(window, messages).cpu)
				for which, clients in running.items():
					samples.add((ballast, "resident"), which, clients.server.resident())
		for number in samples.rounds(rounds):  # afterwards: it leaves the heap larger
			for which, clients in by_turns(running, number):
				samples.add((BALLAST, "stop"), which, *clients.server.measure("longest_stop"))
	return samples


def collector_table(results):
	table = Table("Lua's garbage collectors",
		"The server's CPU per archived chat message with storage native, as above, and the memory of the process; "
		f"also with another {BALLAST} MiB in use by Lua, with the longest pause while they double. {DEFAULT} "
		"is Prosody's default, and the base of the ratios.",
		"Prosody", "further MiB in use", "gc", "paced, us", "of the default", "bursts, us", "of the default",
		"resident, MiB", "longest pause, ms")
	for version, samples in results.items():
		for ballast in (0, BALLAST):
			for name in COLLECTORS:
				cells = []
				for shape in SHAPES:
					row = (ballast, shape)
					cells += [micro(samples.median(row, name)), samples.ratio(row, name, DEFAULT)]
				stop = milli(samples.median((ballast, "stop"), name)) if ballast else "-"
				table.add(version, ballast, name, *cells, mebi(samples.median((ballast, "resident"), name)), stop)
	return [table]
