"""Rooms (XEP-0045): occupants, messages, roles, affiliations, configuration, registration, invitations, archive."""
import xmpp
from situations import ANY, ROOMS, error, matches, parse, situation

MUC = "http://jabber.org/protocol/muc"
USER, ADMIN, OWNER = f"{MUC}#user", f"{MUC}#admin", f"{MUC}#owner"
FORM = "jabber:x:data"
REGISTER = "jabber:iq:register"
DISCO = "http://jabber.org/protocol/disco"
MAM = "urn:xmpp:mam:2"


def form(kind, **fields):
	"""A form that is submitted; each field is given without the prefix of its kind."""
	prefix = {"roomconfig": "muc#roomconfig_", "register": "muc#register_"}.get(kind, "muc#")
	values = "".join(f"<field var='{prefix}{name}'>" + "".join(f"<value>{v}</value>" for v in value.split()) + "</field>"
		for name, value in fields.items())
	return f"<x xmlns='{FORM}' type='submit'><field var='FORM_TYPE'><value>{MUC}#{kind}</value></field>{values}</x>"


def item(content="", **attr):
	return "<item" + "".join(f" {name}={xmpp.quoteattr(value)}" for name, value in attr.items()) + f">{content}</item>"


class Room:
	"""A room: its occupants by nickname, and the stanzas that each of them is to get."""

	def __init__(self, owner, nick="Owner", **config):
		self.jid, self.occupants = f"{owner.user}@{ROOMS}", {nick: owner}
		self.join(owner, nick)
		self.saw(owner, nick, 201, affiliation="owner", role="moderator")
		self.subject(owner)
		self.configures(owner, **config)
		if config:
			self.all_told(104)

	def join(self, client, nick, inside=""):
		client.sends(f"<presence to='{self.jid}/{nick}'><x xmlns='{MUC}'>{inside}</x></presence>")

	def subject(self, client, text="", sender=""):
		client.gets(f"<message type='groupchat' from='{self.jid}{sender}'><subject>{text}</subject></message>")

	def enters(self, client, nick, *codes, inside="", history=(), subject="", subject_from="", **attr):
		"""The client joins: it gets all presence, the history and the subject, and others get its presence."""
		self.join(client, nick, inside)
		self.saw_others(client)
		self.saw(client, nick, *codes, **attr)
		for sender, body in history:
			client.gets(f"<message type='groupchat' from='{self.jid}/{sender}'><body>{body}</body>"
				f"<delay xmlns='urn:xmpp:delay' stamp='{ANY}'/></message>")
		self.subject(client, subject, subject_from)
		for other in self.occupants.values():
			self.saw(other, nick, **attr)
		self.occupants[nick] = client

	def saw_others(self, client):
		"""The client gets the presence of each occupant, in any order."""
		found = {client.gets(f"<presence from='{ANY}'><x xmlns='{USER}'/></presence>")["from"] for _ in self.occupants}
		assert found == {f"{self.jid}/{nick}" for nick in self.occupants}, found

	def saw(self, client, occupant, *codes, kind=None, status="", before="", content="", **attr):
		"""The client gets an occupant's presence, with exactly these status codes; its own has 110 as well."""
		kind = f" type='{kind}'" if kind else ""
		presence = client.gets(f"<presence from='{self.jid}/{occupant}'{kind}>{status}<x xmlns='{USER}'>{before}</x></presence>")
		x = presence.child("x", USER)
		assert any(matches(child, parse(item(content, **attr).replace("<item", f"<item xmlns='{USER}'"))) for child in x.all("item")), x
		found = {int(child["code"]) for child in x.all("status")}
		mine = {110} if self.occupants.get(occupant) is client or occupant not in self.occupants and 110 in found else set()
		assert found == set(codes) | mine, (found, codes)
		return presence

	def all_see(self, occupant, *codes, **what):
		for client in self.occupants.values():
			self.saw(client, occupant, *codes, **what)

	def all_see_go(self, occupant, *codes, **what):
		"""Unavailable presence: the occupant has left."""
		what.setdefault("role", "none")
		self.all_see(occupant, *codes, kind="unavailable", **what)
		del self.occupants[occupant]

	def says(self, nick, body, more=""):
		"""All occupants get the message of one of them."""
		self.occupants[nick].says(self.jid, body, "groupchat", more)
		for client in self.occupants.values():
			client.hears(f"{self.jid}/{nick}", body, "groupchat", more)

	def leaves(self, nick, status=""):
		self.occupants[nick].sends(f"<presence type='unavailable' to='{self.jid}/{nick}'>{status}</presence>")
		self.all_see_go(nick, status=status)

	def all_told(self, *codes):
		"""All occupants get a notification of a configuration change, with exactly these status codes."""
		for client in self.occupants.values():
			told = client.gets(f"<message type='groupchat' from='{self.jid}'><x xmlns='{USER}'><status code='{ANY}'/></x></message>")
			assert {int(status["code"]) for status in told.child("x", USER).children} == set(codes), told

	def admin(self, client, *items):
		client.iq("set", f"<query xmlns='{ADMIN}'>{''.join(items)}</query>", self.jid)

	def grants(self, granter, client, affiliation, **attr):
		"""Changes the affiliation of a client that is not in the room; the granter is a moderator."""
		self.admin(granter, item(affiliation=affiliation, jid=client.bare_jid, **attr))
		changed = f"<item affiliation='{affiliation}' jid='{client.bare_jid}'/>"
		granter.gets(f"<message from='{self.jid}'><x xmlns='{USER}'>{changed}</x></message>")
		granter.result()

	def configures(self, owner, **config):
		owner.iq("set", f"<query xmlns='{OWNER}'>{form('roomconfig', **config)}</query>", self.jid)
		owner.result()

	def refuses(self, client, nick, condition, kind=ANY, inside=""):
		"""The client cannot join."""
		self.join(client, nick, inside)
		client.gets(f"<presence type='error' from='{self.jid}/{nick}'>{error(condition, kind)}</presence>")

	def listed(self, client, affiliation):
		"""The items of those with an affiliation, by JID."""
		query = client.asks(f"<query xmlns='{ADMIN}'><item affiliation='{affiliation}'/></query>", to=self.jid)
		return {entry["jid"]: entry for entry in query.children}


