"""PEP (XEP-0163), conversions of bookmarks, vCards and avatars, private XML, and a pubsub service (XEP-0060)."""
import base64
import hashlib
import os

from situations import ANY, NODES, befriend, situation

PUBSUB = "http://jabber.org/protocol/pubsub"
OWNER, EVENT = f"{PUBSUB}#owner", f"{PUBSUB}#event"
DISCO = "http://jabber.org/protocol/disco"
FORM = "jabber:x:data"
TUNE, NICK = "http://jabber.org/protocol/tune", "http://jabber.org/protocol/nick"
BOOKMARKS, OLD_BOOKMARKS = "urn:xmpp:bookmarks:1", "storage:bookmarks"
AVATAR = "urn:xmpp:avatar"
PRIVATE, VCARD, VCARD4 = "jabber:iq:private", "vcard-temp", "urn:ietf:params:xml:ns:vcard-4.0"


def tune(title):
	return f"<tune xmlns='{TUNE}'><title>{title}</title></tune>"


def form(kind, fields):
	kind = f"<field var='FORM_TYPE' type='hidden'><value>{PUBSUB}#{kind}</value></field>"
	values = "".join(f"<field var='pubsub#{name}'><value>{value}</value></field>" for name, value in fields.items())
	return f"<x xmlns='{FORM}' type='submit'>{kind}{values}</x>"


def publication(node, payload, ident="current", **options):
	options = f"<publish-options>{form('publish-options', options)}</publish-options>" if options else ""
	ident = ident and f" id='{ident}'"
	return f"<pubsub xmlns='{PUBSUB}'><publish node='{node}'><item{ident}>{payload}</item></publish>{options}</pubsub>"


def published(node, ident="current"):
	return f"<pubsub xmlns='{PUBSUB}'><publish node='{node}'><item id='{ident}'/></publish></pubsub>"


def owner(payload):
	return f"<pubsub xmlns='{OWNER}'>{payload}</pubsub>"


def retraction(node, ident):
	return f"<pubsub xmlns='{PUBSUB}'><retract node='{node}' notify='true'><item id='{ident}'/></retract></pubsub>"


def wanted(node, *idents, **attr):
	attr = "".join(f" {name}='{value}'" for name, value in attr.items())
	return f"<pubsub xmlns='{PUBSUB}'><items node='{node}'{attr}>{''.join(f'''<item id='{i}'/>''' for i in idents)}</items></pubsub>"


def items(client, node, *idents, to=None, **attr):
	"""The items of a node: id to payload."""
	found = client.asks(wanted(node, *idents, **attr), to=to).child("items")
	return {item["id"]: item.children[0] for item in found.children}


def event(sender, node, payload="", ident="current", publisher=None):
	"""The notification of an item."""
	publisher = f" publisher='{publisher}'" if publisher else ""
	return changed(sender, f"<items node='{node}'><item id='{ident}'{publisher}>{payload}</item></items>")


def changed(sender, payload):
	return f"<message type='headline' from='{sender}'><event xmlns='{EVENT}'>{payload}</event></message>"


def interested(client, *nodes):
	"""The client becomes available, and the server queries its capabilities (XEP-0115)."""
	features = sorted([f"{DISCO}#info", *[f"{node}+notify" for node in nodes]])
	text = "".join([f"client/pc//{client.jid}<", *[f"{feature}<" for feature in features]])
	ver = base64.b64encode(hashlib.sha1(text.encode()).digest()).decode()
	client.caps = f"<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='urn:test' ver='{ver}'/>"
	client.sends(f"<presence>{client.caps}</presence>")
	asked = client.gets(f"<iq type='get' from='{client.bare_jid}' id='{ANY}'><query xmlns='{DISCO}#info' node='urn:test#{ver}'/></iq>")
	client.gets(f"<presence from='{client.jid}'>{client.caps}</presence>")
	told = f"<identity category='client' type='pc' name='{client.jid}'/>" + "".join(f"<feature var='{f}'/>" for f in features)
	client.sends(f"<iq type='result' to='{client.bare_jid}' id='{asked['id']}'>"
		f"<query xmlns='{DISCO}#info' node='urn:test#{ver}'>{told}</query></iq>")


