"""Archives of rooms (XEP-0313): our mod_muc_mam, side by side with Prosody's own, which the option muc_mam_native = false loads."""
import re

import bed
import xmpp
from mam import FORM, MAM, STANZA_ID, Entry, Page, element, fill, form, query, run_task
from situations import content
from suite import behaviour

MUC = "http://jabber.org/protocol/muc"
OWNER, ADMIN, USER = f"{MUC}#owner", f"{MUC}#admin", f"{MUC}#user"
OURS, STOCK = "rooms.prosody.test", "stock.prosody.test"
SAID = [f"message {n}" for n in range(12)]


def service(**options):
	return {"component_module": "muc", "modules_enabled": ["muc_mam"], "muc_room_default_persistent": True, "muc_tombstones": False,
		"muc_room_locking": False, **options}


def both(**options):
	"""Two services with the same options, ours and Prosody's."""
	return {"components": {OURS: service(**options), STOCK: service(muc_mam_native=False, **options)}}


NATIVE = {"storage": "native"}


def join(client, room, nick, history=""):
	"""Returns the messages of the history."""
	client.send(f"<presence to='{room}/{nick}'><x xmlns='{MUC}'>{history}</x></presence>")
	seen = []
	while True:
		stanza = client.stanza()
		assert stanza["type"] != "error", stanza
		if stanza.name == "message":
			if stanza.child("subject") and not stanza.body:
				return seen
			seen.append(stanza)


def next_message(client):
	while (stanza := client.stanza()).name != "message":
		pass
	return stanza


def say(client, room, body, payload=""):
	client.chat(room, body, "groupchat", payload)
	message = next_message(client)
	assert message.body == body, message
	return message


def configure(client, room, **fields):
	fields = {"FORM_TYPE": f"{MUC}#roomconfig", **{f"muc#roomconfig_{name}": value for name, value in fields.items()}}
	inside = "".join(f"<field var='{name}'><value>{value}</value></field>" for name, value in fields.items())
	answer = client.ask(f"<query xmlns='{OWNER}'><x xmlns='{FORM}' type='submit'>{inside}</x></query>", "set", to=room)
	assert answer["type"] == "result", answer


def raw(client, room, payload):
	"""A query with this payload: the page or the error."""
	client.send(f"<iq type='set' id='raw' to='{room}'><query xmlns='{MAM}'>{payload}</query></iq>")
	results = []
	while (stanza := client.stanza()).name != "iq":
		results.append(stanza.child("result", MAM))
	return Page(results, stanza)


def results(client, room, **conditions):
	"""The archived messages as they are forwarded."""
	client.send(f"<iq type='set' id='r' to='{room}'><query xmlns='{MAM}'>{form(conditions)}</query></iq>")
	found = []
	while (stanza := client.stanza()).name != "iq":
		found.append(stanza.child("result", MAM).find("forwarded", "message"))
	return found


def neutral(thing, room, ids=()):
	"""A text in which the name of the service, ids and times do not differ."""
	text = repr(content(thing) if isinstance(thing, xmpp.Element) else thing).replace(room.partition("@")[2] or room, "SERVICE")
	for n, ident in enumerate(ids):
		text = text.replace(ident, f"ID{n}")
	text = re.sub(r"(\\?['\"]stamp\\?['\"], \\?['\"])[^'\"\\]+", r"\1WHEN", text)
	return re.sub(r"[A-Za-z0-9+/]{43}=", "OCCUPANT", text)


class Side:
	"""A room of a service with two occupants, and what was said in it."""

	def __init__(self, server, owner, member, where, said=tuple(SAID)):
		self.room, self.owner = f"room@{where}", owner
		join(owner, self.room, "Owner")
		join(member, self.room, "Member")
		for n, body in enumerate(said):
			talker, other = (owner, member) if n % 2 == 0 else (member, owner)
			say(talker, self.room, body)
			assert next_message(other).body == body
		for client in (owner, member):
			client.ping()
			client.unread.clear()
		self.read()

	def read(self):
		self.page = query(self.owner, to=self.room, max=50)
		self.ids = self.page.ids

	def neutral(self, thing):
		return neutral(thing, self.room, self.ids)


