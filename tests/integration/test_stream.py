"""mod_stream_native: the native parser on every kind of stream, and its loading and unloading while streams are open."""
import socket

import bed
import xmpp
from steps import EVERY_TRANSPORT, cut, pair, stream_error
from suite import behaviour
from test_s2s import IN, OUT, both

NATIVE = {"modules": ["stream_native"]}
COMPONENT = "component.prosody.test"

# Of a stream `s` in Lua: the type of the parser that feed() uses
PARSER = """;
	for i = 1, 20 do
		local name, value = debug.getupvalue(s.feed, i);
		if name == "parser" then return getmetatable(value).__name; end
	end
	return "no parser" """

OURS, STOCK = "pn.stream.parser", "Expat"


def parser_of(server, client):
	return server.lua(f"local s = prosody.full_sessions[{bed.lua(client.jid)}].stream" + PARSER)


def modulemanager(server, call):
	answer = server.lua(f"return tostring((require 'core.modulemanager'.{call}))")
	assert answer not in ("nil", "false"), answer


def load(server):
	modulemanager(server, "load('*', 'stream_native')")


def unload(server):
	modulemanager(server, "unload('*', 'stream_native')")


def talk(*clients):
	"""Each client writes to the next."""
	for sender, reader in zip(clients, clients[1:] + clients[:1]):
		sender.chat(reader, "a < b & 'c' \u00e9\u20ac", payload="<x xmlns='urn:x'><y xml:lang='de'/><![CDATA[<z>]]></x>")
		message = reader.message()
		assert message.body == "a < b & 'c' \u00e9\u20ac", message
		assert message.child("x", "urn:x").text == "<z>", message


@behaviour("native stream: clients of every transport", over=EVERY_TRANSPORT, **NATIVE)
def clients_talk(server, transport):
	alice, bob = server.login("alice", transport), server.login("bob")
	if transport == "tcp":
		assert parser_of(server, alice) == OURS
	talk(alice, bob)
	alice.close()
	server.wait_gone(alice)


@behaviour("native stream: a session resumes, and goes on", over=EVERY_TRANSPORT, **NATIVE)
def sessions_resume(server, transport):
	alice, bob = pair(server, transport)
	cut(server, alice)
	bob.chat(alice, "detached")
	bob.ping()
	alice = server.resume(alice, transport)
	assert alice.message().body == "detached"
	talk(alice, bob)


@behaviour("native stream: other servers", federation=True, **NATIVE)
def servers_talk(servers):
	alice, bob = both(servers)
	for way, server, here, there in (OUT, servers.a, "a.test", "b.test"), (IN, servers.b, "b.test", "a.test"):
		found = server.lua(way.format(a=here, b=there) + "; local s = s.stream" + PARSER)
		assert found == OURS, (way, found)
	talk(alice, bob)


@behaviour("native stream: components", components={COMPONENT: {"component_secret": bed.PASSWORD}}, **NATIVE)
def components_talk(server):
	component, alice = bed.Component(server, COMPONENT), server.login("alice")
	alice.chat(COMPONENT, "to the component")
	assert component.message().body == "to the component"
	component.send(f"<message from='{COMPONENT}' to='{alice.jid}'><body>back</body></message>")
	assert alice.message().body == "back"


@behaviour("native stream: a stanza needs no bytes after its own, wherever it is cut", **NATIVE)
def no_byte_waits(server):
	alice = server.login("alice")
	alice.transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
	stanza = f"<message to='{alice.jid}' type='chat'><body>x > y</body></message>".encode()
	for at in range(1, len(stanza)):
		alice.transport.send_raw(stanza[:at])
		alice.transport.send_raw(stanza[at:])
		assert alice.message().body == "x > y", at


BROKEN = ["<message><!-- --></message>", "</message>", "<foo/>", "<?pi?>", "<message>&nothing;</message>", "<message to='&lt;' to=''/>",
	"<stream:error/>", "<message\0/>", "<x:message/>", "</stream:stream>"]


def endings(server):
	"""The elements that a client gets after each of BROKEN."""
	found = []
	for data in BROKEN:
		client = server.login("alice")
		client.transport.send_raw(data.encode())
		found.append([(end.name, [(child.name, child.text) for child in end.children]) for end in client.transport.wait_for_end()])
	return found


@behaviour("native stream: the stream errors of Prosody's own parser")
def stream_errors(server):
	stock = endings(server)
	assert "not-well-formed" in str(stock[0]), stock
	load(server)
	assert endings(server) == stock


@behaviour("native stream: a stanza above the limit ends the stream", options={"c2s_stanza_size_limit": 20000}, **NATIVE)
def large_stanzas_end_the_stream(server):
	client = server.login("alice")
	client.transport.send_raw(b"<message id='" + b"x" * 21000)
	assert stream_error(client).find("policy-violation") is not None


@behaviour("native stream: loaded while streams are open")
def loaded_with_streams_open(server):
	alice, bob = server.login("alice"), server.login("bob")
	early = server.connect(server.account("carol"))
	early.open()
	load(server)
	assert parser_of(server, alice) == STOCK
	talk(alice, bob)
	early.authenticate()
	early.bind()
	assert parser_of(server, early) == STOCK
	late = server.login("dave")
	assert parser_of(server, late) == OURS
	talk(alice, early, late, bob)


@behaviour("native stream: unloaded between connecting and logging in", over=EVERY_TRANSPORT, **NATIVE)
def unloaded_before_login(server, transport):
	open_client = server.login("alice", transport)
	early = server.connect(server.account("bob"), transport)
	early.open()
	unload(server)
	early.authenticate()
	early.bind()
	late = server.login("carol", transport)
	if transport == "tcp":
		assert [parser_of(server, c) for c in (open_client, early, late)] == [OURS, STOCK, STOCK]
	talk(open_client, early, late)
	load(server)
	last = server.login("dave", transport)
	talk(open_client, early, late, last)


@behaviour("native stream: reloaded at each step of a login", **NATIVE)
def reloaded_during_login(server):
	alice = server.login("alice")
	bob = server.connect(server.account("bob"))
	for step in bob.open, bob.authenticate, bob.bind:
		step()
		modulemanager(server, "reload('*', 'stream_native')")
		talk(alice, alice)
	talk(alice, bob)


@behaviour("native stream: unloaded while sessions hibernate", **NATIVE)
def unloaded_while_hibernating(server):
	alice, bob = pair(server)
	cut(server, alice)
	unload(server)
	bob.chat(alice, "detached")
	bob.ping()
	alice = server.resume(alice)
	assert alice.message().body == "detached"
	talk(alice, bob)


@behaviour("native stream: half a stanza of many clients, and bytes one by one", **NATIVE)
def half_stanzas(server):
	alice = server.login("alice")
	others = [server.login(f"user{n}") for n in range(20)]
	for n, other in enumerate(others):
		other.transport.send_raw(f"<message to='{alice.jid}'><body>{n}".encode())
	for byte in f"<message to='{alice.jid}'><body>own</body></message>".encode():
		alice.transport.send_raw(bytes([byte]))
	assert alice.message().body == "own"
	for n, other in enumerate(others):
		other.transport.send_raw(b"</body></message>")
		assert alice.message().body == str(n)
	assert isinstance(alice.transport, xmpp.Tcp)
