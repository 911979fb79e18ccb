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

local function options()
	local limits = { logins = 20, messages = 60, burst = 20, seconds = 6, sessions = 10 };
	return { visitor = limits, network = limits, total = limits, ipv6_prefix = 64, trusted_proxies = {} };
end

describe("webchat networks", function ()
	local networks = load_lib "networks" (options());

	it("goes by an IPv4 address, however it is written", function ()
		assert.equal("192.0.2.1", networks.parse("192.0.2.1"));
		assert.equal("192.0.2.1", networks.parse("::ffff:192.0.2.1"));
		assert.equal("192.0.2.1", networks.parse("::ffff:c000:201"));
	end);

	it("goes by the /64 of an IPv6 address", function ()
		local network = networks.parse("2001:db8:1:2:3:4:5:6");
		assert.equal("2001:db8:1:2::/64", network);
		assert.equal(network, networks.parse("2001:DB8:1:2::"));
		assert.equal(network, networks.parse(network));
		assert.not_equal(network, networks.parse("2001:db8:1:3:3:4:5:6"));
		assert.equal("0:0:0:0::/64", networks.parse("::1"));
	end);

	it("knows what is no address", function ()
		for _, text in ipairs { "", "nonsense", "192.0.2", "192.0.2.1.5", "2001:db8", "192.0.2.1/24", "unix:/run/x" } do
			assert.is_nil(networks.parse(text), text);
		end
		assert.is_nil(networks.parse(nil));
	end);
end);

describe("webchat visitors", function ()
	local visitors;

	before_each(function ()
		visitors = load_lib "visitors" (options(), { visitors = gauge() }, load_lib "networks" (options()), load_lib "costs");
	end);

	local function session(address, jid)
		return { ip = address, full_jid = jid or "visitor@guests.test/1" };
	end

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
		visitors.move(one, "192.0.2.2");
		assert.equal("192.0.2.2", visitors.network_of(one));
		assert.equal(0, visitors.count_at("192.0.2.1"));
		assert.equal(1, visitors.count_at("192.0.2.2"));
		assert.same({ "192.0.2.1", "192.0.2.2" }, visitors.networks("visitor@guests.test"));
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
		bars = load_lib "bars" ({ bars = count }, load_lib "networks" (options()));
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
		local again = load_lib "bars" ({ bars = count }, load_lib "networks" (options()));
		again.restore(bars.save());
		assert.same({ { network = "192.0.2.2", ends = 1020 } }, again.list());
		assert.equal(1, count.value);
	end);
end);
