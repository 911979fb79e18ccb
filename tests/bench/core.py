"""The core of the storage driver at scale, without Lua: core.c measures, with archives of growing sizes."""
import os
import time

import corpus
from corpus import SHAPES, Corpus
from samples import Samples
from storage import progress
from tables import Table

GROUP, COMMIT = "group", "commit"
INTERVALS = {GROUP: 100, COMMIT: 0}  # ms, of pn/db.h
PER_TURN = (1, 10, 100)
TURNS = {  # of a round; in each LMDB's transaction is committed a few times
	GROUP: {1: 2000, 10: 400, 100: 60},
	COMMIT: {1: 500, 10: 100, 100: 20},
}
PACE, BUSY_PACE, BACKUP_PACE = 100, 2000, 50  # turns a second
KILLED_AFTER = (300, 450, 600, 750, 900)  # turns: of some the log is nearly full
BACKUP_SECONDS, BESIDE = 20, 1  # that a backup takes; that the turns beside it begin before and end after

# Row -> its name in the table. The unit is in the name
ROWS = {
	"filling": "filling, messages a second",
	"last": "last page of 50, with total, us",
	"time": "page of 50 by time, us",
	"late": "page of 50 by time, messages out of order, us",
	**{("cpu", mode, per_turn): f"append, {per_turn} a turn, {mode}, us" for mode in TURNS for per_turn in PER_TURN},
	**{("written", GROUP, per_turn): f"bytes written a message, {per_turn} a turn, {PACE} turns a second, group" for per_turn in PER_TURN},
	("written", COMMIT, 1): f"bytes written a message, 1 a turn, {PACE} turns a second, commit",
	"held": f"longest turn at {BUSY_PACE} messages a second, ms",
	"held, 1 of 1000": "the same: one turn in a thousand, ms",
	"durable": "from a write until it is durable, interval 0, us",
	"durable, 1 of 100": "the same, one write in a hundred, us",
	"open": "opening, ms",
	"open, killed": "opening after a kill, ms",
	"replayed": "turns that only the log had then",
	"disk": "bytes on disk a message, after filling",
	"compacted": "the same, compacted",
	"disk, mixed": "bytes on disk a message of the mix, after filling",
	"compacted, mixed": "the same, compacted",
	"backup": f"growth of the file by a backup of {BACKUP_SECONDS} s beside {BACKUP_PACE} turns a second, % of its size",
}


# --- measuring; a row is (name, shape, size) ---

def core(_version, rounds, sizes, seconds):
	"""seconds: of each measurement at a given pace."""
	samples = Samples()
	for shape in SHAPES:
		for size in sizes:
			with corpus.directory() as directory:
				measure(samples, Corpus(shape, size), directory, rounds, seconds if size == sizes[-1] else 0)
			with corpus.directory() as directory:
				measure_bytes(samples, Corpus(shape, size, mixed=True), directory, ", mixed")
	progress()
	return samples


def add(samples, archive, what, value):
	samples.add((what, archive.shape, archive.size), "core", value)


def measure(samples, archive, directory, rounds, seconds):
	store = directory / "native"
	progress(f"{SHAPES[archive.shape]}, {archive.size} messages")
	for _ in samples.rounds(1, most=1):
		measure_bytes(samples, archive, directory)
	for _ in samples.rounds(rounds, most=2):
		for what, value in zip(("last", "time", "late"), archive.run("pages", store)):
			add(samples, archive, what, value)
		for mode, turns in TURNS.items():
			for per_turn in PER_TURN:
				spent, *_ = append(archive, store, per_turn, turns[per_turn], 0, mode)
				add(samples, archive, ("cpu", mode, per_turn), spent)
	for _ in samples.rounds(1):
		measure_opening(samples, archive, store)
		for what, value in zip(("durable", "durable, 1 of 100"), archive.run("durable", store, archive.take(200), 200)):
			add(samples, archive, what, value)
		if seconds:
			measure_pace(samples, archive, directory, seconds)


def append(archive, store, per_turn, turns, rate, mode, **settings):
	return archive.run("append", store, archive.take(per_turn * turns), per_turn, turns, rate, INTERVALS[mode], **settings)


def measure_bytes(samples, archive, directory, which=""):
	store, copy = directory / "native", directory / "copy"
	began = time.monotonic()
	archive.fill_native(store)
	if not which:
		add(samples, archive, "filling", archive.messages / (time.monotonic() - began))
	add(samples, archive, "disk" + which, corpus.disk_bytes(store) / archive.messages)
	size, = corpus.run_core("copy", store, copy, 0)
	add(samples, archive, "compacted" + which, size / archive.messages)
	copy.unlink()


