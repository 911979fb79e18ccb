-- prosodyctl mod_storage_native backup, restore

local lfs = require "lfs";
local umask = require "util.pposix".umask;

local paths = module:require "paths";
local terminal = module:require "terminal";
local tool = module:require "tool";

local bytes, fail = terminal.bytes, tool.fail;

local BUSY, DENIED = "storage-busy", "access-denied";

local IN_USE = "; another process has the database open, stop it first";
local RUNNING = "Prosody is running; stop it first, because the database is replaced";
local BLOCK = 1024 * 1024;
local SHOWN_PROBLEMS = 10;
local UNFIT = { ["storage-foreign"] = "not a backup of a database", ["storage-corrupt"] = "the backup is damaged" };

local function size_of(file)
	return lfs.attributes(file, "size") or 0;
end

-- Copies the whole database to a new file. Returns the number of records; or nil, text, condition.
local function copy(handle, file, label)
	local task, condition, text = handle:copy(file);
	if not task then return nil, text, condition; end
	local ok, done, total = tool.run_task(task, label);
	if not ok then return nil, done; end
	if done ~= total then
		return nil, ("copied only %d of %d records"):format(done, total);
	end
	return done;
end

-- ---- backup ----

local function write_backup(handle, file)
	local part = file..".part";
	local records, text, condition = copy(handle, part, "Copying");
	if not records and condition == BUSY then
		return fail("%s exists: another backup is running, or was interrupted; in that case remove the file", part);
	elseif not records then
		return fail("%s: %s", file, condition == DENIED and paths.closed(file) or text);
	end
	local renamed, why = lfs.link(part, file); -- unlike rename() it overwrites nothing
	if not renamed then return fail("%s: %s; the backup is %s", file, why, part); end
	os.remove(part);
	terminal.print("%s: %d records, %s", file, records, bytes(size_of(file)));
	return 0;
end

local commands = {};

function commands.backup(names)
	local file = paths.absolute(names[1]);
	if lfs.symlinkattributes(file, "mode") then return fail("%s exists", file); end
	return tool.with_database(write_backup, file);
end

-- ---- restore ----

local function remove_database(directory)
	if not lfs.attributes(directory) then return; end
	for name in lfs.dir(directory) do
		if name ~= "." and name ~= ".." then os.remove(directory.."/"..name); end
	end
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
	ok, text = copy_blocks(source, target, size_of(from));
	source:close();
	local closed, why = target:close();
	if not ok then return nil, text; end
	return closed, why;
end

-- Returns the number of records if there are no problems, or nil, text.
local function check_backup(directory, name)
	local handle, text, condition = tool.open(directory);
	if not handle then return nil, ("%s: %s"):format(name, UNFIT[condition] or text); end
	local task, why, detail = handle:check();
	local ok, done, problems, _;
	if task then
		ok, done, _, problems = tool.run_task(task, "Checking");
	else
		done = detail or why;
	end
	handle:close();
	if not ok then return nil, ("%s: %s"):format(name, done); end
	if #problems == 0 then return done; end
	return nil, ("%s has %d problems:\n  %s"):format(name, #problems,
		table.concat(problems, "\n  ", 1, math.min(#problems, SHOWN_PROBLEMS)));
end

-- The state of the present database: "missing", "empty", "full" or, with a text, "unreadable"
local function present_state()
	if not lfs.attributes(tool.file, "mode") then return "missing"; end
	local handle, text = tool.open(tool.directory);
	if not handle then return "unreadable", text; end
	local collections, _, why = handle:collections(0, false);
	handle:close();
	if not collections then return "unreadable", why; end
	return collections[1] and "full" or "empty";
end

-- Gives the present data file a second name. Returns that name, or nil, text.
local function keep_present()
	local number = 0;
	local name;
	repeat
		number = number + 1;
		name = ("%s.before-restore-%d"):format(tool.file, number);
	until not lfs.symlinkattributes(name, "mode");
	local ok, text = lfs.link(tool.file, name);
	if not ok then return nil, text; end
	return name;
end

local function put_in_place(file, state)
	local kept, text;
	if state ~= "missing" then
		kept, text = keep_present();
		if not kept then return fail("cannot keep %s: %s", tool.file, text); end
	end
	local ok, condition, why = tool.native.replace(tool.directory, file);
	if not ok then
		if kept then os.remove(kept); end
		return fail("%s%s", why, condition == BUSY and IN_USE or "");
	end
	if state == "empty" then
		os.remove(kept);
	elseif kept then
		terminal.print("The previous database is now %s", kept);
	end
	return 0;
end

local function make_directories(temporary)
	if not lfs.attributes(tool.directory, "mode") then
		local ok, text = lfs.mkdir(tool.directory);
		if not ok then return nil, text; end
	end
	remove_database(temporary); -- of an interrupted run
	return lfs.mkdir(temporary);
end

function commands.restore(names, flags)
	local file, replace = paths.absolute(names[1]), flags.replace;
	umask("077"); -- only the user of Prosody may read a database
	if size_of(file) == 0 then return fail("%s: %s", file, paths.missing(file) or "the file is empty"); end
	if tool.server_runs() then
		return fail(RUNNING);
	end
	local state, why = present_state();
	if state == "full" and not replace then
		return fail("%s is not empty; with --replace it is renamed", tool.directory);
	elseif state == "unreadable" and not replace then
		return fail("%s\nwith --replace it is renamed", why);
	end
	local temporary = tool.directory.."/restore.part";
	local ok, text = make_directories(temporary);
	if not ok then return fail("%s: %s", temporary, paths.explain(text)); end
	ok, text = copy_file(file, temporary.."/data.mdb");
	local records;
	if ok then records, text = check_backup(temporary, file); end
	local status = records and put_in_place(temporary.."/data.mdb", state) or fail("%s", paths.explain(text));
	remove_database(temporary);
	if status == 0 then terminal.print("%s: %d records, from %s", tool.file, records, file); end
	return status;
end

return commands;