# --- entering and leaving ---

@situation("rooms: locked until configured")
def _(alice, bob):
	jid = f"{alice.user}@{ROOMS}"
	alice.sends(f"<presence to='{jid}/Owner'><x xmlns='{MUC}'/></presence>")
	alice.gets(f"<presence from='{jid}/Owner'><x xmlns='{USER}'><status code='201'/></x></presence>",
		f"<message type='groupchat' from='{jid}'><subject/></message>")
	bob.sends(f"<presence to='{jid}/Bob'><x xmlns='{MUC}'/></presence>")
	bob.gets(f"<presence type='error' from='{jid}/Bob'>{error('item-not-found', 'cancel')}</presence>")
	alice.sets(f"<query xmlns='{OWNER}'>{form('roomconfig')}</query>", to=jid)
	bob.sends(f"<presence to='{jid}/Bob'><x xmlns='{MUC}'/></presence>")
	bob.gets(f"<presence from='{jid}/Owner'/>", f"<presence from='{jid}/Bob'/>", f"<message type='groupchat' from='{jid}'/>")
	alice.gets(f"<presence from='{jid}/Bob'/>")


@situation("rooms: join, presence change, and leave with a status")
def _(alice, bob, carol):
	room = Room(alice)
	room.enters(bob, "Bob", affiliation="none", role="participant")
	room.enters(carol, "Carol")
	bob.sends(f"<presence to='{room.jid}/Bob'><show>away</show></presence>")
	room.all_see("Bob", status="<show>away</show>")
	room.leaves("Bob", "<status>Farewell</status>")
	carol.gets_nothing()


