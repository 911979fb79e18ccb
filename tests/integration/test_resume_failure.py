"""XEP-0198, 5: failed resumptions. The stream stays usable after any input of the client."""
import bed
from steps import EVERY_TRANSPORT, cut, next_second, pair, pending_offline, say
from suite import behaviour
from xmpp import SM2, SM3, failure

BAD_H = ["", "h=''", "h='many'", "h='-1'", "h='0.5'", "h='0x0'", "h='1e0'", "h='4294967296'",
	f"h='{'9' * 400}'", "h='2'"]


def send_resume(client, attributes, sm=SM3):
	client.send(f"<resume xmlns='{sm}' {attributes}/>")
	return client.next()


@behaviour("resume: an unknown previd fails with item-not-found, and the stream can bind",
	over=EVERY_TRANSPORT)
def an_unknown_previd_fails(server, transport):
	client = server.authenticated(server.account("alice"), transport)
	for sm in (SM2, SM3):
		failed = send_resume(client, "previd='nobody-knows' h='0'", sm)
		assert (failed.name, failed.xmlns, failed["h"]) == ("failed", sm, None), failed
		assert failure(failed) == "item-not-found", failed
	client.bind().enable()
	client.ping()


@behaviour("resume: a malformed previd is unknown")
def a_strange_previd_is_unknown(server):
	client = server.authenticated(server.account("alice"))
	for previd in ("x" * 4000, "../../etc/passwd", "a/b", "\u00fc\U0001f600", "&lt;a&gt;", "%s%n", "&#10;", " "):
		assert failure(send_resume(client, f"previd='{previd}' h='0'")) == "item-not-found", previd
	client.bind().enable()


@behaviour("resume: without a previd it fails, and the stream can bind", over=EVERY_TRANSPORT)
def a_missing_previd_fails(server, transport):
	client = server.authenticated(server.account("alice"), transport)
	for attributes in ("h='0'", "previd='' h='0'", ""):
		failed = send_resume(client, attributes)
		assert failed.name == "failed" and failure(failed), failed
	client.bind().enable()


@behaviour("resume: before authentication it fails with unexpected-request", over=EVERY_TRANSPORT)
def resume_before_authentication_fails(server, transport):
	alice, bob = pair(server)
	cut(server, alice)
	stranger = server.connect(alice.user, transport)
	stranger.open()
	assert failure(send_resume(stranger, f"previd='{alice.id}' h='0'")) == "unexpected-request"
	say(bob, alice, "kept")
	stranger.authenticate()
	stranger.resume(alice)
	assert stranger.message().body == "kept"


@behaviour("resume: after bind it fails with unexpected-request, both sessions stay")
def resume_after_bind_fails(server):
	alice, bob = pair(server)
	cut(server, alice)
	other = server.again(alice)
	assert failure(send_resume(other, f"previd='{alice.id}' h='0'")) == "unexpected-request"
	say(bob, other, "hello")
	assert other.message().body == "hello"
	say(bob, alice, "kept")
	assert server.resume(alice).message().body == "kept"


@behaviour("resume: another account's session is unknown")
def a_session_of_another_account_is_unknown(server):
	alice, bob = pair(server)
	cut(server, alice)
	mallory = server.authenticated(server.account("mallory"))
	assert failure(send_resume(mallory, f"previd='{alice.id}' h='0'")) == "item-not-found"
	say(bob, alice, "private")
	assert server.resume(alice).message().body == "private"


@behaviour("resume: in an unknown namespace it does not affect sessions")
def a_foreign_namespace_touches_no_session(server):
	alice, bob = pair(server)
	cut(server, alice)
	stranger = server.authenticated(alice.user)
	stranger.send(f"<resume xmlns='urn:xmpp:sm:1' previd='{alice.id}' h='0'/>")
	say(bob, alice, "kept")
	assert server.resume(alice).message().body == "kept"


@behaviour("resume: a bad h fails, and the same stream can still resume with a good one", over=EVERY_TRANSPORT)
def a_bad_h_permits_another_resume(server, transport):
	alice, bob = pair(server)
	say(bob, alice, "kept")
	cut(server, alice)
	client = server.authenticated(alice.user, transport)
	for bad in BAD_H:
		failed = send_resume(client, f"previd='{alice.id}' {bad}")
		assert failed.name == "failed" and failed.xmlns == SM3 and failure(failed), (bad, failed)
	client.resume(alice, h=0)
	assert client.message().body == "kept"


@behaviour("resume: after a bad h the stream can bind, and the old session stays resumable")
def a_bad_h_permits_binding(server):
	for bad in BAD_H:
		alice, bob = pair(server)
		say(bob, alice, "kept")
		cut(server, alice)
		client = server.authenticated(alice.user)
		assert send_resume(client, f"previd='{alice.id}' {bad}").name == "failed"
		client.bind().enable()
		client.ping()
		assert server.resume(alice, h=0).message().body == "kept", bad


@behaviour("resume: after a bad h the hibernation timeout still runs, and stanzas reach storage",
	options={"smacks_hibernation_time": 2})
