-- Connections to other servers: a resolver for net.connect that replaces Prosody's, and offers only targets that RFC 7673
-- allows. Each address has its target, see discovery.lib.lua, as `extra.native_target` of the connection.

local connect = require "net.connect".connect;
local idna_to_ascii = require "util.encodings".idna.to_ascii;
local new_ip = require "util.net".pton;
local service = require "net.resolvers.service";
local timer = require "util.timer";

local auth;
local outgoing = {};

local resolver_methods = {};
local resolver_mt = { __index = resolver_methods };

local function is_address(host)
	return new_ip(host) or new_ip(host:match("^%[(.*)%]$") or "");
end

local function extra_for(resolver, target)
	return {
		native_target = target;
		servername = target.direct and resolver.hostname or nil;
		sslctx = target.direct and resolver.session.ssl_ctx or nil;
		use_dane = false; -- not by LuaSec
	};
end

-- Offers the next address of the current target; addresses race one another.
function resolver_methods:offer(callback)
	local target = self.current;
	local address = table.remove(self.addresses, 1);
	callback(address[1], address[2], target.port, extra_for(self, target), self.addresses[1] ~= nil);
end

function resolver_methods:skip(target)
	self.last_error = ("%s:%d: %s"):format(target.host, target.port, target.error);
	self.session.log("warn", "Not connecting to %s at %s", self.session.to_host, self.last_error);
end

-- The next target in order
function resolver_methods:take()
	local target;
	repeat
		self.position = self.position + 1;
		target = self.targets[self.position];
	until not target or not target.direct or self.session.ssl_ctx;
	return target;
end

function resolver_methods:try(callback)
	local target = self:take();
	if not target then
		callback(nil);
		return;
	end
	auth.discovery.describe(target):next(function ()
		if target.error then
			self:skip(target);
			self:try(callback);
			return;
		end
		self.current, self.addresses = target, table.move(target.addresses, 1, #target.addresses, 1, {});
		self:offer(callback);
	end):catch(function (err)
		self.last_error = tostring(err);
		callback(nil);
	end);
end

-- Called by net.connect for the next address to try; nil ends it, and last_error is the reason.
function resolver_methods:next(callback)
	if self.addresses and self.addresses[1] then
		self:offer(callback);
	elseif self.targets then
		self:try(callback);
	else
		auth.discovery.discover(self.hostname):next(function (targets)
			self.targets = targets.error and {} or targets;
			if targets.error then
				self.last_error = targets.error;
				self.session.log("warn", "Not connecting to %s: %s", self.session.to_host, targets.error);
			end
			self:try(callback);
		end):catch(function (err)
			self.last_error = tostring(err);
			callback(nil);
		end);
	end
end

-- Continues after this target, which accepted the connection and failed the check. Because addresses race, later targets may
-- have been taken already.
function resolver_methods:continue_after(target)
	while self.position > 0 and self.targets[self.position] ~= target do self.position = self.position - 1; end
	self.addresses = nil;
end

function resolver_methods:has_more_than(target)
	return self.targets ~= nil and self.targets[#self.targets] ~= target;
end

local nowhere = { next = function (_, callback) callback(nil); end };

local function new_resolver(session)
	local hostname = not is_address(session.to_host) and idna_to_ascii(session.to_host);
	if not hostname then return nil; end -- left to Prosody
	local resolver = setmetatable({ session = session, hostname = hostname:lower(), position = 0 }, resolver_mt);
	session.native_resolver = resolver;
	return resolver;
end

-- 13.0 has an event for the resolver. 0.12 has none: there the function that creates resolvers is wrapped, which mod_s2s calls
-- right after the event, and once more if it can use direct TLS.
function outgoing.install()
	local hosts = auth.hosts;
	local stock, coming = service.new, nil;

	local function new_service(hostname, name, ...)
		local session = coming;
		if not session or session.to_host ~= hostname or (name ~= "xmpp-server" and name ~= "xmpps-server") then
			return stock(hostname, name, ...);
		end
		if name == "xmpps-server" or not session.ssl_ctx then coming = nil; end
		local resolver = session.native_resolver or new_resolver(session);
		if not resolver then return stock(hostname, name, ...); end
		return name == "xmpp-server" and resolver or nowhere;
	end

	if module.get_option_period ~= nil then
		hosts.hook("s2sout-pre-connect", function (event)
			if hosts.protects(event.session) then event.resolver = new_resolver(event.session) or event.resolver; end
		end);
		return;
	end

	service.new = new_service;
	function module.unload()
		coming = nil;
		if service.new == new_service then service.new = stock; end
	end
	hosts.hook("s2sout-created", function (event)
		coming = hosts.protects(event.session) and event.session or nil;
	end, -1000);
end

-- The target of the connection of an outgoing session; nil if the resolver of this module has not found it.
function outgoing.target(session)
	local extra = session.conn and session.conn.extra;
	return extra and extra.native_target;
end

-- Names that are not in DNS: addresses, and those of Tor (RFC 7686)
local function is_beyond_dns(name)
	return is_address(name) or name:match("%.onion$");
end

-- Why the records of the server of an outgoing stream are unknown, although they had to be looked up; or nil
function outgoing.why_unknown(session)
	if outgoing.target(session) or is_beyond_dns(session.to_host) then return nil; end
	if session.native_resolver then return "another module has replaced the resolver"; end
	return "another module has made the connection, or it is older than this module";
end

function outgoing.has_more(session)
	return session.native_resolver ~= nil and session.native_resolver:has_more_than(outgoing.target(session));
end

local function ignore() end
local detached = { onconnect = ignore, ondisconnect = ignore, onincoming = ignore };

local STREAM_FIELDS = {
	"secure", "encrypted", "starttls", "streamid", "had_stream", "connect_timeout", "authenticated_remote",
	"cert_chain_status", "cert_identity_status", "cert_chain_errors", "external_auth", "thread", "close",
};

-- Data that were read already are still parsed, without effect: no stanza is processed, and the target cannot end the session.
local function leave(session)
	local conn = session.conn;
	conn:setlistener(detached);
	conn:close();
	if session.connect_timeout then timer.stop(session.connect_timeout); end
	session.thread, session.close = { run = ignore }, ignore;
end

-- Leaves the connection that has failed its check, and lets the session try the next target, after the thread of the session,
-- in which the check runs, is idle.
function outgoing.try_next(session)
	local listener = session.conn.listeners;
	session.native_resolver:continue_after(outgoing.target(session));
	leave(session);
	timer.add_task(0, function ()
		if session.destroyed then return; end
		for _, field in ipairs(STREAM_FIELDS) do session[field] = nil; end
		session.version, session.notopen = 1, true;
		connect(session.native_resolver, listener, nil, { session = session });
	end);
end

return function (parts)
	auth = parts;
	return outgoing;
end
