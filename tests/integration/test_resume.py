"""XEP-0198, 5: a session continues on another connection."""
import time

import bed
import xmpp
from steps import (EVERY_TRANSPORT, LAST, counters, cut, next_second, pair, say, stamp, start_at,
	stream_error)
from suite import behaviour
from xmpp import DELAY, SM3, failure

# --- retransmission ---

@behaviour("resume: unacknowledged stanzas are sent again, in order")
def unacknowledged_stanzas_come_again(server):
	alice, bob = pair(server)
	say(bob, alice, *range(5))
	assert alice.bodies(5) == list("01234")
	cut(server, alice)
	alice = server.resume(alice, h=0)
	assert alice.bodies(5) == list("01234")
	alice.nothing_more()


@behaviour("resume: acknowledged stanzas are not sent again")
def acknowledged_stanzas_do_not_come_again(server):
	alice, bob = pair(server)
	say(bob, alice, *range(5))
	alice.bodies(5)
	alice.ack(3)
	alice.handled()
	cut(server, alice)
	alice = server.resume(alice, h=3)
	assert alice.bodies(2) == ["3", "4"]
	alice.nothing_more()


@behaviour("resume: the h of <resume/> acknowledges", over=EVERY_TRANSPORT)
def the_h_of_resume_acknowledges(server, transport):
	alice, bob = pair(server, transport)
	say(bob, alice, *range(5))
	alice.bodies(5)
	cut(server, alice)
	alice = server.resume(alice, h=3)
	assert alice.bodies(2) == ["3", "4"]
	assert counters(server, alice) == (3, 2)


@behaviour("resume: messages to the hibernating session come, in order, before later ones")
def messages_while_detached_come_in_order(server):
	alice, bob = pair(server)
	say(bob, alice, "unread")
	cut(server, alice)
	say(bob, alice, *range(20))
	alice = server.resume(alice, h=0)
	say(bob, alice, "later")
	assert alice.bodies(22) == ["unread", *map(str, range(20)), "later"]
	alice.nothing_more()


@behaviour("resume: messages with and without acknowledgement before the cut")
def messages_before_and_after_an_ack(server):
	alice, bob = pair(server)
	say(bob, alice, "acknowledged", "received")
	alice.bodies(2)
	alice.ack(1)
	cut(server, alice)
	say(bob, alice, "detached")
	alice = server.resume(alice, h=1)
	assert alice.bodies(2) == ["received", "detached"]
	alice.nothing_more()


@behaviour("resume: more than five hundred stanzas to a hibernating session are all kept")
def a_long_queue_is_kept(server):
	alice, bob = pair(server)
	cut(server, alice)
	bob.send(*[f"<message type='chat' to='{alice.jid}'><body>{n}</body></message>" for n in range(2000)])
	bob.ping()
	alice = server.resume(alice)
	assert alice.bodies(2000) == [str(n) for n in range(2000)]
	alice.ack()
	alice.handled()
	assert counters(server, alice) == (2000, 0)


@behaviour("resume: messages sent while the client resumes come once each, in order")
def messages_during_a_resume_come_once(server):
	alice, bob = pair(server)
	sent = received = 0
	for _ in range(10):
		bob.send(*[f"<message type='chat' to='{alice.jid}'><body>{n}</body></message>" for n in range(sent, sent + 50)])
		sent += 50
		for body in alice.bodies(20):
			assert body == str(received), (body, received)
			received += 1
		alice.cut()
		alice = server.resume(alice)
	while received < sent:
		assert alice.message().body == str(received)
		received += 1
	alice.nothing_more()


@behaviour("resume: an iq answer reaches the resumed session")
def an_iq_answer_reaches_the_resumed_session(server):
	alice, bob = pair(server)
	alice.send(f"<iq type='get' id='question' to='{bob.jid}'><query xmlns='urn:test'/></iq>")
	question = bob.stanza()
	cut(server, alice)
	bob.send(f"<iq type='result' id='{question['id']}' to='{question['from']}'/>")
	bob.ping()
	alice = server.resume(alice)
	answer = alice.stanza()
	assert (answer["type"], answer["id"], answer["from"]) == ("result", "question", bob.jid), answer


