"""Permissions of visitors of a webchat, with any input of their clients."""
import bed
import xmpp
from webchatsite import GUESTS, HOST, MUC, OTHER_ROOMS, ROOMS, SUPPORT, Webchat, behaviour, condition, enter, join

DISCO = "<query xmlns='http://jabber.org/protocol/disco#info'/>"
VCARD = "<vCard xmlns='vcard-temp'/>"
PUBLISH = ("<pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='n'><item><a xmlns='b'/></item></publish>"
	"</pubsub>")

# Requests of clients to their accounts
OF_AN_ACCOUNT = [("set", VCARD), ("get", VCARD), ("set", PUBLISH),
	("set", "<query xmlns='jabber:iq:private'><a xmlns='b'/></query>"),
	("set", "<query xmlns='jabber:iq:roster'><item jid='a@b.test'/></query>"),
	("set", "<block xmlns='urn:xmpp:blocking'><item jid='a@b.test'/></block>"),
	("set", "<query xmlns='urn:xmpp:mam:2'/>"),
	("set", "<prefs xmlns='urn:xmpp:mam:2' default='always'/>"),
	("set", "<enable xmlns='urn:xmpp:push:0' jid='push.test' node='n'/>"),
	("set", "<query xmlns='jabber:iq:register'><password>x</password></query>")]

# Requests of owners and moderators
OF_AN_OWNER = [("get", f"<query xmlns='{MUC}#owner'/>"), ("set", f"<query xmlns='{MUC}#owner'/>"),
	("set", f"<query xmlns='{MUC}#owner'><destroy/></query>"),
	("set", f"<query xmlns='{MUC}#admin'><item nick='agent' role='none'/></query>"),
	("get", f"<query xmlns='{MUC}#admin'><item affiliation='outcast'/></query>"),
	("set", "<query xmlns='jabber:iq:register'/>")]

INVITE = f"<x xmlns='{MUC}#user'><invite to='{{}}'/></x>"


def refusal(client, stanza):
	"""The condition of the error that a stanza is answered with."""
	client.send(stanza)
	return condition(client.stanza())[0]


def nothing_arrived(client):
	"""The server has handled everything before, and has not sent this client a stanza."""
	client.ping()
	assert not [e for e in client.unread if e.is_stanza], list(client.unread)


@behaviour("visitors and users talk in a room")
def talk(server):
	visitor, agent = server.in_room("visitor"), enter(server.login("agent"), "agent")
	visitor.chat(SUPPORT, "hello", "groupchat")
	assert agent.message().body == "hello"
	agent.chat(SUPPORT, "how can I help", "groupchat")
	assert [visitor.until("message").body for _ in range(2)] == ["hello", "how can I help"]


@behaviour("visitors reach neither users, nor other visitors, nor other hosts")
def reach(server):
	visitor, other, user = server.visitor(), server.visitor(), server.login("user").available()
	for to in (user.jid, user.bare_jid, other.jid, other.jid.partition("/")[0], HOST, "somebody@elsewhere.test", "elsewhere.test"):
		assert refusal(visitor, f"<message to='{to}' type='chat'><body>hi</body></message>") == "not-allowed", to
		assert refusal(visitor, f"<presence to='{to}'/>") == "not-allowed", to
		assert refusal(visitor, f"<presence to='{to}' type='subscribe'/>") == "not-allowed", to
		assert condition(visitor.ask(DISCO, to=to))[0] == "not-allowed", to
	nothing_arrived(user)
	nothing_arrived(other)
	assert server.webchat("host.events.fire_event('route/remote', {})") == "false"


@behaviour("users reach visitors only in a room")
def reached(server):
	visitor, user = server.in_room("visitor"), server.login("user").available()
	for to in (visitor.jid, visitor.jid.partition("/")[0]):
		assert refusal(user, f"<message to='{to}' type='chat'><body>hi</body></message>") == "service-unavailable"
		assert condition(user.ask(DISCO, to=to))[0] == "service-unavailable"
		user.send(f"<presence to='{to}' type='subscribe'/>", f"<presence to='{to}'/>")
	user.ping()
	nothing_arrived(visitor)
	enter(user, "user")
	visitor.until("presence")
	user.chat(f"{SUPPORT}/visitor", "in private")
	assert visitor.until("message").body == "in private"


