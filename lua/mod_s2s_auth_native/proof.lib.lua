-- The proof of a peer's identity: DANE (RFC 7671, 7673), PKIX (RFC 6120 section 13.7), POSH (RFC 7711)

local async = require "util.async";
local idna_to_ascii = require "util.encodings".idna.to_ascii;
local promise = require "util.promise";
local timer = require "util.timer";

local TARGETS_MAX = 16; -- servers of an incoming peer's domain that are examined: a stranger decides how many there are
local KINDS = { [0] = "pkix-ta", [1] = "pkix-ee", [2] = "dane-ta", [3] = "dane-ee" };
local OWN_ANCHOR = 2; -- from this usage on the chain need not lead to a public authority
local LACKS_ISSUER = { -- errors of OpenSSL for an incomplete chain
	["unable to get local issuer certificate"] = true, ["unable to verify the first certificate"] = true;
};
-- These complete "Your server's "
local NOT_LOOKED_UP = "DNS records have not been looked up";
-- These complete "Your server's certificate "
local MATCHES = "matches a DANE TLSA record, but ";
local FORBIDDEN = "is not valid for this name: a name constraint of an authority forbids it";
local UNCHECKED = "is not valid for this name: the name constraints of its authorities cannot be checked";

local auth, certificate; -- the parts of the module, and one of them
local proof = {};

-- ---- Waiting ----

local function soon(func) timer.add_task(0, func); end

local function read_on(session)
	local conn, thread = session.conn, session.thread;
	if session.destroyed or not conn or not thread or thread.state ~= "ready" then return; end
	-- _wantread is net.server_epoll's. While it is not set, the connection is paused, and will be resumed.
	local socket = conn._wantread and conn:socket();
	if socket and socket:dirty() then conn:onreadable(); end
end

-- Waits in the thread of the session, as async.wait_for does.
--
-- Prosody pauses the connection in the meantime. When it resumes, it waits for the socket to become readable, which never
-- happens for bytes that LuaSocket or OpenSSL have read ahead: those are handled here.
local function wait(session, awaited)
	local result, err = async.wait_for(awaited);
	-- In the turn after the next one: util.async needs one to continue with the items that wait in the thread
	soon(function () soon(function () read_on(session); end); end);
	return result, err;
end

-- ---- Public authorities ----

-- Whether the certificate is valid for one of the names, and the reason if a constraint forbids it. In a chain that is valid
-- for the handshake, OpenSSL has checked the name constraints of DNS names. Those of other names need the chain.
local function is_identified(session, cert, chain, references, chain_valid)
	if certificate.is_named(chain, references, true) then return true; end
	if not certificate.is_named(chain, references, false) then return false; end
	if not chain_valid then return true; end -- this proves nothing by itself
	local whole <close> = certificate.parse_chain(session, cert);
	local verdict = certificate.verify(session, whole, references);
	return verdict.identity == "valid",
		verdict.cause == "name-constraint" and FORBIDDEN or verdict.chain ~= "valid" and UNCHECKED or nil;
end

-- Sets the fields of the session by public authorities alone. Returns a result, see proof.judge().
local function judge_public(session, cert, chain, references)
	local valid, errors = certificate.handshake_verdict(session);
	local identified, complaint = is_identified(session, cert, chain, references, valid);
	session.cert_chain_status = valid and "valid" or "invalid";
	session.cert_chain_errors = not valid and errors or nil;
	session.cert_identity_status = identified and "valid" or "invalid";
	return { kind = valid and identified and "pkix" or "none", complaint = complaint };
end

-- ---- DANE ----

local function by_depth(errors)
	local shifted = {};
	for depth, texts in pairs(errors or {}) do shifted[depth + 1] = texts; end
	return shifted;
end

-- Whether the handshake found no valid chain only because of a missing certificate, which a TLSA record has
local function is_completed(verdict, errors)
	local lacks_issuer = false;
	for _, texts in pairs(verdict.completed and errors or {}) do
		for _, text in ipairs(texts) do
			if not LACKS_ISSUER[text] then return false; end
			lacks_issuer = true;
		end
	end
	return lacks_issuer;
end

