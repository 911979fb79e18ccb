-- Parts of mod_webchat that need no server: network addresses, bars, the stores that keep nothing, relative paths.

local FOLDER = "lua/mod_webchat/";

local function gauge()
	local metric = { value = 0 };
	function metric:set(value) self.value = value; end
	function metric:add(value) self.value = self.value + value; end
	return metric;
end

-- Runs a library with the module API that it uses
local function load_lib(name, module)
	local env = setmetatable({ module = module }, { __index = _G });
	return assert(loadfile(FOLDER .. name .. ".lib.lua", "t", env))();
end

describe("webchat visitors", function ()
	local visitors;
	local options = { logins_per_minute = 20, message_burst = 20, messages_per_minute = 60 };

	before_each(function ()
		visitors = load_lib "visitors" (options, { visitors = gauge() });
	end);

	local function session(address, jid)
		return { ip = address, full_jid = jid or "visitor@guests.test/1" };
	end

	it("goes by an IPv4 address, however it is written", function ()
		assert.equal("192.0.2.1", visitors.network("192.0.2.1"));
		assert.equal("192.0.2.1", visitors.network("::ffff:192.0.2.1"));
		assert.equal("192.0.2.1", visitors.network("::ffff:c000:201"));
	end);

	it("goes by the /64 of an IPv6 address", function ()
		local network = visitors.network("2001:db8:1:2:3:4:5:6");
		assert.equal("2001:db8:1:2::/64", network);
		assert.equal(network, visitors.network("2001:DB8:1:2::"));
		assert.equal(network, visitors.network(network));
		assert.not_equal(network, visitors.network("2001:db8:1:3:3:4:5:6"));
		assert.equal("0:0:0:0::/64", visitors.network("::1"));
	end);

	it("knows what is no address", function ()
		for _, text in ipairs { "", "nonsense", "192.0.2", "192.0.2.1.5", "2001:db8", "192.0.2.1/24", "unix:/run/x" } do
			assert.is_nil(visitors.network(text), text);
		end
		assert.is_nil(visitors.network(nil));
	end);

	it("counts who is here, once", function ()
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
		visitors.move(one);
		assert.equal("192.0.2.2", visitors.network_of(one));
		assert.equal(0, visitors.count_at("192.0.2.1"));
		assert.equal(1, visitors.count_at("192.0.2.2"));
		assert.equal("192.0.2.2", visitors.last_network("visitor@guests.test"));
	end);

	it("forgets networks whose limits are as good as new, and no others", function ()
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

describe("webchat bars", function ()
	local bars, count, now;
	local time = require "util.time";
	local stock_now = time.now;

	before_each(function ()
		now, count = 1000, gauge();
		time.now = function () return now; end
		bars = load_lib "bars" ({ bars = count });
	end);
	after_each(function () time.now = stock_now; end);

	it("hold in one room, or everywhere, and end", function ()
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

	it("of a room hold when the one of everything has ended", function ()
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

	it("that bans have set are lifted by themselves", function ()
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

	it("end each at its own time", function ()
		bars.add("192.0.2.1", "a@rooms.test", 10);
		bars.add("192.0.2.1", "a@rooms.test", 5, "visitor@guests.test");
		now = 1006;
		bars.prune();
		assert.is_false(bars.lift_ban("visitor@guests.test", "a@rooms.test"));
		assert.equal(1010, bars.find("192.0.2.1", "a@rooms.test"));
	end);

	it("are listed and counted while they hold, through a reload too", function ()
		bars.add("192.0.2.2", nil, 20);
		bars.add("192.0.2.1", "a@rooms.test", 10);
		assert.same({ { network = "192.0.2.1", room = "a@rooms.test", ends = 1010 }, { network = "192.0.2.2", ends = 1020 } }, bars.list());
		assert.equal(2, count.value);
		now = 1015;
		assert.same({ { network = "192.0.2.2", ends = 1020 } }, bars.list());
		local again = load_lib "bars" ({ bars = count });
		again.restore(bars.save());
		assert.same({ { network = "192.0.2.2", ends = 1020 } }, again.list());
		assert.equal(1, count.value);
	end);
end);

describe("webchat names", function ()
	local encodings = require "util.encodings";
	local names = load_lib "names";

	it("that look alike are alike, whichever comes first", function ()
		local pairs_alike = { { "Ann", "ann" }, { "Ann", "A n n." }, { "Ian", "lan" }, { "root", "R00T" }, { "admin", "ADMIN" },
			{ "Bill", "BiIl" } };
		for _, pair in ipairs(pairs_alike) do
			assert.is_true(names.are_alike(pair[1], pair[2]), table.concat(pair, " "));
			assert.is_true(names.are_alike(pair[2], pair[1]), table.concat(pair, " "));
		end
		assert.is_true(names.are_alike("Ann", "\u{410}nn"));
		assert.is_true(names.are_alike("...", "..."));
	end);

	it("that do not are not", function ()
		for _, pair in ipairs { { "Ann", "Anna" }, { "Ann", "Ben" }, { "...", "!!!" }, { "Ann 2", "Ann 3" }, { "\u{738B}", "\u{674E}" } } do
			assert.is_false(names.are_alike(pair[1], pair[2]), table.concat(pair, " "));
		end
	end);

	it("are looked through for each code point that cannot be seen", function ()
		for _, code in ipairs { 0xAD, 0x34F, 0x115F, 0x17B4, 0x180E, 0x200B, 0x200D, 0x202E, 0x2060, 0x2800, 0x3164, 0xFE0F, 0xFEFF } do
			assert.is_string(names.flaw("A" .. utf8.char(code) .. "nn"), ("%X"):format(code));
		end
	end);

	it("may be of many languages, and of 40 characters", function ()
		local fine = { "Ann", "Zo\u{EB} \u{41A}\u{430}\u{440}", "\u{5D3}\u{5D5}\u{5D3}", "\u{738B}\u{5C0F}\u{660E}", ("\u{E9}"):rep(40) };
		for _, name in ipairs(fine) do
			assert.is_nil(names.flaw(name), name);
		end
		assert.matches("longer than 40", names.flaw(("\u{E9}"):rep(41)));
		assert.is_string(names.flaw("\xFF"));
	end);

	it("are compared by case alone without ICU", function ()
		local confusable = encodings.confusable;
		encodings.confusable = nil;
		local plain = load_lib "names";
		encodings.confusable = confusable;
		assert.is_false(plain.has_icu);
		assert.is_true(plain.are_alike("Ann B", "ANNB"));
		assert.is_false(plain.are_alike("root", "r00t"));
	end);
end);
