-- The servers of a domain, and the TLSA records of their keys, from DNS: RFC 7673, with RFC 7671 for names that are aliases
-- and XEP-0368 for direct TLS. The same for both directions.
--
-- discover(domain) -> promise of
--   { error =, state = }             no connection may be made: an answer is bogus or has failed; or, with
--                                    closed = true, the domain has no server by its own records
--   { [i] = target, state = }        in the order in which they are to be tried
--
-- target: host, port, direct (TLS from the start), secure (the records that lead to its name are), and after
-- describe(target) -> promise of the target:
--   error                            why it must not be used
--   addresses                        { { "tcp4" or "tcp6", address }, ... }
--   tlsa                             usable records { usage, selector, match, data }; nil: none
--   references                       further names that its certificate may have
--   state                            of the answers: secure, insecure, bogus, failed
--
-- lookup(name, type) -> promise of an answer, which is never rejected: errors are its state.
--
--   state      "secure"    validated, also that there is no record
--              "insecure"  from a zone that is not signed
--              "bogus"     the validation failed: its contents must not be used
--              "failed"    no answer: SERVFAIL, a time-out
--   reason     for the latter two
--   [i]        the records, as net.adns parses them
--   canonical  the name to which CNAME and DNAME records led, if it is another one

local adns = require "net.adns";
local promise = require "util.promise";
local timer = require "util.timer";

local NOERROR, NXDOMAIN = 0, 3;
local LEGACY_PORT = 5269;
local SERVICES = { { name = "_xmpps-server._tcp.", direct = true }, { name = "_xmpp-server._tcp." } };

local use_ipv4 = module:get_option_boolean("use_ipv4", true);
local use_ipv6 = module:get_option_boolean("use_ipv6", true);

local options, certificate;
local discovery = {};

-- ---- Answers ----

-- A name in lower case, without the dot at its end
local function plain(name)
	return (name:lower():gsub("(.)%.$", "%1"));
end

local function failed(reason)
	return { state = "failed", reason = reason };
end

