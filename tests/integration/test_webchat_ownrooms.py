"""A room for each visitor."""
import bed
import xmpp
from browser import Browser
from test_webchat_browser import COMPOSER, MESSAGE, come_in, in_browser, page, said
from test_webchat_limits import HERE
from webchatsite import GUESTS, MUC, ROOMS, SUPPORT, behaviour, condition, enter, join

XMLNS = "https://prosody.im/protocol/webchat"
OWN = {"webchat_room_per_visitor": True}
SHORT = {**OWN, "webchat_own_room_time": 1}


def ask_room(visitor, jid=None, key=None):
	"""The visitor's room and its key."""
	known = f"jid='{jid}' key='{key}'" if jid else ""
	answer = visitor.ask(f"<room xmlns='{XMLNS}' {known}/>", "set", to=GUESTS)
	assert answer["type"] == "result", answer
	room = answer.child("room")
	return room["jid"], room["key"]


def agent_of_desk(server, affiliation="owner"):
	agent = server.login("agent").available()
	server.shell("webchat", "agent", GUESTS, SUPPORT, agent.bare_jid, affiliation)
	return agent


def invited(agent):
	"""The room of an agent's invitation, and its reason."""
	while (message := agent.until("message")).find("x", "invite") is None:
		pass
	return message["from"], message.find("x", "invite").child("reason").text


def exists(server, jid):
	return server.lua(f"return tostring(prosody.hosts['{ROOMS}'].modules.muc.get_room_from_jid('{jid}') ~= nil)") == "true"


@behaviour("each visitor has a room, and the agents are notified when the visitor enters", guests=OWN)
def own_room(server):
	agent, member = agent_of_desk(server), agent_of_desk(server, "member")
	visitor, other = server.visitor(), server.visitor()
	room, key = ask_room(visitor)
	assert room.startswith("visitor-") and room.endswith(f"@{ROOMS}") and len(room) > 40 and len(key) > 20
	assert ask_room(visitor) == (room, key)
	assert ask_room(other)[0] != room
	enter(visitor, "Ann", room)
	for each in (agent, member):
		assert invited(each) == (room, "Ann asks for help")
		enter(each, f"agent {each.user}", room)
		assert each.ask(f"<query xmlns='{MUC}#owner'/>", to=room)["type"] == "result"
	agent.chat(room, "How can I help?", "groupchat")
	while visitor.until("message").body != "How can I help?":
		pass


@behaviour("other visitors cannot enter it, and it is not listed", guests=OWN)
def alone(server):
	agent_of_desk(server)
	visitor, other, user = server.visitor(), server.visitor(), server.login("user")
	room, _ = ask_room(visitor)
	for each in (other, user):
		assert condition(join(each, "Eve", room))[0] == "registration-required"
		assert room not in str(each.ask("<query xmlns='http://jabber.org/protocol/disco#items'/>", to=ROOMS))
	assert condition(join(visitor, "Ann"))[0] == "registration-required"  # the agents' own room
	assert ask_room(other, room, "guessed")[0] != room
	enter(visitor, "Ann", room)


@behaviour("a new session with its key gets it, and the old session leaves", guests=OWN)
def handed_over(server):
	agent = agent_of_desk(server)
	visitor, again = server.visitor(), server.visitor()
	room, key = ask_room(visitor)
	enter(visitor, "Ann", room)
	assert invited(agent)[0] == room
	assert ask_room(again, room, key) == (room, key)
	while visitor.until("presence")["type"] != "unavailable":
		pass
	enter(again, "Ann", room)
	assert condition(join(visitor, "Ben", room))[0] == "registration-required"
	agent.ping()
	assert not [e for e in agent.unread if e.name == "message"], "agents are told once"


@behaviour("it is destroyed when the visitor has been away for long, and its occupants leave", guests=SHORT)
def ended(server):
	agent, visitor, never = agent_of_desk(server), server.visitor(), server.visitor()
	room, _ = ask_room(visitor)
	unused, _ = ask_room(never)
	enter(visitor, "Ann", room)
	enter(agent, "agent", room)
	visitor.transport.close()
	while (presence := agent.until("presence")).find("x", "destroy") is None:
		pass
	assert presence["from"] == f"{room}/agent"
	bed.wait_for(lambda: not exists(server, room) and not exists(server, unused), "both rooms have ended")


