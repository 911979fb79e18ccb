-- certs.lua MODULES PROSODY DIRECTORY   measures the verification of a peer, in seconds of CPU
--
-- Prints a line "handshake verify anchor identity stock": the server's part of a TLS handshake in which both
-- sides show a chain of three; parsing and verifying that chain with four TLSA records, of which one for the leaf
-- matches, or one for the root; and the comparison of its names with one domain by certs.so and by Prosody's
-- util.x509. DIRECTORY holds chain.pem, key.pem and ca.pem.

local modules, prosody, directory = table.unpack(arg);
package.path = prosody.."/?.lua;"..package.path;
package.cpath = prosody.."/?.so;"..package.cpath;
pcall(require, "loader"); -- from 13.0 on

local socket = require "socket";
local ssl = require "ssl";
local verify_identity = require "util.x509".verify_identity;
local certs = assert(package.loadlib(modules.."/mod_s2s_auth_native/certs.so", "luaopen_certs"))();

local HANDSHAKES, CHECKS = 100, 300;
local DOMAIN = "peer.example";

local function path(name) return directory.."/"..name; end

local function context(mode)
	return assert(ssl.newcontext {
		mode = mode, protocol = "any", options = { "no_ticket" }, cafile = path "ca.pem";
		key = path "key.pem", certificate = path "chain.pem", verify = { "peer", "client_once" };
	});
end

local as_server, as_client = context "server", context "client";
local listener = assert(socket.bind("127.0.0.1", 0));
local _, port = listener:getsockname();

-- Returns whether the handshake is done, or its error.
local function step(conn, done)
	local err;
	if not done then done, err = conn:dohandshake(); end
	return done, err ~= "wantread" and err ~= "wantwrite" and err or nil;
end

-- Both ends in one process; only the server's steps are timed.
local function handshake()
	local client = assert(socket.connect("127.0.0.1", port));
	local server = listener:accept();
	client, server = assert(ssl.wrap(client, as_client)), assert(ssl.wrap(server, as_server));
	client:settimeout(0);
	server:settimeout(0);
	local spent, done, client_done = 0, nil, nil;
	repeat
		local err;
		client_done, err = step(client, client_done);
		local before = os.clock();
		if not err then done, err = step(server, done); end
		spent = spent + os.clock() - before;
		assert(not err, err);
	until done and client_done;
	local cert = server:getpeercertificate();
	server:close();
	client:close();
	return spent, cert;
end

local function each(count, check)
	local before = os.clock();
	for _ = 1, count do check(); end
	return (os.clock() - before) / count;
end

local function read(name)
	local file = assert(io.open(path(name)));
	local text = file:read("*a");
	file:close();
	return text;
end

local pem = read "chain.pem";
local _, cert = handshake();
local leaf = cert:pem();
local function records_with(...)
	return { { 3, 1, 1, ("x"):rep(32) }, { 2, 1, 1, ("x"):rep(32) }, { 2, 0, 1, ("x"):rep(32) }, { ... } };
end
local by_leaf = records_with(3, 1, 1, certs.parse(pem):tlsa { 3, 1, 1 });
local by_anchor = records_with(2, 1, 1, certs.parse(read "ca.pem"):tlsa { 2, 1, 1 });

local function verification(records)
	return each(CHECKS, function ()
		local chain <close> = certs.parse(pem);
		local verdict = chain:verify { tlsa = records, references = { DOMAIN }, service = "xmpp-server" };
		assert(verdict.dane == "match" and verdict.chain == "valid");
	end);
end

local spent = 0;
for _ = 1, HANDSHAKES do spent = spent + (handshake()); end
local leaf_matches, anchor_matches = verification(by_leaf), verification(by_anchor);
local identity = each(CHECKS, function ()
	local chain <close> = certs.parse(leaf);
	assert(chain:identity(DOMAIN, "xmpp-server"));
end);
local stock = each(CHECKS, function () assert(verify_identity(DOMAIN, "xmpp-server", cert)); end);
print(("%.9f %.9f %.9f %.9f %.9f"):format(spent / HANDSHAKES, leaf_matches, anchor_matches, identity, stock));
