"""Moving between storage drivers: prosodyctl mod_storage_native import and export, Prosody's own migrator, XEP-0227."""
import json
import os
import re
import shutil
import signal
import subprocess

import bed
from steps import say
from suite import behaviour
from test_storage import over
from test_storage_tool import bad, bodies, command, data_file, good, stat, tool

ROOMS = "rooms.prosody.test"
OTHERS = ("internal", "sql")
MOVED = {"components": {ROOMS: "muc"}}
MESSAGES = 250  # more than are imported in one transaction
FEW = 20  # for those who read and write all of an archive for each message

# Data in every kind of store, for a user, a room and the host itself
CONTENT = """
	local sm, st = require "core.storagemanager", require "util.stanza";
	local host, rooms = %s;
	local function keyval(at, store, user, data) assert(sm.open(at, store):set(user, data)); end
	local function archive(at, store, user, id, stanza, when, with)
		assert(sm.open(at, store, "archive"):append(user, id, stanza, when, with));
	end
	for i = 1, 3 do
		local user = "user"..i;
		local jid = user.."@"..host;
		keyval(host, "accounts", user, { password = "secret" });
		keyval(host, "roster", user, {
			[false] = { version = i; pending = { ["carol@other.test"] = true } };
			["bob@other.test"] = { jid = "bob@other.test"; subscription = "both"; name = "Bob"; groups = { Friends = true } };
		});
		keyval(host, "vcard", user, st.preserialize(st.stanza("vCard", { xmlns = "vcard-temp" }):text_tag("FN", user)));
		keyval(host, "odd", user, { text = "\\1\\226\\130\\172", list = { "a", "b" }, number = 1.5, whole = 3, deep = { no = false } });
		keyval(host, "pep", user, { ["urn:xmpp:avatar:data"] = {
			name = "urn:xmpp:avatar:data"; config = { max_items = 1 }; affiliations = {}; subscribers = {};
		} });
		archive(host, "pep_urn:xmpp:avatar:data", user, "current", st.stanza("item", { id = "current" })
			:text_tag("data", "aGk=", { xmlns = "urn:xmpp:avatar:data" }), 1700000000, jid);
		archive(host, "offline", user, nil, st.message({ to = jid; from = "bob@other.test/r" }, "later"), 1700000000, "");
		archive(rooms, "muc_log", user, nil, st.message({ type = "groupchat" }, "said"), 1700000000, "message<groupchat");
	end
	keyval(host, "cron", nil, { task = 1700000000 });
	keyval(rooms, "persistent", nil, { ["user1@"..rooms] = true });
	keyval(rooms, "config", "user1", { _data = { name = "A room" } });
	archive(host, "uploads", nil, "slot", st.stanza("request", { size = "5" }), 1700000000, "user1@"..host);
	keyval(host, "pubsub_nodes", nil, { news = { config = {} } });
	archive(host, "pubsub_news", nil, "one", st.stanza("item", { id = "one" }), 1700000000, "user1@"..host);"""

CHAT = """
	local archive, st = require "core.storagemanager".open(%s, "archive", "archive"), require "util.stanza";
	local user, jid, first, last = %s;
	for n = first, last do -- the clock goes back now and then
		local message = st.message({ to = "bob@other.test"; from = jid; type = "chat" }, "message "..n);
		assert(archive:append(user, nil, message, 1700000000 + n - n %% 7, "bob@other.test"));
	end"""
AT_ONCE = 50  # messages: SQL waits for the disk after each, and the tests share it

# All of it as a text that does not depend on the order of keys and attributes
DUMP = """
	local sm, st = require "core.storagemanager", require "util.stanza";
	local host, rooms = %s;
	local function text(value)
		if type(value) == "number" then return ("%%.14g"):format(value); end
		if type(value) ~= "table" then return ("%%q"):format(value); end
		local parts = {};
		for key, member in pairs(value) do table.insert(parts, text(key).."="..text(member)); end
		table.sort(parts);
		return "{"..table.concat(parts, ",").."}";
	end
	local lines = {};
	for _, user in ipairs { "user1", "user2", "user3", false } do
		for _, at in ipairs { host, rooms } do
			for _, store in ipairs { "accounts", "roster", "vcard", "odd", "pep", "cron", "persistent", "config", "pubsub_nodes" } do
				table.insert(lines, text { at, store, user, sm.open(at, store):get(user or nil) or {} });
			end
			for _, store in ipairs { "pep_urn:xmpp:avatar:data", "archive", "offline", "muc_log", "uploads", "pubsub_news" } do
				for id, item, when, with in assert(sm.open(at, store, "archive"):find(user or nil)) do
					table.insert(lines, text { at, store, user, id, st.preserialize(item), when, with });
				end
			end
		end
	end
	return table.concat(lines, "\\n")"""


