-- What Prosody uses a certificate file for, the key that it has for the file, and the file that an operator names

local array = require "util.array";
local nameprep = require "util.encodings".stringprep.nameprep;

local files = module:require "files";
local hosts = module:require "hosts";
local paths = module:require "paths";
local selection = module:require "selection";

local uses = {};

-- ---- Hosts that use a file ----

-- { { service = "xmpp-client", "xmpp-server" or "https", tls =, port = with direct TLS, hosts = { names }, nameless = clients
-- without SNI get it too }, ... }
function uses.of(path)
	local list = array();
	local function add(use)
		if use.hosts[1] or use.nameless then list:push(use); end
	end
	for _, endpoint in ipairs(hosts.endpoints()) do
		local service, tls, port = endpoint.service, endpoint.tls, endpoint.port;
		local use = { service = service, tls = tls, port = port, hosts = array(),
			nameless = tls == "direct" and selection.has(selection.of_port(endpoint), path) };
		for _, host in ipairs(hosts.list()) do
			if host.services[service] and selection.has(selection.of(host.name, service, tls, port), path) then use.hosts:push(host.name); end
		end
		add(use);
	end
	for _, listener in ipairs(hosts.https_listeners()) do
		local use = { service = "https", tls = "direct", port = listener.port, hosts = array(),
			nameless = selection.has(selection.of_web(listener), path) };
		for _, host in ipairs(hosts.list()) do
			if selection.has(selection.of_web(listener, host.name), path) then use.hosts:push(hosts.web_name(host.name)); end
		end
		add(use);
	end
	return list;
end

-- The hosts of uses, each once
function uses.hosts(list)
	local names = array();
	for _, use in ipairs(list) do names:append(use.hosts); end
	return names:unique();
end

-- ---- Keys ----

-- Every certificate that Prosody may use
local function all_pairs()
	local list = array();
	for _, host in ipairs(hosts.list()) do
		for _, endpoint in ipairs(hosts.endpoints()) do
			list:append((selection.of(host.name, endpoint.service, endpoint.tls, endpoint.port)));
		end
		list:append(selection.of_web(nil, host.name));
	end
	for _, endpoint in ipairs(hosts.endpoints()) do
		if endpoint.tls == "direct" then list:append(selection.of_port(endpoint)); end
	end
	for _, listener in ipairs(hosts.https_listeners()) do list:append(selection.of_web(listener)); end
	return list;
end

-- The path of the private key that Prosody uses with a certificate; or nil, text
function uses.key(path)
	local key, used;
	for _, each in ipairs(all_pairs()) do
		if files.same(each.certificate, path) then
			used = true;
			if key and each.key and key ~= each.key and not files.same(key, each.key) then
				return nil, ("%s: Prosody uses it with two private keys, %s and %s"):format(path, key, each.key);
			end
			key = key or each.key;
		end
	end
	if key then return key; end
	return nil, ("%s: Prosody %s"):format(path, used and "has no private key for it" or "does not use this certificate");
end

-- The settings that have this file for XMPP, one for each key: { { certificate =, key =, password = }, ... }
function uses.pairs(path)
	local list, seen = {}, {};
	for _, host in ipairs(hosts.list()) do
		for _, endpoint in ipairs(selection.of_host(host)) do
			for _, pair in ipairs(endpoint.certificates) do
				local key = pair.key or "";
				if not seen[key] and files.same(pair.certificate, path) then
					list[#list + 1] = pair;
					seen[key] = true;
				end
			end
		end
	end
	return list;
end

-- ---- The file that an operator names ----

local function holds(path, sha256)
	if not sha256 then return false; end
	local chain, leaf = files.read_chain(path);
	return chain ~= nil and leaf.sha256 == sha256;
end

-- Adds a host's files, each once: { path =, uses = { texts } }
local function add_files_of(list, host)
	for _, endpoint in ipairs(selection.of_host(host)) do
		local description = hosts.describe(endpoint.service, endpoint.tls, endpoint.port);
		for _, pair in ipairs(endpoint.certificates) do
			local found;
			for _, each in ipairs(list) do
				if each.path == pair.certificate or files.same(each.path, pair.certificate) then found = each; end
			end
			if not found then
				found = { path = pair.certificate, uses = {} };
				list[#list + 1] = found;
			end
			if found.uses[#found.uses] ~= description then table.insert(found.uses, description); end
		end
	end
	return list;
end

-- Prosody also finds a new certificate that lies beside the one that it replaces.
local function without_new(list, new)
	local rest = {};
	for _, each in ipairs(list) do
		if not holds(each.path, new) then rest[#rest + 1] = each; end
	end
	return rest[1] and rest or list;
end

local function file_of_host(host, new)
	local list, texts = without_new(add_files_of({}, host), new), {};
	if list[1] and not list[2] then return list[1].path; end
	if not list[1] then return nil, 1, selection.missing(host.name); end
	for i, each in ipairs(list) do texts[i] = ("  %s (%s)"):format(each.path, table.concat(each.uses, "; ")); end
	return nil, 1, ("%s has several certificates; name the file to replace:\n%s"):format(host.name, table.concat(texts, "\n"));
end

-- The path as Prosody's configuration has it: links may lead to the same file.
local function file_of_path(path)
	local list = {};
	for _, host in ipairs(hosts.list()) do add_files_of(list, host); end
	for _, each in ipairs(list) do
		if files.same(each.path, path) then return each.path; end
	end
	if uses.of(path)[1] then return path; end
	return nil, 1, path..": Prosody does not use this file";
end

-- The path of the certificate file that FILE, or HOST if it has only one, names. new = SHA-256 of the certificate that will
-- replace it, or nil. Or nil, exit status, text (with line breaks).
function uses.find_file(name, new)
	local prepped = nameprep(name);
	local host = prepped and hosts.find(prepped);
	if host then return file_of_host(host, new); end
	local path = paths.absolute(name);
	if files.is_file(path) then return file_of_path(path); end
	return nil, 2, ("%s is neither a configured host nor a file: %s"):format(name, paths.missing(path) or "not a regular file");
end

return uses;
