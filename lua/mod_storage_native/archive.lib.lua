-- The store type archive

local async = require "util.async";
local datetime = require "util.datetime";
local is_stanza = require "util.stanza".is_stanza;
local now = require "util.time".now;
local timer = require "util.timer";

local SLICE = 200; -- messages deleted at once: a few milliseconds

-- Lets the event loop run, where the caller can wait
local function pause()
	local ready = async.ready and async.ready();
	if not ready then return; end
	local wait, done = async.waiter();
	timer.add_task(0, done);
	wait();
end

return function (database, get_space, iterate)
	local wrote = database.wrote;

	local archive = {};

	local function read(self, method, ...)
		local space, condition, text = get_space(self);
		if not space then return nil, condition, text; end
		local result, total;
		result, total, text = space[method](space, ...);
		if not result then return database.failed("read from %s", total, text); end
		return result, total;
	end

	function archive:append(user, key, stanza, when, with)
		if not is_stanza(stanza) then return nil, "unsupported-datatype"; end
		local space, condition, text = get_space(self, true);
		if not space then return nil, condition, text; end
		when = when or now();
		if database.whole_seconds then when = math.floor(when); end
		return wrote(space:append(user, key, stanza, when, with, self.quota or 0));
	end

	function archive:set(user, id, stanza, when, with)
		if not is_stanza(stanza) then return nil, "unsupported-datatype"; end
		local space, condition, text = get_space(self); -- of what is not stored there is nothing to be set
		if not space then return nil, condition, text; end
		if when and database.whole_seconds then when = math.floor(when); end
		return wrote(space:set(user, id, stanza, when, with));
	end

	function archive:find(user, query)
		return read(self, "find", user, query);
	end

	function archive:get(user, id)
		if type(id) ~= "string" then return nil, "item-not-found"; end
		local items, condition, text = self:find(user, { key = id });
		if not items then return nil, condition, text; end
		local found, stanza, when, with = items();
		if not found then return nil, "item-not-found"; end
		return stanza, when, with;
	end

	-- All users of the store, a slice at a time. Damaged archives are skipped.
	local function delete_from_all(self, query)
		local count, left_out, position = 0, 0, nil;
		repeat
			local space, condition, text = get_space(self, true);
			if not space then return nil, condition, text; end
			local deleted, next_position, detail = space:delete_all(query, position, SLICE);
			local ok;
			ok, condition, text = wrote(deleted, not deleted and next_position or nil, detail);
			if not ok then return nil, condition, text; end
			count, position, left_out = count + deleted, next_position, left_out + detail;
			if position then pause(); end
		until not position;
		if left_out == 0 then return count; end
		return database.failed("delete from all archives in %s", "storage-corrupt",
			("%d of them damaged and left out, %d messages deleted from the others; run prosodyctl mod_storage_native check")
				:format(left_out, count));
	end

	local function delete_from_user(self, user, query)
		local count, more = 0, true;
		while more do
			local space, condition, text = get_space(self, true);
			if not space then return nil, condition, text; end
			local deleted, rest, detail = space:delete(user, query, SLICE);
			local ok;
			ok, condition, text = wrote(deleted, not deleted and rest or nil, detail);
			if not ok then return nil, condition, text; end
			count, more = count + deleted, rest;
		end
		return count;
	end

	function archive:delete(user, query)
		local count, condition, text;
		if user == true then
			count, condition, text = delete_from_all(self, query);
		else
			count, condition, text = delete_from_user(self, user, query);
		end
		database.schedule_erase();
		return count, condition, text;
	end

	function archive:summary(user, query)
		local items, condition, text = self:find(user, query);
		if not items then return nil, condition, text; end
		local summary = { counts = {}, earliest = {}, latest = {}, body = {} };
		for _, stanza, when, with in items do
			with = with or "";
			summary.counts[with] = (summary.counts[with] or 0) + 1;
			summary.earliest[with] = math.min(summary.earliest[with] or when, when);
			summary.latest[with] = math.max(summary.latest[with] or when, when);
			summary.body[with] = stanza:get_child_text("body") or summary.body[with];
		end
		return summary;
	end

	function archive:dates(user)
		local days, condition, text = read(self, "dates", user);
		if not days then return nil, condition, text; end
		table.sort(days);
		local dates = {};
		for i, day in ipairs(days) do
			if day ~= days[i - 1] then dates[#dates + 1] = datetime.date(day); end
		end
		return dates;
	end

	function archive:users()
		local names, condition, text = read(self, "users");
		if not names then error(text or condition, 0); end
		return iterate(names);
	end

	return archive;
end
