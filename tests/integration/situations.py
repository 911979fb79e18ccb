"""Situations: exchanges of stanzas between clients whose connections are cut and resumed at each step (XEP-0198, 5).

	@situation("a message reaches its recipient")
	def _(alice, bob):
		alice.sends(f"<message to='{bob.jid}'><body>hello</body></message>")
		bob.gets(f"<message from='{alice.jid}'><body>hello</body></message>")

Each parameter is a client with an account of its own; `alice_phone` is a further client of alice's account. A step sends a
stanza or reads one. Right behind a stanza the connection is reset: the client resumes, and sends it again if the server has not
read it. Before a client reads, it receives all pending stanzas without counting them, and loses the connection: after the
resumption they come again, and have to be equal. After every third step the client hibernates until its next one.

All situations of a version run on one server. Environment variables: with PLAIN no connection is cut; STORAGE names the storage
(native); OVER lists the transports of resumptions, which take turns (tcp, websocket, and also bosh).
"""
import collections
import functools
import inspect
import itertools
import multiprocessing.util
import os

import bed
import suite
import xmpp
from xmpp import STANZA_ERRORS

PLAIN = "PLAIN" in os.environ
STORAGE = os.environ.get("STORAGE", "native")
OVER = os.environ.get("OVER", "tcp websocket").split()
ROOMS, NODES, FILES = "rooms.prosody.test", "nodes.prosody.test", "files.prosody.test"
ADMIN = "admin1"  # the server's first account
ANY = "*"
DELAY = f"<delay xmlns='urn:xmpp:delay' from='{bed.HOST}' stamp='{ANY}'/>"

MODULES = ["adhoc", "announce", "blocklist", "bookmarks", "csi", "csi_simple", "external_services", "invites", "invites_adhoc",
	"lastactivity", "mam", "pep", "private", "register_ibr", "server_contact_info", "time", "tombstones",
	"uptime", "user_account_management", "vcard4", "vcard_legacy", "version"]
OPTIONS = {
	"admins": [f"{ADMIN}@{bed.HOST}"],
	"bosh_max_inactivity": 60,
	"bounce_blocked_messages": True,
	"contact_info": {"abuse": ["mailto:abuse@prosody.test"], "support": ["https://prosody.test/help", "xmpp:help@prosody.test"]},
	"external_service_host": "relay.prosody.test",
	"external_service_secret": "secret",
	"external_services": [
		{"type": "stun", "transport": "udp", "port": 3478},
		{"type": "turn", "transport": "udp", "secret": True},
		{"type": "ftp", "transport": "tcp", "port": 2121, "username": "john", "password": "pass"}],
	"hide_os_type": True,
}
COMPONENTS = {
	ROOMS: {"component_module": "muc", "admins": [f"{ADMIN}@{bed.HOST}"], "modules_enabled": ["muc_mam"]},
	NODES: {"component_module": "pubsub", "admins": [f"{ADMIN}@{bed.HOST}"], "expose_publisher": True},
	FILES: {"component_module": "http_file_share", "http_file_share_size_limit": 10000,
		"http_file_share_allowed_file_types": ["text/plain", "image/*"]},
}


# --- comparing stanzas ---

def parse(text):
	"""A stanza written as text, as an Element."""
	parser = xmpp.Parser()
	parser.feed(f"<stream xmlns='{xmpp.CLIENT}'>{text}</stream>".encode())
	assert len(parser.ready) == 1, text
	return parser.ready[0]


def matches(element, template):
	"""It has the attributes, the text and, in this order, the children of the template; ANY in a template is any value."""
	if (element.name, element.xmlns) != (template.name, template.xmlns):
		return False
	if any(value not in (ANY, element[name]) or element[name] is None for name, value in template.attr.items()):
		return False
	if template.text.strip() not in ("", ANY, element.text.strip()):
		return False
	children = iter(element.children)
	return all(any(matches(child, wanted) for child in children) for wanted in template.children)


def is_expected(stanza, template):
	"""Also, a template without a type matches no stanza with one."""
	return matches(stanza, template) and (stanza["type"] is None or template["type"] is not None)


def content(element, without=None):
	"""An element in a form that can be compared, without its children of a name."""
	children = [content(child) for child in element.children if child.name != without]
	return element.name, element.xmlns, sorted(element.attr.items()), element.text, children


def error(condition, kind=ANY):
	return f"<error type='{kind}'><{condition} xmlns='{STANZA_ERRORS}'/></error>"


# --- the clients ---

