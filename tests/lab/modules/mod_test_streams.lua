-- Opens streams to other servers, and reports the results of streams of both directions.
module:set_global();

local json = require "util.json";
local st = require "util.stanza";

local outcomes = {}; -- by direction and domains: the result of the latest stream

local function of(session)
	local here, there = session.to_host, session.from_host;
	if session.direction == "outgoing" then here, there = there, here; end
	return ("%s %s %s"):format(session.direction, here, there);
end

local function established(event)
	local session = event.session;
	outcomes[of(session)] = {
		established = true, id = session.id, secure = session.secure or false,
		chain = session.cert_chain_status, identity = session.cert_identity_status,
	};
end
module:hook("s2sout-established", established);
module:hook("s2sin-established", established);

module:hook("s2s-destroyed", function (event)
	outcomes[of(event.session)] = { established = false, reason = event.reason and tostring(event.reason) or nil };
end, 1);

-- Opens a stream, with a stanza that is neither answered nor bounced, because an answer would open
-- another stream.
function module.environment.open(from, to)
	outcomes[("outgoing %s %s"):format(from, to)] = nil;
	local stanza = st.iq({ type = "result", id = "opener", from = from, to = to });
	module:context(from):fire_event("route/remote", { from_host = from, to_host = to, stanza = stanza });
end

-- The result of the stream, as JSON; "null" while another attempt is pending.
function module.environment.outcome(direction, here, there)
	local latest = outcomes[("%s %s %s"):format(direction, here, there)];
	local retrying = direction == "outgoing" and prosody.hosts[here].s2sout[there];
	if not latest or (retrying and not latest.established) then return "null"; end
	return json.encode(latest);
end

local function concerns(session, domain)
	return session.from_host == domain or session.to_host == domain;
end

-- Closes every stream from and to this domain, and forgets earlier results.
function module.environment.forget(domain)
	for _, host in pairs(prosody.hosts) do
		for _, session in pairs(host.s2sout or {}) do
			if concerns(session, domain) and session.close then session:close(); end -- it has a connection
		end
	end
	for session in pairs(prosody.incoming_s2s) do
		if concerns(session, domain) then session:close(); end
	end
	for key in pairs(outcomes) do
		local here, there = key:match(" (%S+) (%S+)$");
		if here == domain or there == domain then outcomes[key] = nil; end
	end
end
