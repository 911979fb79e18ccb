"""The end of a session: its undelivered stanzas are stored, left to the archive, or bounced, once."""
import time

import bed
from steps import cut, next_second, pair, pending_offline, say, stamp, stream_error
from suite import behaviour
from xmpp import DELAY, STANZA_ERRORS

SHORT = {"smacks_hibernation_time": 1}
NO_OFFLINE = {**SHORT, "modules_disabled": ["tls", "s2s", "offline"]}
MAM = "urn:xmpp:mam:2"


def is_bounce(stanza, kind="message"):
	error = stanza.child("error")
	condition = "service-unavailable" if kind == "iq" else "recipient-unavailable"
	return stanza.name == kind and stanza["type"] == "error" and error.child(condition, STANZA_ERRORS)


def use_archive(client):
	client.ask(f"<query xmlns='{MAM}'/>", "set")


def archive(client):
	"""The bodies in an account's archive; the client must not be the one under test."""
	answer = client.ask(f"<query xmlns='{MAM}'/>", "set")
	assert answer["type"] == "result", answer
	results = [e for e in client.unread if e.child("result", MAM)]
	client.unread.clear()
	return [e.find("result", "forwarded", "message").body for e in results]


def drain(client):
	"""The bodies of all messages in transit to a client without stream management."""
	client.ping()
	bodies = [e.body for e in client.unread if e.name == "message"]
	client.unread.clear()
	return bodies


# --- stored offline ---

@behaviour("end: a session that expires leaves its messages offline, in order, for the next login", options=SHORT)
def expiry_stores_messages_offline_in_order(server):
	alice, bob = pair(server)
	say(bob, alice, "unacknowledged")
	cut(server, alice)
	say(bob, alice, "detached", "and more")
	server.wait_gone(alice)
	assert drain(server.again(alice).available()) == ["unacknowledged", "detached", "and more"]
	assert drain(bob) == []


@behaviour("end: acknowledged stanzas are not delivered twice", options=SHORT)
def acknowledged_messages_are_not_delivered_twice(server):
	alice, bob = pair(server)
	say(bob, alice, "acknowledged", "not")
	alice.bodies(2)
	alice.ack(1)
	alice.handled()
	cut(server, alice)
	server.wait_gone(alice)
	assert drain(server.again(alice).available()) == ["not"]


@behaviour("end: a message delivered later carries its original time", options=SHORT)
def later_delivery_keeps_the_original_time(server):
	alice, bob = pair(server)
	before = stamp(time.time())
	say(bob, alice, "hello")
	after = stamp(time.time())
	next_second()
	cut(server, alice)
	server.wait_gone(alice)
	message = server.again(alice).available().message()
	assert any(before <= d["stamp"] <= after for d in message.all("delay", DELAY)), (before, message, after)


@behaviour("end: a stream closed by its client leaves unacknowledged messages offline")
def a_closed_stream_stores_messages_offline(server):
	alice, bob = pair(server)
	say(bob, alice, "unacknowledged")
	alice.close()
	server.wait_gone(alice)
	assert drain(server.again(alice).available()) == ["unacknowledged"]


@behaviour("end: a cut session without resumption leaves them offline at once")
def a_cut_without_resumption_stores_at_once(server):
	alice, bob = server.login("alice"), server.login("bob")
	alice.enable(resume=False)
	say(bob, alice, "unacknowledged")
	alice.cut()
	server.wait_gone(alice)
	assert drain(server.again(alice).available()) == ["unacknowledged"]


@behaviour("end: messages of a session replaced by another with its resource are delivered elsewhere, once")
def a_replaced_hibernating_session_hands_over(server):
	user, bob = server.account("alice"), server.login("bob")
	alice = server.authenticated(user).bind("phone")
	alice.enable()
	cut(server, alice)
	say(bob, alice, "one", "two")
	new = server.authenticated(user).bind("phone").available()
	assert drain(new) == ["one", "two"]
	assert pending_offline(server, user) == []
	assert drain(bob) == []


@behaviour("end: messages of a connected session replaced by another with its resource are delivered elsewhere")
def a_replaced_connected_session_hands_over(server):
	user, bob = server.account("alice"), server.login("bob")
	alice = server.authenticated(user).bind("phone")
	alice.enable()
	say(bob, alice, "unacknowledged")
	new = server.authenticated(user).bind("phone").available()
	assert stream_error(alice).child("conflict")
	assert drain(new) == ["unacknowledged"]


@behaviour("end: messages of a session that the administrator closes are delivered elsewhere")
def a_session_closed_by_the_admin_hands_over(server):
	alice, bob = pair(server)
	say(bob, alice, "unacknowledged")
	server.lua(f"prosody.full_sessions[{bed.lua(alice.jid)}]:close('policy-violation')")
	stream_error(alice)
	assert drain(server.again(alice).available()) == ["unacknowledged"]