def a_bad_h_keeps_the_timeout_running(server):
	clients = []
	for bad in BAD_H:
		alice, bob = pair(server)
		cut(server, alice)
		assert send_resume(server.authenticated(alice.user), f"previd='{alice.id}' {bad}").name == "failed"
		say(bob, alice, "swallowed?")
		clients.append(alice)
	for alice in clients:
		server.wait_gone(alice)
		assert pending_offline(server, alice.user) == ["swallowed?"]


@behaviour("resume: a bad h does not disturb a session that is still connected")
def a_bad_h_leaves_a_connected_session_alone(server):
	alice, bob = pair(server)
	thief = server.authenticated(alice.user)
	for bad in BAD_H:
		assert send_resume(thief, f"previd='{alice.id}' {bad}").name == "failed", bad
	say(bob, alice, "undisturbed")
	assert alice.message().body == "undisturbed"
	cut(server, alice)
	server.resume(alice)


@behaviour("resume: an h below an earlier one fails, the session stays")
def a_decreasing_h_fails(server):
	alice, bob = pair(server)
	say(bob, alice, "one", "two")
	alice.bodies(2)
	alice.ack(2)
	cut(server, alice)
	client = server.authenticated(alice.user)
	assert client.try_resume(alice, 1).name == "failed"
	client.resume(alice, h=2)
	client.nothing_more()


@behaviour("resume: an expired session's h comes with item-not-found, once",
	options={"smacks_hibernation_time": 1}, over=EVERY_TRANSPORT)
def an_expired_session_tells_h_once(server, transport):
	alice, _ = pair(server)
	alice.ping()
	alice.ping()
	cut(server, alice)
	server.wait_gone(alice)
	client = server.authenticated(alice.user, transport)
	failed = client.try_resume(alice, 0)
	assert failure(failed) == "item-not-found" and failed["h"] == "2", failed
	failed = client.try_resume(alice, 0)
	assert failure(failed) == "item-not-found" and failed["h"] is None, failed
	client.bind().enable()


@behaviour("resume: the h of expired sessions is forgotten beyond smacks_max_old_sessions",
	options={"smacks_hibernation_time": 1, "smacks_max_old_sessions": 1})
def old_h_values_are_limited(server):
	user, expired = server.account("alice"), []
	for _ in range(2):
		client = server.authenticated(user).bind()
		client.enable()
		cut(server, client)
		server.wait_gone(client)
		next_second()
		expired.append(client)
	server.authenticated(user).bind().enable()
	client = server.authenticated(user)
	assert client.try_resume(expired[0], 0)["h"] is None
	assert client.try_resume(expired[1], 0)["h"] == "0"


@behaviour("resume: a session that was resumed on another stream keeps only its own id")
def a_moved_session_keeps_its_id(server):
	alice, bob = pair(server)
	cut(server, alice)
	first = server.resume(alice)
	second = server.resume(first)
	say(bob, second, "one place only")
	assert second.message().body == "one place only"
	first.transport.wait_for_end()


@behaviour("resume: a malformed one fails in the middle of a working session, too")
def a_malformed_resume_fails_in_a_session(server):
	alice, bob = pair(server)
	for attributes in ("", "previd='x'", "h='0'", f"previd='{alice.id}' h='0'"):
		alice.send(f"<resume xmlns='{SM3}' {attributes}/>")
		assert failure(alice.until("failed")) == "unexpected-request", attributes
	say(bob, alice, "works")
	assert alice.message().body == "works"


@behaviour("resume: one log line says why it failed")
def a_failure_is_logged(server):
	alice, _ = pair(server)
	cut(server, alice)
	client = server.authenticated(alice.user)
	client.try_resume(alice, 99)
	server.expect_log(r"\t(info|warn|debug)\t.*[Rr]esum.*\b99\b")


OF_A_SOCKET = ("rawsend", "send", "data", "reset_stream", "filter", "thread")
REFERENCES = {"tcp": OF_A_SOCKET, "websocket": ("bytes/in", *OF_A_SOCKET), "bosh": ("send", "filter", "thread")}


@behaviour("resume: on a connection whose functions cannot all be rebound it fails, and the stream can bind",
	modules=["test_wrapper"], over=EVERY_TRANSPORT)
def a_connection_that_cannot_be_rebound(server, transport):
	def wrap(name):
		server.lua(f'require "core.modulemanager".get_module({bed.lua(server.host)}, "test_wrapper").wrapped = {name}')

	for name in REFERENCES[transport]:
		alice, bob = pair(server)
		say(bob, alice, "kept")
		cut(server, alice)
		wrap(bed.lua(name))
		client = server.authenticated(alice.user, transport)
		assert failure(send_resume(client, f"previd='{alice.id}' h='0'")) == "internal-server-error", name
		count = len(REFERENCES[transport])
		server.expect_log(f"error\t.*expected {count} functions of the {transport} .* found {count - 1} .* missing {name}")
		client.bind().enable()
		client.ping()
		wrap("false")
		assert server.resume(alice, transport, h=0).message().body == "kept", name
