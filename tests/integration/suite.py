"""Registers and runs the tests: @behaviour("resume: order is kept") above a function that takes a server.

Each test starts its own Prosody. Keywords of @behaviour:

	options, modules, components	of the server, as in bed.Prosody
	versions	run on these versions only
	over	transports: the test runs with each, its second argument
	federation	the test takes a bed.Federation, and runs for each pair of versions
	once	the behaviour does not depend on Prosody's version: older versions are skipped, see Test.repeats

In the environment:

	SEED	seed of random tests; default: the digits of the date. A failure prints it
	SOAK	random tests run in full instead of a sample
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
AT_A_TIME = 2 * len(os.sched_getaffinity(0))  # a test spends more than half of its time waiting
PAIRS = {"0.12": [("0.12", "0.12")], "13.0": [("13.0", "13.0"), ("0.12", "13.0"), ("13.0", "0.12")]}

tests = []


def tries(sample, full):
	"""How often a random test repeats."""
	return full if SOAK else sample


class Test:
	"""Tests with the same `together`, if it is not None, run one after another in one process and share its state. A test that
	`repeats` another one on an older version runs only if its version is named, or with --repeats."""

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
		raise TimeoutError(f"the test takes longer than {self.time_limit} s")

	def _report(self, trace):
		"""The traceback, and the end of the server's log."""
		log = self.server.log().splitlines()[-LOG_LINES:] if self.server else []
		return "\n".join([trace.rstrip(), f"SEED={SEED} repeats the random choices; server log:", *log])


def on_versions(name, make, versions=None, once=False, **settings):
	"""Registers a test for each version. make(version, stock_smacks) returns the test's argument, which has finish(), discard()
	and log()."""
	def register(function):
		for version in bed.VERSIONS:
			if not versions or version in versions:
				tests.append(Test(name, function, version, functools.partial(make, version),
					repeats=once and version != bed.VERSIONS[-1], **settings))
		return function
	return register


def every_version(function):
	"""Above @behaviour: run this test on every version although its file sets `once`."""
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
	"""Runs the tests that match, several at a time. Returns how many passed and failed."""
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
	"""Lists of tests for one process each. Tests that belong together take longest and start first."""
	together = {}
	for n in chosen:
		if tests[n].together is not None:
			together.setdefault(tests[n].together, []).append(n)
	return [*together.values(), *([n] for n in chosen if tests[n].together is None)]


def _matches(test, names, versions, repeats):
	wanted = test.version in versions if versions else test.repeats == repeats
	return wanted and (not names or any(n in test.name for n in names))


def _run(numbers, stock_smacks):
	"""Maps the number of each test to its failure and its seconds."""
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
