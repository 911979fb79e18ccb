"""A server with a webchat: accounts on HOST, visitors on GUESTS, rooms on ROOMS."""
import socket

import bed
import suite
import xmpp

HOST, GUESTS, ROOMS, OTHER_ROOMS = bed.HOST, "guest.prosody.test", "rooms.prosody.test", "club.prosody.test"
SUPPORT = f"support@{ROOMS}"
MUC = "http://jabber.org/protocol/muc"
ANONYMOUS = f"<auth xmlns='{xmpp.SASL}' mechanism='ANONYMOUS'/>"


class TcpFrom(xmpp.Tcp):
	"""From a separate address of loopback."""

	def __init__(self, port, address):  # pylint: disable=super-init-not-called
		self.sock = socket.create_connection(("127.0.0.1", port), xmpp.READ_TIMEOUT, (address, 0))


class Visitor(xmpp.Client):
	"""A client without an account."""

	def authenticate(self):
		answer = self.ask_in()
		assert answer.name == "success", answer
		self.transport.restart(self.host)
		self.features = self.next()

	def ask_in(self):
		"""The answer to an anonymous login."""
		self.send(ANONYMOUS)
		return self.next()


def join(client, nick, room=SUPPORT):
	"""Enter a room; returns the answer: the client's own presence, or an error."""
	client.send(f"<presence to='{room}/{nick}'><x xmlns='{MUC}'/></presence>")
	while True:
		answer = client.stanza()
		if answer.name == "presence" and (answer["type"] == "error" or answer["from"] == f"{room}/{nick}"):
			return answer


def enter(client, nick, room=SUPPORT):
	"""Enter a room, and read up to its subject."""
	answer = join(client, nick, room)
	assert answer["type"] is None, answer
	while (element := client.stanza()).child("subject") is None:
		pass
	assert element.name == "message", element
	return client


def condition(stanza):
	"""The condition and the text of an error stanza."""
	assert stanza["type"] == "error", stanza
	error = stanza.child("error")
	text = error.child("text", xmpp.STANZA_ERRORS)
	return next(c.name for c in error.children if c.name != "text"), text.text if text else None


class Webchat(bed.Prosody):
	"""`guests` are options of the visitors' host, beside those of every webchat."""

	def __init__(self, version, guests=None, guest_modules=("webchat",), **settings):
		self.guests = {"authentication": "anonymous", "modules_enabled": list(guest_modules),
			"http_host": "localhost", "webchat_default_room": SUPPORT, **(guests or {})}
		components = {ROOMS: "muc", OTHER_ROOMS: "muc", **settings.pop("components", {})}
		super().__init__(version, components=components, **settings)

	def start(self):
		if self.stock_smacks:
			self._add_webchat_alone()
		(self.directory / "data").mkdir(exist_ok=True)  # SQLite does not create directories
		super().start()
		self.make_room(SUPPORT)
		return self

	def _add_webchat_alone(self):
		"""The module without the others of its folder, beside Prosody's own."""
		folder = self.directory / "plugins"
		if not folder.exists():
			folder.mkdir()
			(folder / "mod_webchat").symlink_to(bed.PROJECT / "lua/mod_webchat")
		self.options["plugin_paths"] = [folder, bed.TEST_MODULES]

	def _config(self):
		section = "".join(f"{name} = {bed.lua(value)}\n" for name, value in self.guests.items())
		return super()._config() + f"VirtualHost {bed.lua(GUESTS)}\n{section}"

	def make_room(self, room):
		host = room.partition("@")[2]
		self.lua(f"prosody.hosts[{bed.lua(host)}].modules.muc.create_room({bed.lua(room)}):set_persistent(true)")
		return room

	def stranger(self, transport="tcp", address=None, forwarded_for=None, port=None):
		"""A connection of a visitor before the login; from an address, or through a proxy that forwards one."""
		port = port or (self.port if transport == "tcp" else self.http_port)
		if address:
			made = TcpFrom(port, address)
		elif forwarded_for:
			made = xmpp.WebSocket(port, f"localhost\r\nX-Forwarded-For: {forwarded_for}")
		else:
			made = {"tcp": xmpp.Tcp, "websocket": xmpp.WebSocket, "bosh": xmpp.Bosh}[transport](port)
		client = Visitor(made, "", "", GUESTS)
		self.clients.append(client)
		client.open()
		return client

	def visitor(self, transport="tcp", address=None):
		"""A visitor who is logged in and available."""
		client = self.stranger(transport, address)
		client.authenticate()
		client.bind()
		client.user = client.jid.partition("@")[0]
		return client.available()

	def in_room(self, nick, room=SUPPORT, **where):
		return enter(self.visitor(**where), nick, room)

	def webchat(self, expression):
		"""The value of an expression in the visitors' host."""
		return self.lua(f"local host = prosody.hosts[{bed.lua(GUESTS)}]; return tostring({expression})")


def behaviour(name, beside_stock=False, once=False, time_limit=suite.TIME_LIMIT, **settings):
	"""With `beside_stock` the test runs again with Prosody's own mod_smacks."""
	def register(function):
		for on_stock in (False, True)[:1 + beside_stock]:
			def make(version, stock_smacks, on_stock=on_stock):
				return Webchat(version, stock_smacks=stock_smacks or on_stock, **settings)
			title = f"webchat: {name}" + (", with Prosody's mod_smacks" if on_stock else "")
			suite.on_versions(title, make, once=once, time_limit=time_limit)(function)
		return function
	return register