def contact_interested(bob, alice, *nodes):
	"""Bob and alice are contacts, and bob gets notifications of these nodes of hers."""
	interested(bob, *nodes)
	alice.online()
	befriend(alice, bob)
	bob.sends(f"<presence>{bob.caps}</presence>")
	bob.gets(f"<presence from='{bob.jid}'/>")
	alice.gets(f"<presence from='{bob.jid}'/>")


# --- PEP ---

@situation("pep: the account's own clients are notified of a publication and a retraction")
def _(alice, alice_phone):
	interested(alice_phone, TUNE)
	alice.iq("set", publication(TUNE, tune("Cedars")))
	alice_phone.gets(event(alice.bare_jid, TUNE, tune("Cedars")))
	alice.result(published(TUNE))
	alice.sets(retraction(TUNE, "current"))
	alice_phone.gets(changed(alice.bare_jid, f"<items node='{TUNE}'><retract id='current'/></items>"))
	assert items(alice, TUNE) == {}


@situation("pep: only contacts with +notify are notified, and strangers cannot read")
def _(alice, bob, carol):
	contact_interested(bob, alice, TUNE)
	interested(carol, TUNE)
	alice.sets(publication(TUNE, tune("Cedars")), published(TUNE))
	bob.gets(event(alice.bare_jid, TUNE, tune("Cedars")))
	carol.gets_nothing()
	alice.sets(publication(NICK, f"<nick xmlns='{NICK}'>Al</nick>"), published(NICK))
	bob.gets_nothing()
	carol.iq("get", wanted(TUNE), alice.bare_jid)
	carol.refused("forbidden", "auth")
	assert list(items(bob, TUNE, to=alice.bare_jid)) == ["current"]


@situation("pep: initial presence fetches the last item")
def _(alice):
	nick = f"<nick xmlns='{NICK}'>Al</nick>"
	alice.sets(publication(NICK, nick), published(NICK))
	interested(alice, NICK)
	alice.gets(event(alice.bare_jid, NICK, nick))


@situation("pep: anybody can read an open node, and subscribe to it")
def _(alice, bob):
	alice.sets(publication("urn:test:blog", tune("One"), "1", access_model="open"), published("urn:test:blog", "1"))
	assert list(items(bob, "urn:test:blog", to=alice.bare_jid)) == ["1"]
	subscription = f"<pubsub xmlns='{PUBSUB}'><{{}}subscribe node='urn:test:blog' jid='{bob.bare_jid}'/></pubsub>"
	bob.iq("set", subscription.format(""), alice.bare_jid)
	bob.result()
	bob.online()
	alice.sets(publication("urn:test:blog", tune("Two"), "2"), published("urn:test:blog", "2"))
	bob.gets(event(alice.bare_jid, "urn:test:blog", tune("Two"), "2"))
	bob.iq("set", subscription.format("un"), alice.bare_jid)
	bob.result()
	alice.sets(publication("urn:test:blog", tune("Three"), "3"), published("urn:test:blog", "3"))
	bob.gets_nothing()


@situation("pep: contacts cannot read a node with access model whitelist")
def _(alice, bob):
	befriend(alice, bob)
	alice.sets(publication("urn:test:secret", tune("x"), access_model="whitelist"), published("urn:test:secret"))
	bob.iq("get", wanted("urn:test:secret"), alice.bare_jid)
	bob.gets(f"<iq type='error' id='{bob.ident}'/>")
	assert list(items(alice, "urn:test:secret")) == ["current"]


@situation("pep: a precondition that is not met refuses the publication")
def _(alice):
	alice.sets(publication(TUNE, tune("One"), access_model="presence"), published(TUNE))
	alice.iq("set", publication(TUNE, tune("Two"), access_model="whitelist"))
	refused = alice.refused("conflict", "cancel")
	assert refused.child("precondition-not-met", f"{PUBSUB}#errors"), refused
	assert "One" in str(items(alice, TUNE)["current"])


