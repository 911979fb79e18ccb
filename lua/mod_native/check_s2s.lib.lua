-- Authentication of other servers: which hosts are protected, who checks certificates, certificate authorities, and whether the
-- resolver can prove anything

local config = require "core.configmanager";
local lfs = require "lfs";
local resolve_path = require "util.paths".resolve_relative_path;
local socket = require "socket";

local modules = module:require "modules";
local unbound = module:require "unbound";

local ROOT_KEY = unbound.ROOT_KEY;

local GLOBAL = "*";
local NAME = "s2s_auth_native";
local AUTHORITIES = "/etc/ssl/certs"; -- Prosody's default
local PATIENCE = 10; -- seconds
local NS, IN = 2, 1;
local NOERROR, NXDOMAIN = 0, 3;

local REPLACING = "In the global section of the configuration, in place of an existing unbound";
local UNPROVEN = "Without it DNS proves nothing: only public authorities can prove certificates of other servers.";
local UNREACHABLE = "No other server can be reached meanwhile.";

-- ---- Hosts ----

local function unprotected(findings)
	for _, host in ipairs(modules.hosts()) do
		local why = modules.excluded(NAME, host);
		if why and modules.has("s2s", host) then
			findings.add("warning", { about = NAME, host = host, what = ("The module does not protect this host: %s."):format(why),
				why = "Streams from and to it have no DANE: Prosody checks their certificates. A stream that another server has "
					.."opened to it may also carry stanzas for the other hosts.",
				line = '-- remove "s2s_auth_native" from modules_disabled' });
		end
	end
end

-- The global section loads a module on virtual hosts. If only one host names it, the others depend on that host.
local function not_global(findings, loaded_with)
	findings.add("warning", { about = NAME, host = loaded_with[2] == nil and loaded_with[1] or nil,
		what = ("The module is enabled below %s only."):format(table.concat(loaded_with, ", ")),
		why = "It protects every host once it is loaded, and it is loaded with this one: without this one no host is protected.",
		line = modules.enabling(NAME), place = modules.place(GLOBAL) });
end

local function not_loaded(findings)
	findings.add("error", { about = NAME, what = "The module is enabled in the global section, but no host loads it.",
		why = "Prosody loads modules of the global section on virtual hosts only. Without a virtual host, a component has to name "
			.."the module. No host is protected now.",
		line = modules.enabling(NAME), place = modules.place(modules.hosts()[1]) });
end

local function protection(findings)
	local loaded_with, is_global = modules.loaded_with(NAME), modules.is_global(NAME);
	if not loaded_with[1] then
		if is_global and modules.hosts()[1] then not_loaded(findings); end
		return;
	end
	if not is_global then not_global(findings, loaded_with); end
	unprotected(findings);
end

-- ---- Certificates ----

local function checked_twice(findings, installed)
	local ours = modules.enabled(installed, NAME);
	for _, host in ipairs(ours and ours.hosts or {}) do
		if modules.has("s2s_auth_dane_in", host) then
			findings.add("warning", {
				about = "s2s_auth_dane_in", host = host;
				what = "The module is enabled beside mod_s2s_auth_native, which does the same and more.";
				why = "Both ask DNS, and their order decides which of them has judged a certificate.";
				line = '-- remove "s2s_auth_dane_in" from modules_enabled';
			});
			return;
		end
	end
end

local function not_checked(findings)
	-- Both are global modules, and see the streams of every host
	if modules.has "s2s_auth_certs" or modules.has(NAME) then return; end
	for _, host in ipairs(modules.hosts()) do
		if modules.has("s2s", host) and config.get(host, "s2s_secure_auth") == true then
			findings.add("error", {
				about = "s2s_secure_auth", host = host;
				what = "Valid certificates are required of other servers, but no module checks them.";
				why = "No other server can connect, and none can be reached.";
				line = modules.enabling(NAME); place = modules.place(GLOBAL);
			});
			return;
		end
	end
end

-- Whether a directory of hashed certificates has any
local function has_certificates(path)
	if lfs.attributes(path, "mode") ~= "directory" then return false; end
	for name in lfs.dir(path) do
		if name:match("%.[%dp]") then return true; end
	end
	return false;
end

local function authorities(findings)
	if config.get(GLOBAL, "s2s_secure_auth") == false then return; end
	local ssl, base = config.get(GLOBAL, "ssl") or {}, prosody.paths.config or ".";
	if ssl.cafile and lfs.attributes(resolve_path(base, ssl.cafile)) then return; end
	local path = resolve_path(base, ssl.capath or AUTHORITIES);
	if has_certificates(path) then return; end
	findings.add("error", { about = "s2s_secure_auth", what = ("There are no certificates of authorities in %s."):format(path),
		why = "No certificate of another server can be valid, except by DANE.",
		line = "apt install ca-certificates", place = "As root" });
