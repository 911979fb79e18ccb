"""Sections of docs/BENCHMARKS.md that are made of the tables of figures."""
import json

from server import bed
from tables import verdict, write

DOCUMENT = bed.PROJECT / "docs/BENCHMARKS.md"
ELSEWHERE = bed.BUILD / "bench/debian13.json"  # tables of the same figures, see tests/bench/debian13


class Section:
	"""heading: its line; before: the heading that it is put before at first; figures: those it is made of; text: its beginning."""

	def __init__(self, heading, before, figures, text):
		self.heading, self.before, self.figures, self.text = heading, before, figures, text

	def refusal(self, results):
		"""Why the results must not be quoted, or None. results: figure -> version -> Samples."""
		missing = [name for name in self.figures if name not in results]
		if missing:
			return f"not measured: {', '.join(missing)}"
		loud = [name for name in self.figures for samples in results[name].values() if not samples.is_quiet]
		return f"the machine was not quiet: {', '.join(loud)}" if loud else None

	def write(self, machine, tables, targets, command):
		"""The section's text, of the figures' tables and of the table of their targets."""
		parts = [shortened(table).markdown("###") for table in tables]
		return "\n".join([self.heading, "", self.text.format(command=command, **machine), "", *parts, *self.goals(targets), ""])

	def goals(self, targets):
		raise NotImplementedError

	def put(self, document, text):
		"""The document with the section in the place of the one before, or before another section."""
		lines = document.splitlines(keepends=True)
		heads = [number for number, line in enumerate(lines) if line.startswith("## ")] + [len(lines)]
		for begin, end in zip(heads, heads[1:]):
			if lines[begin].rstrip() == self.heading:
				return "".join([*lines[:begin], text, "\n" if end < len(lines) else "", *lines[end:]])
		before = next((number for number in heads[:-1] if lines[number].rstrip() == self.before), len(lines))
		return "".join([*lines[:before], text, "\n", *lines[before:]])


class Missed(Section):
	"""Ends with the goals that are not met."""

	def goals(self, targets):
		missed = [f"- {figure}: {write(measured)}, target {target}" for _, figure, measured, target, met in targets.rows
			if met != verdict(True)]
		return ["Goals that are not met:", "", *missed] if missed else ["All goals are met."]


class Compared(Section):
	"""Ends with all goals beside what was measured."""

	def goals(self, targets):
		return [targets.markdown("###").rstrip()]


STORE = Missed("## The store at scale", "## Certificates and other servers", ("core", "scale", "move"), """\
{date}, {cpu}, {kernel}. `{command}` has measured this and written this section.

*One archive* has all messages. *Many users* are those of a server: a tenth as many as messages, 100 000 at most; some have many
messages, and each writes most messages to a few contacts. In both, one more archive has messages out of order: a clock was wrong
for a while. PostgreSQL is Debian's, with a cluster of its own; its driver is Prosody's.""")

MESSAGES = Compared("## The path of a message", "## Storage", ("message", "page", "room", "login", "idle"), """\
{date}, {cpu}, {kernel}. `{command}` has measured this and written this section.

Each side is as an operator gets it, with its default garbage collector. Accounts cost nothing on any of the servers: every password
is right, and every user exists. ejabberd is Debian's; its schedulers sleep when they have nothing to do, on one core like Prosody.""")

SECTIONS = {"store": STORE, "messages": MESSAGES}


def shortened(table):
	"""Of many sizes only the smallest and the largest are shown."""
	if "messages" not in table.header:
		return table
	at = table.header.index("messages")
	sizes = [row[at] for row in table.rows]
	return table.only("messages", {min(sizes), max(sizes)})


# --- another system ---

def as_json(machine, tables, is_quiet):
	"""Tables to be shown beside those of another system."""
	return json.dumps({"machine": machine, "quiet": is_quiet,
		"tables": {table.title: [[write(cell) for cell in row] for row in table.rows] for table in tables}}, indent=1)


def add_elsewhere(tables, text, name):
	"""Adds the rows of another system's tables, as_json; `name` is written beside the versions of Prosody."""
	other = json.loads(text)
	if not other["quiet"]:
		raise ValueError("they were measured on a busy machine")
	for table in tables:
		for version, *cells in other["tables"].get(table.title, []):
			table.add(f"{version}, {name}", *cells)
