"""A small raw XMPP client: it sends the bytes of a test unchanged, and does not hide received elements.

Three transports - TCP, WebSocket (RFC 7395 on RFC 6455) and BOSH (XEP-0124, XEP-0206) - share one
interface: open(), send(), receive(), close(), cut(). A Client logs in over any of them, counts the
stanzas it receives once stream management is enabled, and acknowledges only when told to.
"""
import base64
import collections
import http.client
import os
import socket
import struct
import time
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

CLIENT = "jabber:client"
COMPONENT = "jabber:component:accept"
STREAMS = "http://etherx.jabber.org/streams"
STREAM_ERRORS = "urn:ietf:params:xml:ns:xmpp-streams"
STANZA_ERRORS = "urn:ietf:params:xml:ns:xmpp-stanzas"
FRAMING = "urn:ietf:params:xml:ns:xmpp-framing"
SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
BIND = "urn:ietf:params:xml:ns:xmpp-bind"
HTTPBIND = "http://jabber.org/protocol/httpbind"
SM2 = "urn:xmpp:sm:2"
SM3 = "urn:xmpp:sm:3"
DELAY = "urn:xmpp:delay"

READ_TIMEOUT = 8


class Closed(Exception):
	"""The other side ended the stream or the connection."""


class Timeout(Exception):
	"""No element came within the time limit."""


class Element:
	"""A received element; el["h"] is an attribute or None, el.child("body") a child or None."""

	def __init__(self, xmlns, name, attr):
		self.xmlns, self.name, self.attr = xmlns, name, attr
		self.children, self.text = [], ""
		self.names, self.parts = attr, []  # attributes by "namespace name"; children and text in their order

	def __getitem__(self, attribute):
		return self.attr.get(attribute)

	def child(self, name, xmlns=None):
		for child in self.children:
			if child.name == name and xmlns in (None, child.xmlns):
				return child
		return None

	def all(self, name, xmlns=None):
		return [c for c in self.children if c.name == name and xmlns in (None, c.xmlns)]

	def find(self, *names):
		"""The descendant reached by these names, or None."""
		here = self
		for name in names:
			here = here and here.child(name)
		return here

	@property
	def body(self):
		body = self.child("body")
		return body.text if body else None

	@property
	def is_stanza(self):
		return self.name in ("iq", "message", "presence") and self.xmlns in (CLIENT, COMPONENT)

	def __str__(self):
		attr = "".join(f" {name}={quoteattr(value)}" for name, value in self.attr.items())
		inner = escape(self.text) + "".join(map(str, self.children))
		return f"<{self.name} xmlns={quoteattr(self.xmlns or '')}{attr}>{inner}</{self.name}>"

	__repr__ = __str__


class Parser:
	"""Turns bytes into Elements: every child of the root is handed out as soon as it is complete."""

	def __init__(self):
		self.root, self.closed, self.path = None, False, []
		self.ready = collections.deque()
		self.held = b""
		self.expat = expat.ParserCreate(namespace_separator=" ")
		self.expat.buffer_text = True
		self.expat.StartElementHandler = self._start
		self.expat.EndElementHandler = self._end
		self.expat.CharacterDataHandler = self._text

	def feed(self, data):
		"""Newer versions of expat wait after an incomplete token. It gets none: servers escape ">" in texts and values."""
		self.held += data
		end = self.held.rfind(b">") + 1
		data, self.held = self.held[:end], self.held[end:]
		try:
			self.expat.Parse(data, False)
		except expat.ExpatError as error:
			raise Closed(f"the server sent broken XML: {error}: {data[-200:]!r}") from None

	@staticmethod
	def _split(name):
		xmlns, space, local = name.rpartition(" ")
		return (xmlns if space else None), local

	def _start(self, name, attr):
		names, attr = attr, {self._split(key)[1]: value for key, value in attr.items()}
		element = Element(*self._split(name), attr)
		element.names = names
		if self.root is None:
			self.root = element
			return
		if self.path:
			self.path[-1].children.append(element)
			self.path[-1].parts.append(element)
		self.path.append(element)

	def _end(self, _):
		if not self.path:
			self.closed = True
			return
		element = self.path.pop()
		if not self.path:
			self.ready.append(element)

	def _text(self, text):
		if self.path:
			self.path[-1].text += text
			self.path[-1].parts.append(text)


def connect(port):
	sock = socket.create_connection(("127.0.0.1", port), READ_TIMEOUT)
	sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
	return sock


def reset(sock):
	"""Close a connection with a RST: data in transit are lost, in both directions."""
	sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
	sock.close()


class Transport:
	def wait_for_end(self, timeout=READ_TIMEOUT):
		"""Read on until the connection is gone; returns the elements that came before."""
		seen = []
		try:
			while True:
				seen.append(self.receive(timeout))
		except Closed:
			return seen


