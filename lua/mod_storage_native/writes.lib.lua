-- The writes of an import or export: many are one transaction, and each fails alone.

local faults = module:require "faults";

-- So many writes are one transaction. Shorter ones make the native file grow by pages that are not used again, and SQL wait for
-- the disk; beside a running server they must be short enough for it not to notice.
local BATCH, ONLINE_BATCH = 1000, 200;

-- Conditions of the native driver that concern one item, and leave the database unchanged
local CONCERNS_ITEM = {
	["unsupported-datatype"] = true, ["quota-limit"] = true, ["not-allowed"] = true, ["policy-violation"] = true,
};

local writes = {};
writes.__index = writes;

-- Runs a write. Returns nil, or its fault. A driver raises wrong arguments, that of SQL also other errors.
local function try_write(is_native, call)
	local done, ok, condition, text = pcall(call);
	if done and ok then return nil; end
	if not done then return faults.of(ok, true); end
	if not is_native then return faults.of(type(text) == "string" and text or condition or "no reason given", true); end
	if CONCERNS_ITEM[condition] then return { reason = text or condition }; end
	return faults.refused(condition, text);
end

function writes:fail(write, fault)
	self.failed(write.unit, write.item or fault.item, fault.reason, write.count);
end

function writes:write_native(list)
	local ok, condition, text = self.database.batch(function ()
		for _, write in ipairs(list) do
			local fault = try_write(true, write.call);
			if fault then self:fail(write, fault); end
		end
	end);
	if not ok then faults.refused(condition, text); end
end

-- Runs some writes as one transaction of the target. Returns nil; or the number of the write that failed, and its fault: then
-- nothing is written. Raises a stop.
local function try_together(target, list, first, last)
	local at, done, fault;
	local ok, text = target:transaction(function ()
		for i = first, last do
			at = i;
			done, fault = pcall(try_write, false, list[i].call);
			if fault then error(fault.reason or fault.text, 0); end
		end
	end);
	if ok then return nil; end
	if not done then error(fault, 0); end
	if not fault then faults.stop(tostring(text), true); end
	return at, fault;
end

-- Writes that were rolled back because a later one failed are repeated: they are in their places again, each once.
function writes:write_together(list, first, last)
	if first > last then return; end
	local at, fault = try_together(list[first].unit.store.target, list, first, last);
	if not at then return; end
	self:write_together(list, first, at - 1);
	self:fail(list[at], fault);
	return self:write_together(list, at + 1, last);
end

-- To be called at the end of each store: pending writes are all of one.
function writes:flush()
	local list = self.pending;
	self.pending = {};
	if list[1] == nil then return; end
	if self.database then
		self:write_native(list);
	else
		self:write_together(list, 1, #list);
	end
end

-- Runs call() now, or with the next flush(). item: its name, or nil; count: entries that it writes
function writes:add(unit, item, count, call)
	local write = { unit = unit, item = item, count = count, call = call };
	if self.database or unit.store.target.transaction then
		table.insert(self.pending, write);
		if #self.pending >= self.batch then self:flush(); end
	else
		local fault = try_write(false, call);
		if fault then self:fail(write, fault); end
	end
end

-- database: of the native driver, if that is the target. online: beside a running server.
-- failed(unit, item, reason, count) is called for each write that has failed.
return function (database, online, failed)
	return setmetatable({ database = database, failed = failed, pending = {}, batch = online and ONLINE_BATCH or BATCH }, writes);
end
