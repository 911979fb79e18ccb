"""A support desk: its agents, voice, and sites that may frame the page."""
import bed
from test_webchat import nothing_arrived, refusal
from test_webchat_page import get
from webchatsite import GUESTS, HOST, MUC, OTHER_ROOMS, ROOMS, SUPPORT, behaviour, condition, enter

COMMANDS = "http://jabber.org/protocol/commands"
REQUEST = ("<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>" + MUC + "#request</value></field>"
	"<field var='muc#role'><value>{}</value></field></x>")


def room(server, expression):
	return server.lua(f"local room = prosody.hosts[{bed.lua(ROOMS)}].modules.muc.get_room_from_jid({bed.lua(SUPPORT)}); "
		f"return tostring({expression})")


def fails(server, *words):
	"""The error text of a shell command."""
	try:
		return server.shell("webchat", "agent", *words) and None
	except RuntimeError as error:
		return str(error)


@behaviour("an admin makes a user the owner of a room, and it is stored at once")
def owner(server):
	made = f"made@{ROOMS}"
	server.shell(f"muc:create('{made}', {{ persistent = true }})")
	agent = server.login("agent")
	answer = server.shell("webchat", "agent", GUESTS, made.upper(), agent.bare_jid)
	assert f"{agent.bare_jid} is owner of {made}" in answer, answer
	server.kill()
	server.start()
	agent = server.authenticated(agent.user).bind()
	enter(agent, "agent", made)
	assert agent.ask(f"<query xmlns='{MUC}#owner'/>", to=made)["type"] == "result"


@behaviour("an agent may be admin, member or none, with effect at once")
def affiliations(server):
	agent = enter(server.login("agent"), "agent")
	for affiliation, role in (("admin", "moderator"), ("member", "participant"), ("owner", "moderator"), ("none", "participant")):
		server.shell("webchat", "agent", GUESTS, SUPPORT, agent.bare_jid, affiliation)
		item = agent.until("presence").find("x", "item")
		assert (item["affiliation"], item["role"]) == (affiliation, role)
	assert "does not exist yet" in server.shell("webchat", "agent", GUESTS, SUPPORT, f"nobody@{HOST}", "owner")
	assert "does not exist" not in server.shell("webchat", "agent", GUESTS, SUPPORT, "somebody@elsewhere.test", "owner")


@behaviour("invalid agents are rejected, and the shell says why", guests={"webchat_room_hosts": [ROOMS]})
def wrong(server):
	visitor, account = server.visitor(), f"agent@{HOST}"
	for words, reason in (((SUPPORT, visitor.jid), "Visitors have no account"), ((SUPPORT, HOST), "user@host"),
			((f"nowhere@{ROOMS}", account), f"muc:create(\"nowhere@{ROOMS}\""), ((ROOMS, account), "room@host"),
			((f"club@{OTHER_ROOMS}", account), "Visitors may not enter"), ((SUPPORT, account, "boss"), "owner, admin, member, none"),
			((SUPPORT,), "user@host"), ((), "room@host")):
		assert reason in fails(server, GUESTS, *words), words
	assert room(server, f"room:get_affiliation('{account}')") == "nil"


@behaviour("only an admin can set agents from a client", options={"admins": [f"boss1@{HOST}"]})
def ad_hoc(server):
	boss, other, visitor = server.login("boss"), server.login("other"), server.visitor()
	form = "".join(f"<field var='{name}'><value>{value}</value></field>" for name, value in
		(("room", SUPPORT), ("agent", other.bare_jid), ("affiliation", "admin")))
	node = "https://prosody.im/protocol/webchat#agent"

	def command(client, session="", payload=""):
		return client.ask(f"<command xmlns='{COMMANDS}' node='{node}' {session}>{payload}</command>", "set", to=GUESTS)

	begun = command(boss).child("command")
	assert SUPPORT in str(begun)
	answer = command(boss, f"sessionid='{begun['sessionid']}' action='complete'", f"<x xmlns='jabber:x:data' type='submit'>{form}</x>")
	assert f"{other.bare_jid} is admin of {SUPPORT}" in str(answer)
	assert condition(command(other))[0] == "forbidden"
	assert condition(command(visitor))[0] == "not-allowed"