def sides(server, **more):
	owner, member = server.login("owner"), server.login("member")
	return [Side(server, owner, member, where, **more) for where in (OURS, STOCK)]


QUERIES = [
	lambda side: {},
	lambda side: {"max": 5},
	lambda side: {"max": 0},
	lambda side: {"max": 1000},
	lambda side: {"before": ""},
	lambda side: {"before": "", "max": 4},
	lambda side: {"before": side.ids[4]},
	lambda side: {"before": side.ids[0]},
	lambda side: {"before": side.ids[7], "max": 3, "flip": True},
	lambda side: {"after": side.ids[4], "max": 3},
	lambda side: {"after": side.ids[4], "max": 3, "flip": True},
	lambda side: {"after": side.ids[-1]},
	lambda side: {"max": 4, "flip": True},
	lambda side: {"before": "unknown"},
	lambda side: {"after": "unknown"},
	lambda side: {"fields": {"start": side.page.stamps[3]}},
	lambda side: {"fields": {"end": side.page.stamps[8]}},
	lambda side: {"fields": {"start": "2037-01-01T00:00:00Z"}},
	lambda side: {"fields": {"start": "1970-01-01T00:00:00Z", "end": "1999-12-31T23:59:59Z"}},
	lambda side: {"fields": {"before-id": side.ids[5]}},
	lambda side: {"fields": {"after-id": side.ids[5]}},
	lambda side: {"fields": {"after-id": side.ids[2], "before-id": side.ids[6]}, "max": 2},
	lambda side: {"fields": {"ids": [side.ids[3], side.ids[9]]}},
	lambda side: {"fields": {"start": "yesterday"}},
]


def answers(side, client):
	return [side.neutral((page.ids, page.bodies, page.first, page.last, page.count, page.complete, page.error))
		for make in QUERIES for page in [query(client, to=side.room, **make(side))]]


@behaviour("room archive: queries get the answers of Prosody's own module", options=NATIVE, **both())
def queries_are_answered_alike(server):
	ours, stock = sides(server, said=())
	for side in (ours, stock):  # at times that do not depend on the speed of the test
		entries = [Entry(body, 1600000000 + 60 * n, "message<groupchat") for n, body in enumerate(SAID)]
		fill(server, "room", entries, "muc_log", side.room.partition("@")[2])
		side.read()
		assert side.page.bodies == SAID
	reader = server.login("reader")
	for client in (ours.owner, reader):
		for n, pair in enumerate(zip(answers(ours, client), answers(stock, client))):
			assert pair[0] == pair[1], (n, *pair)
	assert query(reader, to=ours.room, max=0).count == len(SAID)


@behaviour("room archive: it has the messages as Prosody's own module archives them", options=NATIVE, **both())
def messages_are_archived_alike(server):
	ours, stock = sides(server)
	rich = f"<origin-id xmlns='{STANZA_ID}' id='o'/><x xmlns='urn:test' a='&lt;&amp;'>text<y/></x><thread>t</thread>"
	for whois in ("anyone", "moderators"):
		for side in (ours, stock):
			configure(side.owner, side.room, whois=whois)
			next_message(side.owner)
			say(side.owner, side.room, f"rich {whois}", rich)
			side.owner.send(f"<message type='groupchat' to='{side.room}' id='hint'><body>hint</body><no-store xmlns='urn:xmpp:hints'/></message>",
				f"<message type='groupchat' to='{side.room}' id='state'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>",
				f"<message type='groupchat' to='{side.room}' id='subject'><subject>Topic {whois}</subject></message>")
			for _ in range(3):
				next_message(side.owner)
		for client in (ours.owner, server.login("reader")):
			pair = [[side.neutral(message) for message in results(client, side.room)] for side in (ours, stock)]
			assert pair[0] == pair[1], (whois, *pair)
			jids = [e["jid"] for m in results(client, ours.room) for x in m.all("x", USER) for e in x.all("item")]
			assert (jids == [ours.owner.bare_jid]) == (whois == "anyone"), (whois, jids)


