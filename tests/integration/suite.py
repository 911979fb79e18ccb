"""What a test file says: @behaviour("resume: order is kept") above a function that takes a server.

Each test has a Prosody of its own. Keywords of @behaviour:

	options, modules, components	the server's, as in bed.Prosody
	versions	run on these only
	over	transports: the test is run for each, as its second argument
	federation	the test takes a bed.Federation, of each version with each
	once	what the test states does not depend on Prosody's version: the newest one is enough, see Test.repeats

In the environment:

	SEED	what random tests choose from; by default the date's digits, and printed with a failure
	SOAK	random tests try in full, and not a sample
"""
import concurrent.futures
import functools
import multiprocessing
import os
import signal
import time
import traceback

import bed

SEED = int(os.environ.get("SEED") or time.strftime("%Y%m%d", time.gmtime()))
SOAK = bool(os.environ.get("SOAK"))
TIME_LIMIT = 40
LOG_LINES = 60
AT_A_TIME = 2 * len(os.sched_getaffinity(0))  # a test waits for more than half of its time
PAIRS = {"0.12": [("0.12", "0.12")], "13.0": [("13.0", "13.0"), ("0.12", "13.0"), ("13.0", "0.12")]}

tests = []


def tries(sample, full):
	"""How often a random test tries."""
	return full if SOAK else sample


class Test:
	"""Those with the same `together`, if it is not None, are run by one process, one after another: they share what it holds.
	One that `repeats` what is stated on another version runs only if its version is named, or all such tests are asked for."""

	def __init__(self, name, function, version, make, transport=None, time_limit=TIME_LIMIT, together=None, repeats=False):
		self.name, self.function, self.version, self.make = name, function, version, make
		self.time_limit, self.together, self.repeats = time_limit, together, repeats
		self.arguments = [transport] if transport else []

	def run(self, stock_smacks):
		"""Returns None, or the text of the failure."""
		self.server = None
		signal.signal(signal.SIGALRM, self._too_long)
		signal.alarm(self.time_limit)
		try:
			self.server = self.make(stock_smacks)
			self.function(self.server, *self.arguments)
			self.server.finish()
			return None
		except Exception:  # pylint: disable=broad-except
			return self._report(traceback.format_exc())
		finally:
			signal.alarm(0)
			if self.server:
				self.server.discard()
				self.server = None

	def _too_long(self, *_):
		raise TimeoutError(f"the test did not end within {self.time_limit} s")

	def _report(self, trace):
		"""From the test function on, and the end of the server's log."""
		log = self.server.log().splitlines()[-LOG_LINES:] if self.server else []
		return "\n".join([trace.rstrip(), f"SEED={SEED} repeats random choices; server log:", *log])


def on_versions(name, make, versions=None, once=False, **settings):
	"""Registers a test for each version. `make` takes the version, and whether mod_smacks is stock; it returns what the test takes:
	with finish(), discard() and log()."""
	def register(function):
		for version in bed.VERSIONS:
			if not versions or version in versions:
				tests.append(Test(name, function, version, functools.partial(make, version),
					repeats=once and version != bed.VERSIONS[-1], **settings))
		return function
	return register


def every_version(function):
	"""Above @behaviour: this test is no repetition on any version, though others of its file are."""
	for test in tests:
		if test.function is function:
			test.repeats = False
	return function


def behaviour(name, over=(), versions=None, federation=False, once=False, **settings):
	def make(version, stock_smacks):
		return bed.Prosody(version, stock_smacks=stock_smacks, **settings)

	def register(function):
		for transport in over or [None]:
			title = f"{name}, over {transport}" if transport else name
			on_versions(title, make, versions, once, transport=transport)(function)
		return function
	return _federation(name, versions or bed.VERSIONS, settings) if federation else register


def _federation(name, versions, settings):
	def register(function):
		for version in versions:
			for a, b in PAIRS[version]:
				if {a, b} <= set(bed.VERSIONS):
					def make(_, stock_smacks, a=a, b=b):
						return bed.Federation(a, b, stock_smacks=stock_smacks, **settings)
					on_versions(f"{name}, {a} to {b}", make, [version])(function)
		return function
	return register


def run(names, versions, stock_smacks, colour, repeats=False):
	"""Runs what matches, several at a time; returns how many passed and failed."""
	chosen = [n for n, test in enumerate(tests) if _matches(test, names, versions, repeats)]
	passed = failed = 0
	fork = multiprocessing.get_context("fork")
	with concurrent.futures.ProcessPoolExecutor(AT_A_TIME, fork) as pool:
		outcomes = {}
		for numbers in _tasks(chosen):
			task = pool.submit(_run, numbers, stock_smacks)
			outcomes.update((n, task) for n in numbers)
		for n in chosen:
			failure, seconds = outcomes[n].result()[n]
			_report(tests[n], failure, seconds, colour)
			passed, failed = passed + (not failure), failed + bool(failure)
	return passed, failed


def _tasks(chosen):
	"""Lists of tests that belong together, and then each other test alone: what takes long is begun first."""
	together = {}
	for n in chosen:
		if tests[n].together is not None:
			together.setdefault(tests[n].together, []).append(n)
	return [*together.values(), *([n] for n in chosen if tests[n].together is None)]


def _matches(test, names, versions, repeats):
	wanted = test.version in versions if versions else test.repeats == repeats
	return wanted and (not names or any(n in test.name for n in names))


def _run(numbers, stock_smacks):
	"""Number of a test -> its failure and the seconds that it took."""
	outcomes = {}
	for n in numbers:
		began = time.monotonic()
		failure = tests[n].run(stock_smacks)
		outcomes[n] = failure, time.monotonic() - began
	return outcomes


def _report(test, failure, seconds, colour):
	mark = "FAIL" if failure else "ok  "
	if colour:
		mark = f"\033[{31 if failure else 32}m{mark}\033[0m"
	slow = f"  ({seconds:.1f} s)" if seconds > 3 else ""
	print(f"{mark} {test.version}  {test.name}{slow}", flush=True)
	for line in (failure or "").splitlines():
		print("     | " + line, flush=True)
