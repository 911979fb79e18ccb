"""Limits for the costs of a visitor, of a network, and of all visitors together."""
import mam
import xmpp
from test_webchat import DISCO, nothing_arrived
from test_webchat_limits import HERE, THERE, turned_away
from webchatsite import GUESTS, ROOMS, SUPPORT, behaviour, condition, enter, join

ELSEWHERE = "127.0.0.4"
VERSION = "<query xmlns='jabber:iq:version'/>"
IN_LONG_RUN = {"webchat_messages_per_minute": 1}


def asks(agent, ident):
	agent.send(f"<iq type='get' id='{ident}' to='{SUPPORT}/visitor'>{VERSION}</iq>")


def answer(visitor, question, text=""):
	visitor.send(f"<iq type='result' id='{question['id']}' to='{question['from']}'><query xmlns='jabber:iq:version'>"
		f"<name>{text}</name></query></iq>")


def arrived(client, name, kind=None):
	"""The number of such stanzas, after the server has handled everything before."""
	client.ping()
	return len([e for e in client.unread if e.name == name and kind in (None, e["type"])])


def refused(client, name="iq"):
	"""Condition and text of the error for the last stanza of that name, or None."""
	stanza = client.until(name)
	return condition(stanza) if stanza["type"] == "error" else None


def slow_rooms(server, seconds):
	"""Each request to a room keeps the server busy for this time."""
	server.lua(f"""
		local now = require "util.time".monotonic;
		prosody.hosts["{ROOMS}"].events.add_handler("iq/bare", function ()
			local till = now() + {seconds};
			while now() < till do end
		end, 10000);""")


def agent_with(server, **where):
	agent, visitor = enter(server.login("agent"), "agent"), server.in_room("visitor", **where)
	agent.until("presence")
	return agent, visitor


# --- answers ---

@behaviour("an answer reaches its requester, once", beside_stock=True)
def unasked_answers(server):
	agent, visitor = agent_with(server)
	asks(agent, "once")
	question = visitor.until("iq")
	for _ in range(50):
		answer(visitor, question, "x" * 7000)
	visitor.send(f"<iq type='error' id='{question['id']}' to='{question['from']}'/>",
		f"<iq type='result' id='never' to='{SUPPORT}/agent'/>", f"<iq type='result' id='never' to='{SUPPORT}'/>")
	visitor.ping()
	assert arrived(agent, "iq") == 1
	server.expect_log(r"Refused \(unasked\)")


@behaviour("answers count by their size, and not as messages",
	guests={**IN_LONG_RUN, "webchat_message_burst": 3})
def large_answers(server):
	agent, visitor = agent_with(server)
	for n in range(8):
		asks(agent, f"question{n}")
	for _ in range(8):
		answer(visitor, visitor.until("iq"), "x" * 7000)
	visitor.chat(SUPPORT, "still heard", "groupchat")
	assert visitor.until("message").body == "still heard"
	assert arrived(agent, "iq") == 4  # at 0.7 each


# --- sent stanzas ---

@behaviour("requests to oneself and to the host count", guests={**IN_LONG_RUN, "webchat_message_burst": 2})
def own_questions(server):
	visitor = server.visitor()
	for to in (None, visitor.jid, visitor.jid.partition("/")[0], GUESTS):
		answers = [visitor.ask(DISCO, to=to) for _ in range(25)]
		assert sum(a["type"] == "result" for a in answers) <= 20, to
		assert condition(answers[-1])[0] == "policy-violation", to


@behaviour("a message counts once for each kilobyte", guests={**IN_LONG_RUN, "webchat_message_burst": 8})
def large_messages(server):
	visitor = server.in_room("visitor")
	visitor.chat(SUPPORT, "x" * 5500, "groupchat")
	assert visitor.until("message").body
	visitor.chat(SUPPORT, "x" * 2500, "groupchat")
	assert refused(visitor, "message")[0] == "policy-violation"
	visitor.send(f"<presence to='{SUPPORT}/visitor'><status>{'x' * 2500}</status></presence>")
	assert refused(visitor, "presence")[0] == "policy-violation"
	visitor.chat(SUPPORT, "short", "groupchat")
	assert visitor.until("message").body == "short"