def make_content(server, messages=MESSAGES):
	server.lua(CONTENT % f"{bed.lua(server.host)}, {bed.lua(ROOMS)}")
	for user, count in (("user1", messages), ("user2", FEW), ("user3", FEW)):
		for first in range(1, count + 1, AT_ONCE):
			words = map(bed.lua, (user, f"{user}@{server.host}", first, min(first + AT_ONCE - 1, count)))
			server.lua(CHAT % (bed.lua(server.host), ", ".join(words)))


def dump(server):
	text = server.lua(DUMP % f"{bed.lua(server.host)}, {bed.lua(ROOMS)}")
	assert text.count("message ") >= 3 * FEW and "A room" in text and "slot" in text, text[:2000]
	return text


def start_with(server, driver):
	(server.directory / "data").mkdir(exist_ok=True)  # SQLite does not create it
	server.options["storage"] = driver
	server.start()


BIG, USERS = 8000, 3


def write_lists(server, count, host="prosody.test", store="archive"):
	"""Large archives, as mod_storage_internal keeps them."""
	lists = server.directory / "data" / host.replace(".", "%2e") / store
	lists.mkdir(parents=True)
	for user in range(USERS):
		with open(lists / f"user{user}.list", "w", encoding="ascii") as file:
			for n in range(count):
				file.write(f'item({{ ["name"] = "message"; ["attr"] = {{ ["id"] = "{n}" }}; "{"x" * 100}"; '
					f'["key"] = "{user}-{n:05}"; ["when"] = {1700000000 + n}; ["with"] = "bob@other.test"; }});\n')


def remove_data(server, driver):
	"""Removes the data of a driver that is not in use."""
	data = server.directory / "data"
	if driver == "native":
		shutil.rmtree(data / "native")
	elif driver == "sql":
		for path in data.glob("prosody.sqlite*"):
			path.unlink()
	else:
		for path in data.glob("*%2e*"):
			shutil.rmtree(path)


def totals(output):
	"""Users, source and target of the last row."""
	line, = (line for line in output.splitlines() if line.startswith("total "))
	return [int(cell) for cell in line.split()[1:4]]


# --- there and back ---

@behaviour("storage move: import copies all data of another driver, and export copies them back", over=OTHERS,
	**over(**MOVED))
def import_and_export_move_everything(server, driver):
	server.finish()
	start_with(server, driver)
	make_content(server)
	before = dump(server)
	server.finish()
	users, source, target = totals(good(server, "import", "--from", driver))
	assert source == target > MESSAGES and users > 20
	good(server, "check")
	start_with(server, "native")
	assert dump(server) == before
	server.finish()
	remove_data(server, driver)
	assert totals(good(server, "export", "--to", driver)) == [users, source, target]
	remove_data(server, "native")
	start_with(server, driver)
	assert dump(server) == before


@behaviour("storage move: data that were moved already are recognized, and not written again", over=OTHERS,
	**over(**MOVED))
def a_second_move_writes_nothing(server, driver):
	make_content(server)
	server.finish()
	first = good(server, "export", "--to", driver)
	assert good(server, "export", "--to", driver) == first
	transaction = json.loads(good(server, "stat", "--json"))["store"]["transaction"]
	assert totals(good(server, "import", "--from", driver)) == totals(first)
	assert json.loads(good(server, "stat", "--json"))["store"]["transaction"] == transaction


@behaviour("storage move: only the given host and store are copied", **over(**MOVED))
def only_the_named_host_and_store_are_copied(server):
	make_content(server)
	server.finish()
	good(server, "export", "--to", "internal")
	remove_data(server, "native")
	good(server, "import", "--from", "internal", server.host, "archive")
	assert {key[:2] for key in stat(server)} == {(server.host, "archive")}
	good(server, "import", "--from", "internal", ROOMS)
	assert {key[1] for key in stat(server) if key[0] == ROOMS} == {"muc_log", "persistent", "config"}
	good(server, "import", "--from", "internal", server.host, "pep*")
	assert {key[1] for key in stat(server, server.host)} == {"archive", "pep", "pep_urn:xmpp:avatar:data"}


