"""The costs of storage drivers, through Prosody's storage API, inside a server: ours, SQLite and
Prosody's own files. Drivers alternate; it is checked that each returns the same messages."""
import contextlib
import os
import sys

from figures import by_turns
from samples import Samples
from server import MODULES, OURS, STOCK, Server, bed
from tables import Table, micro, milli, verdict, write

NATIVE, SQL, INTERNAL = "native", "sql", "internal"
SLICE = 5000  # messages that are appended at once
USERS, EACH = 500, 20  # other users, to whom messages are appended, and the sizes of their archives before
SMALL, LARGE, HUGE = 10_000, 1_000_000, 10_000_000
INTERNAL_MOST = SMALL  # filling and querying more takes minutes
PER_TURN = {"one a turn": 1, "ten a turn": 10}
PAGES = {"last": "last", "after": "after an id", "contact": "with a contact", "range": "of a range of time"}
CONFIGURED, GENERATIONAL, NONE = "configured", "generational", "none"  # garbage collectors
VARIANTS = {(False, CONFIGURED): "", (True, CONFIGURED): ", total", (False, GENERATIONAL): ", generational",
	(False, NONE): ", nothing collected"}
COUNTS = {"count_contact": "of a contact", "count_range": "of a long time range", "count_both": "of a contact in a long time range"}
TIMEOUT = 600


def archive_sizes(quick, big):
	"""Prosody's version -> the sizes of the archives. All of them on 13.0, some on 0.12 for comparison."""
	if quick:
		return {"0.12": (SMALL,), "13.0": (SMALL, SMALL * 10)}
	return {"0.12": (SMALL,), "13.0": (SMALL, LARGE) + (HUGE,) * big}


class Keeper(Server):
	"""A server that keeps all it stores with one driver."""

	def __init__(self, version, driver, modules, components=None, **options):
		self.driver = driver
		super().__init__(version, OURS if driver == NATIVE else STOCK,
			{"storage": driver, "modules_enabled": [*MODULES, *modules], **options}, components)

	def start(self):
		(self.directory / "data").mkdir(exist_ok=True)  # SQLite does not create directories
		return super().start()


class Store(Keeper):
	"""A server whose archives are filled and queried."""

	def __init__(self, version, driver):
		# without min_wait each turn of the event loop sleeps for a millisecond
		super().__init__(version, driver, ["bench_storage"], network_settings={"min_wait": 0})
		self.lua("true")
		self.admin.sock.settimeout(TIMEOUT)
		self.payload = self.size = 0

	def call(self, function, *args):
		arguments = ", ".join(map(bed.lua, args))
		answer = self.lua(f"return tostring({self._modules()}.bench_storage.module.{function}({arguments}))")
		return [float(number) for number in answer.split()]

	def fill(self, size):
		for number in range(EACH):
			self.payload += self.call("fill_users", USERS, number)[0]
		for first in range(1, size + 1, SLICE):
			last = min(first + SLICE - 1, size)
			self.payload += self.call("fill", first, last, size)[0]
			progress(f"{self.driver}, {last} of {size} messages")
		progress()
		self.size = size

	def disk_bytes(self):
		"""The size of the data directory."""
		return sum(os.stat(os.path.join(directory, name)).st_blocks * 512
			for directory, _, names in os.walk(self.directory / "data") for name in names)

	def messages(self):
		return self.size + USERS * EACH


def progress(text=None):
	"""A line that the next one replaces, on a terminal."""
	if sys.stderr.isatty():
		print(f"\r\033[K{'bench: ' + text if text else ''}", end="", file=sys.stderr, flush=True)


# --- measuring ---

def storage(version, rounds, sizes):
	"""Rows: (size, what); columns: drivers."""
	samples = Samples()
	for size in sizes[version]:
		drivers = [NATIVE, SQL] + [INTERNAL] * (size <= INTERNAL_MOST)
		with contextlib.ExitStack() as stack:
			running = {}
			for driver in drivers:
				running[driver] = stack.enter_context(Store(version, driver))
				running[driver].fill(size)
				samples.add((size, "disk"), driver, running[driver].disk_bytes() / running[driver].messages())
				samples.add((size, "payload"), driver, running[driver].payload / running[driver].messages())
			for number in samples.rounds(rounds):
				progress(f"{size} messages, round {number + 1} of {rounds}")
				measure_appends(running, number, size, samples)
				measure_queries(running, number, size, samples)
			progress()
	return samples