@situation("pep: max_items, single items and generated ids")
def _(alice):
	for n in range(3):
		alice.sets(publication("urn:test:one", tune(n), n + 1), published("urn:test:one", n + 1))
		alice.sets(publication("urn:test:all", tune(n), n + 1, max_items="max"), published("urn:test:all", n + 1))
	assert list(items(alice, "urn:test:one")) == ["3"]
	assert set(items(alice, "urn:test:all")) == {"1", "2", "3"}
	assert list(items(alice, "urn:test:all", "2")) == ["2"]
	alice.sets(publication("urn:test:all", tune("x"), ""), published("urn:test:all", ANY))


@situation("pep: a configured title appears in disco#items")
def _(alice, bob):
	befriend(alice, bob)
	alice.sets(publication(TUNE, tune("One")), published(TUNE))
	alice.asks(owner(f"<configure node='{TUNE}'/>"), owner(f"<configure node='{TUNE}'><x xmlns='{FORM}' type='form'/></configure>"))
	alice.sets(owner(f"<configure node='{TUNE}'>{form('node_config', {'title': 'Nice tunes'})}</configure>"))
	listed = f"<query xmlns='{DISCO}#items'><item jid='{alice.bare_jid}' node='{TUNE}' name='Nice tunes'/></query>"
	alice.asks(f"<query xmlns='{DISCO}#items'/>", listed)
	bob.asks(f"<query xmlns='{DISCO}#items'/>", listed, to=alice.bare_jid)


@situation("pep: contacts are notified when a node is purged and deleted")
def _(alice, bob):
	contact_interested(bob, alice, TUNE)
	alice.sets(publication(TUNE, tune("One")), published(TUNE))
	bob.gets(event(alice.bare_jid, TUNE, tune("One")))
	alice.sets(owner(f"<purge node='{TUNE}'/>"))
	bob.gets(changed(alice.bare_jid, f"<purge node='{TUNE}'/>"))
	assert items(alice, TUNE) == {}
	alice.sets(owner(f"<delete node='{TUNE}'/>"))
	bob.gets(changed(alice.bare_jid, f"<delete node='{TUNE}'/>"))
	alice.iq("get", wanted(TUNE))
	alice.refused("item-not-found", "cancel")


@situation("pep: itemreply names the publisher", versions=["13.0"])
def _(alice, bob):
	contact_interested(bob, alice, TUNE)
	alice.sets(publication(TUNE, tune("One"), itemreply="publisher"), published(TUNE))
	bob.gets(event(alice.bare_jid, TUNE, tune("One"), publisher=alice.bare_jid))


@situation("pep: send_last_published_item decides what presence fetches")
def _(alice):
	interested(alice, TUNE, NICK)
	for node, last in ((TUNE, "never"), (NICK, "on_sub_and_presence")):
		alice.iq("set", publication(node, tune(last), send_last_published_item=last))
		alice.gets(event(alice.bare_jid, node, tune(last)))
		alice.result(published(node))
	alice.sends("<presence type='unavailable'/>")
	alice.gets(f"<presence type='unavailable' from='{alice.jid}'/>")
	alice.sends(f"<presence>{alice.caps}</presence>")
	alice.gets(event(alice.bare_jid, NICK, tune("on_sub_and_presence")), f"<presence from='{alice.jid}'/>")


# --- bookmarks ---

def bookmark(name):
	return f"<conference xmlns='{BOOKMARKS}' name='{name}' autojoin='true'><nick>Al</nick></conference>"


def old_bookmarks(*rooms):
	return f"<storage xmlns='{OLD_BOOKMARKS}'>" + "".join(
		f"<conference jid='{jid}' name='{name}' autojoin='true'><nick>Al</nick></conference>" for jid, name in rooms) + "</storage>"


KEPT = {"persist_items": "true", "max_items": "255", "send_last_published_item": "never", "access_model": "whitelist"}


