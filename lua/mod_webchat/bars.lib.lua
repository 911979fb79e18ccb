-- Networks that may not enter the webchat or a room, and until when: an admin bars them, or a moderator's ban of a visitor
-- does. A ban of the JID alone would be useless, because every login creates a new user. In memory only: a network address is
-- personal data.

local jid_split = require "util.jid".split;
local now = require "util.time".now;

local EVERYWHERE, ADMIN = "*", "";

local bars = {};

local networks, options, refusals, rooms, visitors; -- see start()
local by_network = {}; -- network -> room or EVERYWHERE -> cause -> when it ends; a cause is the JID that was banned, or ADMIN
local metric = module:metric("gauge", "bars", "", "Bars in force", {}):with_labels();

local function count()
	local n = 0;
	for _, barred in pairs(by_network) do
		for _ in pairs(barred) do n = n + 1; end
	end
	metric:set(n);
end
count();

local function latest(causes)
	local last = 0;
	for _, ends in pairs(causes or {}) do last = math.max(last, ends); end
	return last;
end

local function causes_of(network, room)
	local barred = by_network[network] or {};
	local causes = barred[room] or {};
	by_network[network], barred[room] = barred, causes;
	return causes;
end

-- room: a bare JID, or nil for all rooms. jid: the visitor who was banned, or nil for a bar of an admin. Returns for how many
-- seconds the network is barred now: a longer bar stays in force.
function bars.add(network, room, seconds, jid)
	local causes, cause = causes_of(network, room or EVERYWHERE), jid or ADMIN;
	local time = now();
	local ends = time + seconds;
	causes[cause] = math.max(causes[cause] or 0, ends);
	count();
	local last = latest(causes);
	return last > ends and math.ceil(last - time) or seconds;
end

local function remove(network, room)
	local barred = by_network[network];
	barred[room] = nil;
	if not next(barred) then by_network[network] = nil; end
	count();
end

-- Returns whether the network was barred
function bars.lift(network, room)
	local barred = by_network[network];
	room = room or EVERYWHERE;
	if not barred or not barred[room] then return false; end
	remove(network, room);
	return true;
end

-- Lifts the bars of a ban, and no others. Returns whether there were any.
function bars.lift_ban(jid, room)
	local lifted = false;
	for network, barred in pairs(by_network) do
		local causes = barred[room];
		if causes and causes[jid] then
			causes[jid], lifted = nil, true;
			if not next(causes) then remove(network, room); end
		end
	end
	return lifted;
end

-- When the bar of a network ends, from all rooms or from this one; nil if it is not barred
function bars.find(network, room)
	if networks.is_shared(network) then return nil; end
	local barred = by_network[network] or {};
	local ends = math.max(latest(barred[EVERYWHERE]), latest(barred[room or EVERYWHERE]));
	return ends > now() and ends or nil;
end

function bars.format(ends)
	return os.date("!%Y-%m-%d %H:%M:%S UTC", math.ceil(ends));
end

-- Refuses a stanza of a visitor who is barred from a room. Returns true then.
function bars.refuse(event, room_jid)
	local ends = bars.find(visitors.network_of(event.origin), room_jid);
	return ends and refusals.refuse(event, "barred", "auth", "forbidden", "You are barred from this room until " .. bars.format(ends));
end

-- Kicks the visitors of a network from a room, or disconnects them if room is nil
function bars.evict(network, room, text)
	for _, session in ipairs(visitors.sessions_from(network)) do
		if room then
			rooms.kick(room, session, text);
		else
			refusals.disconnect(session, "policy-violation", text);
		end
	end
end

-- Sorted array of { network =, room = nil for all rooms, ends = }
function bars.list()
	bars.prune();
	local list = {};
	for network, barred in pairs(by_network) do
		for room, causes in pairs(barred) do
			list[#list+1] = { network = network, room = room ~= EVERYWHERE and room or nil, ends = latest(causes) };
		end
	end
	table.sort(list, function (a, b) return a.network .. (a.room or "") < b.network .. (b.room or ""); end);
	return list;
end

local function prune_rooms(barred, time)
	for room, causes in pairs(barred) do
		for cause, ends in pairs(causes) do
			if ends <= time then causes[cause] = nil; end
		end
		if not next(causes) then barred[room] = nil; end
	end
end

function bars.prune()
	local time = now();
	for network, barred in pairs(by_network) do
		prune_rooms(barred, time);
		if not next(barred) then by_network[network] = nil; end
	end
	count();
end

--- Bans

local function bar_banned(network, jid, room, actor, reason)
	if networks.is_shared(network) then
		module:log("warn", "Ban bars no network: addresses are not forwarded. %s. Banned %s from %s, connected from %s",
			networks.ADVICE, jid, room.jid, network);
		return;
	end
	local seconds = bars.add(network, room.jid, options.webchat_bar_time, jid);
	module:log("info", "Barred %s from %s for %d s: %s banned a visitor", network, room.jid, seconds, actor or "the server");
	bars.evict(network, room, reason);
end

-- Bars the networks of a visitor from a room. jid: bare; actor, reason: of the ban, or nil
function bars.add_ban(jid, room, actor, reason)
	local from = visitors.networks(jid);
	if not from then
		module:log("info", "Ban bars no network: the visitor left long ago. Banned %s from %s", jid, room.jid);
		return;
	end
	for _, network in ipairs(from) do bar_banned(network, jid, room, actor, reason); end
end

local function affiliation_set(event)
	local node, host = jid_split(event.jid);
	if host ~= module.host or not node then return; end
	if event.affiliation == "outcast" then
		bars.add_ban(event.jid, event.room, event.actor, event.reason);
	elseif event.previous_affiliation == "outcast" and bars.lift_ban(event.jid, event.room.jid) then
		module:log("info", "Lifted the bar of a ban from %s", event.room.jid);
	end
end

--- For a reload

function bars.save() return by_network; end

-- With another webchat_ipv6_prefix a network has another name
function bars.restore(saved)
	for name, barred in pairs(saved) do
		local network = networks.parse(name:match("^[^/]*")) or name;
		for room, causes in pairs(barred) do
			local merged = causes_of(network, room);
			for cause, ends in pairs(causes) do merged[cause] = math.max(merged[cause] or 0, ends); end
		end
	end
	bars.prune();
end

function bars.start(webchat)
	networks, options, refusals, rooms, visitors = webchat.networks, webchat.options, webchat.refusals, webchat.rooms, webchat.visitors;
	rooms.hook("muc-set-affiliation", affiliation_set);
end

return bars;
