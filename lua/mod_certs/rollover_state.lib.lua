-- The state of a rollover of one certificate file (RFC 7671 section 8.1, RFC 6698 appendix A.4), from DNS, the files that Prosody
-- uses, and every listener that DNS leads to. Prints nothing, and writes only its history (rollover_history.lib.lua).
--
-- examine { old = path of a file that Prosody uses, as of uses.find_file(); new = the new chain, as of certs.parse();
--           key = PEM of the new key, or key_path = its file, or neither: the key is not checked;
--           new_path = name of the new chain in texts, or nil;
--           keep = { PEM of spare chains, keys, requests or public keys } or nil;
--           seen = { [name of TLSA records] = { since = seconds, ttl = } } or nil: since when all name servers have had the
--           records of the new chain's key there (usages 1 and 3, selector 1), if the caller knows, and their longest TTL;
--           dry_run = true: does not write the history }
--
-- may be called at any time: the file may hold the old chain or the new one already. Each call notes since when all name servers
-- have each record, also records that the new chain does not need. So there is no wait for a record that was published in advance
-- if examine() has seen it then, with whichever `new`.
-- Returns nil, text, if the leaf of the new chain is unreadable; else a table:
--
-- step      "add"     a name server lacks a record that the new chain needs
--           "wait"    caches may have only the old records until `ends`; also if the new chain is served already
--           "switch"  a listener serves the old certificate, or it is not known what it serves
--           "remove"  nobody serves the old certificate; there are records that only it matched
--           "done"    nobody serves it, and no record of it is left
-- safe      no peer refuses a certificate if the step is taken: in "switch" the file may be replaced and Prosody reloaded, in
--           "remove" the records of `remove` may be removed. False in "add" and "wait", and with problems. The records of `add`
--           may always be published.
-- ends      seconds since 1970: end of the wait, as far as is known; nil if there was none. In "add" it counts from now.
-- ttl       seconds, the longest TTL of the records; 0 without any
-- add       records to publish on every name server, in addition to the present ones
-- remove    records that the old chain matches, and no chain or key that is new, served, configured or spare; to be removed in
--           step "remove", not before
-- unknown   records that match nothing known, and stay
-- names     { { name =, ttl =, secure = peers use it, records = those published }, ... }: the names with TLSA records
-- listeners { { name = for people, host =, address =, serves = "new", "old", "another" or "unknown", text = why not }, ... }
--           of the hosts that use the file. "another" is an unrelated certificate, for instance on another machine; its records
--           stay, and nobody waits for it
-- uses      as of uses.of(), including former uses that have no other certificate now
-- hosts     their names, each once, in order
-- problems  texts: why it is not safe, each with the remedy
-- warnings  texts that do not make it unsafe
-- file      the path; is_replaced: it holds the new certificate already
-- old       the chain that is replaced, or nil if not known
-- leaf, old_leaf   descriptions of the new and the old certificate; old_leaf is nil if not known
-- now       the time of the examination
--
-- A record is { name =, ttl =, usage =, selector =, match =, data = binary }, in order of name and numbers.
-- Texts may contain names from strangers: terminal.printable() before they are shown.

local array = require "util.array";

local checks = module:require "rollover_checks";
local dane = module:require "dane";
local files = module:require "files";
local history = module:require "rollover_history";
local records = module:require "rollover_records";
local scopes = module:require "rollover_scope";
local uses = module:require "uses";

local NUMBERS = { add = 1, wait = 2, switch = 3, remove = 4, done = 5 };

local rollover = { NUMBERS = NUMBERS };

-- The result; its methods also serve rollover_checks.lib.lua
local result_mt = { __index = {} };

function result_mt.__index:problem(format, ...)
	table.insert(self.problems, format:format(...));
end

function result_mt.__index:warn(format, ...)
	table.insert(self.warnings, format:format(...));
end

-- ---- The old certificate ----