@behaviour("resume: text, attributes and namespaces of every kind survive")
def content_survives(server):
	alice, bob = pair(server)
	cut(server, alice)
	bob.send(f"<message to='{alice.jid}' type='chat' id='&quot;&apos;&lt;&gt;&amp;' xml:lang='de'>"
		"<body>\u00fc\u20ac\U0001f600 &lt;&amp;&gt; ]]&gt; '\"\ttab</body>"
		"<x xmlns='urn:one'><y xmlns='urn:two' a='1'><z xmlns=''/></y><empty/></x></message>")
	bob.ping()
	alice = server.resume(alice)
	message = alice.message()
	assert message["id"] == "\"'<>&" and message["lang"] == "de", message
	assert message.body == "\u00fc\u20ac\U0001f600 <&> ]]> '\"\ttab", message
	x = message.child("x", "urn:one")
	assert x.child("y", "urn:two")["a"] == "1" and x.child("empty", "urn:one"), message


# --- delay ---

@behaviour("delay: a message sent again carries the time it was sent first", over=("tcp", "websocket"))
def a_resent_message_is_delayed(server, transport):
	alice, bob = pair(server, transport)
	before = stamp(time.time())
	say(bob, alice, "hello")
	after = stamp(time.time())
	cut(server, alice)
	next_second()
	message = server.resume(alice, transport).message()
	delays = message.all("delay", DELAY)
	assert len(delays) == 1, message
	assert before <= delays[0]["stamp"] <= after, (before, message, after)
	assert delays[0]["from"] == alice.bare_jid, message


@behaviour("delay: a presence sent again carries it, an iq never does")
def a_resent_presence_is_delayed(server):
	alice, bob = pair(server)
	cut(server, alice)
	bob.send(f"<presence to='{alice.jid}'/>", f"<iq type='get' id='1' to='{alice.jid}'><query xmlns='urn:test'/></iq>")
	bob.ping()
	alice = server.resume(alice)
	presence, iq = alice.stanza(), alice.stanza()
	assert presence.name == "presence" and presence.child("delay", DELAY)["from"] == alice.bare_jid, presence
	assert iq.name == "iq" and iq.child("query") and not iq.child("delay"), iq


@behaviour("delay: a stanza that has one keeps it, and does not get a second one")
def an_existing_delay_is_kept(server):
	alice, bob = pair(server)
	cut(server, alice)
	old = "2002-09-10T23:08:25Z"
	bob.chat(alice, "old", payload=f"<delay xmlns='{DELAY}' from='elsewhere.test' stamp='{old}'/>")
	bob.chat(alice, "other", payload="<delay xmlns='urn:other'/>")
	bob.ping()
	alice = server.resume(alice)
	kept, other = alice.message(), alice.message()
	assert [d["stamp"] for d in kept.all("delay")] == [old], kept
	assert [d.xmlns for d in other.all("delay")].count(DELAY) == 1, other


@behaviour("delay: stanzas that are sent for the first time do not carry it")
def first_delivery_has_no_delay(server):
	alice, bob = pair(server)
	say(bob, alice, "fresh")
	assert not alice.message().child("delay")
	cut(server, alice)
	alice = server.resume(alice)
	say(bob, alice, "fresh again")
	assert not alice.message().child("delay")


# --- the session carries on ---

@behaviour("resume: answered with previd and the server's count, which carries on", over=EVERY_TRANSPORT)
def resumed_has_previd_and_count(server, transport):
	alice, _ = pair(server, transport)
	alice.ping()
	alice.ping()
	cut(server, alice)
	alice = server.resume(alice)
	assert alice.resumed["h"] == "2", alice.resumed
	alice.ping()
	assert alice.handled() == 3


@behaviour("resume: the server asks for an <a/> once it has sent everything again")
def the_server_asks_after_resending(server):
	alice, bob = pair(server)
	cut(server, alice)
	say(bob, alice, "one", "two")
	alice = server.resume(alice)
	assert [alice.next().name for _ in range(3)] == ["message", "message", "r"]


@behaviour("resume: again and again, with both counters carrying on")
def repeated_resumes_keep_the_counters(server):
	alice, bob = pair(server)
	for n in range(1, 6):
		cut(server, alice)
		say(bob, alice, n)
		alice = server.resume(alice)
		assert alice.resumed["h"] == str(n - 1)
		assert alice.message().body == str(n)
		alice.ping()
		alice.ack()
	assert alice.handled() == 5
	assert counters(server, alice) == (10, 0)


@behaviour("resume: both counters modulo 2^32 across the wrap")
def both_counters_wrap(server):
	alice, bob = pair(server)
	start_at(server, alice, LAST)
	alice.chat(bob, "wraps the other counter")
	say(bob, alice, *range(4))
	cut(server, alice)
	alice = server.resume(alice, h=1)
	assert alice.resumed["h"] == "0", alice.resumed
	assert alice.bodies(2) == ["2", "3"]
	assert alice.h == 3
	alice.ack()
	alice.handled()
	assert counters(server, alice) == (3, 0)


