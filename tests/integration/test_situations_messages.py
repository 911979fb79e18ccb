"""Messages between clients: routing, bounces, carbons, offline storage, archives, blocking, inactive clients."""
import bed
from situations import ANY, DELAY, both_online, error, situation

CARBONS = "urn:xmpp:carbons:2"
BLOCKING = "urn:xmpp:blocking"
MAM = "urn:xmpp:mam:2"
CSI = "urn:xmpp:csi:0"
RSM = "http://jabber.org/protocol/rsm"
FORM = "jabber:x:data"
NOBODY = f"nobody@{bed.HOST}"


# --- routing (RFC 6121, 8.5) ---

@situation("messages: a full JID reaches that client only")
def _(alice, bob, bob_phone):
	bob.online()
	bob_phone.online()
	bob_phone.gets(f"<presence from='{bob.jid}'/>")
	bob.gets(f"<presence from='{bob_phone.jid}'/>")
	alice.says(bob_phone.jid, "on the phone")
	alice.says(bob.jid, "on the desk")
	bob_phone.hears(alice.jid, "on the phone")
	bob.hears(alice.jid, "on the desk")
	bob.gets_nothing()
	bob_phone.gets_nothing()


@situation("messages: a full JID is reached before initial presence")
def _(alice, bob):
	alice.says(bob.jid, "hello", "normal")
	bob.hears(alice.jid, "hello", "normal")


@situation("messages: a bare JID reaches all clients of the highest priority")
def _(alice, bob, bob_phone, bob_tv):
	bob.online("<priority>5</priority>")
	bob_phone.online("<priority>5</priority>")
	bob_phone.gets(f"<presence from='{bob.jid}'/>")
	bob.gets(f"<presence from='{bob_phone.jid}'/>")
	alice.says(bob.bare_jid, "to both")
	bob.hears(alice.jid, "to both")
	bob_phone.hears(alice.jid, "to both")
	bob_tv.gets_nothing()


@situation("messages: a client with negative priority gets messages to its full JID only")
def _(alice, bob, bob_phone):
	bob.online("<priority>-1</priority>")
	bob_phone.online()
	bob_phone.gets(f"<presence from='{bob.jid}'><priority>-1</priority></presence>")
	bob.gets(f"<presence from='{bob_phone.jid}'/>")
	alice.says(bob.bare_jid, "to the account")
	alice.says(bob.jid, "to the desk")
	bob_phone.hears(alice.jid, "to the account")
	bob.hears(alice.jid, "to the desk")
	bob_phone.gets_nothing()


@situation("messages: a full JID without a session falls back to the account")
def _(alice, bob):
	bob.online()
	alice.says(f"{bob.bare_jid}/gone", "for whom it concerns")
	bob.hears(alice.jid, "for whom it concerns")


@situation("messages: headlines and errors to a full JID without a session are dropped")
def _(alice, bob):
	bob.online()
	alice.says(f"{bob.bare_jid}/gone", "news", "headline")
	alice.sends(f"<message type='error' to='{bob.bare_jid}/gone' id='1'>{error('item-not-found', 'cancel')}</message>")
	bob.gets_nothing()
	alice.gets_nothing()


@situation("messages: an account that does not exist bounces messages and requests")
def _(alice):
	alice.says(NOBODY, "who?")
	alice.gets(f"<message type='error' from='{NOBODY}' id='1'>{error('service-unavailable', 'cancel')}</message>")
	alice.iq("get", "<query xmlns='urn:test'/>", NOBODY)
	alice.refused("service-unavailable", "cancel")
	alice.says(NOBODY, "news", "headline")
	alice.gets_nothing()


@situation("messages: type groupchat to an account bounces")
def _(alice, bob):
	bob.online()
	alice.says(bob.bare_jid, "everybody", "groupchat")
	alice.gets(f"<message type='error' from='{bob.bare_jid}'>{error('service-unavailable', 'cancel')}</message>")
	bob.gets_nothing()


@situation("requests: a client answers another one with a result and with an error")
def _(alice, bob):
	alice.iq("get", "<query xmlns='urn:test'/>", bob.jid)
	question = bob.gets(f"<iq type='get' from='{alice.jid}' id='{alice.ident}'><query xmlns='urn:test'/></iq>")
	bob.sends(f"<iq type='result' to='{alice.jid}' id='{question['id']}'><query xmlns='urn:test'><yes/></query></iq>")
	alice.result("<query xmlns='urn:test'><yes/></query>")
	alice.iq("set", "<query xmlns='urn:test'/>", bob.jid)
	bob.gets(f"<iq type='set' from='{alice.jid}' id='{alice.ident}'><query xmlns='urn:test'/></iq>")
	bob.sends(f"<iq type='error' to='{alice.jid}' id='{alice.ident}'>{error('forbidden', 'auth')}</iq>")
	alice.refused("forbidden", "auth")


