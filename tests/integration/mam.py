"""XEP-0313 as a client speaks it, and archives with known content."""
import os

import bed
import xmpp
from suite import behaviour

MAM = "urn:xmpp:mam:2"
RSM = "http://jabber.org/protocol/rsm"
FORM = "jabber:x:data"
STANZA_ID = "urn:xmpp:sid:0"
HINTS = "urn:xmpp:hints"
# SQLite does not create the directory of data
SQL = {"storage": "sql", "sql": {"driver": "SQLite3", "database": "../prosody.sqlite"}}
DRIVERS = {"native": {"storage": "native"}, "internal": {"storage": "internal"}, "sql": SQL}


class Page:
	"""The answer to a query. Without <fin/>, .error is the condition of the error."""

	def __init__(self, results, answer):
		self.ids = [result["id"] for result in results]
		self.bodies = [result.find("forwarded", "message").body for result in results]
		self.stamps = [result.find("forwarded", "delay")["stamp"] for result in results]
		self.error = answer.child("error") and xmpp.failure(answer.child("error"))
		fin = answer.child("fin", MAM)
		self.complete = bool(fin) and fin["complete"] == "true"
		self.first, self.last, self.count = (self._rsm(fin, name) for name in ("first", "last", "count"))

	@staticmethod
	def _rsm(fin, name):
		element = fin and fin.find("set", name)
		return element and (int(element.text) if name == "count" else element.text)

	def __repr__(self):
		return f"<{self.error or self.bodies} {self.first}..{self.last} of {self.count}, complete: {self.complete}>"


def element(name, value=""):
	return f"<{name}>{xmpp.escape(str(value))}</{name}>"


def form(fields):
	"""Fields of the query's form; a list has a value for each of its members."""
	def field(name, value):
		values = value if isinstance(value, list) else [value]
		return f"<field var='{name}'>{''.join(element('value', v) for v in values)}</field>"
	kind = f"<field var='FORM_TYPE' type='hidden'><value>{MAM}</value></field>"
	return f"<x xmlns='{FORM}' type='submit'>{kind}{''.join(field(*f) for f in fields.items())}</x>"


def query(client, to=None, flip=False, fields=None, **rsm):
	"""Requests a page: `fields` are the form's, for instance {"after-id": x}; max, before and after RSM's."""
	ident = os.urandom(8).hex()
	rsm = "".join(element(name, value) for name, value in rsm.items() if value is not None)
	payload = form(fields or {}) + f"<set xmlns='{RSM}'>{rsm}</set>" + "<flip-page/>" * flip
	to = f" to={xmpp.quoteattr(to)}" if to else ""
	client.send(f"<iq type='set' id='{ident}'{to}><query xmlns='{MAM}' queryid='{ident}'>{payload}</query></iq>")
	results = []
	while True:
		stanza = client.stanza()
		if stanza.name == "iq" and stanza["id"] == ident:
			return Page(results, stanza)
		result = stanza.child("result", MAM)
		assert result and result["queryid"] == ident, stanza
		results.append(result)


def forth(client, size, **more):
	"""All pages, from the oldest on."""
	pages = [query(client, max=size, **more)]
	while not pages[-1].complete:
		pages.append(query(client, max=size, after=pages[-1].last, **more))
	return pages


def back(client, size, **more):
	"""All pages, from the newest on; the oldest page comes last."""
	pages = [query(client, max=size, before="", **more)]
	while not pages[-1].complete:
		pages.append(query(client, max=size, before=pages[-1].first, **more))
	return pages


def metadata(client):
	"""((id, timestamp) of the oldest, (id, timestamp) of the newest message), None for each that is missing."""
	answer = client.ask(f"<metadata xmlns='{MAM}'/>")
	assert answer["type"] == "result", answer
	ends = (answer.find("metadata", name) for name in ("start", "end"))
	return tuple(end and (end["id"], end["timestamp"]) for end in ends)


class Entry:
	"""A message as an archive holds it: from a contact, whose JID may be full."""

	def __init__(self, body, when, contact):
		self.body, self.when, self.contact, self.id = body, when, contact, None

	def __repr__(self):
		return f"<{self.body} {self.contact} {self.when}>"


def fill(server, user, entries, store="archive", host=None):
	"""Appends entries to an archive, and notes their ids."""
	rows = [[e.body, e.when, e.contact, e.contact.partition("/")[0]] for e in entries]
	ids = server.lua(f"""
		local st = require "util.stanza";
		local archive = require "core.storagemanager".open({bed.lua(host or server.host)}, {bed.lua(store)}, "archive");
		local ids = {{}};
		for i, row in ipairs({bed.lua(rows)}) do
			local message = st.message({{ type = "chat"; from = row[3]; to = {bed.lua(f"{user}@{server.host}")} }}, row[1]);
			ids[i] = assert(archive:append({bed.lua(user)}, nil, message, row[2], row[4]));
		end
		return table.concat(ids, " ")""").split()
	assert len(ids) == len(entries), ids
	for entry, ident in zip(entries, ids):
		entry.id = ident
	return entries


def run_task(server, name, host=None, ahead=0):
	"""Runs a task of mod_cron, with a clock that is that many seconds ahead."""
	return server.lua(f"""
		local task;
		for _, item in ipairs(require "core.modulemanager".get_items("task", {bed.lua(host or server.host)})) do
			if item.name == {bed.lua(name)} then task = item; end
		end
		assert(task, "no such task");
		require "util.async".runner(function () task:run(os.time() + {ahead}); end):run(true)""")


def on_drivers(name, **settings):
	"""A test for each storage driver."""
	options = settings.pop("options", {})

	def register(function):
		for driver, storage in DRIVERS.items():
			title = f"mam: {name}, storage {driver}"
			behaviour(title, modules=["mam", *settings.get("modules", ())], options={**storage, **options})(function)
		return function
	return register


def own_ids(message, client):
	return [e["id"] for e in message.all("stanza-id", STANZA_ID) if e["by"] == client.bare_jid]


def set_prefs(client, default="", always=(), never=()):
	default = f" default='{default}'" if default else ""
	lists = "".join(element(name, "").replace("></", f">{''.join(element('jid', j) for j in jids)}</")
		for name, jids in (("always", always), ("never", never)))
	answer = client.ask(f"<prefs xmlns='{MAM}'{default}>{lists}</prefs>", "set")
	return answer.child("error") and xmpp.failure(answer.child("error"))