@behaviour("it stays while the visitor is in it, and through a reload of the module", guests=SHORT)
def stays(server):
	agent, visitor = agent_of_desk(server), server.visitor()
	room, key = ask_room(visitor)
	enter(visitor, "Ann", room)
	server.shell("module", "reload", "webchat", GUESTS)
	assert ask_room(visitor) == (room, key)
	gone, _ = ask_room(server.visitor())
	bed.wait_for(lambda: not exists(server, gone), "the time of an unused room has passed")
	enter(agent, "agent", room)
	server.shell("module", "unload", "webchat", GUESTS)
	bed.wait_for(lambda: not exists(server, room), "no room is left without the module")


@behaviour("none of its data are stored, also when the server stops", guests=OWN)
def stopped(server):
	agent, visitor = agent_of_desk(server), server.visitor()
	room, _ = ask_room(visitor)
	unused, _ = ask_room(server.visitor())
	enter(visitor, "Ann", room)
	enter(agent, "agent", room)
	server.settle()
	server.terminate()
	bed.Prosody.start(server)
	assert not exists(server, room) and not exists(server, unused) and exists(server, SUPPORT)
	assert not [path for path in (server.directory / "data").rglob("*") if "visitor" in path.name]
	assert "visitor" not in "".join(p.read_text(errors="replace") for p in (server.directory / "data").rglob("*.dat"))


@behaviour("a ban from it bars from the desk", guests=OWN)
def banned(server):
	agent = agent_of_desk(server)
	visitor = server.visitor(address=HERE)
	room, key = ask_room(visitor)
	enter(visitor, "Ann", room)
	enter(agent, "agent", room)
	server_jid = visitor.jid.partition("/")[0]
	agent.ask(f"<query xmlns='{MUC}#admin'><item jid='{server_jid}' affiliation='outcast'/></query>", "set", to=room)
	again = server.visitor(address=HERE)
	for known in ("", f"jid='{room}' key='{key}'"):
		answer = again.ask(f"<room xmlns='{XMLNS}' {known}/>", "set", to=GUESTS)
		assert condition(answer)[0] == "forbidden", answer
	ask_room(server.visitor())
	agent.ask(f"<query xmlns='{MUC}#admin'><item jid='{server_jid}' affiliation='none'/></query>", "set", to=room)
	ask_room(again)


@behaviour("the log warns if there are no agents", guests=OWN)
def nobody(server):
	visitor = server.visitor()
	room, _ = ask_room(visitor)
	enter(visitor, "Ann", room)
	server.expect_log(f"No agent for a visitor: {SUPPORT} has no owner, admin or member. Run prosodyctl shell webchat agent .* waits in {room}")


@behaviour("rooms for visitors need the option and a default room", guests={
	"webchat_default_room": "", "webchat_room_per_visitor": True})
def without(server):
	server.announced.append("webchat_")
	answer = server.visitor().ask(f"<room xmlns='{XMLNS}'/>", "set", to=GUESTS)
	assert condition(answer)[0] in ("service-unavailable", "item-not-found"), answer


@behaviour("a user of the server does not get a visitor's room", guests=OWN)
def users(server):
	answer = server.login("user").ask(f"<room xmlns='{XMLNS}'/>", "set", to=GUESTS)
	assert condition(answer)[0] == "item-not-found" and xmpp.STANZA_ERRORS in str(answer)


@in_browser("a visitor is alone with the agents, and comes back to the same room",
	guests={**OWN, "webchat_title": "Example support"})
def desk(server):
	agent = agent_of_desk(server)
	with Browser() as browser:
		browser.driver.get(page(server))
		browser.wait_text("#room", "You are talking to our staff only.")
		come_in(browser, page(server))
		browser.wait_text(".chatbox-title__text", "Example support")
		assert browser.texts(".chatbox-title__text") == ["Example support"]
		room, reason = invited(agent)
		assert reason == "Ann asks for help"
		enter(agent, "agent", room)
		agent.chat(room, "How can I help?", "groupchat")
		browser.wait_text(MESSAGE, "How can I help?")
		browser.type(COMPOSER, "It burns")
		while said(agent) != "It burns":
			pass
		browser.driver.refresh()
		browser.wait(COMPOSER)
		browser.wait_text(MESSAGE, "It burns")
		browser.type(COMPOSER, "It burns still")
		assert said(agent) == "It burns still"
