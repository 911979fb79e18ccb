-- The present visitors and their networks. In memory only: a network address is personal data.

local cache = require "util.cache";
local jid_bare = require "util.jid".bare;

local RECENT = 1000; -- visitors who have left and whose networks are remembered
local NETWORKS = 8; -- remembered for a visitor, the latest; a phone that roams between two has two

local visitors = {};

local networks, budgets, options; -- see start()
local total; -- the budget of all visitors together
local known = {}; -- network -> its budget, with sessions = { [session] = true }
local own = setmetatable({}, { __mode = "k" }); -- session -> { network = name, place = entry in known, budget = }
local here = {}; -- bare JID -> array of the networks that the visitor came from, the latest last
local recent = cache.new(RECENT); -- the same, of visitors who have left
local proxies = {}; -- shared names of which a second visitor has come
local count = 0;
local metric = module:metric("gauge", "visitors", "", "Visitors who are connected or can resume", {}):with_labels();
metric:set(0);

--- Sessions

-- Array of the sessions of this host: a caller may end them while it iterates
function visitors.sessions()
	local list = {};
	for _, user in pairs(prosody.hosts[module.host].sessions) do
		for _, session in pairs(user.sessions) do list[#list+1] = session; end
	end
	return list;
end

-- The session of a visitor that matches(session), or nil
function visitors.find_session(matches)
	for _, session in ipairs(visitors.sessions()) do
		if matches(session) then return session; end
	end
end

-- Whether a stanza comes from a visitor. origin may be nil or another host.
function visitors.is_visitor(origin)
	return origin ~= nil and origin.host == module.host and origin.type == "c2s";
end

--- Networks

function visitors.network_of(session)
	return own[session] and own[session].network or networks.of(session);
end

-- Whether a name stands for visitors of several networks. A single visitor from a proxy's address may be the operator.
function visitors.is_proxy(name)
	return networks.is_shared(name) and (proxies[name] or networks.plain(name) == name);
end

-- The budget of a network, with the sessions that count there. Visitors whose network is unknown have the limits of all.
function visitors.at(name)
	local is_proxy = visitors.is_proxy(name);
	name = is_proxy and name or networks.plain(name);
	if not known[name] then
		known[name] = is_proxy and budgets.new(budgets.limits(options).total, "total") or budgets.new(budgets.limits(options).network, "network");
		known[name].sessions = {};
	end
	return known[name];
end

-- Notes the network of a new session. Returns true if this session reveals that its address is a proxy's.
function visitors.detect_proxy(session)
	local name = visitors.network_of(session);
	if not networks.is_shared(name) or visitors.is_proxy(name) then return false; end
	for other in pairs(visitors.at(name).sessions) do
		if other ~= session and own[other].network == name then proxies[name] = true; end
	end
	return visitors.is_proxy(name);
end

-- Array of a network's sessions, without those that only count there
function visitors.sessions_from(name)
	local list = {};
	for session in pairs(visitors.at(name).sessions) do
		if own[session].network == name then table.insert(list, session); end
	end
	return list;
end

function visitors.count_at(name)
	local sessions = 0;
	for _ in pairs(visitors.at(name).sessions) do sessions = sessions + 1; end
	return sessions;
end

function visitors.count() return count; end

-- Networks of a bare JID that is here or was recently, the latest last; nil for any other
function visitors.networks(bare_jid)
	return here[bare_jid] or recent:get(bare_jid);
end

-- Number of visitors for each shared name
function visitors.unknown()
	local numbers = {};
	for _, mine in pairs(own) do
		local name = mine.network;
		if networks.is_shared(name) then numbers[name] = (numbers[name] or 0) + 1; end
	end
	return numbers;
end

--- Budgets

-- Budgets of the session, its network and all visitors; without the first before a resource is bound
function visitors.budgets(session)
	local list = { own[session] and own[session].place or visitors.at(visitors.network_of(session)), total };
	if own[session] then table.insert(list, 1, own[session].budget); end
	return list;
end

function visitors.own_budget(session)
	return own[session] and own[session].budget;
end

--- Coming and going

local function remember(jid, name)
	local list = here[jid] or recent:get(jid) or {};
	for i = #list, 1, -1 do
		if list[i] == name then table.remove(list, i); end
	end
	table.insert(list, name);
	if #list > NETWORKS then table.remove(list, 1); end
	here[jid] = list;
end

local function remember_all(jid, names)
	for _, name in ipairs(names) do remember(jid, name); end
end

local function place(session, name, budget)
	own[session] = { network = name, place = visitors.at(name), budget = budget };
	own[session].place.sessions[session] = true;
	remember(jid_bare(session.full_jid), name);
end

function visitors.add(session)
	if own[session] then return; end
	place(session, networks.of(session), budgets.new(budgets.limits(options).visitor, "visitor"));
	count = count + 1;
	metric:set(count);
end

function visitors.remove(session)
	local mine, jid = own[session], jid_bare(session.full_jid);
	if not mine then return; end
	own[session] = nil;
	mine.place.sessions[session] = nil;
	recent:set(jid, here[jid]);
	here[jid] = nil;
	count = count - 1;
	metric:set(count);
end

-- A session was resumed, perhaps from another network. It keeps its budget.
function visitors.move(session, name)
	local mine = own[session];
	if not mine or mine.network == name then return; end
	mine.place.sessions[session] = nil;
	place(session, name, mine.budget);
end

-- A session replaces another one of the same visitor, who has a new user name: it inherits budget and networks
function visitors.inherit(session, former)
	local mine, old = own[session], own[former];
	if not mine or not old then return; end
	local jid = jid_bare(session.full_jid);
	local latest = here[jid];
	here[jid] = nil;
	remember_all(jid, here[jid_bare(former.full_jid)]);
	remember_all(jid, latest);
	mine.budget = old.budget;
end

-- Forgets networks without visitors whose budgets are as good as new
function visitors.prune()
	for name, network in pairs(known) do
		if not next(network.sessions) and budgets.is_unused(network) then known[name] = nil; end
	end
end

-- For a reload. Visitors who are here are added before restore().
function visitors.save()
	local saved = {};
	for jid, list in recent:items() do saved[jid] = list; end
	for jid, list in pairs(here) do saved[jid] = list; end
	return saved;
end

function visitors.restore(saved)
	for jid, list in pairs(saved) do
		local latest = here[jid];
		if latest then
			here[jid] = list;
			remember_all(jid, latest);
		else
			recent:set(jid, list);
		end
	end
end

function visitors.start(webchat)
	networks, budgets, options = webchat.networks, webchat.budgets, webchat.options;
	total = budgets.new(budgets.limits(options).total, "total");
end

return visitors;
