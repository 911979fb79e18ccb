"""A Prosody to measure: small, on a core of its own, with the stock mod_smacks or with ours."""
import os
import pathlib
import re
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "integration"))

import bed  # noqa: E402

LOAD = bed.BUILD / "bench/load"
CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE, LOAD_CORE = CORES[0], CORES[-1]

STOCK, OURS = "stock", "ours"

MODULES = ["roster", "saslauth", "disco", "smacks", "admin_shell", "bench"]  # modules for chat, and ours

# For both, so that no queue reaches a limit. The stock queue allocates its size at once, and a
# larger heap makes the collector run less often: not for figures without a long queue.
LONG_QUEUES = {"smacks_max_queue_size": 100000, "smacks_max_queue_bytes": 256 * 1024 * 1024}


# Unless a figure is about it both sides collect garbage as Prosody does by default: our modules would choose otherwise, and the
# collector would be most of what is compared
COLLECTOR = {"threshold": 105}


def pin(pid, core):
	"""A process and all threads that it has."""
	for thread in os.listdir(f"/proc/{pid}/task"):
		os.sched_setaffinity(int(thread), {core})


def pin_load():
	"""Also this process, which creates the load: its children run there until they are moved."""
	pin("self", LOAD_CORE)


class Server(bed.Prosody):
	plugins = bed.PROJECT / "lua"

	def __init__(self, version, which, options=None):
		paths = [HERE / "modules"] if which == STOCK else [self.plugins, HERE / "modules"]
		super().__init__(version, stock_smacks=which == STOCK, start=False,
			options={"modules_enabled": MODULES, "plugin_paths": paths, "gc": COLLECTOR, **(options or {})})
		self.options = {name: value for name, value in self.options.items() if value is not None}
		self.options["log"] = {"info": self.logfile}
		self.start()
		pin(self.process.pid, SERVER_CORE)
		loaded = self.lua(f"return {self._modules()}.smacks.module:get_directory()")
		if (loaded == str(self.plugins / "mod_smacks")) != (which == OURS):
			raise RuntimeError(f"{which} is to be measured, but {loaded} was loaded")

	def _modules(self):
		return f"prosody.hosts[{bed.lua(self.host)}].modules"

	def cpu(self):
		"""Seconds of CPU time, user and system, that the process has used."""
		process_clock = ~self.process.pid << 3 | 2  # as clock_getcpuclockid(3) computes it
		return time.clock_gettime(process_clock)

	def resident(self):
		"""Bytes of memory of the process."""
		status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
		return int(re.search(r"VmRSS:\s*(\d+)", status)[1]) * 1024

	def measure(self, function, *args):
		"""Call a function of mod_bench; returns its numbers."""
		arguments = ", ".join(map(bed.lua, args))
		answer = self.lua(f"return tostring({self._modules()}.bench.module.{function}({arguments}))")
		return [float(number) for number in answer.split()]

	def finish(self):
		"""Stop at once, without storing queues."""
		self.kill()
		self.close_clients()
		self.assert_no_traceback()

	def client(self, name, managed):
		client = self.login(name)
		client.available()
		if managed:
			client.enable()
		return client

	def idle(self):
		"""Wait until the server has finished the call."""
		self.lua("true")


class Pairs:
	"""Clients that chat in pairs."""

	def __init__(self, server, count, managed, message):
		self.server, self.message, self.handled = server, message, 0
		self.pairs = [(server.client("sender", managed), server.client("receiver", managed))
			for _ in range(count)]

	def chat(self, window, messages):
		"""Seconds of the server's CPU and number of <r/> per message; each pair sends `messages`."""
		command, sockets = [LOAD, str(window), str(messages)], []
		for sender, receiver in self.pairs:
			fds = [client.transport.sock.fileno() for client in (sender, receiver)]
			sockets += fds
			command += [*map(str, fds), str(self.handled), self.message.format(to=receiver.jid)]
		self.server.idle()
		before = self.server.cpu()
		done = subprocess.run(command, pass_fds=sockets, check=True, stdout=subprocess.PIPE, text=True)
		self.server.idle()
		spent = self.server.cpu() - before
		received, requests = map(int, done.stdout.split())
		self.handled += messages
		return spent / received, requests / received


def build_load():
	"""Compile the load generator if it is missing or older than its source."""
	source = HERE / "load.c"
	if LOAD.exists() and LOAD.stat().st_mtime > source.stat().st_mtime:
		return
	LOAD.parent.mkdir(parents=True, exist_ok=True)
	compiler = os.environ.get("CC", "gcc")
	subprocess.run([compiler, "-std=c11", "-D_GNU_SOURCE", "-O2", "-o", LOAD, source], check=True)
