"""Queries of archives (XEP-0313) on stock Prosody and on ours: filters, pages, metadata, preferences, and errors."""
from same import same

MAM, RSM, FORM = "urn:xmpp:mam:2", "http://jabber.org/protocol/rsm", "jabber:x:data"
STAMPS = ["1969-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "2020-02-30T00:00:00Z", "2016-12-31T23:59:60Z", 
	"2026-01-01", "now", "", "2020-01-01T00:00:00+02:00"]


def field(name, *values):
	return f"<field var='{name}'>" + "".join(f"<value>{value}</value>" for value in values) + "</field>"


def form(*fields, kind="submit", form_type=MAM):
	return f"<x xmlns='{FORM}' type='{kind}'>{field('FORM_TYPE', form_type) if form_type else ''}{''.join(fields)}</x>"


def page(**wanted):
	inside = "".join(f"<{name}>{value}</{name}>" if value is not None else f"<{name}/>" for name, value in wanted.items())
	return f"<set xmlns='{RSM}'>{inside}</set>"


def query(client, content, to=None, attributes="queryid='c5'"):
	client.notes(f"asks for {content} {attributes} {to}")
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
		for size in ("0", "1", "3", "7", "8", "9", "50", "1000", "-1", "x", "1e2", "99999999999999999999"):
			query(bob, page(max=size) + flip)
			query(bob, page(max=size, before=None) + flip)
		for ident in (known[0], known[3], known[-1]):
			query(bob, page(max="3", after=ident) + flip)
			query(bob, page(max="3", before=ident) + flip)
		query(bob, page(max="3", after=known[1], before=known[6]) + flip)
		query(bob, page() + flip)
		query(bob, page(max=None) + flip)
		query(bob, page(index="2", max="2") + flip)


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
	query(bob, form(field("ids")))


@same("archive queries: filters by JID, time and id")
def _(alice, bob, carol):
	filled(alice, bob, carol)
	known = ids(bob)
	for jid in (alice.jid, alice.bare_jid, carol.bare_jid, bob.bare_jid, alice.bare_jid.upper(), "nobody@x.test", "@", "", "x.test"):
		query(bob, form(field("with", jid)))
		query(bob, form(field("with", jid)) + page(max="2", before=None))
	for name in ("start", "end"):
		for stamp in STAMPS:
			query(bob, form(field(name, stamp)))
	query(bob, form(field("start", "1971-01-01T00:00:00Z"), field("end", "2999-01-01T00:00:00Z"), field("with", alice.bare_jid)))
	query(bob, form(field("after-id", known[2]), field("before-id", known[5])))
	query(bob, form(field("ids", known[3], known[1])))


@same("archive queries: malformed forms and requests")
def _(alice, bob):
	filled(alice, bob, count=3)
	for content in (form(field("unknown", "1")), form(field("{urn:x}y", "1")), form(form_type=None), form(form_type="urn:xmpp:mam:1"),
			form(kind="cancel"), form(kind="result"), f"<x xmlns='{FORM}'/>", f"<x xmlns='{FORM}' type='submit'/>", "<x xmlns='urn:x'/>",
			form(field("with", alice.bare_jid, bob.bare_jid)), form(field("with")), form("<field/>"), form() + form(),
			page(max="2") + page(max="1"), form(field("include-groupchat", "true")), form(field("include-groupchat", "false")),
			"<flip-page/>", "<flip-page/>" * 2):
		query(bob, content)
	query(bob, "", attributes="")
	query(bob, "", attributes="node='n' queryid=''")
	query(bob, "", to=bob.bare_jid)
	query(bob, "", to=alice.bare_jid)
	query(bob, "", to="prosody.test")
	query(bob, "", to="nobody@prosody.test")
	bob.asks(f"<query xmlns='{MAM}'/>")
	bob.sends(f"<iq type='set' id='c2'><query xmlns='{MAM}'/><query xmlns='{MAM}'/></iq>")


@same("archive queries: metadata, of an empty archive too")
def _(alice, bob):
	bob.asks(f"<metadata xmlns='{MAM}'/>")
	query(bob, "")
	filled(alice, bob, count=3)
	for to in (None, bob.bare_jid, alice.bare_jid, "prosody.test"):
		bob.asks(f"<metadata xmlns='{MAM}'/>", to=to)
	bob.sets(f"<metadata xmlns='{MAM}'/>")


@same("archive queries: preferences, and what they keep")
def _(alice, bob, carol):
	def prefs(default, always=(), never=(), more=""):
		lists = "".join(f"<{name}>" + "".join(f"<jid>{jid}</jid>" for jid in jids) + f"</{name}>"
			for name, jids in (("always", always), ("never", never)))
		bob.sets(f"<prefs xmlns='{MAM}'{f' default={default!r}' if default else ''}>{lists}{more}</prefs>")
		bob.asks(f"<prefs xmlns='{MAM}'/>")
		for client in (alice, carol):
			client.says(bob.bare_jid, "in")
			client.says(bob.jid, "in")
			bob.says(client.jid, "out")
		bob.says(bob.bare_jid, "note")
		query(bob, "")
	bob.asks(f"<prefs xmlns='{MAM}'/>")
	prefs("always")
	prefs("never")
	prefs("roster")
	prefs("roster", [alice.bare_jid])
	prefs("never", [alice.jid], [carol.bare_jid])
	prefs("always", [alice.bare_jid], [alice.bare_jid, carol.jid])
	prefs("always", [], [alice.bare_jid.upper(), "@", ""])
	prefs("never", ["prosody.test", bob.bare_jid])
	prefs("other")
	prefs(None)
	prefs("always", more="<x xmlns='urn:x'/>")
	bob.sets(f"<prefs xmlns='{MAM}' default='never'/>", to=alice.bare_jid)
	bob.asks(f"<prefs xmlns='{MAM}'/>", to=alice.bare_jid)


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