@behaviour("room archive: history on joining comes from the archive as with Prosody's own module", options=NATIVE, **both())
def history_comes_alike(server):
	ours, stock = sides(server, said=[f"{n} {'x' * n}" for n in range(25)])
	server.finish()
	server.start()
	limits = ["", "<history maxstanzas='0'/>", "<history maxstanzas='3'/>", "<history maxchars='1500'/>", "<history maxstanzas='100'/>",
		"<history seconds='600'/>", "<history since='2037-01-01T00:00:00Z'/>", "<history maxchars='0'/>"]
	for n, limit in enumerate(limits):
		joined = []
		client = server.login("late")
		for side in (ours, stock):
			messages = join(client, side.room, f"late{n}", limit)
			assert all(m["to"] == client.jid for m in messages), messages
			joined.append([side.neutral(m) for m in messages])
		assert joined[0] == joined[1], (limit, *joined)
		if not limit:
			assert len(joined[0]) == 20, joined
	say(client, ours.room, "remembered")
	assert join(server.login("last"), ours.room, "last")[-1].body == "remembered"


@behaviour("room archive: disco, the form of queries and the configuration form are those of Prosody's own module", **both())
def forms_are_alike(server):
	for side in zip(*[[side.neutral(answer) for answer in asked(side)] for side in sides(server, said=())]):
		assert side[0] == side[1], side


def asked(side):
	for payload, to in ((f"<query xmlns='{MAM}'/>", side.room), (f"<query xmlns='{OWNER}'/>", side.room),
			("<query xmlns='http://jabber.org/protocol/disco#info'/>", side.room),
			("<query xmlns='http://jabber.org/protocol/disco#info'/>", side.room.partition("@")[2])):
		answer = side.owner.ask(payload, to=to)
		answer.attr["id"] = "id"
		for part in (answer.children[0], *answer.children[0].all("x")):
			part.children.sort(key=content)  # the order of handlers of a priority differs by process
		yield answer


@behaviour("room archive: the owner switches it off and on", options=NATIVE, **both())
def the_owner_decides(server):
	for side in sides(server, said=["one"]):
		for value, code, body in (("0", "171", "unheard"), ("1", "170", "three")):
			configure(side.owner, side.room, enablearchiving=value)
			codes = {status["code"] for status in next_message(side.owner).child("x", USER).all("status")}
			assert code in codes, codes
			message = say(side.owner, side.room, body)
			assert (message.child("stanza-id", STANZA_ID) is not None) == (value == "1"), message
			features = {f["var"] for f in side.owner.ask("<query xmlns='http://jabber.org/protocol/disco#info'/>", to=side.room)
				.children[0].all("feature")}
			assert (MAM in features) == (value == "1") and STANZA_ID in features, features
		assert query(side.owner, to=side.room).bodies == ["one", "three"]


@behaviour("room archive: the service's options decide for rooms", options=NATIVE, components={
	"none.prosody.test": service(muc_log_by_default=False), "all.prosody.test": service(muc_log_all_rooms=True)})
def the_options_decide(server):
	owner = server.login("owner")
	for where, fields, archived in (("none", {}, False), ("all", {"enablearchiving": "0"}, True)):
		room = f"room@{where}.prosody.test"
		join(owner, room, "Owner")
		if fields:
			configure(owner, room, **fields)
		say(owner, room, "hello")
		assert query(owner, to=room).bodies == ["hello"] * archived


@behaviour("room archive: outcasts may not read it, nor others where only members may enter", options=NATIVE, **both())
def who_may_read(server):
	other = server.login("other")
	for side in sides(server, said=["one"]):
		def affiliate(kind, side=side):
			answer = side.owner.ask(f"<query xmlns='{ADMIN}'><item jid='{other.bare_jid}' affiliation='{kind}'/></query>", "set", to=side.room)
			assert answer["type"] == "result", answer
		def read(side=side):
			return query(other, to=side.room).error or "ok"
		assert read() == "ok"
		affiliate("outcast")
		assert read() == "forbidden"
		affiliate("none")
		configure(side.owner, side.room, membersonly="1")
		assert read() == "forbidden"
		affiliate("member")
		assert read() == "ok"
		assert query(other, to=side.room.replace("room@", "absent@")).error == "item-not-found"


