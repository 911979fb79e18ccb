-- What a peer's certificate proves: DANE (RFC 7671, 7673), PKIX (RFC 6120 section 13.7), POSH (RFC 7711).

local hashes = require "util.hashes";
local hex = require "util.hex";
local idna_to_ascii = require "util.encodings".idna.to_ascii;
local pem2der = require "util.x509".pem2der;
local promise = require "util.promise";
local resolve_path = require "util.paths".resolve_relative_path;

local wait = module:require "patience";

local SERVICE = "xmpp-server";
local to_hex = hex.encode or hex.to;
local TARGETS_MAX = 16; -- of an incoming peer's domain: a stranger says how many there are
local KINDS = { [0] = "pkix-ta", [1] = "pkix-ee", [2] = "dane-ta", [3] = "dane-ee" };
local KEY_DIGEST = { 3, 1, 1 }; -- SHA-256 of the SubjectPublicKeyInfo, which needs no certificate decoded
local NOT_ASKED = "DNS records have not been looked up"; -- completes "Your server's "
local MATCHES = "matches a DANE TLSA record, but "; -- these complete "Your server's certificate "
local FORBIDDEN = "is not valid for this name: a name constraint of an authority forbids it";
local UNCHECKED = "is not valid for this name: the name constraints of its authorities cannot be checked";
local DOMAINS = { ["DNS-ID"] = true, ["IP-ID"] = true }; -- names whose constraints OpenSSL knows
local LACKS_ISSUER = { -- what OpenSSL says of a chain that breaks off
	["unable to get local issuer certificate"] = true, ["unable to verify the first certificate"] = true;
};
local OWN_ANCHOR = 2; -- from this usage on the chain need not end at a public authority

local function path_of(path)
	return type(path) == "string" and resolve_path(prosody.paths.config or ".", path) or nil;
end

-- The authorities to trust where the stream's own TLS configuration is not known
local ssl = module:get_option("s2s_ssl", module:get_option("ssl", {}));
local configured_tls = { cafile = path_of(ssl.cafile); capath = path_of(ssl.capath) };

