-- prosodyctl mod_certs rollover HOST|FILE --new FILE: replaces a certificate so that no peer with DANE is ever locked out.
-- What is looked at stands in replacement.lib.lua. Exit status 0: the certificate may be switched now, or has been; 1: not
-- yet, or something is wrong.

local array = require "util.array";
local json = require "util.json";
local to_hex = require "util.hex".encode;

local certs = module:require "native"("certs");
local files = module:require "files";
local keys = module:require "keys";
local paths = module:require "paths";
local replaced = module:require "replaced";
local replacement = module:require "replacement";
local terminal = module:require "terminal";
local zone = module:require "zone";

local STEPS = { "add", "wait", "switch", "remove" };
local NUMBERS = { add = 1, wait = 2, switch = 3, remove = 4, done = 5 };
local TITLES = {
	add = "publish the new records beside the old ones, on every name server";
	wait = "wait until no cache holds the old records alone";
	switch = "give Prosody the new certificate, then prosodyctl reload";
	remove = "remove the records that only the old certificate matches";
};
local SERVES = { new = "serves the new certificate", old = "serves the old certificate", another = "serves another certificate" };
local NOT_YET = "The certificate must not be switched yet.";
local VERDICTS = {
	add = { bad = NOT_YET };
	wait = { bad = NOT_YET };
	switch = { good = "The certificate may be switched now.", bad = NOT_YET };
	remove = { good = "The certificate has been switched.", bad = "The certificate has been switched; the old records must stay for now." };
	done = { good = "The rollover is done.", bad = "The certificate has been switched; something is wrong." };
};
local FINGERPRINT = 16; -- digits of SHA-256 that are shown

local function fail(status, format, ...)
	terminal.error(format, ...);
	return status;
end

local date = terminal.date;

-- ---- Output ----

local function print_records(records)
	for _, record in ipairs(records) do terminal.print("%s", (zone.tlsa(record):gsub("[^\n]+", "      %0"))); end
end

local function print_listeners(result)
	local several = result.hosts[2] ~= nil;
	for _, listener in ipairs(result.listeners) do
		terminal.print("      %s%s: %s", listener.name, several and " for "..terminal.printable(listener.host) or "",
			SERVES[listener.serves] or terminal.printable(listener.text));
	end
end

local DETAILS = {};

function DETAILS.add(result)
	print_records(result.add);
end

function DETAILS.wait(result, position)
	if position == "now" then
		terminal.print("      until %s, twice the TTL after all name servers have had them", date(result.ends));
	elseif position == "then" then
		terminal.print("      %d seconds, twice the TTL, from when this tool has seen them on all name servers", 2 * result.ttl);
	end
end

function DETAILS.switch(result, position)
	if position ~= "done" then print_listeners(result); end
end

function DETAILS.remove(result, position)
	if position ~= "done" then print_records(result.remove); end
end

-- "done", "now" or "then". Records may be added at any time; what comes after that has to wait until nothing is wrong.
local function position_of(number, result)
	local current = NUMBERS[result.step];
	if number < current then return "done"; end
	return number == current and (number < NUMBERS.switch or result.safe) and "now" or "then";
end

local function print_steps(result)
	for number, step in ipairs(STEPS) do
		local position = position_of(number, result);
		terminal.print("  %s  %s", terminal.style(position == "now" and "bold" or "dim", ("%d %-4s"):format(number, position)),
			TITLES[step]);
		DETAILS[step](result, position);
	end
end

local function print_heading(result)
	local names = {};
	for i, name in ipairs(result.hosts) do names[i] = terminal.printable(name); end
	terminal.print("%s for %s", terminal.style("bold", terminal.printable(result.file)), names[1] and table.concat(names, ", ")
		or "whoever names no host");
	terminal.print("to certificate %s, which ends on %s", result.leaf.sha256:sub(1, FINGERPRINT),
		result.leaf.not_after and date(result.leaf.not_after) or "no date");
	if not result.names[1] and not result.problems[1] then
		terminal.print("  There is no TLSA record: nothing has to be published before the switch.");
	end
	for _, name in ipairs(result.names) do
		if not name.secure then terminal.print("  %s is not used by peers: it is not secure in every step", name.name); end
	end
end

local function print_result(result)
	print_heading(result);
	print_steps(result);
	if result.unknown[1] then
		terminal.print("Nothing that is known here matches these records, which stay:");
		print_records(result.unknown);
	end
	for _, text in ipairs(result.warnings) do
		terminal.print("%s%s", terminal.style("yellow", "warning: "), terminal.printable(text));
	end
	for _, text in ipairs(result.problems) do terminal.error("%s", terminal.printable(text)); end
	local verdict = VERDICTS[result.step];
	terminal.print("%s", result.safe and terminal.style("green", verdict.good) or terminal.style("red", verdict.bad));
end

local function hexadecimal(records)
	local list = array();
	for _, record in ipairs(records) do
		record.data = to_hex(record.data);
		list:push(record);
	end
	return list;
end

local function as_json(result)
	local listeners = array();
	for _, listener in ipairs(result.listeners) do
		listeners:push { name = listener.name, host = terminal.printable(listener.host), serves = listener.serves,
			error = listener.text and terminal.printable(listener.text) or nil };
	end
	return json.encode {
		file = terminal.printable(result.file), hosts = terminal.printables(result.hosts), certificate = result.leaf.sha256,
		step = result.step, safe = result.safe, ["until"] = result.step == "wait" and result.ends or json.null,
		add = hexadecimal(result.add), remove = hexadecimal(result.remove), unknown = hexadecimal(result.unknown),
		listeners = listeners, problems = terminal.printables(result.problems), warnings = terminal.printables(result.warnings),
	};
end

-- ---- The command ----

-- A chain as PEM, and its leaf; or nil, nil, text
local function read_new(path)
	local pem, err = files.read(path);
	if not pem then return nil, nil, err; end
	local leaf, _, text = certs.names(pem);
	if not leaf then return nil, nil, ("%s: %s"):format(path, text); end
	return pem, leaf;
end

-- Texts of files; or nil, text
local function read_all(names)
	local list = {};
	for i, name in ipairs(names or {}) do
		local text, err = files.read_any(paths.absolute(name));
		if not text then return nil, err; end
		list[i] = text;
	end
	return list;
end

-- The key that will be installed: { path = } or { pem =, path = }, or nil where it is not known
local function key_of(flags, new)
	if flags.key then return { path = paths.absolute(flags.key) }; end
	return keys.beside(paths.absolute(flags.new), new);
end

return function (names, flags)
	local new, leaf, err = read_new(paths.absolute(flags.new));
	local path, status, text = replaced.find(names[1], leaf and leaf.sha256);
	if not path then return fail(status, "%s", text); end
	if not new then return fail(1, "%s", err); end
	local keep;
	keep, err = read_all(flags.keep);
	if not keep then return fail(1, "%s", err); end
	local key = key_of(flags, new) or {};
	local result;
	result, err = replacement.examine { old = path, new = new, new_path = paths.absolute(flags.new), key = key.pem,
		key_path = key.path, keep = keep };
	if not result then return fail(1, "%s: %s", flags.new, err); end
	if flags.json then
		terminal.print("%s", as_json(result));
	else
		print_result(result);
	end
	return result.safe and 0 or 1;
end
