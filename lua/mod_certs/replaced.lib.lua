-- Which file a certificate is replaced in: what an operator names, as one path that Prosody has

local nameprep = require "util.encodings".stringprep.nameprep;

local certificates = module:require "certificates";
local files = module:require "files";
local hosts = module:require "hosts";
local paths = module:require "paths";
local ports = module:require "ports";

local replaced = {};

-- "clients, direct TLS on port 5223"
function replaced.describe_use(service, tls, port)
	return hosts.PEOPLE[service]..(tls == "direct" and (", direct TLS on port %d"):format(port) or ", STARTTLS");
end

-- Adds the files that a host's clients and servers get: { path =, uses = { texts } }, each file once.
local function add_files_of(list, host)
	local function add(service, tls, port)
		local path = certificates.of(host.name, service, tls, port);
		if not host.services[service] or not path then return; end
		local found;
		for _, each in ipairs(list) do
			if each.path == path or files.same(each.path, path) then found = each; end
		end
		if not found then
			found = { path = path, uses = {} };
			list[#list + 1] = found;
		end
		table.insert(found.uses, replaced.describe_use(service, tls, port));
	end
	for _, service in ipairs(hosts.SERVICES) do add(service, "starttls"); end
	for _, listener in ipairs(ports.list()) do
		if listener.tls == "direct" then add(listener.service, "direct", listener.port); end
	end
end

local function of_host(host)
	local list, texts = {}, {};
	add_files_of(list, host);
	if list[1] and not list[2] then return list[1].path; end
	if not list[1] then return nil, 1, ("Prosody finds no certificate for %s"):format(host.name); end
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

-- The path for HOST, which stands for the one file that its clients and servers get, or FILE. Returns nil, exit status, text
-- (with line breaks) where there is none, or where HOST has several.
function replaced.find(name)
	local prepped = nameprep(name);
	local host = prepped and hosts.find(prepped);
	if host then return of_host(host); end
	local path = paths.absolute(name);
	if files.is_file(path) then return of_file(path); end
	return nil, 2, ("%s is no host of the configuration, and no file: %s"):format(name, paths.missing(path) or "it is something else");
end

return replaced;
