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
ROOMS = "messages: a room on each server, with history, subject, private messages, roles and an archive"
COUNT = r'<count[^>]*>"?\d+"?</>'
OFFLINE = (r'(?s)<\{jabber:client\}message ((?!\n<\{jabber:client\}).)*<\{urn:xmpp:delay\}delay from="prosody.test" stamp="[^"]*"></></>\n?', "")
NOTE = "archived once; all resources are told the same id"
NOTES = "notes to oneself|to the sender's own account"
STALLS = "expat 2.6 and later, which Prosody's parser uses as it is, holds back the end of some stanzas until more bytes arrive"
IDS = (r" with \[[^\n]*", "")  # of two transcripts that differ in nothing else
FORGED = (r'<(\{urn:xmpp:sid:0\})?stanza-id by="[^"]*" id="forged"( xmlns="urn:xmpp:sid:0")?></>', "")


def refused(condition):
	"""All that is sent to a client is one of these errors for each query."""
	return rf"\A([^\n]*iq [^\n]*{condition}[^\n]*\n?)+\Z", "refused"


def refusal(scene, condition, sentence):
	"""Queries that stock Prosody answers, and ours refuses."""
	return Row("mam", BOTH, f"archive queries: {scene}", ".", (ALL, "refused"), refused(condition), sentence)


ROWS = [
	Row("smacks", BOTH, REMOVAL, "delivery/failure", NOTHING, (' fate="alone"', ""), FATE),
	Row("smacks", BOTH, REMOVAL, "iq/(bare|self)", ("(?s).+", ""), NOTHING,
		"| presence, errors, iq results, groupchat messages | dropped |"),
	Row("smacks", BOTH, ".", ".", (r"(<(\{urn:xmpp:sm:[23]\})?sm[^<>]*>)<optional></>", r"\1"), NOTHING, "offered without `<optional/>`, which this version no longer has"),
	Row("storage_native", BOTH, "archive queries: unknown ids", "^(?!module)", (ALL, "unknown"), (ERRORS + "+\\Z", "unknown"), UNKNOWN_ID),
	Row("storage_native", BOTH, "archive queries: unknown ids", "^module", (ALL, "unknown"), (ERRORS_AND_TOTALS, "unknown"), UNKNOWN_ID),
	Row("storage_native", NEW, "archive: a filter by JID, and a page after an unknown id", ".",
		(r'type="result".*set[^<>]*></></></>', "unknown"), (r'type="error".*</></></>', "unknown"), UNKNOWN_ID),
	Row("storage_native", NEW, ".", ".", NOTHING, (COUNT, ""),
		"Totals are exact, and no messages are read for them"),
	refusal("sizes that are no numbers", "bad-request", "| `max` that is not a number, negative or a fraction | 20, or any result | `bad-request` |"),
	refusal("a page by index", "feature-not-implemented", "| `<index/>` | ignored | `feature-not-implemented`, as XEP-0059 requires |"),
	refusal("malformed forms", "bad-request", "| a field that occurs twice, has no name, or has two values; a form that is cancelled; "
		"an empty list of ids | ignored, or the first one counts | `bad-request` |"),
	refusal("unknown fields", "feature-not-implemented", "`feature-not-implemented`, as XEP-0313 requires"),
	refusal("days that do not exist", "bad-request", "dates that do not exist are `bad-request`"),
	refusal("preferences that are not valid", "(bad-request|jid-malformed)", "`bad-request`; invalid JIDs are `jid-malformed`"),
	Row("mam", BOTH, "archive queries: only the total", ".", (' complete="true"', ""), NOTHING,
		"| `max` 0 | the answer is `complete` | only if nothing matches |"),
	Row("mam", BOTH, "archive queries: the form, and its field for messages of rooms", ".", NOTHING,
		(r'<field type="boolean" var="include-groupchat"></>', ""), "known, and announced as `urn:xmpp:mam:2#groupchat-field`"),
	Row("mam", BOTH, "discovery: account, server, and its services", ".", NOTHING, (r'<feature var="urn:xmpp:mam:2#groupchat-field"></>', ""),
		"known, and announced as `urn:xmpp:mam:2#groupchat-field`"),
	Row("mam", BOTH, "archive queries: preferences for a resource", "^bob", (ALL, "rules"), (ALL, "rules"), "decide before the rule for the bare JID"),
	Row("mam", BOTH, ".", ".", FORGED, NOTHING, "| removed, but stored and delivered if the message is archived | removed before anything else |"),
	Row("muc_mam", BOTH, ROOMS, "muc-private-message", (ALL, "stripped"), (r'(?s)\A(?!.*"forged").*\Z', "stripped"),
		"removed from private messages and invitations, too"),
	Row("mam", ("0.12",), "archive queries: filters by JID, time and id", ".", (COUNT, ""), NOTHING, "A page has a `<count/>` only if it has all of them"),
	Row("mam", BOTH, "(archive|generated): .*(offline|stanzas of clients)", ".", NOTHING, OFFLINE, "Offline messages that are not in the archive are delivered to it"),
	Row("mam", BOTH, "(archive|generated): .*(offline|stanzas of clients)", ".", OFFLINE, NOTHING, "Those that a page contained are removed from offline storage"),
	Row("mam", ("0.12",), "archive: notes to oneself", "desk", ("<count>6<", "<count>3<"), NOTHING, NOTE),
	Row("mam", BOTH, "archive: notes to oneself", "desk", (r'<[^\n]*<\{urn:xmpp:mam:2\}result id[^\n]*\n?', ""), NOTHING, NOTE),
	Row("mam", BOTH, NOTES, "archive-(should-store|message-added)", (r"(?s)\A(?!.* with \[).*\Z", ""), NOTHING, NOTE),
	Row("mam", BOTH, NOTES, ".", IDS, IDS, NOTE),
	# Expressions: an older expat does not stall
	Row("stream_native", BOTH, "^streams: a stanza that is cut at any byte", "bob", (r"cut after \d+: [012]\n?|\Z", ""),
		(r"cut after \d+: 1\n?|\Z", ""), STALLS),
	Row("stream_native", BOTH, "^streams: the limits before login", "stranger", NOTHING,
		(r"\A[^\n]*not-well-formed></></>\Z", ""), STALLS),
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
