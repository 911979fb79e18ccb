-- Certificate and key files: reading and writing them, and why Prosody's user cannot read them

local lfs = require "lfs";
local pposix = require "util.pposix";
local random_name = require "util.id".medium;

local certs = module:require "native"("certs");
local paths = module:require "paths";

local MAX_SIZE = 4 << 20; -- bytes
local DENIED = "Permission denied";
local MAX_LINKS = 20;

local files = {};

function files.is_file(path)
	return lfs.attributes(path, "mode") == "file";
end

function files.exists(path)
	return lfs.symlinkattributes(path, "mode") ~= nil;
end

-- Whether two paths lead to the same file; either may be nil
function files.same(one, other)
	local a, b = one and lfs.attributes(one), other and lfs.attributes(other);
	return a and b and a.dev == b.dev and a.ino == b.ino or false;
end

-- ---- Reading and writing ----

-- The content of a file, or of standard input ("-"); or nil, text
function files.read_any(path)
	local file, err = io.stdin, nil;
	if path ~= "-" then file, err = io.open(path, "rb"); end
	if not file then return nil, paths.explain(err); end
	local text;
	text, err = file:read(MAX_SIZE);
	if path ~= "-" then file:close(); end
	if not text then return nil, ("%s: %s"):format(path == "-" and "standard input" or path, err or "empty"); end
	return text;
end

-- An operator who keeps key and certificate side by side easily names the wrong file.
local function is_key_only(text)
	return text:find("%-%-%-%-%-BEGIN [%u ]*PRIVATE KEY%-%-%-%-%-") and not text:find("%-%-%-%-%-BEGIN [%u%d ]*CERTIFICATE%-%-%-%-%-");
end

-- The content of a certificate file; or nil, text
function files.read(path)
	local text, err = files.read_any(path);
	if not text then return nil, err; end
	if is_key_only(text) then return nil, path..": this is a private key, not a certificate"; end
	return text;
end

-- A chain (certs.parse) and the description of its leaf; or nil, text
function files.parse_chain(pem)
	local chain, _, text = certs.parse(pem);
	if not chain then return nil, text; end
	local leaf;
	leaf, _, text = chain:describe();
	if not leaf then return nil, text; end
	return chain, leaf;
end

-- The same of a certificate file, and its content; or nil, text
function files.read_chain(path)
	local pem, err = files.read(path);
	if not pem then return nil, err; end
	local chain, leaf = files.parse_chain(pem);
	if not chain then return nil, ("%s: %s"):format(path, leaf); end
	return chain, leaf, pem;
end

-- Writes a new file that only its owner can read, at any moment. Never overwrites: link() fails if the path exists. Returns
-- true; or nil, text.
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

-- ---- Permissions: ACME clients make their directories accessible to root only ----

local function is_denied(text)
	return text ~= nil and text:find(DENIED, 1, true) ~= nil;
end

-- The first directory on the way to a path, through symbolic links, that Prosody's user cannot search; or nil
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

local function is_unreadable(path)
	if lfs.attributes(path, "mode") == "directory" then
		local ok, text = pcall(lfs.dir, path);
		return not ok and is_denied(text);
	end
	local file, text = io.open(path, "rb");
	if file then file:close(); end
	return not file and is_denied(text);
end

-- A text that names the directory or file on the way to a path that Prosody's user cannot read, and the remedies; or nil
function files.closed(path)
	local directory = closed_directory(path, 0);
	if not directory and not is_unreadable(path) then return nil; end
	if lfs.attributes(path, "mode") == "directory" then directory = directory or path; end
	return ("Prosody's user cannot read %s. Either copy certificate and key for Prosody, as root: prosodyctl --root cert import %s, "
		.."and in a deploy hook of the ACME client for every renewal. Or make them readable for a group of this user: chgrp, "
		.."chmod g+rx for directories and g+r for files"):format(
		directory and "the directory "..directory or "the file "..path, directory or path:match("^(.+)/") or path);
end

return files;
