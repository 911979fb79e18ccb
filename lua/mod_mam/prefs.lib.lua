-- Preferences: requests of clients, and whether a user wants a message archived

local jid_prefs = module:require "mamprefs";
local prefs_xml = module:require "mamprefsxml";

local load_roster = require "core.rostermanager".load_roster;
local st = require "util.stanza";
local user_exists = require "core.usermanager".user_exists;

local host = module.host;
local sessions = prosody.hosts[host].sessions;

-- Whether user wants messages of the contact archived. full, bare: the contact's JID as in the message, and its bare form
local function wants(user, full, bare)
	if not sessions[user] and not user_exists(user, host) then return false; end
	local prefs = jid_prefs.get(user);
	local rule = prefs[full];
	if rule == nil then rule = prefs[bare]; end
	if rule == nil then rule = prefs[false]; end
	if rule == "roster" then return bare ~= nil and load_roster(user, host)[bare] ~= nil; end
	return rule;
end

--- Requests (XEP-0441)

local function set_prefs(stanza, user)
	local element = stanza.tags[1];
	local prefs, condition, text = prefs_xml.parse(element);
	if not prefs then return st.error_reply(stanza, "modify", condition, text); end
	local ok, err = jid_prefs.set(user, prefs);
	if not ok then
		module:log("error", "Cannot store preferences of %s: %s", user, err);
		return st.error_reply(stanza, "cancel", "internal-server-error", "The preferences could not be stored");
	end
end

module:hook("iq/self/urn:xmpp:mam:2:prefs", function (event)
	local origin, stanza = event.origin, event.stanza;
	local reply = stanza.attr.type == "set" and set_prefs(stanza, origin.username);
	origin.send(reply or st.reply(stanza):add_child(prefs_xml.tostanza(jid_prefs.get(origin.username, true))));
	return true;
end);

--- Writers of the store other than this module

local function forget_all()
	for user in pairs(sessions) do jid_prefs.forget(user); end
end

local function wrap(store, name, forget)
	return store[name] and function (self, user, ...)
		local ok, err = store[name](self, user, ...);
		forget(user);
		return ok, err;
	end;
end

-- The store as other modules see it: each write makes sessions forget the preferences
local function watched(store)
	return setmetatable({
		set = wrap(store, "set", jid_prefs.forget);
		set_key = wrap(store, "set_key", jid_prefs.forget);
		set_keys = wrap(store, "set_keys", jid_prefs.forget);
		delete_all = wrap(store, "delete_all", forget_all);
		delete_key_from_all = wrap(store, "delete_key_from_all", forget_all);
	}, { __index = store });
end

return function (archive_store)
	local name = archive_store.."_prefs";
	module:hook("store-opened", function (event)
		if event.store_name == name then event.store = watched(event.store); end
	end);
	module:hook_global("user-deleted", function (event)
		if event.host == host then jid_prefs.forget(event.username); end
	end);
	return { wants = wants; touch = function (user) jid_prefs.get(user, true); end };
end
