-- Which certificate Prosody selects for a host: certmanager's search by name, and the options *_ssl

local array = require "util.array";
local certmanager = require "core.certmanager";
local config = require "core.configmanager";
local lfs = require "lfs";
local resolve_path = require "util.paths".resolve_relative_path;

local files = module:require "files";
local hosts = module:require "hosts";

local STARTTLS_OPTIONS = { ["xmpp-client"] = "c2s_ssl", ["xmpp-server"] = "s2s_ssl" };
-- For direct TLS Prosody 13.0 passes only the certificate and the key of a host's settings to LuaSec.
local PAIR_OF_HOST = pcall(require, "net.tls_luasec");
local FIELDS = { "certificate", "key", "password", "certificates" };

local selection = {};

-- ---- The search by name: certmanager.find_host_cert() ----

-- Where Prosody searches
function selection.directory()
	return resolve_path(prosody.paths.config or ".", config.get("*", "certificates") or "certs");
end

-- Certmanager logs a missing or unreadable directory as an error. Here the first is none, and check reports the second.
local function make_index()
	local directory = selection.directory();
	if lfs.attributes(directory, "mode") ~= "directory" or files.closed(directory) then return {}; end
	return certmanager.index_certs(directory);
end

local index; -- { [name] = { [path] = { [service or "*"] = true } } }

local function get_index()
	index = index or make_index();
	return index;
end

local function key_of(path)
	return (path:gsub("%.crt$", ".key"):gsub("fullchain", "privkey"));
end

