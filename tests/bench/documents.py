"""The section about the store at scale in docs/BENCHMARKS.md, made of the tables of three figures."""
from server import bed
from tables import verdict, write

DOCUMENT = bed.PROJECT / "docs/BENCHMARKS.md"
HEADING = "## The store at scale"
BEFORE = "## Certificates and other servers"
FIGURES = ("core", "scale", "move")

TEXT = """\
{date}, {cpu}, {kernel}. `{command}` has measured this and written this section.

*One archive* has all messages. *Many users* are those of a server: a tenth as many as messages, 100 000 at most; some have many
messages, and each writes most messages to a few contacts. In both, one more archive has messages out of order: a clock was wrong
for a while. PostgreSQL is Debian's, with a cluster of its own; its driver is Prosody's."""


def refusal(results):
	"""Why the results must not be quoted, or None. results: figure -> version -> Samples."""
	missing = [name for name in FIGURES if name not in results]
	if missing:
		return f"not measured: {', '.join(missing)}"
	loud = [name for name in FIGURES for samples in results[name].values() if not samples.is_quiet]
	return f"the machine was not quiet: {', '.join(loud)}" if loud else None


def section(machine, tables, targets, command):
	"""tables: those of the figures; of many sizes only the smallest and the largest are shown."""
	missed = [f"- {figure}: {write(measured)}, target {target}" for _, figure, measured, target, met in targets.rows if met != verdict(True)]
	goals = ["Goals that are not met:", "", *missed] if missed else ["All goals are met."]
	shown = [shortened(table).markdown("###") for table in tables]
	return "\n".join([HEADING, "", TEXT.format(command=command, **machine), "", *shown, *goals, ""])


def shortened(table):
	if "messages" not in table.header:
		return table
	at = table.header.index("messages")
	sizes = [row[at] for row in table.rows]
	return table.only("messages", {min(sizes), max(sizes)})


def put(document, text):
	"""The document with the section in the place of the one before, or before the section about certificates."""
	lines = document.splitlines(keepends=True)
	heads = [number for number, line in enumerate(lines) if line.startswith("## ")] + [len(lines)]
	for begin, end in zip(heads, heads[1:]):
		if lines[begin].rstrip() == HEADING:
			return "".join([*lines[:begin], text, "\n" if end < len(lines) else "", *lines[end:]])
	before = next((number for number in heads[:-1] if lines[number].rstrip() == BEFORE), len(lines))
	return "".join([*lines[:before], text, "\n", *lines[before:]])
