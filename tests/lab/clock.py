"""A clock that a test sets forward. os.time() of Lua programs with its environment returns it."""
import time

# Standard Lua runs this before a script: manual, section 7
CODE = "local now = os.time; os.time = function (table) return table and now(table) or now() + $(cat {file}) end"


class Clock:
	"""The system's clock, plus the sum of advance(). It is also kept in a file, for scripts."""

	def __init__(self, file):
		self.file, self.ahead = file, 0
		self.advance(0)

	def advance(self, seconds):
		self.ahead += seconds
		new = self.file.with_suffix(".new")
		new.write_text(str(self.ahead))
		new.rename(self.file)

	def now(self):
		return time.time() + self.ahead

	def prefix(self):
		"""The prefix of a command in a shell script for using this clock."""
		return f'LUA_INIT_5_4="{CODE.format(file=self.file)}"'
