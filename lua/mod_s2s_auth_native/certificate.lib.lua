-- The certificate of a peer: as LuaSec hands it over, and as certs.so judges it. All calls of certs.so are here.

local to_hex = require "util.hex".encode or require "util.hex".to;

local certs = module:require "native" "certs";

local SERVICE = "xmpp-server";
local KEY_DIGEST = { 3, 1, 1 }; -- SHA-256 of the SubjectPublicKeyInfo, which needs no decoding of the certificate
local DOMAINS = { ["DNS-ID"] = true, ["IP-ID"] = true }; -- names whose constraints OpenSSL checks

local options;
local certificate = {};

-- The certificate that mod_s2s passes to s2s-check-certificate
function certificate.of(session)
	local conn = session.conn;
	if conn.ssl_peercertificate then return conn:ssl_peercertificate(); end
	local socket = conn:socket();
	return socket.getpeercertificate and socket:getpeercertificate() or nil;
end

-- The chain as the peer sent it, the leaf first
local function whole_chain(session, leaf)
	local socket = session.conn:socket();
	local pems = { leaf };
	for _, link in ipairs(socket.getpeerchain and socket:getpeerchain() or {}) do
		local pem = link:pem();
		if pem ~= leaf then pems[#pems + 1] = pem; end
	end
	return table.concat(pems, "\n");
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
	local tls = session.ssl_cfg or options.tls or {};
	return tls.cafile, tls.capath or (not tls.cafile and "/etc/ssl/certs" or nil);
end

-- Verifies the chain, with TLSA records or nil. Returns a verdict, see pn/cert.h.
function certificate.verify(session, leaf, references, records)
	local cafile, capath = trust_anchors(session);
	local verdict, condition, text = certs.verify {
		chain = whole_chain(session, leaf), tlsa = records, references = references, service = SERVICE, cafile = cafile, capath = capath;
	};
	if verdict then return verdict; end
	session.log("warn", "Cannot check the certificate (%s): %s", condition, text);
	return { chain = "invalid", identity = "invalid", dane = "mismatch", errors = {} };
end

-- Whether the certificate has one of the reference names as a DNS name or IP address, or with is_domain = false as another
-- identifier
function certificate.is_named(leaf, references, is_domain)
	for _, reference in ipairs(references) do
		local any, names = certs.identity(leaf, reference, SERVICE);
		for _, name in ipairs(any and names or {}) do
			if name.matched and (DOMAINS[name.type] == true) == is_domain then return true; end
		end
	end
	return false;
end

-- The SHA-256 of the key, or nil
function certificate.key(leaf)
	local digest = certs.tlsa(leaf, table.unpack(KEY_DIGEST));
	return digest and to_hex(digest);
end

-- Whether a TLSA record, as net.adns parses it, is well-formed and known
function certificate.is_usable(tlsa)
	return certs.usable(tlsa.use, tlsa.select, tlsa.match, tlsa.data);
end

return function (parts)
	options = parts.options;
	return certificate;
end
