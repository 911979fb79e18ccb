-- prosodyctl mod_certs renew: from a new certificate of an ACME client to the one that is served, through DNS, so that no peer
-- with DANE is ever locked out. Called by the client's hook with the new certificate, and every few minutes by cron to go on.
-- Exit status 0: done, or waiting as planned; 1: something is wrong, or to be done by hand; 2: called wrongly.

local array = require "util.array";
local json = require "util.json";
local to_hex = require "util.hex".encode;

local certs = module:require "native"("certs");
local files = module:require "files";
local nextkey = module:require "nextkey";
local pair = module:require "pair";
local paths = module:require "paths";
local renewal = module:require "renewal";
local replaced = module:require "replaced";
local staging = module:require "staging";
local terminal = module:require "terminal";
local zone = module:require "zone";

local PATIENCE = 5; -- seconds that a hook waits for another call to end; cron does not wait

local function fail(status, format, ...)
	terminal.error(format, ...);
	return status;
end

-- ---- Output ----

local function print_report(report)
	if report.request then terminal.print("%s", report.request); end
	terminal.print("%s: %s", terminal.style("bold", terminal.printable(report.name)), terminal.printable(report.text));
	for _, record in ipairs(report.records or {}) do terminal.print("%s", (zone.tlsa(record):gsub("[^\n]+", "  %0"))); end
	for _, text in ipairs(report.warnings) do
		terminal.print("%s%s", terminal.style("yellow", "warning: "), terminal.printable(text));
	end
	for _, text in ipairs(report.problems) do terminal.error("%s: %s", terminal.printable(report.name), terminal.printable(text)); end
end

local function as_json(report)
	local records = array();
	for _, record in ipairs(report.records or {}) do
		records:push { name = record.name, ttl = record.ttl, usage = record.usage, selector = record.selector, match = record.match,
			data = to_hex(record.data) };
	end
	return {
		file = report.file, hosts = array(report.hosts), step = report.step, text = terminal.printable(report.text),
		["until"] = report["until"] or json.null, records = records, request = report.request or json.null,
		problems = terminal.printables(report.problems), warnings = terminal.printables(report.warnings),
	};
end

-- Prints all reports; returns the exit status.
local function finish(reports, flags)
	local status, list = 0, array();
	for _, report in ipairs(reports) do
		if report.problems[1] then status = 1; end
		list:push(as_json(report));
		if not flags.json then print_report(report); end
	end
	if flags.json then terminal.print("%s", json.encode({ renewals = list })); end
	return status;
end

local function say_busy(flags, name)
	if flags.json then
		terminal.print("%s", json.encode({ renewals = array(), busy = true }));
	else
		terminal.print("%sanother call is at work; the next one goes on", name and name..": handed in, but " or "");
	end
	return 0;
end

-- ---- What is handed in ----

-- The key that belongs to a chain without one: the next key, or the one in use; or nil, text
local function find_key(slot, new)
	local own = nextkey.load(slot);
	if own and certs.fits(new.chain, own.key) then return own.key; end
	local key_text = renewal.key_in_use(slot);
	if key_text and certs.fits(new.chain, key_text) then return key_text; end
	return nil, "its private key is missing: name it with --key, or let it follow the certificates; it is neither for the next key, "
		.."nor for the one in use";
end

-- The pair of --new and --key; or nil, text
local function read_new(slot, flags)
	if flags.new ~= "-" and files.same(paths.absolute(flags.new), slot.file) then
		return nil, flags.new..": Prosody uses this very file; the new certificate has to come from somewhere else";
	end
	local text, err = pair.load(flags.new);
	if not text then return nil, err; end
	local key_text;
	if flags.key then
		key_text, err = pair.load(flags.key);
		if not key_text then return nil, err; end
	end
	local new;
	new, err = pair.read(text, key_text);
	if new and not new.key then new.key, err = find_key(slot, new); end
	if not new or not new.key then
		return nil, ("%s: %s"):format(flags.new == "-" and "standard input" or flags.new, err);
	end
	local problems = pair.problems(new, slot.file);
	if problems[1] then return nil, table.concat(problems, "; "); end
	return new;
end

-- Keeps the pair for later, unless nothing is to be changed. Returns it; or nil, text.
local function hand_in(slot, flags)
	local new, err = read_new(slot, flags);
	if not new or flags["dry-run"] then return new, err; end
	local ok;
	ok, err = slot:save("incoming.pem", new.chain..new.key);
	if not ok then return nil, err; end
	return new;
end

-- ---- The command ----

local function is_wrong(names, flags)
	if (flags.new or flags.request) and not names[1] then return "--new and --request are about one HOST or FILE"; end
	if flags.key and not flags.new then return "--key belongs to --new"; end
	if flags.key == "-" then return "--key names a file; standard input, --new -, may have both"; end
	return nil;
end

local function run(slots, flags, new)
	local reports, is_dry = {}, flags["dry-run"];
	local options = { dry_run = is_dry, request = flags.request, new = is_dry and new or nil };
	for i, slot in ipairs(slots) do
		reports[i] = renewal.run(slot, options);
		if not is_dry and slot:has "incoming.pem" then reports[i] = renewal.run(slot, options); end -- has come in the meantime
	end
	return finish(reports, flags);
end

local function run_alone(slots, flags, new)
	if flags["dry-run"] then return run(slots, flags, new); end
	local lock, err = staging.lock((new or flags.request) and PATIENCE or 0);
	if lock == nil then return fail(1, "%s", err); end
	if not lock then return say_busy(flags, new and slots[1].name); end
	local status = run(slots, flags, new);
	lock:close();
	return status;
end

return function (names, flags)
	local wrong = is_wrong(names, flags);
	if wrong then return fail(2, "%s", wrong); end
	if not names[1] then return run_alone(staging.list(), flags); end
	local file, status, text = replaced.find(names[1]);
	if not file then return fail(status, "%s", text); end
	local slot = staging.of(file);
	local new, err;
	if flags.new then
		new, err = hand_in(slot, flags);
		if not new then return fail(1, "%s: %s", slot.name, terminal.printable(err)); end
	end
	return run_alone({ slot }, flags, new);
end
