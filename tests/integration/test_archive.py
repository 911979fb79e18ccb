"""Message archives (XEP-0313) over the storage driver: pages, filters, restarts, expiry, rooms, real clients."""
import os
import subprocess
import time

import bed
import programs
from mam import MAM, STANZA_ID, Entry, back, fill, forth, metadata, query, run_task
from steps import stamp
from suite import behaviour

PAGE = 5
SIZES = (0, 1, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE - 1, 2 * PAGE, 2 * PAGE + 1)
ROOMS = "rooms.prosody.test"
MUC = "http://jabber.org/protocol/muc"
PEER = "peer@prosody.test"
UNKNOWN = "no-such-id"
NATIVE = {"modules": ["mam"], "options": {"storage": "native"}}
DAY = 86400
NOW = int(time.time())


def entries(count, contact=PEER, first=0):
	"""A message each minute, the last one at `NOW`."""
	return [Entry(f"{n} \u00e4 <&> \U0001f600", NOW - 60 * (first + count - 1 - n), contact)
		for n in range(first, first + count)]


def owner_of(server, messages):
	"""A client whose archive has exactly these messages."""
	client = server.login("alice")
	fill(server, client.user, messages)
	return client


def bodies(messages):
	return [m.body for m in messages]


def chunks(messages):
	"""The pages of an archive; an empty archive has one empty page."""
	return [messages[n:n + PAGE] for n in range(0, len(messages), PAGE)] or [[]]


def check(page, messages, count, complete, backwards=False):
	"""A page has exactly these messages, in order, and its <fin/> agrees."""
	told = messages[::-1] if backwards else messages
	assert page.bodies == bodies(told) and page.ids == [m.id for m in told], (page, told)
	assert page.stamps == [stamp(m.when) for m in told], (page.stamps, told)
	ends = (messages[0].id, messages[-1].id) if messages else (None, None)
	assert (page.first, page.last) == ends, (page, messages)
	assert (page.count, page.complete) == (count, complete), (page, count, complete)


def check_all(pages, expected, count, **more):
	assert len(pages) == len(expected), pages
	for number, (page, messages) in enumerate(zip(pages, expected), 1):
		check(page, messages, count, number == len(pages), **more)


def last_page_first(messages):
	"""Pages counted from the newest message on: the oldest page may be short."""
	return [chunk[::-1] for chunk in chunks(messages[::-1])]


# --- pages ---

for size in SIZES:
	@behaviour(f"archive: {size} messages in pages of {PAGE}, forth and back, each way chronological or flipped", **NATIVE)
	def pages_in_both_directions_are_complete(server, size=size):
		messages = entries(size)
		alice = owner_of(server, messages)
		check_all(forth(alice, PAGE), chunks(messages), size)
		check_all(forth(alice, PAGE, flip=True), chunks(messages), size, backwards=True)
		check_all(back(alice, PAGE), last_page_first(messages), size)
		check_all(back(alice, PAGE, flip=True), last_page_first(messages), size, backwards=True)


@behaviour("archive: a page after or before any message is right, complete and counted", **NATIVE)
def pages_around_any_message_are_complete(server):
	messages = entries(2 * PAGE + 1)
	alice = owner_of(server, messages)
	for n, message in enumerate(messages):
		later, earlier = messages[n + 1:], messages[:n]
		check(query(alice, max=PAGE, after=message.id), later[:PAGE], len(messages), len(later) <= PAGE)
		check(query(alice, max=PAGE, before=message.id), earlier[-PAGE:], len(messages), len(earlier) <= PAGE)


@behaviour("archive: max 0 returns the count without messages", **NATIVE)
def max_zero_only_counts(server):
	for size in SIZES:
		alice = owner_of(server, entries(size))
		page = query(alice, max=0)
		assert (page.bodies, page.count, page.first, page.last) == ([], size, None, None), page


@behaviour("archive: without max a page has the default size, and a large max is cut to the server's limit",
	modules=["mam"], options={"storage": "native", "max_archive_query_results": 2 * PAGE})
