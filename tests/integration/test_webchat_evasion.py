"""Attempts to evade the firewall, the limits and the bars of a webchat."""
import xmpp
from test_webchat import nothing_arrived, refusal
from test_webchat_limits import HERE, THERE, administer, moderator, removed
from webchatsite import GUESTS, ROOMS, SUPPORT, behaviour, condition, enter, join

PING = "<ping xmlns='urn:xmpp:ping'/>"
NOT_KICKABLE = f"<error type='cancel'><not-allowed xmlns='{xmpp.STANZA_ERRORS}'/></error>"
FEW = {"webchat_messages_per_minute": 1, "webchat_message_burst": 4}


@behaviour("messages of type error are limited like others", guests=FEW)
def errors(server):
	agent, visitor = enter(server.login("agent"), "agent"), server.in_room("visitor")
	agent.until("presence")
	for n in range(8):
		visitor.chat(f"{SUPPORT}/agent", f"spam {n}", "error", NOT_KICKABLE)
	nothing_arrived(visitor)
	agent.ping()
	assert len([e for e in agent.unread if e.name == "message"]) == 3  # the fourth was the entering


@behaviour("requests to the room and to its occupants are limited, too", guests=FEW)
def requests(server):
	agent, visitor = enter(server.login("agent"), "agent"), server.in_room("visitor")
	agent.until("presence")
	for to in (f"{SUPPORT}/agent", SUPPORT, ROOMS, f"nowhere@{ROOMS}"):
		visitor.send(*[f"<iq type='get' id='flood{n}' to='{to}'>{PING}</iq>" for n in range(40)])
		while condition(visitor.until("iq"))[0] != "policy-violation":
			pass
		while "flood39" != visitor.until("iq")["id"]:
			pass
	agent.ping()
	assert len([e for e in agent.unread if e.name == "iq"]) <= 30


@behaviour("visitors cannot send direct invitations either")
def direct_invitations(server):
	agent, visitor = enter(server.login("agent"), "agent"), server.in_room("visitor")
	agent.until("presence")
	invitation = "<x xmlns='http://jabber.org/protocol/muc#user'/><x xmlns='jabber:x:conference' jid='trap@elsewhere.test'/>"
	for to, kind in ((f"{SUPPORT}/agent", "normal"), (f"{SUPPORT}/agent", "chat"), (SUPPORT, "groupchat")):
		assert refusal(visitor, f"<message to='{to}' type='{kind}'>{invitation}</message>") == "not-allowed", kind
	visitor.send(f"<message to='{SUPPORT}/agent' type='error'>{invitation}{NOT_KICKABLE}</message>")
	nothing_arrived(visitor)
	nothing_arrived(agent)


@behaviour("a visitor who is barred while disconnected leaves", beside_stock=True)
def barred_hibernating(server):
	agent, visitor = enter(server.login("agent"), "agent"), server.in_room("visitor", address=HERE)
	agent.until("presence")
	visitor.enable()
	visitor.cut()
	server.wait_hibernating(visitor)
	server.shell("webchat", "bar", GUESTS, HERE)
	assert agent.until("presence")["type"] == "unavailable"
	again = server.stranger(address=THERE)
	again.authenticate()
	assert xmpp.failure(again.try_resume(visitor, 0)) == "item-not-found"


@behaviour("a session from before a bar cannot resume after it", beside_stock=True)
def barred_resumption(server):
	visitor, again = server.visitor(address=THERE), server.stranger(address=HERE)
	again.authenticate()
	visitor.enable()
	visitor.cut()
	server.wait_hibernating(visitor)
	server.shell("webchat", "bar", GUESTS, HERE)
	assert xmpp.failure(again.try_resume(visitor, 0)) is not None
	assert server.session(visitor, "s.ip") == THERE


