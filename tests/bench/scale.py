"""The storage driver at scale, through Prosody's storage API inside a server: ours, SQLite and PostgreSQL, with the same archives.

SQLite is set up as Prosody does, with its default journal. PostgreSQL (postgres.py) is measured twice: each commit waits for the
disk, which is the default, or does not. Its CPU time is that of the server and of all its processes."""
import contextlib
import math

import corpus
import written
from corpus import MANY, ONE, SHAPES, Corpus
from figures import by_turns
from postgres import DELAYED, SYNCED, Cluster
from samples import Samples
from server import bed
from storage import NATIVE, SQL, TIMEOUT, Keeper, progress
from tables import Table, micro, milli

SYNC, ASYNC = "PostgreSQL", "PostgreSQL, synchronous_commit = off"
DRIVERS = (NATIVE, SQL, SYNC, ASYNC)
APPENDED = 200  # messages in a round
WRITTEN = {SQL: 300, SYNC: 10_000, ASYNC: 30_000}  # messages whose bytes are counted, a tenth of it with smaller archives
DELETED = 100_000
COLD = 100  # pages of which nothing is cached
PAGES = {"last": "last page of 50, with total", "time": "page of 50 by time", "late": "page of 50 by time, messages out of order"}
PER_TURN = (1, 10, 100)


# --- servers on filled archives ---

class Scaled(Keeper):
	def __init__(self, driver, archive, **options):
		self.archive, self.run_words = archive, []
		super().__init__(bed.VERSIONS[-1], NATIVE if driver == NATIVE else SQL, ["bench_scale"],
			network_settings={"min_wait": 0}, **options)

	def start(self):
		"""Start, or start again."""
		self.run_by = self.run_words
		super().start()
		self.lua("true")
		self.admin.sock.settimeout(TIMEOUT)
		archive = self.archive
		self.call("corpus", archive.shape == MANY, archive.size, archive.users, archive.busy, archive.late)
		return self

	def call(self, function, *args):
		arguments = ", ".join(map(bed.lua, args))
		answer = self.lua(f"return tostring({self._modules()}.bench_scale.module.{function}({arguments}))")
		return [float(number) for number in answer.split()]

	def cpu_of_database(self):
		"""Seconds of CPU time of other processes that work for the driver."""
		return 0

	def bytes_read(self):
		return written.bytes_read(self.process.pid)

	def restart_cold(self):
		"""With nothing of the database in the kernel's cache."""
		self.settle()
		self.terminate()
		written.drop_cached(self.directory / "data")
		self.start()

	def disk(self):
		return corpus.disk_bytes(self.directory / "data")


class Native(Scaled):
	def __init__(self, archive):
		# otherwise opening may read the whole file, which would be in the cache
		super().__init__(NATIVE, archive, storage_native_verify=False)

	def start(self):
		if not self.process:
			(self.directory / "data").mkdir()
			self.archive.fill_native(self.directory / "data/native")
		return super().start()


class SQLite(Scaled):
	def __init__(self, archive):
		super().__init__(SQL, archive)

	def start(self):
		if not self.run_words:
			self.counter = written.Counter(self.directory / "written")
			self.run_words = ["env", *(f"{name}={value}" for name, value in self.counter.variables().items())]
			super().start()  # creates the tables
			self.settle()
			self.kill()
			self.archive.fill_sqlite(self.directory / "data/prosody.sqlite")
		return super().start()

	def bytes_written(self):
		return self.counter.bytes()


class Postgres(Scaled):
	def __init__(self, archive, cluster, role):
		self.cluster, self.role, self.database = cluster, role, f"{archive.shape}{archive.size}"
		if role == SYNCED:
			cluster.create(self.database)
		super().__init__(SQL, archive, **cluster.options(self.database, role))

	def start(self):
		first = not self.process
		super().start()  # creates the tables
		if first and self.role == SYNCED:
			self.archive.fill_postgres(self.cluster, self.database)
		return self

	def cpu_of_database(self):
		return self.cluster.cpu()

	def bytes_read(self):
		return super().bytes_read() + self.cluster.bytes_read()

	def bytes_written(self):
		self.cluster.sql("CHECKPOINT")
		return self.cluster.counter.bytes()

	def restart_cold(self):
		self.settle()
		self.kill()
		self.cluster.stop()
		written.drop_cached(self.cluster.data)
		self.cluster.start()
		self.start()

	def disk(self):
		return self.cluster.size(self.database)