@behaviour("end: messages of a hibernating session that the administrator closes are delivered elsewhere")
def a_hibernating_session_closed_by_the_admin_hands_over(server):
	alice, bob = pair(server)
	cut(server, alice)
	say(bob, alice, "detached")
	server.lua(f"prosody.full_sessions[{bed.lua(alice.jid)}]:close('policy-violation')")
	server.wait_gone(alice)
	assert server.authenticated(alice.user).try_resume(alice, 0).name == "failed"
	assert drain(server.again(alice).available()) == ["detached"]


# --- bounced ---

@behaviour("end: with nowhere to store, a message bounces, once", options=NO_OFFLINE)
def without_storage_a_message_bounces(server):
	alice, bob = pair(server)
	cut(server, alice)
	bob.chat(alice, "hello")
	bounce = bob.stanza()
	assert is_bounce(bounce) and bounce["id"] == "hello", bounce
	assert bounce["from"] == alice.jid, bounce
	bob.ping()
	assert not bob.unread, bob.unread


@behaviour("end: an iq request bounces, an iq answer never does", options=SHORT)
def iq_requests_bounce_and_answers_do_not(server):
	alice, bob = pair(server)
	cut(server, alice)
	for kind in ("result", "error", "get", "set"):
		payload = "<query xmlns='urn:test'/>" if kind in ("get", "set") else ""
		bob.send(f"<iq type='{kind}' id='{kind}' to='{alice.jid}'>{payload}</iq>")
	bounces = [bob.stanza(), bob.stanza()]
	assert [(b["id"], bool(is_bounce(b, "iq"))) for b in bounces] == [("get", True), ("set", True)], bounces
	bob.ping()
	assert not bob.unread, bob.unread


@behaviour("end: an error message never bounces", options=NO_OFFLINE)
def error_messages_never_bounce(server):
	alice, bob = pair(server)
	cut(server, alice)
	bob.send(f"<message type='error' id='1' to='{alice.jid}'><error type='cancel'>"
		f"<item-not-found xmlns='{STANZA_ERRORS}'/></error></message>")
	bob.ping()
	server.wait_gone(alice)
	bob.ping()
	assert not bob.unread, bob.unread


@behaviour("end: stanzas that a session sent to itself do not return as errors", options=NO_OFFLINE)
def messages_to_oneself_do_not_bounce(server):
	alice, _ = pair(server)
	alice.chat(alice, "note to self")
	alice.ping()
	cut(server, alice)
	server.wait_gone(alice)


@behaviour("end: a subscription request outlives the session", options=SHORT)
def a_subscription_request_outlives_the_session(server):
	alice, bob = pair(server)
	alice.available()
	cut(server, alice)
	bob.send(f"<presence type='subscribe' to='{alice.bare_jid}'/>")
	bob.ping()
	server.wait_gone(alice)
	again = server.again(alice)
	again.send("<presence/>")
	seen = [again.stanza(), again.stanza()]
	assert ("subscribe", bob.bare_jid) in [(e["type"], e["from"]) for e in seen], seen


# --- left to the archive ---

@behaviour("end: a client that reads its archive finds a message there, and only there",
	modules=["mam"], options=SHORT)
def a_client_with_an_archive_finds_it_there(server):
	alice, bob = pair(server)
	use_archive(alice)
	alice.handled()
	cut(server, alice)
	say(bob, alice, "archived")
	server.wait_gone(alice)
	assert pending_offline(server, alice.user) == []
	assert drain(bob) == []
	again = server.again(alice)
	assert archive(again) == ["archived"]


@behaviour("end: unacknowledged results from the archive are not stored as messages",
	modules=["mam"], options=SHORT)
def archive_answers_are_not_stored(server):
	alice, bob = pair(server)
	say(bob, alice, "archived")
	alice.message()
	alice.ack()
	use_archive(alice)
	cut(server, alice)
	server.wait_gone(alice)
	assert pending_offline(server, alice.user) == []
	assert archive(server.again(alice)) == ["archived"]


# --- other resources ---

@behaviour("end: another resource goes on while one hibernates and expires", options=SHORT)
def another_resource_goes_on(server):
	alice, bob = pair(server)
	tablet = server.again(alice).available()
	cut(server, alice)
	say(bob, tablet, "for the tablet")
	assert tablet.stanza().body == "for the tablet"
	server.wait_gone(alice)
	say(bob, tablet, "still here")
	assert tablet.until("message").body == "still here"


@behaviour("end: a message with sixty thousand bytes of text survives storage", options=SHORT)
def a_long_message_survives_storage(server):
	alice, bob = pair(server)
	cut(server, alice)
	text = "\u00e4<&>\U0001f600" * 6000
	bob.chat(alice, text[:10], payload="")
	bob.send(f"<message type='chat' to='{alice.jid}'><body>{bed.xmpp.escape(text)}</body></message>")
	bob.ping()
	server.wait_gone(alice)
	assert drain(server.again(alice).available()) == [text[:10], text]
