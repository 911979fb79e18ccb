-- A user's archiving preferences (XEP-0441): { [false] = default, [jid] = true or false }. default: true, false or "roster". JIDs may be
-- bare or full.
--
-- Other modules load this file (module:require "mod_mam/mamprefs"), so it needs no other file of this folder, and what it remembers is
-- in Prosody's table of sessions.

local host = module.host;
local smart_enable = module:get_option_boolean("mam_smart_enable", false);
local prefs_store = module:open_store(module:get_option_string("archive_store", "archive").."_prefs");

local POLICIES = { always = true, [true] = true, never = false, [false] = false, roster = "roster" };

local function default_policy()
	local policy = POLICIES[module:get_option("default_archive_policy", true)];
	if policy == nil then return true; end -- mod_mam logs it
	return policy;
end

-- For users without preferences
local defaults = { [false] = default_policy() };
local not_enabled = { [false] = false };

local function sessions_of(user)
	return prosody.hosts[host].sessions[user];
end

-- explicit: a client that knows archives takes part
local function get(user, explicit)
	local user_sessions = sessions_of(user);
	local prefs = user_sessions and user_sessions.archive_prefs;
	if prefs then return prefs; end
	local read, err;
	if not (user_sessions and user_sessions.archive_prefs_unset) then
		prefs, err = prefs_store:get(user);
		read = not err;
	end
	if not prefs and smart_enable and explicit then
		prefs = { [false] = defaults[false] };
		prefs_store:set(user, prefs);
	end
	if user_sessions then
		user_sessions.archive_prefs = prefs;
		if read then user_sessions.archive_prefs_unset = prefs == nil; end
	end
	if prefs then return prefs; end
	return smart_enable and not_enabled or defaults;
end

-- Forgets what sessions remember: a change in the store is seen at once
local function forget(user)
	local user_sessions = sessions_of(user);
	if not user_sessions then return; end
	user_sessions.archive_prefs, user_sessions.archive_prefs_unset = nil, nil;
end

-- Returns true, or nil and an error
local function set(user, prefs)
	forget(user);
	local ok, err = prefs_store:set(user, prefs);
	-- not read again: mod_storage_sql forgets rules that are false
	local user_sessions = ok and sessions_of(user);
	if user_sessions then user_sessions.archive_prefs = prefs; end
	return ok, err;
end

return { get = get; set = set; forget = forget };