@situation("rooms: messages reach all occupants in the same order")
def _(alice, bob, carol):
	room = Room(alice)
	room.enters(bob, "Bob")
	room.enters(carol, "Carol")
	for n, nick in enumerate(("Bob", "Owner", "Carol", "Bob")):
		room.says(nick, f"message {n}")
	bob.says(room.jid, "one", "groupchat")
	carol.says(room.jid, "two", "groupchat")
	for client in (alice, bob, carol):
		client.hears(f"{room.jid}/Bob", "one", "groupchat")
		client.hears(f"{room.jid}/Carol", "two", "groupchat")


@situation("rooms: history on joining, all or limited")
def _(alice, bob, carol, dave):
	room = Room(alice)
	said = [("Owner", f"message {n}") for n in range(3)]
	for _, body in said:
		room.says("Owner", body)
	room.enters(bob, "Bob", history=said)
	room.enters(carol, "Carol", inside="<history maxstanzas='1'/>", history=said[2:])
	room.enters(dave, "Dave", inside="<history maxstanzas='0'/>")


@situation("rooms: subject changes, and messages with a subject and a body")
def _(alice, bob, carol):
	room = Room(alice)
	room.enters(bob, "Bob")
	room.says("Owner", "with a body", more="<subject>Greetings</subject>")
	alice.sends(f"<message type='groupchat' to='{room.jid}'><subject>Topic</subject></message>")
	for client in (alice, bob):
		room.subject(client, "Topic", "/Owner")
	bob.sends(f"<message type='groupchat' to='{room.jid}' id='mine'><subject>Mine</subject></message>")
	bob.gets(f"<message type='error' from='{room.jid}' id='mine'>{error('forbidden', 'auth')}</message>")
	room.enters(carol, "Carol", history=[("Owner", "with a body")], subject="Topic", subject_from="/Owner")


@situation("rooms: private messages")
def _(alice, bob, carol):
	room = Room(alice)
	room.enters(bob, "Bob")
	room.enters(carol, "Carol")
	bob.says(f"{room.jid}/Carol", "psst")
	carol.hears(f"{room.jid}/Bob", "psst", more=f"<x xmlns='{USER}'/>")
	alice.gets_nothing()


@situation("rooms: messages to a missing occupant and from outside bounce")
def _(alice, bob):
	room = Room(alice)
	alice.says(f"{room.jid}/Nobody", "who?")
	alice.gets(f"<message type='error' from='{room.jid}/Nobody'>{error('item-not-found', 'cancel')}</message>")
	bob.says(room.jid, "let me in", "groupchat")
	bob.gets(f"<message type='error' from='{room.jid}'>{error('not-acceptable', ANY)}</message>")
	alice.gets_nothing()


@situation("rooms: nickname change, conflict, and malformed nickname")
def _(alice, bob):
	room = Room(alice)
	room.enters(bob, "Bob")
	room.refuses(bob, "Owner", "conflict", "cancel")
	room.refuses(bob, "\U0001f916", "jid-malformed", "modify")
	bob.sends(f"<presence to='{room.jid}/Robert'/>")
	room.all_see("Bob", 303, kind="unavailable", nick="Robert")
	room.occupants["Robert"] = room.occupants.pop("Bob")
	room.all_see("Robert", role="participant")


@situation("rooms: two clients of an account share a nickname")
def _(alice, bob, bob_phone):
	room = Room(alice)
	room.enters(bob, "Bob")
	room.join(bob_phone, "Bob")
	room.saw(bob_phone, "Owner")
	bob_phone.gets(f"<presence from='{room.jid}/Bob'/>")
	room.subject(bob_phone)
	for client in (alice, bob):
		client.gets(f"<presence from='{room.jid}/Bob'/>")
	alice.says(room.jid, "to both", "groupchat")
	for client in (alice, bob, bob_phone):
		client.hears(f"{room.jid}/Owner", "to both", "groupchat")


@situation("rooms: occupants whose stream closes, or who return an error, leave")
def _(alice, bob, carol):
	room = Room(alice)
	room.enters(bob, "Bob")
	room.enters(carol, "Carol")
	del room.occupants["Bob"]
	bob.leaves()
	for client in (alice, carol):
		room.saw(client, "Bob", kind="unavailable", role="none")
	carol.sends(f"<presence type='error' to='{room.jid}'>{error('service-unavailable', 'cancel')}</presence>")
	room.all_see_go("Carol", 333)


