"""A visitor returns without the old connection: a new session replaces the old one."""
from test_webchat_limits import HERE, THERE
from webchatsite import GUESTS, MUC, SUPPORT, behaviour, condition, enter, join

XMLNS = "https://prosody.im/protocol/webchat"


def replace(visitor, session, to=GUESTS):
	return visitor.ask(f"<replace xmlns='{XMLNS}' session='{session}'/>", "set", to=to)


@behaviour("a visitor with the id of a session replaces it, and has its name at once", beside_stock=True)
def replaced(server):
	agent, visitor = enter(server.login("agent"), "agent"), server.in_room("Ann")
	agent.until("presence")
	visitor.enable()
	visitor.cut()
	server.wait_hibernating(visitor)
	again = server.visitor()
	assert condition(join(again, "Ann"))[0] == "conflict"
	assert replace(again, visitor.id)["type"] == "result"
	assert agent.until("presence")["type"] == "unavailable"
	enter(again, "Ann")
	assert agent.until("presence")["type"] is None
	server.wait_gone(visitor)
	agent.ping()
	assert not [e for e in agent.unread if e.name == "presence"]


@behaviour("a session that the server considers alive is replaced, too")
def alive(server):
	visitor, again = server.in_room("Ann"), server.visitor()
	visitor.enable()
	assert replace(again, visitor.id)["type"] == "result"
	assert "another tab" in str(visitor.transport.wait_for_end())
	enter(again, "Ann")


@behaviour("a session over BOSH is replaced by its id")
def bosh(server):
	visitor, again = server.in_room("Ann", transport="bosh"), server.visitor()
	assert replace(again, server.session(visitor, "s.sid"))["type"] == "result"
	enter(again, "Ann")


@behaviour("a session can be replaced only with its id")
def foreign(server):
	visitor, other, user = server.in_room("Ann"), server.visitor(), server.login("user")
	visitor.enable()
	for session in ("guessed" + visitor.id[7:], "", visitor.jid, "nil"):
		assert condition(replace(other, session))[0] == "item-not-found"
	assert condition(replace(visitor, visitor.id))[0] == "item-not-found"  # one's own
	assert condition(replace(user, visitor.id))[0] == "item-not-found"
	assert condition(other.ask(f"<replace xmlns='{XMLNS}'/>", "set", to=GUESTS))[0] == "item-not-found"
	assert condition(replace(other, visitor.id, to=SUPPORT))[0] == "not-allowed"
	visitor.ping()


@behaviour("a session may try to replace others a few times, and no more")
def attempts(server):
	visitor, other = server.in_room("Ann"), server.visitor()
	visitor.enable()
	for _ in range(5):
		assert condition(replace(other, "guessed"))[0] == "item-not-found"
	assert condition(replace(other, visitor.id))[0] == "policy-violation"
	visitor.ping()


@behaviour("a ban finds the network of the session that was replaced, too")
def banned(server):
	agent = enter(server.login("agent"), "agent")
	server.shell("webchat", "agent", GUESTS, SUPPORT, agent.bare_jid)
	visitor = server.in_room("Ann", address=HERE)
	visitor.enable()
	visitor.cut()
	server.wait_hibernating(visitor)
	again = server.visitor(address=THERE)
	assert replace(again, visitor.id)["type"] == "result"
	enter(again, "Ann")
	agent.ask(f"<query xmlns='{MUC}#admin'><item jid='{again.jid.partition('/')[0]}' affiliation='outcast'/></query>", "set", to=SUPPORT)
	for address in (HERE, THERE):
		assert condition(join(server.visitor(address=address), "Ben"))[0] == "forbidden", address
