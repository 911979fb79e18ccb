#!/usr/bin/python3
"""run.py [--kills N] [--seed N] [VERSION...]   kills a writing Prosody with SIGKILL, and checks its store

	--kills N   the number of kills over all versions (20)
	--seed N    seed of the random choices; default SEED in the environment, or the date
	VERSION     0.12 or 13.0: only that one

A server writes groups of operations to archives and key-value stores, each group in one turn of its
event loop, and reports them. It is killed at a random moment. Then the store must hold exactly what
the first P groups wrote, where P includes every group that was reported longer ago than the
sync interval, or reported committed or durable: whole groups, in their order, without duplicates, and without an id
of an earlier message.
"""
import argparse
import collections
import json
import pathlib
import random
import subprocess
import sys
import threading
import time

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "integration"))

import bed  # noqa: E402
import suite  # noqa: E402

SYNC_INTERVAL = 0.1
LONGEST_RUN = 1.0
LONG_TURN = 0.03  # a turn that takes 0.05 s is committed in parts
REGISTRATIONS = 3
TOOLS_EACH = 4  # of so many kills, one comes while prosodyctl writes
TOOL_TIMEOUT = 30


class Wrong(Exception):
	"""The store does not have the expected content."""


class Message:
	def __init__(self, n, group, contact, ident):
		self.n, self.group, self.contact, self.id = n, group, contact, ident

	def __eq__(self, other):
		return vars(self) == vars(other)

	def __repr__(self):
		return f"message {self.n} of group {self.group} with {self.contact}, id {self.id}"


class Group:
	"""The writes of one turn; ids are those of its `append` operations, in order."""

	def __init__(self, number, plan, ids, reported=None):
		self.number, self.plan, self.ids, self.reported = number, plan, ids, reported

	def messages(self):
		return sum(operation[0] in ("append", "key") for operation in self.plan)


class Report:
	"""The reports of the server. A group whose line is incomplete was not reported."""

	def __init__(self, text):
		lines = [json.loads(line) for line in text.split("\n")[:-1]]
		self.groups = [Group(r["group"], r["plan"], r["ids"] or [], r["time"]) for r in lines if "group" in r]
		self.divided = {r["divided"] for r in lines if "divided" in r}
		self.safe = max((max(r["committed"], r["durable"]) for r in lines if "group" in r), default=0)

	def promised(self, killed):
		"""The number of groups that must be there after a kill."""
		return sum(g.number <= self.safe or g.reported < killed - SYNC_INTERVAL for g in self.groups)

	def may_be_divided(self, number, killed):
		"""Whether the group was committed in parts: the server says so, or was killed before it could."""
		reported = [g for g in self.groups if g.number >= number]
		last = max((g.reported for g in self.groups), default=0)
		return number in self.divided or (not reported and killed - last > LONG_TURN)

	def last_message(self):
		return max((operation[2] for group in self.groups for operation in group.plan
			if operation[0] in ("append", "key")), default=0)


class Model:
	"""The expected content of the store."""

	def __init__(self):
		self.archives = collections.defaultdict(list)
		self.values = collections.defaultdict(dict)

	def apply(self, group):
		ids = iter(group.ids)
		for operation, user, *rest in group.plan:
			getattr(self, "_" + operation)(group, ids, user, *rest)

	def take(self, found):
		"""The differences between the expected and the actual content."""
		self.archives.update(found.archives)
		self.values = collections.defaultdict(dict, found.values)

	def _append(self, group, ids, user, n, contact):
		self.archives[user].append(Message(n, group.number, contact, next(ids)))

	def _key(self, group, _, user, n, contact, key):
		self._delete(group, _, user, key)
		self.archives[user].append(Message(n, group.number, contact, key))

	def _delete(self, _, __, user, ident):
		self.archives[user] = [m for m in self.archives[user] if m.id != ident]

	def _truncate(self, _, __, user, keep):
		del self.archives[user][:-keep]

	def _map(self, group, _, user, key):
		self.values[user][key] = group.number

	def _keyval(self, group, _, user, key):
		self.values[user] = {key: group.number}


