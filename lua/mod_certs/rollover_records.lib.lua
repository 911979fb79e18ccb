-- The TLSA records at one name during a rollover: those that the new chain needs, and those that only the old chain needs (RFC
-- 7671 section 8.1)

local dane = module:require "dane";
local dns = module:require "dns";

local records = {};

local function problem(rrset, format, ...)
	table.insert(rrset.problems, format:format(...));
end

-- ---- Records of the name servers ----

-- The record of this combination with which peers accept the new chain; or nil, text
local function record_for(rrset, reference, group, new)
	local record = { name = rrset.name, usage = group.usage, selector = group.selector, match = group.match };
	local accepted, verdict = false, {};
	local condition, text;
	record.data, condition, text = new:tlsa(group);
	if record.data then accepted, verdict = dane.accepts(new, reference, { record }); end
	if accepted then return record; end
	return nil, text or condition or dane.errors(verdict) or "peers refuse it";
end

-- The combinations that the new chain has to match: those that the old chain matches. All of them if it matches none or is not
-- known.
local function required(groups, old)
	local list = {};
	for _, group in ipairs(groups) do
		if group.known and old and dane.matches(old, group.records) then list[#list + 1] = group; end
	end
	if list[1] then return list; end
	for _, group in ipairs(groups) do
		if group.known then list[#list + 1] = group; end
	end
	return list;
end

-- Adds to `needed` the records that one name server lacks.
local function analyse_reply(rrset, reply, old, new)
	local list = dane.records_of(reply.answer);
	for _, group in ipairs(required(dane.combinations(list), old)) do
		for _, user in ipairs(rrset.users) do
			if not dane.accepts(new, user.reference, group.records) then
				local record, text = record_for(rrset, user.reference, group, new);
				if record then
					rrset.needed[dane.key(record)] = record;
				else
					problem(rrset, "%s: no %s record matches the new chain for %s: %s", rrset.name, group.name, user.host, text);
				end
			end
		end
	end
	for _, record in ipairs(list) do rrset.published[dane.key(record)] = record; end
end

local function ask(rrset, old, new)
	local replies, problems = dns.ask_authoritative(rrset.name, "TLSA");
	rrset.replies, rrset.unsure = replies, problems[1] ~= nil;
	table.move(problems, 1, #problems, #rrset.problems + 1, rrset.problems);
	for _, reply in ipairs(replies) do
		rrset.ttl = math.max(rrset.ttl, reply.answer.ttl or 0);
		analyse_reply(rrset, reply, old, new);
		if not reply.answer.records[1] then
			rrset.lacking = true;
			problem(rrset, "%s: no record at %s (%s)", rrset.name, reply.server, reply.address);
		end
	end
end

-- ---- The purpose of each record ----

local function accepted_for_any(rrset, chain, record)
	for _, user in ipairs(rrset.users) do
		if dane.accepts(chain, user.reference, { record }) then return true; end
	end
	return false;
end

-- What the listeners prove about a record: "old", it has been needed all along; "new", the certificate has been switched, so that
-- the waiting is over, or was skipped; or nil: a listener is unknown, or the record is about something else, such as a key that is
-- published in advance.
local function proof_of(rrset, record)
	local proof;
	for _, listener in ipairs(rrset.listeners) do
		local serves = listener.serves;
		local is_its_own = (serves == "old" or serves == "new") and dane.accepts(listener.chain, listener.reference, { record });
		if serves == "unknown" or serves == "old" and not is_its_own then return nil; end
		if is_its_own and proof ~= "old" then proof = serves; end
	end
	return proof;
end

-- Whether another certificate than the old one matches a record
local function is_wanted(rrset, record, keep)
	for _, listener in ipairs(rrset.listeners) do
		if listener.serves == "another" and dane.matches(listener.chain, { record }) then return true; end
	end
	for _, listener in ipairs(rrset.neighbours) do
		if listener.chain and dane.matches(listener.chain, { record }) then return true; end
	end
	for _, list in ipairs { rrset.kept, keep } do
		for _, parsed in ipairs(list) do
			if dane.matches(parsed, { record }) then return true; end
		end
	end
	return false;
end

local function sort_out(rrset, old, new, keep)
	for _, record in pairs(rrset.published) do
		if not accepted_for_any(rrset, new, record) and not dane.matches(new, { record })
		and not is_wanted(rrset, record, keep) then
			table.insert(old and dane.matches(old, { record }) and rrset.superfluous or rrset.unknown, record);
		end
	end
end

-- ---- Times ----

-- How many of the name servers that answer have each record, by key
local function count_servers(rrset)
	local counts = {};
	for _, reply in ipairs(rrset.replies) do
		for _, record in ipairs(dane.records_of(reply.answer)) do
			local key = dane.key(record);
			counts[key] = (counts[key] or 0) + 1;
		end
	end
	return counts;
end

-- Takes over the time that the caller knows for the records of the new key, which may have been published in advance.
local function note_known(rrset, new, seen, counts, since)
	for key, record in pairs(rrset.published) do
		if dane.is_about_key(record) and dane.matches(new, { record }) and counts[key] == #rrset.replies then
			seen[key] = math.min(seen[key] or since, since);
		end
	end
end

-- Notes since when all name servers have each record. One that does not answer neither starts nor ends that time.
local function note_seen(rrset, about, seen)
	local counts = count_servers(rrset);
	for key in pairs(seen) do
		if rrset.replies[1] and counts[key] ~= #rrset.replies then seen[key] = nil; end
	end
	for key, record in pairs(rrset.published) do
		local proof = proof_of(rrset, record);
		if counts[key] == #rrset.replies and (proof == "old" or proof == "new" and not seen[key]) then
			seen[key] = 0;
		elseif counts[key] == #rrset.replies and not rrset.unsure then
			seen[key] = math.min(seen[key] or about.now, about.now);
		end
	end
	if about.key_since then note_known(rrset, about.new, seen, counts, about.key_since); end
end

-- The earliest time since which a record of these lets a host's peers accept the new chain
local function accepted_since(user, new, list, seen, now)
	local since = now;
	for _, record in ipairs(list) do
		if dane.accepts(new, user.reference, { record }) then since = math.min(since, seen[dane.key(record)] or now); end
	end
	return since;
end

-- The time since which every required combination has a record for the new chain, for every host
local function complete_since(rrset, old, new, seen, now)
	if next(rrset.needed) or rrset.lacking or not next(rrset.published) then return now; end
	local list, since = {}, 0;
	for _, record in pairs(rrset.published) do list[#list + 1] = record; end
	for _, group in ipairs(required(dane.combinations(list), old)) do
		for _, user in ipairs(rrset.users) do
			since = math.max(since, accepted_since(user, new, group.records, seen, now));
		end
	end
	return since;
end

-- Warns about served certificates that the records do not match any more.
local function check_listeners(rrset)
	for _, listener in ipairs(rrset.listeners) do
		for _, reply in ipairs(listener.serves == "old" and rrset.replies or {}) do
			for _, group in ipairs(dane.combinations(dane.records_of(reply.answer))) do
				if group.known and not dane.accepts(listener.chain, listener.reference, group.records) then
					table.insert(rrset.warnings, ("%s: the served certificate does not match the %s record of %s at %s"):format(
						listener.name, group.name, rrset.name, reply.server));
				end
			end
		end
	end
end

-- Fills in an rrset of rollover_scope.lib.lua whose listeners have `serves` ("new", "old", "another" or "unknown"): ttl;
-- published and needed = records by key; superfluous = records that only the old chain matches; unknown = records that nothing
-- known matches; since = when all records that the new chain needs were there, 0: before the first call, now: not yet; lacking = a
-- name server has no record at all, unsure = a name server does not answer; problems and warnings.
-- about = { old = and new = chains, old may be nil; keep = array of spare chains and keys, as of dane.parse(); now = the time;
-- key_since = since when all name servers have had the records of the new key, if the caller knows, or nil }
-- seen = { [key of record] = since when all name servers have it }, which is updated
function records.analyse(rrset, about, seen)
	ask(rrset, about.old, about.new);
	sort_out(rrset, about.old, about.new, about.keep);
	note_seen(rrset, about, seen);
	rrset.since = complete_since(rrset, about.old, about.new, seen, about.now);
	check_listeners(rrset);
end

return records;