class Player(xmpp.Client):
	"""A client that keeps unacknowledged stanzas, and whose connection is cut at each step unless it is `plain`."""
	plain = PLAIN

	def __init__(self, server, user, resource):
		super().__init__(xmpp.Tcp(server.port), user, bed.PASSWORD, server.host)
		self.server = server
		self.transports = itertools.cycle(["tcp"] if server.stock_smacks else OVER)  # the stock module resumes on the same only
		self.unacked, self.acked = collections.deque(), 0  # stanzas sent and not acknowledged; how many were acknowledged
		self.lost = collections.deque()  # stanzas received over a former connection, and not counted
		self.away, self.steps, self.idents = False, 0, itertools.count(1)
		self.login(resource)
		self.enable()

	def sends(self, *stanzas):
		"""The server has handled them when this returns."""
		self._returns()
		self.unacked.extend(stanzas)
		self.send(*stanzas)
		if self._leaves_after():
			self._acknowledged(self.handled())
			self._goes()
		elif not self.plain:
			self._goes()
			self._returns()
		if self.unacked:
			self._acknowledged(self.handled())
		assert not self.unacked, self.unacked

	def reads(self):
		"""The next stanza."""
		if not self.away and not self.plain:
			self._loses()
			self._goes()
		self._returns()
		stanza = self.stanza()
		if self._leaves_after():
			self._goes()
		return stanza

	def delivers(self, stanza):
		"""The server has handled it before the connection is cut."""
		self._returns()
		self.unacked.append(stanza)
		self.send(stanza)
		self._acknowledged(self.handled())

	def signals(self, element):
		"""Sends an element that is not a stanza: it is not sent again."""
		self._returns()
		self.send(element)
		self.handled()

	def gets(self, *templates):
		"""The next stanzas are these; returns the last of them."""
		stanza = None
		for template in map(parse, templates):
			stanza = self.reads()
			if not is_expected(stanza, template):
				self._returns()
				self.handled()
				raise AssertionError(f"{self.jid} got {stanza}, not {template}; then {list(self.unread)}")
		return stanza

	def iq(self, kind, payload, to=None):
		"""Sends a request; `result` and `refused` expect its answer."""
		self.ident = f"iq{next(self.idents)}"
		to = f" to={xmpp.quoteattr(to)}" if to else ""
		self.sends(f"<iq type='{kind}' id='{self.ident}'{to}>{payload}</iq>")

	def result(self, payload=""):
		"""The next stanza is the result of the last request; returns its payload, if it has one."""
		answer = self.gets(f"<iq type='result' id='{self.ident}'>{payload}</iq>")
		return answer.children[0] if answer.children else None

	def refused(self, condition, kind=ANY):
		"""The next stanza is an error in answer to the last request; returns the error."""
		return self.gets(f"<iq type='error' id='{self.ident}'>{error(condition, kind)}</iq>").child("error")

	def asks(self, payload, answer="", to=None):
		self.iq("get", payload, to)
		return self.result(answer)

	def sets(self, payload, answer="", to=None):
		self.iq("set", payload, to)
		return self.result(answer)

	def online(self, payload=""):
		"""Sends initial presence, and gets its echo."""
		self.sends(f"<presence>{payload}</presence>")
		self.gets(f"<presence from='{self.jid}'>{payload}</presence>")

	def says(self, to, body, kind="chat", more=""):
		self.sends(f"<message type='{kind}' to={xmpp.quoteattr(to)} id='{next(self.idents)}'><body>{body}</body>{more}</message>")

	def hears(self, sender, body, kind="chat", more=""):
		return self.gets(f"<message type='{kind}' from={xmpp.quoteattr(sender)}><body>{body}</body>{more}</message>")

	def gets_nothing(self):
		"""The answer to a ping is the next stanza."""
		self.asks("<ping xmlns='urn:xmpp:ping'/>", to=self.host)

	def again(self, resource="again"):
		"""Another client of the account."""
		return self.server.player(self.user, resource)

	# --- connections ---

	def _leaves_after(self):
		"""After every third step the client hibernates until its next one."""
		self.steps += 1
		return self.steps % 3 == 0 and not self.plain

	def _goes(self):
		self.cut()
		self.away = True

	def _returns(self):
		"""Resumes the session over a new connection, and sends the stanzas again that the server has not counted."""
		if not self.away:
			return
		fresh = self.server.connect(self.user, next(self.transports))
		fresh.password = self.password
		fresh.open()
		fresh.authenticate()
		resumed = fresh.try_resume(self, self.h)
		assert resumed.name == "resumed" and resumed["previd"] == self.id, resumed
		self.transport, self.away = fresh.transport, False
		self._acknowledged(int(resumed["h"]))
		if self.unacked:
			self.send(*self.unacked)

	def _acknowledged(self, h):
		assert self.acked <= h <= self.acked + len(self.unacked), (h, self.acked, self.unacked)
		while self.acked < h:
			self.unacked.popleft()
			self.acked += 1

	def _loses(self):
		"""Receives all stanzas that the server has sent, without counting them."""
		self.send(f"<r xmlns='{self.sm}'/>")
		self.lost.clear()
		while (element := self.transport.receive()).name != "a":
			if element.is_stanza:
				self.lost.append(element)

	def next(self, timeout=xmpp.READ_TIMEOUT):
		"""Lost stanzas come again, equal but for an added delay."""
		kept = bool(self.unread)
		element = super().next(timeout)
		if element.is_stanza and self.lost and not kept:
			first = self.lost.popleft()
			assert content(first) in (content(element), content(element, without="delay")), (first, element)
		return element

	# --- leaving ---

	def finish(self):
		"""No further stanza has come, and the counters of both sides agree."""
		self._returns()
		self.nothing_more()
		self.ack()
		self.nothing_more()
		queue = "s.outgoing_stanza_queue"
		counts = self.server.session(self, f"s.handled_stanza_count..' '..{queue}:count_acked()..' '..{queue}:count_unacked()")
		assert [int(float(n)) for n in counts.split()] == [self.acked, self.h, 0], (counts, self.acked, self.h)

	def leaves(self):
		"""Closes the stream."""
		self.finish()
		self.close()
		self.server.players.remove(self)