def measure_appends(running, number, size, samples):
	for shape, per_turn in PER_TURN.items():
		for driver, server in by_turns(running, number):
			cpu, held = server.call("append", USERS, 200 // per_turn, per_turn)
			samples.add((size, "append", shape, "CPU"), driver, cpu)
			samples.add((size, "append", shape, "time"), driver, held)


def measure_queries(running, number, size, samples):
	pages = [(kind, *variant) for kind in PAGES for variant in VARIANTS]
	for kind, total, collector in [*pages, *((kind, True, CONFIGURED) for kind in COUNTS)]:
		answers = {}
		for driver, server in by_turns(running, number):
			if driver == INTERNAL and (total or collector != CONFIGURED):
				continue  # it does not support totals, and is slow
			cpu, *answers[driver] = server.call("query", kind, total, size, collector)
			samples.add((size, kind, total, collector), driver, cpu)
		if answers[NATIVE] != answers[SQL]:
			raise RuntimeError(f"{kind}, total {total}: not the same messages: {answers}")


# --- tables; results: version -> Samples ---

class Targets:
	"""A line for each figure: its target, and whether it is met."""

	def __init__(self, title="Targets of the storage driver", text="Ratios are medians of the rounds' ratios."):
		self.table = Table(title, text, "Prosody", "figure", "measured", "target", "")

	def add(self, version, figure, measured, most):
		self.table.add(version, figure, measured, f"at most {write(most)}", verdict(measured <= most))

	def add_least(self, version, figure, measured, least):
		"""A rate: the more, the better."""
		self.table.add(version, figure, measured, f"at least {write(least)}", verdict(measured >= least))


def sizes_of(samples):
	return sorted({row[0] for row, _ in samples})


def add_appends(version, samples, table, targets):
	for size in sizes_of(samples):
		for shape in PER_TURN:
			for what in ("CPU", "time"):
				row = (size, "append", shape, what)
				native, sql = (samples.median(row, driver) for driver in (NATIVE, SQL))
				cells = [micro(native), micro(sql), samples.ratio(row, NATIVE, SQL)]
				targets.add(version, f"append, {shape}, {what}, at {size}: native / SQLite", cells[2], 1 / 20)
				if (row, INTERNAL) in samples:
					share = samples.ratio(row, NATIVE, INTERNAL)
					cells += [micro(samples.median(row, INTERNAL)), share]
					targets.add(version, f"append, {shape}, {what}, at {size}: native / internal", share, 1 / 5)
				table.add(version, size, shape, what, *cells, *["-"] * (7 - 2 - len(cells)))


def add_pages(version, samples, table, targets):
	for size in sizes_of(samples):
		for kind, name in PAGES.items():
			for variant, addition in VARIANTS.items():
				row, text = (size, kind, *variant), name + addition
				native, sql = (samples.median(row, driver) for driver in (NATIVE, SQL))
				share = samples.ratio(row, NATIVE, SQL)
				internal = milli(samples.median(row, INTERNAL)) if (row, INTERNAL) in samples else "-"
				table.add(version, size, text, milli(native), milli(sql), share, internal)
				targets.add(version, f"page {text}, at {size}: native / SQLite", share, 1 / 10)


def add_counts(version, samples, table, targets):
	for size in sizes_of(samples):
		for kind, name in COUNTS.items():
			row, page = (size, kind, True, CONFIGURED), (size, "last", False, CONFIGURED)
			native, sql = (samples.median(row, driver) for driver in (NATIVE, SQL))
			share = samples.ratio_of((row, NATIVE), (page, NATIVE))
			table.add(version, size, f"count {name}", milli(native), milli(sql), samples.ratio(row, NATIVE, SQL), "-")
			targets.add(version, f"count {name}, at {size}: native / its last page", share, 2)


def add_growth(version, samples, targets):
	smallest, *larger = sizes_of(samples)
	for size in larger:
		for kind, name in PAGES.items():
			for variant, addition in VARIANTS.items():
				growth = (samples.median((size, kind, *variant), NATIVE)
					/ samples.median((smallest, kind, *variant), NATIVE))
				targets.add(version, f"page {name + addition}: at {size} / at {smallest}", growth, 1.5)


def add_disk(version, samples, table, targets):
	for size in sizes_of(samples):
		payload = samples.median((size, "payload"), NATIVE)
		for driver in (NATIVE, SQL, INTERNAL):
			if ((size, "disk"), driver) in samples:
				used = samples.median((size, "disk"), driver)
				table.add(version, size, driver, payload, used, used / payload)
		targets.add(version, f"bytes on disk / payload, at {size}", samples.median((size, "disk"), NATIVE) / payload, 2.2)


def tables(results, targets):
	appends = Table("Appending a message",
		f"A chat message as mod_mam stores it, to one of {USERS} users, whole turns of the event loop, less what empty "
		"turns take. Time is that during which the server is blocked: it includes waiting for the disk.",
		"Prosody", "archive", "messages", "us", "native", "SQLite", "native / SQLite", "internal", "native / internal")
	pages = Table("A page of 50 messages, or a count",
		"CPU of find and of its iterator run to the end. One archive has all the messages. Most of ours is Lua's garbage "
		"collector with Prosody's default setting; so there are lines with `gc = { mode = \"generational\" }`, and without "
		"a collector. internal is measured with "
		f"{INTERNAL_MOST} messages only, because it takes minutes with more; and it does not support totals.",
		"Prosody", "archive", "page", "native, ms", "SQLite, ms", "native / SQLite", "internal, ms")
	disk = Table("Bytes on disk per message", "The size of the data directory after filling.",
		"Prosody", "archive", "driver", "payload", "on disk", "on disk / payload")
	for version, samples in results.items():
		add_appends(version, samples, appends, targets)
		add_pages(version, samples, pages, targets)
		add_counts(version, samples, pages, targets)
		add_growth(version, samples, targets)
		add_disk(version, samples, disk, targets)
	return [appends, pages, disk]
