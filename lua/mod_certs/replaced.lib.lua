-- Which file a certificate is replaced in: what an operator names, as one path that Prosody has

local nameprep = require "util.encodings".stringprep.nameprep;

local certificates = module:require "certificates";
local certs = module:require "native"("certs");
local files = module:require "files";
local hosts = module:require "hosts";
local inventory = module:require "inventory";
local paths = module:require "paths";

local replaced = {};

-- Whether a file's certificate is this one
local function holds(path, sha256)
	local pem = sha256 and files.read(path);
	local leaf = pem and certs.names(pem);
	return leaf and leaf.sha256 == sha256 or false;
end

-- Adds a host's files, each once: { path =, uses = { texts } }
local function add_files_of(list, host)
	inventory.of_host(host, function (pair, description)
		local found;
		for _, each in ipairs(list) do
			if each.path == pair.certificate or files.same(each.path, pair.certificate) then found = each; end
		end
		if not found then
			found = { path = pair.certificate, uses = {} };
			list[#list + 1] = found;
		end
		if found.uses[#found.uses] ~= description then table.insert(found.uses, description); end
	end);
end

-- The new certificate may lie beside the one that it replaces, so that Prosody finds both: it is not meant.
local function without_new(list, new)
	local rest = {};
	for _, each in ipairs(list) do
		if not holds(each.path, new) then rest[#rest + 1] = each; end
	end
	return rest[1] and rest or list;
end

local function of_host(host, new)
	local list, texts = {}, {};
	add_files_of(list, host);
	list = without_new(list, new);
	if list[1] and not list[2] then return list[1].path; end
	if not list[1] then return nil, 1, certificates.missing(host.name); end
	for i, each in ipairs(list) do texts[i] = ("  %s (%s)"):format(each.path, table.concat(each.uses, "; ")); end
	return nil, 1, ("%s has several certificates; name the file that is to be replaced:\n%s"):format(host.name,
		table.concat(texts, "\n"));
end

-- As Prosody names it: links may lead to one file.
local function of_file(path)
	local list = {};
	for _, host in ipairs(hosts.list()) do add_files_of(list, host); end
	for _, each in ipairs(list) do
		if files.same(each.path, path) then return each.path; end
	end
	if certificates.uses(path)[1] then return path; end
	return nil, 1, path..": Prosody does not use this file";
end

-- The path for HOST, which stands for the one file that its clients and servers get, or FILE. new = SHA-256 of the new
-- certificate, or nil. Returns nil, exit status, text (with line breaks) where there is none, or where HOST has several.
function replaced.find(name, new)
	local prepped = nameprep(name);
	local host = prepped and hosts.find(prepped);
	if host then return of_host(host, new); end
	local path = paths.absolute(name);
	if files.is_file(path) then return of_file(path); end
	return nil, 2, ("%s is no host of the configuration, and no file: %s"):format(name, paths.missing(path) or "it is something else");
end

return replaced;
