"""Logging in with a large roster, and the memory of sessions that do nothing: ours and Prosody's own."""
import contextlib

from figures import by_turns
from load import ACTIVE, CARBONS, Group, run, settle
from message import ARCHIVE, Whole, compare
from samples import Samples
from server import COLLECTOR, OURS, STOCK
from tables import Table, milli

CONTACTS, FEWER_CONTACTS = 300, 50
SESSIONS, FEWER_SESSIONS = 500, 100
LOGIN_WANTED, IDLE_WANTED = 0.6, 0.8  # of stock

USER, CONTACT = "romeo", "contact"
ENTER = "<iq type='get' id='roster'><query xmlns='jabber:iq:roster'/></iq><presence/>"
LEAVE = "<presence type='unavailable'/>"


# --- logging in ---

def surrounded(stack, version, which, count):
	"""A server, and the connected contacts of a user."""
	server = stack.enter_context(Whole(version, which, ARCHIVE))
	server.measure("befriend", USER, CONTACT, count)
	with server.filling():
		contacts = [server.client(CONTACT, True) for _ in range(count)]
		for client in contacts:
			settle(client)
	return server, contacts


def log_in(server, contacts):
	"""Seconds of the server's CPU from connecting until the user has the roster and all presence, and each contact the user's."""
	server.idle()
	before = server.cpu()
	client = server.authenticated(USER).bind()
	client.enable()
	came = {"iq": 1, "item": len(contacts), "presence": len(contacts) + 1}  # and the user's own
	run(server, [Group(client, ENTER, {client: came, **{contact: {"presence": 1} for contact in contacts}})], 1, 1)
	spent = server.cpu() - before
	run(server, [Group(client, LEAVE, {contact: {"presence": 1} for contact in contacts})], 1, 1)
	client.transport.close()
	client.transport.wait_for_end()
	server.clients.remove(client)
	return spent


def login(version, rounds, count=CONTACTS, logins=4):
	"""Row: the number of contacts."""
	samples = Samples()
	with contextlib.ExitStack() as stack:
		running = {which: surrounded(stack, version, which, count) for which in (OURS, STOCK)}
		for server, contacts in running.values():
			log_in(server, contacts)  # warms up
		for number in samples.rounds(rounds, most=2):
			for which, (server, contacts) in by_turns(running, number):
				samples.add(count, which, sum(log_in(server, contacts) for _ in range(logins)) / logins)
	return samples


def login_table(results, targets):
	table = Table("Logging in",
		"The server's CPU from connecting until the client has the roster and the presence of all its contacts, and each contact that of "
		"the client; all contacts are connected, and all clients have stream management.",
		"Prosody", "contacts", "ours, ms", "stock, ms", "ours / stock")
	compare(table, targets, results, milli, "login with {} contacts", LOGIN_WANTED)
	return [table]


# --- memory ---

def connect(server):
	"""A client that is available, with stream management, carbons and client state indication."""
	client = server.client("idle", True)
	client.ask(CARBONS, "set")
	client.send(ACTIVE)
	settle(client)
	return client


def idle(version, rounds, count=SESSIONS):
	"""Bytes for a further session: of the process ("resident") and of Lua's heap ("heap")."""
	samples = Samples()
	for number in samples.rounds(rounds, most=2):
		for which, _ in by_turns(dict.fromkeys((OURS, STOCK)), number):
			with Whole(version, which, ARCHIVE, gc=COLLECTOR) as server:
				first = [connect(server) for _ in range(10)][0]  # what the first sessions need once
				resident, heap, _ = server.measure("memory", first.jid)
				for _ in range(count):
					connect(server)
				server.idle()
				resident_after, heap_after, _ = server.measure("memory", first.jid)
			samples.add("resident", which, (resident_after - resident) / count)
			samples.add("heap", which, (heap_after - heap) / count)
	return samples


def idle_table(results, targets):
	table = Table("Memory of an idle session",
		"Bytes for a further connected session with stream management, carbons and client state indication, without contacts: growth of "
		"the process, and of Lua's heap after a full collection. Both sides have Prosody's default garbage collector: a process keeps "
		"the space that garbage took.",
		"Prosody", "bytes", "ours", "stock", "ours / stock")
	for version, samples in results.items():
		for row in ("resident", "heap"):
			table.add(version, row, samples.median(row, OURS), samples.median(row, STOCK), samples.ratio(row, OURS, STOCK))
		targets.add(version, "memory of an idle session: ours / stock", samples.ratio("resident", OURS, STOCK), IDLE_WANTED)
	return [table]
