-- Who may come in: limits and bars of a network, before anything is done for it

local st = require "util.stanza";

local xmlns_sasl = "urn:ietf:params:xml:ns:xmpp-sasl";

return function (options, visitors, bars, metrics, refusal)

	local function refuse_login(session, reason, text)
		refusal.note(session, reason, text);
		session.send(st.stanza("failure", { xmlns = xmlns_sasl })
			:tag("temporary-auth-failure"):up()
			:text_tag("text", text));
		return true;
	end

	-- Why a network may not come in: a reason and a text; nil if it may
	local function obstacle(network)
		local ends = bars.find(network);
		if ends then
			return "barred", "You are barred from this chat until " .. bars.format(ends);
		elseif visitors.count_at(network) >= options.sessions then
			return "sessions", ("%d visitors are here from your network already"):format(options.sessions);
		end
	end

	module:hook("stanza/"..xmlns_sasl..":auth", function (event)
		local session = event.origin;
		if session.type ~= "c2s_unauthed" then return; end
		local network = visitors.network_of(session);
		local reason, text = obstacle(network);
		if not reason and not visitors.at(network).logins:poll(1) then
			reason, text = "logins", "Too many logins from your network: wait a minute";
		end
		if reason then return refuse_login(session, reason, text); end
	end, 10);

	-- Again, for who has logged in many times, or before, or in another way, and binds now
	module:hook("pre-resource-bind", function (event)
		local reason, text = obstacle(visitors.network_of(event.session));
		if not reason then return; end
		refusal.note(event.session, reason, text);
		event.error = { type = "wait", condition = "resource-constraint", text = text };
		return false;
	end, 10);

	module:hook("resource-bind", function (event)
		visitors.add(event.session);
		metrics.logins:add(1);
	end);

	module:hook("resource-unbind", function (event) visitors.remove(event.session); end);

	return obstacle;
end
