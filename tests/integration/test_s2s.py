"""Stream management between servers: acknowledgements in both directions, no resumption."""
import bed
from steps import say
from suite import behaviour
from xmpp import STANZA_ERRORS

OUT = """local s = prosody.hosts["{a}"].s2sout["{b}"]"""
IN = """local s; for each in pairs(prosody.incoming_s2s) do
	if each.from_host == "{b}" and each.to_host == "{a}" and each.smacks then s = each; end end"""


def ask(server, way, expression, here, there):
	return server.lua(way.format(a=here, b=there).replace("\n", " ") + f"; return tostring({expression})")


def from_a(servers, expression):
	"""A value of a's stream to b, on a."""
	return ask(servers.a, OUT, expression, "a.test", "b.test")


def at_b(servers, expression):
	"""A value of the same stream, on b."""
	return ask(servers.b, IN, expression, "b.test", "a.test")


def wait_acknowledged(servers, count):
	queue = "s.outgoing_stanza_queue"
	expression = f"s and {queue} and {queue}:count_acked() >= {count} and {queue}:count_unacked() == 0"
	bed.wait_for(lambda: from_a(servers, expression) == "true", f"{count} stanzas are acknowledged")


def wait_enabled(servers):
	"""Before this, Prosody may send a stanza before those that wait for the stream."""
	enabled = "s and s.smacks and s.handled_stanza_count"
	bed.wait_for(lambda: from_a(servers, enabled) != "nil", "<enabled/> from b")
	bed.wait_for(lambda: ask(servers.b, OUT, enabled, "b.test", "a.test") != "nil", "<enabled/> from a")


def both(servers):
	"""Alice at a and bob at b, who have written to each other."""
	alice, bob = servers.a.login("alice"), servers.b.login("bob")
	alice.chat(bob, "opens the stream")
	assert bob.message().body == "opens the stream"
	bob.chat(alice, "and the other one")
	assert alice.message().body == "and the other one"
	wait_enabled(servers)
	return alice, bob


@behaviour("s2s: enabled on the streams of both directions", federation=True)
def both_directions_are_enabled(servers):
	both(servers)
	assert from_a(servers, "s.smacks") == "urn:xmpp:sm:3"
	assert at_b(servers, "s.smacks") == "urn:xmpp:sm:3"
	assert ask(servers.b, OUT, "s.smacks", "b.test", "a.test") == "urn:xmpp:sm:3"
	assert ask(servers.a, IN, "s.smacks", "a.test", "b.test") == "urn:xmpp:sm:3"


@behaviour("s2s: stanzas are acknowledged, and the queue stays short", federation=True)
def acks_empty_the_queue(servers):
	alice, bob = both(servers)
	for n in range(50):
		alice.chat(bob, str(n))
	assert bob.bodies(50) == [str(n) for n in range(50)]
	wait_acknowledged(servers, 50)
	for n in range(50):
		bob.chat(alice, str(n))
	assert alice.bodies(50) == [str(n) for n in range(50)]


@behaviour("s2s: stanzas that wait for a new stream are acknowledged like later ones", federation=True)
def stanzas_before_the_stream_are_acknowledged(servers):
	alice, bob = servers.a.login("alice"), servers.b.login("bob")
	alice.send("".join(f"<message to='{bob.jid}' type='chat'><body>{n} &lt;&amp;&gt; ä</body><x xmlns='urn:x'><y/></x></message>"
		for n in range(5)))
	messages = [bob.message() for _ in range(5)]
	assert [m.body for m in messages] == [f"{n} <&> ä" for n in range(5)]
	assert all(m.child("x", "urn:x").child("y", "urn:x") is not None for m in messages)
	wait_acknowledged(servers, 5)


@behaviour("s2s: both ends of a stream have counted the same", federation=True)
def both_ends_count_the_same(servers):
	alice, bob = both(servers)
	for n in range(7):
		alice.chat(bob, str(n))
	bob.bodies(7)
	wait_acknowledged(servers, 7)
	sent = from_a(servers, "s.outgoing_stanza_queue:count_acked()")
	assert at_b(servers, "s.handled_stanza_count") == sent


