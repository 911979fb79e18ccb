"""The same traffic on stock Prosody and on Prosody with our modules: all that anybody sees is compared.

	@same("a message reaches its recipient")
	def _(alice, bob):
		alice.sends(f"<message to='{bob.jid}'><body>hello</body></message>")

Each scene is played four times: on stock Prosody and on ours, first unwatched, as operators run it (log level info: fast paths are
taken), then with a module that watches every event and filter, and with debug logs. The latter is done on one version, which SEED
chooses, and with SOAK on all. Parameters are clients, logged in. The
name's part after the first underscore is the resource, and may choose the connection:

	alice, bob_phone	TCP; bob_phone is a further client of bob's account
	bob_sm	TCP, with stream management
	bob_bosh, bob_websocket, bob_tls, bob_starttls
	other_carol	an account of another host on the same server
	far_dave	an account on another server
	link	an external component

`sends()` returns when all participants have received what it caused. Differences that are meant are listed in same_meant.py.
"""
import functools
import multiprocessing.util
import os
import re
import ssl
import sys
import zlib

import bed
import same_meant
import situations
import suite
import xmpp
from situations import Player, cast_of
from transcript import Transcript, differences, written

sys.path.insert(0, str(bed.PROJECT / "tests/lab"))
import authority  # noqa: E402  pylint: disable=wrong-import-position

REPLACED = ("smacks", "mam", "muc_mam")  # modules of lua/ that stand in for Prosody's of the same name
ADDED = ("stream_native",)  # modules of lua/ that a configuration has to name
OURS = {*REPLACED, *ADDED, "storage_native"}
OTHER, FAR, FAR_ROOMS, LINK = "other.test", "far.test", "rooms.far.test", "link.prosody.test"
COMMUNITY = bed.BUILD / "prosody-modules/chosen"  # see test_same_modules.py
NEAR_HOSTS = [bed.HOST, OTHER, situations.ROOMS, situations.NODES, situations.FILES, LINK]
ROUNDS = 3  # of the event loop, in which a server reads what has arrived and writes the answers
TIME_LIMIT = 120  # of a scene, which is played twice
CHUNK = 4096  # bytes that a server reads at least in a round
UNWRITTEN = ("r", "a", "enabled")  # acks come at any time
LOADED = """local found = {};
	for host in pairs(prosody.hosts) do
		for name, env in pairs(require "core.modulemanager".get_modules(host)) do table.insert(found, name.."="..env.module.path); end
	end
	for name, env in pairs(require "core.modulemanager".get_modules("*")) do table.insert(found, name.."="..env.module.path); end
	return table.concat(found, " ")"""  # each module of each host with its path
SHOWN = int(os.environ.get("SHOWN", "12"))  # differences of a failure


# --- participants ---

class Recorded:
	"""A participant, each element of which is written down."""

	def send(self, *elements):
		self.server.transcript.sends("".join(elements))
		super().send(*elements)

	def next(self, timeout=xmpp.READ_TIMEOUT):
		kept = bool(self.unread)
		element = super().next(timeout)
		if not kept and element.name not in UNWRITTEN and not (element["id"] or "").startswith("sync"):
			self.server.transcript.sees(self.who, element)
		return element


class Recorder(Recorded, Player):
	"""A client of a situation."""
	plain = True

	def __init__(self, server, user, resource):
		self.who = f"{user}/{resource}@{server.host}"
		super().__init__(server, user, resource)


class Tls(xmpp.Tcp):
	"""TCP with TLS from the beginning."""

	def __init__(self, port):
		super().__init__(port)
		self.encrypt()

	def encrypt(self):
		context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
		context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
		self.sock.settimeout(xmpp.READ_TIMEOUT)
		self.sock = context.wrap_socket(self.sock)


