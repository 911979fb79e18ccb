-- prosodyctl mod_storage_native import, export: copies between the native driver and another one, by their methods.
--
-- A job is one run of such a command, a unit the data of one user in a store:
--   { store =, user = or false for the host, source and target = entries, skipped = entries of the source that were not copied,
--     conflict = whether the target has other data, failures = number, fault = whether all of it has failed }

local datamanager = require "core.storagemanager".olddm;

local copy = module:require "copy";
local drivers = module:require "drivers";
local estimate = module:require "estimate";
local faults = module:require "faults";
local paths = module:require "paths";
local report = module:require "report";
local terminal = module:require "terminal";
local tool = module:require "tool";
local writes = module:require "writes";

local fail = tool.fail;

-- Per cent of the memory in use after a collection at which the next one begins. Prosody's default, 105, marks the ids of an
-- archive again and again: a third of the time.
local COLLECT_AT = 200;

local RUN_AGAIN = "\nFix this, and run the command again: it continues after the data that were copied.";
local MISSING = "missing in %s, although later ones are there: skipped by an earlier run, or deleted since;"
	.." to copy the whole archive, remove it there first";
local PACKAGES = "needs the package lua-dbi-sqlite3, lua-dbi-mysql or lua-dbi-postgresql";
local OF_SQL = "; the driver of SQL databases is called sql, and "..PACKAGES;
local LIKELY = { -- reasons why a driver cannot be loaded
	sql = "; it "..PACKAGES;
	sqlite = OF_SQL, sqlite3 = OF_SQL, mysql = OF_SQL, postgresql = OF_SQL;
};

-- ---- Stores that are copied: { host =, name =, type =, source =, target =, unsupported = } ----

local function open_store(job, host, source_driver, target_driver, entry)
	local function wrap(driver_store, driver, name)
		return driver_store and drivers.open_store(driver_store, driver, name, host, entry.store, entry.type, job.database);
	end
	local source = wrap(source_driver:open(entry.store, entry.type), source_driver, job.from);
	local target, why = target_driver:open(entry.store, entry.type);
	if not source then return nil; end
	source.packs = job.to == "native";
	return {
		host = host; name = entry.store; type = entry.type; source = source;
		target = wrap(target, target_driver, job.to);
		unsupported = not target and ("%s cannot hold it (%s)"):format(job.to, why) or nil;
	};
end

