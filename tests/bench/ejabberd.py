"""An ejabberd of our own, below build/: for one run, on loopback, and not the system's.

It has stream management, carbons and client state indication, and no archive. Every password is right, and all its data are in
memory. Its schedulers sleep when they have nothing to do: by default they spin for a while, which counts as CPU time. Like Prosody
it is on one core, so it has one scheduler.

If this process is root's, ejabberd runs as the user "nobody".
"""
import atexit
import os
import pathlib
import shutil
import subprocess
import tempfile
import time

from postgres import unprivileged
from server import SERVER_CORE, Server, bed, cpu_of

EJABBERD = bed.BUILD / "ejabberd"  # unpacked by tests/setup bench
TIMEOUT = 60
STILL, TICK = 0.0005, 0.02  # a server that uses less CPU time in TICK seconds is idle

CONFIGURATION = """
hosts: ["{host}"]
loglevel: warning
auth_method: anonymous
anonymous_protocol: login_anon
allow_multiple_connections: true
listen:
  - {{ port: {port}, ip: "127.0.0.1", module: ejabberd_c2s, access: all }}
modules:
  mod_carboncopy: {{}}
  mod_client_state: {{}}
  mod_disco: {{}}
  mod_roster: {{}}
  mod_stream_mgmt: {{}}
"""

QUIET_SCHEDULERS = ["+sbwt", "none", "+sbwtdcpu", "none", "+sbwtdio", "none"]
DEBIANS = ["+K", "true", "+P", "250000"]  # of Debian's ejabberdctl


def one_of(directory, pattern):
	found = sorted(directory.glob(pattern))
	if not found:
		raise RuntimeError("ejabberd is missing below build/ejabberd: run tests/setup bench")
	return found[-1]


def erlang(directory):
	"""The program and the environment that start Erlang from where it is unpacked."""
	root = EJABBERD / "usr/lib/erlang"
	programs = one_of(root, "erts-*/bin")
	libraries = one_of(EJABBERD, "usr/lib/*/ejabberd-*/ebin").parents[1]
	return programs / "erlexec", {"ROOTDIR": root, "BINDIR": programs, "EMU": "beam", "PROGNAME": "erl", "ERL_LIBS": libraries,
		"HOME": directory, "ERL_CRASH_DUMP": directory / "crash.dump", "PATH": os.environ["PATH"],
		"EJABBERD_CONFIG_PATH": directory / "ejabberd.yml", "EJABBERD_LOG_PATH": directory / "ejabberd.log"}


def begin():
	bed.end_with_parent()
	os.sched_setaffinity(0, {SERVER_CORE})


class Ejabberd:
	host = bed.HOST
	# Clients of tests/integration, as on a Prosody
	connect, authenticated, login, again = (getattr(bed.Prosody, name) for name in ("connect", "authenticated", "login", "again"))
	close_clients, client = bed.Prosody.close_clients, Server.client

	def __init__(self):
		self.clients, self.accounts, self.reserved = [], 0, bed.Port()
		self.port = self.reserved.number
		parent = bed.BUILD / "bench"
		parent.mkdir(parents=True, exist_ok=True)
		self.directory = pathlib.Path(tempfile.mkdtemp(prefix="ejabberd-", dir=parent))
		(self.directory / "ejabberd.yml").write_text(CONFIGURATION.format(host=self.host, port=self.port))
		atexit.register(self.discard)
		self.start()

	def start(self):
		account = unprivileged()
		for path in [self.directory, *self.directory.iterdir()] if account else []:
			os.chown(path, account["user"], account["group"])
		program, environment = erlang(self.directory)
		with open(self.directory / "output", "ab") as output:
			self.process = subprocess.Popen([program, *QUIET_SCHEDULERS, *DEBIANS, "-noinput", "-boot",
				pathlib.Path(environment["ROOTDIR"]) / "bin/start_clean", "-mnesia", "dir", f'"{self.directory}/mnesia"', "-s", "ejabberd"],
				cwd=self.directory, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, preexec_fn=begin, **account)
		deadline = time.monotonic() + TIMEOUT
		while not self.listens():
			if self.process.poll() is not None or time.monotonic() > deadline:
				raise RuntimeError(f"ejabberd does not start:\n{self.log()[-3000:]}")
			time.sleep(0.05)

	def listens(self):
		try:
			self.connect("nobody").cut()
			return True
		except OSError:
			return False

	def log(self):
		return "".join(path.read_text(errors="replace") for path in (self.directory / "output", self.directory / "ejabberd.log")
			if path.exists())

	def account(self, name):
		self.accounts += 1
		return f"{name}{self.accounts}"

	def cpu(self):
		return cpu_of(self.process.pid)

	def idle(self):
		"""Wait until the server has done its work."""
		after, before = self.cpu(), 0
		while after - before > STILL:
			time.sleep(TICK)
			before, after = after, self.cpu()

	def discard(self):
		if self.process.poll() is None:
			self.process.kill()
			self.process.wait()
		self.close_clients()
		self.reserved.socket.close()
		atexit.unregister(self.discard)
		shutil.rmtree(self.directory, ignore_errors=True)

	def __enter__(self):
		return self

	def __exit__(self, *_):
		self.discard()
