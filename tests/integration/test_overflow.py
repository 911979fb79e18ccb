"""Limits. Beyond those of a session, smacks_max_queue_size and smacks_max_queue_bytes, its client is asked for
an ack; beyond those of an account and of the process, smacks_max_account_bytes and smacks_max_total_bytes,
sessions end. In any case each stanza reaches its client, or is handled like those of an ended session."""
import bed
from steps import counters, cut, pair, pending_offline, say, wait_offline
from suite import behaviour
from test_delivery import archive, drain, is_bounce, use_archive
from xmpp import failure

FIVE = {"smacks_max_queue_size": 5}
QUIET = {"smacks_max_unacked_stanzas": 1000}
NO_OFFLINE = {"modules_disabled": ["tls", "s2s", "offline"]}
SEVEN = list("0123456")
KILOBYTES = {"smacks_max_queue_bytes": 10000}
ACCOUNT = {"smacks_max_account_bytes": 30000}
TOTAL = {"smacks_max_total_bytes": 60000}


def big(letter):
	return letter * 4000


def bigs(letters):
	return [big(letter) for letter in letters]


# The last of these exceeds the limit of ACCOUNT
FILL = [*bigs("ABCDEF"), "G" * 8000]


# --- the limits of a session ---

@behaviour("overflow: a hibernating session beyond its limit is resumed with its whole queue", options=FIVE)
def a_hibernating_session_beyond_the_limit_resumes(server):
	alice, bob = pair(server)
	cut(server, alice)
	say(bob, alice, *range(7))
	assert pending_offline(server, alice.user) == []
	assert server.resume(alice).bodies(7) == SEVEN
	assert drain(bob) == []


@behaviour("overflow: a connected session beyond its limit is resumed with all unacknowledged stanzas", options=FIVE)
def a_connected_session_beyond_the_limit_resumes(server):
	alice, bob = pair(server)
	say(bob, alice, *range(20))
	alice.bodies(20)
	cut(server, alice)
	say(bob, alice, "later")
	alice = server.resume(alice, h=2)
	assert alice.bodies(19) == [*map(str, range(2, 20)), "later"]
	alice.nothing_more()
	assert counters(server, alice) == (2, 19)


@behaviour("overflow: a session that is resumed beyond the limit, sent more and cut again does not lose stanzas",
	options={"smacks_max_queue_bytes": 20000})
def two_cuts_beyond_the_limit_lose_nothing(server):
	alice, bob = pair(server)
	cut(server, alice)
	say(bob, alice, *bigs("ABCD"))
	alice = server.resume(alice)
	say(bob, alice, *bigs("EFGHIJ"))
	cut(server, alice)
	alice = server.resume(alice, h=0)
	assert alice.bodies(10) == bigs("ABCDEFGHIJ")


@behaviour("overflow: when a session beyond its limit expires, its whole queue is delivered elsewhere",
	options={**FIVE, "smacks_hibernation_time": 2})
def expiry_beyond_the_limit_hands_over_everything(server):
	alice, bob = pair(server)
	cut(server, alice)
	say(bob, alice, *range(7))
	server.wait_gone(alice)
	assert drain(server.again(alice).available()) == SEVEN


@behaviour("overflow: a connected client is asked for an <a/> at once and not disconnected",
	options={**FIVE, **QUIET})
def a_client_at_the_limit_is_asked(server):
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


@behaviour("overflow: a client whose ack leaves the queue above the limit is asked again", options={**FIVE, **QUIET})
def a_client_still_beyond_the_limit_is_asked_again(server):
	alice, bob = pair(server)
	say(bob, alice, *range(8))
	alice.until("r")
	alice.ack(1)
	alice.handled()
	alice.unread.clear()
	say(bob, alice, "more")
	assert [alice.next().name for _ in range(2)] == ["message", "r"]


@behaviour("overflow: offline messages sent to a client that never acknowledges are not lost with it",
	options={"smacks_max_queue_bytes": 50000, "smacks_hibernation_time": 1})
