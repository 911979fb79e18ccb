-- The certificate of a peer: as LuaSec hands it over, and as certs.so judges it. All calls of certs.so are here.

local resolve_path = require "util.paths".resolve_relative_path;
local to_hex = require "util.hex".encode or require "util.hex".to;

local certs = module:require "native" "certs";

local SERVICE = "xmpp-server";
-- Kinds of TLSA records: their data are digests of the SubjectPublicKeyInfo and of the certificate. Neither needs decoding.
local KEY_DIGEST = { 3, 1, 1 };
local FINGERPRINTS = { ["sha-256"] = { 3, 0, 1 }, ["sha-512"] = { 3, 0, 2 } };
local DOMAINS = { ["DNS-ID"] = true, ["IP-ID"] = true }; -- names whose constraints OpenSSL checks

local function path_of(path)
	return type(path) == "string" and resolve_path(prosody.paths.config or ".", path) or nil;
end

-- The authorities to trust if the stream's own TLS configuration is not known
local ssl = module:get_option("s2s_ssl", module:get_option("ssl", {}));
local configured_tls = { cafile = path_of(ssl.cafile); capath = path_of(ssl.capath) };
local certificate = {};

-- The certificate that mod_s2s passes to s2s-check-certificate
function certificate.of(session)
	local conn = session.conn;
	if conn.ssl_peercertificate then return conn:ssl_peercertificate(); end
	local socket = conn:socket();
	return socket.getpeercertificate and socket:getpeercertificate() or nil;
end

-- Returns nil, and logs why, if the text cannot be parsed.
local function parse(session, pem)
	local chain, condition, text = certs.parse(pem);
	if not chain then session.log("warn", "Cannot check the certificate (%s): %s", condition, text); end
	return chain;
end

-- The certificate of a peer, as a chain of one that the caller closes; or nil, which proves nothing in the functions below
function certificate.parse(session, cert)
	return parse(session, cert:pem());
end

-- The same with the certificates that the peer sent with it. LuaSec encodes each of them as PEM, which takes time.
function certificate.parse_chain(session, cert)
	local leaf, socket = cert:pem(), session.conn:socket();
	local pems = { leaf };
	for _, link in ipairs(socket.getpeerchain and socket:getpeerchain() or {}) do
		local pem = link:pem();
		if pem ~= leaf then pems[#pems + 1] = pem; end
	end
	return parse(session, table.concat(pems, "\n"));
end

-- The verification in the TLS handshake, by the whole TLS configuration: whether the chain is valid, and errors by depth
function certificate.handshake_verdict(session)
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

local function trust_anchors(session)
	local tls = session.ssl_cfg or configured_tls;
	return tls.cafile, tls.capath or (not tls.cafile and "/etc/ssl/certs" or nil);
end

-- Verifies a chain, with TLSA records or nil. Returns a verdict, see pn/cert.h.
function certificate.verify(session, chain, references, records)
	local verdict, condition, text;
	if chain then
		local cafile, capath = trust_anchors(session);
		verdict, condition, text = chain:verify {
			tlsa = records, references = references, service = SERVICE, cafile = cafile, capath = capath;
		};
		if not verdict then session.log("warn", "Cannot check the certificate (%s): %s", condition, text); end
	end
	return verdict or { chain = "invalid", identity = "invalid", dane = "mismatch", errors = {} };
end

-- Whether the certificate has one of the reference names as a DNS name or IP address, or with is_domain = false as another
-- identifier
function certificate.is_named(chain, references, is_domain)
	for _, reference in ipairs(chain and references or {}) do
		local any, names = chain:identity(reference, SERVICE);
		for _, name in ipairs(any and names or {}) do
			if name.matched and (DOMAINS[name.type] == true) == is_domain then return true; end
		end
	end
	return false;
end

-- The SHA-256 of the key, or nil
function certificate.key(chain)
	local digest = chain and chain:tlsa(KEY_DIGEST);
	return digest and to_hex(digest);
end

-- Whether a set { ["sha-256 HEX"] = true } has a fingerprint of the certificate
function certificate.has_fingerprint(chain, digests)
	for algorithm, kind in pairs(FINGERPRINTS) do
		local digest = chain and chain:tlsa(kind);
		if digest and digests[algorithm.." "..to_hex(digest)] then return true; end
	end
	return false;
end

-- Whether a TLSA record, as net.adns parses it, is well-formed and known
function certificate.is_usable(tlsa)
	return certs.usable(tlsa);
end

return certificate;
