-- Authentication of other servers: certificates in C, DANE in both directions, POSH.
-- Takes the place of mod_s2s_auth_certs and mod_s2s_auth_dane_in. README.md lists options, log lines, limits.

module:set_global();

local log = module._log;

-- The parts of the module, by the name of their file. A part that needs others finds them here when it is called.
local auth = {
	options = module:require "option_reader".read(module:require "options");
	audit = module:require "audit";
	hosts = module:require "hosts";
	posh = module:require "posh";
	discovery = nil; -- only with DANE
};
auth.certificate = module:require "certificate";
auth.policy = module:require "policy";
auth.outgoing = module:require "outgoing"(auth);
auth.proof = module:require "proof"(auth);

local audit, hosts, options, outgoing, policy, proof = auth.audit, auth.hosts, auth.options, auth.outgoing, auth.policy, auth.proof;

local has_unbound = pcall(require, "net.unbound");
if options.use_dane ~= false and has_unbound then
	auth.discovery = module:require "discovery"(auth);
	outgoing.install();
end

-- ---- A log line about DANE, once ----

local dane = "not known yet"; -- the result of probe(), for mod_native
local ADVICE = "install the package dns-root-data and set unbound = { trustfile = \"/usr/share/dns/root.key\" }";

local function probe()
	if options.use_dane == false then
		dane = "off: use_dane = false";
		log("info", "DANE is off (use_dane = false): certificates are checked by public authorities only");
	elseif not has_unbound then
		dane = "off: lua-unbound is missing";
		log("warn", "DANE is off: lua-unbound is missing. Install the package lua-unbound%s",
			module:get_option("unbound") and "" or ", and "..ADVICE);
	else
		auth.discovery.lookup(".", "NS"):next(function (answer)
			if answer.state == "secure" then
				dane = "on";
				log("info", "DANE is on: DNS answers are validated");
			elseif answer.state == "insecure" then
				dane = "off: no trust anchor";
				log("warn", "DANE is off: the resolver has no trust anchor. To enable it, %s", ADVICE);
			else
				dane = "no valid answers: "..answer.reason;
				log("warn", "DNS answers cannot be validated now, so no other server can be reached: %s", answer.reason);
			end
		end);
	end
end

if prosody.start_time then
	probe();
else
	module:hook("server-started", probe);
end

module:add_item("native-status", {
	name = "s2s_auth_native";
	figures = function () return audit.figures(dane); end;
});

-- ---- Certificates ----

local function refuse(session, host, target, why, result)
	if why == "mismatch" and session.direction == "outgoing" and outgoing.has_more(session) then
		session.log("warn", "Trying the next server of %s: the certificate at %s:%d %s", host, target.host, target.port,
			policy.complaint(session, result));
		outgoing.try_next(session);
		return false;
	end
	audit.refused(session, why);
	if why == "unknown" then
		local complaint = target.complaint or "DNS records cannot be validated: "..tostring(target.error or target.broken);
		local detail = target.complaint and target.error;
		session.log("warn", "Refusing %s: its %s", host or session.ip, detail and complaint..": "..detail or complaint);
		policy.refuse(session, "remote-connection-failed", complaint);
	else
		local complaint = policy.complaint(session, result);
		session.log("warn", "Forbidding connection to/from %s because its certificate %s", host or session.ip, complaint);
		policy.refuse(session, "not-authorized", "certificate "..complaint);
	end
	return false;
end

-- Returns why the peer must be refused, or nil; the result of proof.judge(), nil if the stream has ended in the meantime; and
-- the target. A peer without a certificate is judged by the policy alone.
local function examine_certificate(session, host, cert)
	if not cert then
		session.log("warn", "No certificate provided by %s", host or "unknown host");
		return not policy.allows(session, host) and "no-certificate" or nil;
	end
	local target = proof.target(session, host);
	if session.destroyed then return; end
	if target.error then return "unknown", nil, target; end
	local result, why = proof.judge(session, host, cert, target);
	if session.destroyed then return; end
	audit.count(session, result);
	audit.log(session, host, result);
	if not why and not policy.allows(session, host) then why = "policy"; end
	if host and not why then audit.remember(session, host, result); end
	return why, result, target;
end

-- After an error in the check Prosody would continue without one.
local function examine(session, host, cert)
	local ok, why, result, target = xpcall(examine_certificate, debug.traceback, session, host, cert);
	if ok then return why, result, target; end
	session.log("error", "Cannot check the certificate of %s: %s", host or "unknown host", why);
	return "unknown", nil, { complaint = "certificate cannot be checked" };
end

local function check(event)
	local session, host = event.session, event.host;
	if not hosts.protects(session) then return; end
	local why, result, target = examine(session, host, event.cert);
	if session.destroyed then return false; end
	if why then return refuse(session, host, target, why, result); end
	session.native_examined = { [host or false] = true };
	return true;
end

module:hook("s2s-check-certificate", check, 900);

auth.examine = examine;
module:require "dialback"(auth);

-- ---- Outgoing streams before they are authenticated ----

-- Whether a stream has to be checked; a stanza comes to the host that it names, which may not be that of the stream.
local function is_waiting(session)
	return session.type == "s2sout_unauthed" and hosts.protects(session);
end

-- Stops a stream to a server whose records have not been looked up
local function require_target(session)
	local target = auth.discovery and is_waiting(session) and proof.target(session, session.to_host);
	if not target or not target.error then return; end
	refuse(session, session.to_host, target, "unknown");
	return true;
end

-- A usable record makes TLS mandatory: RFC 7673 section 4
local function require_tls(session)
	local target = is_waiting(session) and outgoing.target(session);
	if not target or not target.tlsa or session.secure then return; end
	session.log("warn", "No encryption offered by %s at %s:%d, although its TLSA records require it", session.to_host,
		target.host, target.port);
	if outgoing.has_more(session) then
		outgoing.try_next(session);
	else
		audit.refused(session, "no-encryption");
		policy.refuse(session, "policy-violation", "DNS records require encryption, which is not offered");
	end
	return true;
end

local FEATURES = "stanza/http://etherx.jabber.org/streams:features";
local VERIFY = "stanza/jabber:server:dialback:verify";

local function by_origin(event) return require_target(event.origin) or require_tls(event.origin); end
local function by_session(event) return require_target(event.session) or require_tls(event.session); end

hosts.hook(FEATURES, function (event) return require_target(event.origin); end, 1000);
-- After mod_tls, which starts encryption if it is offered; before any authentication
hosts.hook(FEATURES, function (event) return require_tls(event.origin); end, 450);
hosts.hook("s2sout-authenticate-legacy", by_origin, 150);
-- Before mod_s2s trusts a target that reports a successful dialback without being asked, also for another stream
hosts.hook("s2s-authenticated", by_session, 1000);
hosts.hook(VERIFY, by_origin, 100);
hosts.begin();
