"""What a test file says: @behaviour("resume: order is kept") above a function that takes a server.

Each test has a Prosody of its own. Keywords of @behaviour:

	options, modules, components	the server's, as in bed.Prosody
	versions	run on these only
	over	transports: the test is run for each, as its second argument
	federation	the test takes a bed.Federation, of each version with each
"""
import concurrent.futures
import multiprocessing
import os
import signal
import time
import traceback

import bed

TIME_LIMIT = 40
LOG_LINES = 60
AT_A_TIME = 2 * len(os.sched_getaffinity(0))  # a test waits for more than half of its time
PAIRS = {"0.12": [("0.12", "0.12")], "13.0": [("13.0", "13.0"), ("0.12", "13.0"), ("13.0", "0.12")]}

tests = []


class Test:
	"""Those with the same `together`, if it is not None, are run by one process, one after another: they share what it holds."""

	def __init__(self, name, function, version, make, transport=None, time_limit=TIME_LIMIT, together=None):
		self.name, self.function, self.version, self.make = name, function, version, make
		self.time_limit, self.together = time_limit, together
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
		return "\n".join([trace.rstrip(), "server log:", *log])


def behaviour(name, over=(), versions=None, federation=False, **settings):
	def register(function):
		for version in bed.VERSIONS:
			if versions and version not in versions:
				continue
			if federation:
				_register_federation(name, function, version, settings)
			else:
				_register(name, function, version, over, settings)
		return function
	return register


def _register(name, function, version, over, settings):
	def make(stock_smacks):
		return bed.Prosody(version, stock_smacks=stock_smacks, **settings)
	for transport in over or [None]:
		title = f"{name}, over {transport}" if transport else name
		tests.append(Test(title, function, version, make, transport))


def _register_federation(name, function, version, settings):
	for a, b in PAIRS[version]:
		if {a, b} <= set(bed.VERSIONS):
			def make(stock_smacks, a=a, b=b):
				return bed.Federation(a, b, stock_smacks=stock_smacks, **settings)
			tests.append(Test(f"{name}, {a} to {b}", function, version, make))


def run(names, versions, stock_smacks, colour):
	"""Runs what matches, several at a time; returns how many passed and failed."""
	chosen = [n for n, test in enumerate(tests) if _matches(test, names, versions)]
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


def _matches(test, names, versions):
	return (not versions or test.version in versions) and (not names or any(n in test.name for n in names))


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
