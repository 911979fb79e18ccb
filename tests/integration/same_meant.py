"""Differences between stock Prosody and our modules that are meant. Every other one fails a test.

A row: the module of ours that causes it, and the versions; the scene (its name, or a regular expression of several) and the
participants (a regular expression); for the entries of stock Prosody and for those of ours a regular expression and its replacement,
which make both equal; and the sentence of the module's README that tells it. A row whose scene is a name has to be needed
there.
"""
import collections
import re

import bed

Row = collections.namedtuple("Row", "module versions scene who stock ours sentence")

BOTH, NEW = ("0.12", "13.0"), ("13.0",)
REMOVAL = "account: removal ends the stream and both subscriptions, and leaves a tombstone"
FATE = '`fate` says who else of the account has the message: `"alone"` (nobody), `"last"` (nobody any more), `"held"`'
UNKNOWN_ID = "A page after or before an id that the archive does not have is `item-not-found` (XEP-0059)"
ALL, ERRORS = r"(?s)\A.*\Z", r"\A([^\n]*iq [^\n]*item-not-found[^\n]*\n?)"
ERRORS_AND_TOTALS = r"\A([^\n]*iq [^\n]*(item-not-found|<fin )[^\n]*\n?)*\Z"
NOTHING = None

ROWS = [
	Row("smacks", BOTH, REMOVAL, "delivery/failure", NOTHING, (' fate="alone"', ""), FATE),
	Row("smacks", BOTH, REMOVAL, "iq/(bare|self)", ("(?s).+", ""), NOTHING,
		"| presence, errors, iq results, groupchat messages | dropped |"),
	Row("storage_native", BOTH, "archive queries: unknown ids", "^(?!module)", (ALL, "unknown"), (ERRORS + "+\\Z", "unknown"), UNKNOWN_ID),
	Row("storage_native", BOTH, "archive queries: unknown ids", "^module", (ALL, "unknown"), (ERRORS_AND_TOTALS, "unknown"), UNKNOWN_ID),
	Row("storage_native", NEW, "archive: a filter by JID, and a page after an unknown id", ".",
		(r'type="result".*set[^<>]*></></></>', "unknown"), (r'type="error".*</></></>', "unknown"), UNKNOWN_ID),
	Row("storage_native", NEW, ".", ".", NOTHING, (r'<count[^>]*>"?\d+"?</>', ""),
		"Totals are exact, and no messages are read for them"),
]


class Meant:
	"""The rows that apply to a scene."""

	def __init__(self, modules, version, scene, watched):
		self.rows = [row for row in ROWS if row.module in modules and version in row.versions
			and (row.scene == scene or re.search(row.scene, scene))]
		assert not any(map(untold, self.rows)), f"no README says: {[row.sentence for row in self.rows if untold(row)]}"
		self.needed = {row for row in self.rows if row.scene == scene and (watched or row.who == ".")}

	def covers(self, who, stock, ours):
		"""Whether the rows explain this difference."""
		stock, ours = "\n".join(stock), "\n".join(ours)
		for row in self.rows:
			if re.search(row.who, who):
				changed = replaced(row.stock, stock), replaced(row.ours, ours)
				if None not in changed:
					self.needed.discard(row)
					stock, ours = changed
		return stock == ours


def replaced(change, text):
	"""The text after a change, None if it does not apply."""
	if not change:
		return text
	return re.sub(*change, text) if re.search(change[0], text) else None


def untold(row):
	"""Whether the README of its module lacks the sentence of a row."""
	readme = (bed.PROJECT / f"lua/mod_{row.module}/README.md").read_text()
	return row.sentence not in " ".join(readme.split())