def measure_opening(samples, archive, store):
	taken, _ = corpus.run_core("open", store)
	add(samples, archive, "open", taken * 1e3)
	killed = []
	for turns in KILLED_AFTER:
		with archive.start("kill", store, archive.take(turns), turns):
			pass
		killed.append(corpus.run_core("open", store))
	add(samples, archive, "open, killed", max(taken for taken, _ in killed) * 1e3)
	add(samples, archive, "replayed", max(turns for _, turns in killed))


def measure_pace(samples, archive, directory, seconds):
	store = directory / "native"
	for mode, per_turn in [*((GROUP, per_turn) for per_turn in PER_TURN), (COMMIT, 1)]:
		with corpus.counted(directory / "written") as counter:
			append(archive, store, per_turn, PACE * seconds, PACE, mode, env=counter.environment())
			add(samples, archive, ("written", mode, per_turn), counter.bytes() / (per_turn * PACE * seconds))
	_, longest, rare = append(archive, store, 1, BUSY_PACE * seconds, BUSY_PACE, GROUP)
	add(samples, archive, "held", longest)
	add(samples, archive, "held, 1 of 1000", rare)
	measure_backup(samples, archive, directory)


def measure_backup(samples, archive, directory):
	store, data, copy = directory / "native", directory / "native/data.mdb", directory / "copy"
	append(archive, store, 1, BACKUP_PACE * BACKUP_SECONDS, BACKUP_PACE, GROUP)  # what it grows by without a backup
	before = os.stat(data).st_size
	turns = BACKUP_PACE * (BACKUP_SECONDS + 2 * BESIDE)
	with archive.start("append", store, archive.take(turns), 1, turns, BACKUP_PACE, INTERVALS[GROUP]) as writer:
		time.sleep(BESIDE)
		corpus.run_core("copy", store, copy, BACKUP_SECONDS)
		writer.communicate()
	add(samples, archive, "backup", (os.stat(data).st_size - before) / before * 100)
	copy.unlink()


# --- tables; results: version -> Samples ---

TARGETS = {  # row -> shape -> the most, with a million messages; on the disk of many users with ten
	("cpu", GROUP, 1): {"one": 20, "many": 40},
	("cpu", COMMIT, 1): {"one": 60, "many": 60},
	("written", GROUP, 1): {"one": 3000, "many": 10000},
	"held": {"one": 10, "many": 10},
	"open, killed": {"one": 2000, "many": 2000},
	"backup": {"one": 1, "many": 1},
	"disk": {"one": 220, "many": 300},
}
LATE_MOST = 2  # times a page without messages out of order


def columns(samples):
	"""The archives that were measured: (shape, size)."""
	found = {row[1:] for row, _ in samples}
	return sorted(found, key=lambda column: (list(SHAPES).index(column[0]), column[1]))


def core_tables(results, targets):
	samples, = results.values()
	archives = columns(samples)
	table = Table("The store's core at scale",
		"Without Lua. CPU time of appends includes all threads and the packing of stanzas. "
		f"Messages have about 357 bytes of XML; the mix is half chats, and OMEMO, rooms and markers. Bytes written are those of the "
		"system's calls, not of the disk's blocks. Opening after a kill: the slowest of "
		f"{len(KILLED_AFTER)}.", "", *(f"{SHAPES[shape]}, {size}" for shape, size in archives))
	for row, name in ROWS.items():
		cells = [samples.median((row, *archive), "core") if ((row, *archive), "core") in samples else "-" for archive in archives]
		if any(cell != "-" for cell in cells):
			table.add(name, *cells)
	for shape, size in largest(archives):
		add_targets(targets, samples, shape, size)
	return [table]


def largest(archives):
	"""Of each shape. They are sorted."""
	return dict(archives).items()


def add_targets(targets, samples, shape, size):
	where = f"{SHAPES[shape]}, {size}"
	for row, most in TARGETS.items():
		if ((row, shape, size), "core") in samples:
			targets.add("core", f"{ROWS[row]}: {where}", samples.median((row, shape, size), "core"), most[shape])
	times = samples.ratio_of((("late", shape, size), "core"), (("time", shape, size), "core"))
	targets.add("core", f"{ROWS['late']}, times a page without: {where}", times, LATE_MOST)
