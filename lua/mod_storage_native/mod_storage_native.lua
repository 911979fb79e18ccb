-- Storage for all of Prosody in one LMDB environment. See README.md.

module:set_global();

local timer = require "util.timer";

local database = module:require "database";
local keyval_types = module:require "keyval";
local archive_type = module:require "archive";
module:require "figures" (database);
module:require "tuning";

-- ---- The store's life ----

-- Only the event loop runs timers: before it does, Prosody may still fork
if prosody.process_type == "prosody" then
	database.configure();
	timer.add_task(0, database.loop_started);
end
module:hook_global("server-stopping", database.commit, -1000);
-- Not closed: Prosody 0.12 stops in the middle of whatever it is doing, and goes on with that. The
-- store is closed with the process.
module:hook_global("server-stopped", database.flush, -1000);

function module.unload()
	database.unload();
end

-- ---- A host's driver ----

-- luacheck: ignore 212/self

local function make_driver(host_module)
	local host = host_module.host;
	-- A component has no accounts, whatever the whole server's authentication is
	local anonymous = host_module:get_host_type() == "local"
		and host_module:get_option_string("authentication") == "anonymous"
		and not host_module:get_option_boolean("allow_anonymous_storage", false);
	local quota = host_module:get_option_number("storage_archive_item_limit");

	-- The space of a store in the store that is open now, which may be another than before
	local function get_space(self, for_writing)
		if for_writing and anonymous then
			return nil, "not-allowed", "nothing is stored for anonymous users";
		end
		local handle, condition, text = database.use();
		if not handle then return nil, condition, text; end
		if self.handle ~= handle then
			self.space, condition, text = handle[self.kind](handle, host, self.store);
			self.handle = handle;
		end
		return self.space, condition, text;
	end

	local types = keyval_types(database, get_space);
	local archive = archive_type(database, get_space, types.iterate);
	archive.caps = {
		total = true;
		quota = quota;
		truncate = true;
		full_id_range = true;
		ids = true;
		wildcard_delete = true;
	};
	types.archive = { __index = archive };

	local driver = { when_durable = database.when_durable };

	function driver:open(store, typ)
		typ = typ or "keyval";
		local class = types[typ];
		if not class or typ == "iterate" then return nil, "unsupported-store"; end
		return setmetatable({
			store = store;
			type = typ;
			kind = typ == "archive" and "archive" or "keyval";
			quota = typ == "archive" and quota or nil;
		}, class);
	end

	function driver:stores(user, typ)
		local handle, condition, text = database.use();
		if not handle then return nil, condition, text; end
		local names, kinds, detail = handle:list(host, user);
		if not names then return database.failed("read from %s", kinds, detail); end
		local seen, stores = {}, {};
		for i, name in ipairs(names) do
			if not seen[name] and (typ == nil or kinds[i] == typ) then
				seen[name] = true;
				stores[#stores + 1] = name;
			end
		end
		return types.iterate(stores);
	end

	function driver:purge(user)
		if type(user) ~= "string" then return nil, "only a user can be purged"; end
		local handle, condition, text = database.use();
		if not handle then return nil, condition, text; end
		local ok;
		ok, condition, text = database.wrote(handle:purge(host, user));
		database.schedule_erase();
		return ok, condition, text;
	end

	return driver;
end

function module.add_host(host_module)
	host_module:provides("storage", make_driver(host_module));
end

function module.command(arg) return module:require "tool"(database, arg); end
