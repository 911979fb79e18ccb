-- The certificates that servers send, each over a connection of its own that ends when they are known

local idna = require "util.encodings".idna;
local socket = require "socket";
local ssl = require "ssl";

local certs = module:require "native"("certs");
local stream = module:require "stream";
local wait = module:require "concurrently".wait;
local run = module:require "concurrently".run;

-- How OpenSSL calls the alert of a server that has no certificate for the name, or no version or cipher in common
local HINTS = {
	["alert handshake failure"] = "; has the server a certificate for this host?";
	["no application protocol"] = "; it speaks another protocol than XMPP";
	["unrecognized name"] = "; it has no certificate for this name";
};
local TIMEOUT = 10; -- seconds for one address, from connecting to the end of the last handshake
local MISTAKE_TIMEOUT = 5; -- seconds more for the other kind of TLS, where that is asked for
-- Ciphers of TLS 1.2 that ask for a key of one type. LuaSec cannot ask so with TLS 1.3.
local CIPHERS = { ECDSA = "aECDSA:@SECLEVEL=0", RSA = "aRSA:@SECLEVEL=0" };
local VERSION_ALERT = "alert protocol version"; -- OpenSSL's words
local OTHER_TYPE = { ECDSA = "RSA", RSA = "ECDSA" };

local fetch = {};

function fetch.is_address(text)
	return text:find(":", 1, true) ~= nil or text:find("^%d+%.%d+%.%d+%.%d+$") ~= nil;
end

-- Nothing is secret and nothing trusted here: what is weak is to be seen, not refused.
local function new_context(target, key_type)
	return ssl.newcontext {
		mode = "client"; protocol = "any"; verify = "none";
		options = { "all", "no_sslv2", "no_sslv3", key_type and "no_tlsv1_3" or nil };
		ciphers = CIPHERS[key_type] or "DEFAULT:@SECLEVEL=0"; alpn = target.tls == "direct" and target.service or nil;
	};
end

local function connect(target, deadline)
	local conn = target.address:find(":", 1, true) and socket.tcp6() or socket.tcp4();
	conn:settimeout(0);
	local _, err = conn:connect(target.address, target.port);
	if err == "timeout" then
		err = "no answer";
		if wait(conn, "write", deadline) then err = conn:getoption("error"); end
	end
	if not err then return conn; end
	conn:close();
	return nil, err;
end

-- ---- TLS ----

local function pem_of(chain)
	local texts = {};
	for i, cert in ipairs(chain) do texts[i] = cert:pem(); end
	return texts[1] and table.concat(texts) or nil;
end

local DIRECTIONS = { wantread = "read", wantwrite = "write" };

-- Returns whether it is done, or false, text
local function shake_hands(conn, deadline)
	local ok, err;
	repeat
		ok, err = conn:dohandshake();
		local direction = DIRECTIONS[err];
		if direction and not wait(conn, direction, deadline) then return false, "no answer"; end
	until ok or not direction;
	return ok, err;
end

local function explained(text)
	for words, hint in pairs(HINTS) do
		if text:find(words, 1, true) then return text..hint; end
	end
	return text;
end

-- Returns the chain, as PEM; or nil, text, "tls" where TLS works, and the chain then. Who speaks of STARTTLS speaks XMPP; with
-- direct TLS anybody may be there.
local function handshake(conn, target, deadline, key_type)
	local context, err = new_context(target, key_type);
	if not context then return nil, err; end
	conn, err = ssl.wrap(conn, context);
	if not conn then return nil, err; end
	if not fetch.is_address(target.domain) then conn:sni(idna.to_ascii(target.domain) or target.domain); end
	conn:settimeout(0);
	local ok, text = shake_hands(conn, deadline);
	local pem, opened = ok and pem_of(conn:getpeerchain()), true;
	if pem and target.tls == "direct" then opened, text = stream.open(conn, target, deadline); end
	conn:close();
	if not ok then return nil, "TLS handshake: "..explained(tostring(text)); end
	if not pem then return nil, "no certificate was sent"; end
	if not opened then return nil, ("TLS, but no XMPP: %s"):format(text), "tls", pem; end
	return pem;