@situation("bookmarks: notifications, and conversion to private XML and to the legacy node")
def _(alice, alice_phone):
	interested(alice_phone, BOOKMARKS)
	for jid, name in (("a@muc.test", "A"), ("b@muc.test", "B")):
		alice.iq("set", publication(BOOKMARKS, bookmark(name), jid, **KEPT))
		alice_phone.gets(event(alice.bare_jid, BOOKMARKS, bookmark(name), jid))
		alice.result(published(BOOKMARKS, jid))
	alice.sets(retraction(BOOKMARKS, "a@muc.test"))
	alice_phone.gets(changed(alice.bare_jid, f"<items node='{BOOKMARKS}'><retract id='a@muc.test'/></items>"))
	storage = old_bookmarks(("b@muc.test", "B"))
	alice.asks(f"<query xmlns='{PRIVATE}'><storage xmlns='{OLD_BOOKMARKS}'/></query>", f"<query xmlns='{PRIVATE}'>{storage}</query>")
	alice.asks(wanted(OLD_BOOKMARKS),
		f"<pubsub xmlns='{PUBSUB}'><items node='{OLD_BOOKMARKS}'><item id='current'>{storage}</item></items></pubsub>")


@situation("bookmarks: conversion from private XML")
def _(alice, alice_phone):
	interested(alice_phone, BOOKMARKS)
	alice.iq("set", f"<query xmlns='{PRIVATE}'>{old_bookmarks(('a@muc.test', 'A'))}</query>")
	alice_phone.gets(event(alice.bare_jid, BOOKMARKS, bookmark("A"), "a@muc.test"))
	alice.result()
	alice.iq("set", f"<query xmlns='{PRIVATE}'>{old_bookmarks()}</query>")
	alice_phone.gets(changed(alice.bare_jid, f"<purge node='{BOOKMARKS}'/>"))
	alice.result()
	assert items(alice, BOOKMARKS) == {}


@situation("bookmarks: none yet")
def _(alice):
	alice.asks(f"<query xmlns='{PRIVATE}'><storage xmlns='{OLD_BOOKMARKS}'/></query>", f"<query xmlns='{PRIVATE}'/>")
	alice.iq("get", wanted(OLD_BOOKMARKS))
	alice.refused("item-not-found", "cancel")


@situation("private XML: stored and read by the account only")
def _(alice, alice_phone, bob):
	note = "<note xmlns='urn:test'><text>Remember</text></note>"
	alice.sets(f"<query xmlns='{PRIVATE}'>{note}</query>")
	alice_phone.asks(f"<query xmlns='{PRIVATE}'><note xmlns='urn:test'/></query>", f"<query xmlns='{PRIVATE}'>{note}</query>")
	bob.iq("get", f"<query xmlns='{PRIVATE}'><note xmlns='urn:test'/></query>", alice.bare_jid)
	bob.gets(f"<iq type='error' id='{bob.ident}'/>")


# --- vCards and avatars ---

PHOTO = base64.b64encode(b"not really a picture").decode()
HASH = hashlib.sha1(b"not really a picture").hexdigest()
PORTRAIT = f"<PHOTO><TYPE>image/png</TYPE><BINVAL>{PHOTO}</BINVAL></PHOTO>"
UPDATE = f"<x xmlns='vcard-temp:x:update'><photo>{HASH}</photo></x>"


@situation("vCard: read by its owner and by strangers, and as vCard4")
def _(alice, bob):
	card = (f"<vCard xmlns='{VCARD}'><FN>Alice Example</FN><N><FAMILY>Example</FAMILY><GIVEN>Alice</GIVEN><MIDDLE/><PREFIX/><SUFFIX/></N>"
		"</vCard>")
	alice.sets(card)
	alice.asks(f"<vCard xmlns='{VCARD}'/>", card)
	bob.asks(f"<vCard xmlns='{VCARD}'/>", card, to=alice.bare_jid)
	new = f"<vcard xmlns='{VCARD4}'><fn><text>Alice Example</text></fn></vcard>"
	bob.asks(f"<vcard xmlns='{VCARD4}'/>", new, to=alice.bare_jid)


@situation("vCard: empty for an account without one")
def _(alice, bob):
	assert not bob.asks(f"<vCard xmlns='{VCARD}'/>", f"<vCard xmlns='{VCARD}'/>", to=alice.bare_jid).children


