"""mod_mam over every storage driver: queries and their errors, what is archived, ids, preferences."""
import bed
from mam import (DRIVERS, FORM, HINTS, MAM, RSM, STANZA_ID, Entry, element, fill, form, metadata, on_drivers, own_ids, query,
	set_prefs)
from steps import say
from suite import behaviour
from xmpp import failure


def ask(client, payload):
	"""The condition of the error that a query with this payload gets, None if it gets none; and the answer."""
	answer = client.ask(f"<query xmlns='{MAM}'>{payload}</query>", "set")
	client.unread.clear()
	error = answer.child("error")
	return error and failure(error), answer


def forged(*owners):
	return "".join(f"<stanza-id xmlns='{STANZA_ID}' by='{owner}' id='forged'/>" for owner in owners)


def archived(client):
	"""The archived messages themselves, oldest first."""
	ident = "all"
	client.send(f"<iq type='set' id='{ident}'><query xmlns='{MAM}'>{element('set', '')}</query></iq>")
	found = []
	while True:
		stanza = client.stanza()
		if stanza.name == "iq":
			return found
		found.append(stanza.child("result", MAM).find("forwarded", "message"))


# --- queries ---

def field(name, *values, kind=""):
	return f"<field var='{name}'{kind}>{''.join(element('value', v) for v in values)}</field>"


def raw_form(*fields, kind="submit", form_type=MAM):
	return f"<x xmlns='{FORM}' type='{kind}'>{field('FORM_TYPE', form_type)}{''.join(fields)}</x>"


REFUSED = {
	"a field that is not known": (form({"with": "a@b", "colour": "blue"}), "feature-not-implemented"),
	"another FORM_TYPE": (raw_form(form_type="urn:xmpp:mam:0"), "bad-request"),
	"no FORM_TYPE": (f"<x xmlns='{FORM}' type='submit'>{field('with', 'a@b')}</x>", "bad-request"),
	"a form that is cancelled": (raw_form(kind="cancel"), "bad-request"),
	"a field without name": (raw_form("<field><value>x</value></field>"), "bad-request"),
	"a field twice": (raw_form(field("with", "a@b"), field("with", "c@d")), "bad-request"),
	"two values": (raw_form(field("with", "a@b", "c@d")), "bad-request"),
	"elements in a value": (raw_form("<field var='with'><value><b/></value></field>"), "bad-request"),
	"an empty JID": (form({"with": ""}), "bad-request"),
	"a JID that is none": (form({"with": "a@@"}), "bad-request"),
	"a time that is none": (form({"start": "yesterday"}), "bad-request"),
	"a day that is none": (form({"end": "2023-02-29T00:00:00Z"}), "bad-request"),
	"an hour that is none": (form({"end": "2023-02-28T24:00:01Z"}), "bad-request"),
	"an empty list of ids": (raw_form(field("ids")), "bad-request"),
	"a boolean that is none": (form({"include-groupchat": "maybe"}), "bad-request"),
	"a max that is no number": (f"<set xmlns='{RSM}'><max>many</max></set>", "bad-request"),
	"a negative max": (f"<set xmlns='{RSM}'><max>-1</max></set>", "bad-request"),
	"a fraction as max": (f"<set xmlns='{RSM}'><max>2.5</max></set>", "bad-request"),
	"an index": (f"<set xmlns='{RSM}'><max>5</max><index>5</index></set>", "feature-not-implemented"),
}


@on_drivers("what a server cannot answer gets an error that names it")
def invalid_queries_get_errors(server):
	alice = server.login("alice")
	fill(server, alice.user, [Entry("hello", 1700000000, "bob@prosody.test")])
	for what, (payload, condition) in REFUSED.items():
		error, answer = ask(alice, payload)
		assert error == condition, (what, answer)
	assert query(alice).bodies == ["hello"]


@on_drivers("ids that the archive does not have are item-not-found, in each place")
def unknown_ids_are_not_found(server):
	alice = server.login("alice")
	empty = query(alice, fields={"ids": ["nothing"]})
	assert empty.error == "item-not-found", empty
	messages = fill(server, alice.user, [Entry(str(n), 1700000000 + n, "bob@prosody.test") for n in range(3)])
	known = messages[1].id
	for fields in ({"ids": ["unknown"]}, {"ids": [known, "unknown"]}, {"before-id": "unknown"}, {"after-id": "unknown"}):
		assert query(alice, fields=fields).error == "item-not-found", fields
	for rsm in ({"after": "unknown"}, {"before": "unknown"}):
		assert query(alice, max=5, **rsm).error == "item-not-found", rsm
	page = query(alice, fields={"ids": [known, known]})
	assert (page.ids, page.error) == ([known], None), page