def offline_messages_are_not_lost(server):
	bob, alice = server.login("bob"), server.login("alice")
	user, count = alice.user, 200
	alice.close()
	for n in range(count):
		bob.send(f"<message type='chat' to='{alice.bare_jid}' id='{n}'><body>{n}</body><x xmlns='urn:test'>{'x' * 1000}</x></message>")
	bob.ping()
	alice = server.authenticated(user).bind()
	alice.enable()
	alice.send("<presence/>")
	alice.until("presence")
	server.wait_until(alice, f"s.outgoing_stanza_queue:count_unacked() >= {count}")
	alice.cut()
	server.wait_gone(alice)
	assert server.again(alice).available().bodies(count) == [str(n) for n in range(count)]


@behaviour("overflow: a client that does not read gets the missed messages when it returns", options=KILOBYTES)
def a_client_that_reads_nothing_gets_all_later(server):
	alice, bob = pair(server)
	letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ" * 20
	for n, letter in enumerate(letters):  # more than fits into the socket's buffers
		bob.chat(alice, f"{n} {letter * 20000}")
	bob.ping()
	cut(server, alice)
	alice = server.resume(alice, h=0)
	assert [int(alice.message().body.split()[0]) for _ in letters] == list(range(len(letters)))


@behaviour("overflow: stanzas that cannot be queued are returned to their sender with an error")
def unqueueable_stanzas_are_refused(server):
	alice, bob = pair(server)
	server.announced.append("Cannot queue")
	server.lua(f"""
		local message = require "util.stanza".message {{ from = {bed.lua(bob.jid)}, to = {bed.lua(alice.jid)}, id = "deep" }};
		for _ = 1, 100001 do message:tag("x"); end
		prosody.full_sessions[{bed.lua(alice.jid)}].send(message)""")
	error = bob.stanza()
	assert is_bounce(error) and error["id"] == "deep", error
	server.expect_log(r"\terror\t.*Cannot queue")
	say(bob, alice, "next")
	assert alice.message().body == "next"


@behaviour("overflow: a log line says once that a client is asked, and again after it has caught up", options=FIVE)
def asking_is_logged_once(server):
	alice, bob = pair(server)
	for _ in range(2):
		say(bob, alice, *range(8))
		alice.bodies(8)
		server.expect_log(r"\tinfo\t.*limit.*asking for an ack")
		assert server.log()[server.mark:].count("asking for an ack") == 1
		alice.ack()
		alice.handled()
		server.mark = len(server.log())


@behaviour("bytes: one stanza larger than the limit is still held", options={"smacks_max_queue_bytes": 2000})
def one_stanza_above_the_byte_limit_is_held(server):
	alice, bob = pair(server)
	cut(server, alice)
	say(bob, alice, big("a"))
	assert server.resume(alice).message().body == big("a")


@behaviour("bytes: both limits ask for an ack", options={**KILOBYTES, "smacks_max_queue_size": 3, **QUIET})
def both_limits_ask_for_an_ack(server):
	alice, bob = pair(server)
	say(bob, alice, *range(4))
	alice.until("r")
	carol = server.login("carol")
	carol.enable()
	say(bob, carol, *bigs("abc"))
	carol.until("r")


# --- an account ---

@behaviour("account: at smacks_max_account_bytes its largest hibernating session ends first, into storage", options=ACCOUNT)
def the_largest_session_of_an_account_ends(server):
	alice, bob = pair(server)
	tablet = server.again(alice)
	tablet.enable()
	cut(server, alice)
	cut(server, tablet)
	say(bob, tablet, "small")
	say(bob, alice, *FILL)
	server.wait_gone(alice)
	server.expect_log(r"\twarn\t.*smacks_max_account_bytes.*largest")
	wait_offline(server, alice.user, FILL)
	assert server.resume(tablet).message().body == "small"


@behaviour("account: a connected session that never acknowledges is ended with an error, without loss",
	over=("tcp", "websocket", "bosh"), options=ACCOUNT)
def an_unresponsive_session_is_ended(server, transport):
	alice, bob = pair(server, transport)
	say(bob, alice, *FILL)
	server.wait_gone(alice)
	if transport != "bosh":  # there, no pending request can be answered with the error
		errors = [e for e in alice.transport.wait_for_end() if e.name == "error"]
		assert [failure(e) for e in errors] == ["resource-constraint"], errors
	wait_offline(server, alice.user, FILL)
	client = server.authenticated(alice.user)
	failed = client.try_resume(alice, 0)
	assert failure(failed) == "item-not-found" and failed["h"] == "0", failed
	client.bind().available()
	assert drain(client) == FILL
	assert drain(bob) == []