@behaviour("messages of a visitor are limited",
	guests={"webchat_visitor_messages_per_minute": 1, "webchat_visitor_message_burst": 2})
def visitors_rate(server):
	visitor, neighbour = server.in_room("visitor", address=HERE), server.in_room("neighbour", address=HERE)
	visitor.chat(SUPPORT, "one", "groupchat")
	assert visitor.until("message").body == "one"
	visitor.chat(SUPPORT, "two", "groupchat")
	assert refused(visitor, "message")[1].startswith("You are sending too much")
	neighbour.chat(SUPPORT, "mine", "groupchat")
	while neighbour.until("message").body != "mine":
		pass


@behaviour("messages of all visitors together are limited",
	guests={"webchat_total_messages_per_minute": 1, "webchat_total_message_burst": 3})
def total_rate(server):
	server.in_room("one", address=HERE)
	server.in_room("two", address=THERE)
	server.in_room("three", address=ELSEWHERE)
	visitor = server.visitor(address="127.0.0.5")
	assert condition(join(visitor, "four")) == ("policy-violation", "The chat is busy: wait a moment")


# --- logins ---

@behaviour("the number of visitors is limited over all networks", guests={"webchat_max_visitors": 2})
def max_visitors(server):
	first = server.visitor(address=HERE)
	server.visitor(address=THERE)
	assert "full" in turned_away(server.stranger(address=ELSEWHERE))
	late = server.stranger(address=ELSEWHERE)
	first.close()
	assert late.ask_in().name == "success"
	server.visitor(address=HERE)
	late.transport.restart(GUESTS)
	late.next()
	assert condition(late.ask(f"<bind xmlns='{xmpp.BIND}'/>", "set"))[0] == "resource-constraint"


@behaviour("a visitor can resume although the chat is full", beside_stock=True, guests={"webchat_max_visitors": 1})
def resumed_when_full(server):
	again = server.stranger(address=THERE)
	again.authenticate()
	visitor = server.visitor(address=HERE)
	visitor.enable()
	assert "full" in turned_away(server.stranger(address=ELSEWHERE))
	visitor.cut()
	server.wait_hibernating(visitor)
	again.resume(visitor)


@behaviour("logins of all networks together are limited per minute", guests={"webchat_total_logins_per_minute": 2})
def total_logins(server):
	for address in (HERE, THERE):
		server.visitor(address=address).close()
	assert turned_away(server.stranger(address=ELSEWHERE)) == "Too many logins: wait a minute"


# --- the server's time ---

@behaviour("the server's time is charged to the visitor", guests={"webchat_visitor_seconds_per_minute": 3})
def visitors_time(server):
	visitor, neighbour = server.in_room("visitor", address=HERE), server.in_room("neighbour", address=HERE)
	slow_rooms(server, 1.2)
	assert visitor.ask(DISCO, to=SUPPORT)["type"] == "result"
	assert condition(visitor.ask(DISCO, to=SUPPORT))[1] == "You have kept the server busy: wait a moment"
	visitor.chat(SUPPORT, "too much", "groupchat")
	assert refused(visitor, "message")[0] == "policy-violation"
	assert neighbour.ask(DISCO, to=SUPPORT)["type"] == "result"
	visitor.send(f"<presence to='{SUPPORT}/visitor' type='unavailable'/>")  # leaving is never refused
	while visitor.until("presence")["type"] != "unavailable":
		pass


@behaviour("the server's time is charged to the network", guests={"webchat_seconds_per_minute": 3})
def networks_time(server):
	visitor, neighbour = server.visitor(address=HERE), server.visitor(address=HERE)
	distant = server.visitor(address=THERE)
	slow_rooms(server, 1.2)
	assert visitor.ask(DISCO, to=SUPPORT)["type"] == "result"
	assert condition(neighbour.ask(DISCO, to=SUPPORT))[1] == "Your network has kept the server busy: wait a moment"
	assert distant.ask(DISCO, to=SUPPORT)["type"] == "result"