def start_servers(stack, archive, cluster):
	running = {NATIVE: stack.enter_context(Native(archive)), SQL: stack.enter_context(SQLite(archive))}
	stack.callback(cluster.drop, f"{archive.shape}{archive.size}")
	for driver, role in ((SYNC, SYNCED), (ASYNC, DELAYED)):
		running[driver] = stack.enter_context(Postgres(archive, cluster, role))
	return running


# --- measuring; a row is (name, shape, size) ---

def scale(_version, rounds, sizes):
	samples = Samples()
	with Cluster() as cluster:
		for shape in SHAPES:
			for size in sizes:
				with contextlib.ExitStack() as stack:
					progress(f"{SHAPES[shape]}, {size} messages")
					archive = Corpus(shape, size)
					running = start_servers(stack, archive, cluster)
					for _ in samples.rounds(1):  # before anything is appended
						measure_disk(samples, running, archive)
					for number in samples.rounds(rounds, most=2):
						measure_appends(samples, running, archive, number)
						measure_pages(samples, running, archive, number)
					if size == sizes[-1]:
						measure_once(samples, running, archive)
	progress()
	return samples


def add(samples, archive, what, driver, value):
	samples.add((what, archive.shape, archive.size), driver, value)


def measure_disk(samples, running, archive):
	for driver in (NATIVE, SQL, SYNC):
		add(samples, archive, "disk", driver, running[driver].disk() / archive.messages)


def timed(server, function, *args):
	"""What a function of mod_bench_scale returns, and the CPU time of the database's own processes."""
	before = server.cpu_of_database()
	answer = server.call(function, *args)
	return answer, server.cpu_of_database() - before


