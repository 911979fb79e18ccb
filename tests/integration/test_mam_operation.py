"""mod_mam beside the rest of the server: offline messages, expiry, reloads, other modules; over every storage driver."""
import bed
from mam import DRIVERS, HINTS, MAM, on_drivers, own_ids, query, run_task, set_prefs
from steps import pending_offline, say, wait_offline
from suite import behaviour
from xmpp import DELAY


# --- offline messages ---

def offline_pair(server):
	"""Alice, whose client has left, and bob."""
	alice, bob = server.login("alice"), server.login("bob")
	alice.close()
	server.wait_gone(alice)
	return alice, bob


@on_drivers("a client that reads the archive gets no archived message from offline storage, in this session or a later one")
def offline_messages_are_not_read_twice(server):
	alice, bob = offline_pair(server)
	say(bob, alice.bare_jid, "one", "two")
	wait_offline(server, alice.user, ["one", "two"])
	reader = server.again(alice)
	assert query(reader).bodies == ["one", "two"]
	reader.available()
	reader.ping()
	assert not [e for e in reader.unread if e.name == "message"], reader.unread
	wait_offline(server, alice.user, [])
	reader.close()
	server.wait_gone(reader)
	later = server.again(alice).available()
	later.ping()
	assert not [e for e in later.unread if e.name == "message"], later.unread


@on_drivers("a client that reads the archive gets offline messages that are not archived, once")
def unarchived_offline_messages_are_delivered(server):
	alice, bob = offline_pair(server)
	hint = f"<no-permanent-store xmlns='{HINTS}'/>"
	say(bob, alice.bare_jid, "archived")
	bob.chat(alice.bare_jid, "fleeting", payload=hint)
	wait_offline(server, alice.user, ["archived", "fleeting"])
	reader = server.again(alice)
	assert query(reader).bodies == ["archived"]
	reader.available()
	message = reader.message()
	assert message.body == "fleeting" and message.child("delay", DELAY)["from"] == server.host, message
	wait_offline(server, alice.user, [])


@on_drivers("offline messages that were not read stay, until a later page has them or another client takes them")
def unread_offline_messages_stay(server):
	alice, bob = offline_pair(server)
	say(bob, alice.bare_jid, "1", "2", "3")
	wait_offline(server, alice.user, ["1", "2", "3"])
	reader = server.again(alice)
	page = query(reader, max=1)
	reader.available()
	reader.ping()
	assert not [e for e in reader.unread if e.name == "message"], reader.unread
	assert pending_offline(server, alice.user) == ["2", "3"]
	assert query(reader, max=1, after=page.last).bodies == ["2"]
	assert pending_offline(server, alice.user) == ["3"]
	other = server.again(alice).available()
	assert other.until("message").body == "3"
	wait_offline(server, alice.user, [])


@on_drivers("a client that does not read the archive gets all offline messages, with their ids")
def other_clients_get_offline_messages(server):
	alice, bob = offline_pair(server)
	say(bob, alice.bare_jid, "1", "2")
	client = server.again(alice).available()
	messages = [client.message(), client.message()]
	assert [m.body for m in messages] == ["1", "2"]
	assert [own_ids(m, alice)[0] for m in messages] == query(client).ids


# --- retention, reloads ---

@on_drivers("expiry removes old messages of all users, and keeps the others", modules=["cron"], options={"archive_expires_after": "1w"})
def expiry_removes_old_messages(server):
	alice, bob = server.login("alice"), server.login("bob")
	say(bob, alice, "new")
	alice.ping()
	alice.unread.clear()
	assert query(alice).bodies == ["new"]
	run_task(server, "Remove expired messages")
	server.expect_log("Deleted 0 expired messages")
	assert query(alice).bodies == ["new"]
	server.lua("local time = os.time; function os.time(t) return time(t) + (t and 0 or 8 * 86400); end")
	run_task(server, "Remove expired messages")
	server.expect_log("Deleted 2 expired messages")
	assert query(alice).bodies == [] and query(bob).bodies == []


@on_drivers("a full archive drops its oldest messages", options={"storage_archive_item_limit": 10})
def a_full_archive_drops_the_oldest(server):
	alice, bob = server.login("alice"), server.login("bob")
	for n in range(25):
		say(bob, alice, n)
	alice.ping()
	alice.unread.clear()
	kept = query(alice, max=50).bodies
	assert kept == [str(n) for n in range(25 - len(kept), 25)] and 5 < len(kept) <= 10, kept


