-- Where the replacement of one certificate file is (RFC 7671 section 8.1, RFC 6698 appendix A.4): looks at DNS, at the files
-- that Prosody uses, and at every listener that DNS leads to. Prints nothing; the one file that it writes is its note
-- (remembered.lib.lua).
--
-- examine { old = path of a file that Prosody uses, as replaced.find() gives it; new = PEM of the new chain;
--           key = PEM of the new key, or key_path = its file, or neither: it is not looked at;
--           new_path = how texts call the new chain, or nil;
--           keep = { PEM of spare chains, keys, requests or public keys } or nil;
--           seen = { [name of TLSA records] = { since = seconds, ttl = } } or nil: since when all name servers have had the
--           records of the new chain's key there (usages 1 and 3, selector 1), by what the caller knows, and their longest TTL;
--           dry_run = true: writes no note }
-- looks at everything anew at each call, so that it may be called at any time: the file may hold the old chain or the new one
-- already. Each call notes since when all name servers have each record, also records that the new chain does not need; so a
-- record that was published ahead is not waited for if examine() has seen it there, with whatever `new`.
-- Returns nil, text, if the new chain cannot be read; else a table:
--
-- step      "add"     some name server lacks a record that the new chain needs
--           "wait"    caches may hold the old records alone until `ends`; so it is, too, when the new chain is served already
--           "switch"  somebody serves the old certificate, or it is not known what is served
--           "remove"  nobody serves the old certificate; there are records that it alone matched
--           "done"    nobody serves it, and it has left nothing behind
-- safe      no peer is refused when the step is taken: in "switch" the file may be replaced and Prosody reloaded, in "remove" the
--           records of `remove` may go. False in "add" and "wait", and where there are problems. Records of `add` may be published
--           in any case.
-- ends      seconds since 1970: when the waiting is over, or was, by what is known now; nil where nothing had to be waited for.
--           In "add" it counts from now.
-- ttl       seconds, the longest TTL of the records that was seen; 0 without any
-- add       records to publish beside those that are there, on every name server
-- remove    records that the old chain matches, and nothing else that is new, served, configured or spare: to be removed in step
--           "remove", not before
-- unknown   records that match nothing known, which stay
-- names     { { name =, ttl =, secure = peers use it, records = what is published there }, ... }: the names with TLSA records that
--           the file concerns
-- listeners { { name = for people, host =, address =, serves = "new", "old", "another" or "unknown", text = why not }, ... }
--           of the hosts that use the file. "another" is a certificate that has nothing to do with this file, on another machine
--           for instance; it keeps its records, and nobody waits for it
-- uses      as certificates.uses(): what Prosody gives the file to; and what it gave it to before it was replaced, where it gives
--           no other
-- hosts     their names, each once, in order
-- problems  texts: why it is not safe, each with what to do
-- warnings  texts: what does not keep it from being safe
-- file      the path; is_replaced: it holds the new certificate already
-- old       the chain that is replaced, PEM, or nil where it is not known
-- leaf, old_leaf   the new and the old certificate as of certs.names(); old_leaf is nil where it is not known
-- now       the time that it all is about
--
-- A record is { name =, ttl =, usage =, selector =, match =, data = binary }, in order of name and numbers.
-- Texts may hold names that strangers have written: terminal.printable() before they are shown.

local array = require "util.array";

local certificates = module:require "certificates";
local certs = module:require "native"("certs");
local checks = module:require "checks";
local dane = module:require "dane";
local drawn = module:require "drawn";
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