@behaviour("account: with nowhere to store, each message bounces once", options={**ACCOUNT, **NO_OFFLINE})
def without_storage_each_message_bounces_once(server):
	alice, bob = pair(server)
	cut(server, alice)
	for body in FILL:
		bob.chat(alice, body)
	server.wait_gone(alice)
	bounces = [bob.stanza() for _ in FILL]
	assert all(map(is_bounce, bounces)), bounces
	assert [b["id"][0] for b in bounces] == list("ABCDEFG"), bounces
	bob.ping()
	assert not bob.unread, bob.unread


@behaviour("account: messages in the client's archive are neither stored nor bounced", modules=["mam"], options=ACCOUNT)
def archived_messages_are_neither_stored_nor_bounced(server):
	alice, bob = pair(server)
	use_archive(alice)
	alice.handled()
	alice.ack()
	cut(server, alice)
	say(bob, alice, *FILL)
	server.wait_gone(alice)
	assert drain(bob) == []
	assert pending_offline(server, alice.user) == []
	assert archive(server.again(alice)) == FILL


@behaviour("account: a session that ends for memory does not fill a hibernating one", options=ACCOUNT)
def an_ended_session_does_not_fill_another(server):
	alice, bob = pair(server)
	alice.available()
	tablet = server.again(alice)
	tablet.enable()
	tablet.send("<presence/>")
	tablet.handled()
	cut(server, alice)
	cut(server, tablet)
	say(bob, tablet, *FILL)
	server.wait_gone(tablet)
	wait_offline(server, alice.user, FILL)
	assert server.session(alice, "s.outgoing_stanza_queue:bytes() < 3000") == "true"


@behaviour("account: another server that never acknowledges is limited like an account", federation=True,
	options={"smacks_max_account_bytes": 30000})
def an_unresponsive_server_is_limited(servers):
	alice, bob = servers.a.login("alice"), servers.b.login("bob")
	say(alice, bob, "first")
	assert bob.message().body == "first"
	bed.wait_for(lambda: servers.a.lua("local s = prosody.hosts['a.test'].s2sout['b.test']; "
		"return tostring(s and s.smacks and s.handled_stanza_count ~= nil)") == "true", "stream management is enabled")
	servers.to_b.freeze()
	for body in FILL:
		alice.chat(bob, body)
	bounces = [alice.stanza() for _ in FILL]
	assert all(b["type"] == "error" for b in bounces), bounces
	servers.a.expect_log(r"\twarn\t.*smacks_max_account_bytes.*b\.test")


# --- the whole process ---

@behaviour("total: at smacks_max_total_bytes sessions of the largest account end first, into storage", options=TOTAL)
def the_largest_account_ends_first(server):
	alice, bob = pair(server)
	carol = server.login("carol")
	carol.enable()
	cut(server, alice)
	cut(server, carol)
	say(bob, carol, *bigs("abcd"))
	say(bob, alice, *bigs("ABCDEFGHI"))
	assert server.session(alice, "s and true") == "true"
	say(bob, alice, "J" * 8000)
	server.wait_gone(alice)
	server.expect_log(r"\twarn\t.*smacks_max_total_bytes.*largest")
	wait_offline(server, alice.user, [*bigs("ABCDEFGHI"), "J" * 8000])
	assert server.resume(carol).bodies(4) == bigs("abcd")


@behaviour("total: nine connected sessions that never acknowledge do not end another account's hibernating one",
	options=TOTAL)
def connected_sessions_do_not_evict_hibernating_ones(server):
	carol, bob = pair(server)
	cut(server, carol)
	say(bob, carol, "little")
	mallory = [server.login("mallory")]
	mallory += [server.again(mallory[0]) for _ in range(8)]
	for client in mallory:
		client.enable()
		say(bob, client, *bigs("AB"))
	server.wait_until(carol, "s.hibernating")
	gone = [c for c in mallory if server.session(c, "s and true") == "nil"]
	assert 1 <= len(gone) < 9, gone
	assert server.resume(carol).message().body == "little"


@behaviour("total: the bytes of sessions that have ended no longer count", options=TOTAL)
def ended_sessions_free_their_bytes(server):
	bob = server.login("bob")
	for _ in range(5):
		alice = server.login("alice")
		alice.enable()
		cut(server, alice)
		say(bob, alice, *bigs("ABCDEFGH"))
		assert server.session(alice, "s and s.hibernating and true") == "true"
		server.resume(alice).close()
		server.wait_gone(alice)


