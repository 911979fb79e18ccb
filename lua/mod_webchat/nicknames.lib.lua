-- A visitor's nickname, on entering and on changing it: nobody is taken for one of those present, nor for the room's owners

local jid = require "util.jid";

local BEFORE_OTHERS = 100; -- priority: Prosody's own checks of names do not say what is wrong
local XMLNS_NICK = "http://jabber.org/protocol/nick"; -- XEP-0172

local names = module:require "names";

return function (rooms, refusal)

	-- Whether somebody else in the room has a name like this
	local function is_taken(room, name, own_jid)
		for nick, occupant in room:each_occupant() do
			if occupant.bare_jid ~= own_jid and names.are_alike(jid.resource(nick), name) then return true; end
		end
		return false;
	end

	local function is_name_of(address, name)
		local node = jid.node(address);
		return node ~= nil and names.are_alike(jid.unescape(node), name);
	end

	-- Owners and admins of the room, here or not, and all for whom a nickname is reserved
	local function is_reserved(room, name)
		for address, affiliation, data in room:each_affiliation() do
			local nick = data and data.reserved_nickname;
			if nick and names.are_alike(nick, name) then return true; end
			if (affiliation == "owner" or affiliation == "admin") and is_name_of(address, name) then return true; end
		end
		for address in module:context(jid.host(room.jid)):get_option_inherited_set("admins", {}) do
			if is_name_of(address, name) then return true; end
		end
		return false;
	end

	-- Returns true if this has been refused
	local function check(event, name)
		if is_taken(event.room, name, jid.bare(event.stanza.attr.from)) then
			return refusal.stanza(event, "name", "cancel", "conflict",
				"Somebody in the room has this name or one that looks like it: choose another one");
		elseif is_reserved(event.room, name) then
			return refusal.stanza(event, "name", "cancel", "conflict", "This name is kept for somebody else: choose another one");
		end
		local flaw = names.flaw(name);
		if flaw then return refusal.stanza(event, "name", "cancel", "not-acceptable", flaw); end
	end

	local function is_visitor(event)
		return event.origin and event.origin.host == module.host and event.origin.type == "c2s";
	end

	rooms.on_host(function (host)
		local context = module:context(host);
		context:hook("muc-occupant-pre-join", function (event)
			if is_visitor(event) then return check(event, jid.resource(event.occupant.nick)); end
		end, BEFORE_OTHERS);
		context:hook("muc-occupant-pre-change", function (event)
			local nick = event.dest_occupant.nick;
			if is_visitor(event) and nick ~= event.orig_occupant.nick then return check(event, jid.resource(nick)); end
		end, BEFORE_OTHERS);
	end);

	-- What a client shows as a name beside the nickname
	local function without_nick(event)
		event.stanza:remove_children("nick", XMLNS_NICK);
	end
	for _, kind in ipairs { "message", "presence" } do
		for _, to in ipairs { "bare", "full" } do module:hook(("pre-%s/%s"):format(kind, to), without_nick, BEFORE_OTHERS); end
	end

	if not names.has_icu then
		module:log("warn", "Prosody was built without ICU: names of visitors are compared without regard to case, and look-alikes not found");
	end
end