@on_drivers("a max beyond the limit is the limit, and one of 0 only counts")
def max_is_bounded(server):
	alice = server.login("alice")
	fill(server, alice.user, [Entry(str(n), 1700000000 + n, "bob@prosody.test") for n in range(60)])
	for most in ("51", "99999999999999999999999"):
		page = query(alice, max=most)
		assert (len(page.ids), page.complete) == (50, False), page
	page = query(alice, max=0)
	assert (page.ids, page.complete, page.count) == ([], False, 60), page


@on_drivers("times before 1970, leap seconds and zones select messages")
def unusual_times_are_understood(server):
	alice = server.login("alice")
	noon = 1483228800  # 2017-01-01T00:00:00Z, after a leap second
	fill(server, alice.user, [Entry(str(n), noon + n, "bob@prosody.test") for n in (-1, 0, 1)])
	for fields, expected in (
		({"start": "1969-12-31T23:59:59Z"}, 3),
		({"end": "1969-12-31T23:59:59Z"}, 0),
		({"end": "0001-01-01T00:00:00Z"}, 0),
		({"start": "2016-12-31T23:59:60Z"}, 2),
		({"end": "2016-12-31T23:59:60Z"}, 2),
		({"start": "2017-01-01T02:00:00+02:00", "end": "2016-12-31T19:00:00-05:00"}, 1),
		({"end": "9999-12-31T23:59:59Z"}, 3)):
		page = query(alice, fields=fields)
		assert (len(page.ids), page.error) == (expected, None), (fields, page)


@behaviour("mam: fractions of a second select messages", modules=["mam"], options=DRIVERS["native"])
def fractions_select_messages(server):
	alice = server.login("alice")
	fill(server, alice.user, [Entry(str(n), 1700000000 + n, "bob@prosody.test") for n in range(3)])
	assert query(alice, fields={"start": "2023-11-14T22:13:20.5Z"}).bodies == ["1", "2"]
	assert query(alice, fields={"end": "2023-11-14T22:13:21.999999Z"}).bodies == ["0", "1"]


@on_drivers("the last page keeps within the bounds that the form has")
def the_last_page_keeps_the_bounds_of_the_form(server):
	alice = server.login("alice")
	messages = fill(server, alice.user, [Entry(str(n), 1700000000 + n, "bob@prosody.test") for n in range(6)])
	fields = {"after-id": messages[0].id, "before-id": messages[4].id}
	page = query(alice, max=2, before="", fields=fields)
	assert (page.bodies, page.complete) == (["2", "3"], False), page
	page = query(alice, max=2, before="", flip=True, fields=fields)
	assert (page.bodies, page.first, page.last) == (["3", "2"], messages[2].id, messages[3].id), page


@on_drivers("a full JID selects the messages of its resource, whichever way they went, in pages")
def a_full_jid_selects_a_resource(server):
	alice, bob = server.login("alice"), server.login("bob")
	other = server.again(bob, resource="other")
	for n in range(3):
		say(bob, alice, f"in {n}")
		say(other, alice, f"other {n}")
		say(alice, bob, f"out {n}")
	wanted = [f"{way} {n}" for n in range(3) for way in ("in", "out")]
	alice.unread.clear()
	alice = server.again(alice)
	fields = {"with": bob.jid}
	page = query(alice, fields=fields)
	assert (page.bodies, page.complete) == (wanted, True), page
	page = query(alice, max=4, fields=fields)
	assert (page.bodies, page.complete) == (wanted[:4], False), page
	rest = query(alice, max=4, after=page.last, fields=fields)
	assert (rest.bodies, rest.complete) == (wanted[4:], True), rest
	assert query(alice, max=0, fields=fields).count == 6
	assert query(alice, max=4, before="", fields=fields).bodies == wanted[2:]


@on_drivers("the form lists what is understood, and disco announces it")
def the_form_lists_all_fields(server):
	alice = server.login("alice")
	answer = alice.ask(f"<query xmlns='{MAM}'/>")
	names = {f["var"] for f in answer.find("query", "x").all("field")}
	assert names == {"FORM_TYPE", "with", "start", "end", "before-id", "after-id", "ids", "include-groupchat"}, names
	features = {f["var"] for f in alice.ask("<query xmlns='http://jabber.org/protocol/disco#info'/>",
		to=alice.bare_jid).child("query").all("feature")}
	assert {MAM, MAM + "#extended", MAM + "#groupchat-field", STANZA_ID} <= features, features