@behaviour("a failed resumption does not change a visitor's network")
def failed_resumption(server):
	visitor, again = server.visitor(address=HERE), server.stranger(address=THERE)
	visitor.enable()
	again.authenticate()
	assert again.try_resume(visitor, 99).name in ("failed", "error")
	assert server.session(visitor, "s.ip") == HERE
	server.shell("webchat", "bar", GUESTS, THERE)
	visitor.ping()


@behaviour("a visitor who resumes from a network that is barred from a room leaves it")
def barred_from_room(server):
	visitor, again = server.in_room("visitor", address=THERE), server.stranger(address=HERE)
	visitor.enable()
	server.shell("webchat", "bar", GUESTS, HERE, SUPPORT)
	visitor.cut()
	server.wait_hibernating(visitor)
	again.authenticate()
	again.resume(visitor)
	assert "307" in removed(again)


@behaviour("a ban finds the network of a present visitor after any number of later ones")
def long_here(server):
	agent, visitor = moderator(server), server.in_room("visitor", address=HERE)
	server.lua(f"""
		local fire = prosody.hosts["{GUESTS}"].events.fire_event;
		for n = 1, 1000 do
			local session = {{ ip = "192.0.2.1", full_jid = n .. "@{GUESTS}/1", log = function () end }};
			fire("resource-bind", {{ session = session }}); fire("resource-unbind", {{ session = session }});
		end""")
	administer(agent, f"jid='{visitor.jid.partition('/')[0]}' affiliation='outcast'")
	assert "301" in removed(visitor)
	assert condition(join(server.visitor(address=HERE), "again"))[0] == "forbidden"


@behaviour("the duration of a bar must be a valid number of seconds")
def odd_times(server):
	for seconds, answer in (("1.5", "for 2 s"), ("1e999", "number of seconds"), ("nan", "number of seconds"),
			("1e18", "number of seconds"), ("-1", "number of seconds")):
		try:
			told = server.shell("webchat", "bar", GUESTS, HERE, SUPPORT, seconds)
		except RuntimeError as error:
			told = str(error)
		assert answer in told, (seconds, told)
	server.shell("webchat", "list", GUESTS)


def fails_closed(name, **guests):
	@behaviour(f"the firewall works with {name}", guests=guests)
	def stands(server):
		server.announced.append(".")
		visitor, user = server.visitor(), server.login("user")
		assert refusal(visitor, f"<message to='{user.jid}'><body>hi</body></message>") == "not-allowed"
		visitor.enable()
		assert condition(join(visitor, "visitor", f"nowhere@{ROOMS}"))[0] == "item-not-found"
		assert server.webchat("host.modules.webchat ~= nil") == "true"


fails_closed("a default room that is none", webchat_default_room="support")
fails_closed("fractions", webchat_bar_time=1.5, webchat_hibernation_time=1.5, webchat_rooms_per_address=1.5,
	webchat_sessions_per_address=2.5, webchat_max_message_size=1000.5)
fails_closed("numbers that are none", webchat_bar_time="a day", webchat_message_burst="many", webchat_rooms_per_address=[1])


@behaviour("visitors are still filtered after a failed reload", beside_stock=True)
def failed_reload(server):
	visitor, cut = server.visitor(), server.visitor()
	cut.enable()
	cut.cut()
	server.wait_hibernating(cut)
	server.guests["authentication"] = "internal_plain"
	server.rewrite_config()
	server.announced.append(".")
	server.lua("prosody.reload_config()")
	server.lua(f"return tostring((require 'core.modulemanager'.reload('{GUESTS}', 'webchat')))")
	visitor.transport.wait_for_end()
	server.wait_gone(cut)


@behaviour("in-band registration does not create accounts", modules=["register_ibr"], options={"allow_registration": True})
def registration(server):
	stranger = server.stranger()
	query = "<query xmlns='jabber:iq:register'><username>mallory</username><password>x</password></query>"
	assert stranger.ask(query, "set")["type"] == "error"
	assert server.lua(f"return tostring(require 'core.usermanager'.user_exists('mallory', '{GUESTS}'))") != "true"
