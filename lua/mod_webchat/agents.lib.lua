-- Who answers in a room: muc:create() makes one without an owner

local jid = require "util.jid";
local usermanager = require "core.usermanager";

local AFFILIATIONS = { owner = true, admin = true, member = true, none = true };

return function (rooms)

	-- The room; or nil, why not
	local function find(address)
		local prepped = jid.prep(address);
		local name, host, resource = jid.split(prepped);
		if not name or resource then return nil, "Which room? Write it as room@host"; end
		if not rooms.is_host(host) then return nil, "Visitors may not enter a room with the address " .. prepped; end
		local room = rooms.find(prepped);
		if room then return room; end
		return nil, ("There is no room %s: run prosodyctl shell 'muc:create(\"%s\", { persistent = true })'"):format(prepped, prepped);
	end

	-- The bare JID of a user; or nil, why not
	local function user(address)
		local node, host = jid.split(jid.prep(address));
		if not node then return nil, "Whose account? Write it as user@host"; end
		if host == module.host then return nil, "Visitors have no account: the agent has to have one"; end
		return jid.join(node, host);
	end

	local function notes(room, address)
		local node, host = jid.split(address);
		local text = "";
		if prosody.hosts[host] and not usermanager.user_exists(node, host) then
			text = text .. ". There is no such account on this server yet";
		end
		if not room:get_persistent() then text = text .. ". The room is not persistent, and is forgotten when all have left"; end
		return text;
	end

	-- Returns true and a text, or nil and why not
	return function (room_jid, user_jid, affiliation)
		affiliation = affiliation == nil and "owner" or affiliation;
		if not AFFILIATIONS[affiliation] then return nil, "The affiliation is one of owner, admin, member, none"; end
		local room, err = find(room_jid);
		if not room then return nil, err; end
		local address, why = user(user_jid);
		if not address then return nil, why; end
		local ok, _, condition, text = room:set_affiliation(true, address, affiliation);
		if not ok then return nil, text or condition or "The room refuses it"; end
		room:save(true); -- 0.12 would write a room that muc:create() has made when the server stops
		local done = ("%s is %s of %s"):format(address, affiliation == "none" and "no agent" or affiliation, room.jid);
		module:log("info", "%s: by an admin", done);
		return true, done .. notes(room, address);
	end
end
