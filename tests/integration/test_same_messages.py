"""Messages of every kind on stock Prosody and on ours: over each connection, to other hosts, servers and components."""
from same import same
from situations import ROOMS
from xmpp import STANZA_ERRORS

HINTS = "urn:xmpp:hints"
CARBONS = "urn:xmpp:carbons:2"
SID = "urn:xmpp:sid:0"
CSI = "urn:xmpp:csi:0"
MUC = "http://jabber.org/protocol/muc"
TYPES = ["chat", "normal", "headline", "groupchat", "error", None, "unknown"]
ERROR = f"<error type='cancel'><item-not-found xmlns='{STANZA_ERRORS}'/><text xmlns='{STANZA_ERRORS}'>no</text></error>"
PAYLOADS = {
	"a body": "<body>hello</body>",
	"two bodies": "<body>hello</body><body xml:lang='de'>hallo</body>",
	"a subject": "<subject>about</subject>",
	"nothing": "",
	"a chat state": "<composing xmlns='http://jabber.org/protocol/chatstates'/>",
	"a receipt": "<received xmlns='urn:xmpp:receipts' id='x'/>",
	"a marker": "<displayed xmlns='urn:xmpp:chat-markers:0' id='x'/>",
	"no-store": f"<body>hello</body><no-store xmlns='{HINTS}'/>",
	"no-permanent-store": f"<body>hello</body><no-permanent-store xmlns='{HINTS}'/>",
	"no-copy": f"<body>hello</body><no-copy xmlns='{HINTS}'/>",
	"store": f"<composing xmlns='http://jabber.org/protocol/chatstates'/><store xmlns='{HINTS}'/>",
	"store and no-store": f"<body>b</body><store xmlns='{HINTS}'/><no-store xmlns='{HINTS}'/>",
	"private": f"<body>hello</body><private xmlns='{CARBONS}'/>",
	"private and no-copy": f"<body>b</body><private xmlns='{CARBONS}'/><no-copy xmlns='{HINTS}'/>",
	"a forged carbon": f"<received xmlns='{CARBONS}'><forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client'>"
		"<body>forged</body></message></forwarded></received>",
	"a forged id": f"<body>b</body><stanza-id xmlns='{SID}' id='forged' by='{{to}}'/><stanza-id xmlns='{SID}' id='f2' by='x.test'/>",
	"a forged id in capitals": f"<body>b</body><stanza-id xmlns='{SID}' id='forged' by='{{TO}}'/><stanza-id xmlns='{SID}'/>",
	"an origin id": f"<body>b</body><origin-id xmlns='{SID}' id='o1'/>",
	"encryption": "<encrypted xmlns='eu.siacs.conversations.axolotl'><payload>QQ==</payload></encrypted>"
		"<encryption xmlns='urn:xmpp:eme:0' namespace='eu.siacs.conversations.axolotl'/>",
	"an invitation": "<x xmlns='jabber:x:conference' jid='room@rooms.prosody.test'/>",
	"a correction": "<body>b</body><replace xmlns='urn:xmpp:message-correct:0' id='c1'/>",
	"a delay": "<body>b</body><delay xmlns='urn:xmpp:delay' stamp='2020-01-01T00:00:00Z' from='x.test'/>",
	"an event": "<event xmlns='http://jabber.org/protocol/pubsub#event'><items node='n'><item id='i'/></items></event>",
}
XML = {
	"CDATA": "<body><![CDATA[<b>&amp;]]]]><![CDATA[></b>]]></body>",
	"entities": "<body>&lt;&gt;&amp;&apos;&quot;&#65;&#x20AC;&#x1F600;\u00e4\u20ac\U0001f600</body>",
	"entities in attributes": "<x xmlns='urn:x' a='&lt;&gt;&amp;&apos;&quot;&#10;&#9;&#x20AC;' b=\"'\"/>",
	"a prefix": "<p:x xmlns:p='urn:p' p:a='1' a='2'><p:y/><z xmlns='urn:z'/><p:w xmlns:p='urn:q' p:a='1'/></p:x>",
	"xml:lang": "<body xml:lang='fr'>bonjour</body><x xmlns='urn:x' xml:space='preserve' xml:base='b'> </x>",
	"mixed content": "<x xmlns='urn:x'>a<y/>b<z>c</z> <z> d</z>e</x>",
	"white space": "\n <body>\t\r\n two  \n</body>\n\n<x xmlns='urn:x'>\n</x>\r\n",
	"an empty namespace": "<x xmlns=''><y xmlns='urn:y'/></x><z xmlns='jabber:client'/>",
	"a namespace of servers": "<x xmlns='jabber:server'/><y xmlns='jabber:component:accept'/>",
	"depth": "<x xmlns='urn:x'>" * 60 + "</x>" * 60,
	"breadth": "<x xmlns='urn:x'>" + "<y/>" * 100 + "</x>",
	"attributes": "<x xmlns='urn:x' " + " ".join(f"a{n}='{n}'" for n in range(50)) + "/>",
	"much text": f"<body>{'0123456789' * 1000}</body>",
}


