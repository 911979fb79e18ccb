-- prosodyctl mod_storage_native backup, compact

local lfs = require "lfs";

local existing = module:require "existing";
local paths = module:require "paths";
local terminal = module:require "terminal";

local bytes = terminal.bytes;

local ERASE_RECORDS = 5000;
local BUSY, DENIED = "storage-busy", "access-denied";

local function fail(format, ...)
	terminal.error(format, ...);
	return 1;
end

local function size_of(file)
	return lfs.attributes(file, "size") or 0;
end

-- Copies the whole store to a new file. Returns the number of records, or nil, text, condition.
local function copy(handle, file, label)
	local task, condition, text = handle:copy(file);
	if not task then return nil, text, condition; end
	local ok, done, total = existing.run(task, label);
	if not ok then return nil, done; end
	if done ~= total then
		return nil, ("%d of %d records were copied"):format(done, total);
	end
	return done;
end

-- ---- backup ----

local function backup(handle, file)
	local part = file..".part";
	local records, text, condition = copy(handle, part, "Copying");
	if not records and condition == BUSY then
		return fail("%s exists: another backup is writing it, or was interrupted; then remove it", part);
	elseif not records then
		return fail("%s: %s", file, condition == DENIED and paths.closed(file) or text);
	end
	local renamed, why = lfs.link(part, file); -- unlike a renaming it overwrites nothing
	if not renamed then return fail("%s: %s; the backup is %s", file, why, part); end
	os.remove(part);
	terminal.print("%s: %d records, %s", file, records, bytes(size_of(file)));
	return 0;
end

-- ---- compact ----

local function erase(handle)
	local progress, erased = terminal.progress("Erasing"), 0;
	local more, condition, text;
	repeat
		more, condition, text = handle:erase(ERASE_RECORDS);
		if more ~= nil then
			local ok;
			ok, condition, text = handle:commit();
			if not ok then more = nil; end
		end
		erased = erased + ERASE_RECORDS;
		progress.update(erased);
	until not more;
	progress.finish();
	if more == nil then return nil, text, condition; end
	return true;
end

-- Returns records, the last transaction that the copy has; or nil, text.
local function write_compacted(handle, file)
	os.remove(file); -- left behind by one that was interrupted
	local ok, text = erase(handle);
	if not ok then return nil, text; end
	local before = handle:info().transaction;
	local records;
	records, text = copy(handle, file, "Compacting");
	if not records then return nil, text; end
	if handle:info().transaction ~= before then
		return nil, "another process has written to the store meanwhile";
	end
	return records;
end

local function compact()
	if existing.server_runs() then
		return fail("Prosody is running; stop it, for nobody may have the store open while it is replaced");
	end
	local file, before = existing.directory.."/compact.part", size_of(existing.file);
	local records, text;
	local status = existing.with(function (handle)
		records, text = write_compacted(handle, file);
		return 0;
	end);
	if status ~= 0 then return status; end
	local condition;
	local ok = records;
	if ok then
		ok, condition, text = existing.native.replace(existing.directory, file);
	end
	if not ok then
		os.remove(file);
		return fail("%s%s", text, condition == BUSY and "; a process has the store open, stop it first" or "");
	end
	terminal.print("%s: %d records, %s before, %s now", existing.file, records, bytes(before),
		bytes(size_of(existing.file)));
	return 0;
end

return {
	backup = function (names)
		local file = paths.absolute(names[1]);
		if lfs.symlinkattributes(file, "mode") then return fail("%s exists", file); end
		return existing.with(backup, file);
	end;
	compact = compact;
	size_of = size_of;
};
