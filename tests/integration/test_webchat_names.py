"""Nicknames that a visitor may have in a room."""
import xmpp
from webchatsite import GUESTS, HOST, ROOMS, SUPPORT, behaviour, condition, enter, join

ALIKE = ["Ann Bell", "ann bell", "ANN BELL", "AnnBell", "Ann-Bell", "Ann Be11", "Ann BelI", "\u0410nn Bell", "\uff21nn Bell", "\u0391nn Bell",
	"Ann Be\u2113l", "Ann\u00a0Bell", "Ann Bell\u200b", "A\u00adnn Bell", "Ann B\u0435ll", "Ann Bell.", "\U0001d400nn Bell"]
MANY = {"webchat_message_burst": 200}
FLAWED = ["Ben ", " Ben", "Be  n", "Be\u00a0\u00a0n", "B\u2800n", "B\u3164n", "\u3164", "B\u2066n", "B\U000e0101n", "Bе\u0301n", "be\u0301\u0301\u0301\u0301\u0301n",
	"b" * 41, "\u0411en", "Benν", "B\U0001f600n", "\U0001faf6"]
FINE = ["Ben", "Zo\u00eb \u041a\u0430\u0440\u0438\u043d\u0430", "\u05d3\u05d5\u05d3", "\u0645\u062d\u0645\u062f", "\u738b\u5c0f\u660e", "Nguy\u1ec5n V\u0103n A", "\u2665", "b" * 40,
	"Jean-Luc", "O\u2019Neil", "\u0e19\u0e34\u0e14", "Ann", "Bell"]


def rename(visitor, nick, room=SUPPORT):
	"""Ask for another nickname; returns the answer, which is an error or the first of two presences."""
	visitor.send(f"<presence to='{room}/{xmpp.escape(nick)}'/>")
	return visitor.until("presence")


@behaviour("a nickname that looks like that of an occupant is refused", guests=MANY)
def alike(server):
	enter(server.login("agent"), "Ann Bell")
	visitor = server.visitor()
	for nick in ALIKE:
		name, text = condition(join(visitor, nick))
		assert name == "conflict" and "choose another one" in text, (nick, name, text)
	assert join(visitor, "Ann Bella")["type"] is None


@behaviour("a nickname that cannot be read or written is refused", guests=MANY)
def flawed(server):
	visitor = server.visitor()
	for nick in FLAWED:
		name, text = condition(join(visitor, nick))
		assert name == "not-acceptable" and text, (nick, name, text)


@behaviour("nicknames of many languages are accepted")
def fine(server):
	for nick in FINE:
		visitor = server.visitor(transport="websocket")
		assert join(visitor, nick)["type"] is None, nick
		visitor.transport.close()
		server.wait_gone(visitor)


@behaviour("a change of nickname follows the same rules, and the visitor stays", guests=MANY)
def change(server):
	agent, visitor = enter(server.login("agent"), "Ann Bell"), server.in_room("visitor")
	agent.until("presence")
	for nicks, expected in ((ALIKE, "conflict"), (FLAWED, "not-acceptable")):
		for nick in nicks:
			assert condition(rename(visitor, nick))[0] == expected, nick
	agent.ping()
	assert not [e for e in agent.unread if e.name == "presence"], agent.unread
	assert rename(visitor, "Visitor")["type"] == "unavailable"  # visitors may change the case of their own names
	assert agent.until("presence").find("x", "item")["nick"] == "Visitor"


@behaviour("nicknames of the room's owners and admins, and registered ones, are reserved", options={"admins": [f"chief@{HOST}"]})
def reserved(server):
	agent = server.login("agent")
	server.lua(f"""
		local room = prosody.hosts["{ROOMS}"].modules.muc.get_room_from_jid("{SUPPORT}");
		room:set_affiliation(true, "tina\\\\20turner@{HOST}", "owner");
		room:set_affiliation(true, "otto@{HOST}", "admin");
		room:set_affiliation(true, "{agent.bare_jid}", "member", nil, {{ reserved_nickname = "Helpdesk" }});""")
	visitor = server.visitor()
	for nick in ("Tina Turner", "tina turner", "0tto", "OTTO", "helpdesk", "He1pdesk", "Chief"):
		assert condition(join(visitor, nick)) == ("conflict", "This name is reserved for somebody else: choose another one"), nick
	enter(agent, "Helpdesk")
	assert join(visitor, "Tina")["type"] is None


@behaviour("nicknames of users are not restricted")
def users(server):
	enter(server.login("agent"), "Ann")
	enter(server.login("other"), "ann")


@behaviour("a visitor cannot show another name beside the nickname")
def beside(server):
	agent, visitor = enter(server.login("agent"), "agent"), server.visitor()
	other = "<nick xmlns='http://jabber.org/protocol/nick'>agent</nick>"
	visitor.send(f"<presence to='{SUPPORT}/visitor'><x xmlns='http://jabber.org/protocol/muc'/>{other}</presence>")
	assert "protocol/nick" not in str(agent.until("presence"))
	visitor.chat(SUPPORT, "hello", "groupchat", other)
	message = agent.message()
	assert message.body == "hello" and "protocol/nick" not in str(message)


@behaviour("without ICU the log says so once, and only case is ignored")
def no_icu(server):
	server.lua("require 'util.encodings'.confusable = nil")
	server.shell("module", "reload", "webchat", GUESTS)
	server.expect_log("Prosody was built without ICU")
	assert server.log().count("Prosody was built without ICU") == 1
	enter(server.login("agent"), "Ann Bell")
	visitor = server.visitor()
	assert condition(join(visitor, "ANN BELL"))[0] == "conflict"
	assert condition(join(visitor, "Ben "))[0] == "not-acceptable"
	assert join(visitor, "Ann Be11")["type"] is None