@behaviour("storage move: an export works beside the running server", **over(**MOVED))
def export_works_beside_the_server(server):
	make_content(server)
	before = dump(server)
	good(server, "export", "--to", "internal")
	assert dump(server) == before
	server.finish()
	start_with(server, "internal")
	assert dump(server) == before


# --- refused moves ---

@behaviour("storage move: an import into a running server's store requires --online", **over(**MOVED))
def import_beside_the_server_needs_online(server):
	bad(server, "import", "--from", "internal", says="Prosody is running")
	assert "Nothing to copy in the store muc_log of " + ROOMS in good(
		server, "import", "--from", "internal", ROOMS, "muc_log", "--online")


@behaviour("storage move: drivers and hosts that do not exist are named, and no store is created", **over(**MOVED))
def unknown_drivers_and_hosts_are_named(server):
	server.finish()
	output = bad(server, "import", "--from", "nosuch", says="cannot load the storage driver 'nosuch'$")
	assert "until now" not in output.err, output
	bad(server, "import", "--from", "sqlite", says="called sql, and needs the package lua-dbi-sqlite3")
	bad(server, "import", "--from", "native", says="are both the native driver")
	for host in ("elsewhere.test", "*"):
		bad(server, "import", "--from", "internal", host, says="not in the configuration")


def contents(server):
	return json.loads(good(server, "stat", "--json"))["collections"]


@behaviour("storage move: conflicting data are named, and nothing is written unless they are to be kept",
	over=OTHERS, **over(**MOVED))
def other_data_in_the_target_are_named(server, driver):
	server.finish()
	start_with(server, driver)
	make_content(server)
	server.finish()
	start_with(server, "native")
	server.lua(f"""
		local sm, st = require "core.storagemanager", require "util.stanza";
		assert(sm.open({bed.lua(server.host)}, "roster"):set("user2", {{ [false] = {{ version = 99 }} }}));
		assert(sm.open({bed.lua(server.host)}, "archive", "archive"):append("user1", nil, st.message({{}}, "mine"), 1, "x@y"))""")
	server.finish()
	before = contents(server)
	output = bad(server, "import", "--from", driver)
	refused = [line for line in output.err.splitlines() if "has other data: " in line]
	assert [line.split()[-4:] for line in refused] == [
		["archive", "(archive)", "of", f"user1@{server.host}"], ["roster", "(keyval)", "of", f"user2@{server.host}"]], output
	assert contents(server) == before
	assert "Move away the earlier data of native first, " in output.out, output
	output = good(server, "import", "--from", driver, "--merge")
	assert len(re.findall(" 1 not copied$", output, re.M)) == 2 and " 2 not copied\n" in output, output
	assert output.splitlines()[-1].startswith("2 tables or archives were not copied: native has other data"), output
	after = stat(server)
	assert after[(server.host, "archive", "archive", "user1")] == 1
	assert after[(server.host, "archive", "archive", "user2")] == FEW
	assert after[(server.host, "roster", "keyval", "user2")] == 1
	assert after[(server.host, "roster", "keyval", "user1")] == 2


@behaviour("storage move: an export works after data from before the import were moved away", **over(**MOVED))
def the_way_back_needs_an_empty_target(server):
	server.finish()
	start_with(server, "internal")
	make_content(server, FEW)
	server.finish()
	good(server, "import", "--from", "internal")
	start_with(server, "native")
	server.lua(f"""
		local accounts = require "core.storagemanager".open({bed.lua(server.host)}, "accounts");
		assert(accounts:set("user1", {{ password = "another" }}))""")
	before = dump(server)
	server.finish()
	old = server.directory / "data/prosody%2etest"
	output = bad(server, "export", "--to", "internal", says="has other data: accounts .keyval. of user1@prosody.test")
	assert f"Move away the earlier data of internal first ({old}), " in output.out, output
	for path in list(old.parent.glob("*%2e*")):
		path.rename(server.directory / path.name)
	good(server, "export", "--to", "internal")
	remove_data(server, "native")
	start_with(server, "internal")
	assert dump(server) == before


@behaviour("storage move: counts that differ at the end are named, with status 1", **over(**MOVED))
def differing_counts_are_an_error(server):
	server.finish()
	lists = server.directory / "data/prosody%2etest/archive"
	lists.mkdir(parents=True)
	item = 'item({ ["name"] = "message"; ["attr"] = {}; ["key"] = "%s"; ["when"] = 1700000000; ["with"] = "b@c"; });\n'
	(lists / "twice.list").write_text(item % "same" + item % "same")
	(lists / "fine.list").write_text(item % "one" + item % "two")
	output = bad(server, "import", "--from", "internal",
		says=r"prosody.test  archive  archive  twice  same  duplicate id\n")
	assert "differs" in output.out and totals(output.out)[1:] == [4, 3] and "fine" not in output.err, output


