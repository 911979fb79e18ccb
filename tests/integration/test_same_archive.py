"""Queries of archives (XEP-0313) on stock Prosody and on ours: filters, pages, metadata, preferences, and errors."""
from same import same

MAM, RSM, FORM = "urn:xmpp:mam:2", "http://jabber.org/protocol/rsm", "jabber:x:data"
STAMPS = ["1969-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "2016-12-31T23:59:60Z", "2026-01-01", "now", "", "2020-01-01T00:00:00+02:00"]


def field(name, *values):
	return f"<field var='{name}'>" + "".join(f"<value>{value}</value>" for value in values) + "</field>"


def form(*fields, kind="submit", form_type=MAM):
	return f"<x xmlns='{FORM}' type='{kind}'>{field('FORM_TYPE', form_type) if form_type else ''}{''.join(fields)}</x>"


def page(**wanted):
	inside = "".join(f"<{name}>{value}</{name}>" if value is not None else f"<{name}/>" for name, value in wanted.items())
	return f"<set xmlns='{RSM}'>{inside}</set>"


def query(client, content, to=None, attributes="queryid='c5'"):
	number = len(client.server.transcript.sent)  # two queries that differ in their time are not alike
	client.notes(f"query {number}: {content} {attributes} {to}")
	client.sets(f"<query xmlns='{MAM}' {attributes}>{content}</query>", to=to)


def ids(client):
	"""The ids of the whole archive."""
	client.takes()
	query(client, "")
	return [stanza.child("result")["id"] for stanza in client.takes() if stanza.name == "message" and stanza.child("result")]


def filled(*clients, count=12):
	for n in range(count):
		sender, to = clients[n % len(clients)], clients[(n + 1) % len(clients)]
		sender.says(to.jid if n % 2 else to.bare_jid, f"message {n}", more="<x xmlns='urn:x'>&lt;</x>" if n % 3 else "")


@same("archive queries: pages in both directions, flipped, and of every size")
def _(alice, bob, carol):
	filled(alice, bob, carol)
	known = ids(bob)
	assert len(known) == 8, known
	for flip in ("", "<flip-page/>"):
		for size in ("1", "3", "7", "8", "9", "50", "1000", "99999999999999999999"):
			query(bob, page(max=size) + flip)
			query(bob, page(max=size, before=None) + flip)
		for ident in (known[0], known[3], known[-1]):
			query(bob, page(max="3", after=ident) + flip)
			query(bob, page(max="3", before=ident) + flip)
		query(bob, page(max="3", after=known[1], before=known[6]) + flip)
		query(bob, page() + flip)


@same("archive queries: only the total")
def _(alice, bob):
	filled(alice, bob, count=4)
	for wanted in (page(max="0"), page(max="0", before=None), page(max="0") + "<flip-page/>", form(field("with", alice.bare_jid)) + page(max="0")):
		query(bob, wanted)


@same("archive queries: sizes that are no numbers")
def _(alice, bob):
	filled(alice, bob, count=4)
	for size in ("-1", "x", "1e2", "1.5", "0x3", None):
		query(bob, page(max=size))
		query(bob, page(max=size, before=None) + "<flip-page/>")


@same("archive queries: a page by index")
def _(alice, bob):
	filled(alice, bob, count=4)
	query(bob, page(index="2", max="2"))
	query(bob, page(index="0"))


@same("archive queries: unknown ids")
def _(alice, bob):
	filled(alice, bob, count=4)
	known = ids(bob)[1]
	for ident in ("unknown", "0123456789abcdef012345", "&lt;"):
		query(bob, page(max="3", after=ident))
		query(bob, page(max="3", before=ident))
		query(bob, form(field("after-id", ident)))
		query(bob, form(field("before-id", ident)))
		query(bob, form(field("ids", ident)))
	query(bob, form(field("ids", known, "unknown")))


@same("archive queries: filters by JID, time and id")
def _(alice, bob, carol):
	filled(alice, bob, carol)
	known = ids(bob)
	for jid in (alice.jid, alice.bare_jid, carol.bare_jid, bob.bare_jid, alice.bare_jid.upper(), "nobody@x.test", "@", "", "x.test"):
		query(bob, form(field("with", jid)))
		query(bob, form(field("with", jid)) + page(max="2", before=None))
	query(bob, form(field("with", "nobody@x.test")) + page(max="0"))
	for name in ("start", "end"):
		for stamp in STAMPS:
			query(bob, form(field(name, stamp)))
	query(bob, form(field("start", "1971-01-01T00:00:00Z"), field("end", "2999-01-01T00:00:00Z"), field("with", alice.bare_jid)))
	query(bob, form(field("after-id", known[2]), field("before-id", known[5])))
	query(bob, form(field("ids", known[3], known[1])))


@same("archive queries: days that do not exist")
def _(alice, bob):
	filled(alice, bob, count=3)
	query(bob, form(field("start", "2020-02-30T00:00:00Z")))
	query(bob, form(field("end", "2999-13-01T00:00:00Z")))


@same("archive queries: forms and requests of unusual shapes")
def _(alice, bob):
	filled(alice, bob, count=3)
	for content in (form(form_type=None), form(form_type="urn:xmpp:mam:1"), f"<x xmlns='{FORM}'/>", f"<x xmlns='{FORM}' type='submit'/>",
			"<x xmlns='urn:x'/>", form(field("with")), form() + form(), page(max="2") + page(max="1"), "<flip-page/>", "<flip-page/>" * 2):
		query(bob, content)
	query(bob, "", attributes="")
	query(bob, "", attributes="node='n' queryid=''")
	query(bob, "", to=bob.bare_jid)
	query(bob, "", to=alice.bare_jid)
	query(bob, "", to="prosody.test")
	query(bob, "", to="nobody@prosody.test")
	bob.sends(f"<iq type='set' id='c2'><query xmlns='{MAM}'/><query xmlns='{MAM}'/></iq>")


@same("archive queries: malformed forms")
def _(alice, bob):
	filled(alice, bob, count=3)
	for content in (form(kind="cancel"), form(kind="result"), form(field("with", alice.bare_jid, bob.bare_jid)), form("<field/>"),
			form(field("with", alice.bare_jid), field("with", alice.bare_jid)), form(field("ids"))):
		query(bob, content)


@same("archive queries: unknown fields")
def _(alice, bob):
	filled(alice, bob, count=3)
	for content in (form(field("unknown", "1")), form(field("{urn:x}y", "1"))):
		query(bob, content)


@same("archive queries: the form, and its field for messages of rooms")
def _(alice, bob):
	filled(alice, bob, count=3)
	query(bob, form(field("include-groupchat", "true")))
	query(bob, form(field("include-groupchat", "false")))
	bob.asks(f"<query xmlns='{MAM}'/>")


@same("archive queries: metadata, of an empty archive too")
def _(alice, bob):
	bob.asks(f"<metadata xmlns='{MAM}'/>")
	query(bob, "")
	filled(alice, bob, count=3)
	for to in (None, bob.bare_jid, alice.bare_jid, "prosody.test"):
		bob.asks(f"<metadata xmlns='{MAM}'/>", to=to)
	bob.sets(f"<metadata xmlns='{MAM}'/>")


def prefs(clients, default, always=(), never=(), more=""):
	"""The first client sets its preferences, exchanges messages with the others, and reads its archive."""
	bob, *others = clients
	lists = "".join(f"<{name}>" + "".join(f"<jid>{jid}</jid>" for jid in jids) + f"</{name}>"
		for name, jids in (("always", always), ("never", never)))
	bob.sets(f"<prefs xmlns='{MAM}'{f' default={default!r}' if default else ''}>{lists}{more}</prefs>")
	bob.asks(f"<prefs xmlns='{MAM}'/>")
	for client in others:
		client.says(bob.bare_jid, "in")
		client.says(bob.jid, "in")
		bob.says(client.jid, "out")
	query(bob, "")


@same("archive queries: preferences, and what they keep")
def _(alice, bob, carol):
	clients = bob, alice, carol
	bob.asks(f"<prefs xmlns='{MAM}'/>")
	prefs(clients, "always")
	prefs(clients, "never")
	prefs(clients, "roster")
	prefs(clients, "roster", [alice.bare_jid])
	prefs(clients, "never", [alice.bare_jid], [carol.bare_jid])
	prefs(clients, "always", [alice.bare_jid], [alice.bare_jid])
	prefs(clients, "always", [], [alice.bare_jid.upper()])
	prefs(clients, "never", ["prosody.test", bob.bare_jid])
	prefs(clients, "always", more="<x xmlns='urn:x'/>")
	bob.sets(f"<prefs xmlns='{MAM}' default='never'/>", to=alice.bare_jid)
	bob.asks(f"<prefs xmlns='{MAM}'/>", to=alice.bare_jid)


@same("archive queries: preferences that are not valid")
def _(bob):
	for default, jid in (("other", ""), ("", ""), ("always", "@"), ("never", "")):
		jid = f"<always><jid>{jid}</jid></always>" if default in ("always", "never") else ""
		bob.sets(f"<prefs xmlns='{MAM}'{f' default={default!r}' if default else ''}>{jid}</prefs>")


@same("archive queries: preferences for a resource", watch=False)
def _(alice, bob, carol):
	prefs((bob, alice, carol), "never", [alice.jid])
	prefs((bob, alice, carol), "always", [], [carol.jid])


@same("archive: notes to oneself", watch=False)
def _(bob, bob_phone):
	bob.says(bob.bare_jid, "note")
	bob.says(bob.jid, "note")
	bob.says(bob_phone.jid, "note")
	query(bob, "")


@same("archive queries: over each connection, from another server, and for an inactive client")
def _(alice, bob, bob_sm, bob_bosh, bob_websocket, bob_tls, far_eve):
	filled(alice, bob, far_eve, count=6)
	for client in (bob, bob_sm, bob_bosh, bob_websocket, bob_tls):
		client.online()
		query(client, page(max="3", before=None))
	far_eve.sets(f"<query xmlns='{MAM}'/>", to=bob.bare_jid)
	for client in (bob, bob_sm):
		client.sends("<inactive xmlns='urn:xmpp:csi:0'/>")
		query(client, page(max="3"))


@same("archive: offline messages of a client that reads the archive, and of one that does not", watch=False)
def _(stage, alice, bob):
	bob.leaves()
	alice.says(bob.bare_jid, "archived and read")
	alice.sends(f"<message to='{bob.bare_jid}' id='c1'><x xmlns='urn:x'/></message>")
	reader = stage.again(bob, "reader")
	query(reader, page(max="1"))
	reader.online()
	reader.leaves()
	alice.says(bob.bare_jid, "archived and not read")
	stage.again(bob, "other").online()
