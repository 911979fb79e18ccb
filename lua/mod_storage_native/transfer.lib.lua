-- prosodyctl mod_storage_native import, export: copies between the native driver and another one, by their methods.
--
-- A job is one run of such a command, a unit the data of one user in a store:
--   { store =, user = or false for the host, source and target = entries, skipped = entries of the source that were not copied,
--     conflict = whether the target has other data, failures = number, fault = whether all of it has failed }

local datamanager = require "core.storagemanager".olddm;

local copy = module:require "copy";
local drivers = module:require "drivers";
local faults = module:require "faults";
local paths = module:require "paths";
local report = module:require "report";
local terminal = module:require "terminal";
local tool = module:require "tool";

local fail = tool.fail;

-- So many writes to the native driver are one transaction: worth its commit, and too short for a running server to notice
local BATCH = 200;

-- Conditions of the native driver that concern one item, and leave the database unchanged
local CONCERNS_ITEM = {
	["unsupported-datatype"] = true, ["quota-limit"] = true, ["not-allowed"] = true, ["policy-violation"] = true,
};

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
	local source = source_driver:open(entry.store, entry.type);
	local target, why = target_driver:open(entry.store, entry.type);
	return source and {
		host = host; name = entry.store; type = entry.type;
		source = wrap(source, source_driver, job.from);
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

-- Notes the states of earlier copies and the faults, by user, and in conflicts the users whose data are of another origin.
local function compare_store(store, conflicts)
	store.states, store.faults = {}, {};
	if store.unsupported then return; end
	local there = {};
	for _, user in ipairs(drivers.users(store.target)) do there[user] = true; end
	for _, user in ipairs(drivers.users(store.source)) do
		if there[user] then compare_user(store, user, conflicts); end
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

-- ---- Writing ----

-- Runs a write. Returns nil, or its fault. A driver raises wrong arguments, that of SQL also other errors.
local function try_write(is_native, call)
	local done, ok, condition, text = pcall(call);
	if done and ok then return nil; end
	if not done then return faults.of(ok, true); end
	if not is_native then return faults.of(type(text) == "string" and text or condition or "no reason given", true); end
	if CONCERNS_ITEM[condition] then return { reason = text or condition }; end
	return faults.refused(condition, text);
end

local function run_write(job, write)
	local fault = try_write(job.to == "native", write.call);
	if fault then job.failed(write.unit, write.item or fault.item, fault.reason, write.count); end
end

local function flush(job)
	local writes = job.pending;
	if writes[1] == nil then return; end
	local ok, condition, text = job.database.batch(function ()
		for _, write in ipairs(writes) do run_write(job, write); end
	end);
	job.pending = {};
	if not ok then faults.refused(condition, text); end
end

-- Runs call() now, or with the next flush()
local function add_write(job, unit, item, count, call)
	local write = { unit = unit, item = item, count = count, call = call };
	if job.to == "native" then
		table.insert(job.pending, write);
		if #job.pending >= BATCH then flush(job); end
	else
		run_write(job, write);
	end
	job.written = job.written + 1;
	job.progress.update(("%s  %d written"):format(report.name(unit.store, unit.user), job.written));
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
	local function write(item, count, call) add_write(job, unit, item, count, call); end
	local function skip(item, reason, count) job.failed(unit, item, reason, count); end
	local state = store.states[unit.user];
	report_missing(job, unit, state and state.missing);
	unit.source = copy[store.type].copy(store.source, store.target, unit.user or nil, state, write, skip);
end

local function count_user(store, unit)
	unit.source = copy[store.type].count(store.source, unit.user or nil);
	unit.skipped = unit.source;
end

local function copy_unit(job, store, user)
	local unit = { store = store, user = user, source = 0, target = 0, skipped = 0 };
	unit.conflict = store.states[user] == "other";
	if unit.conflict then return unit; end
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
	flush(job);
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
	job.progress.finish();
	return job.result.finish();
end

local function run(job)
	local stores, conflicts = {}, {};
	for _, host in ipairs(job.hosts) do
		local listed, list = faults.protect(stores_of, job, host);
		if not listed then fail_all(job, { host = host }, list); end
		for _, store in ipairs(listed and list or {}) do
			local ok, fault = faults.protect(compare_store, store, conflicts);
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
		database = database, written = 0, pending = {};
		progress = terminal.progress("Copying");
	};
	job.result = report.new(job, flags.json);
	function job.failed(unit, item, reason, count)
		unit.skipped, unit.failures = unit.skipped + count, (unit.failures or 0) + 1;
		job.result.failed(unit.store, unit.user, item, reason);
	end
	return job;
end

local function transfer(names, flags, database, from, to)
	if from == to then return fail("source and target are both the native driver"); end
	if names[1] == "*" or (names[1] and not prosody.hosts[names[1]]) then
		return fail("the host %s is not in the configuration", names[1]);
	end
	local handle, _, why = database.use();
	if not handle then return fail("%s: %s", tool.directory, why); end
	local unverified = to == "native" and handle:verification().structure ~= "sound"; -- no page of it would be used again
	local damage = unverified and tool.verify(handle);
	if damage then
		database.close();
		return fail("%s: %s", tool.directory, damage);
	end
	local job = new_job(names, flags, database, from, to);
	local ok, status = xpcall(run, explain, job);
	job.progress.finish();
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