@behaviour("storage move: items without an id, as in very old lists, are imported once", **over(**MOVED))
def items_without_an_id_are_imported_once(server):
	server.finish()
	lists = server.directory / "data/prosody%2etest/offline"
	lists.mkdir(parents=True)
	(lists / "alice.list").write_text("".join(
		f'item({{ ["name"] = "message"; ["attr"] = {{ ["stamp"] = "2023-11-14T22:13:2{n}Z"; ["id"] = "m{n}" }} }});\n'
		for n in range(5)))
	for _ in range(2):
		assert totals(good(server, "import", "--from", "internal")) == [1, 5, 5]
	assert stat(server) == {("prosody.test", "offline", "archive", "alice"): 5}


@behaviour("storage move: an archive is copied completely even if it exceeds the limit of the option",
	**over(options={"storage_archive_item_limit": 10}))
def archives_above_the_limit_are_copied(server):
	server.finish()
	write_lists(server, 30)
	assert totals(good(server, "import", "--from", "internal")) == [USERS, USERS * 30, USERS * 30]
	assert totals(good(server, "export", "--to", "sql")) == [USERS, USERS * 30, USERS * 30]


# --- interrupted ---

def imported(server):
	return sum(stat(server).values())


def file_size(server):
	return data_file(server).stat().st_size if data_file(server).exists() else 0


@behaviour("storage move: an import that is killed continues where it was, without loss or duplicates",
	**over(**MOVED))
