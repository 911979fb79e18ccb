"""Rosters, subscriptions and presence (RFC 6121, 2 to 4)."""
import bed
from situations import ANY, DELAY, befriend, both_online, set_contact, situation

ROSTER = "jabber:iq:roster"
STATES = {  # the subscription, its `ask`, and whether the contact's request waits for an answer
	"None": ("none", None, False),
	"None + Pending Out": ("none", "subscribe", False),
	"None + Pending In": ("none", None, True),
	"None + Pending Out+In": ("none", "subscribe", True),
	"To": ("to", None, False),
	"To + Pending In": ("to", None, True),
	"From": ("from", None, False),
	"From + Pending Out": ("from", "subscribe", False),
	"Both": ("both", None, False),
}
MIRROR = {"none": "none", "to": "from", "from": "to", "both": "both"}

# RFC 6121, appendix A, for both sides at once: alice's state, the presence that she sends bob, the stanzas that she gets, those
# that bob gets. A subscription is a roster push, with ? for ask='subscribe'; + is presence and - unavailable presence of the
# other's client, gone is unavailable presence of the other's account
SUBSCRIPTIONS = """
	None                   | subscribe    | none? gone | subscribe
	None                   | unsubscribe  | none       |
	None                   | subscribed   | none       |
	None                   | unsubscribed |            |
	None + Pending Out     | subscribe    | none? gone |
	None + Pending Out     | unsubscribe  | none       | unsubscribe none
	None + Pending Out     | subscribed   | none?      |
	None + Pending Out     | unsubscribed |            |
	None + Pending In      | subscribe    | none? gone | subscribe
	None + Pending In      | unsubscribe  | none       |
	None + Pending In      | subscribed   | from       | subscribed to +
	None + Pending In      | unsubscribed |            | unsubscribed none
	None + Pending Out+In  | subscribe    | none? gone |
	None + Pending Out+In  | unsubscribe  | none       | unsubscribe none?
	None + Pending Out+In  | subscribed   | from?      | subscribed to +
	None + Pending Out+In  | unsubscribed |            | unsubscribed none
	To                     | subscribe    | to + +     |
	To                     | unsubscribe  | none       | unsubscribe none
	To                     | subscribed   | to +       |
	To                     | unsubscribed |            |
	To + Pending In        | subscribe    | to + +     |
	To + Pending In        | unsubscribe  | none       | unsubscribe none?
	To + Pending In        | subscribed   | both +     | subscribed both +
	To + Pending In        | unsubscribed |            | unsubscribed from
	From                   | subscribe    | from? gone | subscribe
	From                   | unsubscribe  | from       |
	From                   | subscribed   |            | +
	From                   | unsubscribed | none       | unsubscribed none -
	From + Pending Out     | subscribe    | from? gone |
	From + Pending Out     | unsubscribe  | from       | unsubscribe to
	From + Pending Out     | subscribed   |            | +
	From + Pending Out     | unsubscribed | none?      | unsubscribed none -
	Both                   | subscribe    | both + +   | +
	Both                   | unsubscribe  | from       | unsubscribe to
	Both                   | subscribed   | +          | +
	Both                   | unsubscribed | to         | unsubscribed from -
"""


def roster(client):
	"""Contacts as a mapping of JIDs to (subscription, ask); from now on the client gets pushes."""
	items = client.asks(f"<query xmlns='{ROSTER}'/>", f"<query xmlns='{ROSTER}' ver='{ANY}'/>").children
	return {item["jid"]: (item["subscription"], item["ask"]) for item in items}


def push(jid, subscription, ask="", groups=""):
	ask = ask and f" ask='{ask}'"
	return (f"<iq type='set' id='{ANY}'><query xmlns='{ROSTER}' ver='{ANY}'>"
		f"<item jid='{jid}' subscription='{subscription}'{ask}>{groups}</item></query></iq>")


def seen(token, other):
	"""The stanza that a word of the table means."""
	if token == "+":
		return f"<presence from='{other.jid}'/>"
	if token in ("-", "gone"):
		return f"<presence type='unavailable' from='{other.jid if token == '-' else other.bare_jid}'/>"
	if token.rstrip("?") in MIRROR:
		return push(other.bare_jid, token.rstrip("?"), "subscribe" if "?" in token else "")
	return f"<presence type='{token}' from='{other.bare_jid}'/>"


def part(client, contact):
	"""The client removes the contact from its roster; both are online."""
	client.sets(f"<query xmlns='{ROSTER}'><item jid='{contact.bare_jid}' subscription='remove'/></query>")
	client.gets(push(contact.bare_jid, "remove"))
	contact.gets(*[seen(token, client) for token in ("unsubscribed", "from", "-", "unsubscribe", "none")])
	for gone in (client, contact):
		gone.gets_nothing()