@on_drivers("a reload keeps answers, preferences and sessions that have asked")
def a_reload_keeps_everything(server):
	alice, bob = server.login("alice"), server.login("bob")
	say(bob, alice, "1")
	alice.message()
	assert set_prefs(alice, "roster", always=[bob.bare_jid]) is None
	first = query(alice)
	server.shell("module", "reload", "mam", server.host)
	say(bob, alice, "2")
	alice.message()
	page = query(alice, after=first.last)
	assert page.bodies == ["2"], page
	assert alice.ask(f"<prefs xmlns='{MAM}'/>").child("prefs")["default"] == "roster"


# --- beside other modules ---

@behaviour("mam: mam_native = false loads Prosody's own module with its libraries, and the log tells which one is loaded",
	modules=["mam"], options={**DRIVERS["native"], "mam_native": False})
def stock_is_loaded_instead(server):
	path = server.lua("return prosody.hosts[%s].modules.mam.module.path" % bed.lua(server.host))
	assert path.endswith("lib/prosody/modules/mod_mam/mod_mam.lua"), path
	server.expect_log("Loading Prosody's own module, because of mam_native = false")
	assert "in the place of Prosody's own" not in server.log()
	alice, bob = server.login("alice"), server.login("bob")
	say(bob, alice, "kept")
	alice.message()
	assert query(alice).bodies == ["kept"]
	assert set_prefs(alice) is None, "this is not the stock module"
	for native in (True, False):
		server.options["mam_native"] = native
		server.rewrite_config()
		server.lua("require 'core.configmanager'.load(%s)" % bed.lua(server.config))
		server.shell("module", "reload", "mam", server.host)
		assert query(alice).bodies == ["kept"]
		assert set_prefs(alice) == ("bad-request" if native else None)


@on_drivers("other modules decide with archive-should-store, and archive-message-added has the stripped message")
def other_modules_take_part(server):
	alice, bob = server.login("alice"), server.login("bob")
	server.lua(f"""
		local events = prosody.hosts[{bed.lua(server.host)}].events;
		events.add_handler("archive-should-store", function (event)
			event.reason = "test";
			local body = event.stanza:get_child_text("body");
			if body == "no" then return false; end
			if event.stanza:get_child("yes", "test") then return true; end
		end);
		added = {{}};
		events.add_handler("archive-message-added", function (event)
			event.stanza.attr.marked = "yes";
			event.stanza:tag("marked"):up();
			local text = event.stanza:get_child_text("body") or "-";
			table.insert(added, event.for_user.." "..text.." "..event.id.." "..#event.stanza.tags.." "..event.origin.username);
		end);""")
	bob.chat(alice, "no")
	bob.send(f"<message to='{alice.jid}'><yes xmlns='test'/></message>")
	bob.chat(alice, "body", payload="<active xmlns='http://jabber.org/protocol/chatstates'/>")
	bob.ping()
	received = [alice.stanza() for _ in range(3)]
	assert received[2].child("active") and not received[2].child("marked") and not received[2]["marked"], received
	mine, his = query(alice), query(bob)
	assert mine.bodies == his.bodies == [None, "body"], (mine, his)
	expected = [f"{client.user} {text} {page.ids[n]} 2 {bob.user}"
		for n, text in enumerate(("-", "body")) for client, page in ((bob, his), (alice, mine))]
	assert server.lua("return table.concat(added, ',')").split(",") == expected


@behaviour("mam: libraries of preferences serve other modules", modules=["mam", "test_prefs"], options=DRIVERS["native"])
def other_modules_use_the_libraries(server):
	alice, bob = server.login("alice"), server.login("bob")
	say(bob, alice, "1")
	assert alice.message().body == "1"
	done = server.lua(f"""
		local prefs = prosody.hosts[{bed.lua(server.host)}].modules.test_prefs.module.prefs;
		assert(prefs.get({bed.lua(alice.user)})[false] == true);
		return tostring(prefs.set({bed.lua(alice.user)}, {{ [false] = false }}))""")
	assert done == "true", done
	say(bob, alice, "2")
	assert alice.message().body == "2"
	assert query(alice).bodies == ["1"]
	assert alice.ask(f"<prefs xmlns='{MAM}'/>").child("prefs")["default"] == "never"


@behaviour("mam: messages that are kept for ever are counted with storage native", modules=["mam"],
	options={**DRIVERS["native"], "archive_expires_after": "never"})
def kept_for_ever_is_counted(server):
	alice, bob = server.login("alice"), server.login("bob")
	say(bob, alice, "1", "2")
	assert query(server.again(alice), max=1).count == 2


@behaviour("mam: storage memory is an archive like others", modules=["mam"], options={"storage": {"archive": "memory"}})
def memory_is_an_archive(server):
	alice, bob = server.login("alice"), server.login("bob")
	say(bob, alice, "1", "2")
	alice = server.again(alice)
	page = query(alice, max=1, before="")
	assert (page.bodies, page.complete, page.count) == (["2"], False, 2), page
	assert query(alice, fields={"ids": ["unknown"]}).error == "item-not-found"
