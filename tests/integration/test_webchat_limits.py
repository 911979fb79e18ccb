"""Limits and bars of networks."""
import bed
import xmpp
from webchatsite import GUESTS, HOST, MUC, ROOMS, SUPPORT, behaviour, condition, enter, join

HERE, THERE = "127.0.0.2", "127.0.0.3"
COMMANDS = "http://jabber.org/protocol/commands"
BAR = "https://prosody.im/protocol/webchat#bar"


def turned_away(client):
	"""The error text of a refused login."""
	answer = client.ask_in()
	assert answer.name == "failure" and answer.child("temporary-auth-failure"), answer
	return answer.child("text").text


def moderator(server):
	"""The owner of the room, in it."""
	client = server.login("moderator")
	server.lua(f"prosody.hosts['{ROOMS}'].modules.muc.get_room_from_jid('{SUPPORT}')"
		f":set_affiliation(true, '{client.bare_jid}', 'owner')")
	return enter(client, "moderator")


def administer(client, item):
	answer = client.ask(f"<query xmlns='{MUC}#admin'><item {item}/></query>", "set", to=SUPPORT)
	assert answer["type"] == "result", answer


def removed(client):
	"""Wait until a client has been removed from a room; returns the presence's status codes."""
	while (presence := client.until("presence"))["type"] != "unavailable" or "110" not in codes(presence):
		pass
	return codes(presence)


def codes(presence):
	x = presence.child("x", MUC + "#user")
	return {status["code"] for status in x.all("status")} if x else set()


@behaviour("logins of a network are limited per minute", guests={"webchat_logins_per_minute": 2})
def logins(server):
	for _ in range(2):
		server.visitor(address=HERE).close()
	assert "wait a minute" in turned_away(server.stranger(address=HERE))
	server.visitor(address=THERE)


@behaviour("the number of visitors of a network is limited", guests={"webchat_sessions_per_address": 2})
def sessions(server):
	first = server.visitor(address=HERE)
	server.visitor(address=HERE)
	assert "2 visitors are here" in turned_away(server.stranger(address=HERE))
	server.visitor(address=THERE)
	first.close()
	server.visitor(address=HERE)


@behaviour("a visitor who logs in first and binds later is counted, too", guests={"webchat_sessions_per_address": 1})
def late_binding(server):
	one, two = server.stranger(address=HERE), server.stranger(address=HERE)
	one.authenticate()
	two.authenticate()
	one.bind()
	assert condition(two.ask(f"<bind xmlns='{xmpp.BIND}'/>", "set"))[0] == "resource-constraint"


@behaviour("the number of rooms of a network is limited", guests={"webchat_rooms_per_address": 2})
def rooms(server):
	other, third = server.make_room(f"other@{ROOMS}"), server.make_room(f"third@{ROOMS}")
	visitor, neighbour = server.in_room("visitor", address=HERE), server.visitor(address=HERE)
	enter(neighbour, "neighbour", other)
	assert condition(join(neighbour, "neighbour", third))[0] == "resource-constraint"
	enter(server.visitor(address=THERE), "distant", third)
	assert join(neighbour, "another", other)["type"] is None  # a nickname does not count as a room
	visitor.send(f"<presence to='{SUPPORT}/visitor' type='unavailable'/>")
	assert removed(visitor)
	enter(neighbour, "neighbour", third)


@behaviour("messages of a network are limited", guests={"webchat_messages_per_minute": 1, "webchat_message_burst": 3})
def rate(server):
	visitor, neighbour = server.in_room("visitor", address=HERE), server.visitor(address=HERE)
	for body in ("one", "two"):
		visitor.chat(SUPPORT, body, "groupchat")
		assert visitor.until("message").body == body
	for client in (visitor, neighbour):
		client.chat(SUPPORT, "three", "groupchat")
		name, text = condition(client.until("message"))
		assert name == "policy-violation" and "wait" in text, text
	for kind in ("normal", "headline", "unavailable", "nonsense"):
		visitor.chat(f"{SUPPORT}/visitor", "in private", kind)
		assert condition(visitor.until("message"))[0] == "policy-violation", kind
	server.in_room("distant", address=THERE)
	visitor.send(f"<presence to='{SUPPORT}/visitor' type='unavailable'/>")  # leaving is never refused
	assert removed(visitor)