def subscriptions():
	for line in SUBSCRIPTIONS.strip().splitlines():
		state, kind, alice_gets, bob_gets = (column.strip() for column in line.split("|"))
		yield state, kind, alice_gets.split(), bob_gets.split()


for row in subscriptions():
	@situation(f"subscriptions: '{row[1]}' in state '{row[0]}'")
	def _(alice, bob, *, row=row):
		state, kind, alice_gets, bob_gets = row
		subscription, ask, requested = STATES[state]
		for client in (alice, bob):
			roster(client)
			client.online()
		set_contact(alice, bob, subscription, ask, requested)
		set_contact(bob, alice, MIRROR[subscription], "subscribe" if requested else None, bool(ask))
		alice.sends(f"<presence type='{kind}' to='{bob.bare_jid}'/>")
		alice.gets(*[seen(token, bob) for token in alice_gets])
		bob.gets(*[seen(token, alice) for token in bob_gets])
		for client in (alice, bob):
			client.gets_nothing()


# --- requests ---

@situation("subscriptions: a request is stored with its payload, and delivered at each login until it is answered")
def _(alice, bob):
	payload = "<status>It is me</status><preauth xmlns='urn:xmpp:pars:0' token='1234'/>"
	alice.sends(f"<presence type='subscribe' to='{bob.bare_jid}'>{payload}</presence>")
	bob.online()
	bob.gets(f"<presence type='subscribe' from='{alice.bare_jid}'>{payload}</presence>")
	bob.leaves()
	bob = bob.again()
	bob.online()
	bob.gets(f"<presence type='subscribe' from='{alice.bare_jid}'>{payload}</presence>")
	bob.sends(f"<presence type='subscribed' to='{alice.bare_jid}'/>")
	bob.sends("<presence/>")
	bob.gets(f"<presence from='{bob.jid}'/>")
	bob.gets_nothing()


@situation("subscriptions: a pre-approved request is answered at once")
def _(alice, bob):
	alice.online()
	alice.sends(f"<presence type='subscribed' to='{bob.bare_jid}'/>")
	roster(bob)
	bob.online()
	bob.sends(f"<presence type='subscribe' to='{alice.bare_jid}'/>")
	bob.gets(push(alice.bare_jid, "none", "subscribe"), f"<presence type='subscribed' from='{alice.bare_jid}'/>",
		push(alice.bare_jid, "to"), f"<presence from='{alice.jid}'/>")
	assert roster(alice) == {bob.bare_jid: ("from", None)}


@situation("subscriptions: a request to an account that does not exist stays pending")
def _(alice):
	roster(alice)
	alice.online()
	nobody = f"nobody@{bed.HOST}"
	alice.sends(f"<presence type='subscribe' to='{nobody}'/>")
	alice.gets(push(nobody, "none", "subscribe"), f"<presence type='unavailable' from='{nobody}'/>")


@situation("subscriptions: from strangers to contacts, and back")
def _(alice, bob):
	for client in (alice, bob):
		roster(client)
		client.online()
	alice.sends(f"<presence type='subscribe' to='{bob.bare_jid}'/>")
	alice.gets(push(bob.bare_jid, "none", "subscribe"), seen("gone", bob))
	bob.gets(seen("subscribe", alice))
	bob.sends(f"<presence type='subscribed' to='{alice.bare_jid}'/>", f"<presence type='subscribe' to='{alice.bare_jid}'/>")
	bob.gets(push(alice.bare_jid, "from"), push(alice.bare_jid, "from", "subscribe"), seen("gone", alice))
	alice.gets(seen("subscribed", bob), push(bob.bare_jid, "to"), seen("+", bob), seen("subscribe", bob))
	alice.sends(f"<presence type='subscribed' to='{bob.bare_jid}'/>")
	alice.gets(push(bob.bare_jid, "both"), seen("+", bob))
	bob.gets(seen("subscribed", alice), push(alice.bare_jid, "both"), seen("+", alice))
	alice.says(bob.bare_jid, "hello")
	bob.hears(alice.jid, "hello")
	part(bob, alice)


# --- rosters ---

@situation("roster: pushes of added, changed and removed items to each interested client")
def _(alice, alice_phone):
	roster(alice)
	assert roster(alice_phone) == {}
	jid = "friend@elsewhere.test"
	for item, groups in (("<item jid='{}'/>", ""), ("<item jid='{}' name='Friend'><group>Close</group></item>", "<group>Close</group>")):
		alice.iq("set", f"<query xmlns='{ROSTER}'>{item.format(jid)}</query>")
		alice.result()
		alice.gets(push(jid, "none", groups=groups))
		alice_phone.gets(push(jid, "none", groups=groups))
	alice.sets(f"<query xmlns='{ROSTER}'><item jid='{jid}' subscription='remove'/></query>")
	alice.gets(push(jid, "remove"))
	alice_phone.gets(push(jid, "remove"))
	assert roster(alice) == {}


