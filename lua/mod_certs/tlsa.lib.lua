-- prosodyctl mod_certs tlsa: the TLSA records of a host or certificate for a zone file (RFC 6698, RFC 7673)

local array = require "util.array";
local json = require "util.json";
local nameprep = require "util.encodings".stringprep.nameprep;

local dane = module:require "dane";
local dns = module:require "dns";
local files = module:require "files";
local hosts = module:require "hosts";
local paths = module:require "paths";
local selection = module:require "selection";
local terminal = module:require "terminal";

local TTL = 3600; -- seconds: a mistake is forgotten within the hour
local HOST_NAME = "^[%w_.-]+$";
local LIMITS = { usage = 3, selector = 1, match = 2, ttl = 0x7fffffff };
local DEFAULTS = { usage = 3, selector = 1, match = 1, ttl = TTL };

-- { usage =, selector =, match =, ttl = }; or nil, text
local function kind_of(flags)
	local kind = {};
	for name, default in pairs(DEFAULTS) do
		local number = flags[name] and math.tointeger(tonumber(flags[name])) or not flags[name] and default;
		if not number or number < 0 or number > LIMITS[name] then
			return nil, ("--%s must be a number from 0 to %d"):format(name, LIMITS[name]);
		end
		kind[name] = number;
	end
	return kind;
end

-- ---- Domains ----