return function (options, discovery, certs, posh)
	local proof = {};

	-- The peer's certificate, as mod_s2s hands it to s2s-check-certificate.
	function proof.certificate(session)
		local conn = session.conn;
		if conn.ssl_peercertificate then return conn:ssl_peercertificate(); end
		local socket = conn:socket();
		return socket.getpeercertificate and socket:getpeercertificate() or nil;
	end

	-- The chain as it was sent, the leaf first.
	local function whole_chain(session, leaf)
		local socket = session.conn:socket();
		local pems = { leaf };
		for _, link in ipairs(socket.getpeerchain and socket:getpeerchain() or {}) do
			local pem = link:pem();
			if pem ~= leaf then pems[#pems + 1] = pem; end
		end
		return table.concat(pems, "\n");
	end

	-- The verification in the handshake, which knows all that the TLS configuration asks for.
	local function public_chain(session)
		local valid, errors;
		if session.conn.ssl_peerverification then
			valid, errors = session.conn:ssl_peerverification();
		else
			local socket = session.conn:socket();
			valid, errors = socket:getpeerverification();
		end
		if type(errors) == "string" then errors = { { errors } }; end
		return not not valid, errors;
	end

	local function by_depth(errors)
		local shifted = {};
		for depth, texts in pairs(errors or {}) do shifted[depth + 1] = texts; end
		return shifted;
	end

	local function trusted(session)
		local tls = session.ssl_cfg or configured_tls;
		return tls.cafile, tls.capath or (not tls.cafile and "/etc/ssl/certs" or nil);
	end

	local function verify(session, leaf, references, records)
		local cafile, capath = trusted(session);
		local verdict, condition, text = certs.verify {
			chain = whole_chain(session, leaf), tlsa = records, references = references, service = SERVICE, cafile = cafile, capath = capath;
		};
		if verdict then return verdict; end
		session.log("warn", "The certificate cannot be checked (%s): %s", condition, text);
		return { chain = "invalid", identity = "invalid", dane = "mismatch", errors = {} };
	end

	-- Whether one of the references is named by an identifier of these kinds, or by none of them
	local function is_named(leaf, references, kinds, among)
		for _, reference in ipairs(references) do
			local any, names = certs.identity(leaf, reference, SERVICE);
			for _, name in ipairs(any and names or {}) do
				if name.matched and (kinds[name.type] == true) == among then return true; end
			end
		end
		return false;
	end

	-- In a chain that the handshake takes for good, it has seen to it that authorities may vouch for the domains of a
	-- certificate. For its other names that takes the chain. Returns whether a name counts, and what forbids it.
	local function is_identified(session, leaf, references, is_good)
		if is_named(leaf, references, DOMAINS, true) then return true; end
		if not is_named(leaf, references, DOMAINS, false) then return false; end
		if not is_good then return true; end -- which proves nothing
		local verdict = verify(session, leaf, references);
		return verdict.identity == "valid",
			verdict.cause == "name-constraint" and FORBIDDEN or verdict.chain ~= "valid" and UNCHECKED or nil;
	end

	-- Sets the session's fields from public authorities alone.
	local function judge_public(session, leaf, references)
		local valid, errors = public_chain(session);
		local identified, complaint = is_identified(session, leaf, references, valid);
		session.cert_chain_status = valid and "valid" or "invalid";
		session.cert_chain_errors = not valid and errors or nil;
		session.cert_identity_status = identified and "valid" or "invalid";
		return { kind = valid and identified and "pkix" or "none", complaint = complaint };
	end

	-- Whether the handshake has found no chain for want of a certificate that a record brings, and for nothing else
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

	-- The same with records that are secure and usable. Returns what it proves, and whether it must be refused.
	local function judge_records(session, leaf, references, records)
		local verdict = verify(session, leaf, references, records);
		local record = verdict.matched and records[verdict.matched[1]];
		local errors = by_depth(verdict.errors);
		local cause = verdict.matches and verdict.cause ~= "none" and verdict.text or nil;
		if record and record[1] < OWN_ANCHOR then
			local valid, public_errors = public_chain(session);
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

	local function judge_posh(session, host, leaf, result)
		if not options.s2s_native_posh or not host or result.kind ~= "none" then return result; end
		local digests = wait(session, posh(host));
		local der = digests and next(digests) and pem2der(leaf);
		if not der then return result; end
		if digests["sha-256 "..hashes.sha256(der, true)] or digests["sha-512 "..hashes.sha512(der, true)] then
			session.cert_chain_status, session.cert_identity_status, session.cert_chain_errors = "valid", "valid", nil;
			result.kind = "posh";
		end
		return result;
	end

	-- What the domain of an incoming peer says about its servers, as one target.
	local function incoming_target(host)
		return discovery.discover(host):next(function (targets)
			local all = { state = targets.state, error = targets.error, references = {}, tlsa = nil };
			if targets.error then
				if targets.closed then all.error = nil; end -- it may send all the same
				return all;
			end
			local described = {};
			for i = 1, math.min(#targets, TARGETS_MAX) do described[i] = discovery.describe(targets[i]); end
			return promise.all(described):next(function (found)
				local insecure = false;
				for i, target in ipairs(found) do
					insecure = insecure or target.state == "insecure";
					-- A server without records may have any certificate that is valid; not so the domain's own name, which
					-- is tried where there are others
					if not target.error and not target.tlsa and not (target.legacy and i > 1) then all.open = true; end
					for _, record in ipairs(target.tlsa or {}) do
						all.tlsa = all.tlsa or {};
						table.insert(all.tlsa, record);
					end
					table.move(target.references, 1, #target.references, #all.references + 1, all.references);
					if target.secure and (target.state == "bogus" or target.state == "failed") then
						all.broken, all.state = target.error, target.state; -- who knows what it has published
					end
				end
				if insecure and not all.tlsa and not all.broken then all.state = "insecure"; end
				return all;
			end);
		end);
	end

	-- The target of a stream; without DANE one about which nothing is known.
	function proof.target(session, host, outgoing)
		if not discovery or not host then return { state = "off", references = {} }; end
		if session.direction == "outgoing" then
			local why = outgoing.why_unknown(session);
			if why then return { error = why, complaint = NOT_ASKED }; end
			return outgoing.target(session) or { state = "off", references = {} };
		end
		local domain = idna_to_ascii(host);
		if not domain then return { state = "off", references = {} }; end
		local found, err = wait(session, incoming_target(domain:lower()));
		return found or { state = "failed", error = tostring(err), references = {} };
	end

	-- Returns { kind, record, dns, key }, and why it must be refused whatever the policy says: nil, "mismatch"
	-- or "unknown", where it could not be found out.
	function proof.judge(session, host, cert, target)
		local leaf = cert:pem();
		local references = table.move(target.references, 1, #target.references, 2, { host });
		local result, mismatch;
		if target.tlsa then
			result, mismatch = judge_records(session, leaf, references, target.tlsa);
			if mismatch and target.open then
				result, mismatch = judge_public(session, leaf, references), false;
			end
		else
			result = judge_posh(session, host, leaf, judge_public(session, leaf, references));
		end
		result.dns = target.state;
		local digest = certs.tlsa(leaf, table.unpack(KEY_DIGEST));
		result.key = digest and to_hex(digest);
		if target.broken and (not target.tlsa or mismatch) then return result, "unknown"; end
		return result, mismatch and "mismatch" or nil;
	end

	return proof;
end
