-- The state of a rollover: for each name with TLSA records, what every name server has, what the new chain needs, what
-- it makes superfluous, and what the listeners serve.

local certs = module:require "native"("certs");
local dane = module:require "dane";
local lookup = module:require "lookup";
local places = module:require "places";
local served = module:require "served";

local plan = {};

local function problem(spot, format, ...)
	table.insert(spot.problems, format:format(...));
end

-- ---- What is published ----

-- Adds `needed` (records that a name server lacks) for one name server's records.
local function judge_reply(spot, reply, new)
	local records = dane.records_of(reply.answer);
	for _, group in ipairs(dane.combinations(records)) do
		if group.known and not dane.accepts(new, spot.about, group.records) then
			local record = { name = spot.name, usage = group.usage, selector = group.selector, match = group.match };
			local _, text;
			record.data, _, text = certs.tlsa(new, group.usage, group.selector, group.match);
			local accepted, verdict = false, {};
			if record.data then accepted, verdict = dane.accepts(new, spot.about, { record }); end
			if not accepted then
				problem(spot, "%s: no %s record can match the new chain: %s", spot.name, group.name,
					text or dane.errors(verdict) or "it is refused");
			else
				spot.needed[dane.key(record)] = record;
			end
		end
	end
	for _, record in ipairs(records) do spot.published[dane.key(record)] = record; end
end

local function ask(spot, new)
	local replies = lookup.ask_all(spot.name, "TLSA");
	for _, reply in ipairs(replies) do
		if not reply.answer or lookup.failure(reply.answer) or not reply.answer.authoritative then
			spot.unsure = true;
			problem(spot, "%s: %s (%s) does not tell what it has", spot.name, reply.server, reply.address);
		else
			spot.ttl = math.max(spot.ttl, reply.answer.ttl or 0);
			judge_reply(spot, reply, new);
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

-- ---- What is served ----

-- "new", "old", or nil, text
local function serves(pem, new_leaf)
	local leaf, _, text = certs.names(pem);
	if not leaf then return nil, text; end
	return leaf.sha256 == new_leaf.sha256 and "new" or "old";
end

local function add_listeners(spot, host, place, target, new_leaf, get)
	for _, address in ipairs(target.addresses) do
		local reply = get(host, place, target, address);
		local what, text = nil, reply.err;
		if reply.pem then what, text = serves(reply.pem, new_leaf); end
		spot.listeners[#spot.listeners + 1] = {
			name = served.name(place, target, address), serves = what or "unknown", text = text, pem = reply.pem,
		};
	end
end

-- ---- Together ----

-- Whether all that is served now proves that a record has been needed all along. Otherwise it is an addition, which
-- caches have to learn. Where nothing is known to be served, nothing is proven.
local function is_old(spot, record)
	for _, listener in ipairs(spot.listeners) do
		if listener.serves == "unknown"
		or listener.serves == "old" and not dane.accepts(listener.pem, spot.about, { record }) then
			return false;
		end
	end
	return spot.listeners[1] ~= nil;
end

local function sort_out(spot, new)
	for _, record in pairs(spot.published) do
		if not dane.accepts(new, spot.about, { record }) then
			table.insert(spot.superfluous, record);
		elseif not is_old(spot, record) then
			spot.added = true;
		end
	end
	table.sort(spot.superfluous, function (a, b) return dane.key(a) < dane.key(b); end);
end

-- What is served and no longer proven, before the switch as after it
local function check_listeners(spot)
	for _, listener in ipairs(spot.listeners) do
		for _, reply in ipairs(listener.serves == "old" and spot.replies or {}) do
			for _, group in ipairs(dane.combinations(dane.records_of(reply.answer))) do
				if group.known and not dane.accepts(listener.pem, spot.about, group.records) then
					table.insert(spot.warnings, ("%s: what is served now does not match the %s record of %s, says %s"):format(
						listener.name, group.name, spot.name, reply.server));
				end
			end
		end
	end
end

-- What keeps a target's listeners from being found
local function add_address_problems(problems, target)
	for _, kind in ipairs { "AAAA", "A" } do
		local answer = target.answers[kind];
		if not lookup.usable(answer) then
			problems[#problems + 1] = ("%s %s: %s, %s"):format(target.name, kind, answer.state, answer.reason);
		end
	end
	if not target.addresses[1] then problems[#problems + 1] = target.name.." has no address that is known"; end
end

local function new_spot(host, place, target)
	return {
		name = target.tlsa.canonname or target.tlsa_name, about = { service = place.service, references = { host, target.name } },
		secure = places.is_dane(place, target), ttl = 0, problems = {}, warnings = {}, replies = {}, published = {}, needed = {},
		superfluous = {}, listeners = {}, added = false,
	};
end

-- Returns { spots }, problems, { listeners = of targets without TLSA records }. A spot is a name with TLSA records:
-- { name =, about =, secure =, ttl =, problems =, warnings =, published = and needed = by key, superfluous =, added =,
-- lacking = some name server has no record at all, unsure = some does not answer,
-- listeners = { { name =, serves = "new", "old" or "unknown", text = }, ... } }
function plan.of(host, new, new_leaf)
	local list, spots, problems = places.of_host(host), {}, {};
	local get = served.new { { host = host.name, places = list } };
	local bare = { listeners = {} }; -- listeners without TLSA records
	for _, place in ipairs(list) do
		if not lookup.usable(place.srv) then
			problems[#problems + 1] = ("%s: %s, %s"):format(place.name, place.srv.state, place.srv.reason);
		end
		for _, target in ipairs(place.targets) do
			add_address_problems(problems, target);
			if not lookup.usable(target.tlsa) then
				problems[#problems + 1] = ("%s: %s, %s"):format(target.tlsa_name, target.tlsa.state, target.tlsa.reason);
			elseif not target.tlsa.records[1] then
				add_listeners(bare, host.name, place, target, new_leaf, get);
			else
				local spot = new_spot(host.name, place, target);
				ask(spot, new);
				add_listeners(spot, host.name, place, target, new_leaf, get);
				sort_out(spot, new);
				check_listeners(spot);
				spots[#spots + 1] = spot;
			end
		end
	end
	return spots, problems, bare;
end

return plan;
