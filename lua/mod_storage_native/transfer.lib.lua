-- prosodyctl mod_storage_native import, export: between the native driver and another one, through their methods

local datamanager = require "core.storagemanager".olddm;

local catalogue = module:require "catalogue";
local existing = module:require "existing";
local hosts = module:require "hosts";
local kinds = module:require "kinds";
local as_list = module:require "lists";
local matches = module:require "names".matches;
local report = module:require "report";
local terminal = module:require "terminal";
local new_writer = module:require "writer";

local GO_ON = "\nWhat was copied until now is there; run it again to go on.";
local PACKAGES = "needs the package lua-dbi-sqlite3, lua-dbi-mysql or lua-dbi-postgresql";
local OF_SQL = "; that of SQL databases is called sql, and "..PACKAGES;
local LIKELY = { -- why a driver cannot be loaded
	sql = "; it "..PACKAGES;
	sqlite = OF_SQL, sqlite3 = OF_SQL, mysql = OF_SQL, postgresql = OF_SQL;
};

local function fail(format, ...)
	terminal.error(format, ...);
	return 1;
end

-- ---- Stores that are copied: { host =, name =, type =, source =, target =, unsupported = } ----

local function open_store(job, host, drivers, entry)
	local source = drivers.source:open(entry.store, entry.type);
	local target, why = drivers.target:open(entry.store, entry.type);
	return source and {
		host = host; name = entry.store; type = entry.type;
		source = as_list(source, job.from, host, entry.store, entry.type);
		target = as_list(target, job.to, host, entry.store, entry.type);
		unsupported = not target and ("%s cannot hold it (%s)"):format(job.to, why) or nil;
	};
end

local function stores_of(job, host)
	local loaded, missing = hosts.drivers(host, { job.from, job.to });
	if not loaded then error(("the storage driver '%s' cannot be loaded%s"):format(missing, LIKELY[missing] or ""), 0); end
	local drivers, list = { source = loaded[1], target = loaded[2] }, {};
	for _, entry in ipairs(catalogue.stores(job.from, drivers.source, host)) do
		if not job.store or matches(job.store, entry.store) then
			list[#list + 1] = open_store(job, host, drivers, entry);
		end
	end
	return list;
end

-- ---- What is in the target already ----

-- Notes in store.begun how much of each user's data is there, and in conflicts whose is of another origin.
local function compare_store(store, conflicts)
	store.begun = {};
	if store.unsupported then return; end
	local there = {};
	for _, user in ipairs(catalogue.users(store.target)) do there[user] = true; end
	for _, user in ipairs(catalogue.users(store.source)) do
		if there[user] then
			local begun = kinds[store.type].compare(store.source, store.target, user or nil);
			store.begun[user] = begun;
			if begun == "other" then conflicts[#conflicts + 1] = { store = store, user = user }; end
		end
	end
end

-- Where what is in the way lies, as far as that is known
local function places(job, conflicts)
	local list, seen = {}, {};
	for _, conflict in ipairs(conflicts) do
		local host = conflict.store.host;
		if job.to == "internal" and not seen[host] then
			seen[host] = true;
			list[#list + 1] = datamanager.getpath(nil, host, "x"):match("^(.*)/");
		end
	end
	return list[1] and (" (%s)"):format(table.concat(list, ", ")) or "";
end

local function refuse(job, conflicts)
	for _, conflict in ipairs(conflicts) do
		terminal.error("%s holds other data already", report.name(conflict.store, conflict.user));
	end
	terminal.print("Nothing was written. Move away first what %s holds of before%s, as README.md tells;"
		.." or --merge copies the rest, and leaves these as they are.", job.to, places(job, conflicts));
	return 1;
end

-- ---- Copying ----

local function copy_user(job, store, user, unit)
	local function write(call)
		job.writer.write(unit, call);
		job.written = job.written + 1;
		job.progress.update(("%s  %d written"):format(report.name(store, user), job.written));
	end
	local begun = store.begun[user] or "none";
	unit.source = kinds[store.type].copy(store.source, store.target, user or nil, begun == "none" and 0 or begun, write);
end

-- Copies a store, then counts what has come. Returns the units: { user =, source =, target =, error = }.
local function copy_store(job, store)
	local units, kind = {}, kinds[store.type];
	for _, user in ipairs(catalogue.users(store.source)) do
		local unit = { user = user, skipped = store.begun[user] == "other" };
		if unit.skipped then
			units[#units + 1] = unit;
		elseif store.unsupported then
			unit.source, unit.target = kind.count(store.source, user or nil), 0;
		else
			copy_user(job, store, user, unit);
		end
		if not unit.skipped and unit.source > 0 then units[#units + 1] = unit; end
	end
	job.writer.flush();
	for _, unit in ipairs(units) do
		if not unit.skipped and not store.unsupported then unit.target = kind.count(store.target, unit.user or nil); end
	end
	return units;
end

local function copy_all(job, stores)
	local result = report.new(job);
	for _, store in ipairs(stores) do
		local units = copy_store(job, store);
		if units[1] then result.add(store, units); end
	end
	job.progress.finish();
	return result.finish();
end

local function run(job)
	local stores, conflicts = {}, {};
	for _, host in ipairs(job.hosts) do
		for _, store in ipairs(stores_of(job, host)) do
			compare_store(store, conflicts);
			stores[#stores + 1] = store;
		end
	end
	if conflicts[1] and not job.merge then return refuse(job, conflicts); end
	return copy_all(job, stores);
end

return function (database)
	local function transfer(names, flags, from, to)
		if from == to then return fail("the other driver cannot be the native one itself"); end
		if names[1] == "*" or (names[1] and not prosody.hosts[names[1]]) then
			return fail("the host %s is not in the configuration", names[1]);
		end
		local handle, _, why = database.use();
		if not handle then return fail("%s: %s", existing.directory, why); end
		local job = {
			from = from, to = to, merge = flags.merge, host = names[1], store = names[2], written = 0;
			hosts = names[1] and { names[1] } or hosts.names();
			writer = new_writer(to == "native" and database or nil);
			progress = terminal.progress("Copying");
		};
		local ok, status = pcall(run, job);
		job.progress.finish();
		database.close();
		if ok then return status; end
		return fail("%s%s", status, job.written > 0 and GO_ON or "");
	end

	local tools = {};

	function tools.import(names, flags)
		if existing.server_runs() and not flags.online then
			return fail("Prosody is running. It keeps in memory some of what it has read from the store, and would not see"
				.." what is imported: stop it, or give --online where it does not use what is imported");
		end
		return transfer(names, flags, flags.from, "native");
	end

	function tools.export(names, flags)
		local missing = existing.missing();
		if missing then return fail("%s", missing); end
		return transfer(names, flags, "native", flags.to);
	end

	return tools;
end
