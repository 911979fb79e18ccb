-- Libraries of mod_webchat that work without a server: networks, visitors, budgets, bars, nicknames

local FOLDER = "lua/mod_webchat/";

local set = require "util.set";

local metrics; -- name -> gauge of the library that was loaded last

local function gauge()
	local metric = { value = 0 };
	function metric:set(value) self.value = value; end
	function metric:add(value) self.value = self.value + value; end
	function metric:with_labels() return self; end
	return metric;
end

-- Runs a library with the module API that it uses, and starts it with the libraries in `webchat`
local function load_lib(name, webchat)
	local module = { hook_global = function () end };
	function module.get_option_set() return set.new { "198.51.100.7", "203.0.113.0/24" }; end
	function module:metric(_, metric) -- luacheck: ignore 212/self
		metrics = { [metric] = gauge() };
		return metrics[metric];
	end
	local env = setmetatable({ module = module }, { __index = _G });
	local lib = assert(loadfile(FOLDER .. name .. ".lib.lua", "t", env))();
	if webchat then lib.start(webchat); end
	return lib;
end

local function options()
	local given = { webchat_ipv6_prefix = 64, webchat_sessions_per_address = 10, webchat_max_visitors = 10 };
	for _, whose in ipairs { "", "visitor_", "total_" } do
		given["webchat_"..whose.."logins_per_minute"], given["webchat_"..whose.."messages_per_minute"] = 20, 60;
		given["webchat_"..whose.."message_burst"], given["webchat_"..whose.."seconds_per_minute"] = 20, 6;
	end
	return given;
end

local function load_networks(given)
	return load_lib("networks", { options = given or options() });
end

describe("webchat networks", function ()
	local networks = load_networks();

	it("uses an IPv4 address, in any notation", function ()
		assert.equal("192.0.2.1", networks.parse("192.0.2.1"));
		assert.equal("192.0.2.1", networks.parse("::ffff:192.0.2.1"));
		assert.equal("192.0.2.1", networks.parse("::ffff:c000:201"));
	end);

	it("uses the /64 of an IPv6 address", function ()
		local network = networks.parse("2001:db8:1:2:3:4:5:6");
		assert.equal("2001:db8:1:2::/64", network);
		assert.equal(network, networks.parse("2001:DB8:1:2::"));
		assert.equal(network, networks.parse(network));
		assert.not_equal(network, networks.parse("2001:db8:1:3:3:4:5:6"));
		assert.equal("0:0:0:0::/64", networks.parse("::1"));
	end);

	it("recognizes invalid addresses", function ()
		for _, text in ipairs { "", "nonsense", "192.0.2", "192.0.2.1.5", "2001:db8", "192.0.2.1/24", "unix:/run/x" } do
			assert.is_nil(networks.parse(text), text);
		end
		assert.is_nil(networks.parse(nil));
	end);

	it("uses the configured prefix of an IPv6 address", function ()
		local function parse(bits, address)
			local given = options();
			given.webchat_ipv6_prefix = bits;
			return load_networks(given).parse(address);
		end
		assert.equal("2001:db8:1:200::/56", parse(56, "2001:db8:1:2ff:5:6:7:8"));
		assert.equal("2001:db8:1::/48", parse(48, "2001:db8:1:2ff:5:6:7:8"));
		assert.equal("2001:db8:1:2ff:5:6:7:8/128", parse(128, "2001:db8:1:2ff:5:6:7:8"));
		assert.equal("2001:db8:1:2ff:5:6:7:0/113", parse(113, "2001:db8:1:2ff:5:6:7:78"));
		assert.equal("0::/1", parse(1, "2001:db8::1"));
		assert.equal("8000::/1", parse(1, "fe80::1"));
		assert.equal("2001:db8:1:200::/56", parse(56, "2001:db8:1:200::/56"));
		assert.is_nil(parse(56, "2001:db8:1:200::/64"));
	end);

	local function of(address, forwarded, private)
		local given = options();
		given.webchat_private_networks = private;
		return load_networks(given).of { ip = address, webchat_forwarded = forwarded };
	end

	it("treats private and reserved addresses as those of a proxy", function ()
		for _, address in ipairs { "127.0.0.1", "10.1.2.3", "172.31.0.1", "192.168.1.1", "198.51.100.7", "203.0.113.9" } do
			assert.equal("proxy "..address, of(address, false));
			assert.equal(address, of(address, true));
			assert.equal(address, of(address, nil)); -- neither WebSocket nor BOSH
		end
		assert.equal("proxy 0:0:0:0::/64", of("::1", false));
		assert.equal("proxy fc00:0:0:0::/64", of("fc00::1", false));
		assert.equal("192.0.2.1", of("192.0.2.1", false));
		assert.equal("unknown", of(nil, false));
	end);

	it("treats private addresses as those of visitors in an intranet", function ()
		assert.equal("10.1.2.3", of("10.1.2.3", false, true));
		assert.equal("proxy 127.0.0.1", of("127.0.0.1", false, true));
		assert.equal("proxy 203.0.113.9", of("203.0.113.9", false, true));
	end);
end);

