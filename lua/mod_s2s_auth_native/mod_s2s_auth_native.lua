-- Authentication of other servers: certificates in C, DANE in both directions, POSH.
-- Takes the place of mod_s2s_auth_certs and mod_s2s_auth_dane_in. README.md lists options, log lines, limits.

module:set_global();

local log = module._log;

local options = module:require "options";
local certs = module:require "native" "certs";
local policy = module:require "policy";
local audit = module:require "audit";
local posh = module:require "posh";
local outgoing = module:require "outgoing";

local xmlns_streams = "http://etherx.jabber.org/streams";

local has_unbound = pcall(require, "net.unbound");
local discovery, lookup;
if options.use_dane ~= false and has_unbound then
	lookup = module:require "lookup" (options.dns_timeout);
	discovery = module:require "discovery" (options, lookup, certs);
end
local proof = module:require "proof" (options, discovery, certs, posh);
local install = discovery and outgoing.install(discovery);

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

local function refuse(session, host, target, why)
	if why == "mismatch" and session.direction == "outgoing" and outgoing.has_more(session) then
		session.log("warn", "The certificate of %s at %s:%d %s; trying the next server", host, target.host, target.port,
			policy.complaint(session));
		outgoing.try_next(session);
		return false;
	end
	audit.refused(session, why);
	if why == "unknown" then
		local complaint = target.complaint or "DNS records cannot be validated: "..tostring(target.error or target.broken);
		session.log("warn", "Refusing %s: its %s", host or session.ip, complaint);
		policy.refuse(session, "remote-connection-failed", complaint);
	else
		local complaint = policy.complaint(session);
		session.log("warn", "Forbidding connection to/from %s because its certificate %s", host or session.ip, complaint);
		policy.refuse(session, "not-authorized", "certificate "..complaint);
	end
	return false;
end

-- Returns why the peer must be refused, or nil; and what is proven, which is nothing where the stream has
-- ended meanwhile, and the target. A peer without a certificate is the policy's alone.
local function examine_certificate(session, host, cert)
	if not cert then
		session.log("warn", "No certificate provided by %s", host or "unknown host");
		return not policy.allows(options, session, host) and "no-certificate" or nil;
	end
	local target = proof.target(session, host, outgoing);
	if session.destroyed then return; end
	if target.error then return "unknown", nil, target; end
	local result, why = proof.judge(session, host, cert, target);
	if session.destroyed then return; end
	audit.count(session, result);
	audit.log(session, host, result);
	if not why and not policy.allows(options, session, host) then why = "policy"; end
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
	local why, _, target = examine(session, host, event.cert);
	if session.destroyed then return false; end
	if why then return refuse(session, host, target, why); end
	session.native_examined = { [host or false] = true };
	return true;
end

module:hook("s2s-check-certificate", check, 900);

local further = module:require "further" (function (session, host, cert)
	local why, result = examine(session, host, cert);
	if why then audit.refused(session, why); end
	return why, result and result.kind ~= "none";
end, proof.certificate);

-- ---- A usable record makes TLS mandatory: RFC 7673 section 4 ----

local function require_tls(session)
	local target = session.direction == "outgoing" and outgoing.target(session);
	if not target or not target.tlsa or session.secure or session.type ~= "s2sout_unauthed" then return; end
	session.log("warn", "%s offers no encryption at %s:%d, where its TLSA records demand it", session.to_host, target.host, target.port);
	if outgoing.has_more(session) then
		outgoing.try_next(session);
	else
		audit.refused(session, "no-encryption");
		policy.refuse(session, "policy-violation", "DNS records demand encryption, which is not offered");
	end
	return true;
end

function module.add_host(host_module)
	if install then install(host_module); end
	host_module:hook("stanza/jabber:server:dialback:result", further, 100); -- before mod_dialback
	-- After mod_tls, which begins encryption where it is offered; before any authentication
	host_module:hook_tag(xmlns_streams, "features", require_tls, 450);
	host_module:hook("s2sout-authenticate-legacy", function (event) return require_tls(event.origin); end, 150);
	-- Before mod_s2s believes a target that, unasked, says that dialback has succeeded; for another stream, too
	host_module:hook("s2s-authenticated", function (event) return require_tls(event.session); end, 1000);
	host_module:hook("stanza/jabber:server:dialback:verify", function (event) return require_tls(event.origin); end, 100);
end
