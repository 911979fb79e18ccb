"""Modules of Debian's package prosody-modules, loaded one by one on stock Prosody and on ours: the same traffic, the same errors.

A module that a version of Prosody cannot load has to fail alike on both.
"""
import contextlib

import bed
from same import COMMUNITY, same
from situations import ROOMS
from test_same_messages import PAYLOADS, message

MUC, MAM = "http://jabber.org/protocol/muc", "urn:xmpp:mam:2"
PACKAGE = bed.BUILD / "prosody-modules/usr/lib/prosody/modules"
ON_HOSTS = ["firewall", "cloud_notify", "http_upload", "block_strangers", "carbons_adhoc", "carbons_copies", "csi_battery_saver",
	"delegation", "filter_chatstates", "lastlog", "lastlog2", "list_inactive", "mam_adhoc", "ping_muc", "privacy_lists", "privilege",
	"pubsub_text_interface", "require_otr", "seclabels", "stanza_counter", "support_contact", "throttle_presence",
	"track_muc_joins", "unified_push", "watch_spam_reports", "default_bookmarks"]
ON_ROOMS = ["muc_moderation", "vcard_muc", "muc_log", "muc_restrict_media", "muc_rtbl"]
CHOSEN = list(PAYLOADS.values())[:14]


def choose():
	"""Prosody searches its configured paths before its own: they have only the chosen modules."""
	COMMUNITY.mkdir(parents=True, exist_ok=True)
	for name in ON_HOSTS + ON_ROOMS:
		with contextlib.suppress(FileExistsError):  # of a run before, or one beside
			(COMMUNITY / f"mod_{name}").symlink_to(PACKAGE / f"mod_{name}")


def load(stage, host, name, action="load"):
	"""Loads or unloads a module; the outcome is compared, too."""
	outcome = stage.near.lua(f"local ok, err = require 'core.modulemanager'.{action}({bed.lua(host)}, {bed.lua(name)}); "
		"return tostring(not not ok)..' '..tostring(not ok and err)")
	stage.transcript.notes("operator", f"{action} {name}: {outcome.splitlines()[0].replace(str(bed.PROJECT), '')}")


def play(stage, host, name):
	assert (PACKAGE / f"mod_{name}").is_dir(), f"mod_{name} is missing: run tests/setup community"
	load(stage, host, name)
	alice, bob, phone = stage.cast(["alice", "bob_sm", "bob_phone"])
	room = f"{alice.user}@{ROOMS}"
	phone.sets("<enable xmlns='urn:xmpp:carbons:2'/>")
	bob.online()
	phone.online()
	for client in (alice, bob):
		client.sends(f"<presence to='{room}/{client.user}'><x xmlns='{MUC}'/></presence>")
		alice.sets(f"<query xmlns='{MUC}#owner'><x xmlns='jabber:x:data' type='submit'/></query>", to=room)
	bob.sends("<inactive xmlns='urn:xmpp:csi:0'/>")
	for payloads in (CHOSEN[::2], CHOSEN[1::2]):
		alice.sends(*(message(to, payload, "groupchat" if to == room else "chat") for payload in payloads
			for to in (bob.jid, bob.bare_jid, alice.bare_jid, room)))
	bob.sends("<active xmlns='urn:xmpp:csi:0'/>", message(alice.jid, "<body>back</body>"))
	for to in (None, room):
		bob.sets(f"<query xmlns='{MAM}'/>", to=to)
	bob.asks("<query xmlns='http://jabber.org/protocol/disco#info'/>", to=host)
	stage.finish()
	load(stage, host, name, "unload")


def loaded(name, host):
	@same(f"community modules: mod_{name}", watch=False, group="community")  # some leave traces when they are unloaded
	def _(stage):
		play(stage, host, name)


choose()
for each in ON_HOSTS:
	loaded(each, bed.HOST)
for each in ON_ROOMS:
	loaded(each, ROOMS)