# --- roles and affiliations ---

@situation("rooms: an occupant is kicked")
def _(alice, bob, carol):
	room = Room(alice)
	room.enters(bob, "Bob")
	room.enters(carol, "Carol")
	room.admin(alice, item("<reason>Enough</reason>", nick="Bob", role="none"))
	room.all_see_go("Bob", 307, content="<reason>Enough</reason>")
	alice.result()
	room.enters(bob, "Bob")


@situation("rooms: ban, outcast list with reasons, and unban")
def _(alice, bob, carol):
	room = Room(alice)
	room.enters(bob, "Bob")
	room.admin(alice, item("<reason>Calm down</reason>", jid=bob.bare_jid, affiliation="outcast"))
	room.all_see_go("Bob", 301, affiliation="outcast", content="<reason>Calm down</reason>")
	alice.result()
	reason = room.listed(alice, "outcast")[bob.bare_jid].child("reason")
	assert (reason and reason.text) == {"0.12": None, "13.0": "Calm down"}[alice.server.version]
	room.refuses(bob, "Bob", "forbidden", "auth")
	room.admin(alice, item("<reason>Never</reason>", jid=carol.bare_jid, affiliation="outcast"))
	alice.gets(f"<message from='{room.jid}'><x xmlns='{USER}'><status code='301'/>"
		f"<item jid='{carol.bare_jid}' affiliation='outcast'><reason>Never</reason></item></x></message>")
	alice.result()
	room.grants(alice, bob, "none")
	room.enters(bob, "Bob")
	assert set(room.listed(alice, "outcast")) == {carol.bare_jid}


@situation("rooms: affiliations by JID and by nickname, and their lists")
def _(alice, bob, carol):
	room = Room(alice)
	room.grants(alice, carol, "member")
	room.enters(bob, "Bob")
	room.admin(alice, item(nick="Bob", affiliation="member"))
	room.all_see("Bob", affiliation="member", role="participant")
	alice.result()
	assert set(room.listed(alice, "member")) == {bob.bare_jid, carol.bare_jid}
	room.admin(alice, item(jid=bob.bare_jid, affiliation="admin"))
	room.all_see("Bob", affiliation="admin", role="moderator")
	room.saw(bob, "Owner", jid=alice.jid)
	alice.result()
	room.admin(bob, item(nick="Owner", role="none"))
	bob.refused("not-allowed", "cancel")
	room.enters(carol, "Carol", affiliation="member")
	room.admin(carol, item(nick="Bob", role="none"))
	carol.gets(f"<iq type='error' id='{carol.ident}'/>")


@situation("rooms: moderated, with a voice request")
def _(alice, bob):
	room = Room(alice, moderatedroom="1")
	room.enters(bob, "Bob", role="visitor")
	bob.says(room.jid, "hello?", "groupchat")
	bob.gets(f"<message type='error' from='{room.jid}'>{error('forbidden', 'auth')}</message>")
	bob.sends(f"<message to='{room.jid}'>{form('request', role='participant')}</message>")
	asked = alice.gets(f"<message type='normal' from='{room.jid}'><x xmlns='{FORM}' type='form'/></message>")
	assert any(field["var"] == "muc#roomnick" and field.child("value").text == "Bob" for field in asked.child("x").children), asked
	room.admin(alice, item(nick="Bob", role="participant"))
	room.all_see("Bob", role="participant")
	alice.result()
	room.says("Bob", "hello!")


@situation("rooms: members-only, joining and losing membership")
def _(alice, bob):
	room = Room(alice, membersonly="1")
	room.refuses(bob, "Bob", "registration-required", "auth")
	room.grants(alice, bob, "member")
	room.enters(bob, "Bob", affiliation="member")
	room.admin(alice, item(jid=bob.bare_jid, affiliation="none"))
	room.all_see_go("Bob", 321, affiliation="none")
	alice.result()