@behaviour("the server's time is charged to all visitors", guests={"webchat_total_seconds_per_minute": 3})
def total_time(server):
	visitor, distant, user = server.visitor(address=HERE), server.visitor(address=THERE), server.login("user")
	slow_rooms(server, 1.2)
	assert visitor.ask(DISCO, to=SUPPORT)["type"] == "result"
	assert condition(distant.ask(DISCO, to=SUPPORT))[1] == "The chat is busy: wait a moment"
	assert user.ask(DISCO, to=SUPPORT)["type"] == "result"


@behaviour("a page of an archive is limited by the option", guests={"webchat_max_page_size": 3},
	options={"max_archive_query_results": 500})
def pages(server):
	server.shell("module", "load", "muc_mam", ROOMS)
	visitor, user = server.in_room("visitor"), enter(server.login("user"), "user")
	for n in range(6):
		user.chat(SUPPORT, f"message {n}", "groupchat")
	while visitor.until("message").body != "message 5":
		pass
	for _ in range(6):
		user.until("message")
	visitor.unread.clear()
	user.unread.clear()
	for wish in ("100", "1e3", "0x64"):
		assert len(mam.query(visitor, SUPPORT, max=wish).bodies) == 3, wish
	assert len(mam.query(visitor, SUPPORT, max=2).bodies) == 2
	assert len(mam.query(user, SUPPORT, max=100).bodies) == 6


@behaviour("open requests to occupants are limited", guests={"webchat_visitor_requests_at_once": 2,
	"webchat_requests_at_once": 3})
def under_way(server):
	agent, visitor = agent_with(server, address=HERE)
	neighbour = server.in_room("neighbour", address=HERE)
	visitor.until("presence")
	for client, idents in ((visitor, "abc"), (neighbour, "de")):
		client.send(*[f"<iq type='get' id='{n}' to='{SUPPORT}/agent'>{DISCO}</iq>" for n in idents])
		error = client.until("iq")
		assert (error["id"], condition(error)[0]) == (idents[-1], "resource-constraint")
	answer(agent, agent.until("iq"))
	assert visitor.until("iq")["id"] == "a"
	visitor.send(f"<iq type='get' id='f' to='{SUPPORT}/agent'>{DISCO}</iq>")
	assert [agent.until("iq")["type"] for _ in range(3)] == ["get"] * 3
	nobody = [visitor.ask(DISCO, to=f"{SUPPORT}/nobody") for _ in range(5)]  # is answered at once
	assert {condition(a)[0] for a in nobody} == {"item-not-found"}


# --- received and unread bytes ---

@behaviour("bytes from a visitor are limited",
	guest_modules=["webchat", "csi"], guests={"webchat_visitor_bytes_per_minute": 65536})
def many_bytes(server):
	for n, elements in enumerate(([" " * 70000], ["<r xmlns='urn:xmpp:sm:3'/>"] * 1000, ["<enable xmlns='urn:xmpp:sm:3' resume='true'/>"] * 10,
			["<active xmlns='urn:xmpp:csi:0'/>"] * 10)):
		visitor = server.visitor()
		visitor.enable()
		visitor.send(*elements)
		visitor.transport.wait_for_end()  # with the error, unless the server has closed before it had read all
		assert server.log().count("Refused (bytes)") == n + 1, elements[0][:20]


@behaviour("bytes count before a visitor has entered, too", guests={"webchat_bytes_per_minute": 65536})
def early_bytes(server):
	stranger, late = server.stranger(address=HERE), server.stranger(address=THERE)
	late.authenticate()
	for n, client in enumerate((stranger, late)):
		client.send(" " * 70000)
		client.transport.wait_for_end()
		assert server.log().count("Refused (bytes)") == n + 1
	server.visitor(address=ELSEWHERE)


@behaviour("bytes from a visitor are limited after a resumption, too",
	beside_stock=True, guests={"webchat_visitor_bytes_per_minute": 65536})
def late_bytes(server):
	visitor = server.visitor()
	visitor.enable()
	visitor.cut()
	server.wait_hibernating(visitor)
	again = server.stranger()
	again.authenticate()
	again.resume(visitor)
	again.send(" " * 70000)
	again.transport.wait_for_end()
	server.expect_log(r"Refused \(bytes\)")
	server.wait_gone(visitor)