def message(to, payload, kind="chat", more=""):
	kind = f" type='{kind}'" if kind else ""
	payload = payload.replace("{to}", to.partition("/")[0]).replace("{TO}", to.partition("/")[0].upper())
	return f"<message to='{to}'{kind} id='c1'{more}>{payload}</message>"


@same("messages: every payload, to a client and an account")
def _(alice, alice_phone, bob, bob_phone):
	for client in (alice_phone, bob_phone):
		client.sets(f"<enable xmlns='{CARBONS}'/>")
	bob.online()
	bob_phone.online()
	for payload in PAYLOADS.values():
		for to in (bob.jid, bob.bare_jid):
			alice.sends(message(to, payload))


@same("messages: notes to oneself with every payload, and with no address", watch=False)
def _(alice, alice_phone):
	alice_phone.sets(f"<enable xmlns='{CARBONS}'/>")
	for payload in PAYLOADS.values():
		for to in (alice.bare_jid, alice.jid, alice_phone.jid):
			alice.sends(message(to, payload))
	for kind in TYPES:
		alice.sends(f"<message{f' type={kind!r}' if kind else ''}><body>without an address</body></message>")


@same("messages: every type, to clients, accounts, hosts, and nobody")
def _(alice, bob, bob_phone):
	bob.online()
	bob_phone.online("<priority>-1</priority>")
	for kind in TYPES:
		for to in (bob.jid, bob_phone.jid, bob.bare_jid, f"{bob.bare_jid}/gone", "nobody@prosody.test", "nobody@prosody.test/r",
				"prosody.test", "prosody.test/r", "@", "a@b@c", "BOB@Prosody.TEST", ""):
			alice.sends(message(to, ERROR if kind == "error" else "<body>hello</body>", kind))


@same("messages: offline storage keeps each type and hint, and delivers it")
def _(alice, bob):
	for kind in TYPES:
		alice.sends(message(bob.bare_jid, ERROR if kind == "error" else "<body>hello</body>", kind))
	for payload in PAYLOADS.values():
		alice.sends(message(bob.bare_jid, payload))
	bob.online()


@same("messages: every form of XML, over each connection")
def _(alice, alice_websocket, alice_bosh, alice_tls, alice_sm, bob, bob_websocket, bob_bosh, bob_tls, bob_sm):
	senders, receivers = (alice, alice_websocket, alice_bosh, alice_tls, alice_sm), (bob, bob_websocket, bob_bosh, bob_tls, bob_sm)
	for n, payload in enumerate(XML.values()):
		for shift in range(2 if len(payload) < 5000 else 1):
			senders[(n + shift) % 5].sends(message(receivers[(n + 3 * shift) % 5].jid, payload))


@same("messages: every form of XML, between hosts, servers and components")
def _(alice, other_carol, other_dave_starttls, far_eve, link):
	payloads = list(XML.values())[:-1]
	for to in (other_carol, other_dave_starttls, far_eve, link):
		alice.sends(*(message(to.jid, payload) for payload in payloads))
	far_eve.sends(*(message(to, payload) for payload in payloads for to in (alice.jid, "nobody@prosody.test")))
	for to in (alice, far_eve):
		link.sends(*(message(to.jid, payload, more=f" from='x@{link.jid}/r'") for payload in payloads))


