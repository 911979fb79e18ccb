-- prosodyctl mod_certs tlsa: the records that a certificate needs in DNS (RFC 6698, RFC 7673), in zone-file form

local array = require "util.array";
local json = require "util.json";
local to_hex = require "util.hex".encode;
local nameprep = require "util.encodings".stringprep.nameprep;

local certificates = module:require "certificates";
local certs = module:require "native"("certs");
local dane = module:require "dane";
local files = module:require "files";
local hosts = module:require "hosts";
local lookup = module:require "lookup";
local places = module:require "places";
local permissions = module:require "permissions";
local ports = module:require "ports";
local paths = module:require "paths";
local terminal = module:require "terminal";
local zone = module:require "zone";

local HOST_NAME = "^[%w_.-]+$";
local LIMITS = { usage = 3, selector = 1, match = 2, ttl = 0x7fffffff };
local DEFAULTS = { usage = 3, selector = 1, match = 1, ttl = zone.TTL };

local function fail(status, format, ...)
	terminal.error(format, ...);
	return status;
end

-- { usage =, selector =, match =, ttl = }; or nil, text
local function kind_of(flags)
	local kind = {};
	for name, default in pairs(DEFAULTS) do
		local number = flags[name] and math.tointeger(tonumber(flags[name])) or not flags[name] and default;
		if not number or number < 0 or number > LIMITS[name] then
			return nil, ("--%s is a number from 0 to %d"):format(name, LIMITS[name]);
		end
		kind[name] = number;
	end
	return kind;
end

-- ---- Which domains, and which certificate each of their services has ----