@behaviour("the size of a message is limited", guests={"webchat_max_message_size": 1000})
def size(server):
	visitor = server.in_room("visitor")
	visitor.chat(SUPPORT, "x" * 500, "groupchat")
	assert len(visitor.until("message").body) == 500
	visitor.chat(SUPPORT, "x" * 1000, "groupchat")
	name, text = condition(visitor.until("message"))
	assert name == "policy-violation" and "1000 bytes" in text, text


@behaviour("the address is the one that a proxy forwards", guests={"webchat_sessions_per_address": 1})
def forwarded(server):
	def come(forwarded_for):
		client = server.stranger("websocket", forwarded_for=forwarded_for)
		return client.ask_in().name, client
	name, client = come("192.0.2.1")
	assert name == "success"
	client.transport.restart(GUESTS)
	client.next()
	client.bind()
	assert come("192.0.2.1")[0] == "failure"
	assert come("192.0.2.2")[0] == "success"


@behaviour("a ban bars the network from the room", guests={"webchat_bar_time": 3600})
def ban(server):
	agent = moderator(server)
	other = server.make_room(f"other@{ROOMS}")
	visitor, neighbour = server.in_room("visitor", address=HERE), server.in_room("neighbour", address=HERE)
	distant = server.in_room("distant", address=THERE)
	administer(agent, f"jid='{visitor.jid.partition('/')[0]}' affiliation='outcast'")
	assert "301" in removed(visitor)
	assert "307" in removed(neighbour)
	again = server.visitor(address=HERE)
	name, text = condition(join(again, "again"))
	assert name == "forbidden" and "barred from this room until" in text, text
	enter(again, "again", other)
	distant.chat(SUPPORT, "still here", "groupchat")
	assert distant.until("message").body == "still here"
	server.expect_log(rf"Barred {HERE} from {SUPPORT} for 3600 s: {agent.bare_jid}")
	administer(agent, f"jid='{visitor.jid.partition('/')[0]}' affiliation='none'")
	enter(again, "again")


@behaviour("a ban finds the network of a visitor who has left")
def late_ban(server):
	agent, visitor = moderator(server), server.in_room("visitor", address=HERE)
	visitor.close()
	administer(agent, f"jid='{visitor.jid.partition('/')[0]}' affiliation='outcast'")
	assert condition(join(server.visitor(address=HERE), "again"))[0] == "forbidden"


@behaviour("a ban of another user does not bar visitors")
def foreign_ban(server):
	agent, user = moderator(server), enter(server.login("user"), "user")
	administer(agent, f"jid='{user.bare_jid}' affiliation='outcast'")
	assert server.shell("webchat", "list", GUESTS).count("Nobody is barred") == 1
	assert "Ban bars no network" not in server.log()


@behaviour("a visitor who is kicked may return")
def kick(server):
	agent, visitor = moderator(server), server.in_room("visitor", address=HERE)
	administer(agent, "nick='visitor' role='none'")
	assert "307" in removed(visitor)
	enter(visitor, "visitor")


@behaviour("a bar expires", guests={"webchat_bar_time": 1})
def bar_ends(server):
	agent, visitor = moderator(server), server.in_room("visitor", address=HERE)
	administer(agent, f"jid='{visitor.jid.partition('/')[0]}' affiliation='outcast'")
	other = server.visitor(address=HERE)
	assert condition(join(other, "other"))[0] == "forbidden"
	bed.wait_for(lambda: join(other, "other")["type"] is None, "the bar ends")


@behaviour("an admin bars an address, and lifts the bar")
def shell(server):
	visitor, distant = server.in_room("visitor", address=HERE), server.in_room("distant", address=THERE)
	assert f"{HERE} is barred from the webchat for 86400 s" in server.shell("webchat", "bar", GUESTS, visitor.jid)
	assert "policy-violation" in str(visitor.transport.wait_for_end())
	assert "barred from this chat until" in turned_away(server.stranger(address=HERE))
	distant.ping()
	server.shell("module", "reload", "webchat", GUESTS)
	assert f"{HERE} from the webchat until" in server.shell("webchat", "list", GUESTS)
	assert turned_away(server.stranger(address=HERE))
	assert "not barred" in server.shell("webchat", "lift", GUESTS, HERE)
	server.visitor(address=HERE)


