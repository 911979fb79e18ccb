-- The TLSA records at one name, beside a certificate that is replaced: which ones the new chain needs, and which ones
-- nothing needs but the old one. RFC 7671 section 8.1.

local certs = module:require "native"("certs");
local dane = module:require "dane";
local lookup = module:require "lookup";

local records = {};

local function problem(spot, format, ...)
	table.insert(spot.problems, format:format(...));
end

-- ---- What the name servers have ----

-- The record of this combination that makes the new chain accepted; or nil, text
local function record_for(spot, about, group, new)
	local record = { name = spot.name, usage = group.usage, selector = group.selector, match = group.match };
	local accepted, verdict = false, {};
	local condition, text;
	record.data, condition, text = certs.tlsa(new, group.usage, group.selector, group.match);
	if record.data then accepted, verdict = dane.accepts(new, about, { record }); end
	if accepted then return record; end
	return nil, text or condition or dane.errors(verdict) or "it is refused";
end

-- A combination that the old chain did not match does not let any peer in today. Where it matches none, or is not known,
-- all count.
local function demanded(groups, old)
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

-- Adds `needed` (records that a name server lacks) for one name server's records.
local function judge_reply(spot, reply, old, new)
	local list = dane.records_of(reply.answer);
	for _, group in ipairs(demanded(dane.combinations(list), old)) do
		for _, party in ipairs(spot.users) do
			if not dane.accepts(new, party.about, group.records) then
				local record, text = record_for(spot, party.about, group, new);
				if record then
					spot.needed[dane.key(record)] = record;
				else
					problem(spot, "%s: no %s record can match the new chain for %s: %s", spot.name, group.name, party.host, text);
				end
			end
		end
	end
	for _, record in ipairs(list) do spot.published[dane.key(record)] = record; end
end

local function ask(spot, old, new)
	local replies = lookup.ask_all(spot.name, "TLSA");
	for _, reply in ipairs(replies) do
		if not reply.answer or lookup.failure(reply.answer) or not reply.answer.authoritative then
			spot.unsure = true;
			problem(spot, "%s: %s (%s) does not tell what it has", spot.name, reply.server, reply.address);
		else
			spot.ttl = math.max(spot.ttl, reply.answer.ttl or 0);
			judge_reply(spot, reply, old, new);
			if not reply.answer.records[1] then
				spot.lacking = true;
				problem(spot, "%s: %s (%s) has no record", spot.name, reply.server, reply.address);
			end
			table.insert(spot.replies, reply);
		end
	end
	if not replies[1] then
		spot.unsure = true;
		problem(spot, "%s: its name servers are not to be found", spot.name);
	end
end

-- ---- What each record is for ----

local function accepted_for_any(spot, pem, record)
	for _, party in ipairs(spot.users) do
		if dane.accepts(pem, party.about, { record }) then return true; end
	end
	return false;
end

-- What the listeners prove of a record: "old", that it has been needed all along; "new", that the certificate has been
-- switched, so that waiting is over, or was not done; or nil. Where nothing is known to be served, nothing is proven; nor of a
-- record that is about something else, such as a key that is published ahead.
local function proof_of(spot, record)
	local proof;
	for _, listener in ipairs(spot.listeners) do
		local serves = listener.serves;
		local is_its_own = (serves == "old" or serves == "new") and dane.accepts(listener.pem, listener.about, { record });
		if serves == "unknown" or serves == "old" and not is_its_own then return nil; end
		if is_its_own and proof ~= "old" then proof = serves; end
	end
	return proof;
end

-- Whether anything but the old certificate matches a record
local function is_wanted(spot, record, keep)
	for _, listener in ipairs(spot.listeners) do
		if listener.serves == "another" and dane.matches(listener.pem, { record }) then return true; end
	end
	for _, listener in ipairs(spot.neighbours) do
		if listener.pem and dane.matches(listener.pem, { record }) then return true; end
	end
	for _, list in ipairs { spot.kept, keep } do
		for _, pem in ipairs(list) do
			if dane.matches(pem, { record }) then return true; end
		end
	end
	return false;
end

