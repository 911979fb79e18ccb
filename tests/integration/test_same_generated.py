"""Generated stanzas and actions of sessions, from SEED, on stock Prosody and on ours."""
import random

import suite
from same import same
from situations import ROOMS
from test_same_messages import PAYLOADS, TYPES, XML, message

MUC, MAM, RSM = "http://jabber.org/protocol/muc", "urn:xmpp:mam:2", "http://jabber.org/protocol/rsm"
NAMES = ["body", "x", "y", "subject", "thread", "active", "stanza-id", "delay", "error", "p:z"]
SPACES = ["urn:x", "urn:y", "jabber:client", "urn:xmpp:hints", "urn:xmpp:sid:0", "urn:xmpp:carbons:2", "urn:xmpp:delay", ""]
TEXTS = ["", "a", "&lt;&amp;&gt;&quot;&apos;", "<![CDATA[<&]]>", "\u00e4\u20ac\U0001f600", " \n\t ", "]]&gt;", "&#10;&#13;&#x9;", "0123456789" * 30]
SHOWS = ["", "<show>away</show>", "<show>xa</show><status>s</status>", "<priority>5</priority>", "<priority>-1</priority>",
	"<c xmlns='http://jabber.org/protocol/caps' node='n' ver='v' hash='sha-1'/>", "<priority>x</priority>"]
BATCH = 8  # stanzas in one segment; between servers one, because each pair of hosts has a stream of its own


class Generator:
	"""Random XML and stanzas."""

	def __init__(self, seed, presence=True):
		self.random = random.Random(seed)
		self.presence = presence

	def element(self, depth=0):
		pick = self.random.choice
		name, space = pick(NAMES), pick(SPACES)
		attributes = "".join(f" {key}='{pick(TEXTS[:4]).replace('<![CDATA[<&]]>', 'c')}'" for key in ("id", "by", "xml:lang", "p:a")
			if self.random.random() < 0.2)
		inside = "".join(self.element(depth + 1) if depth < 4 and self.random.random() < 0.4 else pick(TEXTS)
			for _ in range(self.random.randrange(4)))
		return f"<{name} xmlns='{space}' xmlns:p='urn:p'{attributes}>{inside}</{name}>"

	def payload(self):
		pick = self.random.random()
		if pick < 0.3:
			return self.random.choice(list(PAYLOADS.values()))
		if pick < 0.4:
			return self.random.choice(list(XML.values())[:9])
		return "".join(self.element() for _ in range(self.random.randrange(4)))

	def stanza(self, sender, targets, room):
		kind = self.random.random()
		to = self.random.choice(targets)
		if kind < 0.6 or kind < 0.8 and not self.presence:  # notes to oneself are archived once, and not twice
			to = self.random.choice([jid for jid in targets if not jid.startswith(sender.bare_jid)])
			return message(to, self.payload(), self.random.choice(TYPES[:5]))
		if kind < 0.7:
			return f"<presence>{self.random.choice(SHOWS)}</presence>"
		if kind < 0.8:
			types = ["", " type='unavailable'", " type='subscribe'", " type='subscribed'", " type='unsubscribe'", " type='probe'"]
			return f"<presence to='{to}'{self.random.choice(types)}>{self.random.choice(SHOWS)}</presence>"
		if kind < 0.9:
			return f"<iq to='{to}' id='c3' type='{self.random.choice(['get', 'set', 'result', 'error'])}'>{self.element()}</iq>"
		return self.request(sender, room)

	def request(self, sender, room):
		toggle = self.random.choice(["enable", "disable"])
		size, before = self.random.randrange(1, 6), self.random.choice(["", "<before/>"])
		return "<iq type='set' id='c4'{}>{}</iq>".format(*self.random.choice([
			("", f"<{toggle} xmlns='urn:xmpp:carbons:2'/>"),
			("", f"<query xmlns='{MAM}'><set xmlns='{RSM}'><max>{size}</max>{before}</set></query>"),
			(f" to='{room}'", f"<query xmlns='{MAM}'><set xmlns='{RSM}'><max>{size}</max>{before}</set></query>"),
			("", f"<prefs xmlns='{MAM}' default='{self.random.choice(['always', 'never', 'roster'])}'><always/><never/></prefs>"),
			("", f"<block xmlns='urn:xmpp:blocking'><item jid='blocked{size}@prosody.test'/></block>"),
			("", "<query xmlns='jabber:iq:roster'><item jid='c@x.test' name='n'/></query>"),
			(f" to='{sender.bare_jid}'", "<pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='n'>"
				f"<item id='current'>{self.element()}</item></publish></pubsub>")]))


def play(clients, stanzas, generator, batch=BATCH):
	room = f"{clients[0].user}@{ROOMS}"
	for client in clients[:4]:
		client.online()
		client.sends(f"<presence to='{room}/{client.who}'><x xmlns='{MUC}'/></presence>")
		clients[0].sets(f"<query xmlns='{MUC}#owner'><x xmlns='jabber:x:data' type='submit'/></query>", to=room)
	targets = [room, f"{room}/{clients[1].who}", *(jid for client in clients for jid in (client.jid, client.bare_jid)),
		"prosody.test", "nobody@prosody.test"]
	for _ in range(stanzas // batch):
		client = generator.random.choice(clients)
		client.sends(*(generator.stanza(client, targets, room) for _ in range(batch)))


def generated(number):
	@same(f"generated: stanzas of clients on every connection, {number}", watch=number == 0)
	def _(alice, alice_phone, bob, bob_sm, bob_websocket, bob_bosh, carol_tls):
		play([alice, bob, bob_sm, carol_tls, alice_phone, bob_websocket, bob_bosh], 300, Generator(f"{suite.SEED} {number}"))


# Without presence: at the end sessions of two servers become unavailable in any order
def generated_far(number):
	@same(f"generated: stanzas between two servers, {number}", watch=False)
	def _(alice, bob_sm, far_carol, far_dave_sm):
		play([alice, bob_sm, far_carol, far_dave_sm], 60, Generator(f"{suite.SEED} far {number}", presence=False), 1)


for each in range(suite.tries(5, 40)):
	generated(each)
for each in range(suite.tries(1, 40)):
	generated_far(each)


@same("generated: bytes that are damaged, cut and repeated")
def _(stage, bob):
	generator = Generator(f"{suite.SEED} bytes")
	first = next(stage.cast(["other_alice"]))  # a host without s2s: to addresses that are damaged there is an answer at once
	for number in range(suite.tries(15, 1000)):
		client = stage.again(first, f"r{number}")
		data = bytearray("".join(message(bob.jid, generator.payload()) for _ in range(3)).encode())
		for _ in range(generator.random.randrange(1, 4)):
			at = generator.random.randrange(len(data))
			data[at:at + generator.random.randrange(3)] = generator.random.choice([b"", b"<", b">", b"&", b"'", b"\x00", b"\xff", b"/", data[at:at + 9]])
		client.sends_parts(bytes(data[:len(data) // 2]), bytes(data[len(data) // 2:]))
		client.ends()
