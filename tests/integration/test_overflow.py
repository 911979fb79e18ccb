"""What happens at the limits: smacks_max_queue_size, smacks_max_queue_bytes, smacks_max_total_bytes."""
from steps import counters, cut, pair, pending_offline, say, wait_offline
from suite import behaviour
from test_delivery import archive, drain, is_bounce, use_archive
from xmpp import failure

FIVE = {"smacks_max_queue_size": 5}
QUIET = {"smacks_max_unacked_stanzas": 1000}
NO_OFFLINE = {"modules_disabled": ["tls", "s2s", "offline"]}
SEVEN = list("0123456")
KILOBYTES = {"smacks_max_queue_bytes": 10000}


def big(letter):
	return letter * 4000


# --- hibernating ---

@behaviour("overflow: a hibernating session at its limit is still resumable", options=FIVE)
def test(server):
	alice, bob = pair(server)
	cut(server, alice)
	say(bob, alice, *range(5))
	assert server.resume(alice).bodies(5) == SEVEN[:5]


@behaviour("overflow: what a hibernating session cannot hold is stored offline at once", options=FIVE)
def test(server):
	alice, bob = pair(server)
	cut(server, alice)
	say(bob, alice, *range(7))
	assert pending_offline(server, alice.user) == ["0", "1"]
	assert drain(bob) == []


@behaviour("overflow: it is no longer resumable and says so; all messages come once, in order", options=FIVE)
def test(server):
	alice, bob = pair(server)
	cut(server, alice)
	say(bob, alice, *range(7))
	client = server.authenticated(alice.user)
	failed = client.try_resume(alice, 0)
	assert failed.name == "failed" and failure(failed), failed
	wait_offline(server, alice.user, SEVEN)
	client.bind().enable()
	client.available()
	assert client.bodies(7) == SEVEN
	client.nothing_more()
	assert pending_offline(server, alice.user) == []
	assert drain(bob) == []


@behaviour("overflow: unless it is tried again, the rest follows when the session expires",
	options={**FIVE, "smacks_hibernation_time": 2})
def test(server):
	alice, bob = pair(server)
	cut(server, alice)
	say(bob, alice, *range(7))
	server.wait_gone(alice)
	assert drain(server.again(alice).available()) == SEVEN


@behaviour("overflow: with nowhere to store, the oldest bounce at once, the rest with the session",
	options={**FIVE, **NO_OFFLINE})
def test(server):
	alice, bob = pair(server)
	cut(server, alice)
	for body in SEVEN:
		bob.chat(alice, body)
	bounces = [bob.stanza(), bob.stanza()]
	assert all(map(is_bounce, bounces)) and [b["id"] for b in bounces] == ["0", "1"], bounces
	bob.ping()
	assert not bob.unread, bob.unread
	assert server.authenticated(alice.user).try_resume(alice, 0).name == "failed"
	bounces = [bob.stanza() for _ in range(5)]
	assert all(map(is_bounce, bounces)) and [b["id"] for b in bounces] == SEVEN[2:], bounces
	bob.ping()
	assert not bob.unread, bob.unread


@behaviour("overflow: what the client's archive has is neither stored nor bounced", modules=["mam"], options=FIVE)
def test(server):
	alice, bob = pair(server)
	use_archive(alice)
	alice.handled()
	alice.ack()
	cut(server, alice)
	say(bob, alice, *range(7))
	assert server.authenticated(alice.user).try_resume(alice, alice.h).name == "failed"
	server.wait_gone(alice)
	assert pending_offline(server, alice.user) == []
	assert drain(bob) == []
	assert archive(server.again(alice)) == SEVEN


@behaviour("overflow: an iq that falls out bounces if it asks and vanishes if it answers", options=FIVE)
def test(server):
	alice, bob = pair(server)
	cut(server, alice)
	bob.send(f"<iq type='result' id='answer' to='{alice.jid}'/>",
		f"<iq type='get' id='question' to='{alice.jid}'><query xmlns='urn:test'/></iq>")
	for body in SEVEN[:5]:
		bob.chat(alice, body)
	bounce = bob.stanza()
	assert is_bounce(bounce, "iq") and bounce["id"] == "question", bounce
	bob.ping()
	assert not bob.unread, bob.unread


@behaviour("overflow: of a session cut with unacknowledged messages, the oldest go first", options=FIVE)
def test(server):
	alice, bob = pair(server)
	say(bob, alice, *range(3))
	alice.bodies(3)
	cut(server, alice)
	say(bob, alice, *range(3, 7))
	assert pending_offline(server, alice.user) == ["0", "1"]


@behaviour("overflow: an h that covers what fell out makes a hibernating session resumable", options=FIVE)
def test(server):
	alice, bob = pair(server)
	say(bob, alice, *range(3))
	alice.bodies(3)
	cut(server, alice)
	say(bob, alice, *range(3, 7))
	assert server.resume(alice, h=3).bodies(4) == SEVEN[3:]


@behaviour("overflow: a log line of a hibernating session says what happens", options=FIVE)
def test(server):
	alice, bob = pair(server)
	cut(server, alice)
	say(bob, alice, *range(7))
	server.expect_log(r"\twarn\t.*limit.*hibernating.*no longer resumable")


# --- connected ---

@behaviour("overflow: a connected client is asked for an <a/> at once and not disconnected",
	options={**FIVE, **QUIET})