-- Domains that a certificate serves: configured hosts; or else what its names say
local function domains_of(pem)
	local found = {};
	for _, host in ipairs(hosts.list()) do
		if certs.identity(pem, host.name, "xmpp-client") or certs.identity(pem, host.name, "xmpp-server") then
			found[#found + 1] = host.name;
		end
	end
	if found[1] then return found; end
	local seen = {};
	for _, name in ipairs(certs.names(pem).names) do
		local domain = not name.fault and (name.type == "DNS-ID" and name.value
			or name.type == "SRV-ID" and name.value:match("^_[^.]+%.(.+)$"));
		if domain and not domain:find("*", 1, true) and not seen[domain] then
			seen[domain] = true;
			found[#found + 1] = domain;
		end
	end
	return found;
end

local function subjects_of_file(path, domain)
	local pem, err = files.read(path);
	if not pem then return nil, err; end
	local known, _, text = certs.names(pem);
	if not known then return nil, ("%s: %s"):format(path, text); end
	local list = {};
	for i, name in ipairs(domain and { domain } or domains_of(pem)) do
		list[i] = { domain = name, services = hosts.find_any(name).services, file = path };
	end
	if not list[1] then return nil, path.." names no domain; --domain tells which one it is for"; end
	return list;
end

-- { { domain =, services = { [service] = whether it has that }, file = the certificate; without it that of the endpoint
-- by the configuration }, ... }; or nil, text, status if there is neither such a host nor such a file
local function subjects_of(name, domain)
	local path = paths.absolute(name);
	if files.is_file(path) then return subjects_of_file(path, domain); end
	local host = hosts.find(nameprep(name) or name);
	if host then return { { domain = host.name, services = host.services } }; end
	local text = ("%s is neither a host of the configuration nor a file: %s"):format(name,
		paths.missing(path) or "it is something else");
	return nil, text, paths.hidden(path) and 1 or 2;
end

-- ---- Where they are served ----

-- Adds the targets that DNS says. Returns which services it knows, and their first targets; or nil, text.
local function add_published(endpoints, subject, domain)
	local published, first = {}, {};
	for _, service in ipairs(hosts.SERVICES) do
		for _, tls in ipairs(subject.services[service] and { "starttls", "direct" } or {}) do
			local place = places.of_service(domain, service, tls);
			if not lookup.usable(place.srv) then return nil, ("%s SRV: %s"):format(place.name, place.srv.reason); end
			published[service..tls] = place.srv.records[1] ~= nil;
			for _, target in ipairs(published[service..tls] and place.targets or {}) do
				if not target.name:find(HOST_NAME) then
					return nil, ("%s SRV: %s is no host name"):format(place.name, target.name);
				end
				first[service] = first[service] or target.name;
				table.insert(endpoints, { service = service, tls = tls, target = target.name, port = target.port });
			end
		end
	end
	return published, first;
end

-- Array of { service =, tls =, target =, port =, unpublished = no SRV record says so }; or nil, text. Without an SRV
-- record STARTTLS is looked for at the domain itself, and direct TLS is not; one is best published for the same target.
local function endpoints_of(subject)
	local endpoints, own = {}, zone.to_ascii(subject.domain);
	if not own then return nil, subject.domain.." is no domain name"; end
	local published, first = add_published(endpoints, subject, own);
	if not published then return nil, first; end
	for _, listener in ipairs(ports.list()) do
		local service, tls = listener.service, listener.tls;
		if subject.services[service] and not published[service..tls] then
			endpoints[#endpoints + 1] = { service = service, tls = tls, port = listener.port, unpublished = true,
				target = tls == "direct" and first[service] or own };
		end
	end
	return endpoints;
end

-- ---- Records ----

-- The paths of the certificates that are served there, and a text where Prosody's choice among them is open; or nil, text
local function certificates_at(endpoint, subject)
	if subject.file then return { subject.file }; end
	local list, alternatives = certificates.of(subject.domain, endpoint.service, endpoint.tls, endpoint.port);
	if not list[1] then return nil, certificates.missing(subject.domain); end
	local files_of = {};
	for i, each in ipairs(list) do files_of[i] = each.certificate; end
	return files_of, certificates.choice(subject.domain, alternatives);
end

-- Why peers that know this record alone would refuse the chain, as a text; or nil. A record of the authority is no use
-- where it does not prove the chain, one of usage 0 or 1 where Prosody's own authorities do not.
local function refusal(pem, record, endpoint, subject)
	local about = { service = endpoint.service, references = { subject.domain, endpoint.target } };
	local accepted, verdict = dane.accepts(pem, about, { record });
	if accepted then return nil; end
	return ("peers would refuse it by a record %s: %s%s"):format(dane.combination(record),
		dane.errors(verdict) or verdict.text or "it does not match",
		record.usage < 2 and "; usages 0 and 1 are for certificates of public authorities, 3 1 1 is for any" or "");
end

-- The data of a record for the certificate in a file; or nil, text
local function data_for(path, kind, endpoint, subject)
	local pem, err = files.read(path);
	if not pem then return nil, permissions.closed(path) or err; end
	local chain, _, text = certs.chain(pem);
	if chain and kind.usage % 2 == 0 and not chain[#chain].authority then
		return nil, ("%s does not hold the certificate of an authority, which usage %d is about"):format(path, kind.usage);
	end
	local data;
	if chain then data, _, text = certs.tlsa(pem, kind.usage, kind.selector, kind.match); end
	if data then
		text = refusal(pem, { usage = kind.usage, selector = kind.selector, match = kind.match, data = data }, endpoint, subject);
	end
	if text then return nil, ("%s: %s"):format(path, text); end
	return data;
end

-- Adds those of one endpoint, each once. Returns nil, text if there is one that cannot be.
local function add_records(records, seen, endpoint, subject, kind)
	local paths_of, choice = certificates_at(endpoint, subject);
	if not paths_of then return nil, choice; end
	local name = zone.tlsa_name(endpoint.target, endpoint.port);
	for _, path in ipairs(paths_of) do
		local data, text = data_for(path, kind, endpoint, subject);
		if not data then return nil, text; end
		if not seen[name..data] then
			records[#records + 1] = {
				name = name, ttl = kind.ttl, usage = kind.usage, selector = kind.selector, match = kind.match, data = data,
				domain = subject.domain, certificate = path, choice = choice, service = endpoint.service,
				tls = endpoint.tls, target = endpoint.target, port = endpoint.port, unpublished = endpoint.unpublished,
			};
		end
		seen[name..data] = true;
	end
	return true;
end

-- Those of one domain; or nil, text
local function records_of(subject, kind)
	local endpoints, err = endpoints_of(subject);
	if not endpoints then return nil, err; end
	local records, seen = {}, {};
	for _, endpoint in ipairs(endpoints) do
		local ok, text = add_records(records, seen, endpoint, subject, kind);
		if not ok then return nil, text; end
	end
	return records;
end

-- The SRV record that a listener lacks, and whether it is not found without it; or nil
local function missing_srv(record)
	if not record.unpublished then return nil; end
	return zone.srv {
		domain = zone.to_ascii(record.domain); ttl = record.ttl; service = record.service; tls = record.tls;
		port = record.port; target = record.target;
	}, record.tls == "direct" or record.port ~= places.DEFAULT_PORTS[record.service];
end

-- ---- Output ----

-- Comments about the certificate of a record, where they differ from those of the one before
local function print_comments(record, last)
	if record.choice and record.choice ~= last.choice then terminal.print("; %s", terminal.printable(record.choice)); end
	if record.certificate ~= last.certificate then terminal.print("; certificate %s", terminal.printable(record.certificate)); end
end

-- Of several certificates at one port each SRV record is the same.
local function print_missing(records)
	local printed = {};
	for _, record in ipairs(records) do
		local srv, needed = missing_srv(record);
		if srv and not next(printed) then terminal.print("; SRV records that are missing, for a target of your choice:"); end
		if srv and not printed[srv] then
			printed[srv] = true;
			terminal.print("; %s%s", srv, needed and "" or " ; optional");
		end
	end
end

local function print_zone(subject, records, kind)
	terminal.print("; TLSA records for %s; they count in zones that are signed with DNSSEC", subject.domain);
	if kind.usage == 2 then terminal.print("; the authority's certificate must be in the chain that is sent"); end
	local last = {};
	for _, record in ipairs(records) do
		print_comments(record, last);
		terminal.print("%s", zone.tlsa(record));
		last = record;
	end
	print_missing(records);
	terminal.print("");
end

local function as_json(record)
	local srv, needed = missing_srv(record);
	return {
		name = record.name, ttl = record.ttl, usage = record.usage, selector = record.selector, match = record.match,
		data = to_hex(record.data), domain = record.domain, service = record.service, tls = record.tls,
		target = record.target, port = record.port, certificate = record.certificate,
		choice = record.choice or json.null, missing_srv = srv or json.null, srv_needed = srv and needed or false,
	};
end

return function (names, flags)
	local kind, wrong = kind_of(flags);
	if not kind then return fail(2, "%s", wrong); end
	local subjects, text, status = subjects_of(names[1], flags.domain and nameprep(flags.domain));
	if not subjects then return fail(status or 1, "%s", terminal.printable(text)); end
	local list = array();
	for _, subject in ipairs(subjects) do
		local records, err = records_of(subject, kind);
		if not records then return fail(1, "%s", terminal.printable(err)); end
		if not flags.json then print_zone(subject, records, kind); end
		for _, record in ipairs(records) do list:push(as_json(record)); end
	end
	if flags.json then terminal.print("%s", json.encode({ records = list })); end
	if not list[1] then return fail(1, "there is nothing to publish: no listener serves %s", names[1]); end
	return 0;
end
