-- What the operating system says of the disk below a path, and of a process's files

local lfs = require "lfs";

local REMOTE = { -- LMDB needs a shared memory map and locks that every process sees
	"^nfs", "^cifs$", "^smb", "^9p$", "^afs$", "^ceph$", "^glusterfs$", "^lustre$", "^gfs2$", "^ocfs2$", "^beegfs$",
	"^fuse%.sshfs$", "^fuse%.glusterfs$", "^fuse%.s3fs$", "^fuse%.rclone$", "^fuse%.ceph$", "^vboxsf$", "^virtiofs$",
};
local VOLATILE = { tmpfs = true, ramfs = true };

local disk = {};

local function read(path)
	local file = io.open(path, "r");
	if not file then return nil; end
	local text = file:read("a");
	file:close();
	return text;
end

-- The path, or the nearest directory above it that is there
function disk.existing(path)
	while path ~= "" and not lfs.attributes(path) do path = path:match("^(.*)/") or ""; end
	return path == "" and "/" or path;
end

-- Bytes that are free for the server's user, or nil
function disk.free(path)
	local pipe = io.popen(("LC_ALL=C df -Pk -- '%s' 2>/dev/null"):format(disk.existing(path):gsub("'", "'\\''")), "r");
	local text = pipe and pipe:read("a") or "";
	if pipe then pipe:close(); end
	local kilobytes = text:match("\n.*%s%d+%s+%d+%s+(%d+)%s+%d+%%");
	return kilobytes and tonumber(kilobytes) * 1024 or nil;
end

-- Of the mount points in a text as /proc/self/mountinfo has it: the type of the file system that holds a path
function disk.type_in(mountinfo, path)
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

function disk.type(path)
	return disk.type_in(read("/proc/self/mountinfo") or "", disk.existing(path));
end

function disk.is_remote(typ)
	for _, pattern in ipairs(REMOTE) do
		if typ:match(pattern) then return true; end
	end
	return false;
end

function disk.is_volatile(typ)
	return VOLATILE[typ] or false;
end

-- How many files a process may have open and has: limit, open (nil where that is nobody else's business); or nil
function disk.open_files(pid)
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

return disk;
