-- What is kept of every check: a line in the log, counters, and the key of each peer that was accepted,
-- so that a change of it is told.

local checked = module:metric("counter", "checked", "", "Certificate validation results", { "chain"; "identity" });
local proofs = module:metric("counter", "proofs", "", "Proofs of other servers' identity", { "direction"; "proof" });

local STORE = "s2s_peer_keys";

local audit = {};

function audit.count(session, proof)
	checked:with_labels(session.cert_chain_status or "unknown", session.cert_identity_status or "unknown"):add(1);
	proofs:with_labels(session.direction, proof.kind):add(1);
end

function audit.log(session, host, proof)
	session.log("info", "peer %s (%s): proof %s, record %s, DNS %s, key %s", host or "unknown", session.direction,
		proof.kind, proof.record or "none", proof.dns, proof.key or "none");
end

-- Compares the key with the one that was seen last, and keeps it. A peer without proof changes nothing.
function audit.remember(session, host, proof)
	local own_host = session.direction == "outgoing" and session.from_host or session.to_host;
	if not own_host or not prosody.hosts[own_host] or proof.kind == "none" or not proof.key then return; end
	local store = module:context(own_host):open_store(STORE);
	local known = store:get(host);
	if known and known.key == proof.key then return; end
	if known then
		session.log("warn", "The key of %s has changed from %s (seen first on %s, proof %s) to %s (proof %s)", host,
			known.key, os.date("!%Y-%m-%d", known.since), known.proof, proof.key, proof.kind);
	end
	local ok, err = store:set(host, { key = proof.key, proof = proof.kind, since = os.time() });
	if not ok then session.log("debug", "The key of %s is not kept: %s", host, err or "no storage"); end
end

return audit;