describe("webchat visitors", function ()
	local visitors;

	before_each(function ()
		visitors = load_lib("visitors", { options = options(), networks = load_networks(), budgets = load_lib "budgets" });
	end);

	local function session(address, jid)
		return { ip = address, full_jid = jid or "visitor@guests.test/1" };
	end

	it("counts each present visitor once", function ()
		local one, two = session("192.0.2.1"), session("192.0.2.1");
		visitors.add(one);
		visitors.add(one);
		visitors.add(two);
		assert.equal(2, visitors.count_at("192.0.2.1"));
		visitors.remove(one);
		visitors.remove(one);
		assert.equal(1, visitors.count_at("192.0.2.1"));
		assert.equal(0, visitors.count_at("192.0.2.2"));
	end);

	it("follows a visitor to another network", function ()
		local one = session("192.0.2.1");
		visitors.add(one);
		one.ip = "192.0.2.2";
		assert.equal("192.0.2.1", visitors.network_of(one));
		visitors.move(one, "192.0.2.2");
		assert.equal("192.0.2.2", visitors.network_of(one));
		assert.equal(0, visitors.count_at("192.0.2.1"));
		assert.equal(1, visitors.count_at("192.0.2.2"));
		assert.same({ "192.0.2.1", "192.0.2.2" }, visitors.networks("visitor@guests.test"));
	end);

	it("remembers the last networks of a visitor, each once", function ()
		local one = session("192.0.2.1");
		visitors.add(one);
		for _, n in ipairs { 2, 3, 4, 5, 6, 7, 8, 2, 9, 10 } do visitors.move(one, "192.0.2."..n); end
		local expected = {};
		for i, n in ipairs { 3, 4, 5, 6, 7, 8, 2, 9, 10 } do expected[i] = "192.0.2."..n; end
		table.remove(expected, 1);
		assert.same(expected, visitors.networks("visitor@guests.test"));
		visitors.remove(one);
		assert.same(expected, visitors.networks("visitor@guests.test"));
		assert.is_nil(visitors.networks("other@guests.test"));
	end);

	it("keeps the costs of a visitor through a change of network", function ()
		local one = session("192.0.2.1");
		visitors.add(one);
		local budget = visitors.own_budget(one);
		visitors.move(one, "192.0.2.2");
		assert.equal(budget, visitors.own_budget(one));
		assert.equal(visitors.at("192.0.2.2"), visitors.budgets(one)[2]);
	end);

	it("passes costs and networks of a visitor's former session on to the next one", function ()
		local former, one = session("192.0.2.1", "former@guests.test/1"), session("192.0.2.2");
		visitors.add(former);
		visitors.move(former, "192.0.2.3");
		visitors.add(one);
		visitors.inherit(one, former);
		assert.same({ "192.0.2.1", "192.0.2.3", "192.0.2.2" }, visitors.networks("visitor@guests.test"));
		assert.equal(visitors.own_budget(former), visitors.own_budget(one));
		assert.equal("192.0.2.2", visitors.network_of(one));
	end);

	it("detects a proxy by its second visitor", function ()
		local function behind(n)
			return { ip = "127.0.0.1", webchat_forwarded = false, full_jid = n.."@guests.test/1" };
		end
		local one, two, direct = behind(1), behind(2), session("127.0.0.1");
		visitors.add(direct);
		visitors.add(one);
		assert.is_false(visitors.detect_proxy(one));
		assert.equal(2, visitors.count_at("127.0.0.1")); -- it may be the operator
		assert.equal(2, visitors.count_at("proxy 127.0.0.1"));
		assert.is_true(visitors.detect_proxy(two));
		assert.is_false(visitors.detect_proxy(two));
		visitors.add(two);
		assert.equal(1, visitors.count_at("proxy 127.0.0.1"));
		assert.same({ ["proxy 127.0.0.1"] = 2 }, visitors.unknown());
		assert.same({ direct }, visitors.sessions_from("127.0.0.1"));
		visitors.remove(one);
		visitors.remove(two);
		assert.equal(1, visitors.count_at("127.0.0.1"));
		assert.same({}, visitors.unknown());
	end);

	it("forgets only networks whose budgets are full", function ()
		local fresh, used = visitors.at("192.0.2.1"), visitors.at("192.0.2.2");
		used.logins:poll(1);
		local here = session("192.0.2.3");
		visitors.add(here);
		visitors.prune();
		assert.not_equal(fresh, visitors.at("192.0.2.1"));
		assert.equal(used, visitors.at("192.0.2.2"));
		assert.equal(1, visitors.count_at("192.0.2.3"));
	end);
end);