def measure_appends(samples, running, archive, number):
	for per_turn in PER_TURN:
		turns = max(APPENDED // per_turn, 1)
		for driver, server in by_turns(running, number):
			(spent,), beside = timed(server, "append", turns, per_turn)
			add(samples, archive, ("append", per_turn), driver, spent + beside / (turns * per_turn))


def measure_pages(samples, running, archive, number):
	for kind in PAGES:
		answers = {}
		for driver, server in by_turns(running, number):
			if driver == ASYNC:
				continue  # reads the same
			(spent, calls, *answers[driver]), beside = timed(server, "page", kind)
			add(samples, archive, kind, driver, spent + beside / calls)
		check_same(kind, archive, answers)


def check_same(kind, archive, answers):
	"""Pages have the same number of messages. Totals differ with what was appended: the two of PostgreSQL share a database."""
	found = {driver: answer[0] for driver, answer in answers.items()}
	if len(set(found.values())) != 1:
		raise RuntimeError(f"{kind}, {archive.shape}, {archive.size}: not the same messages: {found}")


def measure_once(samples, running, archive):
	"""What changes the archives, or takes long."""
	once = {driver: server for driver, server in running.items() if driver != ASYNC}
	for _ in samples.rounds(1):
		for driver, most in WRITTEN.items():
			count = most if archive.size >= corpus.LARGE else most // 10
			before = running[driver].bytes_written()
			running[driver].call("append", count, 1)
			add(samples, archive, "written", driver, (running[driver].bytes_written() - before) / count)
		running[ASYNC].kill()  # its connection would end when PostgreSQL is started again
		for driver, server in once.items():
			measure_cold(samples, archive, driver, server)
	for _ in samples.rounds(1, most=1):
		for driver, server in once.items():
			measure_delete(samples, archive, driver, server)
	running[ASYNC].start()


def measure_cold(samples, archive, driver, server):
	server.restart_cold()
	before = server.bytes_read()
	mean, rare = server.call("cold", COLD)
	add(samples, archive, "cold", driver, mean)
	add(samples, archive, "cold, 1 of 100", driver, rare)
	add(samples, archive, "cold, read", driver, (server.bytes_read() - before) / COLD)


def measure_delete(samples, archive, driver, server):
	"""Of one archive a part of its middle; of all users the oldest messages, as expiry does."""
	count = min(DELETED, archive.size // 4)
	first = archive.size // 4 if archive.shape == ONE else 1
	(deleted, spent, held), beside = timed(server, "delete", "juliet" if archive.shape == ONE else "", first, first + count - 1)
	expected = count
	if archive.shape == MANY:  # those of "late" are as old, except the one of the future
		expected += min(count, 2 * archive.late) - (count >= archive.late)
	if not math.isclose(deleted, expected, rel_tol=0.001):
		raise RuntimeError(f"{driver} has deleted {deleted:.0f} messages, and not {expected}")
	what = "delete" if archive.shape == ONE else "expire"
	add(samples, archive, what + ", cpu", driver, (spent + beside) / deleted)
	add(samples, archive, what + ", held", driver, held)


# --- tables; results: version -> Samples ---

def as_it_is(number):
	return number


ROWS = {  # row -> its name and unit
	**{("append", per_turn): (f"append, {per_turn} a turn, us", micro) for per_turn in PER_TURN},
	**{kind: (name + ", us", micro) for kind, name in PAGES.items()},
	"disk": ("bytes on disk a message, after filling", as_it_is),
	"written": ("bytes written a message, one a turn", as_it_is),
	"cold": ("page of 50, nothing cached: mean, elapsed, ms", milli),
	"cold, 1 of 100": ("page of 50, nothing cached: one in a hundred, elapsed, ms", milli),
	"cold, read": ("page of 50, nothing cached: bytes read from the disk", as_it_is),
	"delete, cpu": ("delete a range of one archive, us a message", micro),
	"delete, held": ("delete a range: longest time that the server is blocked, ms", milli),
	"expire, cpu": ("expire the oldest messages of all users, us a message", micro),
	"expire, held": ("expire: longest time that the server is blocked, ms", milli),
}

TARGETS = {  # row -> what is wanted of ours at most
	"delete, held": 0.020,
	"expire, cpu": 10e-6,
	"cold, 1 of 100": 0.003,
	"cold, read": 100_000,
}


def scale_tables(results, targets):
	samples, = results.values()
	version, = results
	found = {row for row, _ in samples}
	table = Table("The storage driver at scale",
		"CPU time unless noted otherwise, inside the server, that of PostgreSQL's processes included. SQLite has the journal that "
		"Prosody sets up. PostgreSQL has its defaults, and memory as its manual recommends; `off`: with synchronous_commit = off. "
		"Bytes written are those of the system's calls, and ours are in the table of the core. PostgreSQL's include a checkpoint after "
		f"{WRITTEN[SYNC]} messages; with `off` after {WRITTEN[ASYNC]}, as its default makes one with 100 messages a second.",
		"archive", "messages", "", NATIVE, "SQLite", SYNC, "off", "native / SQLite", "native / PostgreSQL")
	for shape, title in SHAPES.items():
		for size in sorted({size for _, other, size in found if other == shape}):
			for what, (name, unit) in ROWS.items():
				row = (what, shape, size)
				if row in found:
					add_row(table, samples, row, (title, size, name), unit)
				if row in found and what in TARGETS:
					targets.add(version, f"{name}: {title}, {size}", unit(samples.median(row, NATIVE)), unit(TARGETS[what]))
	return [table]


def add_row(table, samples, row, head, unit):
	measured = [driver for driver in DRIVERS if (row, driver) in samples]
	cells = [unit(samples.median(row, driver)) if driver in measured else "-" for driver in DRIVERS]
	ratios = [samples.ratio(row, NATIVE, other) if {NATIVE, other} <= set(measured) else "-" for other in (SQL, SYNC)]
	table.add(*head, *cells, *ratios)