def moderated(server):
	"""A moderator, in a room where a visitor has no voice."""
	agent = server.login("agent")
	server.shell("webchat", "agent", GUESTS, SUPPORT, agent.bare_jid)
	room(server, "room:set_moderated(true)")
	return enter(agent, "agent")


def approve(agent, request):
	"""Grant voice, with the form that the room has sent."""
	form = request.child("x", "jabber:x:data")
	fields = {f["var"]: f.child("value").text if f.child("value") else "" for f in form.children if f["var"]}
	fields["muc#request_allow"] = "true"
	filled = "".join(f"<field var='{name}'><value>{value}</value></field>" for name, value in fields.items())
	agent.send(f"<message to='{SUPPORT}'><x xmlns='jabber:x:data' type='submit'>{filled}</x></message>")


def next_form(agent):
	while (message := agent.until("message")).child("x", "jabber:x:data") is None:
		pass
	return message


@behaviour("a visitor requests voice, and can speak when an agent has granted it")
def voice(server):
	agent = moderated(server)
	visitor = server.in_room("visitor")
	assert refusal(visitor, f"<message to='{SUPPORT}' type='groupchat'><body>hi</body></message>") == "forbidden"
	visitor.send(f"<message to='{SUPPORT}'>{REQUEST.format('participant')}</message>")
	approve(agent, next_form(agent))
	while visitor.until("presence").find("x", "item")["role"] != "participant":
		pass
	visitor.chat(SUPPORT, "thank you", "groupchat")
	while agent.until("message").body != "thank you":
		pass


@behaviour("a visitor cannot request other roles, for other occupants, or from outside the room")
def no_more_voice(server):
	agent, visitor, other = moderated(server), server.in_room("visitor"), server.in_room("other")
	outside = server.visitor()
	assert refusal(outside, f"<message to='{SUPPORT}'>{REQUEST.format('participant')}</message>") == "not-allowed"
	visitor.send(f"<message to='{SUPPORT}'>{REQUEST.format('moderator')}</message>")
	request = next_form(agent)
	assert visitor.jid in str(request)
	approve(visitor, request)
	approve(other, request)
	visitor.ping()
	assert room(server, f"room:get_role('{SUPPORT}/visitor')") == "visitor"
	nothing_arrived(outside)
	approve(agent, request)
	bed.wait_for(lambda: room(server, f"room:get_role('{SUPPORT}/visitor')") == "participant", "the visitor has voice, and no more")


def frame_ancestors(server):
	policy = get(server.http_port, "/chat/").getheader("Content-Security-Policy")
	assert get(server.http_port, "/chat/").getheader("X-Frame-Options") is None
	assert get(server.http_port, "/chat/app.js").getheader("Content-Security-Policy") == policy
	return next(part for part in policy.split("; ") if part.startswith("frame-ancestors "))


@behaviour("the page can be framed by its own origin, and by configured ones", guests={"webchat_frame_ancestors": [
	"https://www.example.org", "https://*.example.com/", "http://127.0.0.1:8080", "http://localhost:*", "HTTPS://Shop.Example.net:8443"]})
def framed(server):
	assert frame_ancestors(server) == ("frame-ancestors 'self' http://127.0.0.1:8080 http://localhost:* https://*.example.com "
		"https://shop.example.net:8443 https://www.example.org")


WRONG_ORIGINS = ["*", "https:", "'none'", "www.example.org", "https://a.example; script-src *", "https://a.example/path", "https://",
	"https://a b", "data:", "https://*", "https://a.example:x", "https://a.*.example", "javascript:alert(1)"]


@behaviour("an invalid origin is left out, and the log says so", guests={"webchat_frame_ancestors": [
	*WRONG_ORIGINS, "https://right.example"]})
def wrong_origins(server):
	server.announced.append("webchat_frame_ancestors")
	assert frame_ancestors(server) == "frame-ancestors 'self' https://right.example"
	for origin in WRONG_ORIGINS:
		shown = origin.replace("'", "\\'")
		assert f'webchat_frame_ancestors = "{shown}" must be an origin' in server.log(), origin
