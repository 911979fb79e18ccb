"""Pages of mod_mam that are sent as stored bytes: the same as stanzas, on every transport, queued and acknowledged like these."""
import bed
from mam import MAM, Entry, fill, query
from steps import EVERY_TRANSPORT, counters, cut, say
from suite import behaviour

NATIVE = {"modules": ["mam"], "options": {"storage": "native"}}


def messages(count):
	return [Entry(f"{n} <&> \u00e4", 1700000000 + n, "bob@prosody.test") for n in range(count)]


def owner(server, count, transport="tcp"):
	client = server.login("alice", transport)
	return client, fill(server, client.user, messages(count))


def plain_query(client, ident, **rsm):
	"""Sends a query and does not wait for its results."""
	payload = "".join(f"<{name}>{value}</{name}>" for name, value in rsm.items())
	client.send(f"<iq type='set' id='{ident}'><query xmlns='{MAM}' queryid='{ident}'>"
		f"<set xmlns='http://jabber.org/protocol/rsm'>{payload}</set></query></iq>")


@behaviour("mam pages: every transport gets the same page, with stream management and without", over=EVERY_TRANSPORT, **NATIVE)
def every_transport_gets_the_page(server, transport):
	alice, sent = owner(server, 5, transport)
	for _ in range(2):
		page = query(alice, max=3)
		assert (page.bodies, page.complete, page.count) == ([m.body for m in sent[:3]], False, 5), page
		page = query(alice, max=3, before="", flip=True)
		assert page.bodies == [m.body for m in sent[:1:-1]], page
		assert (page.first, page.last) == (sent[2].id, sent[4].id), page
		if not alice.sm:
			alice.enable()
	assert alice.handled() > 0


# What may look at the stanzas of a session
WATCHERS = {
	"nothing": "",
	"a wrapped send function": """
		local send = session.send;
		session.send = function (t)
			if type(t) == "table" and t:get_child("result", xmlns) then session.seen = session.seen + 1; end
			return send(t);
		end""",
	"a filter": """
		require "util.filters".add_filter(session, "stanzas/out", function (t)
			if t.name == "message" then
				session.seen = session.seen + 1;
				t:get_child("result", xmlns).attr.seen = "yes";
			end
			return t;
		end);""",
}


def page_of(server, client, watcher):
	"""How many results the watcher sees, and in how many writes the page leaves."""
	server.lua(f"""
		local xmlns, session = "{MAM}", prosody.full_sessions[{bed.lua(client.jid)}];
		session.seen, session.writes = 0, 0;
		local rawsend = session.rawsend;
		session.rawsend = function (t)
			if tostring(t):find("<result", 1, true) then session.writes = session.writes + 1; end
			return rawsend(t);
		end;
		{watcher}""")
	plain_query(client, "q", max=3)
	results = [client.stanza().child("result") for _ in range(3)]
	assert client.stanza()["id"] == "q"
	return results, server.session(client, "s.seen"), server.session(client, "s.writes")


@behaviour("mam pages: a page is one write on TCP, unless a filter or a wrapped send function looks at the stanzas", **NATIVE)
def a_page_is_one_write_where_nobody_looks(server):
	for what, watcher in WATCHERS.items():
		for with_sm in (False, True):
			alice, sent = owner(server, 3)
			if with_sm:
				alice.enable()
			results, seen, writes = page_of(server, alice, watcher)
			assert [r["id"] for r in results] == [m.id for m in sent], (what, results)
			assert (seen, writes) == (("0", "1") if not watcher else ("3", "3")), (what, with_sm, seen, writes)
			assert {r["seen"] for r in results} == {"yes" if what == "a filter" else None}, (what, results)


