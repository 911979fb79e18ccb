-- The store as the tools open it: none is made where there is none, and failures are texts for people

local prosodyctl = require "util.prosodyctl";

local native = module:require "native"("store");
local options = module:require "option_reader".read(module:require "options");
local paths = module:require "paths";
local terminal = module:require "terminal";

local NOTHING = "No such file or directory";

local existing = {
	native = native;
	directory = options.storage_native_path;
	file = options.storage_native_path.."/data.mdb";
};

-- The handle of the store in a directory, or nil, text, condition
function existing.open(directory)
	local handle, condition, text = native.open {
		directory = directory, interval = 0, max_bytes = math.floor(options.storage_native_max_size), verify = true;
	};
	if not handle then return nil, ("%s: %s"):format(directory, text), condition; end
	return handle;
end

-- Nil where there is a store, or a text: there is none, or it cannot be seen whether there is one
function existing.missing()
	local why = paths.missing(existing.file);
	if why == NOTHING then return ("no store in %s"):format(existing.directory); end
	return why and ("%s: %s"):format(existing.directory, why);
end

-- Calls callback(handle, ...), closes the store, and returns what the callback does: an exit status.
function existing.with(callback, ...)
	local handle, text;
	local missing = existing.missing();
	if not missing then
		handle, text = existing.open(options.storage_native_path);
	end
	if not handle then
		terminal.error("%s", missing or text);
		return 1;
	end
	local ok, status = pcall(callback, handle, ...);
	handle:close();
	if not ok then error(status, 0); end
	return status;
end

-- Whether Prosody runs, as far as its pidfile tells
function existing.server_runs()
	local known, running = prosodyctl.isrunning();
	return known and running or false;
end

-- Takes all steps of a copy or a check, and closes it: while it is open, so is the store.
-- Returns true, done, total, array of problems; or nil, text.
function existing.run(task, label)
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

return existing;
