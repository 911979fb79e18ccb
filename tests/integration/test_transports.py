"""Resuming on another connection, of the same transport or another. The state of a transport's
connection (half a stanza, half a frame, filters, timers) must stay behind with the old one."""
import itertools

import bed
import xmpp
from steps import EVERY_TRANSPORT, counters, cut, pair, say, stream_error
from suite import behaviour
from xmpp import CLIENT, SM3, failure

WAYS = [f"{a} to {b}" for a, b in itertools.product(EVERY_TRANSPORT, repeat=2)]
SOCKETS = [f"{a} to {b}" for a, b in itertools.product(("tcp", "websocket"), repeat=2)]


def half(client, element):
	"""The first bytes of an element, without its end."""
	data = element.encode()
	if isinstance(client.transport, xmpp.WebSocket):
		data = client.transport.frame(xmpp.WebSocket.TEXT, data)
	return data[:len(data) // 2]


@behaviour("transports: a session moves and its stanzas follow", over=WAYS)
def a_session_moves_with_its_stanzas(server, way):
	old, new = way.split(" to ")
	alice, bob = pair(server, old)
	say(bob, alice, "read")
	assert alice.message().body == "read"
	alice.ack()
	alice.handled()
	say(bob, alice, "unread")
	cut(server, alice)
	say(bob, alice, "detached")
	alice = server.resume(alice, new)
	assert alice.bodies(2) == ["unread", "detached"]
	alice.chat(bob, "from the new place")
	assert bob.message().body == "from the new place"
	alice.ping()
	assert alice.handled() == 2
	alice.ack()
	alice.handled()
	assert counters(server, alice) == (4, 0)
	say(bob, alice, "live")
	assert alice.message().body == "live"
	alice.close()
	server.wait_gone(alice)


@behaviour("transports: a session moves there and back again", over=["tcp websocket bosh", "bosh websocket tcp",
	"websocket tcp websocket tcp", "bosh tcp bosh"])
def a_session_moves_repeatedly(server, way):
	first, *others = way.split()
	alice, bob = pair(server, first)
	for n, transport in enumerate(others):
		cut(server, alice)
		say(bob, alice, f"detached {n}")
		alice = server.resume(alice, transport)
		assert alice.message().body == f"detached {n}"
		alice.chat(bob, f"answer {n}")
		assert bob.message().body == f"answer {n}"
		assert alice.handled() == n + 1


@behaviour("transports: a session moves while its old connection is alive, which gets <conflict/>", over=WAYS)
def moving_closes_a_live_connection(server, way):
	old, new = way.split(" to ")
	alice, bob = pair(server, old)
	if old == "bosh":
		alice.transport.poll()
	moved = server.resume(alice, new)
	assert failure(stream_error(alice)) == "conflict"
	say(bob, moved, "hello")
	assert moved.message().body == "hello"
	moved.ping()
	assert moved.handled() == 1


@behaviour("transports: half a stanza received before the cut does not reach the resumed stream", over=SOCKETS)
def half_a_stanza_is_discarded(server, way):
	old, new = way.split(" to ")
	alice, bob = pair(server, old)
	alice.transport.send_raw(half(alice, f"<message xmlns='{CLIENT}' to='{bob.jid}'><body>{'x' * 1000}</body></message>"))
	cut(server, alice)
	alice = server.resume(alice, new)
	assert alice.resumed["h"] == "0"
	alice.chat(bob, "whole")
	assert bob.message().body == "whole"
	alice.ping()
	assert alice.handled() == 2


@behaviour("transports: half a stanza received before a second cut is not missing after the third", over=SOCKETS)
def half_a_stanza_at_a_second_cut(server, way):
	old, new = way.split(" to ")
	alice, bob = pair(server, old)
	for transport in (new, old):
		alice.transport.send_raw(half(alice, f"<presence xmlns='{CLIENT}' to='{bob.jid}'><show>away</show></presence>"))
		cut(server, alice)
		alice = server.resume(alice, transport)
	alice.ping()
	assert alice.handled() == 1
	bob.ping()
	assert not bob.unread


@behaviour("transports: half a stanza on the old, living connection is discarded", over=SOCKETS)
def half_a_stanza_on_a_live_connection(server, way):
	old, new = way.split(" to ")
	alice, bob = pair(server, old)
	alice.transport.send_raw(half(alice, f"<presence xmlns='{CLIENT}' to='{bob.jid}'><show>away</show></presence>"))
	alice = server.resume(alice, new)
	alice.ping()
	assert alice.handled() == 1


@behaviour("websocket: after a resume, pings and close frames are answered", over=EVERY_TRANSPORT)
def websocket_control_frames_work_after_a_resume(server, old):
	alice, bob = pair(server, old)
	cut(server, alice)
	alice = server.resume(alice, "websocket")
	alice.transport.ping(b"after the resume")
	say(bob, alice, "hello")
	assert alice.message().body == "hello"
	assert alice.transport.pongs == [b"after the resume"]
	ended = alice.close()
	assert ended[-1].name == "close" and ended[-1].xmlns == xmpp.FRAMING, ended
	assert alice.transport.close_code == 1000
	server.wait_gone(alice)


@behaviour("websocket: a close frame hibernates the session, as a lost connection does")
def a_close_frame_hibernates(server):
	alice, bob = pair(server, "websocket")
	cut(server, alice)
	alice = server.resume(alice, "websocket")
	alice.transport.close_websocket()
	alice.transport.wait_for_end()
	server.wait_hibernating(alice)
	say(bob, alice, "kept")
	assert server.resume(alice, "websocket").message().body == "kept"


@behaviour("websocket: a frame split into single bytes works after a resume")
def split_frames_work_after_a_resume(server):
	alice, bob = pair(server)
	cut(server, alice)
	alice = server.resume(alice, "websocket")
	frame = alice.transport.frame(xmpp.WebSocket.TEXT,
		f"<message xmlns='{CLIENT}' type='chat' to='{bob.jid}'><body>slowly</body></message>".encode())
	for n in range(len(frame)):
		alice.transport.send_raw(frame[n:n + 1])
	assert bob.message().body == "slowly"


@behaviour("websocket: every stanza is a document with its namespace, sent again or not")
def every_stanza_has_its_namespace(server):
	alice, bob = pair(server, "websocket")
	say(bob, alice, "first")
	assert alice.next().xmlns == CLIENT
	cut(server, alice)
	say(bob, alice, "detached")
	alice = server.resume(alice, "websocket", h=0)
	for body in ("first", "detached"):
		message = alice.next()
		assert (message.xmlns, message.body) == (CLIENT, body), message
		assert message.child("body").xmlns == CLIENT, message
	say(bob, alice, "live")
	assert alice.until("message").body == "live"


@behaviour("websocket: two frames at once after a resume are both handled")
def two_frames_at_once_are_handled(server):
	alice, _ = pair(server)
	cut(server, alice)
	alice = server.resume(alice, "websocket")
	alice.send("<presence/>", "<presence/>", f"<r xmlns='{SM3}'/>")
	assert alice.until("a")["h"] == "2"


@behaviour("bosh: a silent client's session hibernates, and its next request is refused")
def a_silent_bosh_client_hibernates(server):
	alice, bob = pair(server, "bosh")
	sid, rid = alice.transport.sid, alice.transport.rid
	cut(server, alice)
	late = server.connect(alice.user, "bosh")
	late.transport.sid, late.transport.rid = sid, rid
	late.send("<presence/>")
	assert not late.transport.wait_for_end()
	say(bob, alice, "kept")
	assert server.resume(alice, "bosh").message().body == "kept"


@behaviour("bosh: a terminated session is not resumable, a cut one is")
def a_terminated_bosh_session_is_gone(server):
	alice, _ = pair(server, "bosh")
	alice.close()
	server.wait_gone(alice)
	assert failure(server.authenticated(alice.user, "bosh").try_resume(alice, 0)) == "item-not-found"


@behaviour("transports: a whitespace keepalive does not count, before and after a resume")
def whitespace_does_not_count(server):
	alice, _ = pair(server)
	alice.transport.send_raw(b" ")
	assert alice.handled() == 0
	cut(server, alice)
	alice = server.resume(alice)
	alice.transport.send_raw(b"\n \t")
	assert alice.handled() == 0


@behaviour("transports: broken XML after a resume ends the stream, not the session",
	over=("tcp", "websocket"))
def broken_xml_ends_only_the_stream(server, transport):
	alice, bob = pair(server)
	cut(server, alice)
	alice = server.resume(alice, transport)
	alice.transport.send("<message><</message>")
	assert failure(stream_error(alice)) in ("not-well-formed", "bad-format", "invalid-xml")
	bed.wait_for(lambda: server.session(alice, "not s or s.hibernating and true") == "true", "the stream's end")
	say(bob, alice.bare_jid, "not lost")
	client = server.authenticated(alice.user)
	if client.try_resume(alice, alice.h).name == "failed":
		client.bind().available()
	assert client.message().body == "not lost"


@behaviour("transports: an idle resumed connection is pinged",
	options={"network_settings": {"read_timeout": 2}})
def an_idle_resumed_connection_is_probed(server):
	alice, _ = pair(server)
	cut(server, alice)
	alice = server.resume(alice)
	assert alice.next().name == "r"
	alice.ack()
	assert alice.next().name == "r"
	server.wait_hibernating(alice)
