"""XEP-0198, 4: counters, <r/> and <a/>."""
import xmpp
from steps import EVERY_TRANSPORT, LAST, counters, start_at, stream_error
from suite import behaviour
from xmpp import SM3, failure

# --- the server's count ---

@behaviour("count: h is 0 after enabling, whatever came before", over=EVERY_TRANSPORT)
def h_starts_at_zero(server, transport):
	alice = server.login("alice", transport).available()
	alice.ping()
	alice.enable()
	assert alice.handled() == 0


@behaviour("count: chat, presence and iq count one each", over=EVERY_TRANSPORT)
def each_stanza_counts_once(server, transport):
	alice, bob = server.login("alice", transport), server.login("bob")
	alice.enable()
	alice.chat(bob, "hello")
	assert alice.handled() == 1
	alice.send("<presence/>")
	assert alice.handled() == 2
	alice.ping()
	assert alice.handled() == 3


@behaviour("count: only stanzas count", modules=["csi"])
def other_elements_do_not_count(server):
	alice = server.login("alice")
	alice.enable()
	alice.send(" ", f"<a xmlns='{SM3}' h='0'/>", "<inactive xmlns='urn:xmpp:csi:0'/>",
		f"<r xmlns='{SM3}'/>", "<active xmlns='urn:xmpp:csi:0'/>")
	assert alice.until("a")["h"] == "0"
	assert alice.handled() == 0


@behaviour("count: a stanza that is answered with an error has been handled")
def a_refused_stanza_counts(server):
	alice = server.login("alice")
	alice.enable()
	assert alice.ask("<query xmlns='nobody:knows'/>", to=server.host)["type"] == "error"
	alice.chat("nobody@prosody.test", "is anybody there")
	assert alice.stanza()["type"] == "error"
	assert alice.handled() == 2


@behaviour("count: a stanza qualified with jabber:client by its sender counts too")
def an_explicit_namespace_counts(server):
	alice = server.login("alice")
	alice.enable()
	alice.send("<presence xmlns='jabber:client'/>")
	assert alice.handled() == 1


@behaviour("count: many stanzas in one segment are all counted", over=EVERY_TRANSPORT)
def stanzas_in_one_segment_all_count(server, transport):
	alice, bob = server.login("alice", transport), server.login("bob")
	alice.enable()
	alice.send(*[f"<message to='{bob.jid}'><body>{n}</body></message>" for n in range(100)])
	assert alice.handled() == 100
	assert bob.bodies(100) == [str(n) for n in range(100)]


@behaviour("count: the server's count wraps from 2^32-1 to 0")
def the_inbound_count_wraps(server):
	alice = server.login("alice")
	alice.enable()
	start_at(server, alice, LAST - 1)
	for expected in (LAST, 0, 1):
		alice.send("<presence/>")
		assert alice.handled() == expected


# --- <r/> ---

@behaviour("r: answered at once with <a/>", over=EVERY_TRANSPORT)
def r_is_answered_at_once(server, transport):
	alice = server.login("alice", transport)
	alice.enable()
	alice.send(f"<r xmlns='{SM3}'/>")
	answer = alice.next()
	assert (answer.name, answer.xmlns, answer["h"]) == ("a", SM3, "0"), answer


@behaviour("r: each is answered once, in order with other stanzas", over=EVERY_TRANSPORT)
def r_is_answered_in_order(server, transport):
	alice = server.login("alice", transport)
	alice.enable()
	one = "<presence/>", f"<r xmlns='{SM3}'/>"
	alice.send(*one, *one, *one)
	assert [alice.until("a")["h"] for _ in range(3)] == ["1", "2", "3"]


@behaviour("r: before enabling it is not answered with a count")
def r_before_enabling_gets_no_count(server):
	alice = server.login("alice")
	alice.send(f"<r xmlns='{SM3}'/>")
	try:
		assert alice.ask("<ping xmlns='urn:xmpp:ping'/>", to=server.host).name == "iq"
		seen = list(alice.unread)
	except xmpp.Closed:
		seen = list(alice.unread)
	except AssertionError:
		seen = []
	assert not [e for e in seen if e.name == "a"]


