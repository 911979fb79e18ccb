-- Writes to a driver: new(database or nil, failed) -> writer. write(unit, item, count, function) runs the function, perhaps
-- later, and calls failed(unit, item, reason, count) where it fails; flush() runs what is left. Raises what stops the run.

local faults = module:require "faults";

-- With a database, that of the native driver, so many writes are one transaction: worth its commit, and
-- too short for a server beside it to notice.
local BATCH = 200;

-- Conditions of the native driver that concern one item, and leave the store as it was
local CONCERNS_ITEM = {
	["unsupported-datatype"] = true, ["quota-limit"] = true, ["not-allowed"] = true, ["policy-violation"] = true,
};

-- Nil, or the fault. A driver raises what is wrong with an argument, and SQL's some more.
local function run(database, call)
	local done, ok, condition, text = pcall(call);
	if done and ok then return nil; end
	if not done then return faults.of(ok, true); end
	if not database then return faults.of(type(text) == "string" and text or condition or "no reason is given", true); end
	if CONCERNS_ITEM[condition] then return { reason = text or condition }; end
	return faults.refused(condition, text);
end

return function (database, failed)
	local writer, pending = {}, {};

	local function run_one(write)
		local fault = run(database, write.call);
		if fault then failed(write.unit, write.item or fault.item, fault.reason, write.count); end
	end

	local function run_all()
		for _, write in ipairs(pending) do run_one(write); end
	end

	function writer.flush()
		if pending[1] == nil then return; end
		local ok, condition, text = database.batch(run_all);
		pending = {};
		if not ok then faults.refused(condition, text); end
	end

	function writer.write(unit, item, count, call)
		local write = { unit = unit, item = item, count = count, call = call };
		if not database then
			run_one(write);
			return;
		end
		pending[#pending + 1] = write;
		if #pending >= BATCH then writer.flush(); end
	end

	return writer;
end