@behaviour("s2s: undelivered stanzas of a lost stream bounce, once", federation=True)
def a_lost_stream_bounces_once(servers):
	alice, bob = both(servers)
	wait_acknowledged(servers, 0)
	servers.to_b.freeze()
	alice.chat(bob, "into the void")
	alice.ping()
	servers.to_b.kill()
	servers.a.expect_log(r"\twarn\t.*1 unacked stanzas")
	bounce = alice.stanza()
	assert (bounce["id"], bounce["type"]) == ("into the void", "error"), bounce
	assert bounce.child("error").child("recipient-unavailable", STANZA_ERRORS), bounce
	alice.ping()
	assert not alice.unread, alice.unread
	alice.chat(bob, "on a new stream")
	assert bob.message().body == "on a new stream"


@behaviour("s2s: with smacks_s2s_resend they are sent again on a new stream", federation=True,
	options={"smacks_s2s_resend": True})
def resending_uses_a_new_stream(servers):
	alice, bob = both(servers)
	wait_acknowledged(servers, 0)
	servers.to_b.freeze()
	for n in range(5):
		alice.chat(bob, str(n))
	alice.ping()
	servers.to_b.kill()
	assert bob.bodies(5) == list("01234")
	alice.ping()
	assert not alice.unread, alice.unread


@behaviour("s2s: with smacks_enabled_s2s = false it is neither offered nor used", federation=True,
	options={"smacks_enabled_s2s": False})
def smacks_enabled_s2s_disables_it(servers):
	alice, bob = servers.a.login("alice"), servers.b.login("bob")
	alice.chat(bob, "hello")
	assert bob.message().body == "hello"
	assert from_a(servers, "s.smacks") == "nil"
	assert at_b(servers, "s") == "nil"


@behaviour("s2s: a message to a hibernating session on another server waits for it", federation=True)
def a_remote_message_waits_for_a_hibernating_session(servers):
	alice, bob = both(servers)
	bob.enable()
	bob.cut()
	servers.b.wait_hibernating(bob)
	alice.chat(bob, "across")
	bed.wait_for(lambda: servers.b.session(bob, "s.outgoing_stanza_queue:count_unacked()") == "1", "queued")
	assert servers.b.resume(bob).message().body == "across"


@behaviour("s2s: stanzas that leave a session's queue undelivered bounce to the other server", federation=True,
	options={"smacks_hibernation_time": 1, "modules_disabled": ["tls", "offline"]})
def dropped_messages_bounce_remotely(servers):
	alice, bob = both(servers)
	bob.enable()
	bob.cut()
	servers.b.wait_hibernating(bob)
	alice.chat(bob, "too late")
	bounce = alice.stanza()
	assert (bounce["id"], bounce["from"]) == ("too late", bob.jid), bounce
	assert bounce.child("error").child("recipient-unavailable", STANZA_ERRORS), bounce


@behaviour("s2s: a reload of the module keeps the streams and their counts", federation=True)
def a_reload_keeps_streams_and_counts(servers):
	alice, bob = both(servers)
	servers.a.shell("module", "reload", "smacks", "a.test")
	servers.b.shell("module", "reload", "smacks", "b.test")
	for n in range(5):
		alice.chat(bob, str(n))
	assert bob.bodies(5) == list("01234")
	wait_acknowledged(servers, 5)


@behaviour("limit: a stanza larger than the other server accepts is returned with an error once, and not counted", federation=True,
	versions=["13.0"])
def an_oversized_stanza_is_refused_once(servers):
	alice, bob = servers.a.login("alice"), servers.b.login("bob")
	say(alice, bob, "first")
	assert bob.message().body == "first"
	servers.a.lua("for _, s in pairs(prosody.hosts['a.test'].s2sout) do s.outgoing_stanza_size_limit = 3000 end")
	alice.chat(bob, "x" * 5000)
	assert alice.stanza()["type"] == "error"
	say(alice, bob, "second")
	assert bob.message().body == "second"
	bed.wait_for(lambda: servers.a.lua("for _, s in pairs(prosody.hosts['a.test'].s2sout) do "
		"return tostring(not s.outgoing_stanza_queue or s.outgoing_stanza_queue:count_unacked() == 0) end") == "true",
		"the other server has acknowledged all")