@behaviour("a visitor who logs in and does not enter a room is disconnected", options={"c2s_timeout": 3})
def not_come_in(server):
	visitor, late = server.visitor(), server.stranger()
	late.authenticate()
	assert xmpp.failure(late.transport.wait_for_end()[-1]) == "connection-timeout"
	visitor.ping()


def fill(agent, visitor):
	"""Send messages until the visitor is gone."""
	for _ in range(200):
		agent.chat(SUPPORT, "x" * 100000, "groupchat")
		while True:
			element = agent.next()
			if element.name == "presence" and element["type"] == "unavailable":
				assert element["from"] == f"{SUPPORT}/{visitor}"
				return
			if element.name == "message":
				break
	raise AssertionError("the visitor is still here")


UNREAD = {"webchat_max_unread_bytes": 65536}


@behaviour("a session that does not read is ended", guests=UNREAD, time_limit=60)
def unread(server):
	agent, visitor = agent_with(server)
	fill(agent, "visitor")
	assert xmpp.failure(visitor.transport.wait_for_end()[-1]) == "resource-constraint"
	server.expect_log(r"Refused \(unread\)")


@behaviour("a session that never acknowledges is ended", guests=UNREAD, beside_stock=True)
def unacknowledged(server):
	agent, visitor = agent_with(server)
	visitor.enable()
	for n in range(20):
		agent.chat(SUPPORT, "x" * 5000, "groupchat")
	seen = visitor.transport.wait_for_end()
	assert xmpp.failure(next(e for e in seen if e.name == "error")) == "resource-constraint"
	agent.until("presence")


for transport in ("tcp", "websocket"):
	@behaviour(f"the queue of a hibernating visitor is limited, over {transport}", guests=UNREAD, beside_stock=True)
	def away(server, transport=transport):
		agent, visitor = agent_with(server, transport=transport)
		visitor.enable()
		visitor.cut()
		server.wait_hibernating(visitor)
		for n in range(20):
			agent.chat(SUPPORT, "x" * 5000, "groupchat")
		assert agent.until("presence")["type"] == "unavailable"
		server.wait_gone(visitor)


@behaviour("a session that reads is not ended, with any amount of data", guests=UNREAD, beside_stock=True)
def reading(server):
	agent, visitor = agent_with(server)
	visitor.enable()
	for n in range(40):
		agent.chat(SUPPORT, "x" * 5000, "groupchat")
		visitor.until("message")
		visitor.ack()
		agent.until("message")
	nothing_arrived(agent)


# --- refusals ---

@behaviour("a visitor who is refused repeatedly is disconnected, and logged", guests={"webchat_refusals_per_minute": 20})
def refusals(server):
	visitor, neighbour = server.visitor(address=HERE), server.visitor(address=HERE)
	for n in range(25):
		visitor.send(f"<message to='nobody@{GUESTS}' id='{n}'/>")
	assert xmpp.failure(visitor.transport.wait_for_end()[-1]) == "policy-violation"
	server.expect_log(rf"Abuse by {HERE}: refused more than 20 times a minute\n")
	neighbour.ping()


@behaviour("a network that tries to enter repeatedly is logged", guests={"webchat_refusals_per_minute": 5})
def barred_logins(server):
	server.shell("webchat", "bar", GUESTS, HERE)
	stranger = server.stranger(address=HERE)
	while (answer_ := stranger.ask_in()).name == "failure":
		pass
	assert xmpp.failure(answer_) == "policy-violation"
	server.expect_log(rf"Abuse by {HERE}: refused more than 5 times a minute\n")


@behaviour("a visitor who guesses ids of sessions is disconnected", guests={"webchat_refusals_per_minute": 5}, beside_stock=True)
def guesses(server):
	stranger = server.stranger(address=HERE)
	stranger.authenticate()
	stranger.send(*[f"<resume xmlns='{xmpp.SM3}' previd='guess{n}' h='0'/>" for n in range(8)])
	assert xmpp.failure(stranger.transport.wait_for_end()[-1]) == "policy-violation"
	server.expect_log(rf"Abuse by {HERE}: refused more than 5 times a minute\n")
