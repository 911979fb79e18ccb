-- Authentication of other servers: certificates in C, DANE in both directions, POSH.
-- Takes the place of mod_s2s_auth_certs and mod_s2s_auth_dane_in. README.md lists options, log lines, limits.

module:set_global();

local log = module._log;

local options = module:require "option_reader".read(module:require "options");
local certs = module:require "native" "certs";
local policy = module:require "policy";
local audit = module:require "audit";
local posh = module:require "posh";
local outgoing = module:require "outgoing";
local hosts = module:require "hosts";

local has_unbound = pcall(require, "net.unbound");
local discovery, lookup;
if options.use_dane ~= false and has_unbound then
	lookup = module:require "lookup" (options.s2s_native_dns_timeout);
	discovery = module:require "discovery" (lookup, certs);
end
local proof = module:require "proof" (options, discovery, certs, posh);
if discovery then outgoing.install(discovery, hosts); end

-- ---- Whether DNS can prove anything, told once ----

local dane = "not known yet"; -- what probe() found, for mod_native
local ADVICE = "install the package dns-root-data and set unbound = { trustfile = \"/usr/share/dns/root.key\" }";

local function probe()
	if options.use_dane == false then
		dane = "off: use_dane = false";
		log("info", "DANE is off (use_dane = false): certificates are checked with public authorities alone");
	elseif not has_unbound then
		dane = "off: lua-unbound is missing";
		log("warn", "DANE is off: lua-unbound is missing. Install the package lua-unbound%s",
			module:get_option("unbound") and "" or ", and "..ADVICE);
	else
		lookup(".", "NS"):next(function (answer)
			if answer.state == "secure" then
				dane = "on";
				log("info", "DANE is on: DNS answers are validated");
			elseif answer.state == "insecure" then
				dane = "off: no trust anchor";
				log("warn", "DANE is off: the resolver has no trust anchor. To have it, %s", ADVICE);
			else
				dane = "no valid answers: "..answer.reason;
				log("warn", "DNS answers cannot be validated now (%s); other servers are not reached while that lasts", answer.reason);
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
		session.log("warn", "The certificate of %s at %s:%d %s; trying the next server", host, target.host, target.port,
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

-- Returns why the peer must be refused, or nil; and what proof.judge() has found, which is nothing where the stream has
-- ended meanwhile, and the target. A peer without a certificate is the policy's alone.
local function examine_certificate(session, host, cert)
	if not cert then
		session.log("warn", "No certificate provided by %s", host or "unknown host");
		return not policy.allows(session, host) and "no-certificate" or nil;
	end
	local target = proof.target(session, host, outgoing);
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

-- A stream whose check ends in an error would go on without one.
local function examine(session, host, cert)
	local ok, why, result, target = xpcall(examine_certificate, debug.traceback, session, host, cert);
	if ok then return why, result, target; end
	session.log("error", "The certificate of %s cannot be checked: %s", host or "unknown host", why);
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

local further = module:require "further" (function (session, host, cert)
	local why, result = examine(session, host, cert);
	if why then audit.refused(session, why); end
	local complaint = (why == "mismatch" or why == "policy") and "certificate "..policy.complaint(session, result) or nil;
	return why, result and result.kind ~= "none", complaint;
end, proof.certificate, hosts);

hosts.hook("stanza/jabber:server:dialback:result", further, 100); -- before mod_dialback

-- ---- Outgoing streams before they are authenticated ----

-- Whether to look at a stream any more; a stanza comes to the host that it names, which need not be the stream's.
local function is_waiting(session)
	return session.type == "s2sout_unauthed" and hosts.protects(session);
end

-- Nothing goes on towards a server about which DNS was not asked.
local function require_target(session)
	local target = discovery and is_waiting(session) and proof.target(session, session.to_host, outgoing);
	if not target or not target.error then return; end
	refuse(session, session.to_host, target, "unknown");
	return true;
end

-- A usable record makes TLS mandatory: RFC 7673 section 4
local function require_tls(session)
	local target = is_waiting(session) and outgoing.target(session);
	if not target or not target.tlsa or session.secure then return; end
	session.log("warn", "%s offers no encryption at %s:%d, where its TLSA records demand it", session.to_host, target.host, target.port);
	if outgoing.has_more(session) then
		outgoing.try_next(session);
	else
		audit.refused(session, "no-encryption");
		policy.refuse(session, "policy-violation", "DNS records demand encryption, which is not offered");
	end
	return true;
end

local FEATURES = "stanza/http://etherx.jabber.org/streams:features";
local VERIFY = "stanza/jabber:server:dialback:verify";

local function by_origin(event) return require_target(event.origin) or require_tls(event.origin); end
local function by_session(event) return require_target(event.session) or require_tls(event.session); end

hosts.hook(FEATURES, function (event) return require_target(event.origin); end, 1000);
-- After mod_tls, which begins encryption where it is offered; before any authentication
hosts.hook(FEATURES, function (event) return require_tls(event.origin); end, 450);
hosts.hook("s2sout-authenticate-legacy", by_origin, 150);
-- Before mod_s2s believes a target that, unasked, says that dialback has succeeded; for another stream, too
hosts.hook("s2s-authenticated", by_session, 1000);
hosts.hook(VERIFY, by_origin, 100);
hosts.begin();
