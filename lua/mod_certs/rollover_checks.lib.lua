-- Checks of a rollover outside DNS: names, dates and keys of the new certificate, and the locations of files. Each adds problems or
-- warnings to the result of rollover_state.lib.lua.

local dane = module:require "dane";
local files = module:require "files";
local hosts = module:require "hosts";
local keypair = module:require "keypair";
local selection = module:require "selection";
local date = module:require "terminal".date;
local uses = module:require "uses";

local checks = {};

-- ---- The new certificate ----

-- Whether a host may lose a name that the old certificate has
local function is_loss(result, name, service)
	return not result.old or result.old:identity(name, service) == true;
end

function checks.names(result, new)
	local seen = {};
	for _, use in ipairs(result.uses) do
		for _, name in ipairs(use.hosts) do
			local text = ("the new certificate does not name %s for %s"):format(name, use.service);
			if not seen[text] and not new:identity(name, use.service) then
				if is_loss(result, name, use.service) then
					result:problem("%s", text);
				else
					result:warn("%s; neither does the old one", text);
				end
			end
			seen[text] = true;
		end
	end
end

-- Only a warning: peers with DANE accept the chain, and the old one may be the same.
function checks.chain(result, new)
	local verdict = dane.verify(new, { service = "xmpp-server", names = {} });
	if verdict.chain ~= "valid" then
		result:warn("clients and peers without DANE do not accept the new certificate: %s", dane.errors(verdict));
	end
end

function checks.dates(result)
	local new, old, ends = result.leaf, result.old_leaf, result.ends;
	local is_waiting = ends and ends > result.now;
	if not new.not_after or new.not_after < result.now then
		result:problem("the new certificate has expired");
	elseif is_waiting and new.not_after < ends then
		result:problem("the new certificate expires on %s, before the end of the wait on %s: get one that is valid for longer",
			date(new.not_after), date(ends));
	end
	if not new.not_before or new.not_before > result.now then result:problem("the new certificate is not valid yet"); end
	if old and old.not_after and is_waiting and old.not_after < ends then
		result:warn("the old certificate expires on %s, before the end of the wait on %s: until then clients and peers without DANE "
			.."refuse it; a new certificate for the old key needs no wait", date(old.not_after), date(ends));
	end
end

-- ---- Keys ----

local function fault_of(chain, certificate, pair)
	return keypair.key_fault(chain, certificate, { path = pair.key, password = pair.password });
end

-- Compares the keys that Prosody has for the file with its content.
local function check_present_keys(result)
	for _, pair in ipairs(uses.pairs(result.file)) do
		local fault, is_other;
		if pair.key then fault, is_other = fault_of(result.present, "the certificate "..result.file, pair); end
		if is_other and result.is_replaced then
			fault = fault..", which is the new one already: install its key before Prosody reads them";
		elseif is_other then
			fault = fault..", which is still the old one: restore the old key until the switch";
		end
		if fault then result:problem("%s", fault); end
	end
end

local function has_key_in_place(result, new)
	for _, pair in ipairs(uses.pairs(result.file)) do
		if pair.key and not fault_of(new, "", pair) then return true; end
	end
	return false;
end

local function password_of(path)
	for _, pair in ipairs(uses.pairs(path)) do
		if pair.password then return pair.password; end
	end
end

-- options: as of rollover_state.examine()
function checks.keys(result, options)
	if result.present then check_present_keys(result); end
	if options.key or options.key_path then
		local fault = keypair.key_fault(options.new,
			options.new_path and "the certificate "..options.new_path or "the new certificate",
			{ pem = options.key, path = options.key_path, password = password_of(result.file) });
		if fault then result:problem("%s", fault); end
	elseif not result.is_replaced and not has_key_in_place(result, options.new) then
		result:warn("cannot check the key of the new certificate: give it with --key");
	end
end

-- ---- Locations ----

-- Other files with the new certificate that Prosody may select for a host of this file: { { path =, host = }, ... }
local function rivals_of(result)
	local list, seen = {}, {};
	for _, name in ipairs(result.hosts) do
		for _, candidate in ipairs(selection.candidates(name)) do
			local path = candidate.certificate;
			if not seen[path] and not files.same(path, result.file) then
				local chain, leaf = files.read_chain(path);
				if chain and leaf.sha256 == result.leaf.sha256 then list[#list + 1] = { path = path, host = name }; end
			end
			seen[path] = true;
		end
	end
	return list;
end

local function check_rival(result, rival, is_early)
	local text = ("%s: Prosody may select this file for %s at the next reload or start"):format(rival.path, rival.host);
	if is_early then
		result:problem("%s; move it out of %s until the switch", text, selection.directory());
	else
		result:warn("%s; move it to %s", text, result.file);
	end
end

local function check_ambiguities(result)
	local seen = {};
	for _, name in ipairs(result.hosts) do
		local host = hosts.find(name);
		for _, endpoint in ipairs(host and selection.of_host(host) or {}) do
			local text = selection.ambiguity(name, endpoint.alternatives);
			if text and not seen[text] then
				result:warn("%s", text);
				seen[text] = true;
			end
		end
	end
end

-- Any reload or start of Prosody, which other programs may cause, reads the files. newcomers = { [host] = true } of hosts that will
-- get another certificate than they have; is_early: the switch is not safe yet
function checks.locations(result, newcomers, is_early)
	local rivals = not result.is_replaced and rivals_of(result) or {};
	for _, rival in ipairs(rivals) do check_rival(result, rival, is_early); end
	if not rivals[1] then check_ambiguities(result); end
	for name in pairs(newcomers) do
		result:warn("the new certificate also names %s: Prosody may select it instead of the present certificate of %s", name, name);
	end
	if result.is_replaced and is_early then
		result:problem("%s has the new certificate already, and Prosody reads it at the next reload or start: restore the old "
			.."certificate and its key, or do not reload or restart Prosody before the switch is safe", result.file);
	end
end

return checks;
