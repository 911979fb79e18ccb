-- prosodyctl mod_certs rollover HOST --new FILE: replaces a certificate so that no peer with DANE is ever locked out
-- (RFC 7671 section 8.1, RFC 6698 appendix A.4). Exit status 0: the certificate may be switched now, or has been;
-- 1: not yet, or something is wrong.

local array = require "util.array";
local json = require "util.json";
local nameprep = require "util.encodings".stringprep.nameprep;
local to_hex = require "util.hex".encode;

local certs = module:require "native"("certs");
local dane = module:require "dane";
local files = module:require "files";
local hosts = module:require "hosts";
local plan = module:require "plan";
local remembered = module:require "remembered";
local paths = module:require "paths";
local terminal = module:require "terminal";
local to_ascii = module:require "zone".to_ascii;
local zone = module:require "zone";

local STEPS = { "add", "wait", "switch", "remove" };
local NUMBERS = { add = 1, wait = 2, switch = 3, remove = 4, done = 5 };
local TITLES = {
	add = "publish the new records beside the old ones, on every name server";
	wait = "wait until no cache holds the old records alone";
	switch = "give Prosody the new certificate, then prosodyctl reload";
	remove = "remove the records that only the old certificate matches";
};

local function fail(status, format, ...)
	terminal.error(format, ...);
	return status;
end

local function date(time)
	return os.date("!%Y-%m-%d %H:%M:%S UTC", time);
end

-- ---- The new certificate ----

-- Its chain as PEM, and its leaf; or nil, text
local function read_new(path)
	local pem, err = files.read(paths.absolute(path));
	if not pem then return nil, err; end
	local leaf, _, text = certs.names(pem);
	if not leaf then return nil, ("%s: %s"):format(path, text); end
	return pem, leaf;
end