@behaviour("resume: a second <enable/> on the resumed stream fails, the session goes on")
def enable_after_a_resume_fails(server):
	alice, bob = pair(server)
	cut(server, alice)
	alice = server.resume(alice)
	alice.send(f"<enable xmlns='{SM3}' resume='true'/>")
	assert failure(alice.until("failed")) == "unexpected-request"
	say(bob, alice, "goes on")
	assert alice.message().body == "goes on"


@behaviour("resume: the resumed session closes cleanly, with the last <a/>")
def a_resumed_session_closes_cleanly(server):
	alice, _ = pair(server)
	cut(server, alice)
	alice = server.resume(alice)
	alice.ping()
	assert [e["h"] for e in alice.close() if e.name == "a"] == ["1"]
	server.wait_gone(alice)


# --- the old connection ---

@behaviour("resume: an old connection that is alive gets <conflict/> and is closed",
	over=("tcp", "websocket"))
def a_live_old_connection_gets_conflict(server, transport):
	alice, bob = pair(server, transport)
	new = server.resume(alice)
	assert failure(stream_error(alice)) == "conflict"
	say(bob, new, "hello")
	assert new.message().body == "hello"
	new.ping()


@behaviour("resume: an old connection that is dead without notice is dropped")
def a_dead_old_connection_is_closed(server):
	with bed.Proxy(server.port) as proxy:
		alice, bob = server.login("alice", port=proxy.port), server.login("bob")
		alice.enable()
		proxy.freeze()
		say(bob, alice, "into the void", "and more")
		new = server.resume(alice)
		assert new.bodies(2) == ["into the void", "and more"]
		alice.transport.wait_for_end()
		say(bob, new, "arrives")
		assert new.message().body == "arrives"


@behaviour("resume: stanzas that the old connection sends afterwards are not counted")
def late_stanzas_of_the_old_connection_are_ignored(server):
	alice, _ = pair(server)
	new = server.resume(alice)
	try:
		alice.send(*["<presence/>"] * 3)
	except OSError:
		pass
	new.ping()
	assert new.handled() == 1


# --- presence ---

@behaviour("presence: a cut and a resume broadcast nothing, a clean close broadcasts unavailable")
def a_resume_broadcasts_no_presence(server):
	alice, bob = pair(server)
	alice.send(f"<presence to='{bob.jid}'/>")
	assert bob.stanza().name == "presence"
	cut(server, alice)
	alice = server.resume(alice)
	say(alice, bob, "nothing before this")
	assert bob.stanza().body == "nothing before this"
	alice.close()
	assert bob.stanza()["type"] == "unavailable"


@behaviour("presence: a session that is not resumed in time becomes unavailable",
	options={"smacks_hibernation_time": 1})
def an_expired_session_becomes_unavailable(server):
	alice, bob = pair(server)
	alice.send(f"<presence to='{bob.jid}'/>")
	assert bob.stanza()["type"] is None
	cut(server, alice)
	assert bob.stanza()["type"] == "unavailable"


@behaviour("presence: a subscription request to the hibernating session comes when it resumes")
def a_subscription_request_waits_for_the_resume(server):
	alice, bob = pair(server)
	alice.available()
	cut(server, alice)
	bob.send(f"<presence type='subscribe' to='{alice.bare_jid}'/>")
	bob.ping()
	alice = server.resume(alice)
	request = alice.stanza()
	assert (request["type"], request["from"]) == ("subscribe", bob.bare_jid), request


# --- pipelining ---

@behaviour("pipelining: <resume/>, stanzas and <r/> in one segment are answered in order",
	over=("tcp", "websocket"))
def pipelined_resume_is_answered_in_order(server, transport):
	alice, bob = pair(server, transport)
	cut(server, alice)
	say(bob, alice, *range(3))
	new = server.authenticated(alice.user, transport)
	new.sm = SM3
	new.send(f"<resume xmlns='{SM3}' previd='{alice.id}' h='0'/>",
		*[f"<message type='chat' to='{bob.jid}'><body>{n}</body></message>" for n in range(10)],
		f"<r xmlns='{SM3}'/>",
		f"<iq type='get' id='last' to='{server.host}'><ping xmlns='urn:xmpp:ping'/></iq>")
	resumed = new.next()
	assert (resumed.name, resumed["h"]) == ("resumed", "0"), resumed
	assert new.bodies(3) == ["0", "1", "2"]
	assert new.until("a")["h"] == "10"
	assert new.stanza()["id"] == "last"
	assert bob.bodies(10) == [str(n) for n in range(10)]