@on_drivers("messages of rooms can be left out")
def groupchat_can_be_left_out(server):
	alice = server.login("alice")
	fill(server, alice.user, [Entry(str(n), 1700000000 + n, "bob@prosody.test") for n in range(2)])
	server.lua(f"""
		local archive = require "core.storagemanager".open({bed.lua(server.host)}, "archive", "archive");
		local st = require "util.stanza";
		assert(archive:append({bed.lua(alice.user)}, nil, st.message({{ type = "groupchat", from = "room@x/y" }}, "room"), 1700000009,
			"room@x"))""")
	assert query(alice).bodies == ["0", "1", "room"]
	assert query(alice, fields={"include-groupchat": "true"}).bodies == ["0", "1", "room"]
	page = query(alice, fields={"include-groupchat": "false"})
	assert (page.bodies, page.complete) == (["0", "1"], True), page


@on_drivers("metadata name the first and the last message, also of an empty archive")
def metadata_name_both_ends(server):
	alice = server.login("alice")
	assert metadata(alice) == (None, None)
	messages = fill(server, alice.user, [Entry(str(n), 1700000000 + n, "bob@prosody.test") for n in range(3)])
	first, last = metadata(alice)
	assert (first[0], last[0]) == (messages[0].id, messages[-1].id), (first, last)
	assert first[1] == "2023-11-14T22:13:20Z", first


# --- what is archived ---

KEPT = {
	"a body": "<body>x</body>",
	"a subject": "<subject>x</subject>",
	"an encrypted message": "<encryption xmlns='urn:xmpp:eme:0' namespace='x'/>",
	"a receipt": "<received xmlns='urn:xmpp:receipts' id='x'/>",
	"a marker": "<displayed xmlns='urn:xmpp:chat-markers:0' id='x'/>",
	"an invitation": "<x xmlns='jabber:x:conference' jid='a@b'/>",
	"an invitation by the room": "<x xmlns='http://jabber.org/protocol/muc#user'><invite/></x>",
	"a call": "<propose xmlns='urn:xmpp:jingle-message:0' id='x'/>",
	"a hint to store": f"<z xmlns='y'/><store xmlns='{HINTS}'/>",
	"a body and a chat state": "<body>x</body><active xmlns='http://jabber.org/protocol/chatstates'/>",
}
LEFT_OUT = {
	"nothing": "",
	"a chat state": "<composing xmlns='http://jabber.org/protocol/chatstates'/>",
	"a chat state to store": f"<composing xmlns='http://jabber.org/protocol/chatstates'/><store xmlns='{HINTS}'/>",
	"something unknown": "<z xmlns='y'/>",
	"a body in another namespace": "<body xmlns='y'>x</body>",
	"no invitation": "<x xmlns='http://jabber.org/protocol/muc#user'><item/></x>",
	"a hint not to store": f"<body>x</body><no-store xmlns='{HINTS}'/>",
	"a hint not to keep": f"<body>x</body><store xmlns='{HINTS}'/><no-permanent-store xmlns='{HINTS}'/>",
}


@on_drivers("what a message contains decides whether it is archived, for both sides")
def contents_decide(server):
	alice, bob = server.login("alice"), server.login("bob")
	for what, payload in {**KEPT, **LEFT_OUT}.items():
		bob.send(f"<message to='{alice.jid}' id={bed.lua(what)}>{payload}</message>")
	for kind in ("headline", "groupchat"):
		bob.send(f"<message to='{alice.jid}' type='{kind}' id='{kind}'><body>x</body></message>")
	bob.send(f"<message to='{alice.bare_jid}' type='error' id='to the account'><body>x</body></message>")
	bob.send(f"<message to='{alice.jid}' type='error' id='to the client'><body>x</body></message>")
	bob.ping()
	alice.unread.clear()
	for client in (server.again(alice), server.again(bob)):
		kept = archived(client)
		hinted = ["a chat state to store"]  # has a further element: the hint
		assert sorted(m["id"] for m in kept) == sorted([*KEPT, *hinted, "to the client"]), [m["id"] for m in kept]
		assert not any(m.child("active") or m.child("composing") for m in kept), kept


@on_drivers("no id that claims to be the owner's archive's is stored or delivered, others are kept")
def forged_ids_do_not_survive(server):
	alice, bob = server.login("alice"), server.login("bob")
	others = ("carol@prosody.test", f"{alice.bare_jid}/resource", "prosody.test")
	ids = forged(alice.bare_jid, bob.bare_jid, alice.bare_jid.upper(), *others)
	for payload in ("", f"<no-store xmlns='{HINTS}'/>"):
		for to in (alice.jid, alice.bare_jid):
			alice.available()
			bob.chat(to, "forged", payload=payload + ids)
			message = alice.message()
			told = own_ids(message, alice)
			assert "forged" not in told and len(told) == (0 if payload else 1), message
			assert not own_ids(message, bob), message
			assert {e["by"] for e in message.all("stanza-id")} == {*others, *([alice.bare_jid] if told else [])}, message
	for client in (alice, bob):
		for message in archived(client):
			owned = [e for e in message.all("stanza-id") if e["by"].lower() == client.bare_jid]
			assert not owned, message


