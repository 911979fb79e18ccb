"""A Prosody to measure: small, on a core of its own, with the stock mod_smacks or with ours."""
import os
import pathlib
import re
import resource
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "integration"))

import bed  # noqa: E402

CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE, LOAD_CORE = CORES[0], CORES[-1]

STOCK, OURS = "stock", "ours"

MODULES = ["roster", "saslauth", "disco", "smacks", "admin_shell", "bench"]  # for chat; of both sides, by name
OURS_ALONE = ["stream_native"]  # further modules of ours, which Prosody does not have

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


def cpu_of(pid):
	"""Seconds of CPU time, user and system, that a process has used with all its threads."""
	return time.clock_gettime(~pid << 3 | 2)  # the clock that clock_getcpuclockid(3) computes


LOADED = """
local found = {};
local hosts = { "*" };
for host in pairs(prosody.hosts) do table.insert(hosts, host); end
for _, host in ipairs(hosts) do
	for name, env in pairs(require "core.modulemanager".get_modules(host)) do
		local directory = env.module and env.module.path and env.module:get_directory();
		if directory then table.insert(found, name.." "..directory); end
	end
end
return table.concat(found, "\\n");
"""


def allow_connections(count):
	"""Also for servers, which inherit the limit of open files."""
	soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
	if soft < count:
		resource.setrlimit(resource.RLIMIT_NOFILE, (count if hard == resource.RLIM_INFINITY else min(count, hard), hard))


class Server(bed.Prosody):
	plugins = bed.PROJECT / "lua"

	def __init__(self, version, which, options=None, components=None):
		paths = [HERE / "modules"] if which == STOCK else [self.plugins, HERE / "modules"]
		options = {"modules_enabled": MODULES, "plugin_paths": paths, "gc": COLLECTOR, **(options or {})}
		if which == OURS:
			options["modules_enabled"] = [*options["modules_enabled"], *filter(self.has, OURS_ALONE)]
		super().__init__(version, stock_smacks=which == STOCK, start=False, options=options, components=components)
		self.options = {name: value for name, value in self.options.items() if value is not None}
		self.options["log"] = {"info": self.logfile}
		self.start()
		pin(self.process.pid, SERVER_CORE)
		self.check_loaded(which)

	def has(self, name):
		return (self.plugins / f"mod_{name}").is_dir()

	def check_loaded(self, which):
		"""Every module that we have is ours, or none is."""
		for line in self.lua(LOADED).splitlines():
			name, _, directory = line.partition(" ")
			if self.has(name) and (directory == str(self.plugins / f"mod_{name}")) != (which == OURS):
				raise RuntimeError(f"{which} is to be measured, but {directory} was loaded")

	def _modules(self):
		return f"prosody.hosts[{bed.lua(self.host)}].modules"

	def cpu(self):
		return cpu_of(self.process.pid)

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
		"""A client of a new account, or a further one of a client's account; available, with stream management or without."""
		client = self.login(name) if isinstance(name, str) else self.again(name)
		if managed:
			client.enable()
		client.send("<presence/>")
		while client.stanza()["from"] != client.jid:
			pass  # presence of another resource
		return client

	def idle(self):
		"""Wait until the server has finished the call."""
		self.lua("true")
