"""Streams on stock Prosody and on ours: stanzas cut at every byte, broken and forbidden XML, limits, ends of streams."""
import suite
import xmpp
from same import same

WAYS = ("tcp", "websocket")
STANZA = "<message to='{}' type='chat' id='8c1f0a52'><body>0123456789</body></message>"
BROKEN = [
	"<message", "<message><body></message>", "</message>", "<message a='1' a='2'/>", "<message a=1/>", "<1/>", "<p:x/>",
	"<message><p:x/></message>", "<message p:a='1'/>", "<message>&unknown;</message>", "<message>&#0;</message>",
	"<message>&#xD800;</message>", "<message>\x01</message>", "<message>]]></message>", "<message a='<'/>",
	"<!-- comment -->", "<message><!-- comment --></message>", "<?target data?>", "<message><?target data?></message>",
	"<!DOCTYPE x>", "<!ENTITY x 'y'>", "<message><![CDATA[open</message>", "<?xml version='1.0'?>", "text", "&amp;", "<stream:error/>",
	"<stream:stream/>", "<other xmlns='urn:x'/>", "<message xmlns='jabber:server'/>", "<message xmlns='urn:x'/>", "<unknown/>",
	"<x:message xmlns:x='jabber:client'/>", "<message xmlns:xml='urn:x'/>", "<message xmlns:xmlns='urn:x'/>", "<message xmlns:p=''/>",
	"</stream:stream>", "</stream:stream><message/>", "<a/></stream:stream>text", "\xff\xfe", "\n\n  \n", "<message/ >", "< message/>",
]
RAW = [b"<message>\xff</message>", b"<message>\xc0\x80</message>", b"\x00", b"<message>\xed\xa0\x80</message>", b"<message>\xf8\x88</message>"]
SMALL, LARGE = [1000, 50_000, 200_000], [300_000, 400_000]  # the limit is 262 144, and what is read at once may exceed it
NESTED = [10, 1000, 4000]
HEADERS = [
	"<stream:stream to='{host}' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>",
	"<s:stream to='{host}' version='1.0' xmlns='jabber:client' xmlns:s='http://etherx.jabber.org/streams'>",
	"<stream xmlns='http://etherx.jabber.org/streams' to='{host}' version='1.0'>",
	"<stream:stream to='unknown.test' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>",
	"<stream:stream version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>",
	"<stream:stream to='{host}' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>",
	"<stream:stream to='{host}' version='1.0' xmlns='jabber:client' xmlns:stream='urn:wrong'>",
	"<stream:other to='{host}' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>",
	"<stream:stream to='{host}' version='1.0' xmlns='urn:wrong' xmlns:stream='http://etherx.jabber.org/streams'>",
	"<stream:stream to='{host}' version='1.0' xml:lang='de' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'/>",
	"<message/>", "GET / HTTP/1.1\r\n\r\n", "text", "<!DOCTYPE x>", "<?xml version='1.0' encoding='latin1'?><x/>", "<", "",
]


def others(stage, name, count, way="tcp"):
	"""Clients of one account, logged in one after another."""
	first = next(stage.cast([f"{name}_{way}"]))
	yield first
	for n in range(1, count):
		yield stage.again(first, f"r{n}")


@same("streams: a stanza that is cut at any byte")
def _(alice, bob):
	stanza = STANZA.format(bob.jid).encode()
	for at in range(1, len(stanza)):
		alice.sends_parts(stanza[:at], stanza[at:])
		bob.asks_sync()
		bob.awaits_sync()
		bob.notes(f"cut after {at}: {len(bob.takes())}")
	alice.server.stage.settle()


@same("streams: a stanza in single bytes, and several in one segment")
def _(alice, alice_websocket, bob):
	stanza = STANZA.format(bob.jid).encode()
	for n in range(len(stanza)):
		alice.raw(stanza[n:n + 1])
	alice.sends("", stanza.decode() * 50, " \n " + stanza.decode() + " " + stanza.decode()[:50])
	alice.sends(stanza.decode()[50:] + "\n")
	for n in range(1, len(stanza), 7):
		frame = alice_websocket.transport.frame(xmpp.WebSocket.TEXT, stanza)
		alice_websocket.sends_parts(frame[:n], frame[n:])
		bob.looks()


