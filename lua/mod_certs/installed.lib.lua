-- prosodyctl mod_certs check: the certificates and keys that Prosody would take now, on this machine

local ssl = require "ssl";

local certificates = module:require "certificates";
local certs = module:require "native"("certs");
local files = module:require "files";
local key_type = module:require "fetch".key_type;
local paths = module:require "paths";
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

-- The fault of a certificate and its key, loaded as LuaSec does for Prosody; or nil
local function fault_of(pair)
	if not pair.key then return "no key is set beside "..pair.certificate; end
	local closed = permissions.closed(pair.key) or permissions.closed(pair.certificate);
	if closed then return closed; end
	local missing = paths.missing(pair.key);
	if missing then return missing; end
	local settings = { mode = "server", protocol = "any", certificate = pair.certificate };
	local context, text = ssl.newcontext(settings); -- OpenSSL also forgets the errors of keys before this one
	if not context then return text; end
	settings.key, settings.password = pair.key, pair.password or no_password;
	context, text = ssl.newcontext(settings);
	if context then return nil; end
	if text:find("does not match", 1, true) then return "it is not the key of "..pair.certificate; end
	return text..": it is no key in PEM, or ssl lacks its password";
end

-- Each once.
local function check_key(findings, host, pair, settings)
	local seen = table.concat({ host, "key", pair.certificate, pair.key }, "\0");
	if settings.seen[seen] then return; end
	settings.seen[seen] = true;
	local path, fault = pair.key or pair.certificate, fault_of(pair);
	findings.add(fault and "error" or "ok", host, "key", path:match("[^/]*$"), "%s%s", path,
		fault and ": "..fault or " is the key of "..pair.certificate);
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

-- ---- Files beside the listeners ----

-- The leaves in the files of these certificates: { { sha256 =, key_type =, shown = text }, ... }
local function on_disk(pairs_of)
	local list = {};
	for _, pair in ipairs(pairs_of) do
		local pem = files.read(pair.certificate);
		local leaf = pem and certs.names(pem);
		if leaf then
			list[#list + 1] = { sha256 = leaf.sha256, key_type = key_type(pem),
				shown = ("%s (%s)"):format(pair.certificate, leaf.sha256:sub(1, FINGERPRINT)) };
		end
	end
	return list;
end

-- The chain whose field is this, or nil
local function find(list, field, value)
	for _, each in ipairs(list) do
		if each[field] == value then return each; end
	end
end

-- A certificate that is served while the files have others
local function compare_served(add, here, chains)
	local shown = {};
	for i, each in ipairs(here) do shown[i] = each.shown; end
	for _, chain in ipairs(here[1] and chains or {}) do
		if not find(here, "sha256", chain.sha256) then
			add("warning", ("%s is served, and Prosody would take another one now, %s: it has not been reloaded since (prosodyctl reload), "
				.."or another machine answers"):format(chain.sha256:sub(1, FINGERPRINT), table.concat(shown, ", ")));
		end
	end
end

-- A certificate for a type of key that no chain is of
local function compare_types(add, here, chains)
	for _, each in ipairs(chains[1] and here or {}) do
		if chains.incomplete and not find(chains, "sha256", each.sha256) then
			add("ok", each.shown.." cannot be asked for: the listener has TLS 1.3 alone, where it chooses the type of key");
		elseif not find(chains, "key_type", each.key_type) then
			add("warning", ("%s is not served: Prosody has not been reloaded since (prosodyctl reload), or another machine answers")
				:format(each.shown));
		end
	end
end

-- chains: as of listeners.check()
function installed.compare(findings, host, place, target, address, chains)
	if host.kind == "domain" then return; end
	local list, alternatives = certificates.of(host.name, place.service, place.tls, target.port);
	local here = on_disk(list);
	local function add(state, text) findings.add(state, host.name, "reload", served_name(place, target, address), "%s", text); end
	compare_served(add, here, chains);
	if not alternatives then compare_types(add, here, chains); end -- of alternatives one is served
end

return installed;