@behaviour("total: a connected session that acknowledges is never ended", options={"smacks_max_total_bytes": 30000, **QUIET})
def a_responsive_session_is_not_ended(server):
	alice, bob = pair(server)
	for letter in "ABCDEFGHIJKLMNOP":
		say(bob, alice, big(letter))
		assert alice.until("message").body == big(letter)
		alice.ack()
		alice.handled()
	cut(server, alice)
	server.resume(alice)


# --- the number of hibernating sessions ---

@behaviour("hibernated: beyond smacks_max_hibernated_sessions the oldest one ends",
	options={"smacks_max_hibernated_sessions": 2})
def the_longest_hibernation_ends_first(server):
	bob, first = server.login("bob"), server.login("alice")
	clients = [first, *(server.again(first) for _ in range(3))]
	for client in clients:
		client.enable()
	for n, client in enumerate(clients[:3]):
		say(bob, client, f"for {n}")
		cut(server, client)
	server.wait_gone(clients[0])
	server.expect_log(r"\tinfo\t.*smacks_max_hibernated_sessions")
	wait_offline(server, first.user, ["for", "0"])
	for n in (1, 2):
		assert server.resume(clients[n]).message().body == f"for {n}"


# --- a write buffer that is full ---

SMALL_BUFFER = {"network_settings": {"max_send_buffer_size": 100000}, "smacks_max_queue_bytes": 100000000, **QUIET}


@behaviour("buffer: stanzas that do not fit into a full write buffer are in the queue only",
	versions=["13.0"], options=SMALL_BUFFER)
def a_full_buffer_leaves_stanzas_in_the_queue(server):
	alice, bob = pair(server)
	alice.send("<presence/>")
	alice.handled()
	count = 0
	while server.session(alice, "s.hibernating") == "nil":
		bob.send(f"<message to='{alice.bare_jid}' id='{count}'><body>{count} {'x' * 60000}</body></message>")
		count += 1
		bob.ping()
	assert pending_offline(server, alice.user) == []
	alice = server.resume(alice, h=0)
	assert alice.stanza().name == "presence"
	assert [alice.stanza()["id"] for _ in range(count)] == [str(n) for n in range(count)]


@behaviour("buffer: a connection with pending writes and a full buffer is abandoned", versions=["13.0"], options=SMALL_BUFFER)
def a_stuck_connection_is_closed(server):
	alice, bob = pair(server)
	server.lua(f"prosody.full_sessions[{bed.lua(alice.jid)}].conn:pause_writes()")
	for n in range(3):
		bob.send(f"<message to='{alice.jid}' id='{n}'><body>{n} {'x' * 60000}</body></message>")
		bob.ping()
	server.wait_hibernating(alice)
	assert pending_offline(server, alice.user) == []
	alice = server.resume(alice, h=0)
	assert [alice.stanza()["id"] for _ in range(3)] == ["0", "1", "2"]


@behaviour("buffer: stanzas for a session with a full buffer are in its queue only", versions=["13.0"], options=SMALL_BUFFER)
def handed_over_stanzas_stay_in_the_queue(server):
	alice, bob = pair(server)
	phone = server.again(alice)
	phone.enable()
	phone.send("<presence/>")
	phone.handled()
	cut(server, alice)
	for n in range(4):
		bob.send(f"<message to='{alice.jid}' id='{n}'><body>{n} {'x' * 40000}</body></message>")
	bob.ping()
	server.lua(f"local s = prosody.full_sessions[{bed.lua(phone.jid)}]; s.conn:pause_writes(); "
		f"prosody.full_sessions[{bed.lua(alice.jid)}]:close()")
	server.wait_gone(alice)
	server.wait_hibernating(phone)
	server.settle()
	held = int(server.session(phone, "s.outgoing_stanza_queue:held()"))
	stored = [body for body in pending_offline(server, alice.user) if len(body) < 3]
	phone = server.resume(phone, h=0)
	queued = [phone.stanza()["id"] for _ in range(held)]
	assert [n for n in queued if n] + stored == ["0", "1", "2", "3"], (queued, stored)
