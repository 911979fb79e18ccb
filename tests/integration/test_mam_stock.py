"""The same requests and messages to Prosody's own mod_mam and to ours: what clients see is the same, ids and stamps aside.

The differences that are meant are listed in the README of mod_mam, and tested in test_mam.py."""
import difflib
import random
import re

import bed
import suite
from mam import DRIVERS, FORM, HINTS, MAM, RSM, STANZA_ID, Entry, element, fill, form
from steps import stamp
from suite import on_versions
from xmpp import DELAY

STATES = "http://jabber.org/protocol/chatstates"


class Pair:
	"""Two servers with the same configuration: one with Prosody's own module, and one with ours."""

	def __init__(self, version, stock_smacks, **settings):
		self.stock = self.ours = None
		options = settings.pop("options")
		self.stock = bed.Prosody(version, options={**options, "mam_native": False}, stock_smacks=stock_smacks, **settings)
		self.ours = bed.Prosody(version, options=options, stock_smacks=stock_smacks, **settings)

	def both(self):
		return (self.stock, self.ours)

	def finish(self):
		for server in self.both():
			server.finish()

	def discard(self):
		for server in filter(None, self.both()):
			server.discard()

	def log(self):
		return self.ours.log() if self.ours else self.stock.log()


def compared(name, over=DRIVERS, modules=(), **options):
	"""Runs a function with each server, and compares what it returns."""
	def register(function):
		def test(pair):
			seen = [Normal(function(server)) for server in pair.both()]
			lines = [n.text.split("\n") for n in seen]
			assert lines[0] == lines[1], "\n".join(difflib.unified_diff(*lines, "stock", "ours", lineterm="", n=1))
		for driver in over:
			def make(version, stock_smacks, driver=driver):
				return Pair(version, stock_smacks, modules=["mam", *modules], options={**DRIVERS[driver], **options})
			on_versions(f"mam beside stock: {name}, storage {driver}", make)(test)
		return function
	return register


class Normal:
	"""Elements as text: ids of archives become numbers in the order of their first appearance, times are left out."""

	def __init__(self, elements):
		self.known = {}
		self.text = "\n".join(self.show(e) for e in elements)

	def number(self, ident):
		return self.known.setdefault(ident, f"#{len(self.known)}")

	def attribute(self, e, name, value):
		if name in ("stamp", "timestamp"):
			return "time"
		if name == "id" and e.name in ("result", "stanza-id", "start", "end"):
			return self.number(value)
		return re.sub(r"/[\w-]{6,}$", "/resource", value)

	def show(self, e):
		if not hasattr(e, "attr"):
			return str(e)
		attr = " ".join(f"{name}={self.attribute(e, name, value)}" for name, value in sorted(e.attr.items()))
		text = self.number(e.text) if e.name in ("first", "last") else e.text
		children = [self.show(c) for c in e.children]
		if e.name in ("set", "always", "never", "error"):
			children.sort()  # their order differs from one process to the next
		if e.name == "error":
			text, children = "", [c for c in children if not c.startswith("<text")]
		return f"<{e.name} {e.xmlns} {attr}>{text}{''.join(children)}</>"


def read(client):
	"""All that the client gets until the answer to a ping."""
	client.ping()
	seen = list(client.unread)
	client.unread.clear()
	return seen


def ask(client, payload, kind="set"):
	"""The answer to an iq, and all results before it."""
	client.send(f"<iq type='{kind}' id='q'>{payload}</iq>")
	seen = []
	while not seen or seen[-1].name != "iq":
		seen.append(client.stanza())
	return seen


def mam_query(client, fields=None, rsm="", flip=False, queryid=" queryid='f27'"):
	payload = form(fields) if fields is not None else ""
	payload += f"<set xmlns='{RSM}'>{rsm}</set>" * bool(rsm) + "<flip-page/>" * flip
	return ask(client, f"<query xmlns='{MAM}'{queryid}>{payload}</query>")


def conversation(server):
	"""Alice and bob, who have said ten things each."""
	alice, bob = (server.authenticated(server.account(n)).bind("resource") for n in ("alice", "bob"))
	for n in range(10):
		alice.chat(bob.bare_jid if n % 2 else bob.jid, f"to {n}")
		read(alice)  # the server has handled it
		bob.chat(alice.jid, f"fro {n} <&> \u00e4", payload=f"<x xmlns='y' z='{n}'><b/>t</x>")
		read(bob)
	for client in (alice, bob):
		read(client)
	return alice, bob


