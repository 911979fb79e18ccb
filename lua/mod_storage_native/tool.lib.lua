-- Common to the commands of prosodyctl mod_storage_native. They never create a database, and failures are texts for people.

local prosodyctl = require "util.prosodyctl";

local native = module:require "native"("store");
local options = module:require "option_reader".read(module:require "options");
local paths = module:require "paths";
local terminal = module:require "terminal";

native.end_on_interrupt();

local NOTHING = "No such file or directory";

local tool = {
	native = native;
	directory = options.storage_native_path;
	file = options.storage_native_path.."/data.mdb";
};

-- Prints an error. Returns the exit status.
function tool.fail(format, ...)
	terminal.error(format, ...);
	return 1;
end

-- Nil if the structure of the data file is sound, else text, condition. Reads all of it.
function tool.verify(handle)
	local sound, condition, text = handle:verify();
	if sound then return nil; end
	local found = handle:verification();
	local page = found.problem and (" (page %d %s)"):format(found.bad_page, found.problem) or "";
	return text..page, condition;
end

-- The handle of the database in a directory, or nil, text, condition
local function open_unverified(directory)
	local handle, condition, text = native.open {
		directory = directory, interval = 0, max_bytes = math.floor(options.storage_native_max_size),
		verify = true, anew = true, reads_all = true;
	};
	if not handle then return nil, ("%s: %s"):format(directory, text), condition; end
	return handle;
end

-- The same, of a sound one. If the server has it open, and has verified it since the machine was started, it is not read again.
function tool.open(directory)
	local handle, text, condition = open_unverified(directory);
	if not handle then return nil, text, condition; end
	if handle:verification().structure ~= "sound" then text, condition = tool.verify(handle); end
	if not text then return handle; end
	handle:close();
	return nil, ("%s: %s"):format(directory, text), condition;
end

-- Nil if there is a database, else the reason why it cannot be opened
function tool.missing()
	local why = paths.missing(tool.file);
	if why == NOTHING then return ("no database in %s"):format(tool.directory); end
	return why and ("%s: %s"):format(tool.directory, why);
end

local function with_opened(open, callback, ...)
	local handle, text;
	local missing = tool.missing();
	if not missing then
		handle, text = open(options.storage_native_path);
	end
	if not handle then
		return tool.fail("%s", missing or text);
	end
	local ok, status = pcall(callback, handle, ...);
	handle:close();
	if not ok then error(status, 0); end
	return status;
end

-- Calls callback(handle, ...), closes the database, and returns the result of the callback: an exit status.
function tool.with_database(...)
	return with_opened(tool.open, ...);
end

-- The same, of a database that may be damaged
function tool.with_unverified(...)
	return with_opened(open_unverified, ...);
end

-- Whether Prosody is running, according to its pidfile
function tool.server_runs()
	local known, running = prosodyctl.isrunning();
	return known and running or false;
end

-- Takes all steps of a copy or a check, and closes it: until then the database stays open.
-- Returns true, done, total, array of problems; or nil, text.
function tool.run_task(task, label)
	local progress, problems = terminal.progress(label), {};
	local more, done, total, found;
	repeat
		more, done, total, found = task:step();
		if more ~= nil then
			table.move(found or {}, 1, #(found or {}), #problems + 1, problems);
			progress.update(done, total);
		end
	until not more;
	progress.finish();
	task:close();
	if more == nil then return nil, total; end
	return true, done, total, problems;
end

return tool;
