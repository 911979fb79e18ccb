-- The machine: disk space, file system and damage of the store, files of the webchat, Lua's garbage collector, open files

local config = require "core.configmanager";
local is_running = require "util.prosodyctl".isrunning;
local lfs = require "lfs";
local pidfile_pid = require "util.prosodyctl".getpid;
local pposix = require "util.pposix";

local ask_server = module:require "admin_client";
local modules = module:require "modules";
local bytes = module:require "terminal".bytes;
local status = module:require "status";
local system = module:require "system";

local GLOBAL = "*";
local ENOENT = 2;
local FEW_FILES, MANY_FILES = 4096, 65536;
local NEARLY = 0.8; -- of the files that may be open
local CONVERSE = "/usr/local/share/converse"; -- where an administrator's own files lie
local LITTLE_SPACE = 256 << 20; -- bytes
local LARGE_LOG = 64 << 20; -- bytes: a busy server writes some MB between two states of the database that are durable
local SLOW_SYNC = 0.5; -- seconds: ten times what a hard disk needs
local PROSODYS_THRESHOLD, OFTEN = 105, 150; -- memory, in percent of what was in use, at which a collection begins

-- ---- The store ----

-- Whether the store can be created: the directory above it is Prosody's own, or exists
local function can_be_created(directory)
	local above = directory:match("^(.+)/[^/]+/*$") or "/";
	return lfs.attributes(directory) or lfs.attributes(above) or above == prosody.paths.data;
end

local function access(findings, directory)
	local file, err, code = io.open(directory.."/data.mdb", "r+b"); -- for writing, which changes nothing yet
	if file then return file:close(); end
	if code == ENOENT and can_be_created(directory) then return; end
	findings.add("error", { about = "storage_native_path", what = ("Cannot open the store: %s."):format(err),
		why = "Nothing can be stored, and nobody can log in. The directory above must exist, and Prosody must own both.",
		line = ("install -d -o prosody -m 700 %q\nchown -R prosody %q"):format(directory, directory), place = "As root" });
end

local function space(findings, directory)
	local free, size = system.free(directory), lfs.attributes(directory.."/data.mdb", "size") or 0;
	if not free then return; end
	local what = ("%s are free for %s, whose file has %s."):format(bytes(free), directory, bytes(size));
	if free < LITTLE_SPACE then
		findings.add("error", { about = "disk", what = what, why = "On a full disk, messages are refused instead of stored.",
			line = ("storage_native_max_size = %d -- leaves space for others; or a larger disk"):format(size) });
	elseif free < size then
		findings.add("warning", { about = "disk", what = what,
			why = "A backup beside the store, or compacting it, needs as much space as the store." });
	end
end

local function log(findings, directory)
	local size = system.size(directory, "^log%.");
	if size < LARGE_LOG then return; end
	findings.add("warning", { about = "log", what = ("The log in %s has grown to %s."):format(directory, bytes(size)),
		why = "It is removed once the database file is synced: the disk is slower than the writes, or its syncs do not end. After a kill "
			.."the server applies the whole log when it starts." });
end

-- The figures of the running server, nil if there is none that answers
local function figures_of_store()
	local known, running = is_running();
	local answer;
	if prosody.process_type == "prosody" then
		answer = status.collect();
	elseif known and running and modules.has "native" then
		answer = ask_server();
	end
	for _, section in ipairs(answer and answer.sections or {}) do
		if section.name == "storage_native" and section.host == GLOBAL then
			local values = {};
			for _, figure in ipairs(section.figures or {}) do values[figure.name] = figure.value; end
			return values;
		end
	end
end

local function speed(findings, directory, figures)
	local seconds = figures and figures.slowest_sync or 0;
	if seconds < SLOW_SYNC then return; end
	findings.add("warning", { about = "disk speed",
		what = ("A sync of the log in %s took %.1f s within the last minute."):format(directory, seconds),
		why = "Acknowledgements to clients wait for it; with storage_native_sync = \"commit\" the whole server does.",
		line = ("storage_native_path = %q -- on a faster disk, or one that others use less"):format(directory) });
end

-- What a verification of the structure has found, in the server or in a tool
local function damage(findings, directory, object, figures)
	local open = package.loadlib(object.path, "luaopen_store");
	if not open or not open().is_damaged(directory) then return; end
	local page = figures and figures.structure and figures.structure:match("^damaged(: .+)$") or "";
	findings.add("error", { about = "store", what = ("The store in %s is damaged%s."):format(directory, page),
		why = "The disk has lost or changed a page of data.mdb. Everything else can be read, but each write fails with storage-damaged.",
		line = "prosodyctl stop\nprosodyctl mod_storage_native restore FILE --replace\nprosodyctl start",
		place = "In a shell, with the last backup; without one, prosodyctl mod_storage_native export --to internal saves what can be read" });