@compared("pages of every kind")
def pages(server):
	alice, bob = conversation(server)
	seen = []
	for rsm in ("", "<max>3</max>", "<max>3</max><before/>", "<before/>", "<max>20</max>", "<max>19</max>", "<max>1000</max>"):
		for flip in (False, True):
			seen += mam_query(alice, rsm=rsm, flip=flip)
	for fields in ({}, {"with": bob.bare_jid}, {"with": "nobody@prosody.test"}, {"start": "2020-01-01T00:00:00Z"},
			{"end": "2020-01-01T00:00:00Z"}, {"start": "2020-01-01T00:00:00Z", "end": "2099-01-01T00:00:00Z", "with": bob.bare_jid}):
		seen += mam_query(alice, fields, "<max>4</max>") + mam_query(alice, fields, "<max>4</max><before/>")
	return seen + mam_query(alice, queryid="") + mam_query(bob)


@compared("pages before and after messages, windows, and lists of ids")
def windows(server):
	alice, _ = conversation(server)
	everything = [e.child("result")["id"] for e in mam_query(alice, rsm="<max>50</max>")[:-1]]
	seen = []
	for n in (0, 1, 9, 18, 19):
		for name in ("before", "after"):
			seen += mam_query(alice, rsm=f"<max>5</max><{name}>{everything[n]}</{name}>")
			seen += mam_query(alice, {f"{name}-id": everything[n]}, "<max>5</max>")
	seen += mam_query(alice, {"after-id": everything[3], "before-id": everything[8]}, "<max>10</max>")
	seen += mam_query(alice, {"ids": [everything[4], everything[2]]})
	return seen


@compared("generated queries of an archive")
def generated_queries(server):
	choose = random.Random(suite.SEED)
	alice = server.authenticated(server.account("alice")).bind("resource")
	contacts = ["bob@prosody.test", "carol@other.example", "prosody.test"]
	sent = fill(server, alice.user, [Entry(str(n), 1700000000 + n * n, choose.choice(contacts)) for n in range(40)])
	seen = []
	for _ in range(suite.tries(60, 600)):
		fields, rsm, message = {}, {"max": choose.choice((1, 2, 7, 20, 39, 40, 41, 60))}, lambda: choose.choice(sent)
		if choose.random() < 0.3:
			fields["with"] = choose.choice([*contacts, "nobody@prosody.test"])
		for name in ("start", "end"):
			if choose.random() < 0.3:
				fields[name] = stamp(message().when + choose.choice((-1, 0, 1)))
		bound = choose.choice(("none", "none", "after", "before", "last page", "after-id", "before-id"))
		if bound == "last page":
			rsm["before"] = ""
		elif bound.endswith("-id"):
			fields[bound] = message().id
		elif bound != "none":
			rsm[bound] = message().id
		seen += mam_query(alice, fields, "".join(element(*item) for item in rsm.items()), flip=choose.random() < 0.3)
	return seen


@compared("errors that both know")
def errors(server):
	alice, _ = conversation(server)
	seen = []
	for payload in (f"<x xmlns='{FORM}' type='submit'/>", form({"with": "@"}), form({"start": "x"}), form({"end": "2020"})):
		seen += ask(alice, f"<query xmlns='{MAM}'>{payload}</query>")
	return seen


@compared("metadata and preferences")
def metadata_and_preferences(server):
	alice = server.authenticated(server.account("alice")).bind("resource")
	seen = ask(alice, f"<metadata xmlns='{MAM}'/>", "get") + ask(alice, f"<prefs xmlns='{MAM}'/>", "get")
	alice, bob = conversation(server)
	seen += ask(alice, f"<metadata xmlns='{MAM}'/>", "get")
	for default in ("always", "never", "roster"):
		lists = f"<always><jid>{bob.bare_jid}</jid><jid>B@c</jid></always><never><jid>d@e/f</jid></never>"
		seen += ask(alice, f"<prefs xmlns='{MAM}' default='{default}'>{lists}</prefs>")
		seen += ask(alice, f"<prefs xmlns='{MAM}' default='{default}'/>")
		bob.chat(alice.jid, default)
		read(bob)
		seen += read(alice) + mam_query(alice, rsm="<max>50</max>") + ask(alice, f"<prefs xmlns='{MAM}'/>", "get")
	return seen


