-- Paths that an operator names. prosodyctl has gone to the data directory when a module sees them, and works as the user
-- that Prosody runs as: files of root's are closed to it, even where root has called it.

local lfs = require "lfs";

local DENIED = "Permission denied";
local WHOSE = "; prosodyctl works as the user that Prosody runs as";

local paths = {};

-- As seen from the directory of whoever calls. Where that is not known, as behind some sudos, a relative path is refused: it
-- would be one in the data directory.
function paths.absolute(path)
	if path:sub(1, 1) == "/" then return path; end
	local directory = os.getenv("PWD");
	if not directory then error { text = path..": the whole path is needed, for PWD is not set" }; end -- command.lib.lua tells
	return directory.."/"..path;
end

-- A text of the system's, with what it means here
function paths.explain(text)
	return text:find(DENIED, 1, true) and text..WHOSE or text;
end

-- The same without the file that it begins with
function paths.reason(text)
	return paths.explain(text:match("[^:]+$"):match("%S.*"));
end

-- Why there is nothing at a path, as the system says it; nil where there is something
function paths.missing(path)
	local found, text = lfs.attributes(path);
	return not found and paths.reason(text) or nil;
end

-- Why it is not to be seen whether something is at a path: a text with the path, or nil where it is to be seen
function paths.hidden(path)
	local reason = paths.missing(path);
	return reason and reason:find(DENIED, 1, true) and ("%s: %s"):format(path, reason) or nil;
end

-- Why a new file cannot be made
function paths.closed(path)
	return paths.missing(path:match("^(.+)/") or "/") or paths.explain(DENIED);
end

return paths;