@situation("requests: to a full JID without a session, or to an account, the server returns an error")
def _(alice, bob):
	bob.online()
	for to in (f"{bob.bare_jid}/gone", bob.bare_jid):
		alice.iq("get", "<query xmlns='urn:test'/>", to)
		alice.refused("service-unavailable", "cancel")
	bob.gets_nothing()


@situation("messages: to the sender's own account")
def _(alice):
	alice.online()
	alice.says(alice.bare_jid, "note")
	alice.hears(alice.jid, "note")
	alice.gets_nothing()


@situation("messages: encrypted payloads without a body, and any Unicode text, arrive unchanged")
def _(alice, bob):
	sealed = "<encrypted xmlns='urn:test:omemo'><header sid='1'><key rid='2'>QUJD</key></header><payload>REVG</payload></encrypted>"
	alice.sends(f"<message type='chat' to='{bob.jid}' id='sealed' xml:lang='de'>{sealed}</message>")
	assert bob.gets(f"<message type='chat' from='{alice.jid}' id='sealed'>{sealed}</message>")["lang"] == "de"
	text = "\u00e4\u20ac\U0001f600 &lt;&amp;&gt; ]]&gt; '\""
	alice.says(bob.jid, text)
	bob.hears(alice.jid, text)


@situation("messages: receipts and chat states reach the client that asked")
def _(alice, bob):
	alice.says(bob.jid, "read?", more="<request xmlns='urn:xmpp:receipts'/>")
	asked = bob.hears(alice.jid, "read?", more="<request xmlns='urn:xmpp:receipts'/>")
	receipt = f"<received xmlns='urn:xmpp:receipts' id='{asked['id']}'/>"
	composing = "<composing xmlns='http://jabber.org/protocol/chatstates'/>"
	bob.sends(f"<message to='{alice.jid}'>{receipt}</message>", f"<message type='chat' to='{alice.jid}'>{composing}</message>")
	alice.gets(f"<message from='{bob.jid}'>{receipt}</message>", f"<message type='chat' from='{bob.jid}'>{composing}</message>")


# --- offline storage ---

@situation("offline: messages are stored, and delivered in order with their time")
def _(alice, bob):
	for n in range(4):
		alice.says(bob.bare_jid, f"message {n}")
	bob.gets_nothing()
	bob.online()
	for n in range(4):
		bob.hears(alice.jid, f"message {n}", more=DELAY)
	bob.gets_nothing()


@situation("offline: only a client with a priority of 0 or more gets stored messages")
def _(alice, bob, bob_phone):
	alice.says(bob.bare_jid, "waits")
	bob.online("<priority>-5</priority>")
	bob.gets_nothing()
	bob_phone.online()
	bob_phone.gets(f"<presence from='{bob.jid}'/>")
	bob_phone.hears(alice.jid, "waits", more=DELAY)
	bob.gets(f"<presence from='{bob_phone.jid}'/>")
	bob.online()
	bob_phone.gets(f"<presence from='{bob.jid}'/>")
	bob.gets_nothing()


@situation("offline: headlines are not stored")
def _(alice, bob):
	alice.says(bob.bare_jid, "news", "headline")
	alice.gets_nothing()
	bob.online()
	bob.gets_nothing()


# --- carbons (XEP-0280) ---

def carbon(direction, sender, body):
	return (f"<message type='chat' from='{sender.bare_jid}'><{direction} xmlns='{CARBONS}'><forwarded xmlns='urn:xmpp:forward:0'>"
		f"<message xmlns='jabber:client' type='chat'><body>{body}</body></message></forwarded></{direction}></message>")


@situation("carbons: copies of received and of sent messages")
def _(alice, bob, bob_phone):
	bob_phone.sets(f"<enable xmlns='{CARBONS}'/>")
	alice.says(bob.jid, "to the desk")
	bob.hears(alice.jid, "to the desk")
	bob_phone.gets(carbon("received", bob, "to the desk"))
	bob.says(alice.jid, "from the desk")
	alice.hears(bob.jid, "from the desk")
	bob_phone.gets(carbon("sent", bob, "from the desk"))
	bob_phone.says(alice.jid, "from the phone")
	alice.hears(bob_phone.jid, "from the phone")
	bob_phone.gets_nothing()
	bob.gets_nothing()