-- Sets the fields of the session by TLSA records, which are secure and usable. Returns a result, and whether the peer must be
-- refused.
local function judge_records(session, chain, references, records)
	local verdict = certificate.verify(session, chain, references, records);
	local record = verdict.matched and records[verdict.matched[1]];
	local errors = by_depth(verdict.errors);
	local cause = verdict.matches and verdict.cause ~= "none" and verdict.text or nil;
	if record and record[1] < OWN_ANCHOR then
		local valid, public_errors = certificate.handshake_verdict(session);
		if not valid and not is_completed(verdict, public_errors) then verdict.chain, errors = "invalid", public_errors; end
	end
	session.cert_chain_status, session.cert_identity_status = verdict.chain, verdict.identity;
	session.cert_chain_errors = verdict.chain ~= "valid" and errors or nil;
	local proven = record and verdict.chain == "valid" and verdict.identity == "valid";
	return {
		kind = proven and KINDS[record[1]] or "none";
		record = record and ("%d %d %d"):format(record[1], record[2], record[3]);
		matches = verdict.matches, complaint = cause and MATCHES..cause;
	}, not proven;
end

-- ---- POSH ----

local function judge_posh(session, host, chain, result)
	if not auth.options.s2s_native_posh or not host or result.kind ~= "none" then return result; end
	local digests = wait(session, auth.posh(host));
	if digests and next(digests) and certificate.has_fingerprint(chain, digests) then
		session.cert_chain_status, session.cert_identity_status, session.cert_chain_errors = "valid", "valid", nil;
		result.kind = "posh";
	end
	return result;
end

-- ---- The records of a domain ----

local function merge_targets(all, found)
	local insecure = false;
	for i, target in ipairs(found) do
		insecure = insecure or target.state == "insecure";
		-- A server without records may have any certificate that is valid; but not the domain's own name, which is tried
		-- after other servers
		if not target.error and not target.tlsa and not (target.legacy and i > 1) then all.open = true; end
		for _, record in ipairs(target.tlsa or {}) do
			all.tlsa = all.tlsa or {};
			table.insert(all.tlsa, record);
		end
		table.move(target.references, 1, #target.references, #all.references + 1, all.references);
		if target.secure and (target.state == "bogus" or target.state == "failed") then
			all.broken, all.state = target.error, target.state; -- its records are unknown
		end
	end
	if insecure and not all.tlsa and not all.broken then all.state = "insecure"; end
	return all;
end

-- A promise of one target for all servers of the domain of an incoming peer
local function incoming_target(host)
	return auth.discovery.discover(host):next(function (targets)
		local all = { state = targets.state, error = targets.error, references = {}, tlsa = nil };
		if targets.error then
			if targets.closed then all.error = nil; end -- it may connect nevertheless
			return all;
		end
		local described = {};
		for i = 1, math.min(#targets, TARGETS_MAX) do described[i] = auth.discovery.describe(targets[i]); end
		return promise.all(described):next(function (found) return merge_targets(all, found); end);
	end);
end

-- The target of a stream, see discovery.lib.lua; without DANE an empty one
function proof.target(session, host)
	if not auth.discovery or not host then return { state = "off", references = {} }; end
	if session.direction == "outgoing" then
		local why = auth.outgoing.why_unknown(session);
		if why then return { error = why, complaint = NOT_LOOKED_UP }; end
		return auth.outgoing.target(session) or { state = "off", references = {} };
	end
	local domain = idna_to_ascii(host);
	if not domain then return { state = "off", references = {} }; end
	local found, err = wait(session, incoming_target(domain:lower()));
	return found or { state = "failed", error = tostring(err), references = {} };
end

-- Sets the fields of the session that mod_s2s reads. Returns a result { kind, record, dns, key, matches, complaint }, and why the
-- peer must be refused whatever the policy is: nil, "mismatch", or "unknown" if DNS did not answer.
function proof.judge(session, host, cert, target)
	local parse = target.tlsa and certificate.parse_chain or certificate.parse;
	local chain <close> = parse(session, cert);
	local references = table.move(target.references, 1, #target.references, 2, { host });
	local result, mismatch;
	if target.tlsa then
		result, mismatch = judge_records(session, chain, references, target.tlsa);
		if mismatch and target.open then
			result, mismatch = judge_public(session, cert, chain, references), false;
		end
	else
		result = judge_posh(session, host, chain, judge_public(session, cert, chain, references));
	end
	result.dns = target.state;
	result.key = certificate.key(chain);
	if target.broken and (not target.tlsa or mismatch) then return result, "unknown"; end
	return result, mismatch and "mismatch" or nil;
end

return function (parts)
	auth, certificate = parts, parts.certificate;
	return proof;
end