@situation("avatar: a photo in the vCard is published, and its hash added to presence")
def _(alice, bob):
	contact_interested(bob, alice, f"{AVATAR}:metadata")
	alice.iq("set", f"<vCard xmlns='{VCARD}'><FN>Alice</FN>{PORTRAIT}</vCard>")
	metadata = f"<metadata xmlns='{AVATAR}:metadata'><info id='{HASH}' type='image/png' bytes='20'/></metadata>"
	bob.gets(event(alice.bare_jid, f"{AVATAR}:metadata", metadata, HASH))
	alice.result()
	alice.sends("<presence/>")
	for client in (alice, bob):
		client.gets(f"<presence from='{alice.jid}'>{UPDATE}</presence>")
	assert items(bob, f"{AVATAR}:data", HASH, to=alice.bare_jid)[HASH].text == PHOTO


@situation("avatar: a published avatar appears in the vCard")
def _(alice, bob):
	alice.sets(publication(f"{AVATAR}:data", f"<data xmlns='{AVATAR}:data'>{PHOTO}</data>", HASH, access_model="open"),
		published(f"{AVATAR}:data", HASH))
	metadata = f"<metadata xmlns='{AVATAR}:metadata'><info id='{HASH}' type='image/png' bytes='20'/></metadata>"
	alice.sets(publication(f"{AVATAR}:metadata", metadata, HASH, access_model="open"), published(f"{AVATAR}:metadata", HASH))
	bob.asks(f"<vCard xmlns='{VCARD}'/>", f"<vCard xmlns='{VCARD}'>{PORTRAIT}</vCard>", to=alice.bare_jid)
	alice.sends("<presence/>")
	alice.gets(f"<presence from='{alice.jid}'>{UPDATE}</presence>")


# --- a pubsub service ---

def creates(admin, **config):
	"""A node of the service."""
	node = f"node-{os.urandom(4).hex()}"
	configure = f"<configure>{form('node_config', config)}</configure>" if config else ""
	admin.sets(f"<pubsub xmlns='{PUBSUB}'><create node='{node}'/>{configure}</pubsub>", to=NODES)
	return node


def subscribes(client, node, un=""):
	client.iq("set", f"<pubsub xmlns='{PUBSUB}'><{un}subscribe node='{node}' jid='{client.jid}'/></pubsub>", NODES)
	return client.result()


@situation("pubsub: only an administrator creates a node, and only once")
def _(admin, alice):
	node = creates(admin)
	admin.iq("set", f"<pubsub xmlns='{PUBSUB}'><create node='{node}'/></pubsub>", NODES)
	admin.refused("conflict", "cancel")
	alice.iq("set", f"<pubsub xmlns='{PUBSUB}'><create node='{node}x'/></pubsub>", NODES)
	alice.refused("forbidden", "auth")
	alice.iq("set", publication(node, tune("x")), NODES)
	alice.refused("forbidden", "auth")


@situation("pubsub: notifications of publish, retract, purge and delete")
def _(admin, alice):
	node = creates(admin)
	subscription = subscribes(alice, node).child("subscription")
	assert (subscription["jid"], subscription["subscription"]) == (alice.jid, "subscribed"), subscription
	admin.iq("set", publication(node, tune("One"), "1"), NODES)
	alice.gets(event(NODES, node, tune("One"), "1"))
	admin.result(published(node, "1"))
	admin.sets(retraction(node, "1"), to=NODES)
	alice.gets(changed(NODES, f"<items node='{node}'><retract id='1'/></items>"))
	admin.sets(owner(f"<purge node='{node}'/>"), to=NODES)
	alice.gets(changed(NODES, f"<purge node='{node}'/>"))
	admin.sets(owner(f"<delete node='{node}'/>"), to=NODES)
	alice.gets(changed(NODES, f"<delete node='{node}'/>"))
	alice.iq("get", wanted(node), NODES)
	alice.refused("item-not-found", "cancel")


