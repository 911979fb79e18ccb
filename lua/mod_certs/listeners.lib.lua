-- prosodyctl mod_certs check: what is served, beside what is published

local certs = module:require "native"("certs");
local dane = module:require "dane";
local fetch_once = module:require "served";
local places = module:require "places";

local DAY = 86400;
local FINGERPRINT = 16; -- digits of SHA-256 that are shown
-- What a machine says that has no IPv6 itself: others may have
local UNREACHABLE = { ["Network is unreachable"] = true, ["Cannot assign requested address"] = true };

local listeners = {};

-- ---- TLSA against the chain ----

-- Returns whether a peer with DANE accepts the chain, or nil where none uses it. label: which chain it is, where there are two
local function check_dane(findings, host, place, target, subject, pem, label)
	if not target.tlsa.records[1] or not places.is_dane(place, target) then return nil; end
	local about = { service = place.service, references = { host, target.name } };
	local texts, bad, good = {}, false, false;
	for _, group in ipairs(dane.combinations(dane.records_of(target.tlsa))) do
		local accepted, verdict = dane.accepts(pem, about, group.records);
		if accepted then
			good = true;
			texts[#texts + 1] = group.name.." matches";
		elseif verdict.dane == "match" or verdict.dane == "mismatch" then
			bad = true;
			texts[#texts + 1] = ("%s %s: %s"):format(group.name,
				verdict.dane == "match" and "matches, but the peer is refused" or "does not match",
				dane.errors(verdict) or "another certificate");
		end
	end
	if not texts[1] then return nil; end
	findings.add(bad and "error" or "ok", host, "DANE", subject, "%s%s", label, table.concat(texts, ", "));
	return good and not bad;
end

-- ---- The certificate by itself ----

local function check_chain(findings, host, service, subject, pem, with_dane)
	local verdict = dane.verify(pem, { service = service, references = { host } });
	if verdict.chain == "valid" then
		findings.add("ok", host, "chain", subject, "valid");
	elseif with_dane then
		findings.add("warning", host, "chain", subject, "%s; peers with DANE alone accept it",
			dane.errors(verdict) or "invalid");
	else
		findings.add("error", host, "chain", subject, "%s", dane.errors(verdict) or "invalid");
	end
end

local function check_names(findings, host, service, subject, pem, with_dane)
	local matches, names = certs.identity(pem, host, service);
	local reasons = {};
	for _, name in ipairs(names or {}) do
		if matches and name.matched then
			findings.add("ok", host, "names", subject, "%s %s", name.type, name.value);
			return;
		end
		reasons[#reasons + 1] = ("%s %s: %s"):format(name.type, name.value, name.reason);
	end
	findings.add(with_dane and "warning" or "error", host, "names", subject, "%s is not named%s (%s)", host,
		with_dane and ", peers with DANE alone accept it" or "",
		reasons[1] and table.concat(reasons, "; ") or "there are no names");
end

local function check_dates(findings, host, subject, leaf, warn_days, with_dane)
	local now = os.time();
	local days = leaf.not_after and (leaf.not_after - now) / DAY;
	local bad = with_dane and "warning" or "error"; -- DANE-EE ignores dates
	if not days then
		findings.add(bad, host, "expiry", subject, "there is no date that can be read");
	elseif days < 0 then
		findings.add(bad, host, "expiry", subject, "expired %.1f days ago", -days);
	elseif leaf.not_before and leaf.not_before > now then
		findings.add(bad, host, "expiry", subject, "not valid for %.1f more days", (leaf.not_before - now) / DAY);
	else
		findings.add(days < warn_days and "warning" or "ok", host, "expiry", subject, "in %.1f days", days);
	end
end

-- A certificate is described once for each service that it serves.
local function check_certificate(findings, host, service, pem, leaf, settings, with_dane)
	local key = table.concat({ host, service, leaf.sha256, tostring(with_dane) }, " ");
	if settings.seen[key] then return; end
	settings.seen[key] = true;
	local subject = ("%s %s"):format(leaf.sha256:sub(1, FINGERPRINT), service);
	check_chain(findings, host, service, subject, pem, with_dane);
	check_names(findings, host, service, subject, pem, with_dane);
	check_dates(findings, host, subject, leaf, settings.days, with_dane);
end

-- One of the chains of a listener. Returns its leaf, or nil.
local function check_one(findings, host, place, target, subject, each, label, settings)
	local leaf, _, text = certs.names(each.pem);
	if not leaf then
		findings.add("error", host, "listener", subject, "%sthe certificate cannot be read: %s", label, text);
		return nil;
	end
	findings.add("ok", host, "listener", subject, "%s certificate %s", each.key_type, leaf.sha256:sub(1, FINGERPRINT));
	local with_dane = check_dane(findings, host, place, target, subject, each.pem, label);
	check_certificate(findings, host, place.service, each.pem, leaf, settings, with_dane);
	return leaf;
end

-- settings = { days = of warning before the expiry, served = of served.new(), seen = {} }. Returns an array of the chains that
-- are served, { pem =, service =, key_type =, sha256 = of the leaf }, empty where there is none; with `incomplete` as of
-- fetch.chains().
function listeners.check(findings, host, place, target, address, settings)
	local subject, list = fetch_once.name(place, target, address), {};
	local reply = settings.served(host, place, target, address);
	if not reply.pem then
		local here = UNREACHABLE[reply.err];
		findings.add(here and "warning" or "error", host, "listener", subject, "%s%s", reply.err,
			here and ", from this machine" or "");
		return list;
	end
	list.incomplete = reply.chains.incomplete;
	for _, each in ipairs(reply.chains) do
		local label = reply.chains[2] and each.key_type..": " or "";
		local leaf = check_one(findings, host, place, target, subject, each, label, settings);
		if leaf then list[#list + 1] = { pem = each.pem, service = place.service, key_type = each.key_type, sha256 = leaf.sha256 }; end
	end
	return list;
end

return listeners;
