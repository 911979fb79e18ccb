"""Whether the machine is quiet: the use of its processors by others than this process and its descendants.

	watch = Watch()
	watch.wait(limit=300, say=print)
	before = watch.look()
	...
	watch.since(before).share  # of one processor, 0.02 are 2 %

Others are all processes except ours and the kernel's threads, which work for us, too, and the hypervisor's other guests (stolen time).
In a container that hides the processes of others, their use is the rest of the total.
"""
import collections
import os
import pathlib
import time

LOUD = 0.05  # of one processor: more is not quiet
PATIENCE = 300  # seconds to wait for a quiet machine
LOOK_FOR = 3  # seconds of observation before the machine counts as quiet
NAMED = 3  # number of busy processes that are named
HIDDEN_NOISE = 0.1  # of one processor: the sampling error of the total

TICKS = os.sysconf("SC_CLK_TCK")
KTHREADD = 2  # the parent of all kernel threads

Process = collections.namedtuple("Process", "parent name ticks waited")  # ticks: its own, and of children it has waited for
Look = collections.namedtuple("Look", "time used stolen processes")  # ticks; processes: pid -> Process
Usage = collections.namedtuple("Usage", "share busy")  # busy: [(share, name, pid)], the busiest first


def parse_process(text):
	"""A line of /proc/PID/stat: its name is in brackets and may contain any characters."""
	name, fields = text[text.index("(") + 1:text.rindex(")")], text[text.rindex(")") + 1:].split()
	return Process(int(fields[1]), name, int(fields[11]) + int(fields[12]), int(fields[13]) + int(fields[14]))


def parse_processors(text):
	"""The first line of /proc/stat: ticks of processes, and stolen ones."""
	user, nice, system, *_ = numbers = list(map(int, text.splitlines()[0].split()[1:]))
	return user + nice + system, numbers[7] if len(numbers) > 7 else 0


def family(processes, head):
	"""The pids of `head` and of its descendants."""
	children = collections.defaultdict(list)
	for pid, process in processes.items():
		children[process.parent].append(pid)
	found, waiting = set(), [head]
	while waiting:
		pid = waiting.pop()
		found.add(pid)
		waiting += children[pid]
	return found


def usage(before, after, own):
	"""The use by others between two looks; `own` is the pid of our first process."""
	elapsed = (after.time - before.time) * TICKS
	ours = family(before.processes, own) | family(after.processes, own)
	kernel = family(after.processes, KTHREADD) if KTHREADD in after.processes else set()

	def spent(pids):
		"""The use of an ended process is counted for the parent that has waited for it."""
		return sum(sign * (look.processes[pid].ticks + look.processes[pid].waited)
			for look, sign in ((after, 1), (before, -1)) for pid in pids if pid in look.processes)

	def alone(pid):
		begun = before.processes[pid].ticks if pid in before.processes else 0
		return (after.processes[pid].ticks - begun) / elapsed

	others = (before.processes.keys() | after.processes.keys()) - ours - kernel
	visible = max(spent(others), 0) / elapsed
	if kernel:
		hidden = 0
	else:
		hidden = (after.used - before.used - spent(ours)) / elapsed - HIDDEN_NOISE
	stolen = (after.stolen - before.stolen) / elapsed
	busy = [(alone(pid), after.processes[pid].name, pid) for pid in others & after.processes.keys()]
	busy += [(visible - sum(share for share, *_ in busy), "processes that have ended", None)]
	busy += [(stolen, "stolen by the hypervisor", None), (hidden - visible, "processes that are hidden here", None)]
	return Usage(max(visible, hidden) + stolen, sorted((b for b in busy if b[0] > LOUD), key=lambda b: -b[0]))


def describe(seen):
	"""The busy processes, as a text."""
	if not seen.busy:
		return f"others use {seen.share:.0%} of a processor"
	texts = [f"{name}{f' ({pid})' if pid else ''}, {share:.0%}" for share, name, pid in seen.busy[:NAMED]]
	return "busy: " + "; ".join(texts) + ("; and others" if len(seen.busy) > NAMED else "")


class Watch:
	def __init__(self, pid=None):
		self.pid = pid or os.getpid()

	def look(self):
		processes = {}
		for directory in pathlib.Path("/proc").glob("[0-9]*"):
			try:
				processes[int(directory.name)] = parse_process((directory / "stat").read_text(errors="replace"))
			except OSError:
				pass  # it has exited meanwhile
		used, stolen = parse_processors(pathlib.Path("/proc/stat").read_text())
		return Look(time.monotonic(), used, stolen, processes)

	def since(self, before):
		return usage(before, self.look(), self.pid)

	def wait(self, limit, say, look_for=LOOK_FOR):
		"""Waits until the machine is quiet, at most `limit` seconds; names busy processes. Returns whether it is quiet."""
		deadline = time.monotonic() + limit
		while True:
			before = self.look()
			time.sleep(look_for)
			seen = self.since(before)
			if seen.share <= LOUD:
				return True
			if time.monotonic() > deadline:
				say(f"the machine is NOT QUIET, {describe(seen)}; measuring all the same, after {limit:.0f} s")
				return False
			say(f"waiting for a quiet machine, at most {deadline - time.monotonic():.0f} s; {describe(seen)}")
