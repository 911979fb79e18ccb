-- Records of every check: a log line, counters, and the key of each accepted peer, to log a change of it.

local cache = require "util.cache";

local checked = module:metric("counter", "checked", "", "Certificate validation results", { "chain"; "identity" });
local proofs = module:metric("counter", "proofs", "", "Proofs of the identity of other servers", { "direction"; "proof" });
local refused = module:metric("counter", "refused", "", "Refused streams of other servers",
	{ "direction"; "reason" });

local STORE = "s2s_peer_keys";
local MOST_KEYS = 10000; -- for each host: a peer may have any number of subdomains

local KINDS = { "dane-ee", "dane-ta", "pkix-ee", "pkix-ta", "pkix", "posh", "none" };
local REASONS = { "mismatch", "unknown", "policy", "no-certificate", "no-encryption" };

-- Counters start at 0, so that the first event of a kind is an increase
for _, chain in ipairs { "valid", "invalid" } do
	for _, identity in ipairs { "valid", "invalid" } do checked:with_labels(chain, identity):add(0); end
end

local counts = {}; -- [direction][proof or reason]
for _, direction in ipairs { "incoming", "outgoing" } do
	counts[direction] = {};
	for _, kind in ipairs(KINDS) do
		counts[direction][kind] = 0;
		proofs:with_labels(direction, kind):add(0);
	end
	for _, reason in ipairs(REASONS) do
		counts[direction][reason] = 0;
		refused:with_labels(direction, reason):add(0);
	end
end

local audit = {};

local function add(family, session, what)
	family:with_labels(session.direction, what):add(1);
	counts[session.direction][what] = counts[session.direction][what] + 1;
end

function audit.count(session, proof)
	checked:with_labels(session.cert_chain_status or "unknown", session.cert_identity_status or "unknown"):add(1);
	add(proofs, session, proof.kind);
end

function audit.refused(session, reason)
	add(refused, session, reason);
end

-- Rows for mod_native
local function rows_of(names)
	local rows = {};
	for i, name in ipairs(names) do rows[i] = { name, counts.incoming[name], counts.outgoing[name] }; end
	return rows;
end

function audit.figures(dane)
	return {
		{ name = "dane", value = dane };
		{ name = "proofs", rows = rows_of(KINDS),
			columns = { { name = "proof" }, { name = "incoming" }, { name = "outgoing" } } };
		{ name = "refused", rows = rows_of(REASONS),
			columns = { { name = "reason" }, { name = "incoming" }, { name = "outgoing" } } };
	};
end

function audit.log(session, host, proof)
	session.log("info", "peer %s (%s): proof %s, record %s, DNS %s, key %s", host or "unknown", session.direction,
		proof.kind, proof.record or "none", proof.dns, proof.key or "none");
end

local kept = {}; -- host -> number of keys
local latest = cache.new(1000); -- "host peer" -> key: most peers return, and need no look at the store

local function count(store)
	local number, each, state, first = 0, store:users();
	if each then
		for _ in each, state, first do number = number + 1; end
	end
	return number;
end

-- Compares the key with the last one, and stores it. A peer without proof changes nothing.
function audit.remember(session, host, proof)
	local own_host = session.direction == "outgoing" and session.from_host or session.to_host;
	if not own_host or not prosody.hosts[own_host] or proof.kind == "none" or not proof.key then return; end
	local pair = own_host.." "..host;
	if latest:get(pair) == proof.key then return; end
	local store = module:context(own_host):open_store(STORE);
	local known = store:get(host);
	latest:set(pair, proof.key);
	if known and known.key == proof.key then return; end
	if known then
		session.log("warn", "Key changed: %s had %s (first seen on %s, proof %s), now has %s (proof %s)", host,
			known.key, os.date("!%Y-%m-%d", known.since), known.proof, proof.key, proof.kind);
	else
		kept[own_host] = kept[own_host] or count(store);
		if kept[own_host] >= MOST_KEYS then return; end
		kept[own_host] = kept[own_host] + 1;
	end
	local ok, err = store:set(host, { key = proof.key, proof = proof.kind, since = os.time() });
	if not ok then session.log("debug", "Cannot store the key of %s: %s", host, err or "no storage"); end
end

return audit;
