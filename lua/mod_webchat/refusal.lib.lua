-- Refusals: an error, a count, and a log line the first time. A visitor who is refused too often is ended.

local st = require "util.stanza";

return function (metrics, networks, visitors, ending)
	local refusal = {};

	function refusal.count(session, reason, text)
		metrics.refused:with_labels(reason):add(1);
		local told = session.webchat_refused or {};
		session.webchat_refused = told;
		local log = session.log or module._log;
		log(told[reason] and "debug" or "info", "Refused (%s): %s", reason, text);
		told[reason] = true;
	end

	-- examples/fail2ban/ reads this line
	local function report_abuse(network, limit)
		if networks.is_shared(network) then
			module:log("info", "Abuse by a visitor whose network is not known: refused more than %d times a minute", limit);
		else
			module:log("info", "Abuse by %s: refused more than %d times a minute", network, limit);
		end
	end

	-- A visitor's own; that of the network for a connection that has not bound a resource
	local function account_of(session)
		return visitors.own_account(session) or visitors.at(visitors.network_of(session));
	end

	function refusal.note(session, reason, text)
		refusal.count(session, reason, text);
		if session.webchat_ending then return; end
		local refusals = account_of(session).refusals;
		if not refusals or refusals:poll(1) then return; end
		refusals.balance = refusals.max; -- the next line after as many again
		report_abuse(visitors.network_of(session), refusals.max);
		ending.soon(session, "policy-violation", "You have been refused too often");
	end

	-- Answers a stanza of a visitor, and ends its handling
	function refusal.stanza(event, reason, kind, condition, text)
		local origin, stanza = event.origin, event.stanza;
		refusal.note(origin, reason, text);
		if stanza.attr.type ~= "error" and stanza.attr.type ~= "result" then
			origin.send(st.error_reply(stanza, kind, condition, text));
		end
		return true;
	end

	return refusal;
end
