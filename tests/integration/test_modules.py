"""Other modules, and the interfaces that they use: events, marks, push, client state, carbons, archive, rooms."""
import bed
from steps import EVERY_TRANSPORT, counters, cut, pair, say, stream_error
from suite import behaviour
from xmpp import SM2, SM3, failure

PUSH = "push.prosody.test"
ROOMS = "rooms.prosody.test"
CARBONS = "urn:xmpp:carbons:2"
CSI = "urn:xmpp:csi:0"
MUC = "http://jabber.org/protocol/muc"
MAM = "urn:xmpp:mam:2"


# --- events ---

def seen(server):
	module = f"prosody.hosts[{bed.lua(server.host)}].modules.test_events"
	return server.lua(f"return table.concat({module}.seen, '\\n')").splitlines()


@behaviour("events: hibernation starts, stanzas are queued, hibernation ends; marks on stanzas stay",
	modules=["test_events"])
def hibernation_events_fire(server):
	alice, bob = pair(server)
	say(bob, alice, "a", "b")
	alice.bodies(2)
	cut(server, alice)
	say(bob, alice, "c", "d")
	alice = server.resume(alice, h=1)
	assert alice.bodies(3) == ["b", "c", "d"]
	assert seen(server) == ["start 2 [a b]", "queued 3 [(a) (b) c] c", "queued 4 [(a) (b) (c) d] d",
		"end 3 [(b) (c) (d)]"], seen(server)


@behaviour("events: marks are not sent to the client", modules=["test_events"])
def marks_are_not_sent(server):
	alice, bob = pair(server)
	cut(server, alice)
	say(bob, alice, "marked")
	message = server.resume(alice).message()
	assert "mark" not in str(message).replace(">marked<", "").replace('"marked"', ""), message


@behaviour("events: marks survive a second hibernation", modules=["test_events"])
def marks_survive_a_second_hibernation(server):
	alice, bob = pair(server)
	cut(server, alice)
	say(bob, alice, "a")
	alice = server.resume(alice)
	cut(server, alice)
	say(bob, alice, "b")
	server.resume(alice, h=0)
	assert seen(server) == ["start 0 []", "queued 1 [a] a", "end 1 [(a)]", "start 1 [(a)]",
		"queued 2 [(a) b] b", "end 2 [(a) (b)]"], seen(server)


@behaviour("events: a missing ack is announced after the delay",
	modules=["test_events"], options={"smacks_max_ack_delay": 1})
def a_late_ack_is_announced(server):
	alice, bob = pair(server)
	say(bob, alice, "a", "b")
	bed.wait_for(lambda: "delayed 2 [a b]" in seen(server), "smacks-ack-delayed")


@behaviour("events: an ack that comes in time is not announced as delayed",
	modules=["test_events"], options={"smacks_max_ack_delay": 1})
def a_timely_ack_is_not_announced(server):
	alice, bob = pair(server)
	say(bob, alice, "a")
	alice.message()
	alice.ack()
	alice.handled()
	carol = server.login("carol")
	carol.enable()
	say(bob, carol, "never acknowledged")
	bed.wait_for(lambda: "delayed 1 [never acknowledged]" in seen(server), "smacks-ack-delayed")
	assert len(seen(server)) == 1, seen(server)


@behaviour("events: each stanza that is not delivered fails once", modules=["test_events"],
	options={"smacks_hibernation_time": 1})
def each_lost_stanza_fails_once(server):
	alice, bob = pair(server)
	say(bob, alice, "a")
	cut(server, alice)
	say(bob, alice, "b")
	server.wait_gone(alice)
	assert [e for e in seen(server) if e.startswith("failure")] == ["failure a", "failure b"], seen(server)


@behaviour("events: an expired hibernation does not fire the event of its end", modules=["test_events"],
	options={"smacks_hibernation_time": 1})
def expiry_announces_no_resumption(server):
	alice, _ = pair(server)
	cut(server, alice)
	server.wait_gone(alice)
	assert seen(server) == ["start 0 []"], seen(server)