-- What would be wrong with it for whomever, DANE or not
local function faults_of(host, pem, leaf)
	local list, now = {}, os.time();
	if not leaf.not_after or leaf.not_after < now then list[#list + 1] = "the new certificate has expired"; end
	if not leaf.not_before or leaf.not_before > now then list[#list + 1] = "the new certificate is not valid yet"; end
	for _, service in ipairs(hosts.SERVICES) do
		if host.services[service] and not certs.identity(pem, host.name, service) then
			list[#list + 1] = ("the new certificate does not name %s for %s"):format(host.name, service);
		end
	end
	return list;
end

-- What DANE alone makes up for, or nil: no switch is unsafe for that, for the old one may be the same
local function doubt_about(pem)
	local verdict = dane.verify(pem, { service = "xmpp-server", references = {} });
	if verdict.chain == "valid" then return nil; end
	return "clients, and peers without DANE, do not accept the new certificate: "..dane.errors(verdict);
end

-- ---- Which step ----

-- Notes since when each name is complete. Returns until when to wait.
local function note(state, spots, now)
	local ends = 0;
	for _, spot in ipairs(spots) do
		local known = state.spots[spot.name] or { ttl = 0 };
		state.spots[spot.name] = known;
		known.ttl = math.max(known.ttl, spot.ttl);
		if next(spot.needed) or spot.lacking then
			known.since = nil;
		elseif spot.added and not spot.unsure then
			known.since = math.min(known.since or now, now);
		end
		if spot.added then ends = math.max(ends, (known.since or now) + 2 * known.ttl); end
	end
	return ends;
end

local function lacks_records(spots)
	for _, spot in ipairs(spots) do
		if next(spot.needed) then return true; end
	end
	return false;
end

-- Which of "new", "old" and "unknown" is served at all
local function count_served(spots, bare)
	local counts = { new = 0, old = 0, unknown = 0 };
	local function count(listeners)
		for _, listener in ipairs(listeners) do counts[listener.serves] = counts[listener.serves] + 1; end
	end
	for _, spot in ipairs(spots) do count(spot.listeners); end
	count(bare.listeners);
	return counts;
end

local function has_superfluous(spots)
	for _, spot in ipairs(spots) do
		if spot.superfluous[1] then return true; end
	end
	return false;
end

local function step_of(result)
	if lacks_records(result.spots) then return "add"; end
	local counts = result.counts;
	if counts.old + counts.unknown > 0 or counts.new == 0 then
		return result.now < result.ends and "wait" or "switch";
	end
	return has_superfluous(result.spots) and "remove" or "done";
end

-- What must be right before a switch is called safe
local function problems_of(result, spots)
	local list = result.problems;
	for _, spot in ipairs(spots) do
		table.move(spot.problems, 1, #spot.problems, #list + 1, list);
		table.move(spot.warnings, 1, #spot.warnings, #result.warnings + 1, result.warnings);
		for _, listener in ipairs(spot.listeners) do
			if listener.serves == "new" and next(spot.needed) then
				list[#list + 1] = ("%s serves the new certificate, which %s does not have everywhere: publish it now, or go back")
					:format(listener.name, spot.name);
			end
		end
	end
	return list;
end

local function examine(host, domain, pem, leaf)
	local spots, problems, bare = plan.of(host, pem, leaf);
	local result = { host = host.name, spots = spots, bare = bare, leaf = leaf, now = os.time(), problems = problems,
		warnings = { doubt_about(pem) } };
	for _, fault in ipairs(faults_of(host, pem, leaf)) do table.insert(problems, fault); end
	local state = remembered.load(domain, leaf.sha256);
	result.ends = note(state, spots, result.now);
	result.state = state;
	result.counts = count_served(spots, bare);
	result.step = step_of(result);
	problems_of(result, spots);
	if spots[1] then
		local ok, err = remembered.save(domain, state);
		if not ok then table.insert(problems, "it cannot be noted since when the records are published: "..err); end
	end
	result.safe = not problems[1] and NUMBERS[result.step] >= NUMBERS.switch;
	return result;
end

-- ---- Output ----

local function each_record(result, which, visit)
	for _, spot in ipairs(result.spots) do
		local list = {};
		for _, record in pairs(spot[which]) do list[#list + 1] = record; end
		table.sort(list, function (a, b) return a.usage..a.selector..a.match..a.data < b.usage..b.selector..b.match..b.data; end);
		for _, record in ipairs(list) do
			visit {
				name = spot.name, ttl = spot.ttl, usage = record.usage, selector = record.selector, match = record.match,
				data = record.data,
			};
		end
	end
end

local function print_records(result, which)
	each_record(result, which, function (record)
		terminal.print("%s", (zone.tlsa(record):gsub("[^\n]+", "      %0")));
	end);
end

local function longest_ttl(result)
	local ttl = 0;
	for _, known in pairs(result.state.spots) do ttl = math.max(ttl, known.ttl); end
	return ttl;
end

local DETAILS = {};

function DETAILS.add(result)
	print_records(result, "needed");
end

function DETAILS.wait(result, position)
	if position == "now" then
		terminal.print("      until %s, twice the TTL after all name servers have had them", date(result.ends));
	elseif position == "then" then
		terminal.print("      %d seconds, twice the TTL, from when this tool has seen them on all name servers",
			2 * longest_ttl(result));
	end
end

function DETAILS.switch(result, position)
	if position == "done" then return; end
	for _, each in ipairs { result.bare, table.unpack(result.spots) } do
		for _, listener in ipairs(each.listeners) do
			terminal.print("      %s: %s", listener.name, listener.serves == "unknown" and terminal.printable(listener.text)
				or "serves the "..listener.serves.." certificate");
		end
	end
end

function DETAILS.remove(result, position)
	if position ~= "done" then print_records(result, "superfluous"); end
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

local function print_result(result)
	terminal.print("%s to certificate %s, which ends on %s", terminal.style("bold", result.host),
		result.leaf.sha256:sub(1, 16), result.leaf.not_after and date(result.leaf.not_after) or "no date");
	if not result.spots[1] and not result.problems[1] then
		terminal.print("  There is no TLSA record: nothing has to be published before the switch.");
	end
	for _, spot in ipairs(result.spots) do
		if not spot.secure then terminal.print("  %s is not used by peers: it is not secure in every step", spot.name); end
	end
	print_steps(result);
	for _, text in ipairs(result.warnings) do
		terminal.print("%s%s", terminal.style("yellow", "warning: "), terminal.printable(text));
	end
	for _, text in ipairs(result.problems) do terminal.error("%s", terminal.printable(text)); end
	terminal.print("%s", result.safe and terminal.style("green", result.step == "done" and "The rollover is done."
		or result.step == "remove" and "The certificate has been switched." or "The certificate may be switched now.")
		or terminal.style("red", "The certificate must not be switched yet."));
end

local function as_json(result)
	local listeners = array();
	local function records(which)
		local list = array();
		each_record(result, which, function (record)
			record.data = to_hex(record.data);
			list:push(record);
		end);
		return list;
	end
	for _, each in ipairs { result.bare, table.unpack(result.spots) } do
		for _, listener in ipairs(each.listeners) do
			listeners:push { name = listener.name, serves = listener.serves, error = listener.text and
				terminal.printable(listener.text) or nil };
		end
	end
	local function texts(list)
		local printable = array();
		for _, text in ipairs(list) do printable:push(terminal.printable(text)); end
		return printable;
	end
	return json.encode {
		host = result.host, certificate = result.leaf.sha256, step = result.step, safe = result.safe,
		["until"] = result.step == "wait" and result.ends or json.null, add = records("needed"),
		remove = records("superfluous"), listeners = listeners,
		problems = texts(result.problems), warnings = texts(result.warnings),
	};
end

return function (names, flags)
	local name = nameprep(names[1]);
	local host = name and hosts.find(name);
	if not host then return fail(2, "%s is no host of the configuration", names[1]); end
	local pem, leaf = read_new(flags.new);
	if not pem then return fail(1, "%s", leaf); end
	local domain = to_ascii(host.name);
	if not domain then return fail(1, "%s is no domain name", host.name); end
	local result = examine(host, domain, pem, leaf);
	if flags.json then
		terminal.print("%s", as_json(result));
	else
		print_result(result);
	end
	return result.safe and 0 or 1;
end