local function classify(name, found, err)
	if not found then return failed(err or "no answer"); end
	if found.bogus then return { state = "bogus", reason = tostring(found.bogus) }; end
	if found.rcode ~= NOERROR and found.rcode ~= NXDOMAIN then
		return failed(tostring(found.status or found.rcode));
	end
	local answer = { state = found.secure and "secure" or "insecure" };
	local canonical = found.canonname and plain(found.canonname);
	if canonical ~= plain(name) then answer.canonical = canonical; end
	return table.move(found, 1, #found, 1, answer);
end

function discovery.lookup(name, type)
	return promise.new(function (resolve)
		local late = timer.add_task(options.s2s_native_dns_timeout, function () resolve(failed("time-out")); end);
		local query, err = adns.resolver():lookup(function (found, failure)
			timer.stop(late);
			resolve(classify(name, found, failure));
		end, name, type, "IN");
		if not query then
			timer.stop(late);
			resolve(failed(err or "the resolver does not work"));
		end
	end);
end
local lookup = discovery.lookup;

-- ---- Targets ----

-- RFC 2782: lowest priority first, and chance weighted among equals.
local function order(targets)
	local ordered = {};
	table.sort(targets, function (a, b) return a.priority < b.priority; end);
	while targets[1] do
		local last, total = 0, 0;
		while targets[last + 1] and targets[last + 1].priority == targets[1].priority do
			last = last + 1;
			total = total + targets[last].weight;
		end
		local chosen, sum = 1, 0;
		local at = math.random(0, total);
		for i = 1, last do
			sum = sum + targets[i].weight;
			chosen = i;
			if sum >= at then break; end
		end
		ordered[#ordered + 1] = table.remove(targets, chosen);
	end
	return ordered;
end

local function add_targets(targets, answer, direct)
	for _, record in ipairs(answer) do
		local srv = record.srv;
		if srv.target ~= "." then
			targets[#targets + 1] = {
				host = plain(srv.target), port = srv.port, direct = direct, secure = answer.state == "secure";
				priority = srv.priority, weight = srv.weight;
			};
		end
	end
end

function discovery.discover(domain)
	return promise.all({
		lookup(SERVICES[1].name..domain, "SRV"), lookup(SERVICES[2].name..domain, "SRV");
	}):next(function (answers)
		local targets = {};
		local state = "secure";
		for i, answer in ipairs(answers) do
			if answer.state == "bogus" or answer.state == "failed" then
				local text = ("the SRV lookup of %s%s: %s"):format(SERVICES[i].name, domain, answer.reason);
				return { error = text, state = answer.state };
			end
			if answer.state == "insecure" then state = "insecure"; end
			add_targets(targets, answer, SERVICES[i].direct);
		end
		local found = order(targets);
		found.state = state;
		if not answers[2][1] then -- RFC 6120 section 3.2.2; after direct TLS, where there is that
			found[#found + 1] = { host = domain, port = LEGACY_PORT, secure = state == "secure", legacy = true };
		elseif not found[1] then
			found.error, found.closed = "the domain has no XMPP server", true;
		end
		return found;
	end);
end

local function add_addresses(target, answer, family, kind)
	for _, record in ipairs(answer) do
		target.addresses[#target.addresses + 1] = { family, record[kind] };
	end
end

local function take_addresses(target, answers)
	target.addresses, target.state = {}, "secure";
	local reason = "it has no address";
	for _, answer in pairs(answers) do
		if answer.state == "bogus" then
			target.state, target.error = "bogus", "its address: "..answer.reason;
			return;
		elseif answer.state == "failed" then
			reason = answer.reason;
		elseif answer.state == "insecure" then
			target.state = "insecure";
		end
		target.canonical = target.canonical or answer.canonical;
	end
	add_addresses(target, answers.aaaa or {}, "tcp6", "aaaa");
	add_addresses(target, answers.a or {}, "tcp4", "a");
	if not target.addresses[1] then
		target.error = reason;
		if reason ~= "it has no address" then target.state = "failed"; end
	end
end

local function usable(answer)
	local records = {};
	for _, record in ipairs(answer) do
		local tlsa = record.tlsa;
		if certificate.is_usable(tlsa) then
			records[#records + 1] = { tlsa.use, tlsa.select, tlsa.match, tlsa.data };
		end
	end
	return records[1] and records or nil;
end

-- RFC 7671 section 7: the name at the end of the aliases first, then the one in the SRV record.
local function find_tlsa(target, names)
	local base = table.remove(names, 1);
	if not base then return target; end
	return lookup(("_%d._tcp.%s"):format(target.port, base), "TLSA"):next(function (answer)
		if answer.state == "bogus" or answer.state == "failed" then
			target.state, target.error = answer.state, "its TLSA records: "..answer.reason;
			return target;
		elseif answer.state ~= "secure" or not answer[1] then
			return find_tlsa(target, names);
		end
		target.tlsa = usable(answer);
		if target.tlsa and base ~= target.host then target.references[#target.references + 1] = base; end
		return target;
	end);
end

function discovery.describe(target)
	if target.addresses then return promise.resolve(target); end
	return promise.all_settled({
		a = use_ipv4 and lookup(target.host, "A") or nil;
		aaaa = use_ipv6 and lookup(target.host, "AAAA") or nil;
	}):next(function (settled)
		local answers = {};
		for kind, result in pairs(settled) do answers[kind] = result.value; end
		take_addresses(target, answers);
		target.references = target.secure and { target.host } or {};
		if target.state == "secure" and not target.secure then target.state = "insecure"; end
		if target.error or target.state ~= "secure" then return target; end
		return find_tlsa(target, { target.canonical or target.host, target.canonical and target.host });
	end);
end

return function (parts)
	options, certificate = parts.options, parts.certificate;
	return discovery;
end
