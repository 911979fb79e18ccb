"""Measurements by round: medians, their spread, and whether the machine was quiet meanwhile.

	samples = Samples()
	for number in samples.rounds(15):
		samples.add("row", "column", seconds)
	samples.median("row", "column")  # 0.00012 ±3%

A round in which others were busy is set aside, and repeated when the machine is quiet. Further rounds follow if the spread is wide,
up to three times the number. If too few rounds were quiet, all count, and the figure is marked.
"""
import collections
import statistics

import quiet

MOST = 3  # times the requested number of rounds, unless a figure asks for less
WIDE = 0.05  # half of the interquartile range, relative to the median


class Median(float):
	"""A median with the spread of its rounds, None for a single one; also in another unit."""

	def __new__(cls, value, spread):
		self = super().__new__(cls, value)
		self.spread = spread
		return self

	@classmethod
	def of(cls, values):
		return cls(statistics.median(values), spread(values) if len(values) > 1 else None)

	def __mul__(self, factor):
		return Median(float(self) * factor, self.spread)


def spread(values):
	"""Half of the interquartile range, or of the whole range of few values, relative to the median."""
	values = list(values)
	middle = statistics.median(values)
	if middle == 0:
		return 0.0
	if len(values) < 4:
		low, high = min(values), max(values)
	else:
		low, _, high = statistics.quantiles(values, n=4, method="inclusive")
	return abs((high - low) / 2 / middle)


class Machine:
	"""Knows whether rounds were quiet, and waits for a quiet machine. One object for all figures, with a common time limit."""

	def __init__(self, patience=0, say=print, watch=None):
		self.watch, self.patience, self.say = watch or quiet.Watch(), patience, say

	def wait(self):
		"""Returns whether it is quiet; does not wait after the time limit."""
		if self.patience <= 0:
			return False
		began = self.watch.look().time
		is_quiet = self.watch.wait(self.patience, self.say)
		self.patience -= self.watch.look().time - began - quiet.LOOK_FOR * is_quiet
		return is_quiet


class Samples(collections.defaultdict):
	"""(row, column) -> a number for each round."""

	machine = None  # Machine: without it the machine counts as quiet

	def __init__(self):
		super().__init__(list)
		self.shares = []  # parts of a processor that others used in each counted round
		self.current = None

	def add(self, row, column, value):
		(self if self.current is None else self.current)[row, column].append(value)

	def median(self, row, column):
		return Median.of(self[row, column])

	def ratio(self, row, above, below):
		"""Median of the rounds' ratios: a temporary slowdown of the machine affects both."""
		return self.ratio_of((row, above), (row, below))

	def ratio_of(self, above, below):
		return Median.of([a / b for a, b in zip(self[above], self[below])])

	@property
	def is_quiet(self):
		return all(share <= quiet.LOUD for share in self.shares)

	def describe(self):
		count = f"{len(self.shares)} rounds" if len(self.shares) != 1 else "1 round"
		if not self.shares:
			return "not watched"
		if self.is_quiet:
			return f"quiet, {count}"
		return f"NOT QUIET, {count}: others used up to {max(self.shares):.0%} of a processor"

	# --- rounds ---

	def rounds(self, count, most=MOST):
		"""Their numbers, at most `most` times as many. Values that are added meanwhile belong to the round."""
		if self.machine is None:
			yield from range(count)
			return
		quiet_ones, loud_ones = [], []
		for number in range(most * count):
			before = self.machine.watch.look()
			self.current = collections.defaultdict(list)
			yield number
			values, self.current = self.current, None
			seen = self.machine.watch.since(before)
			is_quiet = seen.share <= quiet.LOUD
			(quiet_ones if is_quiet else loud_ones).append((values, seen.share))
			if len(quiet_ones) >= count and widest(quiet_ones) <= WIDE:
				break
			if not is_quiet:
				self.machine.say(f"round {number + 1} was not quiet; {quiet.describe(seen)}")
				if not self.machine.wait() and len(quiet_ones) + len(loud_ones) >= count:
					break
		for values, share in quiet_ones if len(quiet_ones) >= count else quiet_ones + loud_ones:
			self.shares.append(share)
			for key, numbers in values.items():
				self[key] += numbers


def widest(rounds):
	"""The largest spread between rounds, of a list of (values, share)."""
	together = collections.defaultdict(list)
	for values, _ in rounds:
		for key, numbers in values.items():
			together[key] += numbers
	return max(map(spread, together.values()), default=0.0)