class Synchronised(Recorded):
	"""A participant that sends a ping, and has received everything before it when the answer comes."""
	gone = quiet = False
	syncs = 0

	def sends(self, *elements):
		"""All participants have received the effects when this returns."""
		self.speaks(*elements)
		self.server.stage.settle(self)

	def speaks(self, *elements):
		self.server.transcript.sends("".join(elements))
		if isinstance(self.transport, xmpp.Tcp):
			self.raw("".join(elements).encode())
		elif all(">" in element for element in elements):
			self.transport.send(*elements)
		else:
			self.raw(b"".join(self.transport.frame(self.transport.TEXT, element.encode()) for element in elements))

	def raw(self, data):
		"""Bytes as they are; a connection that the server has closed is not an error."""
		self.server.stage.unread += len(data)
		try:
			self.transport.send_raw(data)
		except OSError:
			pass

	def asks_sync(self, host=None):
		self.syncs += 1
		sender = f" from='{self.jid}'" if isinstance(self.transport, xmpp.ComponentTransport) else ""
		try:
			self.transport.send(f"<iq type='get' id='sync{self.syncs}' to='{host or self.server.sync_host}'{sender}>"
				"<ping xmlns='urn:xmpp:ping'/></iq>")
		except (OSError, xmpp.Closed):
			pass

	def awaits_sync(self):
		try:
			while (element := self.next())["id"] != f"sync{self.syncs}":
				self.got.append(element)
		except xmpp.Closed as reason:
			self.server.transcript.notes(self.who, "broken XML" if "broken" in str(reason) else "closed")
			self.gone = True

	def takes(self):
		"""What it has got since the last call."""
		got, self.got = self.got, []
		return got


class Actor(Synchronised, Recorder):
	"""A client whose stanzas are not expected, only compared."""
	lost = ()

	def __init__(self, server, user, resource, way="tcp", host=None):
		self.way, self.got = way, []
		self.server, self.who = server, f"{user}/{resource}@{host or server.host}"
		port = {"tls": server.tls_port, "bosh": server.http_port, "websocket": server.http_port}.get(way, server.port)
		make = {"tls": Tls, "bosh": xmpp.Bosh, "websocket": xmpp.WebSocket}.get(way, xmpp.Tcp)
		xmpp.Client.__init__(self, make(port), user, bed.PASSWORD, host or server.host)
		if way == "starttls":
			self.starts_tls()
		self.login(resource)
		if way == "sm":
			self.enable()
		if isinstance(self.transport, xmpp.Tcp):
			server.transcript.sees(self.who, self.transport.parser.root)

	def next(self, timeout=xmpp.READ_TIMEOUT):
		element = super().next(timeout)
		if element.name == "r" and self.sm:
			self.ack()
		return element

	def starts_tls(self):
		self.transport.open(self.host)
		self.next()
		self.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
		assert self.next().name == "proceed"
		Tls.encrypt(self.transport)

	def online(self, payload=""):
		self.sends(f"<presence>{payload}</presence>")

	def says(self, to, body, kind="chat", more=""):
		self.sends(f"<message type='{kind}' to={xmpp.quoteattr(to)} id='c1'><body>{body}</body>{more}</message>")

	def asks(self, payload, answer="", to=None, kind="get"):
		to = f" to={xmpp.quoteattr(to)}" if to else ""
		self.sends(f"<iq type='{kind}' id='c2'{to}>{payload}</iq>")

	def sets(self, payload, answer="", to=None):
		self.asks(payload, to=to, kind="set")

	def sends_parts(self, *parts):
		"""The server has read each part, and done all that it does with it, before it gets the next."""
		self.server.transcript.sends("".join(part.decode(errors="replace") for part in parts))
		for part in parts:
			self.raw(part)
			self.server.stage.turns()

	def looks(self, last=False):
		"""Writes down what has arrived, without sending anything; `last`: the end is not news."""
		self.server.stage.turns()
		try:
			while True:
				self.got.append(self.next(0.001))
		except xmpp.Timeout:
			pass
		except xmpp.Closed:
			self.gone = True
			if not last:
				self.notes("closed")

	def notes(self, text):
		self.server.transcript.notes(self.who, text)

	def ends(self):
		"""All that comes until the server has closed the connection, or until it is closed here."""
		self.looks()
		if not self.gone:
			self.raw(b"</stream:stream>")
			self.looks(last=True)
		self.gone = True
		self.transport.disconnect()

	def finish(self):
		"""Closes the stream."""
		if not self.gone:
			self.gone = True
			try:
				self.acknowledges()
				ended = self.close()
			except (OSError, xmpp.Closed):
				return self.notes("closed")
			for element in ended:
				if element.name not in UNWRITTEN:
					self.server.transcript.sees(self.who, element)

	def acknowledges(self):
		"""The fate of unacknowledged stanzas is mod_smacks' own matter."""
		if self.sm:
			self.handled()
			self.ack()
			self.handled()

	def leaves(self):
		self.finish()
		self.server.stage.settle()