@situation("rooms: becoming members-only removes other occupants")
def _(alice, bob, carol):
	room = Room(alice)
	room.enters(bob, "Bob")
	room.grants(alice, carol, "member")
	room.enters(carol, "Carol", affiliation="member")
	room.configures(alice, membersonly="1")
	room.saw(bob, "Bob", 322, kind="unavailable", affiliation="none", role="none")
	del room.occupants["Bob"]  # the others do not get a notification, on either version
	room.all_told(104)
	room.says("Carol", "anybody else?")


# --- configuration ---

@situation("rooms: configuration form for the owner only")
def _(alice, bob):
	room = Room(alice)
	room.enters(bob, "Bob")
	query = alice.asks(f"<query xmlns='{OWNER}'/>", f"<query xmlns='{OWNER}'><x xmlns='{FORM}' type='form'/></query>", to=room.jid)
	names = {field["var"] for field in query.child("x").children}
	assert {"muc#roomconfig_roomname", "muc#roomconfig_membersonly", "muc#roomconfig_roomsecret"} <= names, names
	bob.iq("get", f"<query xmlns='{OWNER}'/>", room.jid)
	bob.refused("forbidden", "auth")


@situation("rooms: password set and removed")
def _(alice, bob, carol):
	room = Room(alice, roomsecret="cauldron")
	room.refuses(bob, "Bob", "not-authorized", "auth")
	room.enters(bob, "Bob", inside="<password>cauldron</password>")
	room.configures(alice, roomsecret="")
	room.all_told(104)
	room.enters(carol, "Carol")


@situation("rooms: non-anonymous, with affiliation lists for members")
def _(alice, bob, carol):
	room = Room(alice)
	room.configures(alice, membersonly="1", whois="anyone")
	room.all_told(104, 172)
	room.grants(alice, bob, "member")
	assert set(room.listed(bob, "owner")) == {alice.bare_jid} and set(room.listed(bob, "member")) == {bob.bare_jid}
	carol.iq("get", f"<query xmlns='{ADMIN}'><item affiliation='owner'/></query>", room.jid)
	carol.gets(f"<iq type='error' id='{carol.ident}'/>")
	room.enters(bob, "Bob", 100, affiliation="member", jid=bob.jid)


@situation("rooms: presence broadcast for moderators only")
def _(alice, bob, carol):
	room = Room(alice, presencebroadcast="moderator")
	for sender in (bob, carol):
		room.join(sender, sender.user)
		room.saw(sender, "Owner")
		room.saw(sender, sender.user)
		room.subject(sender)
	alice.gets_nothing()
	alice.sends(f"<presence type='probe' to='{room.jid}/{bob.user}'/>")
	room.saw(alice, bob.user, role="participant", jid=bob.jid)
	carol.gets_nothing()


@situation("rooms: presence broadcast for absent members")
def _(alice, bob, carol):
	room = Room(alice, presencebroadcast="none participant moderator")
	room.grants(alice, bob, "member", nick="Bob")
	room.join(carol, "Carol")
	room.saw_others(carol)
	room.saw(carol, "Bob", kind="unavailable", affiliation="member", role="none")
	room.saw(carol, "Carol")
	room.subject(carol)
	room.saw(alice, "Carol")


@situation("rooms: presence probes by occupants and by others")
def _(alice, bob, carol):
	room = Room(alice)
	alice.sends(f"<presence type='probe' to='{room.jid}/Owner'/>")
	alice.gets(f"<presence from='{room.jid}/Owner'><x xmlns='{USER}'><item affiliation='owner' role='moderator'/></x></presence>")
	bob.sends(f"<presence type='probe' to='{room.jid}/Owner'/>")
	bob.gets(f"<presence type='error' from='{room.jid}/Owner'>{error('not-acceptable', 'cancel')}</presence>")
	room.grants(alice, carol, "member", nick="Carol")
	alice.sends(f"<presence type='probe' to='{room.jid}/Carol'/>")
	room.saw(alice, "Carol", kind="unavailable", affiliation="member", role="none")