@behaviour("r: the server requests an ack after each stanza", over=("tcp", "websocket"))
def the_server_asks_after_each_stanza(server, transport):
	alice, bob = server.login("alice", transport), server.login("bob")
	alice.enable()
	for n in range(3):
		bob.chat(alice, str(n))
		assert alice.message().body == str(n)
		assert alice.next().name == "r"
		alice.ack()


@behaviour("r: the server does not repeat a request before the answer")
def the_server_asks_once_per_answer(server):
	alice, bob = server.login("alice"), server.login("bob")
	alice.enable()
	for n in range(5):
		bob.chat(alice, str(n))
		assert alice.until("message").body == str(n)
	alice.handled()
	assert [e.name for e in alice.unread] == ["r"], alice.unread


@behaviour("r: a client that answers with too small an h is not asked in a loop")
def a_small_h_does_not_loop(server):
	alice, bob = server.login("alice"), server.login("bob")
	alice.enable()
	bob.chat(alice, "one")
	alice.message()
	assert alice.next().name == "r"
	for _ in range(3):
		alice.ack(0)
		alice.handled()
		assert not alice.unread, alice.unread


@behaviour("r: the server requests an ack beyond smacks_max_unacked_stanzas",
	options={"smacks_max_unacked_stanzas": 3})
def max_unacked_stanzas_delays_asking(server):
	alice, bob = server.login("alice"), server.login("bob")
	alice.enable()
	for n in range(3):
		bob.chat(alice, str(n))
		alice.until("message")
	alice.handled()
	assert not alice.unread, alice.unread
	bob.chat(alice, "3")
	alice.until("message")
	assert alice.next().name == "r"


@behaviour("r: an inactive client is asked only after smacks_max_inactive_unacked_stanzas",
	modules=["csi"], options={"smacks_max_inactive_unacked_stanzas": 2})
def an_inactive_client_is_asked_less_often(server):
	alice, bob = server.login("alice"), server.login("bob")
	alice.enable()
	alice.send("<inactive xmlns='urn:xmpp:csi:0'/>")
	alice.handled()  # the server has noticed
	for n in range(2):
		bob.chat(alice, str(n))
		alice.until("message")
	alice.handled()
	assert not alice.unread, alice.unread
	bob.chat(alice, "2")
	alice.until("message")
	assert alice.next().name == "r"


@behaviour("r: a client that becomes active is asked at once", modules=["csi"],
	options={"smacks_max_unacked_stanzas": 100})
def an_activated_client_is_asked_at_once(server):
	alice, bob = server.login("alice"), server.login("bob")
	alice.enable()
	alice.send("<inactive xmlns='urn:xmpp:csi:0'/>")
	bob.chat(alice, "hello")
	alice.message()
	alice.send("<active xmlns='urn:xmpp:csi:0'/>")
	assert alice.next().name == "r"


# --- <a/> ---

@behaviour("a: acknowledged stanzas leave the queue, one by one and all at once", over=EVERY_TRANSPORT)
def an_ack_shortens_the_queue(server, transport):
	alice, bob = server.login("alice", transport), server.login("bob")
	alice.enable()
	for n in range(5):
		bob.chat(alice, str(n))
	alice.bodies(5)
	assert counters(server, alice) == (0, 5)
	for h, expected in ((1, (1, 4)), (3, (3, 2)), (3, (3, 2)), (5, (5, 0))):
		alice.ack(h)
		alice.handled()
		assert counters(server, alice) == expected


@behaviour("a: counted modulo 2^32 across the wrap")
def acks_wrap(server):
	alice, bob = server.login("alice"), server.login("bob")
	alice.enable()
	start_at(server, alice, LAST - 1)
	for n in range(4):
		bob.chat(alice, str(n))
	alice.bodies(4)
	assert alice.h == 2
	for h, unacked in ((LAST, 3), (0, 2), (2, 0)):
		alice.ack(h)
		alice.handled()
		assert counters(server, alice) == (h, unacked)