class Stranger(Actor):
	"""A connection without a login."""

	def __init__(self, server, number):  # pylint: disable=super-init-not-called
		self.server, self.who, self.got, self.way, self.quiet = server, f"stranger {number}", [], "tcp", True
		xmpp.Client.__init__(self, xmpp.Tcp(server.port), "", "", server.host)
		self.transport.parser = xmpp.Parser()
		self.transport.ready = self.transport.parser.ready

	def opens(self):
		self.open()
		self.server.transcript.sees(self.who, self.transport.parser.root)


class Link(Synchronised, bed.Component):
	"""The external component."""

	def __init__(self, server, jid):
		self.server, self.who, self.got = server, jid, []
		super().__init__(server, jid)

	def finish(self):
		pass


# --- servers ---

class Server(situations.SharedServer):
	"""A server of a stage, with its transcript."""

	def __init__(self, version, stock, watched, certificate, **settings):
		self.watched, self.certificate = watched, certificate
		self.log_level = "debug" if watched else "info"
		self.transcript, self.sync_host = None, settings.get("host", bed.HOST)
		self.tls = bed.Port()
		self.tls_port = self.tls.number
		components = {jid: self._watched(section) for jid, section in settings.pop("components").items()}
		super().__init__(version, stock, modules=[*(() if stock else ADDED), *(["test_probe"] if watched else [])],
			components=components, options={
				"plugin_paths": [*([] if stock else [bed.PROJECT / "lua"]), bed.TEST_MODULES, COMMUNITY],
				"c2s_direct_tls_ports": [self.tls_port],
				"ssl": {"certificate": certificate.file, "key": certificate.key}}, **settings)

	def start(self):
		super().start()
		self.assert_loaded()

	def assert_loaded(self):
		"""The modules are ours, or Prosody's, on every host that has them."""
		loaded = {}
		for entry in self.lua(LOADED).split():
			name, path = entry.split("=", 1)
			loaded.setdefault(name, set()).add(path.startswith(f"{bed.PROJECT}/lua/mod_{name}/"))
		found = {name: loaded.get(name) for name in OURS}
		absent = {*ADDED, "storage_native"}
		assert found == {name: (None if name in absent else {False}) if self.stock_smacks else {True} for name in OURS}, loaded

	def _watched(self, section):
		modules = [*section.get("modules_enabled", []), *(["test_probe"] if self.watched else [])]
		return {**section, "modules_enabled": modules}

	def _config(self):
		self.options["test_probe_file"] = self.directory / "probe"
		if self.host != bed.HOST:
			return super()._config()
		return super()._config() + f"VirtualHost {bed.lua(OTHER)}\nmodules_enabled = {{ \"tls\" }}\n" \
			"modules_disabled = { \"s2s\" }\n"

	def player(self, user, resource=None):
		self.players.append(Recorder(self, user, resource))
		return self.players[-1]

	def probe(self):
		"""What the watching module has written since the last call, by group."""
		if not self.watched:
			return
		self.lua("require 'core.modulemanager'.get_module('*', 'test_probe').flush()")
		if not hasattr(self, "probe_file"):
			self.probe_file = open(self.directory / "probe", errors="replace")  # pylint: disable=consider-using-with
		for line in self.probe_file:
			group, _, text = line.rstrip("\n").partition("\t")
			self.transcript.dumps(group, text)

	def errors(self):
		"""Errors that were logged since the last call are compared, too."""
		lines = self.log()[self.mark:]
		self.mark += len(lines)
		for line in re.findall(r"[^\n]*(?:\terror\t|Traceback)[^\n]*", lines):
			self.transcript.notes(f"log of {self.host}", re.sub("[0-9a-f]{8,}", "{id}", line.rpartition("\t")[2]))

	def discard(self):
		super().discard()
		self.tls.socket.close()