-- The certificates of a text, under any label of PEM, without a private key
local function certificates_in(pem)
	local blocks, at = {}, 1;
	while true do
		local from, to = pem:find("%-%-%-%-%-BEGIN ([%u%d ]*CERTIFICATE)%-%-%-%-%-.-%-%-%-%-%-END %1%-%-%-%-%-", at);
		if not from then return table.concat(blocks); end
		blocks[#blocks + 1] = pem:sub(from, to).."\n";
		at = to + 1;
	end
end

-- Takes the old chain from the file, or from the history if the file holds the new one already. Returns its uses in the latter case.
local function find_old(result, state)
	local present, leaf, pem = files.read_chain(result.file);
	if not present then return result:problem("%s", leaf); end
	result.present, result.is_replaced = present, leaf.sha256 == result.leaf.sha256;
	history.add(state, certificates_in(pem), uses.of(result.file));
	for i = #state.held, 1, -1 do
		local held = state.held[i];
		local old, old_leaf = files.parse_chain(held.chain);
		if old and old_leaf.sha256 ~= result.leaf.sha256 then
			result.old, result.old_leaf = old, old_leaf;
			return result.is_replaced and held.uses or nil;
		end
	end
end

-- ---- Listeners ----

-- Certificates that are known to be unrelated, by SHA-256
local function known_others(rrsets, keep)
	local known = {};
	local function add(list)
		for _, parsed in ipairs(list) do
			local leaf = dane.is_chain(parsed) and parsed:describe();
			if leaf then known[leaf.sha256] = true; end
		end
	end
	add(keep);
	for _, rrset in ipairs(rrsets) do add(rrset.kept); end
	return known;
end

-- If the file was overwritten before the first call: takes the only unknown certificate that is served as the old one, as long as
-- neither the new one nor one that is known to be old is served.
local function guess_old(result, state, others)
	local found;
	for _, rrset in ipairs(result.rrsets) do
		for _, listener in ipairs(rrset.listeners) do
			local sha256 = listener.leaf and listener.leaf.sha256;
			if sha256 == result.leaf.sha256 or result.old_leaf and sha256 == result.old_leaf.sha256 then return; end
			if sha256 and not others[sha256] then
				if found and found.leaf.sha256 ~= sha256 then return; end
				found = listener;
			end
		end
	end
	if found then
		result.old, result.old_leaf = found.chain, found.leaf;
		history.add(state, found.pem, result.uses, #state.held);
	end
end

-- Returns "new", "old", "another" or "unknown", and why it is unknown.
local function serves(result, listener, others)
	if not listener.chain then return "unknown", listener.text; end
	local sha256 = listener.leaf.sha256;
	if sha256 == result.leaf.sha256 then return "new"; end
	if result.old_leaf and sha256 == result.old_leaf.sha256 then return "old"; end
	if result.old_leaf or others[sha256] then return "another"; end
	return "unknown", "serves an unknown certificate, perhaps the old one; if not, name it with --keep";
end

-- If an address serves the certificate of the file, a target whose addresses all serve others is another server.
local function mark_foreign(rrsets)
	local own = {};
	for _, rrset in ipairs(rrsets) do
		for _, listener in ipairs(rrset.listeners) do
			own[listener.address] = own[listener.address] or listener.serves == "old" or listener.serves == "new";
			own.any = own.any or own[listener.address];
		end
	end
	for _, rrset in ipairs(rrsets) do
		rrset.foreign = own.any and rrset.listeners[1] ~= nil;
		for _, listener in ipairs(rrset.listeners) do
			if own[listener.address] or listener.serves ~= "another" then rrset.foreign = false; end
		end
	end
end

local function name_listeners(result, state)
	local others = known_others(result.rrsets, result.keep);
	if result.is_replaced then guess_old(result, state, others); end
	for _, rrset in ipairs(result.rrsets) do
		for _, listener in ipairs(rrset.listeners) do
			listener.serves, listener.text = serves(result, listener, others);
			table.insert(result.listeners, listener);
		end
	end
	mark_foreign(result.rrsets);
end

-- ---- The step ----

-- Sets the end of the wait.
local function find_end(result, state)
	for _, rrset in ipairs(result.analysed) do
		local known = history.rrset(state, rrset.name);
		known.ttl = math.max(known.ttl, rrset.ttl);
		result.ttl = math.max(result.ttl, known.ttl);
		if rrset.since > 0 then result.ends = math.max(result.ends or 0, rrset.since + 2 * known.ttl); end
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

-- The records of all rrsets in a form for the result
local function collect(rrsets, which)
	local list = {};
	for _, rrset in ipairs(rrsets) do
		for _, record in pairs(rrset[which]) do
			list[#list + 1] = { name = rrset.name, ttl = rrset.ttl, usage = record.usage, selector = record.selector,
				match = record.match, data = record.data };
		end
	end
	return sorted(list);
end

local function names_of(rrsets)
	local list = {};
	for i, rrset in ipairs(rrsets) do
		list[i] = { name = rrset.name, ttl = rrset.ttl, secure = rrset.secure, records = collect({ rrset }, "published") };
	end
	return list;
end

-- ---- Problems ----

-- The new certificate is served too early.
local function check_haste(result)
	for _, rrset in ipairs(result.analysed) do
		for _, listener in ipairs(rrset.listeners) do
			if listener.serves == "new" and next(rrset.needed) then
				result:problem("%s serves the new certificate, but not all name servers have its records at %s: publish them now, or restore "
					.."the old certificate", listener.name, rrset.name);
			elseif listener.serves == "new" and result.step == "wait" then
				result:problem("%s serves the new certificate, but caches may not have its records yet: restore the old certificate until "
					.."the end of the wait", listener.name);
			end
		end
	end
end

-- A listener that does not answer may serve a copy of the old certificate.
local function check_silence(result)
	if result.step ~= "remove" then return; end
	for _, rrset in ipairs(result.analysed) do
		for _, listener in ipairs(rrset.superfluous[1] and rrset.neighbours or {}) do
			if not listener.chain then
				result:problem("%s for %s: cannot check whether it needs records of %s: %s", listener.name, listener.host, rrset.name,
					listener.text);
			end
		end
	end
end

local function check_served(result)
	local counts = count(result.listeners);
	if counts.another > 0 and counts.new + counts.old + counts.unknown == 0 then
		result:warn("no listener serves %s: Prosody has not read it, or other servers answer", result.file);
	end
	if result.unknown[1] and not result.old_leaf then
		result:warn("%s was replaced before the first call: the records of its old certificate are not known",
			result.file);
	end
end

local function add_problems(result, about, newcomers)
	for _, rrset in ipairs(result.analysed) do
		result.problems:append(rrset.problems);
		result.warnings:append(rrset.warnings);
	end
	check_haste(result);
	check_silence(result);
	check_served(result);
	checks.dates(result);
	checks.keys(result, about);
	checks.locations(result, newcomers, NUMBERS[result.step] < NUMBERS.switch);
end

-- ---- Together ----

local function analyse(result, about, state)
	result.analysed = {};
	for _, rrset in ipairs(result.rrsets) do
		if not rrset.bare and not rrset.foreign then
			local known, told = history.rrset(state, rrset.name), about.seen and about.seen[rrset.name] or {};
			known.ttl = math.max(known.ttl, told.ttl or 0);
			records.analyse(rrset, { old = result.old, new = about.new, keep = result.keep, now = result.now, key_since = told.since },
				known.seen);
			table.insert(result.analysed, rrset);
		end
	end
	result.add, result.remove = collect(result.analysed, "needed"), collect(result.analysed, "superfluous");
	result.unknown, result.names = collect(result.analysed, "unknown"), names_of(result.analysed);
end

local function save(result, about, state)
	if about.dry_run then return; end
	local ok, err = history.save(result.file, state);
	if not ok then result:problem("cannot save since when the records are published: %s", err); end
end

function rollover.examine(about)
	local leaf, _, text = about.new:describe();
	if not leaf then return nil, text; end
	local state = history.load(about.old);
	local result = setmetatable({ file = about.old, leaf = leaf, now = os.time(), ttl = 0, is_replaced = false, listeners = array(),
		problems = array(), warnings = array(), keep = array() }, result_mt);
	for _, pem in ipairs(about.keep or {}) do result.keep:push(dane.parse(pem)); end
	local scope = scopes.new(about.old, about.new, find_old(result, state));
	result.uses = scope:uses();
	result.hosts = uses.hosts(result.uses):sort();
	checks.names(result, about.new);
	checks.chain(result, about.new);
	local problems;
	result.rrsets, problems = scope:find();
	result.problems:append(problems);
	name_listeners(result, state);
	analyse(result, about, state);
	find_end(result, state);
	result.step = step_of(result);
	add_problems(result, about, scope.newcomers);
	save(result, about, state);
	result.safe = not result.problems[1] and NUMBERS[result.step] >= NUMBERS.switch;
	return result;
end

return rollover;