PAYLOADS = ("", "<body>x</body>", "<subject>x</subject>", "<body/>", f"<body>x</body><active xmlns='{STATES}'/>", f"<active xmlns='{STATES}'/>",
	f"<body>x</body><no-store xmlns='{HINTS}'/>", f"<body>x</body><no-permanent-store xmlns='{HINTS}'/>", f"<store xmlns='{HINTS}'/>",
	f"<store xmlns='{HINTS}'/><active xmlns='{STATES}'/>", f"<body>x</body><no-copy xmlns='{HINTS}'/>",
	"<encryption xmlns='urn:xmpp:eme:0'/>", "<request xmlns='urn:xmpp:receipts'/>", "<markable xmlns='urn:xmpp:chat-markers:0'/>",
	"<x xmlns='jabber:x:conference'/>", "<x xmlns='http://jabber.org/protocol/muc#user'><invite/></x>",
	"<x xmlns='http://jabber.org/protocol/muc#user'/>", "<propose xmlns='urn:xmpp:jingle-message:0'/>", "<z xmlns='y'>t<w/>u</z>",
	"<body xml:lang='de'>x</body>text<body>y</body>", "<body xmlns='y'>x</body>", "<body>x</body><private xmlns='urn:xmpp:carbons:2'/>",
	f"<body>x</body><stanza-id xmlns='{STANZA_ID}' by='other@host' id='1'/>", f"<body>x</body><delay xmlns='{DELAY}' stamp='x'/>",
	"<body>x</body><y:q xmlns:y='urn:y' y:a='1'/>", "<body><![CDATA[<x>]]></body>")


@compared("messages of every kind: recipients, carbon copies, archives of both sides", over=("native", "internal"))
def messages(server):
	alice, bob = (server.authenticated(server.account(n)).bind("resource") for n in ("alice", "bob"))
	desks = [server.authenticated(c.user).bind("desktop") for c in (alice, bob)]
	for client in (bob, *desks):
		client.send("<presence/>")
	for client in (alice, bob, *desks):
		client.ask("<enable xmlns='urn:xmpp:carbons:2'/>", "set")
		read(client)
	seen = []
	for kind in ("", "normal", "chat", "headline", "groupchat", "error"):
		for to in (bob.bare_jid, bob.jid, f"{bob.bare_jid}/away", "nobody@prosody.test", "prosody.test"):
			for n, payload in enumerate(PAYLOADS):
				kind_of = f" type='{kind}'" if kind else ""
				alice.send(f"<message id='{n}' to='{to}'{kind_of}>{payload}</message>")
			for client in (alice, bob, *desks):
				seen += sorted(read(client), key=lambda e: Normal([e]).text if e.name == "presence" else "")
	for client in (alice, bob):
		seen += [element("archive", "of"), client.user] + everything_of(client)
	return seen


def everything_of(client):
	seen, rsm = [], "<max>50</max>"
	while True:
		page = mam_query(client, rsm=rsm)
		seen += page
		fin = page[-1].child("fin")
		if fin["complete"]:
			return seen
		rsm = f"<max>50</max><after>{fin.find('set', 'last').text}</after>"


@compared("offline messages of a client that reads the archive after its presence")
def offline(server):
	alice, bob = conversation(server)
	alice.close()
	server.wait_gone(alice)
	for n in range(3):
		bob.chat(alice.bare_jid, f"offline {n}")
	read(bob)
	again = server.authenticated(alice.user).bind("resource")
	again.send("<presence/>")
	return read(again) + mam_query(again, rsm="<max>50</max>")


@compared("a small archive", storage_archive_item_limit=10)
def a_small_archive(server):
	alice, bob = conversation(server)
	return mam_query(alice, rsm="<max>50</max>") + mam_query(bob, rsm="<max>50</max>")


@compared("options of archiving", dont_archive_namespaces=["y"], default_archive_policy="roster", max_archive_query_results=7)
def options(server):
	alice, bob = conversation(server)
	alice.ask(f"<query xmlns='jabber:iq:roster'><item jid='{bob.bare_jid}'/></query>", "set")
	for payload in ("", "<x xmlns='y'/>"):
		bob.send(f"<message to='{alice.jid}'>{payload}<store xmlns='{HINTS}'/></message>")
	bob.chat(alice.jid, "kept", payload="<x xmlns='y'/>")
	read(bob)
	read(alice)
	return mam_query(alice, rsm="<max>50</max>") + mam_query(bob)
