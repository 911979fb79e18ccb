-- Where the replacement of one certificate file is (RFC 7671 section 8.1, RFC 6698 appendix A.4): looks at DNS, at the files
-- that Prosody uses, and at every listener that DNS leads to. Prints nothing; the one file that it writes is its note
-- (remembered.lib.lua).
--
-- examine { old = path of a file that Prosody uses, new = PEM of the new chain, key = PEM of the new key or nil,
--           keep = { PEM of spare chains, requests or public keys } or nil, dry_run = true: writes no note,
--           seen = { [name of TLSA records] = { since = seconds or nil, ttl = } }: since when all name servers have had what the
--           new chain needs there, by the caller's knowledge; or nil }
-- looks at everything anew at each call, so that it may be called at any time: the file may hold the old chain or the new one
-- already. Returns nil, text, if the new chain cannot be read; else a table:
--
-- step      "add"     some name server lacks a record that the new chain needs
--           "wait"    caches may hold the old records alone until `ends`. So it is, too, when the new chain is served already
--           "switch"  somebody serves the old certificate, or it is not known what is served
--           "remove"  nobody serves the old certificate; there are records that it alone matched
--           "done"    nobody serves it, and it has left nothing behind
-- safe      no peer is refused when the step is taken: in "switch" the file may be replaced and Prosody reloaded, in "remove" the
--           records of `remove` may go. False in "add" and "wait", and where there are problems. Records of `add` may be published in
--           any case.
-- ends      seconds since 1970: when the waiting is over, by what is known now; nil where there is nothing to wait for. In
--           "add" it counts from now.
-- ttl       seconds, the longest TTL of the records that was seen; 0 without any
-- add       records to publish beside those that are there, on every name server
-- remove    records that the old chain matches and nothing else that is new, served, configured or spare: to be removed in step
--           "remove", not before
-- unknown   records that match nothing known, which stay
-- names     { { name =, ttl =, records = what is published there }, ... }: all names with TLSA records that the file concerns
-- listeners { { name = for people, host =, address =, serves = "new", "old", "another" or "unknown", text = why not }, ... }
--           of the hosts that use the file
-- uses      as certificates.uses(): what Prosody gives the file to
-- hosts     their names, each once, in order
-- problems  texts: why it is not safe, each with what to do
-- warnings  texts: what else is worth to be known
-- file, leaf, old_leaf, now: the path; the new and the old certificate as of certs.names(), old_leaf nil where it is not known; the time
--
-- A record is { name =, ttl =, usage =, selector =, match =, data = binary }, in order of name and numbers.
-- Texts may hold names that strangers have written: terminal.printable() before they are shown.

local array = require "util.array";

local certificates = module:require "certificates";
local certs = module:require "native"("certs");
local dane = module:require "dane";
local files = module:require "files";
local plan = module:require "plan";
local records = module:require "records";
local remembered = module:require "remembered";

local NUMBERS = { add = 1, wait = 2, switch = 3, remove = 4, done = 5 };

local replacement = {};

local function problem(result, format, ...)
	table.insert(result.problems, format:format(...));
end

local function warn(result, format, ...)
	table.insert(result.warnings, format:format(...));
end

-- ---- The old certificate ----

-- The certificates of a text, without a private key that it may hold, too
local function certificates_in(pem)
	local blocks = {};
	for block in pem:gmatch("%-%-%-%-%-BEGIN CERTIFICATE%-%-%-%-%-.-%-%-%-%-%-END CERTIFICATE%-%-%-%-%-") do
		blocks[#blocks + 1] = block;
	end
	return blocks[1] and table.concat(blocks, "\n").."\n" or nil;
end

-- Takes the old chain from the file, or out of the note once the file holds the new one.
local function find_old(result, path, state)
	local pem = files.read(path);
	local leaf = pem and certs.names(pem);
	result.replaced = leaf ~= nil and leaf.sha256 == result.leaf.sha256;
	if leaf and not result.replaced then state.old = certificates_in(pem); end
	result.old_leaf = state.old and certs.names(state.old) or nil;
end

-- ---- The new certificate ----

-- What would be wrong with it for whomever, DANE or not
local function check_new(result, pem)
	local leaf, seen = result.leaf, {};
	if not leaf.not_after or leaf.not_after < result.now then problem(result, "the new certificate has expired"); end
	if not leaf.not_before or leaf.not_before > result.now then problem(result, "the new certificate is not valid yet"); end
	for _, use in ipairs(result.uses) do
		for _, name in ipairs(use.hosts) do
			local text = ("the new certificate does not name %s for %s"):format(name, use.service);
			if not seen[text] and not certs.identity(pem, name, use.service) then problem(result, "%s", text); end
			seen[text] = true;
		end
	end
	local verdict = dane.verify(pem, { service = "xmpp-server", references = {} });
	if verdict.chain ~= "valid" then -- which DANE makes up for; the old one may be the same
		warn(result, "clients, and peers without DANE, do not accept the new certificate: %s", dane.errors(verdict));
	end
end

-- ---- What is served ----

local function name_listeners(result)
	for _, spot in ipairs(result.spots) do
		for _, listener in ipairs(spot.listeners) do
			listener.serves = not listener.pem and "unknown" or listener.sha256 == result.leaf.sha256 and "new"
				or result.old_leaf and listener.sha256 == result.old_leaf.sha256 and "old" or "another";
			table.insert(result.listeners, listener);
		end
	end
end

local function count(listeners)
	local counts = { new = 0, old = 0, another = 0, unknown = 0 };
	for _, listener in ipairs(listeners) do counts[listener.serves] = counts[listener.serves] + 1; end
	return counts;
end

-- ---- Which step ----

-- Notes since when each name is complete. Sets until when to wait.
local function note(result, state)
	for _, spot in ipairs(result.spots) do
		local known = state.spots[spot.name] or { ttl = 0 };
		state.spots[spot.name] = not spot.bare and known or nil;
		known.ttl = math.max(known.ttl, spot.ttl);
		result.ttl = math.max(result.ttl, known.ttl);
		local is_incomplete = next(spot.needed) or spot.lacking;
		if is_incomplete then
			known.since = nil;
		elseif spot.added and not spot.unsure then
			known.since = math.min(known.since or result.now, result.now);
		end
		if spot.added or is_incomplete then
			result.ends = math.max(result.ends or 0, (known.since or result.now) + 2 * known.ttl);
		end
	end
end

local function lacks_records(spots)
	for _, spot in ipairs(spots) do
		if next(spot.needed) then return true; end
	end
	return false;
end

local function step_of(result)
	if lacks_records(result.spots) then return "add"; end
	local counts = count(result.listeners);
	if counts.old + counts.unknown > 0 or counts.new == 0 then
		return result.ends and result.now < result.ends and "wait" or "switch";
	end
	return result.remove[1] and "remove" or "done";
end

-- ---- The lists ----

local function sorted(list)
	local function key(record) return record.name.." "..dane.key(record); end
	table.sort(list, function (a, b) return key(a) < key(b); end);
	return list;
end

-- Records of all spots, as the header describes them
local function collect(spots, which)
	local list = {};
	for _, spot in ipairs(spots) do
		for _, record in pairs(spot[which]) do
			list[#list + 1] = { name = spot.name, ttl = spot.ttl, usage = record.usage, selector = record.selector,
				match = record.match, data = record.data };
		end
	end
	return sorted(list);
end

local function names_of(spots)
	local list = {};
	for _, spot in ipairs(spots) do
		if not spot.bare then
			list[#list + 1] = { name = spot.name, ttl = spot.ttl, secure = spot.secure, records = collect({ spot }, "published") };
		end
	end
	return list;
end

-- What must be right before a step is called safe
local function add_problems(result)
	for _, spot in ipairs(result.spots) do
		table.move(spot.problems, 1, #spot.problems, #result.problems + 1, result.problems);
		table.move(spot.warnings, 1, #spot.warnings, #result.warnings + 1, result.warnings);
		for _, listener in ipairs(spot.listeners) do
			if listener.serves == "new" and next(spot.needed) then
				problem(result, "%s serves the new certificate, which %s does not have everywhere: publish it now, or go back",
					listener.name, spot.name);
			end
		end
	end
end

-- ---- Together ----

local function hosts_of(uses)
	local list, seen = {}, {};
	for _, use in ipairs(uses) do
		for _, name in ipairs(use.hosts) do
			if not seen[name] then list[#list + 1] = name; end
			seen[name] = true;
		end
	end
	table.sort(list);
	return list;
end

local function new_result(path, leaf)
	local uses = certificates.uses(path);
	return { file = path, leaf = leaf, now = os.time(), ttl = 0, uses = uses, hosts = hosts_of(uses), problems = array(),
		warnings = array(), listeners = array() };
end

function replacement.examine(about)
	local leaf, condition, text = certs.names(about.new);
	if not leaf then return nil, text or condition; end
	local path, keep = about.old, about.keep or {};
	local result, state = new_result(path, leaf), remembered.load(path, leaf.sha256);
	for name, known in pairs(about.seen or {}) do state.spots[name] = state.spots[name] or known; end
	find_old(result, path, state);
	check_new(result, about.new);
	local problems;
	result.spots, problems = plan.of(function (...) return files.same(certificates.of(...), path); end);
	table.move(problems, 1, #problems, #result.problems + 1, result.problems);
	name_listeners(result);
	for _, spot in ipairs(result.spots) do
		if not spot.bare then records.judge(spot, state.old, about.new, keep); end
	end
	note(result, state);
	result.add, result.remove = collect(result.spots, "needed"), collect(result.spots, "superfluous");
	result.unknown, result.names = collect(result.spots, "unknown"), names_of(result.spots);
	result.step = step_of(result);
	add_problems(result);
	local ok, err = true, nil;
	if not about.dry_run then ok, err = remembered.save(path, state); end
	if not ok then problem(result, "it cannot be noted since when the records are published: %s", err); end
	result.safe = not result.problems[1] and NUMBERS[result.step] >= NUMBERS.switch;
	return result;
end

return replacement;
