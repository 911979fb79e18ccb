-- prosodyctl mod_certs check: the certificates and keys that Prosody would take now, on this machine

local ssl = require "ssl";

local certificates = module:require "certificates";
local certs = module:require "native"("certs");
local files = module:require "files";
local permissions = module:require "permissions";
local ports = module:require "ports";
local served_name = module:require "served".name;

local FINGERPRINT = 16; -- digits of SHA-256 that are shown

local installed = {};

-- Adds one row alone of those with the same text.
local function add_once(findings, settings, state, host, check, subject, text)
	local key = table.concat({ host, check, subject, text }, "\0");
	if not settings.seen[key] then findings.add(state, host, check, subject, "%s", text); end
	settings.seen[key] = true;
end

-- ---- Keys ----

-- Never asks at the terminal: a key that needs a password is none for Prosody without it.
local function no_password() return ""; end

-- What is wrong with a certificate and its key, as LuaSec loads them for Prosody; or nil
local function fault_of(pair)
	if not pair.key then return "no key is set beside "..pair.certificate; end
	local closed = permissions.closed(pair.key) or permissions.closed(pair.certificate);
	if closed then return closed; end
	local context, text = ssl.newcontext {
		mode = "server", protocol = "any", certificate = pair.certificate, key = pair.key, password = pair.password or no_password,
	};
	if context then return nil; end
	if text:find("does not match", 1, true) then return "it is not the key of "..pair.certificate; end
	return text;
end

local function check_key(findings, host, pair, settings)
	local subject, fault = pair.key or pair.certificate, fault_of(pair);
	add_once(findings, settings, fault and "error" or "ok", host, "key", subject, fault or "the key of "..pair.certificate);
end

-- ---- All of a host ----

local function check_endpoint(findings, host, settings, service, tls, port)
	local list, alternatives = certificates.of(host.name, service, tls, port);
	local choice = certificates.choice(host.name, alternatives);
	if choice then add_once(findings, settings, "error", host.name, "certificate", host.name, choice); end
	if not list[1] and tls == "starttls" then -- with direct TLS Prosody may have one of another host
		add_once(findings, settings, "error", host.name, "certificate", host.name, certificates.missing(host.name));
	end
	for _, pair in ipairs(list) do check_key(findings, host.name, pair, settings); end
end

-- host: as of hosts.list(); one that is not in the configuration has nothing here.
function installed.check(findings, host, settings)
	if host.kind == "domain" then return; end
	for _, service in ipairs { "xmpp-client", "xmpp-server" } do
		if host.services[service] then check_endpoint(findings, host, settings, service, "starttls"); end
	end
	for _, listener in ipairs(ports.list()) do
		if host.services[listener.service] and listener.tls == "direct" then
			check_endpoint(findings, host, settings, listener.service, listener.tls, listener.port);
		end
	end
end

-- ---- Beside what is served ----

local function leaf_of(pair)
	local pem = files.read(pair.certificate);
	return pem and certs.names(pem) or nil;
end

-- Tells of a certificate that is served while the files have others. chains: as of listeners.check()
function installed.compare(findings, host, place, target, address, chains)
	if host.kind == "domain" then return; end
	local known, waiting = {}, {};
	for _, pair in ipairs(certificates.of(host.name, place.service, place.tls, target.port)) do
		local leaf = leaf_of(pair);
		if leaf then
			known[leaf.sha256] = true;
			waiting[#waiting + 1] = ("%s (%s)"):format(pair.certificate, leaf.sha256:sub(1, FINGERPRINT));
		end
	end
	for _, chain in ipairs(waiting[1] and chains or {}) do
		if not known[chain.sha256] then
			findings.add("warning", host.name, "reload", served_name(place, target, address),
				"%s is served and not what Prosody would take now, %s: Prosody has not been reloaded since (prosodyctl reload), "
				.."or another machine answers", chain.sha256:sub(1, FINGERPRINT), table.concat(waiting, ", "));
		end
	end
end

return installed;