@behaviour("watchdog: a push module may replace it by its own, around its callback")
def a_push_module_may_replace_the_watchdog(server):
	alice, bob = pair(server)
	cut(server, alice)
	server.lua(f"local s = prosody.full_sessions[{bed.lua(alice.jid)}]; "
		"local callback, timeout = s.hibernating_watchdog.callback, s.hibernating_watchdog.timeout; "
		"assert(callback and timeout == 600); s.hibernating_watchdog:cancel(); "
		"s.hibernating_watchdog = require 'util.watchdog'.new(1, function () callback(); end)")
	say(bob, alice, "waits")
	server.wait_gone(alice)
	assert server.again(alice).available().message().body == "waits"


# --- push ---

def enable_push(server, client):
	"""Returns the app server: a component that receives the notifications."""
	service = bed.Component(server, PUSH)
	answer = client.ask(f"<enable xmlns='urn:xmpp:push:0' jid='{PUSH}' node='phone'/>", "set")
	assert answer["type"] == "result", answer
	client.ack()
	client.handled()
	return service


def pushes(service, count):
	"""The next notifications, each answered as an app server does."""
	bodies = []
	for _ in range(count):
		iq = service.stanza()
		assert iq.name == "iq" and iq.find("pubsub", "publish", "item", "notification"), iq
		service.send(f"<iq type='result' id='{iq['id']}' from='{PUSH}' to='{iq['from']}'/>")
		bodies.append(iq)
	return bodies


def no_push(service, client):
	"""This message is the first one."""
	client.chat(PUSH, "nothing before")
	assert service.stanza().body == "nothing before"


PUSHING = {"versions": ["13.0"], "modules": ["cloud_notify", "csi_simple", "carbons", "mam"],
	"components": {PUSH: {"component_secret": bed.PASSWORD}, ROOMS: "muc"}}


@behaviour("push: a message to a hibernating client triggers exactly one notification", **PUSHING)
def a_hibernating_client_is_pushed_once(server):
	alice, bob = pair(server)
	service = enable_push(server, alice)
	cut(server, alice)
	bob.chat(alice, "hello")
	pushes(service, 1)
	server.wait_until(alice, "not s.awaiting_push_timer")
	no_push(service, bob)
	assert server.resume(alice).message().body == "hello"
	no_push(service, bob)


@behaviour("push: a message in transit at the cut triggers one notification, and none at the next cut", **PUSHING)
def messages_under_way_are_pushed_once(server):
	alice, bob = pair(server)
	service = enable_push(server, alice)
	say(bob, alice, "unacknowledged")
	cut(server, alice)
	pushes(service, 1)
	alice = server.resume(alice)
	cut(server, alice)
	no_push(service, bob)


@behaviour("push: hibernation is extended while the client waits for a notification",
	options={"smacks_hibernation_time": 1, "push_max_hibernation_timeout": 100}, **PUSHING)
def a_push_extends_hibernation(server):
	alice, bob = pair(server)
	service = enable_push(server, alice)
	carol = server.again(bob)
	carol.enable()
	cut(server, alice)
	cut(server, carol)
	server.wait_gone(carol)
	assert server.session(alice, "s.hibernating and true") == "true"
	bob.chat(alice, "the clock starts")
	pushes(service, 1)
	server.wait_gone(alice)


# --- client state indication ---

@behaviour("csi: stanzas held back for an inactive client survive the cut, in order", modules=["csi_simple"])
def csi_buffer_survives_a_cut(server):
	alice, bob = pair(server)
	alice.send(f"<inactive xmlns='{CSI}'/>")
	alice.handled()
	for n in range(5):
		bob.send(f"<presence to='{alice.jid}'><status>{n}</status></presence>")
	bob.ping()
	cut(server, alice)
	alice = server.resume(alice)
	assert [alice.stanza().child("status").text for _ in range(5)] == list("01234")
	alice.nothing_more()


@behaviour("csi: an inactive client is active again on a resumed stream", modules=["csi_simple"])
def a_resumed_client_is_active(server):
	alice, bob = pair(server)
	alice.send(f"<inactive xmlns='{CSI}'/>")
	alice.handled()
	cut(server, alice)
	alice = server.resume(alice)
	for _ in range(3):
		bob.send(f"<presence to='{alice.jid}'/>")
		assert alice.stanza().name == "presence"