class Found:
	"""The actual content of the store."""

	def __init__(self, text):
		dump = json.loads(text)
		self.archives, self.totals, self.plans = {}, {}, {}
		for user, archive in dump["archives"].items():
			self.totals[user] = archive["totals"]
			self.archives[user] = [self._message(m) for m in archive["messages"] or []]
		self.values = {user: {k: int(v) for k, v in values.items()} for user, values in (dump["values"] or {}).items()}

	def _message(self, m):
		if not m["whole"]:
			raise Wrong(f"message {m['n']} came back other than it was written")
		if "plan" in m:
			self.plans[int(m["group"])] = json.loads(m["plan"])
		return Message(int(m["n"]), int(m["group"]), m["with"], m["id"])

	def all(self):
		return [m for archive in self.archives.values() for m in archive]

	def unreported(self, number):
		"""The group, reconstructed from its messages."""
		if number not in self.plans:
			raise Wrong(f"group {number} is there in part")
		by_number = {m.n: m.id for m in self.all() if m.group == number}
		plan = self.plans[number]
		return Group(number, plan, [by_number.get(operation[2]) for operation in plan if operation[0] == "append"])


class Trial:
	"""One server, killed again and again."""

	def __init__(self, version, seed):
		self.random = random.Random(seed)
		self.server = bed.Prosody(version, modules=["test_crash"], start=False, options={
			"storage": "native", "storage_native_sync_interval": SYNC_INTERVAL,
			"plugin_paths": [bed.PROJECT / "lua", HERE / "modules"]})
		self.server.options["log"] = {"info": self.server.logfile}
		self.report = self.server.directory / "report"
		self.model, self.ids, self.accounts = Model(), set(), []
		self.group = self.message = 0
		self.kills = self.messages = self.missing = self.doubled = 0

	def run(self, kills, told):
		self._start()
		for _ in range(kills):
			killed = self._write_and_kill()
			report = Report(self.report.read_text())
			self._check_with_tool()
			self._start()
			self._compare(report, killed)
			self.kills += 1
			told()

	def discard(self):
		self.server.discard()

	def _start(self):
		self.server.start()
		self.server.assert_no_traceback()

	def _prosodyctl(self, *words, **more):
		launcher = bed.PROSODIES / f"prosody-{self.server.version}/prosodyctl"
		return subprocess.Popen([launcher, "--config", self.server.config, *words], stdin=subprocess.DEVNULL,
			stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, preexec_fn=bed.end_with_parent, **more)

	@staticmethod
	def _finish(tool):
		printed, _ = tool.communicate(timeout=TOOL_TIMEOUT)
		if tool.returncode:
			raise Wrong(f"{' '.join(map(str, tool.args))} ended with status {tool.returncode}:\n{printed}")

	def _module(self, code):
		return self.server.lua(f"local m = require 'core.modulemanager'.get_module({bed.lua(self.server.host)},"
			f" 'test_crash'); {code}")

	def _write_and_kill(self):
		"""Returns the last time at which the server was alive, on the clock of its reports."""
		self.report.write_text("")
		self._module(f"m.begin({bed.lua(self.report)}, {self.group}, {self.message}, {self.random.randrange(2**31)})")
		tools = []
		if self.random.randrange(TOOLS_EACH) == 0:
			for _ in range(REGISTRATIONS):
				self.accounts.append(f"account{len(self.accounts)}")
				tools.append(self._prosodyctl("register", self.accounts[-1], self.server.host, bed.PASSWORD))
		time.sleep(self.random.uniform(0, LONGEST_RUN))
		killed = time.monotonic()
		self.server.kill()
		for tool in tools:
			self._finish(tool)
		return killed

	def _check_with_tool(self):
		self._finish(self._prosodyctl("mod_storage_native", "check"))

	def _compare(self, report, killed):
		found = Found(self._module("return m.dump()"))
		self._look_for_doubles(found)
		last = max((m.group for m in found.all()), default=0)
		groups = [g for g in report.groups if g.number <= last]
		self._look_for_losses(report.groups[len(groups):report.promised(killed)], killed)
		if report.may_be_divided(last, killed):
			self.model.take(found)
		else:
			if last > self.group + len(groups):
				groups.append(found.unreported(last))
			for group in groups:
				self.model.apply(group)
		self._look_for_used_ids(report.groups, groups)
		self._look_for_differences(found)
		self._look_for_accounts()
		self.messages += sum(g.messages() for g in groups)
		self.group += len(report.groups) + 1
		self.message = max([self.message, report.last_message(), *(m.n for m in found.all())])

	def _look_for_losses(self, lost, killed):
		self.missing += sum(g.messages() for g in lost)
		if lost:
			raise Wrong(f"groups {lost[0].number} to {lost[-1].number} are gone, reported"
				f" {killed - lost[0].reported:.3f} s and more before the kill")

	def _look_for_doubles(self, found):
		numbers = collections.Counter(m.n for m in found.all())
		doubled = [n for n, count in numbers.items() if count > 1]
		self.doubled += len(doubled)
		if doubled:
			raise Wrong(f"more than once in the store: messages {doubled}")

	def _look_for_used_ids(self, *lists):
		"""Ids of lost messages count, too, because clients may know them."""
		ids = {ident for groups in lists for group in groups for ident in group.ids if ident}
		used = ids & self.ids
		if used:
			raise Wrong(f"ids were given to a second message: {used}")
		self.ids |= ids

	def _look_for_differences(self, found):
		for user, archive in found.archives.items():
			expected = self.model.archives[user]
			if archive != expected:
				gone = [m for m in expected if m not in archive]
				extra = [m for m in archive if m not in expected]
				self.missing += len(gone)
				raise Wrong(f"archive of {user}: missing {gone}, unexpected {extra}"
					+ ("" if gone or extra else ", another order"))
			counts = collections.Counter(m.contact for m in archive)
			wrong = {c: (total, counts[c]) for c, total in found.totals[user].items() if total != counts[c]}
			if wrong:
				raise Wrong(f"archive of {user}: totals differ (told, counted): {wrong}")
		values = {user: values for user, values in self.model.values.items() if values}
		if found.values != values:
			raise Wrong(f"values differ: found {found.values}, expected {values}")

	def _look_for_accounts(self):
		names = bed.lua(self.accounts)
		missing = self.server.lua(f"""
			local missing = {{}};
			for _, name in ipairs({names}) do
				if not require "core.usermanager".user_exists(name, {bed.lua(self.server.host)}) then
					table.insert(missing, name);
				end
			end
			return table.concat(missing, " ")""")
		if missing:
			raise Wrong(f"accounts that prosodyctl made are gone: {missing}")


