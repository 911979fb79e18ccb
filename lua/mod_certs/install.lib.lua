-- Replaces a certificate and its key atomically: a program that opens both files always gets two that belong together, also between
-- two system calls, and when this process is killed at any point.
--
-- One rename replaces one file: if chain and key are in the same file, or the key stays. Two files are replaced through a directory
-- beside the certificate, with a dot at the beginning of its name, so that Prosody does not search it:
--
--   .NAME.switch/old/{certificate,key}   copies of the old files
--   .NAME.switch/new/{certificate,key}   the new files
--   .NAME.switch/now -> old
--
--   1  both files become symbolic links to .NAME.switch/now/...: their content stays
--   2  .NAME.switch/now -> new, by one rename: the content of both changes
--   3  the files of .NAME.switch/new replace both links: their content stays
--   4  the directory is removed
--
-- recover() completes an interrupted installation: before 2 it rolls back, after 2 it rolls forward.

local lfs = require "lfs";
local pposix = require "util.pposix";
local sha256 = require "util.hashes".sha256;

local disk = module:require "native"("file");
local files = module:require "files";
local paths = module:require "paths";

local PASSABLE_UMASK = "066"; -- mode 0711: the files have modes of their own
local MAX_LINKS = 40; -- in a row, as in Linux
local DIGITS = 12; -- of a digest
local PART = ".renewing"; -- of a temporary file
local OWN_LINK = "/%.[^/]+%.switch/now/%l+$";

local install = {};

-- ---- Paths ----

local function directory_of(path)
	return path:match("^(.*)/[^/]*$");
end

local function name_of(path)
	return path:match("[^/]*$");
end

-- Follows symbolic links, so that the file is replaced and not a link to it. Links of an interrupted installation count as files.
function install.target(path)
	for _ = 1, MAX_LINKS do
		local link = lfs.symlinkattributes(path, "target");
		if not link or link:find(OWN_LINK) then return path; end
		path = link:sub(1, 1) == "/" and link or directory_of(path).."/"..link;
	end
	return path;
end

-- Prosody treats names with "fullchain" and names that end with ".crt" as certificates.
local function part_of(path)
	return ("%s/.%s%s"):format(directory_of(path), sha256(name_of(path), true):sub(1, DIGITS), PART);
end

-- ---- Errors ----

-- Functions that write to the disk raise { text = }, which guarded() catches.
local function must(path, ok, condition, text)
	if not ok then error { text = ("%s: %s"):format(path, paths.reason(text or condition)) }; end
	return ok;
end

-- Runs a function; returns true; or nil, text.
local function guarded(work, ...)
	local ok, err = pcall(work, ...);
	if ok then return true; end
	if type(err) == "table" then return nil, err.text; end
	error(err, 0);
end

-- ---- One file ----

local function write(path, text, like)
	os.remove(path);
	must(path, disk.write(path, text, like));
end

local function sync(...)
	local seen = {};
	for _, path in ipairs { ... } do
		local directory = directory_of(path);
		if not seen[directory] then must(directory, disk.sync(directory)); end
		seen[directory] = true;
	end
end

local function replace(path, text)
	write(part_of(path), text, path);
	must(path, os.rename(part_of(path), path));
	sync(path);
end

-- ---- Two files ----

local SIDES = { "certificate", "key" };

local function switch_of(place)
	return ("%s/.%s.switch"):format(directory_of(place.certificate), name_of(place.certificate));
end

-- Replaces a path by a symbolic link.
local function link(target, path)
	local part = part_of(path);
	os.remove(part);
	must(path, lfs.link(target, part, true));
	must(path, os.rename(part, path));
end

local function make_directory(path)
	local before = pposix.umask(PASSABLE_UMASK);
	local ok, err = lfs.mkdir(path);
	pposix.umask(before);
	must(path, ok, err);
end

local function remove_directory(path)
	for _, version in ipairs { "old", "new" } do
		for _, side in ipairs(SIDES) do os.remove(("%s/%s/%s"):format(path, version, side)); end
		lfs.rmdir(path.."/"..version);
	end
	os.remove(path.."/now");
	os.remove(part_of(path.."/now"));
	lfs.rmdir(path);
end

local function read(path)
	local file = must(path, io.open(path, "rb"));
	local text = file:read("a");
	file:close();
	return text;
end

local function prepare(place, new)
	local switch = switch_of(place);
	make_directory(switch);
	local texts = { old = {}, new = new };
	for _, side in ipairs(SIDES) do texts.old[side] = read(place[side]); end
	for version, text_of in pairs(texts) do
		local directory = switch.."/"..version;
		make_directory(directory);
		for _, side in ipairs(SIDES) do write(directory.."/"..side, text_of[side], place[side]); end
		sync(directory.."/"..SIDES[1]);
	end
	link("old", switch.."/now");
	sync(switch.."/now", switch);
end

-- Whether a file is a link into the switch directory
local function is_linked(place, side)
	return lfs.symlinkattributes(place[side], "target") == ("%s/now/%s"):format(switch_of(place), side);
end

-- Replaces the links by the files that "now" leads to: by a rename, or a copy if the key is on another file system.
local function settle(place)
	local switch = switch_of(place);
	local version = lfs.symlinkattributes(switch.."/now", "target") or "old";
	for _, side in ipairs(SIDES) do
		local source = ("%s/%s/%s"):format(switch, version, side);
		if is_linked(place, side) and not os.rename(source, place[side]) then
			write(part_of(place[side]), read(source), source);
			must(place[side], os.rename(part_of(place[side]), place[side]));
		end
	end
	sync(place.certificate, place.key);
	remove_directory(switch);
	sync(switch);
end

local function switch_both(place, new)
	local switch = switch_of(place);
	prepare(place, new);
	for _, side in ipairs { "key", "certificate" } do link(("%s/now/%s"):format(switch, side), place[side]); end
	sync(place.certificate, place.key);
	link("new", switch.."/now");
	sync(switch.."/now");
	settle(place);
end

-- ---- Together ----

-- place = { certificate =, key = paths of the files, as of target() }. Returns true; or nil, text.
function install.recover(place)
	os.remove(part_of(place.certificate));
	os.remove(part_of(place.key));
	if lfs.attributes(switch_of(place), "mode") ~= "directory" then return true; end
	return guarded(settle, place);
end

-- new = { certificate = PEM of the chain, key = PEM, same_key = the key in use stays }. Returns true; or nil, text after the change
-- was rolled back.
function install.replace(place, new)
	local work;
	if files.same(place.certificate, place.key) then
		work = function () replace(place.certificate, new.certificate..new.key); end
	elseif new.same_key then
		work = function () replace(place.certificate, new.certificate); end
	else
		work = function () switch_both(place, new); end
	end
	local ok, err = guarded(work);
	if ok then return true; end
	install.recover(place);
	return nil, err;
end

return install;