@situation("roster: versioning")
def _(alice):
	roster(alice)
	versions = []
	for jid in ("a@elsewhere.test", "b@elsewhere.test"):
		alice.sets(f"<query xmlns='{ROSTER}'><item jid='{jid}'/></query>")
		versions.append(alice.gets(push(jid, "none")).child("query")["ver"])
	assert alice.asks(f"<query xmlns='{ROSTER}' ver='{versions[1]}'/>") is None
	for known in ("", versions[0]):
		query = alice.asks(f"<query xmlns='{ROSTER}' ver='{known}'/>", f"<query xmlns='{ROSTER}' ver='{versions[1]}'/>")
		assert {item["jid"] for item in query.children} == {"a@elsewhere.test", "b@elsewhere.test"}, query


@situation("roster: an item without a JID, the account's own JID, and several items return errors")
def _(alice):
	roster(alice)
	for items in ("<item/>", f"<item jid='{alice.bare_jid}'/>", "<item jid='a@b.test'/><item jid='c@d.test'/>"):
		alice.iq("set", f"<query xmlns='{ROSTER}'>{items}</query>")
		alice.gets(f"<iq type='error' id='{alice.ident}'/>")
	assert roster(alice) == {}


@situation("roster: removing a contact ends both subscriptions")
def _(alice, bob):
	both_online(alice, bob)
	roster(alice)
	roster(bob)
	part(alice, bob)


# --- presence ---

@situation("presence: changes and the end are broadcast to contacts and own clients")
def _(alice, alice_phone, bob):
	both_online(alice, bob)
	alice_phone.online()
	alice.gets(f"<presence from='{alice_phone.jid}'/>")
	bob.gets(f"<presence from='{alice_phone.jid}'/>")
	alice_phone.gets(f"<presence from='{bob.jid}'/>", f"<presence from='{alice.jid}'/>")
	away = "<show>away</show><status>Lunch</status>"
	alice.sends(f"<presence>{away}</presence>")
	for client in (alice, alice_phone, bob):
		client.gets(f"<presence from='{alice.jid}'>{away}</presence>")
	alice.sends("<presence type='unavailable'><status>Bye</status></presence>")
	for client in (alice, alice_phone, bob):
		client.gets(f"<presence type='unavailable' from='{alice.jid}'><status>Bye</status></presence>")


@situation("presence: directed presence, and its end when the stream closes")
def _(alice, bob):
	alice.online()
	alice.sends(f"<presence to='{bob.jid}'><status>Just you</status></presence>")
	bob.gets(f"<presence from='{alice.jid}'><status>Just you</status></presence>")
	alice.sends("<presence><show>away</show></presence>")
	alice.gets(f"<presence from='{alice.jid}'><show>away</show></presence>")
	bob.gets_nothing()
	alice.leaves()
	bob.gets(f"<presence type='unavailable' from='{alice.jid}'/>")


@situation("presence: initial presence fetches that of each contact's clients")
def _(alice, bob, bob_phone):
	befriend(alice, bob)
	bob.online("<priority>3</priority>")
	bob.gets(f"<presence type='unavailable' from='{alice.bare_jid}'/>")
	bob_phone.online()
	bob.gets(f"<presence from='{bob_phone.jid}'/>")
	bob_phone.gets(f"<presence type='unavailable' from='{alice.bare_jid}'/>",
		f"<presence from='{bob.jid}'><priority>3</priority></presence>")
	alice.online()
	found = {alice.gets(f"<presence from='{ANY}'>{DELAY}</presence>")["from"] for _ in range(2)}
	assert found == {bob.jid, bob_phone.jid}, found
	for client in (bob, bob_phone):
		client.gets(f"<presence from='{alice.jid}'/>")


@situation("presence: probes by a contact and by a stranger")
def _(alice, bob, carol):
	both_online(alice, bob)
	alice.sends(f"<presence type='probe' to='{bob.bare_jid}'/>")
	alice.gets(f"<presence from='{bob.jid}'/>")
	carol.sends(f"<presence type='probe' to='{bob.bare_jid}'/>")
	carol.gets_nothing()
	bob.gets_nothing()


@situation("presence: closing the stream broadcasts unavailable presence")
def _(alice, bob):
	both_online(alice, bob)
	alice.leaves()
	bob.gets(f"<presence type='unavailable' from='{alice.jid}'/>")