def a_killed_import_continues(server):
	server.finish()
	write_lists(server, BIG)
	done, size = 0, 0
	for _ in range(2):
		process = subprocess.Popen(command(server, "import", "--from", "internal"), preexec_fn=bed.end_with_parent,
			stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
		bed.wait_for(lambda: file_size(server) > size + (1 << 20) or process.poll() is not None, "the store grows", 20)
		process.kill()
		assert process.wait() == -signal.SIGKILL, "it ended before it was killed"
		good(server, "check")
		before, done = done, imported(server)
		assert before < done < USERS * BIG, (before, done)
		size = file_size(server)
	assert totals(good(server, "import", "--from", "internal")) == [USERS, USERS * BIG, USERS * BIG]
	good(server, "check")
	server.start()
	for user in range(USERS):
		ids = server.lua(f"""
			local archive = require "core.storagemanager".open({bed.lua(server.host)}, "archive", "archive");
			local ids = {{}};
			for id in archive:find("user{user}") do table.insert(ids, id); end
			return table.concat(ids, " ")""").split()
		assert ids == [f"{user}-{n:05}" for n in range(BIG)], (len(ids), ids[:3], ids[-3:])


@behaviour("storage move: an export that is killed continues where it was", **over(**MOVED))
def a_killed_export_continues(server):
	server.finish()
	few = BIG // 2
	write_lists(server, few)
	good(server, "import", "--from", "internal")
	lists = server.directory / "data/prosody%2etest/archive"
	original = {path.name: path.stat().st_size for path in lists.iterdir()}
	shutil.rmtree(lists.parent)

	def written():
		return sum(path.stat().st_size for path in lists.glob("*.list"))
	process = subprocess.Popen(command(server, "export", "--to", "internal"), preexec_fn=bed.end_with_parent,
		stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
	bed.wait_for(lambda: written() > 1 << 18 or process.poll() is not None, "lists grow", 20)
	process.kill()
	assert process.wait() == -signal.SIGKILL and len(list(lists.glob("*.list"))) <= len(original)
	assert totals(good(server, "export", "--to", "internal")) == [USERS, USERS * few, USERS * few]


@behaviour("storage move: an import with --online does not block a writing server", **over(["mam"], **MOVED))
def import_online_does_not_block_the_server(server):
	write_lists(server, 2000, ROOMS, "muc_log")
	alice, bob = server.login("alice"), server.login("bob")
	process = subprocess.Popen(command(server, "import", "--from", "internal", ROOMS, "--online"),
		preexec_fn=bed.end_with_parent, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
	sent = []
	while process.poll() is None:
		say(bob, alice, str(len(sent)))
		sent.append(str(len(sent)))
		assert alice.bodies(1) == sent[-1:]
	output = process.communicate()[0]
	assert process.returncode == 0 and totals(output) == [USERS, USERS * 2000, USERS * 2000], output
	assert sent and bodies(server, alice.user) == sent


# --- other tools ---

def migrator(server, source, target):
	"""Prosody's own, with the paths that an installation has."""
	root = bed.PROSODIES / f"prosody-{server.version}/root"
	paths = {"SOURCEDIR": root / "usr/lib/prosody", "CONFIGDIR": server.directory, "DATADIR": server.directory / "data",
		"PLUGINDIR": f"{bed.PROJECT / 'lua'};{root / 'usr/lib/prosody/modules'}/"}
	lines = []
	for line in (root / "usr/bin/prosody-migrator").read_text().splitlines():
		for name, value in paths.items():
			if line.startswith(f"CFG_{name}="):
				line = f"CFG_{name}={bed.lua(value)};"
		lines.append(line)
		if line.strip() == "startup.init_global_state();":  # it does not read a configuration with this option
			lines.append('require "core.configmanager".set("*", "run_as_root", true);')
	launcher = server.directory / "migrator"
	launcher.write_text("\n".join(lines) + "\n")
	launcher.chmod(0o755)
	archives = ["archive-archive", "offline-archive", "uploads-archive", "muc_log-archive"]
	stores = ["accounts", "roster", "vcard", "odd", "cron", "persistent", "config", "pep-pubsub", *archives]
	places = {name: {"hosts": {server.host: stores, ROOMS: stores}, "type": name} for name in (source, target)}
	(server.directory / "migrator.cfg.lua").write_text("".join(f"{n} {bed.lua(p)}\n" for n, p in places.items()))
	done = subprocess.run([launcher, source, target], timeout=30, cwd=server.directory, stdin=subprocess.DEVNULL,
		stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
	assert done.returncode == 0 and "Done!" in done.stdout and "error" not in done.stdout, done.stdout


def without_pubsub(text):
	"""The migrator leaves out PubSub data of a host."""
	return [line for line in text.splitlines() if "pubsub_n" not in line]


@behaviour("storage move: Prosody's own migrator copies everything, and back", **over(**MOVED))
def the_migrator_of_prosody_works(server):
	server.finish()
	start_with(server, "internal")
	make_content(server, FEW)
	before = dump(server)
	server.finish()
	migrator(server, "internal", "native")
	good(server, "check")
	start_with(server, "native")
	assert without_pubsub(dump(server)) == without_pubsub(before)
	server.finish()
	remove_data(server, "internal")
	migrator(server, "native", "internal")
	start_with(server, "internal")
	assert without_pubsub(dump(server)) == without_pubsub(before)


KEPT_BY_0227 = ("accounts", "roster", "vcard", "pep", "pep_urn:xmpp:avatar:data", "archive")


@behaviour("storage move: accounts are exported as XEP-0227 and imported again; data that it cannot hold are named",
	**over(**MOVED))
def xep_0227_round_trip(server):
	make_content(server, FEW)
	before = {key: count for key, count in stat(server).items() if key[1] in KEPT_BY_0227}
	server.finish()
	output = bad(server, "export", "--to", "xep0227", server.host)
	named = {line.split()[1] for line in output.err.splitlines() if "cannot hold it" in line}
	assert named == {"cron", "odd", "offline", "pubsub_news", "pubsub_nodes", "uploads"}, output
	assert "counts differ" not in output.err, output
	assert len(list((server.directory / "data").glob("*@prosody.test.xml"))) == 3
	remove_data(server, "native")
	good(server, "import", "--from", "xep0227", server.host)
	assert stat(server) == before
	start_with(server, "native")
	bob = server.lua("""
		local sm = require "core.storagemanager";
		local item = sm.open("prosody.test", "roster"):get("user1")["bob@other.test"];
		local bodies = {};
		for id, stanza, when, with in sm.open("prosody.test", "archive", "archive"):find("user1") do
			table.insert(bodies, stanza:get_child_text("body")); assert(with == "bob@other.test");
		end
		return item.name..item.subscription..tostring(item.groups.Friends).." "..table.concat(bodies, " ")""")
	assert bob == "Bobbothtrue " + " ".join(f"message {n}" for n in range(1, FEW + 1)), bob[:200]


@behaviour("storage move: an account created by Prosody logs in after an export as XEP-0227 and an import",
	**over(options={"authentication": "internal_hashed"}))
def a_hashed_account_round_trip(server):
	alice = server.login("alice")
	server.finish()
	tool(server, "export", "--to", "xep0227")
	remove_data(server, "native")
	good(server, "import", "--from", "xep0227")
	server.start()
	server.again(alice).ping()