@same("streams: broken and forbidden XML ends a stream, after the stanzas before it")
def _(stage, bob):
	for way in WAYS:
		for n, (client, broken) in enumerate(zip(others(stage, "alice", len(BROKEN), way), BROKEN)):
			client.says(bob.jid, str(n))
			client.speaks(STANZA.format(bob.jid) + broken if way == "tcp" else broken)
			client.ends()
	for client, broken in zip(others(stage, "carol", len(RAW)), RAW):
		client.raw(STANZA.format(bob.jid).encode() + broken)
		client.ends()


@same("streams: a stanza that ends early at any byte")
def _(stage, bob):
	stanza = STANZA.format(bob.jid)
	places = range(1, len(stanza), suite.tries(7, 1))
	for client, at in zip(others(stage, "alice", len(places)), places):
		client.speaks(stanza[:at] + "<<")
		client.ends()
	for client, at in zip(others(stage, "carol", len(places)), places):
		client.speaks(stanza[:at] + "</stream:stream>")
		client.ends()
	for client, at in zip(others(stage, "dave", len(places)), places):
		client.raw(stanza[:at].encode())
		client.transport.disconnect()
		client.gone = True
		stage.settle()


@same("streams: stanzas up to the limit of size arrive, larger ones do not", watch=False)
def _(stage, bob):
	texts = [f"<message to='{bob.jid}'><body>{'x' * size}</body></message>" for size in SMALL + LARGE]
	texts += [f"<message to='{bob.jid}' a='{'x' * size}'/>" for size in SMALL + LARGE]
	texts += [f"<message to='{bob.jid}'>{'<x>' * depth}{'</x>' * depth}</message>" for depth in NESTED]
	texts += [f"<message to='{bob.jid}'>{'<x/>' * depth}</message>" for depth in NESTED]
	for client, text in zip(others(stage, "alice", len(texts)), texts):
		client.speaks(text)
		client.raw(b" " * len(text))  # expat may wait for as many bytes again before it looks at them
		client.ends()
		if len(text) > max(SMALL) + 1000:
			stage.transcript.entries.pop(client.who)  # a reset connection may lose the error that the server has sent


@same("streams: the limits before login", watch=False)
def _(stage):
	for size in (900, 9_000):
		for text in (f"<auth xmlns='{xmpp.SASL}' mechanism='PLAIN'>{'x' * size}</auth>", f"<x {'a' * size}"):
			stranger = stage.stranger()
			stranger.opens()
			stranger.speaks(text)
			stranger.ends()


@same("streams: every header")
def _(stage):
	for header in HEADERS:
		for after in ("", "<message/>", "<iq type='get' id='c1'/>", "</stream:stream>"):
			stranger = stage.stranger()
			stranger.raw(header.replace("{host}", "prosody.test").encode() + after.encode())
			stranger.ends()


@same("streams: stanzas before login, and a second login")
def _(stage, alice):
	for text in (STANZA.format("x@prosody.test"), "<presence/>", "<iq type='get' id='c1'><ping xmlns='urn:xmpp:ping'/></iq>",
			f"<auth xmlns='{xmpp.SASL}' mechanism='X'/>", f"<auth xmlns='{xmpp.SASL}' mechanism='PLAIN'>=</auth>", "<r xmlns='urn:xmpp:sm:3'/>"):
		stranger = stage.stranger()
		stranger.opens()
		stranger.speaks(text)
		stranger.ends()
	alice.sends(f"<auth xmlns='{xmpp.SASL}' mechanism='PLAIN'>AGEAYg==</auth>")
	alice.sends(f"<iq type='set' id='c2'><bind xmlns='{xmpp.BIND}'/></iq>")
	alice.sends(f"<iq type='set' id='c2'><session xmlns='urn:ietf:params:xml:ns:xmpp-session'/></iq>")
