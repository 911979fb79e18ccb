-- Deletes messages once they have been kept long enough, once a day.
--
-- A driver that can delete from all archives at once does that. For others a store notes, for each day, whose archives have messages of
-- it.

local async = require "util.async";
local cache = require "util.cache";
local datestamp = require "util.datetime".date;

local PAUSE = 0.01; -- seconds between two archives, for the other work of the server

local function delete_everywhere(archive, before)
	local ok, err = archive:delete(true, { ["end"] = before });
	if not ok then
		module:log("error", "Could not delete messages: %s", err);
	elseif tonumber(ok) then
		module:log("info", "Deleted %d expired messages", tonumber(ok));
	else
		module:log("info", "Deleted all expired messages"); -- the driver does not count them
	end
end

-- The owners of archives with messages up to the day. Forgets earlier days.
local function owners_until(notes, last_day)
	local owners = {};
	for day in notes:users() do
		if day <= last_day then
			for owner in pairs(notes:get(day) or {}) do owners[owner] = true; end
			-- messages of the last day may not have expired yet
			if day < last_day then notes:set(day, nil); end
		end
	end
	return owners;
end

local function pause()
	local wait, done = async.waiter();
	module:add_timer(PAUSE, done);
	wait();
end

local function delete_by_owner(archive, notes, notes_map, before, owners_name)
	local last_day = datestamp(before);
	local messages, count = 0, 0;
	for owner in pairs(owners_until(notes, last_day)) do
		local ok, err = archive:delete(owner, { ["end"] = before });
		if ok then
			count, messages = count + 1, messages + (tonumber(ok) or 0);
		else
			notes_map:set(last_day, owner, true);
			module:log("error", "Could not delete messages for '%s': %s", owner, err);
		end
		pause();
	end
	module:log("info", "Deleted %d expired messages for %d %s", messages, count, owners_name);
end

local function new_note(notes_map, size)
	local noted = cache.new(size); -- owner -> the last day that was noted
	return function (owner)
		local day = datestamp();
		if noted:get(owner) ~= day and notes_map:set(day, owner, true) then noted:set(owner, day); end
	end;
end

local function ignore() end

-- Starts the daily task. settings: archive; seconds = that messages are kept, math.huge: for ever; store = name of the notes' store;
-- cache_size = owners that are remembered; owners = "users" or "rooms", for the log. Returns note(owner), to be called for each message
-- that is archived, and whether messages expire.
return function (settings)
	local archive = settings.archive;
	if settings.seconds == math.huge then
		module:log("debug", "Archive expiry disabled");
		return ignore, false;
	end
	if not archive.delete then
		module:log("error", "Messages cannot expire: the storage driver of the archive cannot delete");
		return ignore, false;
	end
	local notes, notes_map = module:open_store(settings.store), module:open_store(settings.store, "map");
	local by_owner = not (archive.caps and archive.caps.wildcard_delete);
	local measure = module:measure("cleanup", "times");
	module:daily("Remove expired messages", function ()
		local done = measure();
		local before = os.time() - settings.seconds;
		if by_owner then
			delete_by_owner(archive, notes, notes_map, before, settings.owners);
		else
			delete_everywhere(archive, before);
		end
		done();
	end);
	return by_owner and new_note(notes_map, settings.cache_size) or ignore, true;
end
