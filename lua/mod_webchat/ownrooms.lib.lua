-- A room for each visitor, who is alone in it with the agents: those that the default room has as owners, admins, members.
-- The page asks the host for it, and after a reload for the same one again, with the key that it was given:
-- <iq type='set' to='HOST'><room xmlns='https://prosody.im/protocol/webchat' [jid='ROOM' key='KEY']/></iq>

local jid = require "util.jid";
local new_secret = require "util.id".long;
local hex = require "util.hex".to or require "util.hex".encode;
local random = require "util.random";
local st = require "util.stanza";

local XMLNS = "https://prosody.im/protocol/webchat";
local MUC_USER = "http://jabber.org/protocol/muc#user";
local BEFORE_MUC_SAVES = -299; -- priority: at -300 it writes the rooms that there are to the disk
local JUST_BEFORE_PROSODY = -0.5; -- priority: it ends rooms that are empty at -1

return function (options, rooms, visitors, bars, bans, refusal)
	local own = {}; -- room JID -> { key =, visitor = bare JID, gone = who has left, and has not come back, is_told = }
	local room_of = {}; -- the visitor's bare JID -> room JID

	local function default_room()
		return options.webchat_default_room and rooms.find(options.webchat_default_room);
	end

	--- Agents

	local function agents()
		local list, room = {}, default_room();
		for address, affiliation in room:each_affiliation() do
			if affiliation ~= "outcast" and jid.host(address) ~= module.host then list[address] = true; end
		end
		for address in module:context(jid.host(room.jid)):get_option_inherited_set("admins", {}) do
			if room:get_affiliation(address) == "owner" then list[address] = true; end
		end
		return list;
	end

	-- Mediated (XEP-0045, section 7.8.2) and direct (XEP-0249), for clients know the one or the other
	local function invite(room, agent, nick)
		local reason = nick .. " asks for help";
		room:route_stanza(st.message({ from = room.jid, to = agent })
			:tag("x", { xmlns = MUC_USER }):tag("invite", { from = options.webchat_default_room }):text_tag("reason", reason):up():up()
			:tag("x", { xmlns = "jabber:x:conference", jid = room.jid, reason = reason }):up());
	end

	local function tell(room, nick)
		local count = 0;
		for agent in pairs(agents()) do
			invite(room, agent, nick);
			count = count + 1;
		end
		if count > 0 then return; end
		module:log("warn", "Nobody answers in %s: %s has no owner, admin or member. Run prosodyctl shell webchat agent %s %s JID",
			room.jid, options.webchat_default_room, module.host, options.webchat_default_room);
	end

	--- Rooms

	local function forget(room_jid)
		local state = own[room_jid];
		if not state then return; end
		own[room_jid], room_of[state.visitor] = nil, nil;
	end

	local function destroy(room_jid)
		forget(room_jid);
		local room = rooms.find(room_jid);
		if room then room:destroy(nil, "The visitor has gone"); end
	end

	-- For who has left, or has not even come
	local function await(room_jid)
		local state, gone = own[room_jid], {};
		state.gone = gone;
		module:add_timer(options.webchat_own_room_time, function ()
			if own[room_jid] == state and state.gone == gone then destroy(room_jid); end
		end);
	end

	local function create(visitor)
		local host = jid.host(options.webchat_default_room);
		local room_jid = jid.join("visitor-" .. hex(random.bytes(16)), host);
		local room = prosody.hosts[host].modules.muc.create_room(room_jid);
		if not room then return nil; end -- the host has as many as it may
		room:set_name(options.webchat_title);
		room:set_public(false);
		room:set_persistent(false);
		room:set_members_only(true);
		room:set_moderated(false);
		for agent in pairs(agents()) do room:set_affiliation(true, agent, "owner"); end
		room:set_affiliation(true, visitor, "member");
		own[room_jid] = { key = new_secret(), visitor = visitor };
		room_of[visitor] = room_jid;
		await(room_jid);
		return room_jid;
	end

	local function hand_over(room_jid, visitor)
		local state, room = own[room_jid], rooms.find(room_jid);
		if not room or state.visitor == visitor then return; end
		room:set_affiliation(true, state.visitor, "none");
		room:set_affiliation(true, visitor, "member");
		room_of[state.visitor], room_of[visitor] = nil, room_jid;
		state.visitor = visitor;
	end

	local function find(visitor, request)
		local state = own[request.attr.jid];
		if state and state.key == request.attr.key then
			hand_over(request.attr.jid, visitor);
			return request.attr.jid;
		end
		return room_of[visitor];
	end

	module:hook("iq-set/host/" .. XMLNS .. ":room", function (event)
		local origin, stanza = event.origin, event.stanza;
		if origin.host ~= module.host or not default_room() then
			origin.send(st.error_reply(stanza, "cancel", "item-not-found", "There is no room for visitors"));
			return true;
		end
		local ends = bars.find(visitors.network_of(origin), options.webchat_default_room);
		if ends then
			return refusal.stanza(event, "barred", "auth", "forbidden", "You are barred from this room until " .. bars.format(ends));
		end
		local visitor = jid.bare(origin.full_jid);
		local room_jid = find(visitor, stanza.tags[1]) or create(visitor);
		if not room_jid then
			return refusal.stanza(event, "rooms", "wait", "resource-constraint", "There are too many rooms at the moment: try again later");
		end
		origin.send(st.reply(stanza):tag("room", { xmlns = XMLNS, jid = room_jid, key = own[room_jid].key }));
		return true;
	end);

	--- What happens in them

	local function joined(event)
		local room, state = event.room, own[event.room.jid];
		if not state or event.occupant.bare_jid ~= state.visitor then return; end
		state.gone = nil;
		if state.is_told then return; end
		state.is_told = true;
		tell(room, jid.resource(event.nick));
	end

	local function left(event)
		local state = own[event.room.jid];
		if not state or event.room.destroying then return; end
		if event.occupant.bare_jid == state.visitor then await(event.room.jid); end
		return true; -- it stays for the time being, though it is empty
	end

	-- A ban from a visitor's own room is one from the desk: there would be another room
	local function banned(event)
		local desk = default_room();
		if not own[event.room.jid] or not desk or jid.host(event.jid) ~= module.host then return; end
		if event.affiliation == "outcast" then
			bans.add(event.jid, desk, event.actor, event.reason);
		elseif event.previous_affiliation == "outcast" then
			bars.lift_ban(event.jid, desk.jid);
		end
	end

	-- The agents' own room is theirs alone
	local function enters_default_room(event)
		local origin = event.origin;
		if event.room.jid ~= options.webchat_default_room or not origin or origin.host ~= module.host then return; end
		return refusal.stanza(event, "not-allowed", "auth", "registration-required", "Visitors have a room of their own");
	end

	rooms.on_host(function (host)
		local context = module:context(host);
		context:hook("muc-occupant-joined", joined);
		context:hook("muc-occupant-left", left, JUST_BEFORE_PROSODY);
		context:hook("muc-room-destroyed", function (event) forget(event.room.jid); end);
		context:hook("muc-set-affiliation", banned);
		context:hook("muc-occupant-pre-join", enters_default_room, 1000);
	end);

	local function destroy_all()
		for room_jid in pairs(own) do destroy(room_jid); end
	end

	module:hook_global("server-stopping", destroy_all, BEFORE_MUC_SAVES);

	return {
		save = function () return own; end;
		restore = function (saved)
			own = saved;
			for room_jid, state in pairs(own) do
				room_of[state.visitor] = room_jid;
				if state.gone then await(room_jid); end
			end
		end;
		destroy_all = destroy_all;
	};
end
