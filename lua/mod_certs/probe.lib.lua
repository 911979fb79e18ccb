-- The certificates that servers send: asks each listener over a connection of its own, all at the same time

local idna = require "util.encodings".idna;
local socket = require "socket";
local ssl = require "ssl";

local dns = module:require "dns";
local files = module:require "files";
local stream = module:require "stream";

-- OpenSSL's words for the alert of a server without a certificate for the name, or without a common version or cipher
local HINTS = {
	["alert handshake failure"] = "; the server may have no certificate for this host";
	["no application protocol"] = "; the server does not speak XMPP";
	["unrecognized name"] = "; the server has no certificate for this name";
};
local TIMEOUT = 10; -- seconds for one address, from connecting to the end of the last handshake
local MISTAKE_TIMEOUT = 5; -- seconds more to try the other kind of TLS
-- Ciphers of TLS 1.2 that require a key of one type. LuaSec cannot require it with TLS 1.3.
local CIPHERS = { ECDSA = "aECDSA:@SECLEVEL=0", RSA = "aRSA:@SECLEVEL=0" };
local VERSION_ALERT = "alert protocol version"; -- OpenSSL's words
local OTHER_TYPE = { ECDSA = "RSA", RSA = "ECDSA" };

local probe = {};

function probe.is_address(text)
	return text:find(":", 1, true) ~= nil or text:find("^%d+%.%d+%.%d+%.%d+$") ~= nil;
end

-- Nothing here is secret or trusted: weak algorithms are reported, not refused.
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
		if stream.wait(conn, "write", deadline) then err = conn:getoption("error"); end
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

-- Returns true; or nil or false, text
local function shake_hands(conn, deadline)
	local ok, err;
	repeat
		ok, err = conn:dohandshake();
		local direction = DIRECTIONS[err];
		if direction and not stream.wait(conn, direction, deadline) then return false, "no answer"; end
	until ok or not direction;
	return ok, err;
end

local function explained(text)
	for words, hint in pairs(HINTS) do
		if text:find(words, 1, true) then return text..hint; end
	end
	return text;
end

-- Returns the chain, as PEM; or nil, text, and "tls" with the chain if TLS works without XMPP. With direct TLS any service may
-- listen on the port.
local function handshake(conn, target, deadline, key_type)
	local context, err = new_context(target, key_type);
	if not context then return nil, err; end
	conn, err = ssl.wrap(conn, context);
	if not conn then return nil, err; end
	if not probe.is_address(target.domain) then conn:sni(idna.to_ascii(target.domain) or target.domain); end
	conn:settimeout(0);
	local ok, text = shake_hands(conn, deadline);
	local pem, opened = ok and pem_of(conn:getpeerchain()), true;
	if pem and target.tls == "direct" then opened, text = stream.open(conn, target, deadline); end
	conn:close();
	if not ok then return nil, "TLS handshake: "..explained(tostring(text)); end
	if not pem then return nil, "the server sent no certificate"; end
	if not opened then return nil, ("TLS, but not XMPP: %s"):format(text), "tls", pem; end
	return pem;
end

-- One conversation. Returns { pem = }; or { err =, reached =, other = the chain of a service that does not speak XMPP }.
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

-- "ECDSA", "RSA", or OpenSSL's name; "" if it is unknown
function probe.key_type(leaf)
	return leaf.key.type == "EC" and "ECDSA" or leaf.key.type;
end

-- As in the replies of probe.chains()
local function describe(pem)
	local chain, leaf = files.parse_chain(pem);
	if not chain then return { pem = pem, text = leaf, key_type = "" }; end
	return { pem = pem, chain = chain, leaf = leaf, key_type = probe.key_type(leaf) };
end

-- Adds the chain of the other type of key, if the server has one. A server with only TLS 1.3 cannot be asked.
local function add_other_chain(reply, target, deadline)
	local first = describe(reply.pem);
	reply.chains = { first };
	local other = OTHER_TYPE[first.key_type];
	local second = other and ask(target, deadline, other);
	local found = second and second.pem and describe(second.pem);
	if found and found.key_type == other then
		reply.chains[2] = found;
	elseif second and second.err and second.err:find(VERSION_ALERT, 1, true) then
		reply.chains.incomplete = true;
	end
end

-- ---- The other kind of TLS ----

local INSTEAD = {
	starttls = {
		tls = "direct";
		text = "%s: the port speaks direct TLS, but %s STARTTLS; publish the port as %s, or configure it for STARTTLS";
	};
	direct = {
		tls = "starttls";
		text = "%s: the port speaks STARTTLS, but %s direct TLS; publish the port as %s, or configure it for direct TLS";
	};
};

-- A text if the port speaks the other kind of TLS than published, or nil. Some servers do not answer the wrong kind, so that
-- the first deadline has passed.
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

-- targets: array of { address =, port =, tls = "starttls" or "direct", service = "xmpp-client" or "xmpp-server", domain = name
-- for SNI and `to`, published = as of probe.promise(), or nil }. Returns an array of replies:
--   { pem = the chain as sent, chains = { { pem =, chain = and leaf = as of files.parse_chain(), or text = why it is unreadable,
--   key_type = "ECDSA" or "RSA" }, ... this one, and one of the other type of key, if there is one; incomplete = the server could
--   not be asked for that type } }
--   { err = text, reached = nil, "connected", "tls" with `other` (the chain of a service that does not speak XMPP), or "stream"
--   (the server speaks XMPP) }
function probe.chains(targets)
	local replies, conversations = {}, {};
	for i, target in ipairs(targets) do
		conversations[i] = function () replies[i] = chain(target); end;
	end
	stream.run(conversations);
	return replies;
end

-- ---- Published listeners ----

-- { promise = which record says that a port speaks STARTTLS or direct TLS, instead = the name of the record for the other }
function probe.promise(srv)
	local own = srv.name:match("^_[^.]+%._tcp%.(.*)$");
	return { promise = srv.implied and "without an SRV record peers expect" or srv.name.." promises",
		instead = dns.srv_name(own, srv.service, srv.tls == "direct" and "starttls" or "direct") };
end

local function key_of(host, srv, target, address)
	return table.concat({ host, srv.service, srv.tls, address, target.port }, " ");
end

-- domains: array of { host =, services = as of dns.services_of() }. Asks each listener once, and returns get(host, srv, target,
-- address) -> a reply of probe.chains().
function probe.all(domains)
	local targets, numbers = {}, {};
	for _, domain in ipairs(domains) do
		for _, srv in ipairs(domain.services) do
			for _, target in ipairs(srv.targets) do
				for _, address in ipairs(target.addresses) do
					targets[#targets + 1] = {
						address = address, port = target.port, tls = srv.tls, service = srv.service, domain = domain.host,
						published = probe.promise(srv),
					};
					numbers[key_of(domain.host, srv, target, address)] = #targets;
				end
			end
		end
	end
	local replies = probe.chains(targets);
	return function (...) return replies[numbers[key_of(...)]]; end;
end

-- "[::1]:5269 xmpp-server, direct TLS"
function probe.name(srv, target, address)
	local shown = address:find(":", 1, true) and "["..address.."]" or address;
	return ("%s:%d %s%s"):format(shown, target.port, srv.service, srv.tls == "direct" and ", direct TLS" or "");
end

return probe;