end

-- One conversation: { pem = } or { err =, reached =, other = the chain of a service that is not XMPP }
local function ask(target, deadline, key_type)
	local conn, err = connect(target, deadline);
	if not conn then return { err = err }; end
	local ok, reached, pem, other = true, nil, nil, nil;
	if target.tls == "starttls" then ok, err, reached = stream.start_tls(conn, target, deadline); end
	if ok then
		local how;
		pem, err, how, other = handshake(conn, target, deadline, key_type);
		reached = reached or how;
	end
	conn:close();
	return pem and { pem = pem } or { err = err, reached = reached or "connected", other = other };
end

-- ---- Keys of both types ----

-- "ECDSA", "RSA", or as OpenSSL calls it; "" where it cannot be read
function fetch.key_type(pem)
	local chain = certs.chain(pem);
	local name = chain and chain[1].key.type or "";
	return name == "EC" and "ECDSA" or name;
end

-- Adds the chain of the other type of key, where the server has one. With TLS 1.3 alone it cannot be asked for.
local function add_other_chain(reply, target, deadline)
	local key_type = fetch.key_type(reply.pem);
	reply.chains = { { pem = reply.pem, key_type = key_type } };
	local other = OTHER_TYPE[key_type];
	local second = other and ask(target, deadline, other);
	if second and second.pem and fetch.key_type(second.pem) == other then
		reply.chains[2] = { pem = second.pem, key_type = other };
	elseif second and second.err and second.err:find(VERSION_ALERT, 1, true) then
		reply.chains.incomplete = true;
	end
end

-- ---- The other kind of TLS ----

local INSTEAD = {
	starttls = {
		tls = "direct";
		text = "%s: direct TLS is spoken here, where %s STARTTLS; publish the port as %s, or have it listen for STARTTLS";
	};
	direct = {
		tls = "starttls";
		text = "%s: plain XMPP with STARTTLS is spoken here, where %s direct TLS; publish the port as %s, or have it listen for direct TLS";
	};
};

-- Whether the port speaks the other kind of TLS than it was published for: a text, or nil. Some servers are silent then, so
-- that the time for the first question is over.
local function find_mistake(reply, target)
	if reply.reached ~= "connected" or not target.published then return nil; end
	local instead = INSTEAD[target.tls];
	local second = ask(setmetatable({ tls = instead.tls }, { __index = target }), socket.gettime() + MISTAKE_TIMEOUT);
	if not second.pem and second.reached ~= "stream" then return nil; end
	return instead.text:format(reply.err, target.published.promise, target.published.instead);
end

local function chain(target)
	local deadline = socket.gettime() + TIMEOUT;
	local reply = ask(target, deadline);
	if reply.pem then
		add_other_chain(reply, target, deadline);
	else
		reply.err = find_mistake(reply, target) or reply.err;
	end
	return reply;
end

-- targets: array of { address =, port =, tls = "starttls" or "direct", service = "xmpp-client" or "xmpp-server", domain =
-- whom to ask for, published = { promise = whose word tls is, "an SRV record promises", instead = the name of the record
-- for the other kind of TLS } or nil }, asked at the same time. Returns an array of replies:
--   { pem = the chain in the order it was sent, chains = { { pem =, key_type = "ECDSA" or "RSA" }, ... that one, and one of the
--   other type of key where there is one; incomplete = that type could not be asked for } }
--   { err = text, reached = how far it went: nil, "connected", "tls" with `other`, the chain of a service that is not XMPP, or
--   "stream", where the other side speaks XMPP to such clients }
function fetch.chains(targets)
	local replies, conversations = {}, {};
	for i, target in ipairs(targets) do
		conversations[i] = function () replies[i] = chain(target); end;
	end
	run(conversations);
	return replies;
end

return fetch;