class Runs:
	"""A trial for each version, all at the same time."""

	def __init__(self, versions, seed):
		self.trials = [Trial(version, f"{seed} {version}") for version in versions]
		self.failures = []
		self.terminal = sys.stdout.isatty()

	def run(self, kills):
		threads = [threading.Thread(target=self._run, args=(trial, kills // len(self.trials)
			+ (n < kills % len(self.trials)))) for n, trial in enumerate(self.trials)]
		for thread in threads:
			thread.start()
		for thread in threads:
			thread.join()

	def _run(self, trial, kills):
		try:
			trial.run(kills, self._show_progress)
		except Exception as error:  # pylint: disable=broad-except
			self.failures.append(f"Prosody {trial.server.version}, kill {trial.kills + 1}: {error}")
		finally:
			trial.discard()

	def summary(self):
		kills, messages, missing, doubled = (sum(getattr(trial, name) for trial in self.trials)
			for name in ("kills", "messages", "missing", "doubled"))
		return f"{kills} kills, {messages} messages, {missing} missing, {doubled} doubled"

	def _show_progress(self):
		if self.terminal:
			print(f"\r\033[K{self.summary()}", end="", flush=True)


def main():
	parser = argparse.ArgumentParser()
	parser.add_argument("--kills", type=int, default=20)
	parser.add_argument("--seed", type=int, default=suite.SEED)
	parser.add_argument("versions", nargs="*", metavar="VERSION")
	arguments = parser.parse_args()
	if not set(arguments.versions) <= set(bed.VERSIONS):
		parser.error(f"the versions are {', '.join(bed.VERSIONS)}")
	runs = Runs(arguments.versions or bed.VERSIONS, arguments.seed)
	runs.run(arguments.kills)
	if runs.terminal:
		print("\r\033[K", end="")
	for failure in runs.failures:
		print(failure)
	if runs.failures:
		print(f"repeat this with SEED={arguments.seed}")
	print(runs.summary())
	return 1 if runs.failures else 0


if __name__ == "__main__":
	sys.exit(main())
