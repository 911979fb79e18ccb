-- Stream management on a host without accounts: a short hibernation, and a way to resume

local watchdog = require "util.watchdog";

return function (options, rooms, visitors, bars, refusal, obstacle)

	-- The client's "max" is what it wishes; a mod_smacks that heeds it tells the client of this time
	local function enable(_, stanza)
		local max = tonumber((stanza.attr.max or ""):match("^%d+$"));
		if not max or max < 1 or max > options.webchat_hibernation_time then
			stanza.attr.max = ("%d"):format(options.webchat_hibernation_time);
		end
	end

	-- And for one that does not
	module:hook("smacks-hibernation-start", function (event)
		local session = event.origin;
		local dog = session.hibernating_watchdog;
		if not dog or dog.timeout <= options.webchat_hibernation_time then return; end
		dog:cancel();
		session.hibernating_watchdog = watchdog.new(options.webchat_hibernation_time, dog.callback);
	end);

	local function find(token)
		for _, user in pairs(prosody.hosts[module.host].sessions) do
			for _, session in pairs(user.sessions) do
				if session.resumption_token == token then return session; end
			end
		end
	end

	local arriving = setmetatable({}, { __mode = "k" }); -- session -> where somebody resumes it from

	-- Every anonymous login makes another user, to whom no session belongs. The id of a session is as hard to guess as
	-- a password, and told to nobody but its client: who knows it is that user, for this one try.
	local function resume(session, stanza)
		if session.type ~= "c2s_unbound" or not stanza.attr.previd then return; end
		local original = find(stanza.attr.previd);
		if not original then return refusal.note(session, "resumption", "There is no session of that id"); end
		if arriving[original] then return; end -- from here, below
		local network = visitors.network_of(session);
		if network ~= visitors.network_of(original) then
			local reason, text = obstacle(network);
			if reason then return refusal.note(session, reason, text); end -- and has no session of that id, then
		end
		local username = session.username;
		session.username = original.username;
		arriving[original] = { network = network, came = session.webchat_came };
		local is_dealt_with = module:fire_event(("stanza/%s:resume"):format(stanza.attr.xmlns), { origin = session, stanza = stanza });
		arriving[original] = nil;
		if session.type == "c2s_unbound" then -- it has failed
			session.username = username;
			refusal.note(session, "resumption", "Mod_smacks has not resumed the session");
		end
		return is_dealt_with;
	end

	local function leave_barred_rooms(session)
		for room in rooms.each_live() do
			local occupant = room:get_occupant_by_real_jid(session.full_jid);
			if occupant and bars.find(visitors.network_of(session), room.jid) then
				room:set_role(true, occupant.nick, nil, "You are barred");
			end
		end
	end

	-- Only now it has succeeded
	module:hook("smacks-hibernation-end", function (event)
		local session = event.resumed;
		local from = arriving[session];
		if from then
			session.webchat_came = from.came;
			visitors.move(session, from.network);
		end
		leave_barred_rooms(event.resumed);
	end);

	for _, xmlns_sm in ipairs { "urn:xmpp:sm:2", "urn:xmpp:sm:3" } do
		module:hook_tag(xmlns_sm, "enable", enable, 1000);
		module:hook_tag(xmlns_sm, "resume", resume, 1000);
	end
end
