"""Archives of simulated servers: the same messages in a database of ours, in SQLite, and in PostgreSQL. See messages.h."""
import contextlib
import os
import pathlib
import shutil
import sqlite3
import subprocess
import tempfile

import compiled
import written
from server import SERVER_CORE, bed

SMALL, MIDDLE, LARGE, HUGE = 10_000, 100_000, 1_000_000, 10_000_000

ONE, MANY = "one", "many"
SHAPES = {ONE: "one archive", MANY: "many users"}

COLUMNS = '"host", "user", "store", "key", "when", "with", "type", "value"'


def sizes(quick, big):
	return (SMALL, MIDDLE) if quick else (SMALL, MIDDLE, LARGE) + (HUGE,) * big


@contextlib.contextmanager
def directory():
	"""A new directory below build/, which is removed in the end."""
	parent = bed.BUILD / "bench"
	parent.mkdir(parents=True, exist_ok=True)
	path = pathlib.Path(tempfile.mkdtemp(prefix="scale-", dir=parent))
	try:
		yield path
	finally:
		shutil.rmtree(path, ignore_errors=True)


def disk_bytes(path):
	"""What the files of a directory take on the disk."""
	return sum(os.stat(os.path.join(parent, name)).st_blocks * 512 for parent, _, names in os.walk(path) for name in names)


def on_server_core():
	bed.end_with_parent()
	os.sched_setaffinity(0, {SERVER_CORE})


class Corpus:
	def __init__(self, shape, size, mixed=False):
		self.shape, self.size = shape, size
		self.words = [shape, "mixed" if mixed else "chats", str(size)]
		self.users, self.busy, self.late = map(int, self.run("facts"))
		self.messages = size + 2 * self.late
		self.next = size + 1  # number of the next message that is appended

	def take(self, count):
		"""The number of the first of `count` new messages."""
		self.next += count
		return self.next - count

	def start(self, command, *args, **settings):
		words = [compiled.CORE, command, *self.words, *map(str, args)]
		return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, preexec_fn=on_server_core, **settings)

	def run(self, command, *args, **settings):
		"""The numbers that a command of core.c prints."""
		with self.start(command, *args, text=True, **settings) as process:
			output = process.communicate()[0]
		if process.returncode != 0:
			raise RuntimeError(f"core {command} ended with {process.returncode}")
		return [float(word) for word in output.split()]

	def fill_native(self, path):
		self.run("fill", path)

	def fill_sqlite(self, file):
		"""Prosody has created the tables."""
		with contextlib.closing(sqlite3.connect(file)) as connection, self.start("rows") as process:
			connection.execute("PRAGMA synchronous = OFF")
			connection.execute("PRAGMA cache_size = -1000000")
			connection.executemany(f"INSERT INTO prosodyarchive ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
				(line.rstrip(b"\n").decode().split("\t") for line in process.stdout))
			connection.commit()

	def fill_postgres(self, cluster, database):
		with self.start("rows") as process:
			cluster.load(database, process.stdout)


def run_core(command, *args):
	"""A command that needs no corpus."""
	words = [compiled.CORE, command, *map(str, args)]
	done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, preexec_fn=on_server_core, check=True, text=True)
	return [float(word) for word in done.stdout.split()]


def counted(path):
	"""A counter of the bytes that a program writes, for one measurement."""
	return contextlib.closing(written.Counter(path))
