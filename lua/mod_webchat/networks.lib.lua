-- The network that a visitor comes from: limits and bars go by it

local array = require "util.array";
local ip = require "util.ip";

local UNKNOWN = "unknown"; -- of a connection without an IP address, such as a local socket
local PROXY = "proxy ";

local V4MAPPED = ("\0"):rep(10) .. "\255\255"; -- RFC 4291, section 2.5.5.2

local LOOPBACK = { "127.0.0.0/8", "::1" };
local PRIVATE = { "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "fc00::/7", "fe80::/10" };

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

-- The web server's option, and its default
local trusted_proxies = array.collect(module:get_option_set("trusted_proxies", { "127.0.0.1", "::1" }):items());

return function (options)
	local networks = { ADVICE = "Let the proxy send that header, and name its address in trusted_proxies" };

	-- An IPv4 address, or the prefix of an IPv6 address that a provider gives to one subscriber; of an address, or of a
	-- network's name. Returns nil for anything else.
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

	-- Whether the proxy in front, if there is one, has forwarded the address. A client may send the header itself; that counts
	-- only for connections from a proxy's address.
	local function came(event)
		local headers = event.request.headers;
		event.session.webchat_came = (headers.x_forwarded_for or headers.forwarded) and "told" or "untold";
	end
	module:hook_global("websocket-session", came);
	module:hook_global("bosh-session", came);

	local function is_proxy(address)
		return is_among(address, LOOPBACK) or is_among(address, trusted_proxies)
			or not options.webchat_private_networks and is_among(address, PRIVATE);
	end

	-- Behind a proxy that does not forward addresses, all visitors have the proxy's: the name stands for no network then
	function networks.of(session)
		local name = networks.parse(session.ip);
		if not name then return UNKNOWN; end
		local may_be_proxy = session.webchat_came == "untold" and is_proxy(session.ip);
		return (may_be_proxy and PROXY or "") .. name;
	end

	-- Whether a name stands for no network. Bars do not hold for it.
	function networks.is_shared(name)
		return name == UNKNOWN or name:sub(1, #PROXY) == PROXY;
	end

	-- The name of all who come from this network, should it be that of a proxy that forwards no addresses
	function networks.behind_proxy(name)
		return PROXY .. name;
	end

	-- The name under which a proxy's address is limited while a visitor may be there as well
	function networks.plain(name)
		return name:sub(1, #PROXY) == PROXY and name:sub(#PROXY + 1) or name;
	end

	return networks;
end