end

local function store(findings, installed)
	local found = modules.enabled(installed, "storage_native");
	local directory = found and modules.values(found, GLOBAL).storage_native_path;
	if not directory then return; end
	local typ = system.type(directory);
	if typ and system.is_remote(typ) then -- any other access may hang
		findings.add("error", { about = "storage_native_path",
			what = ("%s is on a file system of type %s."):format(directory, typ),
			why = "LMDB maps its file and relies on locks of one machine: a network file system damages it sooner or later.",
			line = 'storage_native_path = "/var/lib/prosody/native" -- on a local disk' });
		return;
	elseif typ and system.is_volatile(typ) then
		findings.add("warning", { about = "storage_native_path", what = ("%s is in memory (%s)."):format(directory, typ),
			why = "Everything in the store is lost when the machine restarts.",
			line = 'storage_native_path = "/var/lib/prosody/native" -- on a disk' });
	end
	access(findings, directory);
	space(findings, directory);
	log(findings, directory);
	local figures = figures_of_store();
	damage(findings, directory, found.objects[1], figures);
	speed(findings, directory, figures);
end

-- ---- Files of the webchat ----

local function webchat_files(findings, installed)
	local webchat = modules.enabled(installed, "webchat");
	for _, host in ipairs(webchat and not webchat.options_error and webchat.hosts or {}) do
		local values = modules.values(webchat, host);
		local path, stylesheet = values.webchat_converse_path or webchat.directory.."/converse/dist", values.webchat_stylesheet;
		if not lfs.attributes(path.."/converse.min.js") then
			findings.add("error", { about = "webchat_converse_path", host = host,
				what = ("There is no Converse.js in %s."):format(path), why = "The page of the webchat shows an error, and nobody can chat.",
				line = ("sh %s/converse/get.sh %s\nwebchat_converse_path = %q"):format(webchat.directory, CONVERSE, CONVERSE),
				place = "As root, and then below the VirtualHost" });
		end
		if stylesheet and not lfs.attributes(stylesheet) then
			findings.add("warning", { about = "webchat_stylesheet", host = host, what = ("There is no file %s."):format(stylesheet),
				why = "The page looks as it does without the option." });
		end
	end
end

-- ---- Lua's garbage collector ----

-- If gc is not set, our modules set it: tuning.lib.lua
local function collector(findings, installed)
	local gc = config.get(GLOBAL, "gc");
	local has_ours = modules.enabled(installed, "smacks") or modules.enabled(installed, "storage_native");
	if not has_ours or type(gc) ~= "table" or gc.mode == "generational" then return; end
	local threshold = tonumber(gc.threshold) or PROSODYS_THRESHOLD;
	if threshold >= OFTEN then return; end
	findings.add("advice", { about = "gc",
		what = ("Lua collects garbage whenever memory has grown by %.0f %%."):format(math.max(threshold - 100, 0)),
		why = "This takes up to half of a busy server's CPU time. Without gc, garbage is collected when memory has doubled.",
		line = "gc = { threshold = 200 }", place = modules.place(GLOBAL) });
end

-- ---- Open files ----

-- The process of the server, or nil
local function server_pid()
	if prosody.process_type == "prosody" then return pposix.getpid(); end
	local known, running = is_running();
	if not known or not running then return nil; end
	local _, pid = pidfile_pid();
	return pid;
end

local function open_files(findings)
	local pid = server_pid();
	local limit, count = system.open_files(pid or 0);
	if not pid or not limit then return; end
	local severity = count and count > limit * NEARLY and "error" or limit < FEW_FILES and "warning";
	if not severity then return; end
	local what = ("The server may have %d files open%s."):format(limit, count and (", and has %d open"):format(count) or "");
	findings.add(severity, { about = "open files", what = what,
		why = "Each connection is an open file. At the limit, new connections are not accepted.",
		line = ("[Service]\nLimitNOFILE=%d"):format(MANY_FILES), place = "With systemctl edit prosody, and a restart" });
end

local RULES = { store, webchat_files, collector, open_files };

return function (findings, installed)
	for _, rule in ipairs(RULES) do rule(findings, installed); end
end
