"""Tables of figures, as Markdown."""


class Table:
	"""Title, explanation, rows of texts and numbers, and notes below them."""

	def __init__(self, title, text, *header):
		self.title, self.text, self.header, self.rows, self.notes = title, text, header, [], []

	def add(self, *row):
		self.rows.append(row)

	def column_of(self, version, name):
		"""A column's numbers on one Prosody."""
		at = self.header.index(name)
		return [row[at] for row in self.rows if row[0] == version]

	def only(self, name, values):
		"""A copy with the rows that have one of the values in a column."""
		at = self.header.index(name)
		copy = Table(self.title, self.text, *self.header)
		copy.rows, copy.notes = [row for row in self.rows if row[at] in values], self.notes
		return copy

	def markdown(self, heading="##"):
		cells = [self.header, *([write(value) for value in row] for row in self.rows)]
		widths = [max(len(row[i]) for row in cells) for i in range(len(self.header))]
		is_number = [not isinstance(value, str) for value in self.rows[0]]
		lines = ["| " + " | ".join(cell.rjust(width) if right else cell.ljust(width)
			for cell, width, right in zip(row, widths, is_number)) + " |" for row in cells]
		rule = "|" + "|".join("-" * (width + 1) + (":" if right else "-")
			for width, right in zip(widths, is_number)) + "|"
		return "\n".join([f"{heading} {self.title}", "", self.text, "", lines[0], rule, *lines[1:], "",
			*(self.notes and [" ".join(self.notes), ""])])


def write(value):
	if isinstance(value, (str, int)):
		return str(value)
	places = 0 if value >= 1000 else 1 if value >= 10 else 2 if value >= 0.1 else 3
	spread = getattr(value, "spread", None)  # of a median
	return f"{value:.{places}f}" + (f" ±{spread:.0%}" if spread is not None else "")


def micro(seconds):
	return seconds * 1e6


def milli(seconds):
	return seconds * 1e3


def mebi(number):
	return number * (1 / (1 << 20))


def verdict(is_met):
	return "met" if is_met else "NOT met"