@situation("pubsub: unsubscribing ends notifications, and nobody subscribes another JID")
def _(admin, alice, bob):
	node = creates(admin)
	bob.iq("set", f"<pubsub xmlns='{PUBSUB}'><subscribe node='{node}' jid='{alice.jid}'/></pubsub>", NODES)
	bob.gets(f"<iq type='error' id='{bob.ident}'/>")
	subscribes(alice, node)
	subscribes(alice, node, "un")
	admin.sets(publication(node, tune("One")), published(node), to=NODES)
	alice.gets_nothing()
	admin.sets(owner(f"<delete node='{node}'/>"), to=NODES)


@situation("pubsub: an account with affiliation publisher publishes, and is named")
def _(admin, alice, bob):
	node = creates(admin, itemreply="publisher") if admin.server.version == "13.0" else creates(admin)
	subscribes(bob, node)
	mine = f"<affiliation jid='{admin.bare_jid}' affiliation='owner'/>"
	admin.asks(owner(f"<affiliations node='{node}'/>"), owner(f"<affiliations node='{node}'>{mine}</affiliations>"), to=NODES)
	theirs = f"<affiliation jid='{alice.bare_jid}' affiliation='publisher'/>"
	admin.sets(owner(f"<affiliations node='{node}'>{mine}{theirs}</affiliations>"), to=NODES)
	alice.iq("set", publication(node, tune("One")), NODES)
	bob.gets(event(NODES, node, tune("One"), publisher=alice.bare_jid))
	alice.result(published(node))
	admin.sets(owner(f"<delete node='{node}'/>"), to=NODES)
	bob.gets(changed(NODES, f"<delete node='{node}'/>"))


@situation("pubsub: all items, items by id, and the most recent ones")
def _(admin, alice):
	node = creates(admin)
	for ident in ("a", "b", "c"):
		admin.sets(publication(node, tune(ident), ident), published(node, ident), to=NODES)
	assert set(items(alice, node, to=NODES)) == {"a", "b", "c"}
	assert set(items(alice, node, "a", "c", to=NODES)) == {"a", "c"}
	assert list(items(alice, node, to=NODES, max_items=1)) == ["c"]
	admin.sets(owner(f"<delete node='{node}'/>"), to=NODES)


@situation("pubsub: the last item on subscription, once configured")
def _(admin, alice):
	node = creates(admin)
	admin.sets(publication(node, tune("One")), published(node), to=NODES)
	subscribes(alice, node)
	subscribes(alice, node, "un")
	config = form("node_config", {"send_last_published_item": "on_sub"})
	admin.sets(owner(f"<configure node='{node}'>{config}</configure>"), to=NODES)
	subscribes(alice, node)
	alice.gets(event(NODES, node, tune("One")))
	admin.sets(owner(f"<delete node='{node}'/>"), to=NODES)
	alice.gets(changed(NODES, f"<delete node='{node}'/>"))


@situation("pubsub: discovery of nodes")
def _(admin, alice):
	node = creates(admin, title="Musings")
	listed = alice.asks(f"<query xmlns='{DISCO}#items'/>", to=NODES).children
	assert [entry["name"] for entry in listed if entry["node"] == node] == ["Musings"], listed
	info = alice.asks(f"<query xmlns='{DISCO}#info' node='{node}'/>", to=NODES)
	assert info.child("identity")["type"] == "leaf", info
	admin.sets(owner(f"<delete node='{node}'/>"), to=NODES)


@situation("pubsub: lists of subscriptions for the subscriber and for the owner")
def _(admin, alice):
	node = creates(admin)
	subscribes(alice, node)
	alice.asks(f"<pubsub xmlns='{PUBSUB}'><subscriptions/></pubsub>", f"<pubsub xmlns='{PUBSUB}'><subscriptions>"
		f"<subscription node='{node}' jid='{alice.jid}' subscription='subscribed'/></subscriptions></pubsub>", to=NODES)
	admin.asks(owner(f"<subscriptions node='{node}'/>"), owner("<subscriptions>"
		f"<subscription node='{node}' jid='{alice.jid}' subscription='subscribed'/></subscriptions>"), to=NODES)
