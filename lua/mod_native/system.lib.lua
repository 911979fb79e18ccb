-- Reads file systems and open files of a process from the operating system

local lfs = require "lfs";

local REMOTE = { -- LMDB needs a shared memory map and locks that every process sees
	"^nfs", "^cifs$", "^smb", "^9p$", "^afs$", "^ceph$", "^glusterfs$", "^lustre$", "^gfs2$", "^ocfs2$", "^beegfs$",
	"^fuse%.sshfs$", "^fuse%.glusterfs$", "^fuse%.s3fs$", "^fuse%.rclone$", "^fuse%.ceph$", "^vboxsf$", "^virtiofs$",
};
local VOLATILE = { tmpfs = true, ramfs = true };

local system = {};

local function read(path)
	local file = io.open(path, "r");
	if not file then return nil; end
	local text = file:read("a");
	file:close();
	return text;
end

-- The path, or the nearest existing directory above it
function system.existing(path)
	while path ~= "" and not lfs.attributes(path) do path = path:match("^(.*)/") or ""; end
	return path == "" and "/" or path;
end

-- Free bytes for this user, or nil
function system.free(path)
	local pipe = io.popen(("LC_ALL=C df -Pk -- '%s' 2>/dev/null"):format(system.existing(path):gsub("'", "'\\''")), "r");
	local text = pipe and pipe:read("a") or "";
	if pipe then pipe:close(); end
	local kilobytes = text:match("\n.*%s%d+%s+%d+%s+(%d+)%s+%d+%%");
	return kilobytes and tonumber(kilobytes) * 1024 or nil;
end

-- Bytes of the files in a directory whose names match the pattern; 0 if there is no such directory
function system.size(directory, pattern)
	local sum = 0;
	if lfs.attributes(directory, "mode") ~= "directory" then return sum; end
	for name in lfs.dir(directory) do
		if name:find(pattern) then sum = sum + (lfs.attributes(directory.."/"..name, "size") or 0); end
	end
	return sum;
end

-- The type of the file system that holds a path, from the text of /proc/self/mountinfo; or nil
function system.type_in(mountinfo, path)
	local longest, found = -1, nil;
	for line in mountinfo:gmatch("[^\n]+") do
		local point, typ = line:match("^%S+ %S+ %S+ %S+ (%S+) .- %- (%S+)");
		if point then
			point = point:gsub("\\(%d%d%d)", function (octal) return string.char(tonumber(octal, 8)); end);
			local prefix = point == "/" and "/" or point.."/";
			if #point >= longest and (path.."/"):sub(1, #prefix) == prefix then
				longest, found = #point, typ;
			end
		end
	end
	return found;
end

function system.type(path)
	return system.type_in(read("/proc/self/mountinfo") or "", system.existing(path));
end

function system.is_remote(typ)
	for _, pattern in ipairs(REMOTE) do
		if typ:match(pattern) then return true; end
	end
	return false;
end

function system.is_volatile(typ)
	return VOLATILE[typ] or false;
end

-- Returns the limit of open files of a process, and how many it has open, nil without the permission to see that; or nil
function system.open_files(pid)
	local limits = read(("/proc/%d/limits"):format(pid));
	local limit = limits and limits:match("Max open files%s+(%d+)");
	if not limit then return nil; end
	local ok, iterate, directory = pcall(lfs.dir, ("/proc/%d/fd"):format(pid));
	if not ok then return tonumber(limit); end
	local count = 0;
	for name in iterate, directory do
		if name:match("^%d") then count = count + 1; end
	end
	return tonumber(limit), count;
end

return system;
