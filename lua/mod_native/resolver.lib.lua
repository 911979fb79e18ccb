-- What DNS lacks to prove anything: a library, a trust anchor, a resolver that passes signatures on

local config = require "core.configmanager";
local lfs = require "lfs";
local socket = require "socket";

local family = module:require "family";
local unbound = module:require "unbound";

local ROOT_KEY = unbound.ROOT_KEY;

local GLOBAL = "*";
local PATIENCE = 10; -- seconds
local NS, IN = 2, 1;
local NOERROR, NXDOMAIN = 0, 3;

local IN_PLACE = "In the global section of the configuration, in place of an unbound that is there";
local UNPROVEN = "Without it DNS proves nothing: certificates of other servers are checked with public authorities alone.";
local UNREACHABLE = "No other server is reached while that lasts.";

-- Adds what to write, and what to install before where it is not there
local function with_anchor(finding)
	finding.line, finding.place = ("unbound = { trustfile = %q }"):format(ROOT_KEY), IN_PLACE;
	if not lfs.attributes(ROOT_KEY) then
		finding.line, finding.place = "apt install dns-root-data\n"..finding.line, "As root, and then in the global section";
	end
	return finding;
end

-- A finding, or nil
local function unusable_anchor(path)
	local file, err = io.open(path);
	if file then
		file:close();
		return nil;
	end
	local why = "The resolver does not start without it, and no name is looked up.";
	if lfs.attributes(path) then
		return { about = "unbound", what = ("The trust anchor cannot be read: %s."):format(err), why = why,
			line = "chmod a+r "..path, place = "As root" };
	end
	return with_anchor { about = "unbound", what = ("The trust anchor %s is not there."):format(path), why = why };
end

-- ---- A question ----

local function wait(context, is_done)
	local fd, give_up = context:getfd(), socket.gettime() + PATIENCE;
	local readable = { getfd = function () return fd; end; dirty = function () return false; end };
	while not is_done() and socket.gettime() < give_up do
		socket.select({ readable }, nil, give_up - socket.gettime());
		context:process();
	end
end

-- The root's name servers, with which each validation begins: an answer of lua-unbound's; or nil, text
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

-- The machine's own resolver can be gone past, one that was chosen cannot.
local function with_own_recursion(finding, settings)
	if unbound.asks_resolvconf(settings) then
		finding.why = finding.why.." The resolvers in resolv.conf cannot be reached, or leave out signatures. "
			.."With this line the server asks the name servers of each domain itself.";
		finding.line = ("unbound = { trustfile = %q, resolvconf = false }"):format(settings.trustfile or ROOT_KEY);
		finding.place = IN_PLACE;
	end
	return finding;
end

-- Not in the server, which would stand still until there is an answer; there, mod_s2s_auth_native tells in its figures.
local function answers(findings, lunbound, settings)
	if prosody.process_type == "prosody" then return; end
	local answer, failure = ask_for_root(lunbound, settings);
	if not answer then
		findings.add("error", { about = "DNS", what = ("The resolver does not work: %s."):format(failure),
			why = UNREACHABLE.." It cannot be reached, or the option unbound has something that it cannot use." });
	elseif answer.bogus then
		findings.add("error", with_own_recursion({ about = "DNS",
			what = ("Answers cannot be validated: %s."):format(answer.bogus), why = UNREACHABLE }, settings));
	elseif answer.rcode ~= NOERROR and answer.rcode ~= NXDOMAIN then
		findings.add("error", with_own_recursion({ about = "DNS",
			what = ("The resolver does not work: RCODE %d."):format(answer.rcode), why = UNREACHABLE }, settings));
	elseif not answer.secure then
		findings.add("warning", with_anchor { about = "unbound", what = "The trust anchor is none: nothing is validated.", why = UNPROVEN });
	end
end

return function (findings, modules)
	local wanted = config.get(GLOBAL, "use_dane");
	if not family.enabled(modules, "s2s_auth_native") and not wanted or wanted == false then return; end
	local severity = wanted and "error" or "warning";
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