@situation("rooms: destroyed with a reason and an alternate room")
def _(alice, bob):
	room = Room(alice)
	room.enters(bob, "Bob")
	destroy = f"<destroy jid='elsewhere@{ROOMS}'><reason>Curtain</reason></destroy>"
	alice.iq("set", f"<query xmlns='{OWNER}'>{destroy}</query>", room.jid)
	for nick, client in room.occupants.items():
		room.saw(client, nick, kind="unavailable", before=destroy)
	alice.result()
	bob.says(room.jid, "still there?", "groupchat")
	bob.gets(f"<message type='error' from='{room.jid}'/>")


@situation("rooms: destroyed by an ad-hoc command")
def _(admin, alice):
	room = Room(alice)
	form = f"<x xmlns='{FORM}' type='submit'><field var='rooms'><value>{room.jid}</value></field></x>"
	command = f"<command xmlns='http://jabber.org/protocol/commands' node='http://prosody.im/protocol/muc#destroy'{{}}"
	admin.iq("set", command.format(f">{form}</command>"), ROOMS)
	room.saw(alice, "Owner", kind="unavailable", before="<destroy/>")
	admin.result(command.format(f" status='completed' sessionid='{ANY}'/>"))
	alice.says(room.jid, "anybody?", "groupchat")
	alice.gets(f"<message type='error' from='{room.jid}'/>")


@situation("rooms: persistent and temporary rooms without occupants")
def _(alice, bob):
	persistent, passing = Room(alice, persistentroom="1"), Room(bob)
	for room in (persistent, passing):
		room.leaves("Owner")
	bob.asks(f"<query xmlns='{DISCO}#info'/>", to=persistent.jid)
	bob.iq("get", f"<query xmlns='{DISCO}#info'/>", passing.jid)
	bob.refused("item-not-found", "cancel")


# --- registration ---

@situation("rooms: nickname registration, conflict, and removal")
def _(alice, bob, carol):
	room = Room(alice)
	room.grants(alice, bob, "member")
	room.enters(bob, "Bob", affiliation="member")
	bob.asks(f"<query xmlns='{REGISTER}'/>", f"<query xmlns='{REGISTER}'><x xmlns='{FORM}' type='form'/></query>", to=room.jid)
	bob.iq("set", f"<query xmlns='{REGISTER}'>{form('register', roomnick='Bob')}</query>", room.jid)
	room.all_see("Bob", affiliation="member")
	bob.result()
	own = f"<query xmlns='{DISCO}#info' node='x-roomuser-item'>{{}}</query>"
	bob.asks(own.format(""), own.format("<identity category='conference' type='text' name='Bob'/>"), to=room.jid)
	room.leaves("Bob")
	room.refuses(carol, "Bob", "conflict", "cancel")
	bob.iq("set", f"<query xmlns='{REGISTER}'><remove/></query>", room.jid)
	bob.result()
	alice.gets(f"<message from='{room.jid}'><x xmlns='{USER}'><item affiliation='none' jid='{bob.bare_jid}'/></x></message>")
	room.enters(carol, "Bob", affiliation="none")
	room.admin(alice, item(affiliation="member", jid=bob.bare_jid, nick="Bob"))
	room.all_see_go("Bob", 307, content="<reason>This nickname is reserved</reason>")
	alice.gets(f"<message from='{room.jid}'><x xmlns='{USER}'><item affiliation='member' jid='{bob.bare_jid}'/></x></message>")
	alice.result()
	carol.iq("get", f"<query xmlns='{REGISTER}'/>", room.jid)
	carol.refused("registration-required", "auth")


@situation("rooms: members-only, deregistering leaves the room")
def _(alice, bob):
	room = Room(alice, membersonly="1")
	room.grants(alice, bob, "member")
	room.enters(bob, "Bob", affiliation="member")
	bob.iq("set", f"<query xmlns='{REGISTER}'><remove/></query>", room.jid)
	room.all_see_go("Bob", 321, affiliation="none")
	bob.result()


# --- invitations ---

def invitation(room, sender, reason):
	return (f"<message from='{room.jid}'><x xmlns='{USER}'><invite from='{sender}'><reason>{reason}</reason></invite></x>"
		f"<body>{ANY}</body></message>")


