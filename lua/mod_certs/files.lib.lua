-- Files with certificates, and files that nobody else may read

local lfs = require "lfs";
local pposix = require "util.pposix";
local random_name = require "util.id".medium;

local paths = module:require "paths";

local MAX_SIZE = 4 << 20; -- bytes of a file with certificates

local files = {};

function files.is_file(path)
	return lfs.attributes(path, "mode") == "file";
end

function files.exists(path)
	return lfs.symlinkattributes(path, "mode") ~= nil;
end

-- Whether two names lead to one file; either may be nil
function files.same(one, other)
	local a, b = one and lfs.attributes(one), other and lfs.attributes(other);
	return a and b and a.dev == b.dev and a.ino == b.ino or false;
end

-- Whoever keeps both side by side soon names one for the other.
local function is_key_alone(text)
	return text:find("%-%-%-%-%-BEGIN [%u ]*PRIVATE KEY%-%-%-%-%-") and not text:find("%-%-%-%-%-BEGIN [%u%d ]*CERTIFICATE%-%-%-%-%-");
end

-- The text of a file, or nil, text of the error
function files.read_any(path)
	local file, err = io.open(path, "rb");
	if not file then return nil, paths.explain(err); end
	local text;
	text, err = file:read(MAX_SIZE);
	file:close();
	if not text then return nil, ("%s: %s"):format(path, err or "empty"); end
	return text;
end

-- The text of a file with certificates, or nil, text of the error
function files.read(path)
	local text, err = files.read_any(path);
	if not text then return nil, err; end
	if is_key_alone(text) then return nil, path..": this is a private key, and no certificate"; end
	return text;
end

-- Writes a new file that its owner alone can read, at any moment. What exists is never overwritten: the text gets its
-- name by a link, which fails then. Returns true, or nil, text.
function files.write_private(path, text)
	local part = ("%s/.%s"):format(path:match("^(.*)/"), random_name());
	local before = pposix.umask("077");
	local file, err = io.open(part, "wb");
	pposix.umask(before);
	if not file then return nil, ("%s: %s"):format(path, paths.reason(err)); end
	local ok;
	ok, err = file:write(text);
	local closed, close_err = file:close();
	ok, err = ok and closed, err or close_err;
	if ok then ok, err = lfs.link(part, path); end
	os.remove(part);
	if not ok then return nil, ("%s: %s"):format(path, (err or "cannot be written"):gsub("^.*: ", "")); end
	return true;
end

return files;
