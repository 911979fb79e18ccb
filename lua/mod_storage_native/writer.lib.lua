-- Writes to a driver: new(database or nil) -> writer; write(unit, function) runs it, perhaps later, and
-- notes in unit.error that it failed; flush() runs what is left.

-- With a database, that of the native driver, so many writes are one transaction: worth its commit, and
-- too short for a server beside it to notice.
local BATCH = 200;

-- What concerns one item and leaves the store as it was
local CONCERNS_ITEM = { ["unsupported-datatype"] = true, ["quota-limit"] = true, ["not-allowed"] = true };

local function run(database, unit, call)
	if unit.error then return; end -- an archive has no gaps
	local done, ok, condition, text = pcall(call);
	if done and ok then return; end
	unit.error = tostring(text or (done and condition) or ok);
	if database and not CONCERNS_ITEM[condition] then error(unit.error, 0); end
end

return function (database)
	local writer, pending = {}, {};

	local function run_all()
		for _, write in ipairs(pending) do run(database, write.unit, write.call); end
	end

	function writer.flush()
		if pending[1] == nil then return; end
		local ok, condition, text = database.batch(run_all);
		pending = {};
		if not ok then error(text or condition, 0); end
	end

	function writer.write(unit, call)
		if not database then
			run(nil, unit, call);
			return;
		end
		pending[#pending + 1] = { unit = unit, call = call };
		if #pending >= BATCH then writer.flush(); end
	end

	return writer;
end