@behaviour("room archive: errors for unknown fields and ids, and malformed queries", options=NATIVE, components={OURS: service()})
def malformed_queries(server):
	owner, member = server.login("owner"), server.login("member")
	side = Side(server, owner, member, OURS)
	kind = f"<field var='FORM_TYPE'><value>{MAM}</value></field>"
	def submitted(fields, typed=kind):
		return f"<x xmlns='{FORM}' type='submit'>{typed}{fields}</x>"
	def rsm(inside):
		return f"<set xmlns='http://jabber.org/protocol/rsm'>{inside}</set>"
	for payload, error in (
			(submitted("<field var='{urn:unknown}x'><value>y</value></field>"), "feature-not-implemented"),
			(submitted("<field var='ids'/>"), "bad-request"),
			(submitted("<field var='start'><value>now</value></field>"), "bad-request"),
			(submitted("<field var='with'><value>@</value></field>"), "bad-request"),
			(submitted("", ""), "bad-request"),
			(submitted("", kind.replace("mam:2", "other")), "bad-request"),
			(rsm("<max>many</max>"), "bad-request"),
			(rsm("<max>-1</max>"), "bad-request"),
			(rsm("<index>2</index>"), "feature-not-implemented")):
		assert raw(owner, side.room, payload).error == error, (payload, error)
	assert query(owner, to=side.room, fields={"ids": [side.ids[0], "unknown"]}).error == "item-not-found"
	assert query(owner, to=side.room, fields={"after-id": "unknown"}).error == "item-not-found"
	assert raw(owner, side.room, submitted("") + rsm(element("max", 10**30))).bodies == SAID


@behaviour("room archive: 'with' finds what an occupant has said", options=NATIVE, components={OURS: service()})
def with_an_occupant(server):
	owner, member = server.login("owner"), server.login("member")
	side = Side(server, owner, member, OURS)
	for jid, bodies in ((f"{side.room}/Member", SAID[1::2]), (f"{side.room}/Owner", SAID[::2]), (f"{side.room}/Nobody", []),
			(side.room, SAID)):
		assert query(owner, to=side.room, max=50, fields={"with": jid}).bodies == bodies, jid
	pages = [query(owner, to=side.room, max=4, fields={"with": f"{side.room}/Member"})]
	pages.append(query(owner, to=side.room, max=4, after=pages[0].last, fields={"with": f"{side.room}/Member"}))
	assert [b for p in pages for b in p.bodies] == SAID[1::2] and [p.complete for p in pages] == [False, True], pages
	assert query(owner, to=side.room, max=50, fields={"with": member.bare_jid}).bodies == []


@behaviour("room archive: metadata", options=NATIVE, components={OURS: service()})
def metadata(server):
	owner, member, outcast = server.login("owner"), server.login("member"), server.login("outcast")
	side = Side(server, owner, member, OURS)
	answer = owner.ask(f"<metadata xmlns='{MAM}'/>", to=side.room)
	ends = [(e["id"], e["timestamp"]) for e in (answer.find("metadata", name) for name in ("start", "end"))]
	assert ends == [(side.ids[0], side.page.stamps[0]), (side.ids[-1], side.page.stamps[-1])], ends
	owner.ask(f"<query xmlns='{ADMIN}'><item jid='{outcast.bare_jid}' affiliation='outcast'/></query>", "set", to=side.room)
	assert outcast.ask(f"<metadata xmlns='{MAM}'/>", to=side.room).find("error", "forbidden"), "an outcast reads metadata"


@behaviour("room archive: an id that claims to be from the room never arrives", options=NATIVE, components={OURS: service()})
def spoofed_ids(server):
	owner, member, guest = server.login("owner"), server.login("member"), server.login("guest")
	side = Side(server, owner, member, OURS, said=["one"])
	spoofed = "".join(f"<stanza-id xmlns='{STANZA_ID}' id='spoofed' by='{by}'/>" for by in (side.room, side.room.upper(), "other@example.net"))
	def ids(message):
		return [(e["by"], e["id"]) for e in message.all("stanza-id", STANZA_ID)]
	message = say(owner, side.room, "two", spoofed)
	last = query(owner, to=side.room).ids[-1]
	assert sorted(ids(message)) == [("other@example.net", "spoofed"), (side.room, last)], message
	next_message(member)
	owner.chat(f"{side.room}/Member", "private", "chat", spoofed)
	message = next_message(member)
	assert message.body == "private" and ids(message) == [("other@example.net", "spoofed")], message
	owner.send(f"<message to='{side.room}'><x xmlns='{USER}'><invite to='{guest.bare_jid}'/></x>{spoofed}</message>")
	guest.send("<presence/>")
	message = next_message(guest)
	assert message.child("x", USER).child("invite") and (side.room, "spoofed") not in ids(message), message