@behaviour("a: across the wrap, one too many is still one too many")
def an_h_too_high_is_noticed_across_the_wrap(server):
	alice, bob = server.login("alice"), server.login("bob")
	alice.enable()
	start_at(server, alice, LAST)
	bob.chat(alice, "wraps")
	alice.message()
	alice.ack(1)
	too_high = stream_error(alice).child("handled-count-too-high", SM3)
	assert (too_high["h"], too_high["send-count"]) == ("1", "0"), too_high


@behaviour("a: an h that is not a number ends the stream with invalid-xml", over=EVERY_TRANSPORT)
def a_malformed_h_ends_the_stream(server, transport):
	for attribute in ("", "h=''", "h='many'", "h='-1'", "h='1.5'", "h='0x1'", "h='1e0'", "h=' 0'", "h='nan'"):
		alice = server.login("alice", transport)
		alice.enable()
		alice.send(f"<a xmlns='{SM3}' {attribute}/>")
		error = stream_error(alice)
		assert failure(error) == "invalid-xml", (attribute, error)
		server.wait_gone(alice)


@behaviour("a: an h beyond 32 bits ends the stream")
def an_h_beyond_32_bits_ends_the_stream(server):
	for h in (2**32, 2**53 + 1, 2**64, int("9" * 400)):
		alice = server.login("alice")
		alice.enable()
		alice.ack(h)
		assert failure(stream_error(alice)) in ("invalid-xml", "undefined-condition")


@behaviour("a: an h too high ends the stream with handled-count-too-high", over=EVERY_TRANSPORT)
def an_h_too_high_ends_the_stream(server, transport):
	alice, bob = server.login("alice", transport), server.login("bob")
	alice.enable()
	bob.chat(alice, "one")
	alice.message()
	alice.ack(2)
	error = stream_error(alice)
	assert failure(error) == "undefined-condition", error
	too_high = error.child("handled-count-too-high")
	assert too_high and too_high.xmlns == SM3, error
	assert (too_high["h"], too_high["send-count"]) == ("2", "1"), error
	server.wait_gone(alice)


@behaviour("a: after an h too high the session cannot be resumed, and nothing unacknowledged is lost")
def an_h_too_high_prevents_resumption(server):
	alice, bob = server.login("alice"), server.login("bob")
	alice.enable()
	bob.chat(alice, "unacknowledged")
	alice.message()
	alice.ack(7)
	stream_error(alice)
	server.wait_gone(alice)
	again = server.authenticated(alice.user)
	answer = again.try_resume(alice, 0)
	assert failure(answer) == "item-not-found", answer
	again.bind().available()
	assert again.message().body == "unacknowledged"


@behaviour("a: an h below an earlier one ends the stream")
def a_decreasing_h_ends_the_stream(server):
	alice, bob = server.login("alice"), server.login("bob")
	alice.enable()
	bob.chat(alice, "one")
	bob.chat(alice, "two")
	alice.bodies(2)
	alice.ack(2)
	alice.ack(1)
	assert failure(stream_error(alice)) == "undefined-condition"


@behaviour("a: before enabling it is ignored")
def a_before_enabling_is_ignored(server):
	alice = server.login("alice")
	alice.send(f"<a xmlns='{SM3}' h='3'/>", f"<a xmlns='{SM3}'/>")
	alice.transport.close()
	alice.transport.wait_for_end()
	server.wait_gone(alice)


# --- closing ---

@behaviour("close: the last <a/> comes before the end of the stream", over=("tcp", "websocket"))
def the_last_ack_precedes_the_close(server, transport):
	alice = server.login("alice", transport)
	alice.enable()
	alice.ping()
	alice.ping()
	acks = [e["h"] for e in alice.close() if e.name == "a"]
	assert acks == ["2"], acks


@behaviour("close: a closed session cannot be resumed", over=EVERY_TRANSPORT)
def a_closed_session_is_not_resumable(server, transport):
	alice = server.login("alice", transport)
	alice.enable()
	alice.close()
	server.wait_gone(alice)
	answer = server.authenticated(alice.user).try_resume(alice, 0)
	assert failure(answer) == "item-not-found", answer
