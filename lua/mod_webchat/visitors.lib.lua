-- Who is here, by network address. Nothing of this is stored, or outlives the process.

local cache = require "util.cache";
local new_ip = require "util.ip".new_ip;
local jid_bare = require "util.jid".bare;
local throttle = require "util.throttle";

local RECENT = 1000; -- visitors whose address is known after they have left

local V4MAPPED = ("\0"):rep(10) .. "\255\255"; -- RFC 4291, section 2.5.5.2

-- What limits and bars go by: an IPv4 address, or the /64 that a network gives to one subscriber.
-- Returns nil for what is no address.
local function network(address)
	address = address and address:gsub("/64$", "");
	local parsed = address and new_ip(address);
	local bytes = parsed and parsed.packed;
	if not bytes then return nil; end
	if bytes:sub(1, 12) == V4MAPPED then bytes = bytes:sub(13); end
	if #bytes == 4 then return ("%d.%d.%d.%d"):format(bytes:byte(1, 4)); end
	return ("%x:%x:%x:%x::/64"):format((">I2I2I2I2"):unpack(bytes));
end

return function (options, metrics)
	local visitors = { network = network };
	local networks = {}; -- network -> { sessions = { [session] = true }, logins = throttle, messages = throttle }
	local placed = setmetatable({}, { __mode = "k" }); -- session -> the network where it counts
	local here = {}; -- bare JID -> network
	local recent = cache.new(RECENT); -- the same, of those who have left

	function visitors.network_of(session)
		return placed[session] or network(session.ip) or "unknown";
	end

	-- What is known of a network
	function visitors.at(name)
		local known = networks[name];
		if not known then
			known = {
				sessions = {};
				logins = throttle.create(options.logins_per_minute, 60);
				messages = throttle.create(options.message_burst, 60 * options.message_burst / options.messages_per_minute);
			};
			networks[name] = known;
		end
		return known;
	end

	function visitors.sessions_at(name)
		return networks[name] and networks[name].sessions or {};
	end

	function visitors.add(session)
		local name = visitors.network_of(session);
		if placed[session] then return; end
		placed[session] = name;
		visitors.at(name).sessions[session] = true;
		here[jid_bare(session.full_jid)] = name;
		metrics.visitors:add(1);
	end

	function visitors.remove(session)
		local name, jid = placed[session], jid_bare(session.full_jid);
		if not name then return; end
		placed[session] = nil;
		networks[name].sessions[session] = nil;
		here[jid] = nil;
		recent:set(jid, name);
		metrics.visitors:add(-1);
	end

	-- A visitor has come back, perhaps from another network
	function visitors.move(session)
		visitors.remove(session);
		visitors.add(session);
	end

	-- The network of a bare JID that is here, or was a short time ago
	function visitors.last_network(bare_jid)
		return here[bare_jid] or recent:get(bare_jid);
	end

	-- Forgets networks without visitors once their limits would not know of them any more
	function visitors.prune()
		for name, known in pairs(networks) do
			if not next(known.sessions) and known.logins:peek(known.logins.max) and known.messages:peek(known.messages.max) then
				networks[name] = nil;
			end
		end
	end

	function visitors.count_at(name)
		local count = 0;
		for _ in pairs(visitors.sessions_at(name)) do count = count + 1; end
		return count;
	end

	metrics.visitors:set(0);
	return visitors;
end