-- Where the index has a name for single services only (SRV-ID, XmppAddr), certmanager also searches by file name.
local function search(host)
	if not host then return {}; end
	local found = get_index()[host] or get_index()[(host:gsub("^[^.]+%.", "*."))];
	local list, goes_on = {}, not found;
	for path, services in pairs(found or {}) do
		if services["*"] then
			list[#list + 1] = { certificate = path, key = key_of(path) };
		else
			goes_on = true;
		end
	end
	if goes_on then
		local option = config.get(host, "certificate");
		if type(option) == "table" then return list; end -- certmanager fails
		local by_file = certmanager.find_cert(option, host);
		for _, each in ipairs(by_file and { by_file } or search(host:match("%.(.+)$"))) do list[#list + 1] = each; end
	end
	return list;
end

local function digest_of_chain(path)
	local chain, digests = files.read_chain(path), {};
	for i = 1, chain and #chain or 0 do
		local info = chain:describe(i);
		if not info then return path; end
		digests[i] = info.sha256;
	end
	return digests[1] and table.concat(digests) or path;
end

-- Array of { certificate =, key = } with different chains, by path. Certmanager takes the first one of an unordered table, so
-- that another start may select another one.
function selection.candidates(host)
	local list, different, seen = search(host), {}, {};
	table.sort(list, function (a, b) return a.certificate < b.certificate; end);
	for _, each in ipairs(list) do
		local content = #list > 1 and digest_of_chain(each.certificate);
		if not seen[content] then different[#different + 1] = each; end
		seen[content] = true;
	end
	return different;
end

-- ---- Settings ----

-- Later settings override earlier ones.
local function merge(settings)
	local merged = {};
	for _, each in ipairs(settings) do
		for _, field in ipairs(FIELDS) do
			if each[field] ~= nil then merged[field] = each[field]; end
		end
	end
	return merged;
end

-- The certificates of merged settings: { { certificate =, key = or nil, password = }, ... } with absolute paths. A TLS context
-- would tell the same, but needs readable keys. If `certificates` is set, LuaSec loads these and nothing else; Prosody does not
-- resolve their paths, and runs in the data directory. Prosody ignores a table as `certificate`.
local function chosen(merged)
	local list, base = {}, prosody.paths.config or ".";
	local several = type(merged.certificates) == "table";
	if several then base = lfs.currentdir(); end
	for _, each in ipairs(several and merged.certificates or { merged }) do
		if type(each) == "table" and type(each.certificate) == "string" then
			list[#list + 1] = { certificate = resolve_path(base, each.certificate), password = each.password,
				key = type(each.key) == "string" and resolve_path(base, each.key) or nil };
		end
	end
	return list;
end

-- Calls settings(candidate) for each certificate found by a host's name, or with {}. Returns an array of the different results
-- of chosen().
local function alternatives_for(name, settings)
	local alternatives, seen = {}, {};
	local found = selection.candidates(name);
	for _, candidate in ipairs(found[1] and found or { {} }) do
		local list = chosen(settings(candidate));
		local key = table.concat(array.pluck(list, "certificate"), "\0");
		if not seen[key] then alternatives[#alternatives + 1] = list; end
		seen[key] = true;
	end
	return alternatives;
end

-- As mod_tls does
local function for_starttls(name, service)
	local option, parent = STARTTLS_OPTIONS[service], name:match("%.(.*)$");
	local function own(key)
		return config.rawget(name, key) or (parent and config.rawget(parent, key)) or {};
	end
	return alternatives_for(name, function (found)
		return merge { found, config.get("*", "ssl") or {}, config.rawget("*", option) or {}, own "ssl", own(option) };
	end);
end

-- NAME_certificate, which may be a table by port, or a file with the service's name. Certmanager prefers any certificate in the
-- directory; which one is undefined.
local function search_service(listener)
	if next(get_index()) then return {}; end
	local option = config.get("*", listener.name.."_certificate");
	if type(option) == "table" then option = option[listener.port] or option.default; end
	return certmanager.find_cert(option, listener.name) or {};
end

-- As portmanager does
local function settings_of_port(listener)
	local all, port = config.get("*", "ssl") or {}, listener.port;
	local own = config.get("*", listener.prefix.."ssl") or all;
	return merge { search_service(listener), all, all[port] or {}, own, own[port] or {} };
end

-- A client that names the host (SNI) gets the host's certificate. A setting for a port overrides one found by name.
local function for_direct_tls(name, listener)
	local of_port = settings_of_port(listener);
	return alternatives_for(name, function (found)
		local merged = merge { of_port, found, config.get(name, listener.name.."_ssl") or {} };
		if PAIR_OF_HOST then merged.certificates = of_port.certificates; end
		return merged;
	end);
end

-- ---- Results ----

-- The certificates that a host's clients or servers get; with direct TLS at this port, or else at the first listener. An array
-- of { certificate = path, key = path or nil, password = }, empty if Prosody has none. Several entries are one for each type of
-- key; or the selection is ambiguous, and the second result is the array of alternatives, each of which is such an array.
function selection.of(name, service, tls, port)
	local listener = tls == "direct" and hosts.listener(service, tls, port);
	local alternatives = listener and for_direct_tls(name, listener) or for_starttls(name, service);
	local list, seen = {}, {};
	for _, alternative in ipairs(alternatives) do
		for _, each in ipairs(alternative) do
			if not seen[each.certificate] then list[#list + 1] = each; end
			seen[each.certificate] = true;
		end
	end
	return list, alternatives[2] and alternatives or nil;
end

-- The same for each endpoint of a host: { { service =, tls =, port =, certificates =, alternatives = or nil }, ... }
function selection.of_host(host)
	local list = {};
	for _, endpoint in ipairs(hosts.endpoints()) do
		if host.services[endpoint.service] then
			local own = { service = endpoint.service, tls = endpoint.tls, port = endpoint.port };
			own.certificates, own.alternatives = selection.of(host.name, own.service, own.tls, own.port);
			list[#list + 1] = own;
		end
	end
	return list;
end

-- For clients without SNI at a port with direct TLS
function selection.of_port(listener)
	return chosen(settings_of_port(listener));
end

-- Only what the option https_ssl says: whether Prosody opens HTTPS depends on other modules. Of a host, or without SNI.
function selection.of_web(listener, name)
	if name then return chosen(config.get(name, "https_ssl") or {}); end
	local all = config.get("*", "https_ssl") or {};
	return chosen(merge { all, all[listener.port] or {} });
end

-- Whether such a list has a file
function selection.has(list, path)
	for _, each in ipairs(list) do
		if files.same(each.certificate, path) then return true; end
	end
	return false;
end

-- ---- Faults of the configuration ----

-- A text that says that the selection is ambiguous, and how to decide it; or nil
function selection.ambiguity(name, alternatives)
	if not alternatives then return nil; end
	local shown = {};
	for i, alternative in ipairs(alternatives) do
		local list = array.pluck(alternative, "certificate");
		shown[i] = list[1] and table.concat(list, " with ") or "none";
	end
	return ("Ambiguous certificate for %s: Prosody selects one of these at each start or reload: %s. All of them match the host. "
		.."Keep one of them below %s; or set the certificate in the host's section, ssl = { certificate = ..., key = ... }; or "
		.."serve one for each type of key, ssl = { certificates = { { certificate = ..., key = ... }, ... } }")
		:format(name, table.concat(shown, ", "), selection.directory());
end

-- Where Prosody would find a certificate by its file name, for a host or its parent domains
local function searched_paths(name)
	local directory = selection.directory();
	local list = { directory };
	while name do
		list[#list + 1] = ("%s/%s.crt"):format(directory, name);
		list[#list + 1] = ("%s/%s/fullchain.pem"):format(directory, name);
		name = name:match("%.(.+)$");
	end
	return list;
end

-- Whether an option names certificates in a form that Prosody ignores
local function is_malformed(name)
	if type(config.get(name, "certificate")) == "table" then return true; end
	for _, section in ipairs { name, "*" } do
		for _, option in ipairs { "ssl", "c2s_ssl", "s2s_ssl" } do
			local settings = config.rawget(section, option) or {};
			if type(settings.certificate) == "table" or settings.certificates and not chosen(settings)[1] then return true; end
		end
	end
	return false;
end

-- A text about a host without a certificate. Prosody treats an unreadable certificate as a missing one.
function selection.missing(name)
	local text = ("Prosody finds no certificate for %s in %s"):format(name, selection.directory());
	if is_malformed(name) then
		return text.."; for several set ssl = { certificates = { { certificate = ..., key = ... }, ... } }: a table as certificate is "
			.."ignored";
	end
	for _, path in ipairs(searched_paths(name)) do
		local closed = files.closed(path);
		if closed then return text..": "..closed; end
	end
	return text;
end

return selection;
