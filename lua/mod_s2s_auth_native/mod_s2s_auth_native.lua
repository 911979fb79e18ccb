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

local ADVICE = "install the package dns-root-data and set unbound = { trustfile = \"/usr/share/dns/root.key\" }";

local function probe()
	if options.use_dane == false then
		log("info", "DANE is off (use_dane = false): certificates are checked with public authorities alone");
	elseif not has_unbound then
		log("warn", "DANE is off: lua-unbound is missing. Install the package lua-unbound, and %s", ADVICE);
	else
		lookup(".", "NS"):next(function (answer)
			if answer.state == "secure" then
				log("info", "DANE is on: DNS answers are validated");
			elseif answer.state == "insecure" then
				log("warn", "DANE is off: the resolver has no trust anchor. To have it, %s", ADVICE);
			else
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

-- ---- Certificates ----

local function refuse(session, host, target, why)
	if why == "mismatch" and session.direction == "outgoing" and outgoing.has_more(session) then
		session.log("warn", "The certificate of %s at %s:%d %s; trying the next server", host, target.host, target.port,
			policy.complaint(session));
		outgoing.try_next(session);
	elseif why == "unknown" then
		policy.refuse(session, "remote-connection-failed", "DNS records cannot be validated: "..tostring(target.error or target.broken));
	else
		local complaint = policy.complaint(session);
		session.log("warn", "Forbidding connection to/from %s because its certificate %s", host or session.ip, complaint);
		policy.refuse(session, "not-authorized", "certificate "..complaint);
	end
	return false;
end

local function check(event)
	local session, host, cert = event.session, event.host, event.cert;
	if not cert then
		session.log("warn", "No certificate provided by %s", host or "unknown host");
		if policy.allows(options, session, host) then return true; end
		return refuse(session, host);
	end
	local target = proof.target(session, host, outgoing);
	if session.destroyed then return false; end
	if target.error then return refuse(session, host, target, "unknown"); end
	local result, why = proof.judge(session, host, cert, target);
	if session.destroyed then return false; end
	audit.count(session, result);
	audit.log(session, host, result);
	if why or not policy.allows(options, session, host) then return refuse(session, host, target, why or "policy"); end
	if host then audit.remember(session, host, result); end
	return true;
end

module:hook("s2s-check-certificate", check, 900);

-- ---- A usable record makes TLS mandatory: RFC 7673 section 4 ----

local function require_tls(session)
	local target = session.direction == "outgoing" and outgoing.target(session);
	if not target or not target.tlsa or session.secure or session.type ~= "s2sout_unauthed" then return; end
	session.log("warn", "%s offers no encryption at %s:%d, where its TLSA records demand it", session.to_host, target.host, target.port);
	if outgoing.has_more(session) then
		outgoing.try_next(session);
	else
		policy.refuse(session, "policy-violation", "DNS records demand encryption, which is not offered");
	end
	return true;
end

function module.add_host(host_module)
	if install then install(host_module); end
	-- What a stream that is being left had still sent
	host_module:hook_tag(xmlns_streams, "features", function (session) return session.native_leaving; end, 10000);
	-- After mod_tls, which begins encryption where it is offered; before any authentication
	host_module:hook_tag(xmlns_streams, "features", require_tls, 450);
	host_module:hook("s2sout-authenticate-legacy", function (event) return require_tls(event.origin); end, 150);
end