@behaviour("csi: a resumed client can be inactive and active again", modules=["csi_simple"])
def a_resumed_client_may_be_inactive(server):
	alice, bob = pair(server)
	cut(server, alice)
	alice = server.resume(alice)
	alice.send(f"<inactive xmlns='{CSI}'/>")
	alice.handled()
	for n in range(3):
		bob.send(f"<presence to='{alice.jid}'><status>{n}</status></presence>")
	bob.ping()
	alice.send(f"<active xmlns='{CSI}'/>")
	assert [alice.stanza().child("status").text for _ in range(3)] == list("012")
	alice.ack()
	alice.handled()
	assert counters(server, alice) == (3, 0)


# --- carbons ---

@behaviour("carbons: copies reach a session that was resumed, and one that hibernates")
def carbons_reach_resumed_and_hibernating_sessions(server):
	alice, bob = pair(server)
	assert alice.ask(f"<enable xmlns='{CARBONS}'/>", "set")["type"] == "result"
	tablet = server.again(alice).available()
	cut(server, alice)
	say(bob, tablet, "while away")
	alice = server.resume(alice)
	say(bob, tablet, "when back")
	for body in ("while away", "when back"):
		copy = alice.stanza()
		assert copy.child("received", CARBONS).find("forwarded", "message").body == body, copy


@behaviour("carbons: messages of an account's other resource are copied to a resumed session")
def carbons_of_another_resource_reach_a_resumed_session(server):
	alice, bob = pair(server)
	alice.ask(f"<enable xmlns='{CARBONS}'/>", "set")
	cut(server, alice)
	alice = server.resume(alice)
	server.again(alice).chat(bob, "from the tablet")
	assert alice.stanza().child("sent", CARBONS).find("forwarded", "message").body == "from the tablet"


# --- archive ---

@behaviour("mam: catching up with hundreds of messages leaves a session connected and resumable", modules=["mam"],
	options={"max_archive_query_results": 1000})
def catching_up_keeps_the_session_resumable(server):
	alice, bob = server.login("alice"), server.login("bob")
	bob.send(*[f"<message type='chat' to='{alice.jid}'><body>{n}</body></message>" for n in range(700)])
	assert alice.bodies(700) == [str(n) for n in range(700)]
	alice.enable()
	alice.send(f"<iq type='set' id='q'><query xmlns='{MAM}'>"
		"<set xmlns='http://jabber.org/protocol/rsm'><max>700</max></set></query></iq>")
	results = [alice.stanza() for _ in range(700)]
	assert [r.find("result", "forwarded", "message").body for r in results] == [str(n) for n in range(700)]
	assert alice.stanza()["id"] == "q"
	cut(server, alice)
	alice = server.resume(alice, h=0)
	assert alice.stanza().find("result", "forwarded", "message").body == "0"


# --- rooms ---

def crowd(server, count):
	"""A room with that many occupants, all of one account."""
	room = f"room@{ROOMS}"
	host = server.login("host")
	host.send(f"<presence to='{room}/0'><x xmlns='{MUC}'/></presence>")
	assert host.stanza().name == "presence"
	config = "<x xmlns='jabber:x:data' type='submit'/>"
	host.ask(f"<query xmlns='{MUC}#owner'>{config}</query>", "set", to=room)
	for n in range(1, count):
		server.again(host).send(f"<presence to='{room}/{n}'><x xmlns='{MUC}'/></presence>")
	for _ in range(count - 1):
		host.until("presence")
	return room


def join(client, room):
	"""Join and read until the subject, which comes last; returns the presences before it."""
	client.send(f"<presence to='{room}/{client.user}'><x xmlns='{MUC}'/></presence>")
	presences = []
	while True:
		stanza = client.stanza()
		if stanza.name == "presence":
			presences.append(stanza)
		elif stanza.child("subject"):
			return presences


@behaviour("muc: a session that joins a room larger than the queue stays connected and resumable",
	components={ROOMS: "muc"}, options={"smacks_max_queue_size": 10})
def a_large_room_join_stays_resumable(server):
	room = crowd(server, 40)
	alice, bob = pair(server)
	assert len(join(alice, room)) == 41
	alice.ack()
	alice.handled()
	cut(server, alice)
	say(bob, alice, "resumable")
	assert server.resume(alice).message().body == "resumable"


@behaviour("muc: a resume is not visible in the room, and the messages meanwhile come, in order",
	components={ROOMS: "muc"})
