-- Domains of an incoming stream beside the one in its header, or its first one if the header has none: the peer requests each
-- with <db:result/>, and each is examined like the first. A proof by certificate replaces dialback; a refused domain gets no
-- dialback. RFC 7712 section 6.1, XEP-0220 section 2.2.

local nameprep = require "util.encodings".stringprep.nameprep;
local st = require "util.stanza";

local MOST = 100; -- domains of a stream: each is looked up in DNS
local VERDICT = { "cert_chain_status", "cert_identity_status", "cert_chain_errors" };
local STANZAS = { xmlns = "urn:ietf:params:xml:ns:xmpp-stanzas" };
local CONDITIONS = { unknown = "remote-server-timeout", ["too many"] = "resource-constraint" }; -- else policy-violation

local auth;

-- The fields of the session stay those of the domain in the header of the stream.
local function examine_apart(session, domain)
	local first = {};
	for _, field in ipairs(VERDICT) do first[field], session[field] = session[field], nil; end
	local why, result = auth.examine(session, domain, auth.certificate.of(session));
	if why then auth.audit.refused(session, why); end
	local complaint = (why == "mismatch" or why == "policy") and "certificate "..auth.policy.complaint(session, result) or nil;
	for _, field in ipairs(VERDICT) do session[field] = first[field]; end
	return why, result and result.kind ~= "none", complaint;
end

local function reply(request, kind)
	return st.stanza("db:result", { from = request.attr.to, to = request.attr.from, id = request.attr.id, type = kind });
end

local function refuse(session, request, domain, why, complaint)
	session.log("warn", "Not authenticating %s on this stream (%s)%s", domain, why, complaint and ": its "..complaint or "");
	local answer = reply(request, "error"):tag("error", { type = "cancel" })
		:tag(CONDITIONS[why] or "policy-violation", STANZAS):up();
	if complaint then answer:text_tag("text", "Your server's "..complaint, STANZAS); end
	session.sends2s(answer);
end

local function on_result(event)
	local session, request = event.origin, event.stanza;
	local domain, ours = nameprep(request.attr.from or ""), nameprep(request.attr.to or "");
	if session.direction ~= "incoming" or not session.secure or not domain or domain == "" then return; end
	if not prosody.hosts[ours] or not auth.hosts.is_protected(ours) then return; end
	session.native_examined = session.native_examined or {};
	if session.native_examined[domain] then return; end
	session.native_asked = (session.native_asked or 0) + 1;
	local why, proven, complaint = "too many", nil, nil;
	if session.native_asked <= MOST then why, proven, complaint = examine_apart(session, domain); end
	if session.destroyed then return true; end
	if why then
		refuse(session, request, domain, why, complaint);
		return true;
	end
	session.native_examined[domain] = true;
	if not proven then return; end
	session.from_host, session.to_host = session.from_host or domain, session.to_host or ours;
	if module:context(ours):fire_event("s2s-authenticated", { session = session, host = domain, mechanism = "dialback" }) ~= false then
		session.sends2s(reply(request, "valid"));
	end
	return true;
end

return function (parts)
	auth = parts;
	auth.hosts.hook("stanza/jabber:server:dialback:result", on_result, 100); -- before mod_dialback
end