@behaviour("pipelining: a hundred stanzas behind <resume/> are all handled before anything more comes",
	options={"storage": "native"})
def pipelined_stanzas_are_handled_first(server):
	alice, bob = pair(server)
	cut(server, alice)
	say(bob, alice, "waiting")
	new = server.authenticated(alice.user)
	new.sm = SM3
	body = "x" * 1000
	new.send(f"<resume xmlns='{SM3}' previd='{alice.id}' h='0'/>"
		+ "".join(f"<message type='chat' to='{bob.jid}' id='{n}'><body>{body}</body></message>" for n in range(100)))
	assert [bob.stanza()["id"] for _ in range(100)] == [str(n) for n in range(100)]


@behaviour("pipelining: bind, <enable/> and stanzas in one segment are answered in order",
	over=("tcp", "websocket"))
def pipelined_enable_is_answered_in_order(server, transport):
	client = server.authenticated(server.account("alice"), transport)
	client.send(f"<iq type='set' id='1'><bind xmlns='{xmpp.BIND}'/></iq>", f"<enable xmlns='{SM3}' resume='true'/>",
		"<presence/>", f"<r xmlns='{SM3}'/>")
	assert client.next()["type"] == "result"
	assert client.next().name == "enabled"
	assert client.until("a")["h"] == "1"


# --- a long queue ---

def long_queue(server, transport="tcp", count=60):
	"""A hibernating session with a queue of 5 MB; returns its client and bob."""
	alice, bob = pair(server, transport)
	cut(server, alice)
	for n in range(count):
		bob.send(f"<message to='{alice.jid}' id='{n}'><body>{'x' * 80000}</body></message>")
	bob.ping()
	return alice, bob


def write_buffer(server, client):
	"""Bytes that wait in the write buffer of a session's connection."""
	return int(server.session(client, "(function (b) local n = 0; if type(b) == 'table' and not b.sub then "
		"for _, c in ipairs(b) do n = n + #c; end; return n; end; return b and #b or 0; end)(s.conn.writebuffer)"))


@behaviour("resume: a long queue is written as its client reads it, new stanzas behind it", over=("tcp", "websocket"))
def a_long_queue_is_written_as_the_client_reads(server, transport):
	alice, bob = long_queue(server, transport)
	alice = server.resume(alice, transport)
	assert write_buffer(server, alice) < 1500000
	say(bob, alice, "after")
	assert [alice.stanza()["id"] for _ in range(61)] == [*map(str, range(60)), "after"]
	alice.ack()
	alice.handled()
	assert counters(server, alice)[1] == 0
	alice.nothing_more()


@behaviour("resume: requests are answered and acks counted while a long queue is written")
def requests_are_answered_during_a_long_resend(server):
	alice, bob = long_queue(server)
	alice = server.resume(alice)
	alice.send(f"<r xmlns='{SM3}'/>")
	assert alice.stanza()["id"] == "0"
	alice.ack()
	server.wait_until(alice, "s.outgoing_stanza_queue:count_acked() == 1")
	assert [alice.stanza()["id"] for _ in range(59)] == [str(n) for n in range(1, 60)]
	alice.nothing_more()


@behaviour("resume: a client that is cut while a long queue is written does not miss stanzas")
def a_cut_during_a_long_resend_loses_nothing(server):
	alice, bob = long_queue(server)
	for n in (0, 3, 7):
		alice = server.resume(alice, h=n)
		assert alice.stanza()["id"] == str(n)
		cut(server, alice)
		say(bob, alice, f"away at {n}")
	alice = server.resume(alice, h=10)
	assert [alice.stanza()["id"] for _ in range(53)] == [*map(str, range(10, 60)), "away at 0", "away at 3", "away at 7"]
	alice.nothing_more()


@behaviour("resume: a long queue is still written after a reload of the module")
def a_long_resend_survives_a_reload(server):
	alice, bob = long_queue(server)
	alice = server.resume(alice)
	assert "reloaded" in server.shell("module", "reload", "smacks", server.host).lower()
	say(bob, alice, "after")
	assert [alice.stanza()["id"] for _ in range(61)] == [*map(str, range(60)), "after"]