def a_resume_is_invisible_to_the_room(server):
	room = crowd(server, 1)
	alice, bob = pair(server)
	join(alice, room)
	join(bob, room)
	alice.until("presence")
	cut(server, alice)
	for n in range(5):
		bob.chat(room, str(n), "groupchat")
	assert bob.bodies(5) == list("01234")
	alice = server.resume(alice)
	assert alice.bodies(5) == list("01234")
	alice.chat(room, "back", "groupchat")
	assert bob.message().body == "back"


@behaviour("muc: an occupant whose session expires leaves the room", components={ROOMS: "muc"},
	options={"smacks_hibernation_time": 1})
def an_expired_occupant_leaves(server):
	room = crowd(server, 1)
	alice, bob = pair(server)
	join(alice, room)
	join(bob, room)
	cut(server, alice)
	assert bob.stanza()["type"] == "unavailable"


# --- modules that enable and resume inline ---

def inline(client, request):
	client.send(f"<authenticate xmlns='urn:test:inline'>{request}</authenticate>")
	answer = client.next()
	assert answer.name == "success", answer
	return answer.children[0]


@behaviour("inline: a module enables and resumes through do_enable and do_resume", modules=["test_inline"])
def do_enable_and_do_resume_work(server):
	for sm in (SM3, SM2):
		alice, bob = server.login("alice"), server.login("bob")
		enabled = inline(alice, f"<enable xmlns='{sm}' resume='1'/>")
		assert (enabled.name, enabled.xmlns, enabled["max"]) == ("enabled", sm, "600"), enabled
		alice.sm, alice.id, alice.h = sm, enabled["id"], 0
		alice.ping()
		assert alice.handled() == 1
		say(bob, alice, "unread")
		cut(server, alice)
		say(bob, alice, "detached")
		again = server.authenticated(alice.user)
		resumed = inline(again, f"<resume xmlns='{sm}' previd='{alice.id}' h='1'/>")
		assert (resumed.name, resumed.xmlns, resumed["h"]) == ("resumed", sm, "1"), resumed
		again.sm, again.id, again.jid, again.h = sm, alice.id, alice.jid, 1
		assert again.bodies(2) == ["unread", "detached"]
		again.ping()
		assert again.handled() == 2


@behaviour("inline: errors come with their condition, and with the h of an expired session",
	modules=["test_inline"], options={"smacks_hibernation_time": 1})
def inline_errors_have_their_condition(server):
	alice = server.login("alice")
	alice.enable()
	assert failure(inline(alice, f"<enable xmlns='{SM3}'/>")) == "unexpected-request"
	assert failure(inline(alice, f"<resume xmlns='{SM3}' previd='x' h='0'/>")) == "unexpected-request"
	alice.ping()
	cut(server, alice)
	server.wait_gone(alice)
	client = server.authenticated(alice.user)
	failed = inline(client, f"<resume xmlns='{SM3}' previd='{alice.id}' h='0'/>")
	assert failure(failed) == "item-not-found" and failed["h"] == "1", failed
	assert failure(inline(client, f"<resume xmlns='{SM3}' previd='x' h='0'/>")) == "item-not-found"
	assert failure(inline(client, f"<enable xmlns='{SM3}'/>")) == "unexpected-request"


@behaviour("inline: the old connection of a session resumed inline gets <conflict/>", modules=["test_inline"])
def an_inline_resume_closes_the_old_connection(server):
	alice, bob = pair(server)
	again = server.authenticated(alice.user)
	inline(again, f"<resume xmlns='{SM3}' previd='{alice.id}' h='0'/>")
	assert failure(stream_error(alice)) == "conflict"
	say(bob, alice, "hello")
	assert again.stanza().body == "hello"


# --- filters ---

@behaviour("filters: filters before and after ours are applied, to first and repeated transmissions",
	modules=["test_filters"], over=EVERY_TRANSPORT)
def filters_of_others_apply(server, transport):
	alice, bob = pair(server, transport)
	say(bob, alice, "live")
	live = alice.message()
	assert len(live.all("before")) == 1 and len(live.all("after")) == 1, live
	cut(server, alice)
	say(bob, alice, "detached")
	alice = server.resume(alice, transport, h=0)
	for body in ("live", "detached"):
		message = alice.message()
		assert message.body == body and message.child("before") and len(message.all("after")) == 1, message
	alice.ack()
	assert alice.handled() == 0
	assert counters(server, alice) == (2, 0)