class Stage:
	"""The servers of one kind: .near, and .far once a scene has a participant there."""

	def __init__(self, version, stock, watched, certificate):
		self.version, self.stock, self.watched, self.certificate = version, stock, watched, certificate
		port, far_port = bed.Port(), bed.Port()
		self.peers = {**{host: port.number for host in NEAR_HOSTS}, FAR: far_port.number, FAR_ROOMS: far_port.number}
		self.far_port, self.far, self.unread = far_port, None, 0
		components = {**situations.COMPONENTS, LINK: {"component_secret": bed.PASSWORD}}
		self.near = Server(version, stock, watched, certificate, components=components, s2s_peers=self.peers, s2s_port=port)
		self.near.stage = self
		self.actors, self.link = [], None

	def _start_far(self):
		components = {FAR_ROOMS: {"component_module": "muc", "modules_enabled": ["muc_mam"]}}
		self.far = Server(self.version, self.stock, self.watched, self.certificate, host=FAR, components=components,
			s2s_peers=self.peers, s2s_port=self.far_port)
		self.far.stage, self.far.transcript = self, self.transcript

	def servers(self):
		return [server for server in (self.near, self.far) if server]

	def begin(self, accounts):
		"""Before a scene. Both stages have to number their accounts alike."""
		volatile = [(str(server.directory), "{directory}") for server in self.servers()]
		for server in self.servers():
			volatile += [(f":{port.number}", ":{port}") for port in (*server.ports, server.tls)]
		for server in self.servers():
			server.transcript = None
		transcript = Transcript(volatile)
		for server in self.servers():
			server.transcript = transcript
			server.accounts = accounts
		self.transcript, self.actors, self.uses_far = transcript, [], False

	# --- the cast ---

	def cast(self, names):
		users = {"admin": (self.near, situations.ADMIN, None)}
		for name in names:
			account, _, resource = name.partition("_")
			if name == "stage":
				yield self
			elif name == "link":
				self.link = self.link or Link(self.near, LINK)
				self.link.server.transcript = self.transcript
				self.actors.append(self.link)
				yield self.link
			else:
				if account in ("other", "far"):
					account, _, resource = resource.partition("_")
					users[account] = users.get(account) or self._account(name.partition("_")[0], account)
				users[account] = users.get(account) or self._account("near", account)
				server, user, host = users[account]
				self.actors.append(Actor(server, user, resource or "desk", resource, host))
				server.players.append(self.actors[-1])
				yield self.actors[-1]

	def again(self, client, resource):
		"""Another client of an account, over the same kind of connection."""
		self.actors.append(Actor(client.server, client.user, resource, client.way, client.host))
		client.server.players.append(self.actors[-1])
		return self.actors[-1]

	def stranger(self):
		self.actors.append(Stranger(self.near, len(self.actors)))
		self.near.players.append(self.actors[-1])
		return self.actors[-1]

	def _account(self, place, name):
		if place == "near":
			return self.near, self.near.account(name), None
		if place == "far":
			if not self.far:
				self._start_far()
				self.far.transcript = self.transcript
				self.far.accounts = self.near.accounts + 100
			self.uses_far = True
			return self.far, self.far.account(name), None
		user = self.near.account(name)
		self.near.lua(f"assert(require 'core.usermanager'.create_user({bed.lua(user)}, {bed.lua(bed.PASSWORD)}, {bed.lua(OTHER)}))")
		return self.near, user, OTHER

	# --- waiting ---

	def settle(self, first=None):
		"""Everybody has received everything: first the effects at the server of the sender, then at the other one."""
		if first and not first.gone and not first.quiet:
			self.sync([first])
		if not first or first.quiet or first.gone:
			self.turns()
		if self.uses_far:
			for hosts in zip((FAR, FAR_ROOMS) * 2, (bed.HOST, situations.ROOMS) * 2):  # a pair of hosts has streams of its own
				self.sync(self.actors, hosts)
		self.sync(self.actors)

	@staticmethod
	def sync(actors, hosts=None):
		"""Answers of the actors' own server, or of one of the hosts, which is on the other one."""
		present = [actor for actor in actors if not actor.gone and not actor.quiet]
		for actor in present:
			actor.asks_sync(hosts and hosts[actor.server.host == FAR])
		for actor in present:
			actor.awaits_sync()

	def turns(self):
		"""The servers have read and answered what had been sent to them."""
		rounds, self.unread = ROUNDS + self.unread // CHUNK, 0
		for server in self.servers():
			for _ in range(rounds):
				server.lua("true")

	# --- the end of a scene ---

	def finish(self):
		for actor in self.actors:
			actor.finish()
			self.turns()
		self.actors = []
		for server in self.servers():
			for player in server.players:
				if not isinstance(player, Actor):
					player.finish()
			while server.players:
				leave(server.players.pop())
		self.turns()
		for server in self.servers():
			server.probe()
			server.errors()

	def stop(self):
		for server in self.servers():
			server.stop()

	def discard(self):
		for server in self.servers():
			server.discard()
		self.far_port.socket.close()