# --- contacts ---

def befriend(alice, bob):
	"""Makes them contacts with a subscription in both directions."""
	set_contact(alice, bob, "both")
	set_contact(bob, alice, "both")


def set_contact(owner, contact, subscription, ask=None, requested=False):
	"""Writes a roster item, without any stanza; `requested`: the contact's request is pending."""
	owner.server.lua(f"""
		local rostermanager = require "core.rostermanager";
		local roster = rostermanager.load_roster({bed.lua(owner.user)}, {bed.lua(owner.host)});
		local contact = {bed.lua(contact.bare_jid)};
		if {bed.lua(bool(subscription))} then
			roster[contact] = {{ subscription = {bed.lua(subscription)}, ask = {bed.lua(ask) if ask else "nil"}, groups = {{}} }};
		end
		roster[false].pending[contact] = {"true" if requested else "nil"};
		assert(rostermanager.save_roster({bed.lua(owner.user)}, {bed.lua(owner.host)}, roster));""")


def both_online(alice, bob):
	"""Contacts, each with the presence of the other."""
	befriend(alice, bob)
	alice.online()
	alice.gets(f"<presence type='unavailable' from='{bob.bare_jid}'/>")
	bob.online()
	alice.gets(f"<presence from='{bob.jid}'/>")
	bob.gets(f"<presence from='{alice.jid}'/>")


# --- the shared server ---

class SharedServer(bed.Prosody):
	"""A server, with the clients of the situation that runs."""

	def __init__(self, version, stock_smacks, modules=(), options=None, components=None, **settings):
		self.players = []
		modules = [*MODULES, *(["account_activity", "flags"] if version == "13.0" else []), *modules]
		options = {**OPTIONS, "storage": "internal" if stock_smacks else STORAGE, **(options or {})}  # stock: not our modules
		super().__init__(version, modules=modules, options=options, components=components or COMPONENTS,
			stock_smacks=stock_smacks, **settings)
		assert self.account("admin") == ADMIN

	def player(self, user, resource=None):
		self.players.append(Player(self, user, resource))
		return self.players[-1]

	def cast(self, names):
		"""A client for each name."""
		users = {"admin": ADMIN}
		for name in names:
			account, _, resource = name.partition("_")
			users[account] = users.get(account) or self.account(account)
			yield self.player(users[account], resource or "desk")


class Borrowed:
	"""The shared server for one situation, with the interface that suite.Test expects of a server."""
	server = key = None

	def __init__(self, version, stock_smacks):
		if Borrowed.key != (version, stock_smacks):
			self._open(version, stock_smacks)
		self.log = self.server.log

	@staticmethod
	def _open(version, stock_smacks):
		Borrowed.close()
		multiprocessing.util.Finalize(Borrowed, Borrowed.close, exitpriority=0)  # at the end of the process
		Borrowed.server, Borrowed.key = SharedServer(version, stock_smacks), (version, stock_smacks)

	@staticmethod
	def close():
		if Borrowed.server:
			Borrowed.server.stop()
		Borrowed.server = Borrowed.key = None

	def finish(self):
		players = self.server.players
		for player in players:
			player.finish()
		while players:
			players.pop().close()
		self.server.assert_no_traceback()

	def discard(self):
		for player in self.server.players:
			player.transport.disconnect()
		self.server.players.clear()
		self.server.close_clients()
		self.server.mark = len(self.server.log())


situations = []  # (name, function, versions)


def cast_of(function):
	"""The names of the clients that a situation needs."""
	parameters = inspect.signature(function).parameters.values()
	return [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]


def situation(name, versions=None):
	def register(function):
		names = cast_of(function)
		situations.append((name, function, versions or bed.VERSIONS))

		def play(borrowed):
			function(*borrowed.server.cast(names))
		title = f"situation: {name}" if PLAIN else f"situation: {name}, cut at each step"
		for version in versions or bed.VERSIONS:
			if version in bed.VERSIONS:
				suite.tests.append(suite.Test(title, play, version, functools.partial(Borrowed, version),
					together=f"situations {version}"))
		return function
	return register