end

-- ---- The resolver ----

-- Adds the line that names a trust anchor, and the package that has one
local function with_anchor(finding)
	finding.line, finding.place = ("unbound = { trustfile = %q }"):format(ROOT_KEY), REPLACING;
	if not lfs.attributes(ROOT_KEY) then
		finding.line, finding.place = "apt install dns-root-data\n"..finding.line, "As root, and then in the global section";
	end
	return finding;
end

-- A finding, or nil where the file can be read
local function unusable_anchor(path)
	local file, err = io.open(path);
	if file then
		file:close();
		return nil;
	end
	local why = "The resolver does not start without it, and no name can be looked up.";
	if lfs.attributes(path) then
		return { about = "unbound", what = ("Cannot read the trust anchor: %s."):format(err), why = why,
			line = "chmod a+r "..path, place = "As root" };
	end
	return with_anchor { about = "unbound", what = ("The trust anchor %s does not exist."):format(path), why = why };
end

local function wait(context, is_done)
	local fd, give_up = context:getfd(), socket.gettime() + PATIENCE;
	local readable = { getfd = function () return fd; end; dirty = function () return false; end };
	while not is_done() and socket.gettime() < give_up do
		socket.select({ readable }, nil, give_up - socket.gettime());
		context:process();
	end
end

-- Asks for the root's name servers, with which each validation begins. Returns lua-unbound's answer; or nil, text.
local function ask_for_root(lunbound, settings)
	local answer, failure;
	local ok, err = pcall(function ()
		local context = lunbound.new(settings);
		if type(context) ~= "userdata" then error("lua-unbound cannot use the option unbound as it stands", 0); end
		context:resolve_async(function (found, text) answer, failure = found, text or "no answer"; end, ".", NS, IN);
		wait(context, function () return answer or failure; end);
	end);
	if not ok then return nil, tostring(err); end
	return answer, failure or ("no answer within %d s"):format(PATIENCE);
end

-- The machine's own resolver can be bypassed, a resolver that was chosen for Prosody cannot.
local function with_own_recursion(finding, settings)
	if unbound.asks_resolvconf(settings) then
		finding.why = finding.why.." The resolvers in resolv.conf cannot be reached, or omit signatures. "
			.."With this line the server asks the name servers of each domain itself.";
		finding.line = ("unbound = { trustfile = %q, resolvconf = false }"):format(settings.trustfile or ROOT_KEY);
		finding.place = REPLACING;
	end
	return finding;
end

-- Not in the server, which this would block; there, mod_s2s_auth_native shows it in its figures.
local function answers(findings, lunbound, settings)
	if prosody.process_type == "prosody" then return; end
	local answer, failure = ask_for_root(lunbound, settings);
	if not answer then
		findings.add("error", { about = "DNS", what = ("The resolver does not work: %s."):format(failure),
			why = UNREACHABLE.." The resolver cannot be reached, or cannot use the option unbound." });
	elseif answer.bogus then
		findings.add("error", with_own_recursion({ about = "DNS",
			what = ("DNS answers cannot be validated: %s."):format(answer.bogus), why = UNREACHABLE }, settings));
	elseif answer.rcode ~= NOERROR and answer.rcode ~= NXDOMAIN then
		findings.add("error", with_own_recursion({ about = "DNS",
			what = ("The resolver does not work: RCODE %d."):format(answer.rcode), why = UNREACHABLE }, settings));
	elseif not answer.secure then
		findings.add("warning", with_anchor { about = "unbound", what = "The trust anchor is empty: no answer is validated.",
			why = UNPROVEN });
	end
end

local function resolver(findings, installed)
	local use_dane = config.get(GLOBAL, "use_dane");
	if not modules.enabled(installed, NAME) and not use_dane or use_dane == false then return; end
	local severity = use_dane and "error" or "warning";
	local settings, lunbound = unbound.settings();
	if not lunbound then
		findings.add(severity, { about = "lua-unbound", what = "The library is not installed.", why = UNPROVEN,
			line = "apt install lua-unbound dns-root-data", place = "As root" });
		return;
	end
	local unusable = settings.trustfile and unusable_anchor(settings.trustfile);
	if unusable then
		findings.add("error", unusable);
	elseif not unbound.anchor(settings) then
		findings.add(severity, with_anchor { about = "unbound", what = "The resolver has no trust anchor.", why = UNPROVEN });
	else
		answers(findings, lunbound, settings);
	end
end

local RULES = { protection, checked_twice, not_checked, authorities, resolver };

return function (findings, installed)
	for _, rule in ipairs(RULES) do rule(findings, installed); end
end
