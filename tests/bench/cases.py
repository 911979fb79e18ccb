"""The tests of selftest, which register themselves."""
import traceback

from samples import Samples

tests = []
MACHINE = {"date": "2026-11-30", "cpu": "a processor", "kernel": "Linux 6.1"}


def test(sentence):
	def register(function):
		tests.append((sentence, function))
		return function
	return register


def nearly(a, b):
	return abs(a - b) < 1e-9


def measured(values):
	"""Samples of {(row, column): [values]}."""
	made = Samples()
	for key, numbers in values.items():
		made[key] += numbers
	return made


def run():
	"""Runs all tests; returns the status of the process."""
	failed = 0
	for sentence, function in tests:
		try:
			function()
			print(f"ok   bench: {sentence}")
		except Exception:  # pylint: disable=broad-except
			failed += 1
			print(f"FAIL bench: {sentence}\n{traceback.format_exc()}")
	print(f"{len(tests) - failed} passed, {failed} failed")
	return 1 if failed else 0
