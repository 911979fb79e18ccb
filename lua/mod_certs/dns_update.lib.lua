-- Adds TLSA records to DNS and deletes them: by dynamic updates (RFC 2136) that nsupdate or knsupdate sends and signs with TSIG
-- (RFC 8945), or by the operator's own program. Options certs_dns_update and certs_dns_command.

local config = require "core.configmanager";
local lfs = require "lfs";
local to_hex = require "util.hex".encode;

local disk = module:require "native"("file");
local dns = module:require "dns";
local read_options = module:require "option_reader".read;
local terminal = module:require "terminal";

local PROGRAMS = { "nsupdate", "knsupdate" };
local DIRECTORIES = { "/usr/bin", "/usr/local/bin", "/usr/sbin", "/usr/local/sbin", "/bin", "/sbin" };
local NAME = "^[%w_-][%w_.-]*$"; -- safe in a line of input for another program
local ADDRESS = "^[%x:.]+$";
local GRACE = 5; -- seconds from SIGTERM to SIGKILL
local TIMED_OUT, KILLED = 124, 137; -- exit statuses of timeout(1)
local DNS_PORT = 53;
local MAX_OUTPUT = 2000; -- bytes of a program's output that are shown

local dns_update = {};

-- ---- Options ----

local function find_program(name)
	if name:find("/", 1, true) then return lfs.attributes(name, "mode") == "file" and name or nil; end
	for _, directory in ipairs(DIRECTORIES) do
		local path = directory.."/"..name;
		if lfs.attributes(path, "mode") == "file" then return path; end
	end
end

-- The path of the program that sends updates; or nil, text
local function program_of(option)
	local names = option.program and { option.program } or PROGRAMS;
	for _, name in ipairs(names) do
		local path = type(name) == "string" and find_program(name);
		if path then return path; end
	end
	return nil, ("certs_dns_update: %s is not installed; packages with it are bind9-dnsutils and knot-dnsutils")
		:format(option.program and tostring(option.program) or "neither nsupdate nor knsupdate");
end

local function is_name(value)
	return type(value) == "string" and value:find(NAME) ~= nil;
end

-- A text about an invalid certs_dns_update, or nil
local function fault_of(option)
	if type(option) ~= "table" then return "it is a table: { server = ADDRESS, key = FILE }"; end
	local server, port = option.server, math.tointeger(tonumber(option.port or DNS_PORT));
	if not is_name(server) and not (type(server) == "string" and server:find(ADDRESS)) then
		return "server is the address of the name server that takes updates";
	end
	if not port or port < 1 or port > 65535 then return "port is a number from 1 to 65535"; end
	if option.zone and not is_name(option.zone) then return "zone is a domain name"; end
	if option.key and type(option.key) ~= "string" then return "key is the path of a file with a TSIG key"; end
	return nil;
end

-- { server =, port =, zone = or nil, key = or nil, path = of the program }; or nil, text
local function update_settings(option)
	local fault = fault_of(option);
	if fault then return nil, "certs_dns_update: "..fault; end
	local path, err = program_of(option);
	if not path then return nil, err; end
	return { server = option.server, port = math.tointeger(tonumber(option.port or DNS_PORT)),
		zone = option.zone and option.zone:gsub("%.$", "") or nil, key = option.key, path = path };
end

-- How records are published: "update", "command", or nil for manually; and the option
function dns_update.way()
	local update, command = config.get("*", "certs_dns_update"), config.get("*", "certs_dns_command");
	if update ~= nil then return "update", update; end
	if command ~= nil then return "command", command; end
	return nil;
end

local function timeout()
	return read_options(module:require "options").certs_dns_timeout;
end

-- ---- Running a program ----

local function quoted(word)
	return "'"..word:gsub("'", "'\\''").."'";
end

local function read(path)
	local file = io.open(path, "rb");
	local text = file and file:read(MAX_OUTPUT) or "";
	if file then file:close(); end
	return text;
end

-- A text about a failed program
local function ending(kind, code)
	if kind == "signal" then return ("was killed by signal %d"):format(code); end
	if code == TIMED_OUT or code == KILLED then return "did not end within "..terminal.plural(timeout(), "second"); end
	return ("failed with status %d"):format(code);
