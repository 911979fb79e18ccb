-- prosodyctl mod_storage_native restore

local lfs = require "lfs";
local umask = require "util.pposix".umask;

local copies = module:require "copies";
local existing = module:require "existing";
local paths = module:require "paths";
local terminal = module:require "terminal";

local BLOCK = 1024 * 1024;
local SHOWN_PROBLEMS = 10;
local UNFIT = { ["storage-foreign"] = "this is no backup of a store", ["storage-corrupt"] = "the backup is damaged" };
local FILES_OF_A_STORE = { "data.mdb", "lock.mdb", "lock", "durable" };

local function fail(format, ...)
	terminal.error(format, ...);
	return 1;
end

local function remove_store(directory)
	for _, name in ipairs(FILES_OF_A_STORE) do os.remove(directory.."/"..name); end
	lfs.rmdir(directory);
end

local function copy_blocks(source, target, total)
	local progress, done = terminal.progress("Copying"), 0;
	for block in source:lines(BLOCK) do
		local ok, text = target:write(block);
		if not ok then
			progress.finish();
			return nil, text;
		end
		done = done + #block;
		progress.update(done, total);
	end
	progress.finish();
	return true;
end

local function copy_file(from, to)
	local source, text = io.open(from, "rb");
	if not source then return nil, text; end
	local target;
	target, text = io.open(to, "wb");
	if not target then
		source:close();
		return nil, text;
	end
	local ok;
	ok, text = copy_blocks(source, target, copies.size_of(from));
	source:close();
	local closed, why = target:close();
	if not ok then return nil, text; end
	return closed, why;
end

-- Returns the number of records of a store without problems, or nil, text.
local function check_store(directory, name)
	local handle, text, condition = existing.open(directory);
	if not handle then return nil, ("%s: %s"):format(name, UNFIT[condition] or text); end
	local task, why, detail = handle:check();
	local ok, done, problems, _;
	if task then
		ok, done, _, problems = existing.run(task, "Checking");
	else
		done = detail or why;
	end
	handle:close();
	if not ok then return nil, ("%s: %s"):format(name, done); end
	if #problems == 0 then return done; end
	return nil, ("%s has %d problems:\n  %s"):format(name, #problems,
		table.concat(problems, "\n  ", 1, math.min(#problems, SHOWN_PROBLEMS)));
end

-- "missing", "empty", "full" or, with a text, "unreadable"
local function present_state()
	if not lfs.attributes(existing.file, "mode") then return "missing"; end
	local handle, text = existing.open(existing.directory);
	if not handle then return "unreadable", text; end
	local collections, _, why = handle:collections(0, false);
	handle:close();
	if not collections then return "unreadable", why; end
	return collections[1] and "full" or "empty";
end

-- Keeps the present data file under another name too. Returns that name, or nil, text.
local function keep_present()
	local number = 0;
	local name;
	repeat
		number = number + 1;
		name = ("%s.before-restore-%d"):format(existing.file, number);
	until not lfs.symlinkattributes(name, "mode");
	local ok, text = lfs.link(existing.file, name);
	if not ok then return nil, text; end
	return name;
end

local function put_in_place(file, state)
	local kept, text;
	if state ~= "missing" then
		kept, text = keep_present();
		if not kept then return fail("%s cannot be kept: %s", existing.file, text); end
	end
	local ok, condition, why = existing.native.replace(existing.directory, file);
	if not ok then
		if kept then os.remove(kept); end
		return fail("%s%s", why, condition == "storage-busy" and "; a process has the store open, stop it first" or "");
	end
	if state == "empty" then
		os.remove(kept);
	elseif kept then
		terminal.print("What was there before is now %s", kept);
	end
	return 0;
end

local function make_directories(temporary)
	if not lfs.attributes(existing.directory, "mode") then
		local ok, text = lfs.mkdir(existing.directory);
		if not ok then return nil, text; end
	end
	remove_store(temporary); -- of one that was interrupted
	return lfs.mkdir(temporary);
end

local function restore(file, replace)
	umask("077"); -- what is in a store is nobody else's business
	if copies.size_of(file) == 0 then return fail("%s: %s", file, paths.missing(file) or "it is empty"); end
	if existing.server_runs() then
		return fail("Prosody is running; stop it, for nobody may have the store open while it is replaced");
	end
	local state, why = present_state();
	if state == "full" and not replace then
		return fail("%s is not empty; with --replace it is kept under another name", existing.directory);
	elseif state == "unreadable" and not replace then
		return fail("%s\nwith --replace it is kept under another name", why);
	end
	local temporary = existing.directory.."/restore.part";
	local ok, text = make_directories(temporary);
	if not ok then return fail("%s: %s", temporary, paths.explain(text)); end
	ok, text = copy_file(file, temporary.."/data.mdb");
	local records;
	if ok then records, text = check_store(temporary, file); end
	local status = records and put_in_place(temporary.."/data.mdb", state) or fail("%s", paths.explain(text));
	remove_store(temporary);
	if status == 0 then terminal.print("%s: %d records, from %s", existing.file, records, file); end
	return status;
end

return function (names, flags)
	return restore(paths.absolute(names[1]), flags.replace);
end