class SocketTransport(Transport):
	"""The common part of TCP and WebSocket: one socket, read until an element is complete."""

	def __init__(self, port):
		self.sock = connect(port)
		self.ready = collections.deque()

	def send_raw(self, data):
		self.sock.sendall(data)

	def receive(self, timeout=READ_TIMEOUT):
		"""The next element. Raises Timeout, or Closed when the stream has ended."""
		deadline = time.monotonic() + timeout
		while not self.ready:
			self._raise_if_closed()
			self.sock.settimeout(max(deadline - time.monotonic(), 0.001))
			try:
				data = self.sock.recv(65536)
			except socket.timeout:
				raise Timeout(f"nothing received within {timeout} s") from None
			except OSError as error:
				raise Closed(str(error)) from None
			if not data:
				raise Closed("connection closed")
			self._feed(data)
		return self.ready.popleft()

	def _raise_if_closed(self):
		pass

	def cut(self):
		reset(self.sock)

	def disconnect(self):
		self.sock.close()


class Tcp(SocketTransport):
	namespace = CLIENT

	def open(self, host):
		self.parser = Parser()
		self.ready = self.parser.ready
		self.send(f"<?xml version='1.0'?><stream:stream to='{host}' version='1.0' xml:lang='en'"
			f" xmlns='{self.namespace}' xmlns:stream='{STREAMS}'>")

	restart = open

	def send(self, *elements):
		"""All of them in one segment."""
		self.send_raw("".join(elements).encode())

	def close(self):
		self.send("</stream:stream>")

	def _feed(self, data):
		self.parser.feed(data)

	def _raise_if_closed(self):
		if self.parser.closed:
			raise Closed("stream closed")


class ComponentTransport(Tcp):
	namespace = COMPONENT

	def open(self, host):
		super().open(host)
		while self.parser.root is None:
			self._feed(self.sock.recv(65536))


