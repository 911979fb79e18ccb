"""A message to a room with many occupants, archived: ours and Prosody's own."""
import contextlib

from figures import by_turns
from load import ARCHIVED, Group, run, settle
from message import Whole, compare
from samples import Samples
from server import OURS, STOCK
from tables import Table, micro

HOST = "rooms.prosody.test"
ROOM = f"orchard@{HOST}"
OCCUPANTS, FEWER = 1000, 100
WANTED = 0.25  # of stock

MUC, OWNER, FORM = "http://jabber.org/protocol/muc", "http://jabber.org/protocol/muc#owner", "jabber:x:data"

# Only the owner's presence is broadcast: else joining would take longer than what is measured
SETTINGS = {"FORM_TYPE": "http://jabber.org/protocol/muc#roomconfig", "muc#roomconfig_presencebroadcast": "moderator"}

MESSAGE = (f"<message to='{ROOM}' type='groupchat' id='8c1f0a52-4d0e'>"
	"<body>Don&apos;t wait for me at the station, the train is late &amp; I walk</body>"
	"<origin-id xmlns='urn:xmpp:sid:0' id='8c1f0a52-4d0e'/><markable xmlns='urn:xmpp:chat-markers:0'/></message>")


def join(client, nickname):
	client.send(f"<presence to='{ROOM}/{nickname}'><x xmlns='{MUC}'/></presence>")
	while (stanza := client.stanza())["from"] != f"{ROOM}/{nickname}":
		assert stanza["type"] != "error", stanza


def configure(client):
	fields = "".join(f"<field var='{name}'><value>{value}</value></field>" for name, value in SETTINGS.items())
	answer = client.ask(f"<query xmlns='{OWNER}'><x xmlns='{FORM}' type='submit'>{fields}</x></query>", "set", ROOM)
	assert answer["type"] == "result", answer


def occupied(stack, version, which, count):
	"""A server with occupants of the room, and the group for a message of the first one."""
	components = {HOST: {"component_module": "muc", "modules_enabled": ["muc_mam"]}}
	server = stack.enter_context(Whole(version, which, [], components=components))
	occupants = []
	with server.filling():
		for number in range(count):
			client = server.login("occupant")
			client.enable()
			join(client, f"occupant {number}")
			if number == 0:
				configure(client)
			occupants.append(client)
		for client in occupants:
			settle(client)
	return server, Group(occupants[0], MESSAGE, {client: ARCHIVED for client in occupants})


def room(version, rounds, count=OCCUPANTS, messages=5):
	"""Seconds of the server's CPU for a copy that an occupant gets. Row: the number of occupants."""
	samples = Samples()
	sent = dict.fromkeys((OURS, STOCK), 0)
	with contextlib.ExitStack() as stack:
		running = {which: occupied(stack, version, which, count) for which in sent}

		def speak(which):
			server, group = running[which]
			sent[which] += messages
			return run(server, [group], 1, messages).cpu / count

		for which in running:
			speak(which)  # warms up
		for number in samples.rounds(rounds, most=2):
			for which, _ in by_turns(running, number):
				samples.add(count, which, speak(which))
		for which, (server, _) in running.items():
			archived, = server.measure("archived", ROOM.partition("@")[0], HOST, "muc_log")
			if archived != sent[which]:
				raise RuntimeError(f"the room's archive has {archived:.0f} messages, and not {sent[which]}")
	return samples


def room_table(results, targets):
	table = Table("A message to a room",
		"The server's CPU for each copy of a message that an occupant gets, archived; all occupants have stream management, and each "
		"copy its own `<r/>` and `<a/>`. Ours: all our modules, storage native. Stock: Prosody's own, storage internal.",
		"Prosody", "occupants", "ours, us", "stock, us", "ours / stock")
	compare(table, targets, results, micro, "copy to each of {} occupants", WANTED)
	return [table]
