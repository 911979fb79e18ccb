-- prosodyctl mod_certs rollover HOST|FILE --new FILE: the steps to replace a certificate, so that no peer with DANE refuses it, and
-- the current step (rollover_state.lib.lua). Exit status 0: the certificate may be switched, or has been; 1: not yet, or problems.

local array = require "util.array";
local json = require "util.json";

local dane = module:require "dane";
local files = module:require "files";
local keypair = module:require "keypair";
local paths = module:require "paths";
local rollover = module:require "rollover_state";
local terminal = module:require "terminal";
local uses = module:require "uses";

local STEPS = { "add", "wait", "switch", "remove" };
local NUMBERS = rollover.NUMBERS;
local TITLES = {
	add = "publish the new records alongside the old ones, on every name server";
	wait = "wait until no cache has only the old records";
	switch = "install the new certificate, then prosodyctl reload";
	remove = "remove the records that only the old certificate matches";
};
local SERVES = { new = "serves the new certificate", old = "serves the old certificate", another = "serves another certificate" };
local NOT_YET = "The certificate must not be switched yet.";
local VERDICTS = {
	add = { bad = NOT_YET };
	wait = { bad = NOT_YET };
	switch = { good = "The certificate may be switched now.", bad = NOT_YET };
	remove = { good = "The certificate has been switched.", bad = "The certificate has been switched; the old records must stay for now." };
	done = { good = "The rollover is done.", bad = "The certificate has been switched, but there are problems." };
};
local FINGERPRINT = 16; -- digits of SHA-256 that are shown

local date = terminal.date;

-- ---- Output ----

local function print_records(records)
	for _, record in ipairs(records) do terminal.print("%s", dane.text(record, "      ")); end
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
		terminal.print("      until %s, twice the TTL since all name servers have had them", date(result.ends));
	elseif position == "then" then
		terminal.print("      %d seconds, twice the TTL, since this tool has seen them on all name servers", 2 * result.ttl);
	end
end

function DETAILS.switch(result, position)
	if position ~= "done" then print_listeners(result); end
end

function DETAILS.remove(result, position)
	if position ~= "done" then print_records(result.remove); end
end

-- "done", "now" or "then". Records may always be added; later steps have to wait while there are problems.
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
		or "clients without SNI");
	terminal.print("new certificate %s, expires on %s", result.leaf.sha256:sub(1, FINGERPRINT),
		result.leaf.not_after and date(result.leaf.not_after) or "an unreadable date");
	if not result.names[1] and not result.problems[1] then
		terminal.print("  No TLSA records: nothing to publish before the switch.");
	end
	for _, name in ipairs(result.names) do
		if not name.secure then terminal.print("  peers do not use %s: not all of its records are secure", name.name); end
	end
end

local function print_result(result)
	print_heading(result);
	print_steps(result);
	if result.unknown[1] then
		terminal.print("These records match no known certificate and stay:");
		print_records(result.unknown);
	end
	for _, text in ipairs(result.warnings) do
		terminal.print("%s%s", terminal.style("yellow", "warning: "), terminal.printable(text));
	end
	for _, text in ipairs(result.problems) do terminal.error("%s", terminal.printable(text)); end
	local verdict = VERDICTS[result.step];
	terminal.print("%s", result.safe and terminal.style("green", verdict.good) or terminal.style("red", verdict.bad));
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
		add = dane.list_to_json(result.add), remove = dane.list_to_json(result.remove), unknown = dane.list_to_json(result.unknown),
		listeners = listeners, problems = terminal.printables(result.problems), warnings = terminal.printables(result.warnings),
	};
end

-- ---- The command ----

-- The contents of files; or nil, text
local function read_files(names)
	local list = {};
	for i, name in ipairs(names or {}) do
		local text, err = files.read_any(paths.absolute(name));
		if not text then return nil, err; end
		list[i] = text;
	end
	return list;
end

-- The key of the new certificate: { path = } or { pem =, path = }, or nil if not known
local function key_of(flags, pem)
	if flags.key then return { path = paths.absolute(flags.key) }; end
	return keypair.key_beside(paths.absolute(flags.new), pem);
end

return function (names, flags)
	local new, leaf, pem = files.read_chain(paths.absolute(flags.new));
	local path, status, text = uses.find_file(names[1], new and leaf.sha256);
	if not path then return status, text; end
	if not new then return 1, leaf; end
	local keep, err = read_files(flags.keep);
	if not keep then return 1, err; end
	local key = key_of(flags, pem) or {};
	local result;
	result, err = rollover.examine { old = path, new = new, new_path = paths.absolute(flags.new), key = key.pem,
		key_path = key.path, keep = keep };
	if not result then return 1, ("%s: %s"):format(flags.new, err); end
	if flags.json then
		terminal.print("%s", as_json(result));
	else
		print_result(result);
	end
	return result.safe and 0 or 1;
end