class WebSocket(SocketTransport):
	TEXT, CLOSE, PING, PONG = 0x1, 0x8, 0x9, 0xA

	def __init__(self, port, host="localhost"):
		super().__init__(port)
		self.buffer, self.pongs, self.close_code = b"", [], None
		self.send_raw((f"GET /xmpp-websocket HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\n"
			"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: xmpp\r\n"
			f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\n\r\n").encode())
		while b"\r\n\r\n" not in self.buffer:
			data = self.sock.recv(65536)
			if not data:
				raise Closed(f"no WebSocket: {self.buffer!r}")
			self.buffer += data
		head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
		if b" 101 " not in head.split(b"\r\n")[0]:
			raise Closed(f"no WebSocket: {head!r}")

	@staticmethod
	def frame(opcode, payload):
		mask, size = os.urandom(4), len(payload)
		if size < 126:
			head = struct.pack("!BB", 0x80 | opcode, 0x80 | size)
		elif size < 65536:
			head = struct.pack("!BBH", 0x80 | opcode, 0x80 | 126, size)
		else:
			head = struct.pack("!BBQ", 0x80 | opcode, 0x80 | 127, size)
		return head + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(payload))

	def open(self, host):
		self.send(f"<open xmlns='{FRAMING}' to='{host}' version='1.0'/>")
		opened = self.receive()
		if opened.name != "open":
			raise Closed(f"expected <open/>, got {opened}")

	restart = open

	def send(self, *elements):
		"""A frame each, all of them in one segment. A missing default namespace is added."""
		self.send_raw(b"".join(self.frame(self.TEXT, self._qualify(e).encode()) for e in elements))

	@staticmethod
	def _qualify(element):
		head, tail = element.split(">", 1)
		if "xmlns=" in head:
			return element
		end = "/" if head.endswith("/") else ""
		return f"{head.rstrip('/')} xmlns='{CLIENT}'{end}>{tail}"

	def ping(self, payload=b"marco"):
		self.send_raw(self.frame(self.PING, payload))

	def close(self):
		self.send(f"<close xmlns='{FRAMING}'/>")

	def close_websocket(self, code=1000):
		self.send_raw(self.frame(self.CLOSE, struct.pack("!H", code)))

	def _raise_if_closed(self):
		self._feed(b"")
		if self.close_code and not self.ready:
			raise Closed(f"WebSocket closed with {self.close_code}")

	def _feed(self, data):
		self.buffer += data
		while (frame := self._next_frame()) is not None:
			opcode, payload = frame
			if opcode == self.TEXT:
				self._parse(payload)
			elif opcode == self.PING:
				self.send_raw(self.frame(self.PONG, payload))
			elif opcode == self.PONG:
				self.pongs.append(payload)
			elif opcode == self.CLOSE:
				self.close_code = struct.unpack("!H", payload[:2])[0] if len(payload) >= 2 else 1005

	def _parse(self, payload):
		"""A frame is a document of its own: only the prefix of stream errors is inherited."""
		parser = Parser()
		parser.feed(f"<frame xmlns:stream='{STREAMS}'>".encode() + payload + b"</frame>")
		self.ready.extend(parser.ready)

	def _next_frame(self):
		data = self.buffer
		if len(data) < 2:
			return None
		if data[0] & 0x70 or data[1] & 0x80:
			raise Closed(f"the server sent a bad frame: {data[:16]!r}")
		size, at = data[1] & 0x7F, 2
		if size >= 126:
			form, at = ("!H", 4) if size == 126 else ("!Q", 10)
			if len(data) < at:
				return None
			size = struct.unpack(form, data[2:at])[0]
		if len(data) < at + size:
			return None
		self.buffer = data[at + size:]
		return data[0] & 0xF, data[at:at + size]


class Bosh(Transport):
	"""One request is kept waiting at the server; sending makes a second one."""

	def __init__(self, port):
		self.port, self.sid, self.rid = port, None, int.from_bytes(os.urandom(4), "big")
		self.waiting, self.idle = collections.deque(), []
		self.ready, self.terminated = collections.deque(), False

	def open(self, host):
		self.host = host
		self._post(f"to='{host}' wait='30' hold='1' ver='1.6' xml:lang='en' xmpp:version='1.0'")

	def restart(self, host):
		self._post(f"to='{host}' xmpp:restart='true'")

	def send(self, *elements):
		self._post("", "".join(WebSocket._qualify(e) for e in elements))

	def close(self):
		self._post("type='terminate'")

	def _post(self, attr, payload=""):
		self.rid += 1
		sid = f"sid='{self.sid}'" if self.sid else ""
		body = (f"<body xmlns='{HTTPBIND}' xmlns:xmpp='urn:xmpp:xbosh' xmlns:stream='{STREAMS}'"
			f" rid='{self.rid}' {sid} {attr}>{payload}</body>")
		connection = self.idle.pop() if self.idle else http.client.HTTPConnection("127.0.0.1", self.port)
		connection.request("POST", "/http-bind", body.encode(),
			{"Content-Type": "text/xml; charset=utf-8", "Host": "localhost"})
		self.waiting.append(connection)

	def poll(self):
		"""Give the server a request that it can answer later."""
		if not self.waiting:
			self._post("")

	def receive(self, timeout=READ_TIMEOUT):
		while not self.ready:
			if self.terminated:
				raise Closed("BOSH session terminated")
			self.poll()
			self._read_response(timeout)
		return self.ready.popleft()

	def _read_response(self, timeout):
		connection = self.waiting.popleft()
		connection.sock.settimeout(timeout)
		try:
			data = connection.getresponse().read()
		except socket.timeout:
			raise Timeout(f"no BOSH response within {timeout} s") from None
		except (OSError, http.client.HTTPException) as error:
			raise Closed(str(error)) from None
		self.idle.append(connection)
		parser = Parser()
		parser.feed(data)
		self.sid = self.sid or parser.root["sid"]
		self.terminated = parser.root["type"] == "terminate"
		self.ready.extend(parser.ready)

	def cut(self):
		for connection in [*self.waiting, *self.idle]:
			if connection.sock:
				reset(connection.sock)
		self.waiting.clear()
		self.idle.clear()
		self.terminated = True

	def disconnect(self):
		self.cut()


class Client:
	"""An account on a transport. h counts the stanzas received since stream management was enabled."""

	def __init__(self, transport, user, password, host):
		self.transport, self.user, self.password, self.host = transport, user, password, host
		self.bare_jid = f"{user}@{host}"
		self.jid = self.sm = self.id = self.features = None
		self.h, self.unread = 0, collections.deque()

	# --- sending and receiving ---

	def send(self, *elements):
		self.transport.send(*elements)

	def next(self, timeout=READ_TIMEOUT):
		"""The next element of any kind, counted if it is a stanza."""
		if self.unread:
			return self.unread.popleft()
		element = self.transport.receive(timeout)
		if self.sm and element.is_stanza:
			self.h = (self.h + 1) % 2**32
		return element

	def stanza(self, timeout=READ_TIMEOUT):
		"""The next stanza; <r/> and <a/> are skipped."""
		while True:
			element = self.next(timeout)
			if element.is_stanza:
				return element
			assert element.name in ("r", "a"), f"expected a stanza, got {element}"

	def message(self):
		"""The next message with a body; other stanzas before it are a mistake."""
		message = self.stanza()
		assert message.name == "message" and message.body is not None, f"expected a message, got {message}"
		return message

	def bodies(self, count):
		return [self.message().body for _ in range(count)]

	def until(self, name, xmlns=None):
		"""The next element of that name; what comes before it stays unread."""
		kept = []
		while True:
			element = self.next()
			if element.name == name and xmlns in (None, element.xmlns):
				self.unread.extendleft(reversed(kept))
				return element
			kept.append(element)

	def handled(self):
		"""Ask for an <a/> and return its h: all earlier stanzas have been handled now."""
		self.send(f"<r xmlns='{self.sm}'/>")
		return int(self.until("a")["h"])

	def nothing_more(self):
		"""No stanza is pending: the server sends all stanzas before the <a/>."""
		self.handled()
		stanzas = [e for e in self.unread if e.is_stanza]
		assert not stanzas, f"unexpected: {stanzas}"

	def ask(self, payload, kind="get", to=None):
		"""Send an iq and return its answer."""
		ident = "iq" + os.urandom(4).hex()
		to = f" to={quoteattr(to)}" if to else ""
		self.send(f"<iq type='{kind}' id='{ident}'{to}>{payload}</iq>")
		kept = []
		while True:
			element = self.next()
			if element.name == "iq" and element["id"] == ident:
				self.unread.extendleft(reversed(kept))
				return element
			kept.append(element)

	def ping(self):
		"""A round trip through the server's routing."""
		assert self.ask("<ping xmlns='urn:xmpp:ping'/>", to=self.host)["type"] == "result"

	def chat(self, to, body, kind="chat", payload=""):
		to = getattr(to, "jid", to)
		self.send(f"<message type='{kind}' to={quoteattr(to)} id={quoteattr(body[:40])}>"
			f"<body>{escape(body)}</body>{payload}</message>")

	# --- logging in ---

	def open(self):
		self.transport.open(self.host)
		self.features = self.next()
		assert self.features.name == "features", self.features

	def authenticate(self):
		secret = base64.b64encode(f"\0{self.user}\0{self.password}".encode()).decode()
		self.send(f"<auth xmlns='{SASL}' mechanism='PLAIN'>{secret}</auth>")
		answer = self.next()
		assert answer.name == "success", answer
		self.transport.restart(self.host)
		self.features = self.next()
		assert self.features.name == "features", self.features

	def bind(self, resource=None):
		wish = f"<resource>{escape(resource)}</resource>" if resource else ""
		answer = self.ask(f"<bind xmlns='{BIND}'>{wish}</bind>", "set")
		assert answer["type"] == "result", answer
		self.jid = answer.find("bind", "jid").text
		return self

	def login(self, resource=None):
		self.open()
		self.authenticate()
		return self.bind(resource)

	def available(self):
		"""Send initial presence and read its echo."""
		self.send("<presence/>")
		echo = self.stanza()
		assert echo.name == "presence" and echo["from"] == self.jid, echo
		return self

	# --- stream management ---

	def enable(self, resume=True, max=None, sm=SM3):
		"""<enable/>; returns the <enabled/>."""
		resume = " resume='true'" if resume else ""
		max = f" max='{max}'" if max is not None else ""
		self.send(f"<enable xmlns='{sm}'{resume}{max}/>")
		enabled = self.next()
		assert enabled.name == "enabled" and enabled.xmlns == sm, enabled
		self.sm, self.id, self.h = sm, enabled["id"], 0
		return enabled

	def ack(self, h=None):
		self.send(f"<a xmlns='{self.sm}' h='{self.h if h is None else h}'/>")

	def resume(self, old, h=None):
		"""<resume/> the session of another client, whose place this one takes; returns the <resumed/>."""
		h = old.h if h is None else h
		answer = self.try_resume(old, h)
		assert answer.name == "resumed" and answer["previd"] == old.id, answer
		self.sm, self.id, self.jid, self.h = old.sm, old.id, old.jid, h
		return answer

	def try_resume(self, old, h):
		"""<resume/>; returns the answer, <resumed/> or <failed/>."""
		self.send(f"<resume xmlns='{old.sm}' previd='{old.id}' h='{h}'/>")
		return self.next()

	# --- leaving ---

	def cut(self):
		"""Lose the connection, without notice to the server."""
		self.transport.cut()

	def close(self):
		"""Close the stream and read to its end; returns the elements that came before."""
		self.transport.close()
		return list(self.unread) + self.transport.wait_for_end()


def failure(element):
	"""The condition of a <failed/> or of a stream error: the name of its direct child."""
	assert element.name in ("failed", "error"), element
	spaces = (STANZA_ERRORS, STREAM_ERRORS)
	conditions = [c.name for c in element.children if c.xmlns in spaces and c.name != "text"]
	return conditions[0] if conditions else None