def pages_are_bounded(server):
	messages = entries(2 * PAGE + 1)
	alice = owner_of(server, messages)
	for page in (query(alice), query(alice, max=1000)):
		check(page, messages[:-1], len(messages), False)


@behaviour("archive: before-id and after-id bound a window, which is paged through both ways", **NATIVE)
def before_id_and_after_id_bound_a_window(server):
	messages = entries(2 * PAGE + 1)
	alice, count = owner_of(server, messages), len(messages)
	for oldest in range(count):
		for newest in range(oldest + 1, count):
			window = messages[oldest + 1:newest]
			fields = {"after-id": messages[oldest].id, "before-id": messages[newest].id}
			check(query(alice, max=PAGE, fields=fields), window[:PAGE], count, len(window) <= PAGE)
	after = {"after-id": messages[1].id}
	check_all(back(alice, PAGE, fields=after), last_page_first(messages[2:]), count)
	before = {"before-id": messages[-2].id}
	check_all(forth(alice, PAGE, fields=before), chunks(messages[:-2]), count)


@behaviour("archive: a window whose end precedes its start is empty and complete", **NATIVE)
def a_reversed_window_is_empty(server):
	messages = entries(PAGE)
	alice = owner_of(server, messages)
	for oldest, newest in ((3, 1), (2, 2), (1, 2)):
		fields = {"after-id": messages[oldest].id, "before-id": messages[newest].id}
		check(query(alice, max=PAGE, fields=fields), [], PAGE, True)


@behaviour("archive: ids fetch exactly these messages, in the order of the archive", **NATIVE)
def ids_fetch_these_messages_in_order(server):
	messages = entries(2 * PAGE + 1)
	alice = owner_of(server, messages)
	for chosen in ([0], [10], [3, 4], [0, 5, 10], list(range(11))):
		page = query(alice, max=50, fields={"ids": [messages[n].id for n in reversed(chosen)]})
		check(page, [messages[n] for n in chosen], len(chosen), True)


# --- filters ---