local function sort_out(spot, old, new, keep)
	for _, record in pairs(spot.published) do
		if not accepted_for_any(spot, new, record) and not dane.matches(new, { record })
		and not is_wanted(spot, record, keep) then
			table.insert(old and dane.matches(old, { record }) and spot.superfluous or spot.unknown, record);
		end
	end
end

-- ---- Since when ----

-- How many of the name servers that answer have each record, by key
local function count_servers(spot)
	local counts = {};
	for _, reply in ipairs(spot.replies) do
		for _, record in ipairs(dane.records_of(reply.answer)) do
			local key = dane.key(record);
			counts[key] = (counts[key] or 0) + 1;
		end
	end
	return counts;
end

-- Takes over what the caller knows of the records of the new key, which may have been published ahead.
local function note_known(spot, new, seen, counts, since)
	for key, record in pairs(spot.published) do
		local is_of_key = record.selector == 1 and (record.usage == 1 or record.usage == 3) and dane.matches(new, { record });
		if is_of_key and counts[key] == #spot.replies then seen[key] = math.min(seen[key] or since, since); end
	end
end

-- Notes since when every name server has each record: one that does not answer begins nothing, and ends nothing.
local function note_seen(spot, about, seen)
	local counts = count_servers(spot);
	for key in pairs(seen) do
		if spot.replies[1] and counts[key] ~= #spot.replies then seen[key] = nil; end
	end
	for key, record in pairs(spot.published) do
		local proof = proof_of(spot, record);
		if counts[key] == #spot.replies and (proof == "old" or proof == "new" and not seen[key]) then
			seen[key] = 0;
		elseif counts[key] == #spot.replies and not spot.unsure then
			seen[key] = math.min(seen[key] or about.now, about.now);
		end
	end
	if about.key_since then note_known(spot, about.new, seen, counts, about.key_since); end
end

-- The earliest time since which a record of these lets a host's peers accept the new chain
local function accepted_since(party, new, list, seen, now)
	local since = now;
	for _, record in ipairs(list) do
		if dane.accepts(new, party.about, { record }) then since = math.min(since, seen[dane.key(record)] or now); end
	end
	return since;
end

-- Since when every combination, for every host, has a record for the new chain
local function complete_since(spot, old, new, seen, now)
	if next(spot.needed) or spot.lacking or not next(spot.published) then return now; end
	local list, since = {}, 0;
	for _, record in pairs(spot.published) do list[#list + 1] = record; end
	for _, group in ipairs(demanded(dane.combinations(list), old)) do
		for _, party in ipairs(spot.users) do
			since = math.max(since, accepted_since(party, new, group.records, seen, now));
		end
	end
	return since;
end

-- What is served and no longer proven, before the switch as after it
local function check_listeners(spot)
	for _, listener in ipairs(spot.listeners) do
		for _, reply in ipairs(listener.serves == "old" and spot.replies or {}) do
			for _, group in ipairs(dane.combinations(dane.records_of(reply.answer))) do
				if group.known and not dane.accepts(listener.pem, listener.about, group.records) then
					table.insert(spot.warnings, ("%s: what is served now does not match the %s record of %s, says %s"):format(
						listener.name, group.name, spot.name, reply.server));
				end
			end
		end
	end
end

-- Fills in a spot of plan.of() whose listeners have `serves` ("new", "old", "another" or "unknown"): ttl; published and
-- needed = records by key; superfluous = records that the old chain alone matches; unknown = records that nothing known
-- matches; since = when all that the new chain needs was there, 0: before anybody looked, now: not yet; lacking = some name
-- server has no record at all, unsure = some does not answer; problems and warnings.
-- about = { old = and new = chains as PEM, old may be nil; keep = array of what is spare, as dane.matches() takes it; now = the
-- time; key_since = since when all name servers have had the records of the new key, by what the caller knows, or nil }
-- seen = { [key of record] = since when all name servers have it }, which is brought up to date
function records.judge(spot, about, seen)
	ask(spot, about.old, about.new);
	sort_out(spot, about.old, about.new, about.keep);
	note_seen(spot, about, seen);
	spot.since = complete_since(spot, about.old, about.new, seen, about.now);
	check_listeners(spot);
end

return records;