def leave(player):
	"""Closes a stream without unacknowledged stanzas, whose fate is mod_smacks' own matter."""
	if getattr(player, "gone", False):
		return player.transport.disconnect()
	player.handled()
	player.ack()
	player.handled()
	return player.close()


class Pair:
	"""Stock and ours, for one scene, with the interface that suite.Test expects of a server."""
	stages = key = None

	def __init__(self, version, watched, group, stock):
		if Pair.key != (version, watched, group, stock):
			self._open(version, watched, stock)
			Pair.key = (version, watched, group, stock)
		self.version, self.watched = version, watched

	@staticmethod
	def _open(version, watched, stock):
		Pair.close()
		multiprocessing.util.Finalize(Pair, Pair.close, exitpriority=0)  # at the end of the process
		folder = bed.BUILD / "bed"
		folder.mkdir(parents=True, exist_ok=True)
		certificate = authority.self_signed(folder, f"same-{os.getpid()}-{version}-{watched}", [f"DNS:{bed.HOST}", f"DNS:{OTHER}"])
		Pair.stages = [Stage(version, True, watched, certificate), Stage(version, stock, watched, certificate)]

	@staticmethod
	def close():
		for stage in Pair.stages or []:
			stage.stop()
		Pair.stages = Pair.key = None

	def play(self, name, function, names, situation=False):
		accounts = max(server.accounts for stage in self.stages for server in stage.servers())
		for stage in self.stages:
			stage.begin(accounts)
			function(*(stage.near if situation else stage).cast(names))
			stage.finish()
		found = differences(*(stage.transcript for stage in self.stages))
		meant = same_meant.Meant(OURS if not self.stages[1].stock else (), self.version, name, self.watched)
		wrong = [each for each in found if not meant.covers(*each)]
		assert not wrong, report(wrong)
		assert not meant.needed, f"these rows of same_meant.py explain nothing: {meant.needed}"

	def log(self):
		return "".join(f"--- {'stock' if stage.stock else 'ours'} {server.host}\n{server.log()[-2000:]}"
			for stage in self.stages for server in stage.servers())

	def finish(self):
		pass

	def discard(self):
		"""After a failure the next scene begins with new servers."""
		if any(server.players for stage in self.stages for server in stage.servers()):
			for stage in self.stages:
				stage.discard()
			Pair.stages = Pair.key = None


def report(wrong):
	"""The first differences, each from a little before the place where it begins."""
	lines = [f"{len(wrong)} differences that nobody meant:"]
	for who, stock, ours in wrong[:SHOWN]:
		begin = max(len(os.path.commonprefix([*stock[:1], *ours[:1]])) - 100, 0) if stock and ours else 0
		lines += [f"{who}:", *(f"  - {text[begin:begin + 500]}" for text in stock[:3]), *(f"  + {text[begin:begin + 500]}" for text in ours[:3])]
	return "\n".join(lines)


# --- registration ---

def chosen(versions, name, watched):
	"""Watching costs most: a scene is watched on one version, and with SOAK on all."""
	if not watched or suite.SOAK:
		return versions
	return [versions[(zlib.crc32(name.encode()) + suite.SEED) % len(versions)]]


def register(name, function, names, versions=None, situation=False, watch=True, group="", **settings):
	"""Scenes of the same group share their servers."""
	for watched in (False, True) if watch else (False,):
		title = f"same: {name}" + (", watched by a module" if watched else "")
		for version in chosen(versions or bed.VERSIONS, name, watched):
			if version in bed.VERSIONS:
				suite.tests.append(suite.Test(title, functools.partial(Pair.play, name=name, function=function, names=names,
					situation=situation), version, functools.partial(Pair, version, watched, group), together=f"same {version} {watched} {group}",
					time_limit=TIME_LIMIT, **settings))


def same(name, versions=None, **settings):
	def decorate(function):
		register(name, function, cast_of(function), versions, **settings)
		return function
	return decorate
