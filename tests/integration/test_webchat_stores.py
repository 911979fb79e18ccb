"""No data of a visitor are stored, with any driver."""
import bed
import xmpp
from webchatsite import GUESTS, SUPPORT, behaviour, enter

STORES = ["accountactivity", "account_activity", "accounts", "archive", "archive_prefs", "blocklist", "invite_token", "offline",
	"pep", "pep_data", "pep_service", "private", "roster", "smacks_h", "tombstones", "vcard", "cloud_notify"]
MODULES = ["webchat", "mam", "pep", "blocklist", "lastactivity"]
OLDER, NEWER = ["vcard", "private"], ["vcard_legacy", "bookmarks"]  # these keep theirs in PEP


def stored(server):
	"""The driver's own data of the visitors' host."""
	return server.lua(f"""
		local found, get_driver = {{}}, require "core.storagemanager".get_driver;
		for _, name in ipairs {bed.lua(STORES)} do
			for _, kind in ipairs {{ "keyval", "archive" }} do
				local store = get_driver({bed.lua(GUESTS)}, name):open(name, kind);
				local users, state = nil, nil;
				if store and store.users then users, state = store:users(); end
				if users then
					for user in users, state do table.insert(found, name .. "/" .. tostring(user)); end
				end
			end
		end
		return table.concat(found, " ")""")


def visit(server):
	"""All actions that make modules of a host store data of a user."""
	agent, visitor = enter(server.login("agent"), "agent"), server.in_room("visitor")
	agent.until("presence")
	visitor.enable()
	agent.chat(f"{SUPPORT}/visitor", "in private")
	assert visitor.until("message").body == "in private"
	visitor.chat(f"{SUPPORT}/agent", "answer")
	assert agent.until("message").body == "answer"
	for payload in ("<vCard xmlns='vcard-temp'><FN>X</FN></vCard>", "<query xmlns='jabber:iq:private'><a xmlns='b'/></query>",
			"<prefs xmlns='urn:xmpp:mam:2' default='always'/>"):
		assert visitor.ask(payload, "set")["type"] == "error"
	visitor.cut()
	server.wait_hibernating(visitor)
	server.wait_until(visitor, "s.smacks_counter_saved")
	agent.chat(f"{SUPPORT}/visitor", "are you there?")
	again = server.stranger()
	again.authenticate()
	again.resume(visitor)
	assert again.until("message").body == "are you there?"
	again.cut()
	server.wait_hibernating(again)
	server.lua("for _, s in pairs(prosody.full_sessions) do if s.hibernating then s.hibernating_watchdog:callback(); end end")
	server.wait_gone(again)
	agent.close()


def driver(name, modules=OLDER, **options):
	settings = {"guests": {"allow_anonymous_storage": True}, "guest_modules": [*MODULES, *modules],
		"options": {"storage": name, **options}}

	@behaviour(f"no data of a visitor are stored with {name} by {', '.join(modules)}", **settings)
	def nothing(server):
		visit(server)
		assert stored(server) == "", stored(server)
		server.shell("module", "unload", "webchat", GUESTS)
		for module in ("mam", "smacks", "offline"):
			server.shell("module", "reload", module, GUESTS)
		server.shell("module", "load", "webchat", GUESTS)  # after the handlers that write
		visit(server)
		assert stored(server) == "", stored(server)


driver("internal")
driver("native")
driver("internal", NEWER)
driver("sql", NEWER, sql={"driver": "SQLite3", "database": "prosody.sqlite"})
driver("sql", sql={"driver": "SQLite3", "database": "prosody.sqlite"})
