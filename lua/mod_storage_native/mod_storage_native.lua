-- Storage for all of Prosody in one LMDB environment, the database. README.md lists options, log lines and limits.

module:set_global();

local timer = require "util.timer";

local config = require "core.configmanager";

local database = module:require "database";
local option_reader = module:require "option_reader";
local host_options = option_reader.of_scope(module:require "options", "host");
local types = module:require "types"(database);
module:require "metrics"(database);
module:require "compaction"(database);
module:require "tuning";

-- ---- The life of the database ----

-- Also a host whose module is not loaded yet
function database.is_host_limited()
	for host in pairs(config.getconfig()) do
		local values = option_reader.values(host_options, function (name) return config.get(host, name); end, function () end);
		if values.storage_native_max_host_size > 0 then return true; end
	end
	return false;
end

-- Only the event loop runs timers: before it runs, Prosody may still fork
if prosody.process_type == "prosody" then
	database.configure();
	timer.add_task(0, database.loop_started);
	module:hook_global("config-reloaded", database.reconfigure);
end
module:hook_global("server-stopping", function ()
	database.on_close();
	database.commit();
end, -1000);
-- Not closed: Prosody 0.12 stops in the middle of any work, and continues it. The database is closed with the process.
module:hook_global("server-stopped", database.flush, -1000);

function module.unload()
	database.unload();
end

-- ---- The driver of a host ----

local driver = { when_durable = database.when_durable };
local driver_mt = { __index = driver };

-- The smaller of two limits, each of which may be nil or 0 for none
local function lower(a, b)
	if not a or a == 0 then return b or 0; end
	return b and b > 0 and math.min(a, b) or a;
end

local function read_limits(host_module, limits)
	local values = option_reader.read(host_options, host_module);
	limits.archive = lower(host_module:get_option_number("storage_archive_item_limit"));
	limits.offline = lower(limits.archive, values.storage_native_offline_limit);
	limits.host_size = math.floor(values.storage_native_max_host_size);
	return limits;
end

local function new_driver(host_module)
	local limits = read_limits(host_module, {});
	if prosody.process_type == "prosody" then
		host_module:hook_global("config-reloaded", function () read_limits(host_module, limits); end);
		host_module:add_item("native-status", { name = "storage_native", figures = function ()
			return database.host_figures(host_module.host, limits.host_size);
		end });
	end
	return setmetatable({
		host = host_module.host;
		limits = limits;
		-- A component has no accounts, whatever the authentication of the whole server is
		anonymous = host_module:get_host_type() == "local"
			and host_module:get_option_string("authentication") == "anonymous"
			and not host_module:get_option_boolean("allow_anonymous_storage", false);
	}, driver_mt);
end

function driver:open(store, typ)
	typ = typ or "keyval";
	local class = typ ~= "iterate" and types[typ];
	if not class then return nil, "unsupported-store"; end
	local opened = setmetatable({
		host = self.host;
		store = store;
		type = typ;
		kind = typ == "archive" and "archive" or "keyval";
		anonymous = self.anonymous;
		limits = self.limits;
	}, class);
	if typ == "archive" then
		local quota = opened:quota();
		opened.caps = { total = true, quota = quota > 0 and quota or nil, truncate = true, full_id_range = true, ids = true,
			wildcard_delete = true };
	end
	return opened;
end

function driver:stores(user, typ)
	local handle, condition, text = database.use();
	if not handle then return nil, condition, text; end
	local names, kinds, detail = handle:list(self.host, user);
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
	if type(user) ~= "string" then return nil, "purge needs the name of a user"; end
	local handle, condition, text = database.use();
	if not handle then return nil, condition, text; end
	local ok;
	ok, condition, text = database.wrote(handle:purge(self.host, user));
	database.schedule_erase();
	return ok, condition, text;
end

function module.add_host(host_module)
	host_module:provides("storage", new_driver(host_module));
end

-- ---- prosodyctl mod_storage_native ----

local NOTES = [==[
An interrupted import or export continues when it is run again. If the target holds other data, nothing is written: move
them away first, or use --merge to copy the rest and leave them unchanged.]==];

-- Calls a command of a part, which is loaded when it is needed
local function command(part, name)
	return function (names, flags)
		return module:require(part)[name](names, flags, database);
	end
end

function module.command(arg)
	return module:require "command"(arg, {
		{
			usage = "stat [HOST [STORE [USER]]] [--json]";
			help = "shows the contents of the database; pep_* stands for all stores that begin with pep_";
			run = command("inspect", "stat");
		};
		{
			usage = "check [--json]";
			help = "checks that records which depend on one another agree";
			run = command("inspect", "check");
		};
		{
			usage = "backup FILE";
			help = "copies the database to a new file, while the server runs";
			run = command("backup", "backup");
		};
		{
			usage = "restore FILE [--replace]";
			help = "replaces the database by a backup; the server must be stopped";
			run = command("backup", "restore");
		};
		{
			usage = "compact";
			help = "rewrites the database without deleted data, also while the server runs";
			run = command("compact", "compact");
		};
		{
			usage = "import --from DRIVER [HOST [STORE]] [--merge] [--online] [--json]";
			help = "copies from another storage driver, for instance internal or sql";
			run = command("transfer", "import");
		};
		{
			usage = "export --to DRIVER [HOST [STORE]] [--merge] [--json]";
			help = "copies to another storage driver";
			run = command("transfer", "export");
		};
	}, NOTES);
end
