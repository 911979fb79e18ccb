-- The size of the database and how far the disk is behind: as metrics, and for mod_native

local time = require "util.time";

local INTERVAL, SAMPLES = 10, 6; -- seconds between two samples of the number of transactions, and how many are kept
local UNOPENED = 1; -- seconds between two checks whether the database has been opened
local SYNC_BUCKETS = { 0.01, 0.03, 0.1, 0.3, 1, 3, 10 }; -- to be copied: Prosody adds one

local database;

local function gauge(name, unit, description)
	return module:metric("gauge", name, unit, description, {}):with_labels();
end

local size = gauge("size", "bytes", "Size of the database file");
local used = gauge("used", "bytes", "Bytes of the file that are in use");
local limit = gauge("limit", "bytes", "Maximum size of the database file");
local log = gauge("log", "bytes", "Size of the log: turns that are not in the durable database file");
local records = gauge("records", "", "Records of all kinds, including indexes");
local readers = gauge("readers", "", "Open read transactions of all processes");
local erasing = gauge("erasing", "", "Collections with deleted records that are not erased yet");
local behind = gauge("behind", "", "Transactions that are not known to be durable");
local transactions = module:metric("counter", "transactions", "", "Transactions of the database", {}):with_labels();
local sync = module:metric("histogram", "sync", "seconds", "Time from a commit until it was durable", {},
	{ buckets = { table.unpack(SYNC_BUCKETS) } }):with_labels();

local log_sync = module:metric("histogram", "log_sync", "seconds", "Duration of a sync of the log by the disk", {},
	{ buckets = { table.unpack(SYNC_BUCKETS) } }):with_labels();

module:hook("stats-update", function ()
	local info = database.info();
	if not info then return; end
	size:set(info.file_bytes);
	used:set(info.used_bytes);
	limit:set(info.max_bytes);
	log:set(info.log_bytes);
	records:set(info.records);
	readers:set(info.readers);
	erasing:set(info.erasing);
	behind:set(info.transaction - info.durable);
	transactions:set(info.transaction);
end);

-- ---- Transactions a second and the slowest sync, over the last minute ----

local samples = {}; -- { time =, transaction =, slowest = sync before it }, the oldest first
local last_sync, slowest_sync = 0, 0; -- seconds; the slowest one since the last sample

local function on_sync(seconds)
	log_sync:sample(seconds);
	last_sync, slowest_sync = seconds, math.max(slowest_sync, seconds);
end

local function slowest()
	local most = slowest_sync;
	for _, entry in ipairs(samples) do most = math.max(most, entry.slowest); end
	return most;
end

local function sample()
	local info = database.info();
	if not info then return UNOPENED; end
	samples[#samples + 1] = { time = time.monotonic(), transaction = info.transaction, slowest = slowest_sync };
	slowest_sync = 0;
	if #samples > SAMPLES then table.remove(samples, 1); end
	return INTERVAL;
end

local function rate(info)
	local oldest = samples[1];
	local seconds = oldest and time.monotonic() - oldest.time or 0;
	return seconds > 0 and math.max(0, info.transaction - oldest.transaction) / seconds or 0;
end

local function structure_as_text(found)
	if found.structure == "sound" then return "verified"; end
	if found.structure == "damaged" then
		return found.problem and ("damaged: page %d %s"):format(found.bad_page, found.problem) or "damaged";
	end
	return found.running and ("verifying, %d %%"):format(100 * found.done // math.max(1, found.total)) or "not verified";
end

module:add_item("native-status", {
	name = "storage_native";
	figures = function ()
		local info, waiting = database.info();
		if not info then
			return { { name = "open", value = false }, { name = "reason", value = waiting } };
		end
		return {
			{ name = "directory", value = database.directory };
			{ name = "size", value = info.file_bytes, unit = "bytes", limit = info.max_bytes };
			{ name = "used", value = info.used_bytes, unit = "bytes" };
			{ name = "log", value = info.log_bytes, unit = "bytes" };
			{ name = "records", value = info.records };
			{ name = "erasing", value = info.erasing };
			{ name = "readers", value = info.readers };
			{ name = "transactions", value = info.transaction };
			{ name = "rate", value = rate(info), unit = "per second" };
			{ name = "behind", value = info.transaction - info.durable };
			{ name = "sync_lag", value = waiting, unit = "seconds" };
			{ name = "structure", value = structure_as_text(info.verification) };
			{ name = "last_sync", value = last_sync, unit = "seconds" };
			{ name = "slowest_sync", value = slowest(), unit = "seconds" };
		};
	end;
});

return function (opened)
	database = opened;
	function database.on_durable(seconds) sync:sample(seconds); end
	database.on_sync = on_sync;
	if prosody.process_type == "prosody" then module:add_timer(0, sample); end
end
