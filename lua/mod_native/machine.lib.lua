-- What the machine lacks: room, open files, and what modules need beside them

local config = require "core.configmanager";
local is_running = require "util.prosodyctl".isrunning;
local lfs = require "lfs";
local pidfile_pid = require "util.prosodyctl".getpid;
local pposix = require "util.pposix";
local resolve_path = require "util.paths".resolve_relative_path;

local disk = module:require "disk";
local family = module:require "family";
local resolver = module:require "resolver";
local terminal = module:require "terminal";

local GLOBAL = "*";
local ENOENT = 2;
local AUTHORITIES = "/etc/ssl/certs"; -- Prosody's default
local FEW_FILES, MANY_FILES = 4096, 65536;
local NEARLY = 0.8; -- of all files that may be open
local CONVERSE = "/usr/local/share/converse"; -- where an administrator's own files lie
local LITTLE_ROOM = 256 << 20; -- bytes
local PROSODYS_THRESHOLD, OFTEN = 105, 150; -- memory, in percent of what was in use, at which a collection begins

local bytes = terminal.bytes;

-- ---- Authorities ----

-- Whether a directory of hashed certificates has any
local function has_certificates(path)
	if lfs.attributes(path, "mode") ~= "directory" then return false; end
	for name in lfs.dir(path) do
		if name:match("%.[%dp]") then return true; end
	end
	return false;
end

local function authorities(findings)
	if config.get(GLOBAL, "s2s_secure_auth") == false then return; end
	local ssl, base = config.get(GLOBAL, "ssl") or {}, prosody.paths.config or ".";
	if ssl.cafile and lfs.attributes(resolve_path(base, ssl.cafile)) then return; end
	local path = resolve_path(base, ssl.capath or AUTHORITIES);
	if has_certificates(path) then return; end
	findings.add("error", { about = "s2s_secure_auth", what = ("There are no certificates of authorities in %s."):format(path),
		why = "No certificate of another server can be valid, but by DANE.",
		line = "apt install ca-certificates", place = "As root" });
end

-- ---- The store's place ----

-- Whether the store can be made where it is not there: the directory above is Prosody's, or has to be there
local function can_be_made(directory)
	local above = directory:match("^(.+)/[^/]+/*$") or "/";
	return lfs.attributes(directory) or lfs.attributes(above) or above == prosody.paths.data;
end

local function access(findings, directory)
	local file, err, code = io.open(directory.."/data.mdb", "r+b"); -- for writing, which changes nothing yet
	if file then return file:close(); end
	if code == ENOENT and can_be_made(directory) then return; end
	findings.add("error", { about = "storage_native_path", what = ("The store cannot be opened: %s."):format(err),
		why = "Nobody can log in, and nothing is stored. The directory above has to be there, and both to be Prosody's.",
		line = ("install -d -o prosody -m 700 %q\nchown -R prosody %q"):format(directory, directory), place = "As root" });
end

local function room(findings, directory)
	local free, size = disk.free(directory), lfs.attributes(directory.."/data.mdb", "size") or 0;
	if not free then return; end
	local what = ("%s are free for %s, whose file has %s."):format(bytes(free), directory, bytes(size));
	if free < LITTLE_ROOM then
		findings.add("error", { about = "disk", what = what, why = "When nothing is left, messages are refused instead of stored.",
			line = ("storage_native_max_size = %d -- keeps room for others; or a larger disk"):format(size) });
	elseif free < size then
		findings.add("warning", { about = "disk", what = what,
			why = "A backup beside it, or compacting, needs as much as the store holds." });
	end
end

local function store(findings, modules)
	local found = family.enabled(modules, "storage_native");
	local values = found and family.options(found, GLOBAL).values;
	if not values then return; end
	local directory = values.directory;
	local typ = disk.type(directory);
	if typ and disk.is_remote(typ) then -- which may hang, and need not be asked more
		findings.add("error", { about = "storage_native_path", what = ("%s lies on a file system of type %s."):format(directory, typ),
			why = "LMDB maps its file and relies on locks of one machine: over a network it is damaged sooner or later.",
			line = 'storage_native_path = "/var/lib/prosody/native" -- on a local disk' });
		return;
	elseif typ and disk.is_volatile(typ) then
		findings.add("warning", { about = "storage_native_path", what = ("%s lies in memory (%s)."):format(directory, typ),
			why = "All that is stored is gone after a restart of the machine.",
			line = 'storage_native_path = "/var/lib/prosody/native" -- on a disk' });
	end
	access(findings, directory);
	room(findings, directory);
end

-- ---- The webchat's files ----

local function webchat_files(findings, modules)
	local webchat = family.enabled(modules, "webchat");
	for _, host in ipairs(webchat and webchat.hosts or {}) do
		local values = family.options(webchat, host).values;
		local path = values and values.converse_path;
		if path and not lfs.attributes(path.."/converse.min.js") then
			findings.add("error", { about = "webchat_converse_path", host = host,
				what = ("There is no Converse.js in %s."):format(path), why = "The page of the webchat says so, and nobody can chat.",
				line = ("sh %s/converse/get.sh %s\nwebchat_converse_path = %q"):format(webchat.directory, CONVERSE, CONVERSE),
				place = "As root, and then below the VirtualHost" });
		end
		local stylesheet = values and values.stylesheet;
		if stylesheet and not lfs.attributes(stylesheet) then
			findings.add("warning", { about = "webchat_stylesheet", host = host, what = ("There is no file %s."):format(stylesheet),
				why = "The page looks as without the option." });
		end
	end
end

-- ---- Lua's collector ----

-- Where `gc` is not set our modules choose
local function collector(findings, modules)
	local gc = config.get(GLOBAL, "gc");
	local has_ours = family.enabled(modules, "smacks") or family.enabled(modules, "storage_native");
	if not has_ours or type(gc) ~= "table" or gc.mode == "generational" then return; end
	local threshold = tonumber(gc.threshold) or PROSODYS_THRESHOLD;
	if threshold >= OFTEN then return; end
	findings.add("advice", { about = "gc",
		what = ("Garbage is collected whenever memory has grown by %.0f %%."):format(math.max(threshold - 100, 0)),
		why = "It takes up to half of a busy server's CPU time. Without 'gc' it is collected when memory has doubled.",
		line = "gc = { threshold = 200 }", place = family.place(GLOBAL) });
end

-- ---- Open files ----

-- The process that serves, or nil
local function server_pid()
	if prosody.process_type == "prosody" then return pposix.getpid(); end
	local known, running = is_running();
	if not known or not running then return nil; end
	local _, pid = pidfile_pid();
	return pid;
end

local function files(findings)
	local pid = server_pid();
	local limit, count = disk.open_files(pid or 0);
	if not pid or not limit then return; end
	local severity = count and count > limit * NEARLY and "error" or limit < FEW_FILES and "warning";
	if not severity then return; end
	local what = ("The server may have %d files open%s."):format(limit, count and ", and has "..count or "");
	findings.add(severity, { about = "open files", what = what,
		why = "Each connection is one. At the limit, new ones are not accepted.",
		line = ("[Service]\nLimitNOFILE=%d"):format(MANY_FILES), place = "With systemctl edit prosody, and a restart" });
end

local RULES = { resolver, authorities, store, webchat_files, collector, files };

return function (findings, modules)
	for _, rule in ipairs(RULES) do rule(findings, modules); end
end