def conversation(count):
	"""Messages of three contacts, whose turns have no common period with a page."""
	contacts = ["bob@prosody.test", "carol@other.example", "bob@other.example"]
	messages = entries(count)
	for n, message in enumerate(messages):
		message.contact = contacts[(n * n + n // 3) % 3]
	return contacts, messages


@behaviour("archive: with selects the messages of a contact, counts them, and is paged through both ways", **NATIVE)
def with_selects_a_contact(server):
	contacts, messages = conversation(7 * PAGE)
	alice = owner_of(server, messages)
	for contact in (*contacts, "nobody@prosody.test"):
		theirs = [m for m in messages if m.contact == contact]
		fields = {"with": contact}
		check_all(forth(alice, PAGE, fields=fields), chunks(theirs), len(theirs))
		check_all(back(alice, PAGE, fields=fields), last_page_first(theirs), len(theirs))


@behaviour("archive: with a full JID selects the messages of that resource, and a domain does not select its users", **NATIVE)
def with_takes_a_full_jid(server):
	contacts, messages = conversation(2 * PAGE)
	for n, message in enumerate(messages):
		message.contact += ("/phone", "/desk", "")[n % 3]
	alice = owner_of(server, messages)
	for contact in sorted({m.contact for m in messages}):
		theirs = [m for m in messages if m.contact == contact or m.contact.startswith(contact + "/")]
		page = query(alice, max=2 * PAGE, fields={"with": contact})
		check(page, theirs, len(theirs), True)
	check(query(alice, max=PAGE, fields={"with": contacts[0] + "/unknown"}), [], 0, True)
	check(query(alice, max=PAGE, fields={"with": server.host}), [], 0, True)


@behaviour("archive: start and end are inclusive, alone and together, and counted", **NATIVE)
def start_and_end_are_inclusive(server):
	messages = entries(2 * PAGE)
	alice = owner_of(server, messages)
	for low in (0, 1, 4, 9):
		for high in (0, 3, 4, 8, 9):
			start, end = messages[low].when, messages[high].when
			inside = [m for m in messages if start <= m.when <= end]
			fields = {"start": stamp(start), "end": stamp(end)}
			check_all(forth(alice, PAGE, fields=fields), chunks(inside), len(inside))
			check_all(back(alice, PAGE, fields=fields), last_page_first(inside), len(inside))
	check(query(alice, max=50, fields={"start": stamp(messages[4].when + 1)}), messages[5:], PAGE, True)
	check(query(alice, max=50, fields={"end": stamp(messages[4].when - 1)}), messages[:4], 4, True)


@behaviour("archive: start, end, with, before-id and after-id can be combined", **NATIVE)
def all_filters_combine(server):
	contacts, messages = conversation(6 * PAGE)
	alice = owner_of(server, messages)
	for low, high, after, before in ((2, 27, 5, 25), (5, 20, 2, 27), (3, 22, 10, 29), (0, 29, 14, 15)):
		fields = {"with": contacts[0], "start": stamp(messages[low].when), "end": stamp(messages[high].when),
			"after-id": messages[after].id, "before-id": messages[before].id}
		counted = [m for m in messages[low:high + 1] if m.contact == contacts[0]]
		inside = [m for m in counted if after < messages.index(m) < before]
		page = query(alice, max=PAGE, fields=fields)
		check(page, inside[:PAGE], len(counted), len(inside) <= PAGE)


def fractions(count):
	"""Messages within seconds of one another, at times that stamps show only in part."""
	messages = entries(count)
	for n, message in enumerate(messages):
		message.when = NOW - 60 + n * 0.2718281828
	return messages


def check_stamps(client, count):
	"""A query between two stamps returns both messages, and all between."""
	everything = query(client, max=count)
	assert len(everything.ids) == count, everything
	for low, high in ((0, 0), (0, count - 1), (3, 3), (2, 7), (count - 1, count - 1)):
		start, end = everything.stamps[low], everything.stamps[high]
		inside = [ident for ident, told in zip(everything.ids, everything.stamps)
			if start.rstrip("Z") <= told.rstrip("Z") <= end.rstrip("Z")]
		page = query(client, max=count, fields={"start": start, "end": end})
		assert (page.ids, page.count) == (inside, len(inside)), (start, end, page, everything)
		assert {everything.ids[low], everything.ids[high]} <= set(page.ids), page
	(first, start), (last, end) = metadata(client)
	assert (first, start, last, end) == (everything.ids[0], everything.stamps[0], everything.ids[-1], everything.stamps[-1])


@behaviour("archive: the stamp of a result selects its message, as start and as end", **NATIVE)
def a_returned_stamp_selects_its_message(server):
	check_stamps(owner_of(server, fractions(2 * PAGE)), 2 * PAGE)


if len(bed.VERSIONS) > 1:
	@behaviour("archive: one version of Prosody reads the messages of the other one, with their times", **NATIVE)
	def the_other_version_reads_the_archive(server):
		messages = fractions(2 * PAGE)
		alice = owner_of(server, messages)
		for version in (*(v for v in bed.VERSIONS if v != server.version), server.version):
			server.finish()
			server.version = version
			server.start()
			alice = server.again(alice)
			page = query(alice, max=50)
			assert (page.ids, page.bodies) == ([m.id for m in messages], bodies(messages)), page
			assert [told[:len("2020-01-01T00:00:00")] for told in page.stamps] == [stamp(m.when)[:-1] for m in messages], page
			check_stamps(alice, len(messages))
			messages += fill(server, alice.user, [Entry(f"under {version}", NOW + 0.5, PEER)])
			check_stamps(alice, len(messages))


@behaviour("archive: messages stay in the order of appending, also when clocks go back", **NATIVE)
def order_is_that_of_appending(server):
	messages = entries(2 * PAGE + 1)
	for n, message in enumerate(messages):
		message.when = NOW - (n * 7 % 11) * DAY
	alice = owner_of(server, messages)
	check_all(forth(alice, PAGE), chunks(messages), len(messages))
	check_all(back(alice, PAGE), last_page_first(messages), len(messages))
	recent = [m for m in messages if m.when >= NOW - 4 * DAY]
	fields = {"start": stamp(NOW - 4 * DAY)}
	check_all(forth(alice, PAGE, fields=fields), chunks(recent), len(recent))


@behaviour("archive: metadata of an empty archive, of one message, and of many", **NATIVE)
def metadata_has_first_and_last_message(server):
	for size in (0, 1, 2, 2 * PAGE + 1):
		messages = entries(size)
		told = metadata(owner_of(server, messages))
		ends = [(m.id, stamp(m.when)) for m in messages[:1] + messages[-1:]]
		assert told == (tuple(ends) or (None, None)), (told, ends)


# --- ids ---

@behaviour("archive: an unknown id is item-not-found in each field, also in an empty archive", **NATIVE)
def unknown_ids_are_item_not_found(server):
	stranger = fill(server, server.login("stranger").user, entries(1))[0].id
	for alice in (owner_of(server, entries(PAGE)), owner_of(server, [])):
		for ident in (UNKNOWN, stranger):
			asked = [query(alice, after=ident), query(alice, before=ident),
				*(query(alice, fields={field: ident}) for field in ("after-id", "before-id", "ids"))]
			assert [page.error for page in asked] == ["item-not-found"] * 5, (ident, asked)


@behaviour("archive: ids are unique, of one format, and do not reveal the order of messages", **NATIVE)
def ids_are_unique_and_random(server):
	ids = []
	for _ in range(3):
		alice = owner_of(server, entries(4 * PAGE))
		ids.append([ident for page in forth(alice, 4 * PAGE) for ident in page.ids])
	assert len(set(sum(ids, []))) == 12 * PAGE
	assert len({len(ident) for ident in sum(ids, [])}) == 1, ids
	for archive in ids:
		assert archive not in (sorted(archive), sorted(archive, reverse=True)), archive
		assert os.path.commonprefix(archive) == "", archive


@behaviour("archive: messages are archived for both sides, and a client receives the id of the archive",
	**NATIVE)
def both_sides_archive_under_the_told_id(server):
	alice, bob = server.login("alice"), server.login("bob")
	told = []
	for n in range(PAGE):
		bob.chat(alice, str(n))
		told.append(alice.message().child("stanza-id", STANZA_ID)["id"])
	page = query(alice, fields={"with": bob.bare_jid})
	assert (page.ids, page.bodies) == (told, list("01234")), (page, told)
	page = query(bob, fields={"with": alice.bare_jid})
	assert page.bodies == list("01234") and not set(page.ids) & set(told), page


@behaviour("archive: preferences are kept, and obeyed", **NATIVE)
def preferences_are_obeyed(server):
	alice, bob, carol = (server.login(name) for name in ("alice", "bob", "carol"))
	prefs = f"<prefs xmlns='{MAM}' default='never'><always><jid>{bob.bare_jid}</jid></always><never/></prefs>"
	assert alice.ask(prefs, "set")["type"] == "result"
	for client in (bob, carol):
		client.chat(alice, f"from {client.user}")
		alice.message()
	assert query(alice).bodies == [f"from {bob.user}"]
	kept = alice.ask(f"<prefs xmlns='{MAM}'/>").child("prefs")
	assert kept["default"] == "never" and kept.find("always", "jid").text == bob.bare_jid, kept


# --- restarts and reloads ---

def continue_archive(server, user, messages):
	"""The archive is unchanged, and accepts further messages."""
	alice = server.authenticated(user).bind()
	check_all(forth(alice, PAGE), chunks(messages), len(messages))
	check_all(back(alice, PAGE), last_page_first(messages), len(messages))
	messages += fill(server, user, entries(1, first=len(messages)))
	check_all(forth(alice, PAGE), chunks(messages), len(messages))


@behaviour("archive: a restart of the server keeps messages, ids and order", **NATIVE)
def a_restart_keeps_the_archive(server):
	messages = entries(2 * PAGE)
	user = owner_of(server, messages).user
	for _ in range(2):
		server.finish()
		server.start()
		continue_archive(server, user, messages)


@behaviour("archive: a reload of mod_mam and of the storage driver keeps messages, ids and order", **NATIVE)
def a_reload_keeps_the_archive(server):
	messages = entries(2 * PAGE)
	user = owner_of(server, messages).user
	for module in ("mam", "storage_native", "mam"):
		server.shell("module", "reload", module, server.host)
		continue_archive(server, user, messages)


@behaviour("archive: sessions from before a reload of the driver are archived after it", **NATIVE)
def sessions_archive_after_a_driver_reload(server):
	alice, bob = server.login("alice"), server.login("bob")
	for n in range(3):
		bob.chat(alice, str(n))
		alice.message()
		server.shell("module", "reload", "storage_native", server.host)
	assert query(alice).bodies == list("012")


# --- retention ---

EXPIRING = {"modules": ["mam", "cron"], "options": {"storage": "native", "archive_expires_after": "1w"}}
EXPIRY = "Remove expired messages"


@behaviour("archive: expiry removes exactly the messages older than its limit, of every user", **EXPIRING)
def expiry_removes_old_messages_only(server):
	kept, owners = [], []
	for old in (0, 1, PAGE, 2 * PAGE + 1):
		messages = entries(2 * PAGE + 1)
		for message in messages[:old]:
			message.when -= 8 * DAY
		owners.append(owner_of(server, messages))
		kept.append(messages[old:])
	run_task(server, EXPIRY)
	server.expect_log(f"Deleted {1 + PAGE + 2 * PAGE + 1} expired messages")
	for alice, messages in zip(owners, kept):
		check_all(forth(alice, PAGE), chunks(messages), len(messages))
		check_all(back(alice, PAGE), last_page_first(messages), len(messages))
		assert metadata(alice)[0] == (messages and (messages[0].id, stamp(messages[0].when)) or None)


@behaviour("archive: the id of an expired message is item-not-found, also after a restart", **EXPIRING)
def an_expired_id_is_item_not_found(server):
	messages = entries(PAGE)
	messages[0].when -= 8 * DAY
	alice = owner_of(server, messages)
	run_task(server, EXPIRY)
	server.expect_log("Deleted 1 expired messages")
	assert query(alice, after=messages[0].id).error == "item-not-found"
	server.finish()
	server.start()
	alice = server.authenticated(alice.user).bind()
	assert query(alice, after=messages[0].id).error == "item-not-found"
	check(query(alice, after=messages[1].id), messages[2:], PAGE - 1, True)


@behaviour("archive: a full archive drops its oldest messages", modules=["mam"],
	options={"storage": "native", "storage_archive_item_limit": 2 * PAGE})
def a_full_archive_drops_its_oldest_messages(server):
	alice, bob = server.login("alice"), server.login("bob")
	sent = [str(n) for n in range(3 * PAGE)]
	for body in sent:
		bob.chat(alice, body)
		assert alice.message().body == body
	page = query(alice, max=50)
	assert page.bodies == sent[-page.count:] and PAGE < page.count <= 2 * PAGE, page


# --- rooms ---

ROOM_SERVICE = {"component_module": "muc", "modules_enabled": ["muc_mam"], "muc_room_default_persistent": True,
	"muc_tombstones": False}


def make_room(client, room):
	"""A room that the client owns and is in."""
	client.send(f"<presence to='{room}/{client.user}'><x xmlns='{MUC}'/></presence>")
	client.until("presence")
	answer = client.ask(f"<query xmlns='{MUC}#owner'><x xmlns='jabber:x:data' type='submit'/></query>", "set", to=room)
	assert answer["type"] == "result", answer
	client.unread.clear()


def talk(client, room, said):
	for body in said:
		client.chat(room, body, "groupchat")
		while client.message().body != body:
			pass


def room_archive_size(server, room):
	node = bed.lua(room.partition("@")[0])
	return int(server.lua(f"""
		local archive = require "core.storagemanager".open({bed.lua(ROOMS)}, "muc_log", "archive");
		local count = 0;
		for _ in assert(archive:find({node})) do count = count + 1; end
		return tostring(count)"""))


def room_pages(client, room):
	said = [body for page in forth(client, PAGE, to=room) for body in page.bodies]
	again = [body for page in reversed(back(client, PAGE, to=room)) for body in page.bodies]
	assert said == again, (said, again)
	return [body for body in said if body is not None]


@behaviour("archive: rooms are archived, read in pages by occupants, and kept across a restart",
	components={ROOMS: ROOM_SERVICE}, **NATIVE)
def rooms_are_archived_across_a_restart(server):
	alice, room = server.login("alice"), f"room@{ROOMS}"
	make_room(alice, room)
	said = [str(n) for n in range(2 * PAGE + 1)]
	talk(alice, room, said)
	assert room_pages(alice, room) == said
	server.finish()
	server.start()
	alice = server.authenticated(alice.user).bind()
	assert room_pages(alice, room) == said


@behaviour("archive: destroying a room deletes its archive, and no other",
	components={ROOMS: ROOM_SERVICE}, **NATIVE)
def a_destroyed_room_takes_its_archive_along(server):
	alice = server.login("alice")
	rooms = [f"{name}@{ROOMS}" for name in ("first", "second")]
	for room in rooms:
		make_room(alice, room)
		talk(alice, room, ["one", "two"])
	sizes = [room_archive_size(server, room) for room in rooms]
	assert all(size >= 2 for size in sizes), sizes
	answer = alice.ask(f"<query xmlns='{MUC}#owner'><destroy/></query>", "set", to=rooms[0])
	assert answer["type"] == "result", answer
	assert [room_archive_size(server, room) for room in rooms] == [0, sizes[1]]
	make_room(alice, rooms[0])
	assert room_pages(alice, rooms[0]) == []


@behaviour("archive: the driver can serve archives only, while other drivers serve the rest", modules=["mam"],
	options={"storage": {"archive": "native", "muc_log": "native"}}, components={ROOMS: ROOM_SERVICE})
def the_driver_serves_archives_only(server):
	messages = entries(PAGE + 1)
	alice, room = owner_of(server, messages), f"room@{ROOMS}"
	make_room(alice, room)
	talk(alice, room, ["said"])
	server.finish()
	server.start()
	alice = server.authenticated(alice.user).bind()
	check_all(forth(alice, PAGE), chunks(messages), len(messages))
	assert room_pages(alice, room) == ["said"]
	data = server.directory / "data"
	stores = {path.parent.name for path in data.rglob("*.dat")} | {path.parent.name for path in data.rglob("*.list")}
	assert "accounts" in stores and not stores & {"archive", "muc_log"}, stores


# --- real clients ---

READERS = {
	"@xmpp/client": ["node", programs.SOURCES / "xmpp_archive.mjs"],
	"slixmpp": ["/usr/bin/python3", programs.SOURCES / "slixmpp_archive.py"],
}


def read_archive(server, library, user):
	"""What a client reads: its lines of the way forth, and those of the way back."""
	done = subprocess.run([*READERS[library], str(server.port), server.host, user, bed.PASSWORD, str(PAGE)],
		env={**os.environ, **programs.ENVIRONMENT}, preexec_fn=bed.end_with_parent, encoding="utf-8",
		stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=20)
	assert done.returncode == 0, done.stdout
	lines = [line.partition(" ") for line in done.stdout.splitlines()]
	return tuple([rest for word, _, rest in lines if word == direction] for direction in ("forth", "back"))


for name in READERS:
	@behaviour(f"archive: {name} reads archives of sizes around that of a page, forth and back", **NATIVE)
	def a_library_reads_archives_of_any_size(server, library=name):
		for size in SIZES:
			messages = entries(size)
			user = owner_of(server, messages).user
			told = [f"{m.id} {m.body}" for m in messages]
			assert read_archive(server, library, user) == (told, told[::-1])
