-- How a visitor is told no: an error, a count, and a log line the first time

local st = require "util.stanza";

return function (metrics)
	local refusal = {};

	function refusal.note(session, reason, text)
		metrics.refused:with_labels(reason):add(1);
		local told = session.webchat_refused or {};
		session.webchat_refused = told;
		local log = session.log or module._log;
		log(told[reason] and "debug" or "info", "Refused (%s): %s", reason, text);
		told[reason] = true;
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
