-- Files that are closed to Prosody: which directory is, and the ways out. ACME clients close theirs to everybody but root.

local lfs = require "lfs";

local DENIED = "Permission denied";
local MAX_LINKS = 20;

local permissions = {};

local function is_denied(text)
	return text ~= nil and text:find(DENIED, 1, true) ~= nil;
end

-- The directory on the way to a path that does not let Prosody through, or nil. The way leads along symbolic links.
local function closed_directory(path, links)
	local at = "";
	for part, rest in path:gmatch("([^/]+)()") do
		local here = at.."/"..part;
		local info, text = lfs.symlinkattributes(here);
		if not info then return is_denied(text) and (at == "" and "/" or at) or nil; end
		local target = info.mode == "link" and links < MAX_LINKS and info.target;
		if target then
			local way = target:sub(1, 1) == "/" and target or at.."/"..target;
			return closed_directory(way..path:sub(rest), links + 1);
		end
		at = here;
	end
end

-- Whether a directory, or a file, may be read
local function is_closed(path)
	if lfs.attributes(path, "mode") == "directory" then
		local ok, text = pcall(lfs.dir, path);
		return not ok and is_denied(text);
	end
	local file, text = io.open(path, "rb");
	if file then file:close(); end
	return not file and is_denied(text);
end

-- A text that names the directory or file that Prosody may not read on the way to a path, and the ways out; or nil
function permissions.closed(path)
	local directory = closed_directory(path, 0);
	if not directory and not is_closed(path) then return nil; end
	local what = directory or path;
	return ("%s is closed to the user that Prosody runs as. Either copy certificate and key for Prosody, as root: prosodyctl --root "
		.."cert import %s, and the same in a deploy hook of the ACME client for every renewal. Or open them to a group that this "
		.."user is in: chgrp, chmod g+rx for directories and g+r for files"):format(
		(lfs.attributes(what, "mode") == "directory" and "the directory " or "the file ")..what, directory or path:match("^(.+)/") or what);
end

return permissions;
