-- The network that a visitor comes from: limits and bars apply to networks

local array = require "util.array";
local ip = require "util.ip";

local UNKNOWN = "unknown"; -- name for connections without an IP address, such as a local socket
local PROXY = "proxy "; -- prefix of the name for visitors whose addresses a proxy does not forward

local V4MAPPED = ("\0"):rep(10) .. "\255\255"; -- RFC 4291, section 2.5.5.2

local LOOPBACK = { "127.0.0.0/8", "::1" };
local PRIVATE = { "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "fc00::/7", "fe80::/10" };

-- Prosody's option for its web server, with its default
local trusted_proxies = array.collect(module:get_option_set("trusted_proxies", { "127.0.0.1", "::1" }):items());

local networks = { ADVICE = "Make the proxy send X-Forwarded-For, and list its address in trusted_proxies" };

local options; -- of the module; see start()

local function is_among(address, blocks)
	local parsed = ip.new_ip(address);
	for _, block in ipairs(blocks) do
		local base, bits = ip.parse_cidr(block);
		if base and ip.match(parsed, base, bits) then return true; end
	end
	return false;
end

-- The first bits of an IPv6 address, in groups of 16
local function prefix_of(bytes, bits)
	local groups = { (">I2I2I2I2I2I2I2I2"):unpack(bytes) };
	local text = {};
	for i = 1, (bits + 15) // 16 do
		local unused = math.max(0, i * 16 - bits);
		text[i] = ("%x"):format(groups[i] >> unused << unused);
	end
	return table.concat(text, ":") .. (#text < 8 and "::" or "");
end

-- The name of the network of an address: an IPv4 address, or the prefix of an IPv6 address that a provider assigns to one
-- subscriber. A network's name is parsed as itself. Returns nil for anything else.
function networks.parse(address)
	local suffix = ("/%d"):format(options.webchat_ipv6_prefix);
	if address and address:sub(-#suffix) == suffix and address:find(":", 1, true) then address = address:sub(1, -#suffix - 1); end
	local parsed = address and ip.new_ip(address);
	local bytes = parsed and parsed.packed;
	if not bytes then return nil; end
	if bytes:sub(1, 12) == V4MAPPED then bytes = bytes:sub(13); end
	if #bytes == 4 then return ("%d.%d.%d.%d"):format(bytes:byte(1, 4)); end
	return prefix_of(bytes, options.webchat_ipv6_prefix) .. suffix;
end

local function is_proxy(address)
	return is_among(address, LOOPBACK) or is_among(address, trusted_proxies)
		or not options.webchat_private_networks and is_among(address, PRIVATE);
end

-- The name of a session's network. Behind a proxy that does not forward addresses, all visitors have the proxy's address:
-- the name does not identify a network then.
function networks.of(session)
	local name = networks.parse(session.ip);
	if not name then return UNKNOWN; end
	local may_be_proxy = session.webchat_forwarded == false and is_proxy(session.ip);
	return (may_be_proxy and PROXY or "") .. name;
end

-- Whether visitors of several networks share this name. Bars do not apply to it.
function networks.is_shared(name)
	return name == UNKNOWN or name:sub(1, #PROXY) == PROXY;
end

-- The shared name of visitors behind a proxy with this address
function networks.behind_proxy(name)
	return PROXY .. name;
end

-- The address of that proxy
function networks.plain(name)
	return name:sub(1, #PROXY) == PROXY and name:sub(#PROXY + 1) or name;
end

-- Notes whether a proxy has forwarded the address. A client may send the header itself; that matters only for connections
-- from a proxy's address.
local function note_forwarding(event)
	local headers = event.request.headers;
	event.session.webchat_forwarded = (headers.x_forwarded_for or headers.forwarded) ~= nil;
end

function networks.start(webchat)
	options = webchat.options;
	module:hook_global("websocket-session", note_forwarding);
	module:hook_global("bosh-session", note_forwarding);
end

return networks;