describe("webchat budgets", function ()
	local budgets = load_lib "budgets";
	local st = require "util.stanza";
	local visitor = { presence = true, directed = { ["room@rooms.test/me"] = true } };

	local function price(stanza, size) return budgets.price(visitor, stanza, size or 200); end

	it("are charged for a message, more for a large one, less for a request", function ()
		assert.equal(1, price(st.message { to = "room@rooms.test" }));
		assert.equal(1, price(st.message { to = "room@rooms.test" }, 1024));
		assert.equal(3, price(st.message { to = "room@rooms.test" }, 3072));
		assert.equal(1, price(st.presence { to = "room@rooms.test/me" }));
		assert.equal(0.1, price(st.presence()));
		assert.equal(0.1, price(st.iq { type = "get", id = "a" }));
		assert.equal(0.2, price(st.iq { type = "result", id = "a" }, 2048));
	end);

	it("are not charged for leaving", function ()
		assert.equal(0, price(st.presence { type = "unavailable", to = "room@rooms.test/me" }, 4096));
		assert.equal(0, price(st.presence { type = "unavailable" }));
		assert.equal(0.1, price(st.presence { type = "unavailable", to = "other@rooms.test/me" }));
		assert.equal(0.1, budgets.price({}, st.presence { type = "unavailable" }, 200));
	end);

	it("are taken from all accounts, or from none", function ()
		local one = budgets.new { messages = 1, burst = 4 };
		local all = budgets.new { messages = 1, burst = 2 };
		assert.is_nil(budgets.take({ one, all }, "messages", 1));
		assert.is_nil(budgets.take({ one, all }, "messages", 1));
		assert.equal(all, budgets.take({ one, all }, "messages", 1));
		assert.is_nil(budgets.take({ one }, "messages", 2));
		assert.equal(one, budgets.take({ one, all }, "messages", 0.5));
		assert.is_nil(budgets.take({ one }, "bytes", 1000)); -- without a limit
	end);

	it("may once exceed the size of an account", function ()
		local one = budgets.new { messages = 1, burst = 4 };
		assert.is_nil(budgets.take({ one }, "messages", 6));
		assert.equal(one, budgets.take({ one }, "messages", 0.1));
	end);

	it("may become negative, down to a limit", function ()
		local time = require "util.time";
		local stock_now, now = time.now, 1000;
		package.loaded["util.throttle"] = nil;
		time.now = function () return now; end
		local one = load_lib "budgets".new { messages = 1, burst = 1, seconds = 3 };
		package.loaded["util.throttle"] = nil;
		time.now = stock_now;
		assert.is_nil(budgets.in_debt({ one }, "seconds"));
		budgets.charge({ one }, "seconds", 35);
		assert.equal(one, budgets.in_debt({ one }, "seconds"));
		now = 1059;
		assert.equal(one, budgets.in_debt({ one }, "seconds"));
		assert.is_false(budgets.is_unused(one));
		now = 1061;
		assert.is_nil(budgets.in_debt({ one }, "seconds"));
		now = 1200;
		assert.is_true(budgets.is_unused(one));
	end);
end);

