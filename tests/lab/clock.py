"""A clock that a test sets forward. Programs that are started with its environment see it, by libfaketime."""
import pathlib
import time

LIBRARY = next(pathlib.Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
SHARED = pathlib.Path("/dev/shm")


def _sweep():
	"""Removes what killed processes left: libfaketime shares the clock under a name with the process's number, and a
	process of another user that gets the number again cannot open it."""
	for kind in ("sem.faketime_sem", "faketime_shm"):
		for left in SHARED.glob(f"{kind}_*"):
			if not pathlib.Path("/proc", left.name.rsplit("_", 1)[1]).exists():
				left.unlink(missing_ok=True)


class Clock:
	"""The system's clock, and what has been added by advance(). It is kept in a file too, for scripts."""

	def __init__(self, file):
		self.file, self.ahead = file, 0
		self.advance(0)

	def advance(self, seconds):
		_sweep()
		self.ahead += seconds
		new = self.file.with_suffix(".new")
		new.write_text(f"+{self.ahead}")
		new.rename(self.file)

	def now(self):
		return time.time() + self.ahead

	def prefix(self):
		"""What stands before a command of a shell script, so that it sees this clock."""
		return f'LD_PRELOAD={LIBRARY} FAKETIME="$(cat {self.file})" FAKETIME_DONT_FAKE_MONOTONIC=1'
