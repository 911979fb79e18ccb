-- Who may come in: limits and bars of a network, before anything is done for it

local st = require "util.stanza";
local timer = require "util.timer";

local xmlns_sasl = "urn:ietf:params:xml:ns:xmpp-sasl";

-- Prosody's own, for which a connection may take to authenticate
local get_period = module.get_option_period or module.get_option_number;
local login_time = get_period(module, "c2s_timeout", 300);

return function (options, networks, visitors, bars, metrics, refusal, costs, ending)

	local function refuse_login(session, reason, text)
		refusal.note(session, reason, text);
		session.send(st.stanza("failure", { xmlns = xmlns_sasl })
			:tag("temporary-auth-failure"):up()
			:text_tag("text", text));
		return true;
	end

	-- Why a network may have no more visitors: a reason and a text; nil if it may
	local function obstacle(network)
		local ends = bars.find(network);
		if ends then
			return "barred", "You are barred from this chat until " .. bars.format(ends);
		elseif not visitors.is_proxy(network) and visitors.count_at(network) >= options.webchat_sessions_per_address then
			return "sessions", ("%d visitors are here from your network already"):format(options.webchat_sessions_per_address);
		end
	end

	local function obstacle_for_another(network)
		local reason, text = obstacle(network);
		if reason then return reason, text; end
		if visitors.count() >= options.webchat_max_visitors then return "full", "The chat is full: try again later"; end
	end

	-- Before limits of a network keep everybody out
	local function notice(session)
		if not visitors.notice(session) then return; end
		module:log("warn", "The networks of visitors are not known: they come from %s, without X-Forwarded-For. Bans bar none of them,"
			.. " and limits of a network do not hold. %s", visitors.network_of(session), networks.ADVICE);
	end

	module:hook("stanza/"..xmlns_sasl..":auth", function (event)
		local session = event.origin;
		if session.type ~= "c2s_unauthed" then return; end
		notice(session);
		local network = visitors.network_of(session);
		local reason, text = obstacle_for_another(network);
		local short = not reason and costs.take(visitors.accounts(session), "logins", 1);
		if short then
			reason, text = "logins", short == visitors.at(network) and "Too many logins from your network: wait a minute"
				or "Too many logins: wait a minute";
		end
		if reason then return refuse_login(session, reason, text); end
	end, 10);

	-- A login that nothing follows counts as no visitor: it does not stay
	module:hook("authentication-success", function (event)
		local session = event.session;
		if login_time == math.huge then return; end
		timer.add_task(login_time, function ()
			if session.type == "c2s_unbound" then ending.now(session, "connection-timeout", "You have not come in"); end
		end);
	end);

	-- Again, for who has logged in many times, or before, or in another way, and binds now
	module:hook("pre-resource-bind", function (event)
		local reason, text = obstacle_for_another(visitors.network_of(event.session));
		if not reason then return; end
		refusal.note(event.session, reason, text);
		event.error = { type = "wait", condition = "resource-constraint", text = text };
		return false;
	end, 10);

	module:hook("resource-bind", function (event)
		visitors.add(event.session);
		notice(event.session);
		metrics.logins:add(1);
	end);

	module:hook("resource-unbind", function (event) visitors.remove(event.session); end);

	return obstacle;
end