describe("webchat bars", function ()
	local bars, count, now;
	local time = require "util.time";
	local stock_now = time.now;

	local function load_bars(given)
		local networks = load_networks(given);
		return load_lib("bars", { networks = networks, rooms = { hook = function () end } });
	end

	before_each(function ()
		now = 1000;
		time.now = function () return now; end
		bars = load_bars();
		count = metrics.bars;
	end);
	after_each(function () time.now = stock_now; end);

	it("apply to one room, or everywhere, and expire", function ()
		bars.add("192.0.2.1", "a@rooms.test", 10);
		assert.equal(1010, bars.find("192.0.2.1", "a@rooms.test"));
		assert.is_nil(bars.find("192.0.2.1", "b@rooms.test"));
		assert.is_nil(bars.find("192.0.2.1"));
		assert.is_nil(bars.find("192.0.2.2", "a@rooms.test"));
		bars.add("192.0.2.2", nil, 20);
		assert.equal(1020, bars.find("192.0.2.2"));
		assert.equal(1020, bars.find("192.0.2.2", "a@rooms.test"));
		now = 1010;
		assert.is_nil(bars.find("192.0.2.1", "a@rooms.test"));
		assert.equal(1020, bars.find("192.0.2.2"));
	end);

	it("do not apply to unknown networks", function ()
		bars.add("proxy 127.0.0.1", nil, 10);
		bars.add("unknown", nil, 10);
		assert.is_nil(bars.find("proxy 127.0.0.1"));
		assert.is_nil(bars.find("unknown"));
	end);

	it("of a room still apply after a global one has expired", function ()
		bars.add("192.0.2.1", nil, 10);
		bars.add("192.0.2.1", "a@rooms.test", 20);
		now = 1015;
		assert.equal(1020, bars.find("192.0.2.1", "a@rooms.test"));
		assert.is_nil(bars.find("192.0.2.1"));
	end);

	it("are lifted once", function ()
		bars.add("192.0.2.1", "a@rooms.test", 10, "visitor@guests.test");
		assert.is_false(bars.lift("192.0.2.1"));
		assert.is_false(bars.lift_ban("other@guests.test", "a@rooms.test"));
		assert.is_true(bars.lift_ban("visitor@guests.test", "a@rooms.test"));
		assert.is_false(bars.lift("192.0.2.1", "a@rooms.test"));
		assert.is_nil(bars.find("192.0.2.1", "a@rooms.test"));
	end);

	it("are not shortened by a shorter one", function ()
		assert.equal(100, bars.add("192.0.2.1", nil, 100));
		assert.equal(100, bars.add("192.0.2.1", nil, 10));
		assert.equal(1100, bars.find("192.0.2.1"));
		now = 1050;
		assert.equal(50, bars.add("192.0.2.1", nil, 10));
		assert.equal(60, bars.add("192.0.2.1", nil, 60));
		assert.equal(1110, bars.find("192.0.2.1"));
		assert.is_true(bars.lift("192.0.2.1"));
		assert.equal(10, bars.add("192.0.2.1", nil, 10));
	end);

	it("that bans have set are lifted individually", function ()
		local room = "a@rooms.test";
		assert.equal(100, bars.add("192.0.2.1", room, 100, "first@guests.test"));
		assert.equal(100, bars.add("192.0.2.1", room, 20));
		assert.equal(100, bars.add("192.0.2.1", room, 50, "second@guests.test"));
		assert.same({ { network = "192.0.2.1", room = room, ends = 1100 } }, bars.list());
		assert.equal(1, count.value);
		assert.is_true(bars.lift_ban("first@guests.test", room));
		assert.equal(1050, bars.find("192.0.2.1", room));
		assert.is_true(bars.lift_ban("second@guests.test", room));
		assert.equal(1020, bars.find("192.0.2.1", room));
		assert.is_false(bars.lift_ban("second@guests.test", room));
		bars.add("192.0.2.1", room, 60, "third@guests.test");
		assert.is_true(bars.lift("192.0.2.1", room));
		assert.is_nil(bars.find("192.0.2.1", room));
		assert.is_false(bars.lift_ban("third@guests.test", room));
		assert.equal(0, count.value);
	end);

	it("expire each at its own time", function ()
		bars.add("192.0.2.1", "a@rooms.test", 10);
		bars.add("192.0.2.1", "a@rooms.test", 5, "visitor@guests.test");
		now = 1006;
		bars.prune();
		assert.is_false(bars.lift_ban("visitor@guests.test", "a@rooms.test"));
		assert.equal(1010, bars.find("192.0.2.1", "a@rooms.test"));
	end);

	it("that a ban has set for several networks are lifted together", function ()
		bars.add("192.0.2.1", "a@rooms.test", 10, "visitor@guests.test");
		bars.add("192.0.2.2", "a@rooms.test", 10, "visitor@guests.test");
		bars.add("192.0.2.2", "b@rooms.test", 10, "visitor@guests.test");
		assert.is_true(bars.lift_ban("visitor@guests.test", "a@rooms.test"));
		assert.same({ { network = "192.0.2.2", room = "b@rooms.test", ends = 1010 } }, bars.list());
	end);

	it("apply to the networks after a reload with another prefix", function ()
		bars.add("2001:db8:1:2::/64", nil, 10);
		bars.add("2001:db8:1:3::/64", nil, 20);
		bars.add("192.0.2.1", nil, 5);
		local given = options();
		given.webchat_ipv6_prefix = 56;
		local again = load_bars(given);
		again.restore(bars.save());
		assert.equal(1020, again.find("2001:db8:1:0::/56"));
		assert.equal(1005, again.find("192.0.2.1"));
		assert.equal(2, #again.list());
	end);

	it("are listed and counted until they expire, also after a reload", function ()
		bars.add("192.0.2.2", nil, 20);
		bars.add("192.0.2.1", "a@rooms.test", 10);
		assert.same({ { network = "192.0.2.1", room = "a@rooms.test", ends = 1010 }, { network = "192.0.2.2", ends = 1020 } }, bars.list());
		assert.equal(2, count.value);
		now = 1015;
		assert.same({ { network = "192.0.2.2", ends = 1020 } }, bars.list());
		local again = load_bars();
		again.restore(bars.save());
		assert.same({ { network = "192.0.2.2", ends = 1020 } }, again.list());
		assert.equal(1, metrics.bars.value);
	end);
end);

describe("webchat nicknames", function ()
	local encodings = require "util.encodings";
	local nicknames = load_lib "nicknames";

	it("that look alike are alike in any order", function ()
		local pairs_alike = { { "Ann", "ann" }, { "Ann", "A n n." }, { "Ian", "lan" }, { "root", "R00T" }, { "admin", "ADMIN" },
			{ "Bill", "BiIl" } };
		for _, pair in ipairs(pairs_alike) do
			assert.is_true(nicknames.are_alike(pair[1], pair[2]), table.concat(pair, " "));
			assert.is_true(nicknames.are_alike(pair[2], pair[1]), table.concat(pair, " "));
		end
		assert.is_true(nicknames.are_alike("Ann", "\u{410}nn"));
		assert.is_true(nicknames.are_alike("...", "..."));
	end);

	it("that do not are not", function ()
		for _, pair in ipairs { { "Ann", "Anna" }, { "Ann", "Ben" }, { "...", "!!!" }, { "Ann 2", "Ann 3" }, { "\u{738B}", "\u{674E}" } } do
			assert.is_false(nicknames.are_alike(pair[1], pair[2]), table.concat(pair, " "));
		end
	end);

	it("are checked for every invisible code point", function ()
		for _, code in ipairs { 0xAD, 0x34F, 0x115F, 0x17B4, 0x180E, 0x200B, 0x200D, 0x202E, 0x2060, 0x2800, 0x3164, 0xFE0F, 0xFEFF } do
			assert.is_string(nicknames.flaw("A" .. utf8.char(code) .. "nn"), ("%X"):format(code));
		end
	end);

	it("may be of many languages, and of 40 characters", function ()
		local fine = { "Ann", "Zo\u{EB} \u{41A}\u{430}\u{440}", "\u{5D3}\u{5D5}\u{5D3}", "\u{738B}\u{5C0F}\u{660E}", ("\u{E9}"):rep(40) };
		for _, name in ipairs(fine) do
			assert.is_nil(nicknames.flaw(name), name);
		end
		assert.matches("longer than 40", nicknames.flaw(("\u{E9}"):rep(41)));
		assert.is_string(nicknames.flaw("\xFF"));
	end);

	it("are compared by case alone without ICU", function ()
		local confusable = encodings.confusable;
		encodings.confusable = nil;
		local plain = load_lib "nicknames";
		encodings.confusable = confusable;
		assert.is_false(plain.has_icu);
		assert.is_true(plain.are_alike("Ann B", "ANNB"));
		assert.is_false(plain.are_alike("root", "r00t"));
	end);
end);