@behaviour("room archive: totals also where messages never expire", options=NATIVE, components={OURS: service(muc_log_expires_after="never")})
def totals_without_expiry(server):
	owner, member = server.login("owner"), server.login("member")
	side = Side(server, owner, member, OURS)
	assert query(owner, to=side.room, max=2).count == len(SAID)


@behaviour("room archive: expired messages are deleted, also from drivers that keep no index of times",
	components={OURS: service(muc_log_expires_after="1d"), "sql.prosody.test": service(muc_log_expires_after="1d", storage="native")})
def expiry(server):
	owner, member = server.login("owner"), server.login("member")
	for where in (OURS, "sql.prosody.test"):
		side = Side(server, owner, member, where)
		run_task(server, "Remove expired messages", where, 0)
		assert query(owner, to=side.room, max=50).bodies == SAID
		server.lua(f"""
			local archive = require "core.storagemanager".open({bed.lua(where)}, "muc_log", "archive");
			local st = require "util.stanza";
			assert(archive:append("old", nil, st.message({{ type = "groupchat" }}, "old"), os.time() - 3 * 86400, "message<groupchat"));
			require "core.storagemanager".open({bed.lua(where)}, "muc_log_cleanup", "map"):set(os.date("!%Y-%m-%d", os.time() - 3 * 86400), "old", true)""")
		run_task(server, "Remove expired messages", where, 0)
		left = server.lua(f"""
			local archive = require "core.storagemanager".open({bed.lua(where)}, "muc_log", "archive");
			local items = archive:find("old");
			return tostring(not items or items() == nil)""")
		assert left == "true", (where, left)
		assert query(owner, to=side.room, max=50).bodies == SAID


@behaviour("room archive: presence is archived where the option says so, and not found by queries", options=NATIVE,
	components={OURS: service(muc_log_presences=True)})
def presence(server):
	owner, member = server.login("owner"), server.login("member")
	side = Side(server, owner, member, OURS, said=["one"])
	member.send(f"<presence type='unavailable' to='{side.room}/Member'/>")
	member.ping()
	assert owner.stanza()["type"] == "unavailable"
	stored = server.lua(f"""
		local archive = require "core.storagemanager".open({bed.lua(OURS)}, "muc_log", "archive");
		local found = {{}};
		for _, item in archive:find("room") do
			table.insert(found, item.name..":"..(item.attr.type or "")..":"..item.attr.from:match("[^/]*$"));
		end
		return table.concat(found, " ")""")
	assert stored == "presence::Owner presence::Member message:groupchat:Owner presence:unavailable:Member", stored
	page = query(owner, to=side.room)
	assert page.bodies == ["one"] and page.count == 1, page


@behaviour("room archive: a full archive loses its oldest messages", components={OURS: service(storage_archive_item_limit=10)})
def a_full_archive(server):
	owner, member = server.login("owner"), server.login("member")
	side = Side(server, owner, member, OURS)
	assert side.page.bodies == SAID[-len(side.page.bodies):] and 0 < len(side.page.bodies) <= 10, side.page


@behaviour("room archive: the log says which module is loaded", **both())
def the_log_tells(server):
	log = server.log()
	assert re.search(rf"{OURS}:muc_mam\s+info\s+Loaded prosody-native's module in the place of Prosody's own", log)
	assert re.search(rf"{STOCK}:muc_mam\s+info\s+Loading Prosody's own module, because of muc_mam_native = false: ", log)
	loaded = server.lua(f"return tostring(prosody.hosts['{STOCK}'].modules.muc_mam.schedule_cleanup)")
	assert loaded.startswith("function"), loaded
