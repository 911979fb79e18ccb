"""A page of an archive that a client asks for: ours, and Prosody's own with SQLite."""
import contextlib

from figures import by_turns
from load import Group, run, settle
from message import ARCHIVE, Whole
from samples import Samples
from server import OURS
from storage import SLICE, SQL
from tables import Table, milli

OWNER = "juliet"  # of the archive that mod_bench_storage fills
MESSAGES, FEWER = 10_000, 2_000
PAGE = 50
MAM, RSM = "urn:xmpp:mam:2", "http://jabber.org/protocol/rsm"

QUERY = f"<query xmlns='{MAM}'><set xmlns='{RSM}'><max>{PAGE}</max><before/></set></query>"
ANSWER = {"message": 2 * PAGE, "result": PAGE, "forwarded": PAGE, "body": PAGE, "iq": 1, "fin": 1, "count": 1}

# row -> (milliseconds that ours may take, or None; share of SQLite's, or None)
WANTED = {"time": (0.6, None), "CPU": (0.4, 0.05)}


def filled(stack, version, which, size):
	"""The owner of a filled archive, with stream management."""
	server = stack.enter_context(Whole(version, which, [*ARCHIVE, "bench_storage"], mam_include_total=True))
	for first in range(1, size + 1, SLICE):
		last = min(first + SLICE - 1, size)
		server.lua(f"return {server._modules()}.bench_storage.module.fill({first}, {last}, {size})")
	client = server.authenticated(OWNER).bind()
	client.enable()
	return server, client


def read_page(client):
	"""The messages of the last page, and the number of all."""
	answer = client.ask(QUERY, "set")
	assert answer["type"] == "result", answer
	results = [element.find("result", "forwarded", "message") for element in client.unread if element.name == "message"]
	settle(client)
	return [(message["id"], message["from"], message.body) for message in results], int(answer.find("fin", "set", "count").text)


def check_pages(running, size):
	"""All servers answer with the same messages."""
	pages = {which: read_page(client) for which, (_, client) in running.items()}
	first, count = pages[OURS]
	if any(page != pages[OURS] for page in pages.values()) or len(first) != PAGE or count != size:
		raise RuntimeError(f"not the same page of {PAGE} from {size} messages: {pages}")


def page(version, rounds, size=MESSAGES, count=40):
	"""Seconds for a page of 50 with the count of all messages, until the client has the last byte. Rows: "time", "CPU"."""
	samples = Samples()
	with contextlib.ExitStack() as stack:
		running = {which: filled(stack, version, which, size) for which in (OURS, SQL)}
		check_pages(running, size)
		groups = {which: Group(client, f"<iq type='set' id='page'>{QUERY}</iq>", {client: ANSWER}) for which, (_, client) in running.items()}
		for which, (server, _) in running.items():
			run(server, [groups[which]], 1, count)  # warms up
		for number in samples.rounds(rounds, most=2):
			for which, (server, _) in by_turns(running, number):
				spent = run(server, [groups[which]], 1, count)
				samples.add("time", which, spent.elapsed)
				samples.add("CPU", which, spent.cpu)
	return samples


def page_table(results, targets):
	table = Table("A page of the archive",
		f"The last {PAGE} messages of an archive, with the number of all, for a client with stream management: from the query until "
		"the client has the answer. Ours: all our modules, storage native, stored compressed. SQLite: Prosody's own.",
		"Prosody", "", "ours, ms", "SQLite, ms", "ours / SQLite")
	for version, samples in results.items():
		for row, (most, most_share) in WANTED.items():
			ours, share = milli(samples.median(row, OURS)), samples.ratio(row, OURS, SQL)
			table.add(version, row, ours, milli(samples.median(row, SQL)), share)
			targets.add(version, f"page of {PAGE} with count: {row}, ms", ours, most)
			if most_share:
				targets.add(version, f"page of {PAGE} with count: {row}, ours / SQLite", share, most_share)
	return [table]