@behaviour("an admin bars an address from one room, for a time")
def shell_room(server):
	other = server.make_room(f"other@{ROOMS}")
	visitor = server.in_room("visitor", address=HERE)
	assert "for 60 s" in server.shell("webchat", "bar", GUESTS, HERE, SUPPORT, "60")
	assert "307" in removed(visitor)
	assert condition(join(visitor, "visitor"))[0] == "forbidden"
	enter(visitor, "visitor", other)
	assert "from the webchat for 50 s" in server.shell("webchat", "bar", GUESTS, THERE, "50")
	assert "not barred" in server.shell("webchat", "lift", GUESTS, HERE, SUPPORT)
	enter(visitor, "visitor")


@behaviour("invalid commands of an admin get an error text")
def shell_errors(server):
	for words, complaint in [(("bar", GUESTS, "nonsense"), "Neither an IP address nor the JID of a visitor who is here or left recently: nonsense"),
			(("bar", GUESTS, HERE, f"user@{HOST}"), f"may not enter this room: user@{HOST}"),
			(("bar", GUESTS, HERE, SUPPORT, "soon"), "a number of seconds"), (("bar", GUESTS), "Missing argument: IP address"),
			(("list",), "Missing argument: host" if server.version == "0.12" else "host"),
			(("lift", GUESTS, HERE), "is not barred"), (("list", HOST), HOST)]:
		try:
			answer = server.shell("webchat", *words)
		except RuntimeError as error:
			answer = str(error)
		assert complaint in answer, answer


@behaviour("only an admin can bar from a client", options={"admins": [f"admin1@{HOST}"]})
def adhoc(server):
	command = f"<command xmlns='{COMMANDS}' node='{BAR}' action='execute'>{{}}</command>"
	form = ("<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>https://prosody.im/protocol/webchat#bars"
		f"</value></field><field var='address'><value>{HERE}</value></field>"
		"<field var='seconds'><value>60</value></field></x>")
	admin, user, visitor = server.login("admin"), server.login("user"), server.visitor(address=HERE)
	assert condition(user.ask(command.format(form), "set", to=GUESTS))[0] == "forbidden"
	assert condition(visitor.ask(command.format(form), "set", to=GUESTS))[0] == "not-allowed"
	answer = admin.ask(command.format(""), "set", to=GUESTS).child("command")
	assert answer["status"] == "executing" and answer.child("x"), answer
	answer = admin.ask(command.format(form), "set", to=GUESTS).child("command")
	assert "is barred from the webchat for 60 s" in answer.child("note").text, answer
	assert visitor.transport.wait_for_end()
	assert turned_away(server.stranger(address=HERE))


@behaviour("limits outlive a reload", guests={"webchat_sessions_per_address": 1})
def reload(server):
	visitor = server.in_room("visitor", address=HERE)
	server.shell("module", "reload", "webchat", GUESTS)
	assert turned_away(server.stranger(address=HERE))
	visitor.close()
	server.in_room("visitor", address=HERE)


@behaviour("a visitor who resumes from another network counts there", guests={"webchat_sessions_per_address": 1})
def roaming(server):
	visitor = server.visitor(address=HERE)
	visitor.enable()
	visitor.cut()
	server.wait_hibernating(visitor)
	again = server.stranger(address=THERE)
	again.authenticate()
	again.resume(visitor)
	assert turned_away(server.stranger(address=THERE))
	server.visitor(address=HERE)


@behaviour("metrics count visitors, refusals and bars", options={"statistics": "internal"})
def metrics(server):
	def value(name):
		return server.lua(f"""
			local statsmanager = require "core.statsmanager";
			local total = 0;
			for family_name, family in pairs(statsmanager.get_metric_registry():get_metric_families()) do
				if family_name == "prosody_mod_webchat/{name}" then
					for labels, metric in family:iter_metrics() do
						for suffix, _, v in metric:iter_samples() do
							if suffix ~= "_created" then total = total + v; end
						end
					end
				end
			end
			return ("%d"):format(total)""")
	visitor = server.in_room("visitor", address=HERE)
	visitor.send(f"<message to='x@{HOST}'/>")
	assert condition(visitor.until("message"))[0] == "not-allowed"
	assert (value("visitors"), value("bars")) == ("1", "0")
	server.shell("webchat", "bar", GUESTS, HERE)
	visitor.transport.wait_for_end()
	assert turned_away(server.stranger(address=HERE))
	assert (value("visitors"), value("bars")) == ("0", "1")
	assert (value("logins"), value("refused")) == ("1", "2")
