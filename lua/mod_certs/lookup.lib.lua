-- What DNS says, through a validating resolver set up as Prosody's own is

local new_ip = require "util.ip".new_ip;
local socket = require "socket";

local dns = module:require "native"("dns");
local unbound = module:require "unbound";

local ANCHOR_PACKAGE = "dns-root-data";
local RCODES = { [1] = "FORMERR", [2] = "SERVFAIL", [3] = "NXDOMAIN", [4] = "NOTIMP", [5] = "REFUSED" };
local NXDOMAIN = 3;
local DNS_PORT = 53;
local DAY = 86400;
local WRAP = 1 << 32; -- times of signatures count modulo this (RFC 4034 section 3.1.5)

local lookup = {};

-- ---- The resolver ----

local resolver;

local function get_resolver()
	if not resolver then
		local ok, made = pcall(dns.new, (unbound.settings()));
		resolver = ok and made or { failure = made };
	end
	return resolver;
end

-- Where trust begins: a text; or nil, and what is to be done about it.
function lookup.anchor()
	local settings, installed = unbound.settings();
	if not installed then return nil, "lua-unbound is not installed: Prosody cannot validate what DNS says"; end
	local found = unbound.anchor(settings);
	if not found then
		return nil, ([[nothing is ever secure; install %s and add: unbound = { trustfile = "%s" }]])
			:format(ANCHOR_PACKAGE, unbound.ROOT_KEY);
	end
	if settings.trustfile then
		local file, err = io.open(settings.trustfile);
		if not file then return nil, err; end
		file:close();
	end
	return found;
end

function lookup.asks_resolvconf()
	return unbound.asks_resolvconf((unbound.settings()));
end

-- ---- Answers ----

-- What went wrong at a name server, or nil
function lookup.failure(answer)
	if answer.rcode == 0 or answer.rcode == NXDOMAIN then return nil; end
	return RCODES[answer.rcode] or "RCODE "..answer.rcode;
end

local function state_of(answer)
	if answer.bogus then return "bogus"; end
	if lookup.failure(answer) then return "failed"; end
	return answer.secure and "secure" or "insecure";
end

local function failed(text)
	return { state = "failed", reason = text, records = {}, signatures = {} };
end

-- An answer, always: as of resolver:lookup(), with `state` "secure", "insecure", "bogus" or "failed", and for the last
-- two `reason`. A bogus answer keeps its records, which nothing must rely on.
function lookup.find(name, kind)
	local use = get_resolver();
	if use.failure then return failed(use.failure); end
	local answer, condition, text = use:lookup(name, kind);
	if not answer then
		return failed(condition == "internal-server-error" and "the name is none, or the answer cannot be read" or text);
	end
	answer.state = state_of(answer);
	answer.reason = answer.bogus or lookup.failure(answer);
	return answer;
end

function lookup.usable(answer)
	return answer.state == "secure" or answer.state == "insecure";
end

-- Days until the first signature of an answer ends, or nil
function lookup.signed_days(answer)
	local first;
	for _, signature in ipairs(answer.signatures) do
		local left = (signature.expiration - os.time()) % WRAP;
		if left >= WRAP // 2 then left = left - WRAP; end
		first = math.min(first or left, left);
	end
	return first and first / DAY;
end

-- ---- Name servers ----

-- The addresses of a name, as texts, IPv6 first; and both answers by type
function lookup.addresses(name)
	local list, answers = {}, {};
	for _, kind in ipairs { "AAAA", "A" } do
		local answer = lookup.find(name, kind);
		answers[kind] = answer;
		for _, record in ipairs(answer.bogus and {} or answer.records) do
			list[#list + 1] = new_ip(record[kind:lower()]).addr;
		end
	end
	return list, answers;
end

-- The zone that a name is in and its name servers; or nil
function lookup.zone(name)
	while true do
		local answer = lookup.find(name, "NS");
		if answer.records[1] and not answer.canonname then
			local servers = {};
			for i, record in ipairs(answer.records) do servers[i] = record.ns:lower(); end
			table.sort(servers);
			return name, servers;
		end
		if name == "." then return nil; end
		name = name:match("%.(.+)$") or ".";
	end
end

local silent = {}; -- addresses that have not answered: waited for once is enough

local function ask(address, name, kind)
	if silent[address] then return nil; end
	local answer = dns.ask(address, name, kind);
	silent[address] = not answer;
	return answer;
end

-- Whether this machine has a way there at all
local function has_route(address)
	local conn = address:find(":", 1, true) and socket.udp6() or socket.udp4();
	local ok = conn:setpeername(address, DNS_PORT);
	conn:close();
	return ok ~= nil;
end

-- Those that can be asked from here; all, where none can
local function askable(addresses)
	local list = {};
	for _, address in ipairs(addresses) do
		if has_route(address) then list[#list + 1] = address; end
	end
	return list[1] and list or addresses;
end

-- What each name server of the zone says: { { server =, address =, answer = nil where there was none }, ... }, zone
function lookup.ask_all(name, kind)
	local zone, servers = lookup.zone(name);
	local replies = {};
	for _, server in ipairs(servers or {}) do
		local addresses = askable((lookup.addresses(server)));
		for _, address in ipairs(addresses) do
			replies[#replies + 1] = { server = server, address = address, answer = ask(address, name, kind) };
		end
		if not addresses[1] then replies[#replies + 1] = { server = server, address = "no address" }; end
	end
	return replies, zone;
end

return lookup;