def test(server):
	alice, bob = pair(server)
	say(bob, alice, *range(5))
	alice.bodies(5)
	alice.handled()
	assert not alice.unread, alice.unread
	say(bob, alice, *range(5, 100))
	seen = [alice.next() for _ in range(96)]
	assert [e.body for e in seen if e.name == "message"] == [str(n) for n in range(5, 100)]
	assert [e.name for e in seen].count("r") == 1
	alice.ping()


@behaviour("overflow: a connected session is resumable again once its acks have caught up", options=FIVE)
def test(server):
	alice, bob = pair(server)
	say(bob, alice, *range(20))
	alice.bodies(20)
	alice.ack()
	alice.handled()
	cut(server, alice)
	say(bob, alice, "later")
	alice = server.resume(alice)
	assert alice.message().body == "later"
	alice.nothing_more()


@behaviour("overflow: the h of <resume/> may be what catches up", options=FIVE)
def test(server):
	alice, bob = pair(server)
	say(bob, alice, *range(7))
	alice.bodies(7)
	cut(server, alice)
	alice = server.resume(alice, h=2)
	assert alice.bodies(5) == SEVEN[2:]
	assert counters(server, alice) == (2, 5)


@behaviour("overflow: an h that does not catch up fails, and what is still held is not lost", options=FIVE)
def test(server):
	alice, bob = pair(server)
	say(bob, alice, *range(7))
	alice.bodies(7)
	cut(server, alice)
	client = server.authenticated(alice.user)
	failed = client.try_resume(alice, 1)
	assert failed.name == "failed" and failure(failed), failed
	wait_offline(server, alice.user, SEVEN[2:])
	client.bind().available()
	assert drain(client) == SEVEN[2:]


@behaviour("overflow: log lines count what a connected session let go and say when it is resumable again",
	options=FIVE)
def test(server):
	alice, bob = pair(server)
	say(bob, alice, *range(8))
	alice.bodies(8)
	server.expect_log(r"\twarn\t.*limit.*not resumable until")
	alice.ack()
	server.expect_log(r"\tinfo\t.*caught up with 3 stanzas.*resumable again")


# --- bytes ---

@behaviour("bytes: what exceeds smacks_max_queue_bytes goes first, oldest first", options=KILOBYTES)
def test(server):
	alice, bob = pair(server)
	cut(server, alice)
	say(bob, alice, big("a"), big("b"))
	assert pending_offline(server, alice.user) == []
	say(bob, alice, big("c"))
	assert pending_offline(server, alice.user) == [big("a")]
	assert server.authenticated(alice.user).try_resume(alice, 0).name == "failed"
	wait_offline(server, alice.user, [big("a"), big("b"), big("c")])


@behaviour("bytes: a connected session that acknowledges is never near smacks_max_queue_bytes", options=KILOBYTES)
def test(server):
	alice, bob = pair(server)
	for letter in "abcdefgh":
		say(bob, alice, big(letter))
		assert alice.until("message").body == big(letter)
		alice.ack()
	alice.handled()
	say(bob, alice, "last")
	cut(server, alice)
	assert server.resume(alice).message().body == "last"


@behaviour("bytes: one stanza larger than the limit is still held", options={"smacks_max_queue_bytes": 2000})
def test(server):
	alice, bob = pair(server)
	cut(server, alice)
	say(bob, alice, big("a"))
	assert server.resume(alice).message().body == big("a")


@behaviour("bytes: both limits hold together", options={**KILOBYTES, "smacks_max_queue_size": 3})
def test(server):
	alice, bob = pair(server)
	cut(server, alice)
	say(bob, alice, "1", "2", "3", "4")
	assert pending_offline(server, alice.user) == ["1"]
	carol = server.login("carol")
	carol.enable()
	cut(server, carol)
	say(bob, carol, big("a"), big("b"), big("c"))
	assert pending_offline(server, carol.user) == [big("a")]


# --- the whole process ---

@behaviour("total: at smacks_max_total_bytes the largest hibernating session ends first, into storage",
	options={"smacks_max_total_bytes": 60000})
def test(server):
	alice, bob = pair(server)
	carol = server.login("carol")
	carol.enable()
	cut(server, alice)
	cut(server, carol)
	say(bob, carol, *[big(c) for c in "abcd"])
	say(bob, alice, *[big(c) for c in "ABCDEFGHI"])
	assert server.session(alice, "s and true") == "true"
	say(bob, alice, *[big(c) for c in "JKLM"])
	server.wait_gone(alice)
	server.expect_log(r"\twarn\t.*smacks_max_total_bytes.*largest")
	wait_offline(server, alice.user, [big(c) for c in "ABCDEFGHIJKLM"])
	assert server.resume(carol).bodies(4) == [big(c) for c in "abcd"]


@behaviour("total: the bytes of sessions that have ended no longer count",
	options={"smacks_max_total_bytes": 60000})
def test(server):
	bob = server.login("bob")
	for _ in range(5):
		alice = server.login("alice")
		alice.enable()
		cut(server, alice)
		say(bob, alice, *[big(c) for c in "ABCDEFGH"])
		assert server.session(alice, "s and s.hibernating and true") == "true"
		server.resume(alice).close()
		server.wait_gone(alice)


@behaviour("total: a connected session that takes it all is asked for an <a/>, and not disconnected",
	options={"smacks_max_total_bytes": 30000, **QUIET})
def test(server):
	alice, bob = pair(server)
	say(bob, alice, *[big(c) for c in "ABCDEFGHIJ"])
	assert [alice.stanza().body for _ in range(10)] == [big(c) for c in "ABCDEFGHIJ"]
	alice.handled()
	alice.ping()
	alice.ack()
	alice.handled()
	cut(server, alice)
	server.resume(alice)
