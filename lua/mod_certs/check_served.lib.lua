-- prosodyctl mod_certs check: the certificates that Prosody is configured with, and those that the listeners serve. Each function
-- adds rows to the report (check.lib.lua).

local array = require "util.array";
local ssl = require "ssl";

local dane = module:require "dane";
local dns = module:require "dns";
local files = module:require "files";
local paths = module:require "paths";
local probe = module:require "probe";
local selection = module:require "selection";

local DAY = 86400;
local FINGERPRINT = 16; -- digits of SHA-256 that are shown
-- Errors of a machine without IPv6: other machines may reach the address
local UNREACHABLE = { ["Network is unreachable"] = true, ["Cannot assign requested address"] = true };

local check_served = {};

-- ---- Configuration: certificates and keys that Prosody would load now ----

-- Never prompts: Prosody cannot use a key without its password either.
local function no_password() return ""; end

-- Why LuaSec would not load a certificate and its key; or nil
local function fault_of(pair)
	if not pair.key then return "no key is configured for "..pair.certificate; end
	local closed = files.closed(pair.key) or files.closed(pair.certificate);
	if closed then return closed; end
	local missing = paths.missing(pair.key);
	if missing then return missing; end
	local settings = { mode = "server", protocol = "any", certificate = pair.certificate };
	local context, text = ssl.newcontext(settings); -- OpenSSL also forgets the errors of keys before this one
	if not context then return text; end
	settings.key, settings.password = pair.key, pair.password or no_password;
	context, text = ssl.newcontext(settings);
	if context then return nil; end
	if text:find("does not match", 1, true) then return "not the key of "..pair.certificate; end
	return text..": not a PEM key, or its password is missing in the option ssl";
end

local function check_key(report, pair)
	if not report:first("key", pair.certificate, pair.key) then return; end
	local path, fault = pair.key or pair.certificate, fault_of(pair);
	report:add(fault and "error" or "ok", "key", path:match("[^/]*$"), "%s%s", path,
		fault and ": "..fault or " is the key of "..pair.certificate);
end

local function add_certificate_error(report, text)
	if text and report:first("certificate", text) then report:add("error", "certificate", report.host, "%s", text); end
end

-- host: as of hosts.list(); nothing is known about hosts of other servers
function check_served.configuration(report, host)
	if host.kind == "domain" then return; end
	for _, endpoint in ipairs(selection.of_host(host)) do
		add_certificate_error(report, selection.ambiguity(host.name, endpoint.alternatives));
		if not endpoint.certificates[1] and endpoint.tls == "starttls" then -- with direct TLS Prosody may use that of another host
			add_certificate_error(report, selection.missing(host.name));
		end
		for _, pair in ipairs(endpoint.certificates) do check_key(report, pair); end
	end
end

-- ---- One chain ----