end

-- The same with its output
local function failure(words, kind, code, output)
	local said = {};
	for line in output:gmatch("[^\r\n]+") do said[#said + 1] = line; end
	return ("%s %s%s"):format(words[1], ending(kind, code), said[1] and ": "..table.concat(said, "; ") or  " without output");
end

-- Runs words[1] with input on its standard input; directory: a private one for temporary files. Returns true; or nil, text with the
-- output of the program. The output goes to a file, not to a pipe that a remaining child could keep open.
local function run(words, input, directory)
	local from, to = directory.."/program.input", directory.."/program.output";
	local function clean() os.remove(from); os.remove(to); end
	clean();
	local ok, _, err = disk.write(from, input);
	if ok then ok, _, err = disk.write(to, ""); end
	if not ok then clean(); return nil, ("%s: %s"):format(from, err); end
	local list = { "exec timeout", ("--kill-after=%d"):format(GRACE), tostring(timeout()) };
	for _, word in ipairs(words) do list[#list + 1] = quoted(word); end
	local good, kind, code = os.execute(("%s <%s >%s 2>&1"):format(table.concat(list, " "), quoted(from), quoted(to)));
	local text = not good and failure(words, kind, code, read(to)) or nil;
	clean();
	return good, text;
end

-- ---- Records as lines ----

-- "NAME. TTL TLSA U S M HEX", without TTL if it is nil; or nil, text. Names come from DNS and go to another program: they must not
-- contain anything that ends the line.
local function line_of(record, ttl)
	if not record.name:find(NAME) then
		return nil, ("cannot publish %s: not a host name"):format(record.name);
	end
	return ("%s. %sTLSA %d %d %d %s"):format(record.name, ttl and ttl.." " or "", record.usage, record.selector, record.match,
		to_hex(record.data));
end

-- { { zone =, lines = { ... } }, ... }, one entry for each update, which is about one zone; or nil, text
local function by_zone(settings, action, records)
	local list, groups = {}, {};
	for _, record in ipairs(records) do
		local zone = settings.zone or dns.zone(record.name);
		if not zone or not zone:find(NAME) then return nil, ("cannot find the zone of %s"):format(record.name); end
		local line, err = line_of(record, action == "add" and record.ttl);
		if not line then return nil, err; end
		if not groups[zone] then
			groups[zone] = { zone = zone, lines = {} };
			list[#list + 1] = groups[zone];
		end
		table.insert(groups[zone].lines, ("update %s %s"):format(action, line));
	end
	return list;
end

-- ---- Updates and commands ----

-- Without prerequisites: to add a present record or to delete a missing one is not an error (RFC 2136 section 3.4.2).
local function send_update(option, action, records, directory)
	local settings, err = update_settings(option);
	if not settings then return nil, err; end
	local groups;
	groups, err = by_zone(settings, action, records);
	if not groups then return nil, err; end
	local words = { settings.path };
	if settings.key then table.move({ "-k", settings.key }, 1, 2, 2, words); end
	for _, group in ipairs(groups) do
		local ok, text = run(words, ("server %s %d\nzone %s.\n%s\nsend\n"):format(settings.server, settings.port, group.zone,
			table.concat(group.lines, "\n")), directory);
		if not ok then return nil, text; end
	end
	return true;
end

local function run_command(option, action, records, directory)
	if type(option) ~= "string" then return nil, "certs_dns_command is the path of a program"; end
	local lines = {};
	for _, record in ipairs(records) do
		local line, err = line_of(record, record.ttl);
		if not line then return nil, err; end
		lines[#lines + 1] = ("%s %s\n"):format(action, line);
	end
	return run({ option }, table.concat(lines), directory);
end

-- action: "add" or "delete"; records: array of { name =, ttl =, usage =, selector =, match =, data = binary }; directory: a private
-- one. Returns true; or nil, text, which may contain output of the program. Does not check that DNS has the change.
function dns_update.publish(action, records, directory)
	local way, option = dns_update.way();
	return (way == "update" and send_update or run_command)(option, action, records, directory);
end

return dns_update;
