-- prosodyctl mod_certs renew: takes a new certificate from an ACME client, publishes its TLSA records, and installs it when no peer
-- with DANE refuses it any more. The client's hook hands in the certificate; cron continues every few minutes. Exit status 0: done,
-- or waiting as planned; 1: problems, or manual work to do; 2: wrong arguments.

local array = require "util.array";
local json = require "util.json";

local dane = module:require "dane";
local files = module:require "files";
local keypair = module:require "keypair";
local next_key = module:require "next_key";
local paths = module:require "paths";
local steps = module:require "renew_steps";
local store = module:require "renew_store";
local terminal = module:require "terminal";
local uses = module:require "uses";

local LOCK_TIMEOUT = 5; -- seconds that a hook waits for another call; cron does not wait

-- ---- Output ----

local function print_report(report)
	if report.request then terminal.print("%s", report.request); end
	terminal.print("%s: %s", terminal.style("bold", terminal.printable(report.name)), terminal.printable(report.text));
	for _, record in ipairs(report.records or {}) do terminal.print("%s", dane.text(record, "  ")); end
	for _, text in ipairs(report.warnings) do
		terminal.print("%s%s", terminal.style("yellow", "warning: "), terminal.printable(text));
	end
	for _, text in ipairs(report.problems) do terminal.error("%s: %s", terminal.printable(report.name), terminal.printable(text)); end
end

local function as_json(report)
	return {
		file = report.file, hosts = array(report.hosts), step = report.step, text = terminal.printable(report.text),
		["until"] = report["until"] or json.null, records = dane.list_to_json(report.records or {}), request = report.request or json.null,
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

local function report_busy(flags, name)
	if flags.json then
		terminal.print("%s", json.encode({ renewals = array(), busy = true }));
	else
		terminal.print("%sanother renew is running; the next call continues", name and name..": accepted, but " or "");
	end
	return 0;
end

-- ---- The new certificate ----

-- The key of a chain without one: the next key, or the key in use; or nil, text
local function find_key(slot, new)
	local own = next_key.load(slot);
	if own and new.chain:fits(own.key) then return own.key; end
	local key_text = steps.key_in_use(slot);
	if key_text and new.chain:fits(key_text) then return key_text; end
	return nil, "missing private key: name it with --key, or append it to the certificates; the certificate is neither for the next "
		.."key nor for the key in use";
end

-- The pair of --new and --key; or nil, text
local function read_new(slot, flags)
	if flags.new ~= "-" and files.same(paths.absolute(flags.new), slot.file) then
		return nil, flags.new..": Prosody uses this file; the new certificate must be in another one";
	end
	local text, err = keypair.load(flags.new);
	if not text then return nil, err; end
	local key_text;
	if flags.key then
		key_text, err = keypair.load(flags.key);
		if not key_text then return nil, err; end
	end
	local new;
	new, err = keypair.parse(text, key_text);
	if new and not new.key then new.key, err = find_key(slot, new); end
	if not new or not new.key then
		return nil, ("%s: %s"):format(flags.new == "-" and "standard input" or flags.new, err);
	end
	local problems = keypair.problems(new, slot.file);
	if problems[1] then return nil, table.concat(problems, "; "); end
	return new;
end

-- Stores the pair, except in a dry run. Returns it; or nil, text.
local function submit(slot, flags)
	local new, err = read_new(slot, flags);
	if not new or flags["dry-run"] then return new, err; end
	local ok;
	ok, err = slot:save("incoming.pem", new.pem..new.key);
	if not ok then return nil, err; end
	return new;
end

-- ---- The command ----

-- A text about wrong arguments, or nil
local function usage_error(names, flags)
	if (flags.new or flags.request) and not names[1] then return "--new and --request need a HOST or FILE"; end
	if flags.key and not flags.new then return "--key needs --new"; end
	if flags.key == "-" then return "--key must be a file; with --new - standard input may contain both"; end
	return nil;
end

local function run(slots, flags, new)
	local reports, is_dry = {}, flags["dry-run"];
	local options = { dry_run = is_dry, request = flags.request, new = is_dry and new or nil };
	for i, slot in ipairs(slots) do
		reports[i] = steps.run(slot, options);
		if not is_dry and slot:has "incoming.pem" then reports[i] = steps.run(slot, options); end -- arrived in the meantime
	end
	return finish(reports, flags);
end

-- As run(), with the lock
local function run_locked(slots, flags, new)
	if flags["dry-run"] then return run(slots, flags, new); end
	local lock, err = store.lock((new or flags.request) and LOCK_TIMEOUT or 0);
	if lock == nil then return 1, err; end
	if not lock then return report_busy(flags, new and slots[1].name); end
	local status = run(slots, flags, new);
	lock:close();
	return status;
end

return function (names, flags)
	local wrong = usage_error(names, flags);
	if wrong then return 2, wrong; end
	if not names[1] then return run_locked(store.list(), flags); end
	local file, status, text = uses.find_file(names[1]);
	if not file then return status, text; end
	local slot = store.of(file);
	local new, err;
	if flags.new then
		new, err = submit(slot, flags);
		if not new then return 1, ("%s: %s"):format(slot.name, terminal.printable(err)); end
	end
	return run_locked({ slot }, flags, new);
end
