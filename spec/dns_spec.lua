-- dns.so: arguments and results of modules/dns in Lua. Parsing of packets is tested in C.

local socket = require "socket";

local libdir = os.getenv("PN_PLUGINS") or "lua";
local dns = assert(package.loadlib(libdir.."/mod_certs/dns.so", "luaopen_dns"))();

-- A name server in a process of its own, because a query blocks its caller. It prints its port, has
-- names below "example", and ends when it is asked for "end", or after a while without queries.
local SERVER = [[
	local server = require "socket".udp();
	server:setsockname("127.0.0.1", 0);
	server:settimeout(30);
	local _, port = server:getsockname();
	io.write(port, "\n");
	io.flush();

	local function name(text)
		return (text:gsub("([^.]+)%.?", function (label) return string.pack("s1", label); end)) .. "\0";
	end

	local function record(type, data)
		return string.pack(">I2I2I2I4s2", 0xc00c, type, 1, 60, data);
	end

	local A, NS, CNAME, AAAA, SRV, DS, DNSKEY, TLSA, CAA = 1, 2, 5, 28, 33, 43, 48, 52, 257;
	local zone = {
		["two.example"] = { [A] = { "\127\0\0\1", "\127\0\0\2" } };
		["host.example"] = { [A] = { "\127\0\0\3" }, [AAAA] = { ("\0"):rep(15) .. "\1" } };
		["example"] = { [NS] = { name "NS.example" }, [DS] = { "\18\52\13\2digest" }, [DNSKEY] = { "\1\1\3\13key" } };
		["_xmpp-server._tcp.host.example"] = { [SRV] = { string.pack(">I2I2I2", 1, 2, 5269) .. name "host.example" } };
		["_5269._tcp.host.example"] = { [TLSA] = { "\3\1\1\0bytes\255" } };
		["host.caa.example"] = { [CAA] = { "\128\5issueca.example" } };
		["alias.example"] = { [CNAME] = { name "host.example" } };
	};

	local function answer(query)
		local labels, at = {}, 13;
		while query:byte(at) ~= 0 do
			labels[#labels + 1], at = string.unpack("s1", query, at);
		end
		local asked, type = table.concat(labels, "."):lower(), string.unpack(">I2", query, at + 1);
		if asked == "end" then return nil; end
		if asked == "garbage.example" then return query:sub(1, 2) .. "garbage"; end
		local records = {};
		for _, data in ipairs((zone[asked] or {})[type] or {}) do
			records[#records + 1] = record(type, data);
		end
		if asked == "alias.example" and type == A then
			records = { record(CNAME, name "host.example") };
		end
		local code = asked == "failing.example" and 2 or not zone[asked] and 3 or 0;
		local header = string.pack(">I2I2I2I2I2", 0x8580 | code, 1, #records, 0, 0);
		return query:sub(1, 2) .. header .. query:sub(13, at + 4) .. table.concat(records);
	end

	repeat
		local query, from, back = server:receivefrom();
		local packet = query and answer(query);
		if packet then server:sendto(packet, from, back); end
	until not packet
]];

-- libunbound does not query loopback by default
local OPTIONS = { ["do-not-query-localhost:"] = "no", ["qname-minimisation:"] = "no", ["do-ip6:"] = "no" };

-- Userdata are finalized in one cycle, and gone with the next.
local function collect()
	collectgarbage();
	collectgarbage();
end

describe("dns", function ()
	local port, process;

	setup(function ()
		process = assert(io.popen("env -u LD_PRELOAD lua5.4 - <<'END'\n"..SERVER.."\nEND\n"));
		port = assert(tonumber(process:read("l")), "the name server has not started");
	end);

	teardown(function ()
		socket.udp():sendto(("\0"):rep(12).."\3end\0\0\1\0\1", "127.0.0.1", port);
		process:close();
	end);

	local function ask(name, type)
		return assert(dns.ask("127.0.0.1", name, type, port));
	end

	local function resolver()
		return assert(dns.new { forward = "127.0.0.1@"..port, options = OPTIONS });
	end

	local function fails(condition, answer, got, text)
		assert.is_nil(answer);
		assert.equal(condition, got);
		assert.is_string(text);
		assert.not_equal("", text);
	end

	describe("a name server's answer", function ()
		it("has addresses as strings, with their TTLs", function ()
			local answer = ask("two.example", "A");
			assert.same({ { ttl = 60, a = "127.0.0.1" }, { ttl = 60, a = "127.0.0.2" } }, answer.records);
			assert.same({ { ttl = 60, aaaa = "::1" } }, ask("host.example", "AAAA").records);
			assert.equal(60, answer.ttl);
		end);

		it("has names as they were written", function ()
			assert.same({ { ttl = 60, ns = "NS.example" } }, ask("example", "NS").records);
			assert.same({ { ttl = 60, cname = "host.example" } }, ask("alias.example", "CNAME").records);
		end);

		it("has the fields of records that have several", function ()
			assert.same({ { ttl = 60, srv = { priority = 1, weight = 2, port = 5269, target = "host.example" } } },
				ask("_xmpp-server._tcp.host.example", "SRV").records);
			assert.same({ { ttl = 60, tlsa = { usage = 3, selector = 1, match = 1, data = "\0bytes\255" } } },
				ask("_5269._tcp.host.example", "TLSA").records);
			assert.same({ { ttl = 60, ds = { key_tag = 0x1234, algorithm = 13, digest = 2, data = "digest" } } },
				ask("example", "DS").records);
			assert.same({ { ttl = 60, dnskey = { flags = 257, protocol = 3, algorithm = 13, data = "key" } } },
				ask("example", "DNSKEY").records);
			assert.same({ { ttl = 60, caa = { flags = 128, tag = "issue", value = "ca.example" } } },
				ask("host.caa.example", "CAA").records);
		end);

		it("says that it is authoritative, and never that it is secure", function ()
			local answer = ask("host.example", "A");
			assert.is_true(answer.authoritative);
			assert.is_false(answer.secure);
			assert.is_false(answer.nxdomain);
			assert.equal(0, answer.rcode);
			assert.is_nil(answer.bogus);
			assert.is_nil(answer.canonname);
			assert.same({}, answer.signatures);
		end);

		it("has the target of an alias", function ()
			local answer = ask("alias.example", "A");
			assert.equal("host.example", answer.canonname);
			assert.same({}, answer.records);
		end);

		it("distinguishes a missing name from a failure of the server", function ()
			local nothing, failure = ask("nothing.example", "A"), ask("failing.example", "A");
			assert.same({ 3, true }, { nothing.rcode, nothing.nxdomain });
			assert.same({ 2, false }, { failure.rcode, failure.nxdomain });
		end);

		it("is for a type in upper or lower case", function ()
			assert.equal(2, #ask("two.example", "a").records);
		end);
	end);

	describe("a question to a name server", function ()
		it("fails with a condition and a text", function ()
			fails("internal-server-error", dns.ask("127.0.0.1", "a..example", "A", port));
			fails("internal-server-error", dns.ask("host.example", "host.example", "A", port));
			fails("no-answer", dns.ask("127.0.0.1", "host.example", "A", 1));
		end);

		it("fails for an invalid answer", function ()
			fails("internal-server-error", dns.ask("127.0.0.1", "garbage.example", "A", port));
		end);

		it("raises for invalid arguments", function ()
			for _, arguments in ipairs {
				{}, { "127.0.0.1" }, { "127.0.0.1", "a.example" }, { {}, "a.example", "A" }, { "127.0.0.1", {}, "A" },
				{ "127.0.0.1", "a.example", "NONE" }, { "127.0.0.1", "a.example", ("A"):rep(100) },
				{ "127.0.0.1", "a.example", "A", 0 }, { "127.0.0.1", "a.example", "A", 65536 },
				{ "127.0.0.1", "a.example", "A", 5.5 }, { "127.0.0.1", "a.example", "A", "port" },
			} do
				assert.has_error(function () dns.ask(table.unpack(arguments, 1, 4)); end);
			end
		end);
	end);

	describe("a resolver", function ()
		it("asks the configured server, and does not report answers as secure without a trust anchor", function ()
			local found <close> = resolver();
			local answer = assert(found:lookup("host.example", "A"));
			assert.same({ { ttl = 60, a = "127.0.0.3" } }, answer.records);
			assert.is_false(answer.secure);
			assert.is_nil(answer.bogus);
			assert.is_false(answer.authoritative);
			assert.is_true(found:lookup("nothing.example", "A").nxdomain);
			assert.equal(2, found:lookup("failing.example", "A").rcode);
		end);

		it("fails with a condition and a text", function ()
			local found <close> = resolver();
			fails("internal-server-error", found:lookup("a..example", "A"));
			for setting, value in pairs { trustfile = "/nonexistent", trusted = { "no record" } } do
				local unusable <close> = dns.new { forward = "127.0.0.1", [setting] = value };
				fails("resolver-failed", unusable:lookup("host.example", "A"));
			end
		end);

		it("raises for an invalid question", function ()
			local found <close> = resolver();
			for _, arguments in ipairs { {}, { "a.example" }, { {}, "A" }, { "a.example", "NONE" }, { "a.example", {} } } do
				assert.has_error(function () found:lookup(table.unpack(arguments, 1, 2)); end);
			end
		end);

		it("raises for invalid settings, and names them", function ()
			for name, settings in pairs {
				forward = { forward = "no address" };
				trustfile = { trustfile = true };
				resolvconf = { resolvconf = "/nonexistent" };
				hoststxt = { hoststxt = "/nonexistent" };
				["no-such-option:"] = { options = { ["no-such-option:"] = "1" } };
			} do
				local ok, err = pcall(dns.new, settings);
				assert.is_false(ok);
				assert.is_truthy(err:find(name, 1, true), err);
			end
			assert.has_error(function () dns.new(); end);
			assert.has_error(function () dns.new("forward"); end);
			assert.has_error(function () dns.new { options = { {} } }; end);
		end);

		it("ignores settings that are false", function ()
			local found <close> = dns.new { resolvconf = false, hoststxt = false, trustfile = false, options = {} };
			assert.is_truthy(found);
		end);

		it("is closed by close(), at the end of a block, or by the collector", function ()
			local closed_ones = { resolver() };
			closed_ones[1]:close();
			closed_ones[1]:close();
			do
				local found <close> = resolver();
				closed_ones[2] = found;
			end
			closed_ones[2]:close();
			for _, closed in ipairs(closed_ones) do
				local ok, err = pcall(closed.lookup, closed, "host.example", "A");
				assert.is_false(ok);
				assert.matches("the resolver is closed", err);
			end
			local collected = setmetatable({ resolver() }, { __mode = "v" });
			collect();
			assert.is_nil(collected[1]);
		end);

		it("rejects any other value as self", function ()
			local found <close> = resolver();
			for _, other in ipairs { {}, io.stdout, "resolver", 1 } do
				assert.has_error(function () found.lookup(other, "host.example", "A"); end);
				assert.has_error(function () found.close(other); end);
			end
		end);
	end);

	it("returns results that survive garbage collection", function ()
		local found <close> = resolver();
		collectgarbage("incremental", 0, 100, 24);
		collectgarbage("setpause", 0);
		for _ = 1, 20 do
			local asked, looked_up = ask("_xmpp-server._tcp.host.example", "SRV"), found:lookup("host.example", "A");
			pcall(dns.new, { forward = "no address" });
			assert.equal("host.example", asked.records[1].srv.target);
			assert.equal("127.0.0.3", looked_up.records[1].a);
		end
		collectgarbage("incremental", 200, 100, 13);
	end);

	it("does not use more memory after thousands of answers than after hundreds", function ()
		local function held_after(questions)
			for _ = 1, questions do ask("_xmpp-server._tcp.host.example", "SRV"); end
			collect();
			return collectgarbage("count");
		end
		held_after(10);
		local before = held_after(100);
		assert.is_true(held_after(2000) < before + 16, "KiB that Lua holds grow");
	end);
end);
