-- Paths in the arguments of prosodyctl. It changes to the data directory before a module is loaded, and runs as Prosody's user: it
-- cannot read root's files, even when root calls it.

local lfs = require "lfs";

local DENIED = "Permission denied";
local WHOSE = "; prosodyctl works as the user that Prosody runs as";

local paths = {};

-- A path relative to the caller's directory. Without PWD, as with some sudos, a relative path is an error: it would be one in the data
-- directory.
function paths.absolute(path)
	if path:sub(1, 1) == "/" then return path; end
	local directory = os.getenv("PWD");
	if not directory then error { text = path..": PWD is not set, use an absolute path" }; end -- see command.lib.lua
	return directory.."/"..path;
end

-- Completes an error text of the operating system
function paths.explain(text)
	return text:find(DENIED, 1, true) and text..WHOSE or text;
end

-- The same without the file name at its beginning
function paths.reason(text)
	return paths.explain(text:match("[^:]+$"):match("%S.*"));
end

-- Why nothing can be found at a path; nil if there is something
function paths.missing(path)
	local found, text = lfs.attributes(path);
	return not found and paths.reason(text) or nil;
end

-- If it cannot be seen whether a path exists: why not, with the path; otherwise nil
function paths.hidden(path)
	local reason = paths.missing(path);
	return reason and reason:find(DENIED, 1, true) and ("%s: %s"):format(path, reason) or nil;
end

-- Why a new file cannot be created
function paths.closed(path)
	return paths.missing(path:match("^(.+)/") or "/") or paths.explain(DENIED);
end

return paths;
