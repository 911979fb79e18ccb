-- Who is here, and from which networks. Nothing of this is stored, or outlives the process.

local cache = require "util.cache";
local jid_bare = require "util.jid".bare;

local RECENT = 1000; -- visitors whose networks are known after they have left
local NETWORKS = 8; -- of a visitor, the latest; a phone that moves between two has two

return function (options, metrics, networks, costs)
	local visitors = {};
	local known = {}; -- network -> { sessions = { [session] = true }, and its account }
	local own = setmetatable({}, { __mode = "k" }); -- session -> { network, place = where it counts, and its account }
	local here = {}; -- bare JID -> the networks that it has come from, the latest last
	local recent = cache.new(RECENT); -- the same, of those who have left
	local proxies = {}; -- names that stand for no network, and are known to
	local limits = costs.limits(options);
	local total = costs.account(limits.total);
	local count = 0;

	function visitors.network_of(session)
		return own[session] and own[session].network or networks.of(session);
	end

	-- Whether a name stands for visitors of many networks. One visitor from the address of a proxy may be the operator.
	function visitors.is_proxy(name)
		return networks.is_shared(name) and (proxies[name] or networks.plain(name) == name);
	end

	-- Somebody comes. Returns true when this shows that the address is a proxy's.
	function visitors.notice(session)
		local name = visitors.network_of(session);
		if not networks.is_shared(name) or visitors.is_proxy(name) then return false; end
		for other in pairs(visitors.sessions_at(name)) do
			if other ~= session and own[other].network == name then proxies[name] = true; end
		end
		return visitors.is_proxy(name);
	end

	-- What is known of a network. Of visitors whose network is not known, only all together are limited.
	function visitors.at(name)
		local is_proxy = visitors.is_proxy(name);
		name = is_proxy and name or networks.plain(name);
		if not known[name] then
			known[name] = costs.account(is_proxy and limits.total or limits.network);
			known[name].sessions = {};
		end
		return known[name];
	end

	-- A session's, its network's and everybody's; without the first for who has not come in yet
	function visitors.accounts(session)
		local accounts = { own[session] and own[session].place or visitors.at(visitors.network_of(session)), total };
		if own[session] then table.insert(accounts, 1, own[session].account); end
		return accounts;
	end

	function visitors.own_account(session)
		return own[session] and own[session].account;
	end

	function visitors.sessions_at(name)
		return visitors.at(name).sessions;
	end

	-- Those of a network that may be barred, in a list: they may leave while it is gone through
	function visitors.sessions_from(name)
		local list = {};
		for session in pairs(visitors.sessions_at(name)) do
			if own[session].network == name then table.insert(list, session); end
		end
		return list;
	end

	function visitors.count_at(name)
		local sessions = 0;
		for _ in pairs(visitors.sessions_at(name)) do sessions = sessions + 1; end
		return sessions;
	end

	function visitors.count() return count; end

	local function remember(jid, name)
		local list = here[jid] or recent:get(jid) or {};
		for i = #list, 1, -1 do
			if list[i] == name then table.remove(list, i); end
		end
		table.insert(list, name);
		if #list > NETWORKS then table.remove(list, 1); end
		here[jid] = list;
	end

	local function enter(session, name, account)
		own[session] = { network = name, place = visitors.at(name), account = account };
		own[session].place.sessions[session] = true;
		remember(jid_bare(session.full_jid), name);
	end

	function visitors.add(session)
		if own[session] then return; end
		enter(session, networks.of(session), costs.account(limits.visitor));
		count = count + 1;
		metrics.visitors:set(count);
	end

	function visitors.remove(session)
		local mine, jid = own[session], jid_bare(session.full_jid);
		if not mine then return; end
		own[session] = nil;
		mine.place.sessions[session] = nil;
		recent:set(jid, here[jid]);
		here[jid] = nil;
		count = count - 1;
		metrics.visitors:set(count);
	end

	-- A visitor has come back, perhaps from another network, and costs no less for it
	function visitors.move(session, name)
		local mine = own[session];
		if not mine or mine.network == name then return; end
		mine.place.sessions[session] = nil;
		enter(session, name, mine.account);
	end

	-- A session takes the place of another of the same visitor, who has another user name: the networks go along, and what
	-- the visitor has cost
	function visitors.inherit(session, former)
		local mine, old = own[session], own[former];
		if not mine or not old then return; end
		local jid = jid_bare(session.full_jid);
		local latest = here[jid];
		here[jid] = nil;
		for _, name in ipairs(here[jid_bare(former.full_jid)]) do remember(jid, name); end
		for _, name in ipairs(latest) do remember(jid, name); end
		mine.account = old.account;
	end

	-- The networks of a bare JID that is here, or was a short time ago; nil for any other
	function visitors.networks(bare_jid)
		return here[bare_jid] or recent:get(bare_jid);
	end

	-- Forgets networks without visitors once their limits would not know of them any more
	function visitors.prune()
		for name, network in pairs(known) do
			if not next(network.sessions) and costs.is_unused(network) then known[name] = nil; end
		end
	end

	-- How many visitors are here whose networks are not known: name -> number
	function visitors.unknown()
		local numbers = {};
		for _, mine in pairs(own) do
			local name = mine.network;
			if networks.is_shared(name) then numbers[name] = (numbers[name] or 0) + 1; end
		end
		return numbers;
	end

	-- For a reload: those who are here are added before
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
				for _, name in ipairs(latest) do remember(jid, name); end
			else
				recent:set(jid, list);
			end
		end
	end

	metrics.visitors:set(0);
	return visitors;
end