@same("messages: every payload to another server")
def _(alice, far_eve, far_eve_phone):
	far_eve_phone.sets(f"<enable xmlns='{CARBONS}'/>")
	far_eve.online()
	alice.sends(*(message(to, payload) for payload in PAYLOADS.values() for to in (far_eve.jid, far_eve.bare_jid)))
	far_eve.sends(*(message(alice.bare_jid, payload) for payload in PAYLOADS.values()))
	alice.sends(*(message("nobody@far.test", ERROR if kind == "error" else "<body>b</body>", kind) for kind in TYPES))


@same("messages: requests and answers of every type between clients, hosts, servers and a component")
def _(alice, bob, far_eve, link):
	for to in (bob.jid, bob.bare_jid, "prosody.test", "nobody@prosody.test", far_eve.jid, far_eve.bare_jid, "far.test", link.jid, None):
		requests = []
		for kind in ("get", "set", "result", "error", "bad", None):
			for payload in ("<query xmlns='urn:test'/>", "", "<a xmlns='urn:a'/><b xmlns='urn:b'/>"):
				where, what = f" to='{to}'" if to else "", f" type='{kind}'" if kind else ""
				requests += [f"<iq id='c1'{where}{what}>{payload}</iq>", f"<iq{where}{what}>{payload}</iq>"]
		alice.sends(*requests)


@same("messages: an inactive client is spared chat states and presence until it is needed")
def _(alice, bob, bob_sm):
	for client in (alice, bob, bob_sm):
		client.online()
	for client in (bob, bob_sm):
		client.speaks(f"<inactive xmlns='{CSI}'/>")
		client.looks()
		client.quiet = True
	for payload in PAYLOADS.values():
		alice.sends(message(bob.jid, payload), message(bob_sm.jid, payload), message(bob.bare_jid, payload, "headline"),
			f"<presence to='{bob.jid}'/>", f"<presence to='{bob_sm.jid}'><show>away</show></presence>")
		bob.looks()
		bob_sm.looks()
	for client in (bob, bob_sm):
		client.quiet = False
		client.sends(f"<active xmlns='{CSI}'/>")


@same("messages: a room on each server, with history, subject, private messages, roles and an archive")
def _(alice, bob_sm, far_eve, link):
	for host in (ROOMS, "rooms.far.test"):
		room = f"{alice.user}@{host}"
		for client, nick in ((alice, "A"), (bob_sm, "B"), (far_eve, "E"), (alice, "A"), (bob_sm, "B")):
			client.sends(f"<presence to='{room}/{nick}'><x xmlns='{MUC}'/></presence>")
			alice.sets(f"<query xmlns='{MUC}#owner'><x xmlns='jabber:x:data' type='submit'/></query>", to=room)
		for payloads in (PAYLOADS.values(), list(XML.values())[:10]):
			bob_sm.sends(*(each for payload in payloads for each in (
				message(room, payload, "groupchat"), message(f"{room}/E", payload), message(f"{room}/gone", payload))))
		for payload in ("<subject>S</subject>", "<subject/>", "<subject>S</subject><body>b</body>", "<subject>T</subject><thread>t</thread>"):
			alice.sends(message(room, payload, "groupchat"))
		far_eve.sends(f"<presence to='{room}/E' type='unavailable'/>", f"<presence to='{room}/F'><x xmlns='{MUC}'>"
			"<history maxstanzas='5'/></x></presence>", message(room, "<body>from far</body>", "groupchat"))
		alice.sets(f"<query xmlns='{MUC}#admin'><item nick='B' role='visitor'/></query>", to=room)
		bob_sm.sends(message(room, "<body>without voice</body>", "groupchat"))
		for more in ("", "<set xmlns='http://jabber.org/protocol/rsm'><before/><max>3</max></set>"):
			alice.sets(f"<query xmlns='urn:xmpp:mam:2' queryid='c9'>{more}</query>", to=room)
		link.sends(f"<message from='x@{link.jid}' to='{room}' type='groupchat'><body>from outside</body></message>")