@behaviour("visitors and other servers do not reach each other")
def federation(server):
	port = bed.Port()
	with Webchat(server.version, s2s_peers={"away.test": port.number}) as here:
		peers = {name: here.s2s_port for name in (GUESTS, ROOMS)}
		with bed.Prosody(server.version, host="away.test", s2s_port=port, s2s_peers=peers) as away:
			visitor, stranger = here.in_room("visitor"), away.login("stranger").available()
			assert enter(stranger, "stranger")
			visitor.until("presence")
			for to in (GUESTS, visitor.jid, visitor.jid.partition("/")[0]):
				stranger.send(f"<message to='{to}' type='chat'><body>hi</body></message>")
				here.expect_log(rf"Refused \(outsider\): message to {to} from stranger")
			visitor.send("<presence to='stranger@away.test'/>")
			assert condition(visitor.until("presence"))[0] == "not-allowed"
			nothing_arrived(visitor)


@behaviour("visitors enter only rooms of the configured hosts", guests={"webchat_room_hosts": [ROOMS.upper()]})
def named_hosts(server):
	club = server.make_room(f"club@{OTHER_ROOMS}")
	visitor = server.visitor()
	assert condition(join(visitor, "visitor", club))[0] == "not-allowed"
	assert condition(visitor.ask(DISCO, to=OTHER_ROOMS))[0] == "not-allowed"
	assert visitor.ask(DISCO, to=ROOMS)["type"] == "result"
	enter(visitor, "visitor")


@behaviour("without configured hosts, the rooms of this server are open")
def all_hosts(server):
	enter(server.visitor(), "visitor", server.make_room(f"club@{OTHER_ROOMS}"))


@behaviour("visitors cannot create rooms")
def no_creation(server):
	name, text = condition(join(server.visitor(), "visitor", f"mine@{ROOMS}"))
	assert name == "item-not-found" and "cannot create" in text, text
	assert server.lua(f"return tostring((prosody.hosts['{ROOMS}'].modules.muc.get_room_from_jid('mine@{ROOMS}')))") == "nil"


@behaviour("visitors cannot configure a room, moderate it, or register in it")
def no_configuration(server):
	visitor = server.in_room("visitor")
	for kind, payload in OF_AN_OWNER:
		assert condition(visitor.ask(payload, kind, to=SUPPORT))[0] == "not-allowed", payload


@behaviour("visitors cannot send invitations")
def no_invitations(server):
	visitor, user = server.in_room("visitor"), server.login("user").available()
	assert refusal(visitor, f"<message to='{SUPPORT}'>{INVITE.format(user.bare_jid)}</message>") == "not-allowed"
	nothing_arrived(user)


@behaviour("visitors may request voice in a moderated room")
def voice(server):
	server.lua(f"prosody.hosts['{ROOMS}'].modules.muc.get_room_from_jid('{SUPPORT}'):set_moderated(true)")
	moderator = server.login("moderator")
	server.lua(f"prosody.hosts['{ROOMS}'].modules.muc.get_room_from_jid('{SUPPORT}')"
		f":set_affiliation(true, '{moderator.bare_jid}', 'owner')")
	enter(moderator, "moderator")
	visitor = server.in_room("visitor")
	moderator.until("presence")
	visitor.send(f"<message to='{SUPPORT}'><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>{MUC}#request"
		f"</value></field><field var='muc#role'><value>participant</value></field></x></message>")
	assert moderator.until("message").child("x", "jabber:x:data")


@behaviour("visitors cannot store data in an account")
def no_account(server):
	visitor = server.visitor()
	for kind, payload in OF_AN_ACCOUNT:
		for to in (None, visitor.jid.partition("/")[0]):
			name, text = condition(visitor.ask(payload, kind, to=to))
			assert name == "not-allowed" and "no account" in text, (payload, text)
	assert not visitor.ask("<query xmlns='jabber:iq:roster'/>").child("query").children


@behaviour("the host answers the first queries of a client")
def first_questions(server):
	visitor = server.visitor()
	visitor.ping()
	assert visitor.ask(DISCO, to=GUESTS)["type"] == "result"
	assert visitor.ask(DISCO, to=SUPPORT)["type"] == "result"
	assert visitor.ask("<query xmlns='http://jabber.org/protocol/disco#items'/>", to=ROOMS)["type"] == "result"


@behaviour("a visitor whose connection is cut resumes, and stays in the room", beside_stock=True)
def resumption(server):
	agent, visitor = enter(server.login("agent"), "agent"), server.in_room("visitor")
	agent.until("presence")
	visitor.enable()
	visitor.cut()
	server.wait_hibernating(visitor)
	agent.chat(SUPPORT, "are you there?", "groupchat")
	agent.until("message")
	again = server.stranger()
	again.authenticate()
	again.resume(visitor)
	assert again.until("message").body == "are you there?"
	again.chat(SUPPORT, "yes", "groupchat")
	assert agent.until("message").body == "yes"
	assert not agent.unread, agent.unread


