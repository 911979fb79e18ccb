-- prosodyctl mod_storage_native import, export: between the native driver and another one, through their methods

local datamanager = require "core.storagemanager".olddm;

local catalogue = module:require "catalogue";
local existing = module:require "existing";
local faults = module:require "faults";
local hosts = module:require "hosts";
local kinds = module:require "kinds";
local matches = module:require "names".matches;
local paths = module:require "paths";
local new_store = module:require "stores";
local report = module:require "report";
local terminal = module:require "terminal";
local new_writer = module:require "writer";

local GO_ON = "\nOnce that is mended, run it again: it goes on after what was copied.";
local MISSING = "missing in %s, which has later ones: damaged or refused when those were copied, or deleted since;"
	.." remove this archive there to have it copied as a whole";
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
	local function wrap(driver_store, driver, name)
		return driver_store and new_store(driver_store, driver, name, host, entry.store, entry.type, job.database);
	end
	local source = drivers.source:open(entry.store, entry.type);
	local target, why = drivers.target:open(entry.store, entry.type);
	return source and {
		host = host; name = entry.store; type = entry.type;
		source = wrap(source, drivers.source, job.from);
		target = wrap(target, drivers.target, job.to);
		unsupported = not target and ("%s cannot hold it (%s)"):format(job.to, why) or nil;
	};
end

local function stores_of(job, host)
	local loaded, missing = hosts.drivers(host, { job.from, job.to });
	if not loaded then
		faults.stop(("the storage driver '%s' cannot be loaded%s"):format(missing, LIKELY[missing] or ""), false);
	end
	local drivers, list = { source = loaded[1], target = loaded[2] }, {};
	for _, entry in ipairs(catalogue.stores(job.from, drivers.source, host)) do
		if not job.store or matches(job.store, entry.store) then
			list[#list + 1] = open_store(job, host, drivers, entry);
		end
	end
	return list;
end

-- ---- What is in the target already ----

local function compare_user(store, user, conflicts)
	local ok, state = faults.protect(kinds[store.type].compare, store.source, store.target, user or nil);
	if not ok then
		store.faults[user] = state;
	elseif state ~= "none" then
		store.states[user] = state;
	end
	if state == "other" then conflicts[#conflicts + 1] = { store = store, user = user }; end
end

-- Notes how far earlier copies have come, and what is wrong with whose data; and in conflicts whose are of another origin.
local function compare_store(store, conflicts)
	store.states, store.faults = {}, {};
	if store.unsupported then return; end
	local there = {};
	for _, user in ipairs(catalogue.users(store.target)) do there[user] = true; end
	for _, user in ipairs(catalogue.users(store.source)) do
		if there[user] then compare_user(store, user, conflicts); end
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
	job.result.refused(conflicts, ("Nothing was written. Move away first what %s holds of before%s, as README.md tells;"
		.." or --merge copies the rest, and leaves these as they are."):format(job.to, places(job, conflicts)));
	return 1;
end

-- ---- Copying: units are the data of a user in a store, { user =, source = and target = entries, left_out = of them } ----

local function count_target(job, store, unit)
	local key, text;
	unit.target, key, text = kinds[store.type].verify(store.source, store.target, unit.user or nil, unit.left_out == 0);
	if key then
		job.failed(unit, key, text, 0);
	elseif unit.target ~= unit.source - unit.left_out then
		job.failed(unit, nil, ("source and target counts differ: %d and %d"):format(unit.source, unit.target), 0);
	end
end

-- Where something has gone wrong with the whole of it, that is reported.
local function verify(job, store, unit)
	if unit.fault then return; end
	local ok, fault = faults.protect(count_target, job, store, unit);
	if not ok and unit.left_out < unit.source then job.failed(unit, fault.item, fault.reason, 0); end
end

local function report_missing(job, unit, missing)
	if not missing or not missing[1] then return; end
	local name = #missing == 1 and missing[1] or ("%s and %d more"):format(missing[1], #missing - 1);
	job.failed(unit, name, MISSING:format(job.to), #missing);
end

local function copy_user(job, store, unit)
	local function write(item, count, call)
		job.writer.write(unit, item, count, call);
		job.written = job.written + 1;
		job.progress.update(("%s  %d written"):format(report.name(store, unit.user), job.written));
	end
	local function left_out(item, reason, count) job.failed(unit, item, reason, count); end
	local state = store.states[unit.user];
	report_missing(job, unit, state and state.missing);
	unit.source = kinds[store.type].copy(store.source, store.target, unit.user or nil, state, write, left_out);
end

local function count_user(store, unit)
	unit.source = kinds[store.type].count(store.source, unit.user or nil);
	unit.left_out = unit.source;
end

local function copy_unit(job, store, user)
	local unit = { store = store, user = user, source = 0, target = 0, left_out = 0 };
	unit.skipped = store.states[user] == "other";
	if unit.skipped then return unit; end
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

-- Copies a store, then counts what has come.
local function copy_store(job, store)
	local units = {};
	for _, user in ipairs(catalogue.users(store.source)) do
		local unit = copy_unit(job, store, user);
		if unit.skipped or unit.fault or unit.source > 0 then units[#units + 1] = unit; end
	end
	job.writer.flush();
	for _, unit in ipairs(units) do
		if not unit.skipped and not store.unsupported then verify(job, store, unit); end
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

-- Everything but a stop is a fault of this program.
local function explain(err)
	return type(err) == "table" and err.stop and err or { text = debug.traceback(tostring(err)) };
end

return function (database)
	local function new_job(names, flags, from, to)
		local job = {
			from = from, to = to, merge = flags.merge, host = names[1], store = names[2], database = database, written = 0;
			hosts = names[1] and { names[1] } or hosts.names();
			progress = terminal.progress("Copying");
		};
		job.result = report.new(job, flags.json);
		function job.failed(unit, item, reason, count)
			unit.left_out, unit.failures = unit.left_out + count, (unit.failures or 0) + 1;
			job.result.failed(unit.store, unit.user, item, reason);
		end
		job.writer = new_writer(to == "native" and database or nil, job.failed);
		return job;
	end

	local function transfer(names, flags, from, to)
		if from == to then return fail("the other driver cannot be the native one itself"); end
		if names[1] == "*" or (names[1] and not prosody.hosts[names[1]]) then
			return fail("the host %s is not in the configuration", names[1]);
		end
		local handle, _, why = database.use();
		if not handle then return fail("%s: %s", existing.directory, why); end
		local job = new_job(names, flags, from, to);
		local ok, status = xpcall(run, explain, job);
		job.progress.finish();
		database.close();
		if ok then return status; end
		if not status.stop then error(status.text, 0); end
		return fail("%s%s", status.text, status.again and GO_ON or "");
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