local function stores_of(job, host)
	local loaded, missing = drivers.load(host, { job.from, job.to });
	if not loaded then
		faults.stop(("cannot load the storage driver '%s'%s"):format(missing, LIKELY[missing] or ""), false);
	end
	local source_driver, target_driver, list = loaded[1], loaded[2], {};
	for _, entry in ipairs(drivers.stores(job.from, source_driver, host)) do
		if not job.store or drivers.matches(job.store, entry.store) then
			list[#list + 1] = open_store(job, host, source_driver, target_driver, entry);
		end
	end
	return list;
end

-- ---- Data that are in the target already ----

local function compare_user(store, user, conflicts)
	local ok, state = faults.protect(copy[store.type].compare, store.source, store.target, user or nil);
	if not ok then
		store.faults[user] = state;
	elseif state ~= "none" then
		store.states[user] = state;
	end
	if state == "other" then conflicts[#conflicts + 1] = { store = store, user = user }; end
end

-- The weight of a user's data; nil if the source cannot tell
local function weigh(store, user)
	if not store.source.weight then return store.type == "keyval" and 1 or nil; end
	local ok, weight = pcall(store.source.weight, store.source, user or nil);
	return ok and weight or 0;
end

-- Notes the states of earlier copies and the faults, by user, and in conflicts the users whose data are of another origin.
local function compare_store(job, store, conflicts)
	store.states, store.faults = {}, {};
	if store.unsupported then return; end
	local there = {};
	for _, user in ipairs(drivers.users(store.target)) do there[user] = true; end
	for _, user in ipairs(drivers.users(store.source)) do
		if there[user] then compare_user(store, user, conflicts); end
		job.progress:expect(function () return weigh(store, user); end);
	end
end

-- The directories of conflicting data, as far as they are known
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
		terminal.error("The target has other data: %s", report.name(conflict.store, conflict.user));
	end
	job.result.refused(conflicts, ("Nothing was written. Move away the earlier data of %s first%s, see README.md;"
		.." or use --merge to copy the rest and leave these unchanged."):format(job.to, places(job, conflicts)));
	return 1;
end

-- ---- Copying ----

local function count_target(job, store, unit)
	local key, text;
	unit.target, key, text = copy[store.type].verify(store.source, store.target, unit.user or nil, unit.skipped == 0);
	if key then
		job.failed(unit, key, text, 0);
	elseif unit.target ~= unit.source - unit.skipped then
		job.failed(unit, nil, ("source and target counts differ: %d and %d"):format(unit.source, unit.target), 0);
	end
end

-- A fault of the whole unit has been reported already.
local function verify(job, store, unit)
	if unit.fault then return; end
	local ok, fault = faults.protect(count_target, job, store, unit);
	if not ok and unit.skipped < unit.source then job.failed(unit, fault.item, fault.reason, 0); end
end

local function report_missing(job, unit, missing)
	if not missing or not missing[1] then return; end
	local name = #missing == 1 and missing[1] or ("%s and %d more"):format(missing[1], #missing - 1);
	job.failed(unit, name, MISSING:format(job.to), #missing);
end

local function copy_user(job, store, unit)
	local function write(item, count, call)
		job.progress:wrote();
		job.writes:add(unit, item, count, call);
	end
	local function skip(item, reason, count) job.failed(unit, item, reason, count); end
	local state = store.states[unit.user];
	report_missing(job, unit, state and state.missing);
	local function passed(weight) job.progress:passed(weight); end
	unit.source = copy[store.type].copy(store.source, store.target, unit.user or nil, state, write, skip, passed);
end

local function count_user(store, unit)
	unit.source = copy[store.type].count(store.source, unit.user or nil);
	unit.skipped = unit.source;
end

local function copy_unit(job, store, user)
	local unit = { store = store, user = user, source = 0, target = 0, skipped = 0 };
	unit.conflict = store.states[user] == "other";
	if unit.conflict then return unit; end
	job.progress:begin(report.name(store, user));
	local ok, fault = not store.faults[user], store.faults[user];
	if ok and store.unsupported then
		ok, fault = faults.protect(count_user, store, unit);
	elseif ok then
		ok, fault = faults.protect(copy_user, job, store, unit);
	end
	if not ok then
		unit.fault = true;
		job.failed(unit, fault.item, fault.reason, 0);
	end
	return unit;
end

-- Copies a store, then verifies it.
local function copy_store(job, store)
	local units = {};
	for _, user in ipairs(drivers.users(store.source)) do
		local unit = copy_unit(job, store, user);
		if unit.conflict or unit.fault or unit.source > 0 then units[#units + 1] = unit; end
	end
	job.writes:flush();
	for _, unit in ipairs(units) do
		if not unit.conflict and not store.unsupported then verify(job, store, unit); end
	end
	if units[1] then job.result.add(store, units); end
end

-- The fault of a whole store, or host
local function fail_all(job, store, fault)
	job.result.failed(store, nil, fault.item, paths.explain(fault.reason));
end

local function copy_all(job, stores)
	for _, store in ipairs(stores) do
		local ok, fault = faults.protect(copy_store, job, store);
		if not ok then fail_all(job, store, fault); end
	end
	job.progress:finish();
	return job.result.finish();
end

local function run(job)
	local stores, conflicts = {}, {};
	for _, host in ipairs(job.hosts) do
		local listed, list = faults.protect(stores_of, job, host);
		if not listed then fail_all(job, { host = host }, list); end
		for _, store in ipairs(listed and list or {}) do
			local ok, fault = faults.protect(compare_store, job, store, conflicts);
			if ok then
				stores[#stores + 1] = store;
			else
				fail_all(job, store, fault);
			end
		end
	end
	if conflicts[1] and not job.merge then return refuse(job, conflicts); end
	return copy_all(job, stores);
end

-- Anything but a stop is a bug.
local function explain(err)
	return type(err) == "table" and err.stop and err or { text = debug.traceback(tostring(err)) };
end

local function new_job(names, flags, database, from, to)
	local job = {
		from = from, to = to, merge = flags.merge, host = names[1], store = names[2];
		hosts = names[1] and { names[1] } or drivers.hosts();
		database = database;
		progress = estimate("Copying");
	};
	job.result = report.new(job, flags.json);
	function job.failed(unit, item, reason, count)
		unit.skipped, unit.failures = unit.skipped + count, (unit.failures or 0) + 1;
		job.result.failed(unit.store, unit.user, item, reason);
	end
	job.writes = writes(to == "native" and database or nil, flags.online, job.failed);
	return job;
end

local function transfer(names, flags, database, from, to)
	if from == to then return fail("source and target are both the native driver"); end
	if names[1] == "*" or (names[1] and not prosody.hosts[names[1]]) then
		return fail("the host %s is not in the configuration", names[1]);
	end
	local handle, _, why = database.use();
	if not handle then return fail("%s: %s", tool.directory, why); end
	collectgarbage("incremental", COLLECT_AT);
	local unverified = to == "native" and handle:verification().structure ~= "sound"; -- no page of it would be used again
	local damage = unverified and tool.verify(handle);
	if damage then
		database.close();
		return fail("%s: %s", tool.directory, damage);
	end
	local job = new_job(names, flags, database, from, to);
	local ok, status = xpcall(run, explain, job);
	job.progress:finish();
	database.close();
	if ok then return status; end
	if not status.stop then error(status.text, 0); end
	return fail("%s%s", status.text, status.again and RUN_AGAIN or "");
end

local commands = {};

function commands.import(names, flags, database)
	if tool.server_runs() and not flags.online then
		return fail("Prosody is running. It caches data of the database in memory, and would not notice the imported ones."
			.." Stop it, or use --online if it does not use these data");
	end
	return transfer(names, flags, database, flags.from, "native");
end

function commands.export(names, flags, database)
	local missing = tool.missing();
	if missing then return fail("%s", missing); end
	return transfer(names, flags, database, "native", flags.to);
end

return commands;
