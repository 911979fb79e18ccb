"""A PostgreSQL of our own, below build/: for one run, on a Unix socket, and not the system's.

	with Cluster() as cluster:
		cluster.create("scale")
		cluster.options("scale")  # of Prosody, to use it
		cluster.cpu()

PostgreSQL refuses to run as root: then it runs as the user "nobody".
"""
import os
import pathlib
import pwd
import shutil
import subprocess
import tempfile
import time

import quiet
import written
from server import bed, cpu_of

SYNCED, DELAYED = "synced", "delayed"  # roles: each commit waits for the disk, as by default; or it does not
TIMEOUT = 60
GIB = 1 << 30

# Those of a server with this memory. Everything else is the default, also synchronous_commit, fsync, full_page_writes and
# autovacuum. Queries of one page have nothing to compile: jit would only cost.
SETTINGS = """
listen_addresses = ''
unix_socket_directories = '{directory}'
shared_buffers = {shared}MB
effective_cache_size = {cached}MB
max_wal_size = 4GB
random_page_cost = 1.1
jit = off
"""


def programs():
	"""The directory of its programs, unpacked by tests/setup bench."""
	found = sorted((bed.BUILD / "postgresql/usr/lib/postgresql").glob("*/bin/postgres"))
	if not found:
		raise RuntimeError("PostgreSQL is missing below build/postgresql: run tests/setup bench")
	return found[-1].parent


def unprivileged():
	"""How subprocess runs a program that refuses to run as root."""
	if os.geteuid() != 0:
		return {}
	nobody = pwd.getpwnam("nobody")
	return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


class Cluster:
	def __init__(self):
		self.bin, self.process = programs(), None
		parent = bed.BUILD / "bench"
		parent.mkdir(parents=True, exist_ok=True)
		self.directory = pathlib.Path(tempfile.mkdtemp(prefix="postgresql-", dir=parent))
		self.data, self.log = self.directory / "data", self.directory / "log"
		self.account = unprivileged()
		if self.account:
			os.chown(self.directory, self.account["user"], self.account["group"])
		self.counter = written.Counter(self.directory / "written")

	def __enter__(self):
		try:
			self.initialize()
			self.start()
		except BaseException:
			self.remove()
			raise
		return self

	def __exit__(self, *_):
		self.stop()
		self.remove()

	def remove(self):
		if self.process and self.process.poll() is None:
			self.process.kill()
			self.process.wait()
		self.counter.close()
		shutil.rmtree(self.directory, ignore_errors=True)

	def run(self, program, *args, **settings):
		"""A program of PostgreSQL; with its output in the error if it fails."""
		done = subprocess.run([self.bin / program, *args], cwd=self.directory, check=False, stdout=subprocess.PIPE,
			stderr=subprocess.STDOUT, text=True, **{"stdin": subprocess.DEVNULL, **self.account, **settings})
		if done.returncode != 0:
			raise RuntimeError(f"{program}: {done.stdout}")
		return done.stdout

	def initialize(self):
		self.run("initdb", "-D", self.data, "-U", SYNCED, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
		memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
		with open(self.data / "postgresql.conf", "a") as file:
			file.write(SETTINGS.format(directory=self.directory, shared=min(memory // 4, 2 * GIB) >> 20, cached=memory // 2 >> 20))

	def start(self):
		with open(self.log, "ab") as log:
			self.process = subprocess.Popen([self.bin / "postgres", "-D", self.data], cwd=self.directory, stdin=subprocess.DEVNULL,
				stdout=log, stderr=log, preexec_fn=bed.end_with_parent, env=self.counter.environment(), **self.account)
		deadline = time.monotonic() + TIMEOUT
		while subprocess.run([self.bin / "pg_isready", "-q", "-h", self.directory], check=False).returncode != 0:
			if self.process.poll() is not None or time.monotonic() > deadline:
				raise RuntimeError(f"PostgreSQL does not start:\n{self.log.read_text()[-3000:]}")
			time.sleep(0.05)

	def stop(self):
		"""Sends SIGINT: a fast shutdown, with a checkpoint."""
		if self.process.poll() is None:
			self.process.send_signal(2)
			self.process.wait(TIMEOUT)

	# --- databases ---

	def sql(self, text, database="postgres"):
		return self.run("psql", "-q", "-A", "-t", "-X", "-v", "ON_ERROR_STOP=1", "-h", self.directory, "-U", SYNCED, "-d", database, "-c", text)

	def create(self, name):
		self.sql(f'CREATE DATABASE "{name}"')
		if DELAYED not in self.sql("SELECT rolname FROM pg_roles"):
			self.sql(f"CREATE ROLE {DELAYED} LOGIN SUPERUSER")
			self.sql(f"ALTER ROLE {DELAYED} SET synchronous_commit = off")

	def drop(self, name):
		self.sql(f'DROP DATABASE "{name}" WITH (FORCE)')

	def load(self, name, rows):
		"""Loads rows that a file descriptor gives into the table of archives, which Prosody has created."""
		self.run("psql", "-q", "-X", "-v", "ON_ERROR_STOP=1", "-h", self.directory, "-U", SYNCED, "-d", name, "-c",
			'COPY prosodyarchive ("host", "user", "store", "key", "when", "with", "type", "value") FROM STDIN', stdin=rows)
		self.sql("VACUUM ANALYZE prosodyarchive", name)  # as autovacuum would, later
		self.sql("CHECKPOINT")

	def size(self, name):
		"""Bytes of the archives' table, with its indexes."""
		return int(self.sql("SELECT pg_total_relation_size('prosodyarchive')", name))

	def options(self, name, role=SYNCED):
		return {"sql": {"driver": "PostgreSQL", "database": name, "username": role, "host": str(self.directory)}}

	# --- its processes ---

	def processes(self):
		return quiet.family(quiet.Watch().look().processes, self.process.pid)

	def cpu(self):
		"""Seconds of CPU time of all its processes, also of those that have ended."""
		total = quiet.Watch().look().processes[self.process.pid].waited / quiet.TICKS
		for pid in self.processes():
			try:
				total += cpu_of(pid)
			except OSError:
				pass  # it has ended just now
		return total

	def bytes_read(self):
		"""Bytes that its running processes have read from the disk."""
		return sum(map(written.bytes_read, self.processes()))