@situation("carbons: no copies of private messages, nor after disabling")
def _(alice, bob, bob_phone):
	bob_phone.sets(f"<enable xmlns='{CARBONS}'/>")
	private = f"<private xmlns='{CARBONS}'/>"
	alice.says(bob.jid, "private", more=private + "<no-copy xmlns='urn:xmpp:hints'/>")
	bob.hears(alice.jid, "private")
	bob_phone.gets_nothing()
	bob_phone.sets(f"<disable xmlns='{CARBONS}'/>")
	alice.says(bob.jid, "public")
	bob.hears(alice.jid, "public")
	bob_phone.gets_nothing()


@situation("carbons: a message to the account arrives once at each client, as original or copy")
def _(alice, bob, bob_phone):
	bob.sets(f"<enable xmlns='{CARBONS}'/>")
	bob_phone.sets(f"<enable xmlns='{CARBONS}'/>")
	bob.online()
	alice.says(bob.bare_jid, "once")
	bob.hears(alice.jid, "once")
	bob_phone.gets(carbon("received", bob, "once"))
	bob.gets_nothing()
	bob_phone.gets_nothing()


# --- blocking (XEP-0191) ---

@situation("blocking: presence and messages stop in both directions, until the contact is unblocked")
def _(alice, bob):
	both_online(alice, bob)
	alice.sets(f"<block xmlns='{BLOCKING}'><item jid='{bob.bare_jid}'/></block>")
	bob.gets(f"<presence type='unavailable' from='{alice.jid}'/>")
	alice.says(bob.bare_jid, "blocked")
	alice.gets(f"<message type='error' from='{bob.bare_jid}'><error type='cancel'><not-acceptable"
		" xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/><blocked xmlns='urn:xmpp:blocking:errors'/></error></message>")
	bob.says(alice.bare_jid, "too")
	bob.gets(f"<message type='error' from='{alice.bare_jid}'>{error('service-unavailable', 'cancel')}</message>")
	alice.sets(f"<unblock xmlns='{BLOCKING}'><item jid='{bob.bare_jid}'/></unblock>")
	bob.gets(f"<presence from='{alice.jid}'/>")
	alice.says(bob.bare_jid, "again")
	bob.hears(alice.jid, "again")


@situation("blocking: pushes to the account's other clients")
def _(alice, alice_phone):
	listed = f"<item jid='{NOBODY}'/><item jid='elsewhere.test'/>"
	alice.asks(f"<blocklist xmlns='{BLOCKING}'/>")
	alice_phone.asks(f"<blocklist xmlns='{BLOCKING}'/>")
	alice.sets(f"<block xmlns='{BLOCKING}'>{listed}</block>")
	for client in (alice, alice_phone):
		client.gets(f"<iq type='set' id='{ANY}'><block xmlns='{BLOCKING}'>{listed}</block></iq>")
	assert {item["jid"] for item in alice.asks(f"<blocklist xmlns='{BLOCKING}'/>").children} == {NOBODY, "elsewhere.test"}
	alice.sets(f"<unblock xmlns='{BLOCKING}'/>")
	for client in (alice, alice_phone):
		client.gets(f"<iq type='set' id='{ANY}'><unblock xmlns='{BLOCKING}'/></iq>")
	assert not alice_phone.asks(f"<blocklist xmlns='{BLOCKING}'/>").children


@situation("blocking: a request without a valid JID returns an error")
def _(alice):
	for payload in (f"<block xmlns='{BLOCKING}'/>", f"<block xmlns='{BLOCKING}'><item jid='@'/></block>"):
		alice.iq("set", payload)
		assert alice.gets(f"<iq type='error' id='{alice.ident}'/>")


# --- archives (XEP-0313) ---

def archived(client, query, fields="", more=""):
	"""Bodies and ids of what a query finds; the <fin/>."""
	form = f"<x xmlns='{FORM}' type='submit'><field var='FORM_TYPE'><value>{MAM}</value></field>{fields}</x>"
	client.iq("set", f"<query xmlns='{MAM}' queryid='{query}'>{form}{more}</query>")
	found = []
	while True:
		stanza = client.reads()
		if stanza.name == "iq":
			assert (stanza["type"], stanza["id"]) == ("result", client.ident), stanza
			return found, stanza.child("fin", MAM)
		result = stanza.child("result", MAM)
		assert result["queryid"] == query, stanza
		found.append((result.find("forwarded", "message").body, result["id"]))


def field(name, value):
	return f"<field var='{name}'><value>{value}</value></field>"