local function extend(list, more)
	table.move(more, 1, #more, #list + 1, list);
end

-- ---- The old certificate ----

-- The certificates of a text, whatever PEM calls them, without a private key that it may hold, too
local function certificates_in(pem)
	local blocks, at = {}, 1;
	while true do
		local from, to = pem:find("%-%-%-%-%-BEGIN ([%u%d ]*CERTIFICATE)%-%-%-%-%-.-%-%-%-%-%-END %1%-%-%-%-%-", at);
		if not from then return table.concat(blocks); end
		blocks[#blocks + 1] = pem:sub(from, to).."\n";
		at = to + 1;
	end
end

-- Takes the old chain from the file, or out of the note once the file holds the new one. Returns it, or nil, and what it was
-- used for.
local function find_old(result, state)
	local pem, err = files.read(result.file);
	local leaf, _, text = nil, nil, nil;
	if pem then leaf, _, text = certs.names(pem); end
	if not leaf then return problem(result, "%s", err or ("%s: %s"):format(result.file, text)); end
	result.present, result.is_replaced = pem, leaf.sha256 == result.leaf.sha256;
	remembered.add(state, certificates_in(pem), certificates.uses(result.file));
	for i = #state.held, 1, -1 do
		local held = state.held[i];
		local held_leaf = certs.names(held.chain);
		if held_leaf and held_leaf.sha256 ~= result.leaf.sha256 then
			result.old, result.old_leaf = held.chain, held_leaf;
			return result.is_replaced and held.uses or nil;
		end
	end
end

-- ---- What is served ----

-- Certificates that are known to be others, by SHA-256
local function known_others(spots, keep)
	local known = {};
	local function add(pem)
		local leaf = certs.names(pem);
		if leaf then known[leaf.sha256] = true; end
	end
	for _, pem in ipairs(keep) do add(pem); end
	for _, spot in ipairs(spots) do
		for _, pem in ipairs(spot.kept) do add(pem); end
	end
	return known;
end

-- Where the file was overwritten before anybody looked: the one unknown certificate that is served is the old one, as long as
-- neither the new one nor one that is known to be old is served.
local function guess_old(result, state, others)
	local found;
	for _, spot in ipairs(result.spots) do
		for _, listener in ipairs(spot.listeners) do
			local sha256 = listener.sha256;
			if sha256 == result.leaf.sha256 or result.old_leaf and sha256 == result.old_leaf.sha256 then return; end
			if sha256 and not others[sha256] then
				if found and found.sha256 ~= sha256 then return; end
				found = listener;
			end
		end
	end
	if found then
		result.old, result.old_leaf = found.pem, certs.names(found.pem);
		remembered.add(state, found.pem, result.uses, #state.held);
	end
end

-- Returns "new", "old", "another" or "unknown", and in the last case why.
local function serves(result, listener, others)
	if not listener.pem then return "unknown", listener.text; end
	if listener.sha256 == result.leaf.sha256 then return "new"; end
	if result.old_leaf and listener.sha256 == result.old_leaf.sha256 then return "old"; end
	if result.old_leaf or others[listener.sha256] then return "another"; end
	return "unknown", "serves a certificate that is not known, perhaps the old one; if it is not, give it to --keep";
end

-- Where the file's certificate is served somewhere, a target whose addresses all serve others is not this server.
local function mark_foreign(spots)
	local own = {};
	for _, spot in ipairs(spots) do
		for _, listener in ipairs(spot.listeners) do
			own[listener.address] = own[listener.address] or listener.serves == "old" or listener.serves == "new";
			own.any = own.any or own[listener.address];
		end
	end
	for _, spot in ipairs(spots) do
		spot.foreign = own.any and spot.listeners[1] ~= nil;
		for _, listener in ipairs(spot.listeners) do
			if own[listener.address] or listener.serves ~= "another" then spot.foreign = false; end
		end
	end
end

local function name_listeners(result, state, keep)
	local others = known_others(result.spots, keep);
	if result.is_replaced then guess_old(result, state, others); end
	for _, spot in ipairs(result.spots) do
		for _, listener in ipairs(spot.listeners) do
			listener.serves, listener.text = serves(result, listener, others);
			table.insert(result.listeners, listener);
		end
	end
	mark_foreign(result.spots);
end

-- ---- Which step ----

-- Sets how long to wait.
local function find_end(result, state)
	for _, spot in ipairs(result.judged) do
		local known = remembered.spot(state, spot.name);
		known.ttl = math.max(known.ttl, spot.ttl);
		result.ttl = math.max(result.ttl, known.ttl);
		if spot.since > 0 then result.ends = math.max(result.ends or 0, spot.since + 2 * known.ttl); end
	end
end

local function count(listeners)
	local counts = { new = 0, old = 0, another = 0, unknown = 0 };
	for _, listener in ipairs(listeners) do counts[listener.serves] = counts[listener.serves] + 1; end
	return counts;
end

local function step_of(result)
	if result.add[1] then return "add"; end
	if result.ends and result.now < result.ends then return "wait"; end
	local counts = count(result.listeners);
	if counts.old + counts.unknown > 0 or counts.new == 0 then return "switch"; end
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
	for i, spot in ipairs(spots) do
		list[i] = { name = spot.name, ttl = spot.ttl, secure = spot.secure, records = collect({ spot }, "published") };
	end
	return list;
end

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

-- ---- What is wrong ----

-- The new certificate is served, and must not be.
local function check_haste(result)
	for _, spot in ipairs(result.judged) do
		for _, listener in ipairs(spot.listeners) do
			if listener.serves == "new" and next(spot.needed) then
				problem(result, "%s serves the new certificate, which %s does not have everywhere: publish it now, or go back",
					listener.name, spot.name);
			elseif listener.serves == "new" and result.step == "wait" then
				problem(result, "%s serves the new certificate, which caches may not know yet: go back until the waiting is over",
					listener.name);
			end
		end
	end
end

-- A listener that does not answer may serve a copy of the old certificate.
local function check_silence(result)
	if result.step ~= "remove" then return; end
	for _, spot in ipairs(result.judged) do
		for _, listener in ipairs(spot.superfluous[1] and spot.neighbours or {}) do
			if not listener.pem then
				problem(result, "%s for %s does not tell whether it needs records of %s: %s", listener.name, listener.host, spot.name,
					listener.text);
			end
		end
	end
end

local function check_served(result)
	local counts = count(result.listeners);
	if counts.another > 0 and counts.new + counts.old + counts.unknown == 0 then
		warn(result, "nobody serves %s: Prosody has not read it, or others answer in its place", result.file);
	end
	if result.unknown[1] and not result.old_leaf then
		warn(result, "%s was replaced before this tool has seen it: which records were those of its old certificate is not known",
			result.file);
	end
end

local function add_problems(result, about, newcomers)
	for _, spot in ipairs(result.judged) do
		extend(result.problems, spot.problems);
		extend(result.warnings, spot.warnings);
	end
	check_haste(result);
	check_silence(result);
	check_served(result);
	checks.dates(result);
	checks.keys(result, about);
	checks.places(result, newcomers, NUMBERS[result.step] < NUMBERS.switch);
end

-- ---- Together ----

local function judge(result, about, state)
	result.judged = {};
	for _, spot in ipairs(result.spots) do
		if not spot.bare and not spot.foreign then
			local known, told = remembered.spot(state, spot.name), about.seen and about.seen[spot.name] or {};
			known.ttl = math.max(known.ttl, told.ttl or 0);
			records.judge(spot, { old = result.old, new = about.new, keep = about.keep or {}, now = result.now, key_since = told.since },
				known.seen);
			table.insert(result.judged, spot);
		end
	end
	result.add, result.remove = collect(result.judged, "needed"), collect(result.judged, "superfluous");
	result.unknown, result.names = collect(result.judged, "unknown"), names_of(result.judged);
end

local function save(result, about, state)
	if about.dry_run then return; end
	local ok, err = remembered.save(result.file, state);
	if not ok then problem(result, "it cannot be noted since when the records are published: %s", err); end
end

function replacement.examine(about)
	local leaf, condition, text = certs.names(about.new);
	if not leaf then return nil, text or condition; end
	local state = remembered.load(about.old);
	local result = { file = about.old, leaf = leaf, now = os.time(), ttl = 0, is_replaced = false, listeners = array(),
		problems = array(), warnings = array() };
	local former = find_old(result, state);
	local who, newcomers = drawn.new { path = about.old, leaf = leaf, former = former };
	result.uses = drawn.uses(about.old, former);
	result.hosts = hosts_of(result.uses);
	checks.names(result, about.new);
	checks.chain(result, about.new);
	local problems;
	result.spots, problems = plan.of(about.old, who);
	extend(result.problems, problems);
	name_listeners(result, state, about.keep or {});
	judge(result, about, state);
	find_end(result, state);
	result.step = step_of(result);
	add_problems(result, about, newcomers);
	save(result, about, state);
	result.safe = not result.problems[1] and NUMBERS[result.step] >= NUMBERS.switch;
	return result;
end

return replacement;