-- The configured hosts that a certificate is valid for; or else the domains in its names
local function domains_of(chain)
	local found = {};
	for _, host in ipairs(hosts.list()) do
		if chain:identity(host.name, "xmpp-client") or chain:identity(host.name, "xmpp-server") then
			found[#found + 1] = host.name;
		end
	end
	if found[1] then return found; end
	local seen = {};
	for _, name in ipairs(chain:names() or {}) do
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
	local chain, err = files.read_chain(path);
	if not chain then return nil, err; end
	local list = {};
	for i, name in ipairs(domain and { domain } or domains_of(chain)) do
		list[i] = { domain = name, services = hosts.find_any(name).services, file = path };
	end
	if not list[1] then return nil, path.." names no domain: give it with --domain"; end
	return list;
end

-- { { domain =, services = { [service] = boolean }, file = the certificate, or nil: Prosody's for each endpoint }, ... }; or nil,
-- text, exit status
local function subjects_of(name, domain)
	local path = paths.absolute(name);
	if files.is_file(path) then return subjects_of_file(path, domain); end
	local host = hosts.find(nameprep(name) or name);
	if host then return { { domain = host.name, services = host.services } }; end
	local text = ("%s is neither a configured host nor a file: %s"):format(name, paths.missing(path) or "not a regular file");
	return nil, text, paths.hidden(path) and 1 or 2;
end

-- ---- Endpoints ----

-- Adds the targets of the SRV records. Returns which services have a record, and their first targets; or nil, text.
local function add_published(endpoints, subject, domain)
	local published, first = {}, {};
	for _, service in ipairs(hosts.SERVICES) do
		for _, tls in ipairs(subject.services[service] and { "starttls", "direct" } or {}) do
			local srv = dns.srv(domain, service, tls);
			if not dns.usable(srv.answer) then return nil, ("%s SRV: %s"):format(srv.name, srv.answer.reason); end
			published[service..tls] = srv.answer.records[1] ~= nil;
			for _, target in ipairs(published[service..tls] and srv.targets or {}) do
				if not target.name:find(HOST_NAME) then
					return nil, ("%s SRV: invalid host name %s"):format(srv.name, target.name);
				end
				first[service] = first[service] or target.name;
				table.insert(endpoints, { service = service, tls = tls, target = target.name, port = target.port });
			end
		end
	end
	return published, first;
end

-- Array of { service =, tls =, target =, port =, unpublished = there is no SRV record }; or nil, text. Without an SRV record peers
-- try STARTTLS at the domain itself, and not direct TLS, for which the target of the other record is suggested.
local function endpoints_of(subject)
	local endpoints, own = {}, dns.to_ascii(subject.domain);
	if not own then return nil, "invalid domain name: "..subject.domain; end
	local published, first = add_published(endpoints, subject, own);
	if not published then return nil, first; end
	for _, listener in ipairs(hosts.listeners()) do
		local service, tls = listener.service, listener.tls;
		if subject.services[service] and not published[service..tls] then
			endpoints[#endpoints + 1] = { service = service, tls = tls, port = listener.port, unpublished = true,
				target = tls == "direct" and first[service] or own };
		end
	end
	return endpoints;
end

-- ---- Records ----

-- The paths of the certificates of an endpoint, and a text if the selection is ambiguous; or nil, text
local function certificates_at(endpoint, subject)
	if subject.file then return { subject.file }; end
	local list, alternatives = selection.of(subject.domain, endpoint.service, endpoint.tls, endpoint.port);
	if not list[1] then return nil, selection.missing(subject.domain); end
	return array.pluck(list, "certificate"), selection.ambiguity(subject.domain, alternatives);
end

-- Why a peer with only this record refuses the chain; or nil. Usages 0 and 1 also need an authority that peers trust, for which
-- Prosody's stand.
local function refusal(chain, record, endpoint, subject)
	local reference = { service = endpoint.service, names = { subject.domain, endpoint.target } };
	local accepted, verdict = dane.accepts(chain, reference, { record });
	if accepted then return nil; end
	return ("peers would refuse the chain with a record %s: %s%s"):format(dane.combination(record),
		dane.errors(verdict) or verdict.text or "it does not match",
		record.usage < 2 and "; usages 0 and 1 are for certificates of public authorities, 3 1 1 is for all" or "");
end

-- The data of a record for the certificate in a file; or nil, text
local function data_for(path, kind, endpoint, subject)
	local chain, err = files.read_chain(path);
	if not chain then return nil, files.closed(path) or err; end
	local last, _, text = chain:describe(#chain);
	if last and kind.usage % 2 == 0 and not last.authority then
		return nil, ("%s does not contain the certificate of an authority, which usage %d needs"):format(path, kind.usage);
	end
	local data;
	if last then data, _, text = chain:tlsa(kind); end
	if data then
		text = refusal(chain, { usage = kind.usage, selector = kind.selector, match = kind.match, data = data }, endpoint, subject);
	end
	if text then return nil, ("%s: %s"):format(path, text); end
	return data;
end

-- Adds the records of one endpoint, each once. Returns true; or nil, text.
local function add_records(records, seen, endpoint, subject, kind)
	local paths_of, choice = certificates_at(endpoint, subject);
	if not paths_of then return nil, choice; end
	local name = dns.tlsa_name(endpoint.target, endpoint.port);
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

-- The records of one domain; or nil, text
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

-- The missing SRV record of a listener, and whether peers need it to find the listener; or nil
local function missing_srv(record)
	if not record.unpublished then return nil; end
	return dns.srv_text {
		domain = dns.to_ascii(record.domain); ttl = record.ttl; service = record.service; tls = record.tls;
		port = record.port; target = record.target;
	}, record.tls == "direct" or record.port ~= dns.DEFAULT_PORTS[record.service];
end

-- ---- Output ----

-- Comments about the certificate of a record, if they differ from those of the record before
local function print_comments(record, last)
	if record.choice and record.choice ~= last.choice then terminal.print("; %s", terminal.printable(record.choice)); end
	if record.certificate ~= last.certificate then terminal.print("; certificate %s", terminal.printable(record.certificate)); end
end

-- Several certificates at one port have the same SRV record.
local function print_missing(records)
	local printed = {};
	for _, record in ipairs(records) do
		local srv, needed = missing_srv(record);
		if srv and not next(printed) then terminal.print("; missing SRV records, the target is a suggestion:"); end
		if srv and not printed[srv] then
			printed[srv] = true;
			terminal.print("; %s%s", srv, needed and "" or " ; optional");
		end
	end
end

local function print_zone(subject, records, kind)
	terminal.print("; TLSA records for %s; they need a zone signed with DNSSEC", subject.domain);
	if kind.usage == 2 then terminal.print("; the server must send the authority's certificate in its chain"); end
	local last = {};
	for _, record in ipairs(records) do
		print_comments(record, last);
		terminal.print("%s", dane.text(record));
		last = record;
	end
	print_missing(records);
	terminal.print("");
end

local function as_json(record)
	local json_record, srv, needed = dane.to_json(record), missing_srv(record);
	for _, field in ipairs { "domain", "service", "tls", "target", "port", "certificate" } do json_record[field] = record[field]; end
	json_record.choice, json_record.missing_srv = record.choice or json.null, srv or json.null;
	json_record.srv_needed = srv and needed or false;
	return json_record;
end

return function (names, flags)
	local kind, wrong = kind_of(flags);
	if not kind then return 2, wrong; end
	local subjects, text, status = subjects_of(names[1], flags.domain and nameprep(flags.domain));
	if not subjects then return status or 1, terminal.printable(text); end
	local list = array();
	for _, subject in ipairs(subjects) do
		local records, err = records_of(subject, kind);
		if not records then return 1, terminal.printable(err); end
		if not flags.json then print_zone(subject, records, kind); end
		for _, record in ipairs(records) do list:push(as_json(record)); end
	end
	if flags.json then terminal.print("%s", json.encode({ records = list })); end
	if not list[1] then return 1, "nothing to publish: no listener for "..names[1]; end
	return 0;
end