@behaviour("mam pages: each result is counted, queued, and resent on a resumption until it is acknowledged", **NATIVE)
def results_are_queued(server):
	alice, sent = owner(server, 4)
	alice.enable()
	plain_query(alice, "q", max=4)
	results = [alice.stanza() for _ in range(5)]
	assert counters(server, alice) == (0, 5) and alice.h == 5
	alice.ack(2)
	cut(server, alice)
	resumed = server.resume(alice, h=2)
	again = [resumed.stanza() for _ in range(3)]
	assert [r.child("result")["id"] for r in again[:2]] == [m.id for m in sent[2:]], again
	assert again[0].find("result", "forwarded", "message").body == sent[2].body
	assert all(r.child("delay") for r in again[:2]) and again[2].name == "iq", again
	assert not any(r.child("delay") for r in results[:4])
	resumed.ack()
	resumed.ping()
	assert counters(server, resumed)[0] == 5


@behaviour("mam pages: an ack is requested once for a page", modules=["mam"],
	options={"storage": "native", "smacks_max_unacked_stanzas": 2})
def one_request_for_a_page(server):
	alice, _ = owner(server, 10)
	alice.enable()
	plain_query(alice, "q", max=10)
	seen = []
	while not seen or seen[-1].name != "iq":
		seen.append(alice.next())
	assert [e.name for e in seen] == ["message"] * 10 + ["r", "iq"], [e.name for e in seen]


@behaviour("mam pages: a page that exceeds the limit of an account ends its session, and nothing else", modules=["mam"],
	options={"storage": "native", "smacks_max_account_bytes": 4000})
def a_page_counts_for_the_account(server):
	alice, _ = owner(server, 30)
	alice.enable()
	plain_query(alice, "q", max=30)
	ended = alice.transport.wait_for_end()
	assert [e for e in ended if e.name == "error"], ended
	server.expect_log("smacks_max_account_bytes exceeded")
	assert query(server.again(alice), max=30).count == 30


@behaviour("mam pages: a session that hibernates gets its results when it resumes", **NATIVE)
def a_hibernating_session_gets_its_page(server):
	alice, sent = owner(server, 3)
	alice.enable()
	cut(server, alice)
	answered = server.lua(f"""
		local session = prosody.full_sessions[{bed.lua(alice.jid)}];
		local st = require "util.stanza";
		local query = st.iq({{ type = "set", id = "q", from = session.full_jid }}):tag("query", {{ xmlns = "{MAM}" }}):up();
		return tostring(prosody.hosts[session.host].events.fire_event("iq-set/self/{MAM}:query", {{ origin = session, stanza = query }}))""")
	assert answered == "true", answered
	resumed = server.resume(alice)
	results = [resumed.stanza() for _ in range(4)]
	assert [r.child("result")["id"] for r in results[:3]] == [m.id for m in sent] and results[3]["id"] == "q", results


@behaviour("mam pages: an inactive client gets its results at once and in order with other stanzas", modules=["mam", "csi_simple"],
	options={"storage": "native"})
def an_inactive_client_gets_its_page(server):
	alice, sent = owner(server, 3)
	bob = server.login("bob")
	alice.enable()
	alice.send("<inactive xmlns='urn:xmpp:csi:0'/>")
	alice.handled()
	bob.send(f"<message to='{alice.jid}' type='chat'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>")
	bob.ping()
	assert query_after_state(alice) == [m.id for m in sent]
	say(bob, alice, "important")
	assert alice.message().body == "important"


def query_after_state(client):
	"""The ids of a page; a chat state may come before it."""
	plain_query(client, "q", max=5)
	ids = []
	while True:
		stanza = client.stanza()
		if stanza.name == "iq":
			return ids
		if stanza.child("result"):
			ids.append(stanza.child("result")["id"])
		else:
			assert not ids, stanza


@behaviour("mam pages: reloads of storage and stream management between two pages change nothing", **NATIVE)
def reloads_change_nothing(server):
	alice, sent = owner(server, 3)
	page = query(alice, fields={"ids": [m.id for m in sent]})
	assert page.ids == [m.id for m in sent], page
	server.shell("module", "reload", "storage_native", server.host)
	assert query(alice).ids == page.ids
	server.shell("module", "reload", "smacks", server.host)
	alice.enable()
	server.shell("module", "reload", "smacks", server.host)
	assert query(alice).ids == page.ids