@on_drivers("a note to oneself is archived once, and every resource is told the same id")
def notes_to_oneself_are_archived_once(server):
	alice = server.login("alice").available()
	desk = server.again(alice, resource="desk").available()
	alice.unread.clear()
	for n, to in enumerate((f" to='{alice.bare_jid}'", f" to='{desk.jid}'", "")):
		alice.send(f"<message type='chat'{to} id='{n}'><body>{n}</body>{forged(alice.bare_jid)}</message>")
		alice.ping()
	alice.unread.clear()
	told = {}
	desk.ping()
	for message in [e for e in desk.unread if e.name == "message"]:
		told[message.body] = own_ids(message, desk)
	desk.unread.clear()
	page = query(desk)
	assert page.bodies == ["0", "1", "2"], page
	for body, ids in told.items():
		assert ids == [page.ids[int(body)]], (told, page)
	assert "1" in told, told


@on_drivers("carbon copies have the id in their owner's archive, and contacts do not see it")
def carbons_have_ids(server):
	alice, bob = server.login("alice"), server.login("bob")
	desk = server.again(alice)
	desk.ask("<enable xmlns='urn:xmpp:carbons:2'/>", "set")
	alice.chat(bob, "sent")
	sent = desk.stanza().find("sent", "forwarded", "message")
	received = bob.message()
	assert own_ids(sent, alice) == query(desk).ids, sent
	assert own_ids(received, bob) == query(bob).ids and not own_ids(received, alice), received


# --- preferences ---

@on_drivers("preferences without a valid default or with invalid JIDs are refused, and change nothing")
def invalid_preferences_are_refused(server):
	alice = server.login("alice")
	assert set_prefs(alice, "never") is None
	assert set_prefs(alice) == "bad-request"
	assert set_prefs(alice, "sometimes") == "bad-request"
	assert set_prefs(alice, "always", always=["@"]) == "jid-malformed"
	assert alice.ask(f"<prefs xmlns='{MAM}'/>").child("prefs")["default"] == "never"


@on_drivers("preferences name contacts by bare and by full JIDs")
def preferences_name_resources(server):
	alice, bob = server.login("alice"), server.login("bob")
	desk = server.again(bob, resource="desk")
	for default, always, never, kept in (
		("never", [desk.jid], [], ["desk"]),
		("always", [], [desk.jid], ["phone"]),
		("always", [desk.jid], [bob.bare_jid], ["desk"]),
		("never", [bob.bare_jid], [], ["phone", "desk"]),
		("always", [bob.bare_jid], [bob.bare_jid], [])):
		assert set_prefs(alice, default, always, never) is None
		seen = len(query(alice).ids)
		say(bob, alice.bare_jid, "phone")
		say(desk, alice.bare_jid, "desk")
		alice.ping()
		alice.unread.clear()
		assert query(alice).bodies[seen:] == kept, (default, always, never)


@on_drivers("the default roster archives contacts of the roster only", options={"default_archive_policy": "roster"})
def the_roster_decides(server):
	alice, bob, carol = (server.login(name) for name in ("alice", "bob", "carol"))
	added = alice.ask(f"<query xmlns='jabber:iq:roster'><item jid='{bob.bare_jid}'/></query>", "set")
	assert added["type"] == "result", added
	for sender in (bob, carol):
		say(sender, alice, sender.user)
	alice.ping()
	alice.unread.clear()
	assert query(alice).bodies == [bob.user]


@on_drivers("preferences that another module writes apply to the next message")
def other_writers_are_obeyed(server):
	alice, bob = server.login("alice"), server.login("bob")
	say(bob, alice, "before")
	for typ, write in (("keyval", "store:set(user, { [false] = false })"), ("map", "store:set(user, 'bob@x', true)"),
			("keyval", "store:set(user, nil)")):
		done = server.lua(f"""
			local store = require "core.storagemanager".open({bed.lua(server.host)}, "archive_prefs", {bed.lua(typ)});
			local user = {bed.lua(alice.user)};
			return tostring({write})""")
		assert done == "true", done
		say(bob, alice, f"after {write}")
	alice.ping()
	alice.unread.clear()
	assert query(alice).bodies == ["before", "after store:set(user, nil)"], query(alice)


@on_drivers("with mam_smart_enable messages are archived once a client asked for the archive", options={"mam_smart_enable": True})
def smart_enable_waits_for_a_client(server):
	alice, bob = server.login("alice"), server.login("bob")
	say(bob, alice, "before")
	alice.ping()
	alice.unread.clear()
	assert query(alice).bodies == []
	say(bob, alice, "after")
	alice.message()
	assert query(alice).bodies == ["after"]
	assert query(bob).bodies == []