@behaviour("a session can be resumed only with its id", beside_stock=True)
def foreign_resumption(server):
	visitor = server.visitor()
	visitor.enable()
	other = server.stranger()
	other.authenticate()
	visitor.id = "guessed" + visitor.id[7:]
	assert xmpp.failure(other.try_resume(visitor, 0)) == "item-not-found"
	other.bind()
	assert other.jid != visitor.jid


@behaviour("a visitor who does not return leaves the room soon", beside_stock=True,
	guests={"webchat_hibernation_time": 1})
def short_hibernation(server):
	agent, visitor = enter(server.login("agent"), "agent"), server.in_room("visitor")
	agent.until("presence")
	visitor.enable(max=600)
	visitor.cut()
	assert agent.until("presence")["type"] == "unavailable"


@behaviour("a client gets the maximum time of a resumption")
def told_hibernation(server):
	for wish, answer in ((None, "60"), (600, "60"), (30, "30"), (0, "60"), (-5, "60"), ("0x10", "60")):
		assert server.visitor().enable(max=wish)["max"] == answer, wish


@behaviour("a visitor who closes the stream leaves at once, over each transport")
def leave(server):
	agent = enter(server.login("agent"), "agent")
	for transport in ("tcp", "websocket", "bosh"):
		visitor = server.in_room(transport, transport=transport)
		assert agent.until("presence")["type"] is None
		visitor.transport.close()
		assert agent.until("presence")["type"] == "unavailable"


@behaviour("a room publishes its URL for browsers")
def advertised(server):
	def address(room):
		fields = user.ask(DISCO, to=room).find("query", "x").children
		return [f.child("value").text for f in fields if f["var"] == "muc#roominfo_webchat_url"]
	user = server.login("user")
	page = f"http://localhost:{server.http_port}/chat/"
	assert address(SUPPORT) == [f"{page}#{SUPPORT}"]
	assert address(server.make_room(f"a b%26c@{ROOMS}".replace(" ", "\\20"))) == [f"{page}#a%5c20b%2526c@{ROOMS}"]
	server.shell("module", "reload", "muc", ROOMS)
	assert address(SUPPORT) == [f"{page}#{SUPPORT}"]
	server.shell("module", "reload", "webchat", GUESTS)
	assert address(SUPPORT) == [f"{page}#{SUPPORT}"]
	server.shell("module", "unload", "webchat", GUESTS)
	assert not address(SUPPORT)


@behaviour("a members-only room does not publish a URL", guests={"webchat_room_hosts": [ROOMS]})
def members_only(server):
	server.lua(f"prosody.hosts['{ROOMS}'].modules.muc.get_room_from_jid('{SUPPORT}'):set_members_only(true)")
	club = server.make_room(f"club@{OTHER_ROOMS}")
	user = server.login("user")
	for room in (SUPPORT, club):
		assert "webchat_url" not in str(user.ask(DISCO, to=room)), room


@behaviour("the module rejects a host that is not for anonymous users", guests={"authentication": "internal_plain"})
def wrong_host(server):
	server.announced.append("stack traceback")
	server.expect_log(r"mod_webchat serves visitors without an account.* authentication = \"anonymous\"")


@behaviour("only occupants can read a room's archive")
def archive(server):
	server.shell("module", "load", "muc_mam", ROOMS)
	visitor = server.visitor()
	assert condition(visitor.ask("<query xmlns='urn:xmpp:mam:2'/>", "set", to=SUPPORT)) == ("not-allowed", "Enter the room first")
	enter(visitor, "visitor")
	assert visitor.ask("<query xmlns='urn:xmpp:mam:2'/>", "set", to=SUPPORT)["type"] == "result"


def stays_out(server):
	"""A client that has logged in does not get an address."""
	stranger = server.stranger()
	stranger.authenticate()
	answer = stranger.ask(f"<bind xmlns='{xmpp.BIND}'/>", "set")
	assert condition(answer) == ("service-unavailable", "The chat is closed"), answer
	server.expect_log("Rejecting login: mod_webchat is not loaded")


@behaviour("when the module is unloaded visitors are disconnected and logins rejected; when it is reloaded they stay")
def unload(server):
	visitor = server.in_room("visitor")
	server.shell("module", "reload", "webchat", GUESTS)
	assert refusal(visitor, f"<message to='{HOST}'/>") == "not-allowed"
	server.shell("module", "unload", "webchat", GUESTS)
	assert "The webchat is closed" in str(visitor.transport.wait_for_end())
	stays_out(server)
	server.shell("module", "load", "webchat", GUESTS)
	server.in_room("visitor")


@behaviour("logins are rejected if the module cannot be loaded", guests={"modules_disabled": ["bosh"]})
def cannot_be_loaded(server):
	server.announced += ["Dependency on disabled module mod_bosh", "stack traceback"]
	stays_out(server)
	assert server.webchat("host.modules.webchat") == "nil"