@situation("archive: a query returns all messages in order, with their stanza ids")
def _(alice, bob):
	arrived = []
	for n in range(4):
		alice.says(bob.jid, f"message {n}")
		stanza_id = bob.hears(alice.jid, f"message {n}").child("stanza-id")
		arrived.append((f"message {n}", stanza_id["id"]))
	found, fin = archived(bob, "all")
	assert found == arrived and fin["complete"] == "true", (found, arrived)
	assert [body for body, _ in archived(alice, "sent")[0]] == [body for body, _ in arrived]


@situation("archive: pages forwards, backwards and flipped")
def _(alice, bob):
	for n in range(5):
		alice.says(bob.jid, str(n))
		bob.hears(alice.jid, str(n))
	found, fin = archived(bob, "first", more=f"<set xmlns='{RSM}'><max>2</max></set>")
	assert [body for body, _ in found] == ["0", "1"] and fin["complete"] is None, fin
	last = fin.find("set", "last").text
	found, _ = archived(bob, "next", more=f"<set xmlns='{RSM}'><max>2</max><after>{last}</after></set>")
	assert [body for body, _ in found] == ["2", "3"], found
	found, _ = archived(bob, "last", more=f"<set xmlns='{RSM}'><max>2</max><before/></set>")
	assert [body for body, _ in found] == ["3", "4"], found
	found, _ = archived(bob, "flip", more=f"<set xmlns='{RSM}'><max>3</max></set><flip-page/>")
	assert [body for body, _ in found] == ["2", "1", "0"], found


@situation("archive: filters by id, and metadata")
def _(alice, bob):
	for n in range(4):
		alice.says(bob.jid, str(n))
		bob.hears(alice.jid, str(n))
	ids = [ident for _, ident in archived(bob, "ids")[0]]
	assert archived(bob, "after", field("after-id", ids[1]))[0] == [("2", ids[2]), ("3", ids[3])]
	assert archived(bob, "before", field("before-id", ids[2]))[0] == [("0", ids[0]), ("1", ids[1])]
	assert archived(bob, "one", field("ids", ids[2]))[0] == [("2", ids[2])]
	bob.asks(f"<metadata xmlns='{MAM}'/>",
		f"<metadata xmlns='{MAM}'><start id='{ids[0]}' timestamp='{ANY}'/><end id='{ids[3]}' timestamp='{ANY}'/></metadata>")


@situation("archive: a filter by JID, and a page after an unknown id")
def _(alice, bob, carol):
	for sender in (alice, carol, alice):
		sender.says(bob.jid, f"from {sender.user}")
		bob.hears(sender.jid, f"from {sender.user}")
	found, _ = archived(bob, "with", field("with", carol.bare_jid))
	assert [body for body, _ in found] == [f"from {carol.user}"], found
	bob.iq("set", f"<query xmlns='{MAM}'><set xmlns='{RSM}'><after>no-such-id</after></set></query>")
	if (bob.server.version, bob.server.options["storage"]) == ("13.0", "internal"):
		bob.result(f"<fin xmlns='{MAM}' complete='true'/>")
	else:
		bob.refused("item-not-found")


@situation("archive: preferences are normalized, and obeyed")
def _(alice, bob):
	prefs = f"<prefs xmlns='{MAM}' default='{{}}'><always><jid>{{}}</jid></always><never><jid>{{}}</jid></never></prefs>"
	never = alice.bare_jid
	bob.sets(prefs.format("always", "FRIEND@Elsewhere.TEST", never.upper()), prefs.format("always", "friend@elsewhere.test", never))
	bob.asks(f"<prefs xmlns='{MAM}'/>", prefs.format("always", "friend@elsewhere.test", never))
	alice.says(bob.jid, "unkept")
	bob.hears(alice.jid, "unkept")
	assert archived(bob, "unkept")[0] == []
	bob.sets(f"<prefs xmlns='{MAM}' default='never'><always/><never/></prefs>", f"<prefs xmlns='{MAM}' default='never'/>")
	alice.says(bob.jid, "neither")
	bob.hears(alice.jid, "neither")
	assert archived(bob, "neither")[0] == []


# --- clients that say they are inactive (XEP-0352) ---

@situation("csi: presence is held back until the next message, and delivered before it")
def _(alice, bob):
	both_online(alice, bob)
	bob.signals(f"<inactive xmlns='{CSI}'/>")
	alice.sends("<presence><show>away</show></presence>")
	alice.gets(f"<presence from='{alice.jid}'><show>away</show></presence>")
	alice.says(bob.bare_jid, "wake up")
	bob.gets(f"<presence from='{alice.jid}'><show>away</show></presence>")
	bob.hears(alice.jid, "wake up")
	bob.signals(f"<active xmlns='{CSI}'/>")
	bob.gets_nothing()