-- Returns whether a peer with DANE accepts the chain, or nil without usable TLSA records. label: the chain, if there are two
local function check_dane(report, srv, target, subject, chain, label)
	if not target.tlsa.records[1] or not dns.is_dane(srv, target) then return nil; end
	local reference = { service = srv.service, names = { report.host, target.name } };
	local texts, bad, good = {}, false, false;
	for _, group in ipairs(dane.combinations(dane.records_of(target.tlsa))) do
		local accepted, verdict = dane.accepts(chain, reference, group.records);
		if accepted then
			good = true;
			texts[#texts + 1] = group.name.." matches";
		elseif verdict.dane == "match" or verdict.dane == "mismatch" then
			bad = true;
			texts[#texts + 1] = ("%s %s: %s"):format(group.name,
				verdict.dane == "match" and "matches, but peers refuse the chain" or "does not match",
				dane.errors(verdict) or "another certificate");
		end
	end
	if not texts[1] then return nil; end
	report:add(bad and "error" or "ok", "DANE", subject, "%s%s", label, table.concat(texts, ", "));
	return good and not bad;
end

local function check_chain(report, service, subject, chain, with_dane)
	local verdict = dane.verify(chain, { service = service, names = { report.host } });
	if verdict.chain == "valid" then
		report:add("ok", "chain", subject, "valid");
	elseif with_dane then
		report:add("warning", "chain", subject, "%s; only peers with DANE accept it", dane.errors(verdict) or "invalid");
	else
		report:add("error", "chain", subject, "%s", dane.errors(verdict) or "invalid");
	end
end

local function check_names(report, service, subject, chain, with_dane)
	local matches, names = chain:identity(report.host, service);
	local reasons = {};
	for _, name in ipairs(names or {}) do
		if matches and name.matched then return report:add("ok", "names", subject, "%s %s", name.type, name.value); end
		reasons[#reasons + 1] = ("%s %s: %s"):format(name.type, name.value, name.reason);
	end
	report:add(with_dane and "warning" or "error", "names", subject, "no name matches %s%s (%s)", report.host,
		with_dane and ", only peers with DANE accept it" or "", reasons[1] and table.concat(reasons, "; ") or "no names");
end

local function check_dates(report, subject, leaf, with_dane)
	local now = os.time();
	local days = leaf.not_after and (leaf.not_after - now) / DAY;
	local bad = with_dane and "warning" or "error"; -- DANE-EE ignores dates
	if not days then
		report:add(bad, "expiry", subject, "unreadable date");
	elseif days < 0 then
		report:add(bad, "expiry", subject, "expired %.1f days ago", -days);
	elseif leaf.not_before and leaf.not_before > now then
		report:add(bad, "expiry", subject, "not valid for %.1f more days", (leaf.not_before - now) / DAY);
	else
		report:add(days < report.days and "warning" or "ok", "expiry", subject, "in %.1f days", days);
	end
end

-- Returns the leaf, or nil. A certificate is described once for each service.
local function check_certificate(report, srv, target, subject, each, label)
	local chain, leaf = each.chain, each.leaf;
	if not chain then
		report:add("error", "listener", subject, "%sunreadable certificate: %s", label, each.text);
		return nil;
	end
	report:add("ok", "listener", subject, "%s certificate %s", each.key_type, leaf.sha256:sub(1, FINGERPRINT));
	local with_dane = check_dane(report, srv, target, subject, chain, label);
	if report:first(srv.service, leaf.sha256, tostring(with_dane)) then
		local described = ("%s %s"):format(leaf.sha256:sub(1, FINGERPRINT), srv.service);
		check_chain(report, srv.service, described, chain, with_dane);
		check_names(report, srv.service, described, chain, with_dane);
		check_dates(report, described, leaf, with_dane);
	end
	return leaf;
end

-- ---- Files and listeners ----

-- The certificates in files: { { sha256 =, key_type =, shown = text }, ... }
local function on_disk(configured)
	local list = {};
	for _, pair in ipairs(configured) do
		local chain, leaf = files.read_chain(pair.certificate);
		if chain then
			list[#list + 1] = { sha256 = leaf.sha256, key_type = probe.key_type(leaf),
				shown = ("%s (%s)"):format(pair.certificate, leaf.sha256:sub(1, FINGERPRINT)) };
		end
	end
	return list;
end

local function has(list, field, value)
	for _, each in ipairs(list) do
		if each[field] == value then return true; end
	end
	return false;
end

-- Certificates that are served, but not in the files
local function compare_served(add, on_files, chains)
	local shown = table.concat(array.pluck(on_files, "shown"), ", ");
	for _, chain in ipairs(on_files[1] and chains or {}) do
		if not has(on_files, "sha256", chain.sha256) then
			add("warning", ("serves %s, but the configured file has another certificate, %s: run prosodyctl reload, or another machine "
				.."answers"):format(chain.sha256:sub(1, FINGERPRINT), shown));
		end
	end
end

-- Certificates in the files that are not served for their type of key
local function compare_types(add, on_files, chains)
	for _, each in ipairs(chains[1] and on_files or {}) do
		if chains.incomplete and not has(chains, "sha256", each.sha256) then
			add("ok", ("cannot check %s: with only TLS 1.3 the listener chooses the type of key"):format(each.shown));
		elseif not has(chains, "key_type", each.key_type) then
			add("warning", ("%s is not served: run prosodyctl reload, or another machine answers"):format(each.shown));
		end
	end
end

local function compare(report, host, srv, target, subject, chains)
	if host.kind == "domain" then return; end
	local configured, alternatives = selection.of(host.name, srv.service, srv.tls, target.port);
	local on_files = on_disk(configured);
	local function add(state, text) report:add(state, "reload", subject, "%s", text); end
	compare_served(add, on_files, chains);
	if not alternatives then compare_types(add, on_files, chains); end -- only one of the alternatives is served
end

-- Returns the chains that a listener serves: { { chain =, service =, key_type =, sha256 = of the leaf }, ... }
function check_served.listener(report, host, srv, target, address)
	local subject, chains = probe.name(srv, target, address), {};
	local reply = report.served(host.name, srv, target, address);
	if not reply.pem then
		local is_local = UNREACHABLE[reply.err];
		report:add(is_local and "warning" or "error", "listener", subject, "%s%s", reply.err, is_local and ", from this machine" or "");
		return chains;
	end
	chains.incomplete = reply.chains.incomplete;
	for _, each in ipairs(reply.chains) do
		local leaf = check_certificate(report, srv, target, subject, each, reply.chains[2] and each.key_type..": " or "");
		if leaf then
			chains[#chains + 1] = { chain = each.chain, service = srv.service, key_type = each.key_type, sha256 = leaf.sha256 };
		end
	end
	compare(report, host, srv, target, subject, chains);
	return chains;
end

return check_served;