@situation("rooms: mediated invitation and its decline")
def _(alice, bob):
	room = Room(alice)
	bob.online()
	alice.sends(f"<message to='{room.jid}'><x xmlns='{USER}'><invite to='{bob.bare_jid}'><reason>Come</reason></invite></x></message>")
	bob.gets(invitation(room, f"{room.jid}/Owner", "Come"))
	bob.sends(f"<message to='{room.jid}'><x xmlns='{USER}'><decline to='{room.jid}/Owner'><reason>No</reason></decline></x></message>")
	alice.gets(f"<message from='{room.jid}'><x xmlns='{USER}'><decline from='{bob.jid}'><reason>No</reason></decline></x></message>")


@situation("rooms: members-only, an invitation stored offline grants membership")
def _(alice, bob):
	room = Room(alice, membersonly="1")
	alice.sends(f"<message to='{room.jid}'><x xmlns='{USER}'><invite to='{bob.bare_jid}'><reason>Come</reason></invite></x></message>")
	alice.gets(f"<message from='{room.jid}'><x xmlns='{USER}'><item affiliation='member' jid='{bob.bare_jid}'/></x></message>")
	bob.online()
	bob.gets(invitation(room, f"{room.jid}/Owner", "Come"))
	room.enters(bob, "Bob", affiliation="member")


@situation("rooms: direct invitation")
def _(alice, bob):
	room = Room(alice)
	direct = f"<x xmlns='jabber:x:conference' jid='{room.jid}' reason='Come'/>"
	alice.sends(f"<message to='{bob.jid}'>{direct}</message>")
	bob.gets(f"<message from='{alice.jid}'>{direct}</message>")
	room.enters(bob, "Bob")


# --- requests and discovery ---

@situation("rooms: self-ping (XEP-0410)")
def _(alice, bob):
	room = Room(alice)
	alice.asks("<ping xmlns='urn:xmpp:ping'/>", to=f"{room.jid}/Owner")
	bob.iq("get", "<ping xmlns='urn:xmpp:ping'/>", f"{room.jid}/Bob")
	bob.refused("not-acceptable", ANY)


@situation("rooms: requests between occupants")
def _(alice, bob):
	room = Room(alice)
	room.enters(bob, "Bob")
	alice.iq("get", "<query xmlns='urn:test'/>", f"{room.jid}/Bob")
	asked = bob.gets(f"<iq type='get' from='{room.jid}/Owner' id='{ANY}'><query xmlns='urn:test'/></iq>")
	bob.sends(f"<iq type='result' id='{asked['id']}' to='{asked['from']}'><query xmlns='urn:test'><yes/></query></iq>")
	alice.result("<query xmlns='urn:test'><yes/></query>")


@situation("rooms: archive query")
def _(alice, bob):
	room = Room(alice)
	room.enters(bob, "Bob")
	for n in range(3):
		room.says(("Owner", "Bob")[n % 2], f"message {n}")
	bob.iq("set", f"<query xmlns='{MAM}' queryid='all'/>", room.jid)
	for n in range(3):
		message = (f"<message xmlns='jabber:client' from='{room.jid}/{('Owner', 'Bob')[n % 2]}' type='groupchat'>"
			f"<body>message {n}</body></message>")
		bob.gets(f"<message from='{room.jid}'><result xmlns='{MAM}' queryid='all' id='{ANY}'>"
			f"<forwarded xmlns='urn:xmpp:forward:0'>{message}</forwarded></result></message>")
	bob.result(f"<fin xmlns='{MAM}' complete='true'/>")


@situation("rooms: discovery")
def _(alice, bob):
	room = Room(alice, publicroom="1", roomname="Garden", membersonly="1")
	items = bob.asks(f"<query xmlns='{DISCO}#items'/>", to=ROOMS).children
	assert [entry["name"] for entry in items if entry["jid"] == room.jid] == ["Garden"], items
	identity = f"<query xmlns='{DISCO}#info'><identity category='conference' name='Garden'/></query>"
	info = bob.asks(f"<query xmlns='{DISCO}#info'/>", identity, to=room.jid)
	assert {"muc_membersonly", "muc_public", MUC} <= {feature["var"] for feature in info.all("feature")}, info
