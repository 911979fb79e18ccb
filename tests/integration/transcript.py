"""What the participants of a scene see, in a form that can be compared between two servers.

An entry is a text: an element with sorted attributes, its namespaces, its children and its text in their order. Where Prosody walks
through a Lua table, the order differs from one process to the next: such children, and presence that comes in a row, are sorted.
Ids that a server has generated become `{id}`: at the same places of two transcripts they have to map one to one. A stamp becomes
`{stamp}`, with its number of decimals.
"""
import difflib
import re
import sys

from xmpp import escape, quoteattr

sys.setrecursionlimit(100_000)  # elements may be nested deeply

UNORDERED = {"query", "set", "features", "always", "never", "services", "mechanisms", "x", "field", "blocklist",
	"command"}
GENERATED = {"id", "previd", "sessionid", "sid", "previous"}  # attributes that hold ids
POSITIONS = {"first", "last", "instance"}  # elements whose text is one
PATTERNS = [
	re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"),
	re.compile(r"(?<=\")[0-9a-f]{64}(?=\")"),  # keys of dialback
	re.compile(r"\bnode-[0-9a-f]{8}"),  # of the situations
	re.compile(r"Bearer [\w.-]+"),
	re.compile(r'(?<= password=")[\w+/]{27}='),
	re.compile(r'(?<= username=")\d{10}'),
	re.compile(r"(?<=preauth=)[\w-]+"),
	re.compile(r"(?<=/file_share/)[\w-]+"),
	re.compile(r'(?<=query seconds=")\d+'),
	re.compile(r"\biq[0-9a-f]{8}\b"),  # of xmpp.Client.ask()
]
PASSWORD = re.compile(r' (?:password|username)="[^"]*"')
STAMP = re.compile(r"\d{4}-?\d\d-?\d\dT\d\d:\d\d:\d\d(\.\d+)?Z?")
MARK = re.compile("\2(\\d+)\3")  # an id, while others are looked for
TOKEN = re.compile(r'(?<=")[^"<>\s]{4,}(?=")|(?<=>)[^"<>\s]{4,}(?=<)')


def written(element, parent=None):
	"""An element as text."""
	xmlns = "" if parent is not None and parent.xmlns == element.xmlns else f"{{{element.xmlns or ''}}}"
	attributes = "".join(f" {name}={quoteattr(value, {chr(34): '&quot;'})}" for name, value in sorted(element.names.items()))
	parts = [escape(part) if isinstance(part, str) else written(part, element) for part in element.parts]
	if (element.name in UNORDERED or element.find("x", "invite")) and not any(isinstance(part, str) for part in element.parts):
		parts.sort(key=lambda part: PASSWORD.sub("", part))
	return f"<{xmlns}{element.name}{attributes}>{joined(parts)}</>"


def joined(parts):
	return "".join(parts)


def candidates(element):
	"""Texts in an element that may be generated ids."""
	found = [value for name, value in element.attr.items() if name in GENERATED]
	if element.name in POSITIONS:
		found.append(element.text)
	for child in element.children:
		found += candidates(child)
	return found


class Transcript:
	"""What one server has shown: entries by participant. `sent` is all that its clients have sent."""

	def __init__(self, volatile):
		self.entries, self.sent, self.generated, self.skeletons = {}, [], set(), {}
		self.volatile = volatile  # (text, its replacement): ports and paths of this server

	def sends(self, text):
		self.sent.append(text)

	def was_sent(self, text):
		return any(text in each for each in self.sent)

	def sees(self, who, element):
		self.learns(candidates(element))
		self.notes(who, written(element))

	def learns(self, values):
		self.generated.update(value for value in values if value not in self.generated and not self.was_sent(value))

	def dumps(self, group, text):
		"""A line of mod_test_probe."""
		self.learns(re.findall(r'\bid="([^"]+)"', text))
		self.notes(f"module at {group}", text)

	def notes(self, who, text):
		self.entries.setdefault(who, []).append(text)

	def skeleton(self, text):
		"""The text without ids, stamps and ports; the ids."""
		if text not in self.skeletons:
			self.skeletons[text] = self._skeleton(text)
		return self.skeletons[text]

	def _skeleton(self, text):
		ids = []

		def replace(match):
			ids.append(match[0])
			return f"\2{len(ids) - 1}\3"

		def token(match):
			return replace(match) if match[0] in self.generated else match[0]
		for old, new in self.volatile:
			text = text.replace(old, new)
		text = STAMP.sub(lambda match: "{stamp" + (f".{len(match[1]) - 1}" if match[1] else "") + "}", text)
		text = TOKEN.sub(token, text)
		for pattern in PATTERNS:
			text = pattern.sub(replace, text)
		order = [ids[int(number)] for number in MARK.findall(text)]
		return MARK.sub("{id}", text), order

	def of(self, who):
		"""Skeletons and ids of a participant, runs of presence sorted."""
		found, run = [], []
		for text in [*self.entries.get(who, []), None]:
			if text is not None and text.startswith("<{jabber:client}presence"):
				run.append(self.skeleton(text))
				continue
			found += sorted(run, key=route)
			run = []
			if text is not None:
				found.append(self.skeleton(text))
		return found


def route(entry):
	"""Sender and recipient: only stanzas between the same two have an order."""
	return re.findall(r' (?:from|to)="([^"]*)"', entry[0].partition(">")[0])


class Ids:
	"""A one-to-one map between the ids of two servers."""

	def __init__(self):
		self.there, self.back = {}, {}

	def agree(self, ours, theirs):
		return all(self.there.setdefault(a, b) == b and self.back.setdefault(b, a) == a for a, b in zip(ours, theirs))


def differences(stock, ours):
	"""[(who, entries of stock, entries of ours)] where two transcripts differ."""
	ids, found = Ids(), []
	for who in sorted({*stock.entries, *ours.entries}):
		a, b = stock.of(who), ours.of(who)
		if a == b and all(ids.agree(x[1], y[1]) for x, y in zip(a, b)):
			continue
		matcher = difflib.SequenceMatcher(None, [text for text, _ in a], [text for text, _ in b], autojunk=False)
		for kind, i, i_end, j, j_end in matcher.get_opcodes():
			if kind != "equal":
				found.append((who, [text for text, _ in a[i:i_end]], [text for text, _ in b[j:j_end]]))
				continue
			for (text, mine), (_, theirs) in zip(a[i:i_end], b[j:j_end]):
				if not ids.agree(mine, theirs):
					found.append((who, [f"{text} with {mine}"], [f"{text} with {theirs}: other ids than before"]))
	return found
