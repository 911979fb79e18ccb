-- Checks of a certificate that replaces another one, DNS aside: names, dates, keys, and the places of files. Each adds texts to
-- the `problems` and `warnings` of a result, as of replacement.lib.lua.

local candidates = module:require "candidates";
local certificates = module:require "certificates";
local certs = module:require "native"("certs");
local dane = module:require "dane";
local files = module:require "files";
local hosts = module:require "hosts";
local inventory = module:require "inventory";
local keys = module:require "keys";
local date = module:require "terminal".date;

local checks = {};

local function problem(result, format, ...)
	table.insert(result.problems, format:format(...));
end

local function warn(result, format, ...)
	table.insert(result.warnings, format:format(...));
end

-- ---- The new certificate by itself ----

-- Whether a host loses what the old certificate gives it. Where that is not known, it may.
local function is_loss(result, name, service)
	return not result.old or certs.identity(result.old, name, service) == true;
end

function checks.names(result, new)
	local seen = {};
	for _, use in ipairs(result.uses) do
		for _, name in ipairs(use.hosts) do
			local text = ("the new certificate does not name %s for %s"):format(name, use.service);
			if not seen[text] and not certs.identity(new, name, use.service) then
				if is_loss(result, name, use.service) then
					problem(result, "%s", text);
				else
					warn(result, "%s, nor does the old one", text);
				end
			end
			seen[text] = true;
		end
	end
end

-- A warning alone: DANE makes up for it, and the old certificate may be the same.
function checks.chain(result, new)
	local verdict = dane.verify(new, { service = "xmpp-server", references = {} });
	if verdict.chain ~= "valid" then
		warn(result, "clients, and peers without DANE, do not accept the new certificate: %s", dane.errors(verdict));
	end
end

-- ---- Dates, beside the end of the waiting ----

function checks.dates(result)
	local new, old, ends = result.leaf, result.old_leaf, result.ends;
	local is_waiting = ends and ends > result.now;
	if not new.not_after or new.not_after < result.now then
		problem(result, "the new certificate has expired");
	elseif is_waiting and new.not_after < ends then
		problem(result, "the new certificate ends on %s, before the waiting is over on %s: take one that is valid for longer",
			date(new.not_after), date(ends));
	end
	if not new.not_before or new.not_before > result.now then problem(result, "the new certificate is not valid yet"); end
	if old and old.not_after and is_waiting and old.not_after < ends then
		warn(result, "the old certificate ends on %s, before the waiting is over on %s: clients, and peers without DANE, refuse it "
			.."in between; a new certificate for the old key needs no waiting", date(old.not_after), date(ends));
	end
end

-- ---- Keys ----

-- The keys that Prosody has for the file, beside what the file holds now
local function check_present_keys(result)
	for _, pair in ipairs(inventory.pairs_of(result.file)) do
		local fault, is_other;
		if pair.key then
			fault, is_other = keys.fault(result.present, "the certificate "..result.file, { path = pair.key, password = pair.password });
		end
		if is_other and result.is_replaced then
			fault = fault..", which is the new one already: put its key there before Prosody reads them";
		elseif is_other then
			fault = fault..", which is still the old one: put the old key back until the certificate is switched";
		end
		if fault then problem(result, "%s", fault); end
	end
end

-- Whether the key in place is that of the new chain
local function has_key_in_place(result, new)
	for _, pair in ipairs(inventory.pairs_of(result.file)) do
		if pair.key and not keys.fault(new, "", { path = pair.key, password = pair.password }) then return true; end
	end
	return false;
end

local function password_of(path)
	for _, pair in ipairs(inventory.pairs_of(path)) do
		if pair.password then return pair.password; end
	end
end

-- about: as of replacement.examine()
function checks.keys(result, about)
	if result.present then check_present_keys(result); end
	if about.key or about.key_path then
		local fault = keys.fault(about.new, about.new_path and "the certificate "..about.new_path or "the new certificate",
			{ pem = about.key, path = about.key_path, password = password_of(result.file) });
		if fault then problem(result, "%s", fault); end
	elseif not result.is_replaced and not has_key_in_place(result, about.new) then
		warn(result, "the key of the new certificate is not known, and was not looked at: --key names it");
	end
end

-- ---- Where the new certificate lies ----

-- The other files that Prosody may take for a host of this file, with the new certificate: { { path =, host = }, ... }
local function rivals_of(result)
	local list, seen = {}, {};
	for _, name in ipairs(result.hosts) do
		for _, candidate in ipairs(candidates.of(name)) do
			local path = candidate.certificate;
			local pem = not seen[path] and not files.same(path, result.file) and files.read(path);
			local leaf = pem and certs.names(pem);
			if leaf and leaf.sha256 == result.leaf.sha256 then list[#list + 1] = { path = path, host = name }; end
			seen[path] = true;
		end
	end
	return list;
end

local function check_rival(result, rival, is_early)
	local text = ("%s lies where Prosody looks for certificates of %s: it may take that one with the next reload or start"):format(
		rival.path, rival.host);
	if is_early then
		problem(result, "%s; move it out of %s until the switch", text, candidates.directory());
	else
		warn(result, "%s; put it in the place of %s, and remove it from there", text, result.file);
	end
end

-- Hosts that Prosody takes any of several certificates for
local function check_choices(result)
	local seen = {};
	for _, name in ipairs(result.hosts) do
		local host = hosts.find(name);
		inventory.of_host(host or { services = {} }, function (_, _, alternatives)
			local text = certificates.choice(name, alternatives);
			if text and not seen[text] then
				warn(result, "%s", text);
				seen[text] = true;
			end
		end);
	end
end

-- Prosody reads its files again with every reload and start, and other programs may cause one. newcomers = { [host] = true } of
-- hosts that get another certificate than they have; is_early: the switch is not safe yet
function checks.places(result, newcomers, is_early)
	local rivals = not result.is_replaced and rivals_of(result) or {};
	for _, rival in ipairs(rivals) do check_rival(result, rival, is_early); end
	if not rivals[1] then check_choices(result); end
	for name in pairs(newcomers) do
		warn(result, "the new certificate names %s, too: Prosody may take it in place of the one that %s has now", name, name);
	end
	if result.is_replaced and is_early then
		problem(result, "%s holds the new certificate already, and Prosody takes it with the next reload or start: put the old "
			.."certificate and its key back; or else do not reload or restart Prosody before the switch is safe", result.file);
	end
end

return checks;
