-- certs.so: arguments and results of modules/cert in Lua. Verification itself is tested in C.

local libdir = os.getenv("PN_PLUGINS") or "lua";
local certs = assert(package.loadlib(libdir.."/mod_s2s_auth_native/certs.so", "luaopen_certs"))();

local function pem_of(request)
	local key, csr, text = certs.request(request);
	assert(key, text);
	return key, csr;
end

-- A certificate and its key, made by the openssl program.
local function self_signed(names)
	local directory = os.tmpname();
	os.remove(directory);
	assert(os.execute("mkdir "..directory));
	local command = "cd %s && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key -out cert "
		.."-subj /CN=common.example -addext 'subjectAltName=%s' -days 3 2>openssl.log";
	assert(os.execute(command:format(directory, names)));
	local texts = {};
	for i, name in ipairs { "cert", "key" } do
		local file = assert(io.open(directory.."/"..name));
		texts[i] = file:read("*a");
		file:close();
	end
	os.execute("rm -r "..directory);
	return texts[1], texts[2];
end

local LEAF_NAMES = "DNS:a.example,otherName:1.3.6.1.5.5.7.8.7;IA5:_xmpp-server.b.example,IP:127.0.0.1";

describe("a chain", function ()
	local pem, own_key = self_signed(LEAF_NAMES);
	local other = self_signed("DNS:other.example");
	local chain;

	before_each(function () chain = assert(certs.parse(pem)); end);
	after_each(function () chain:close(); end);

	local function verify(changes)
		local arguments = { references = { "a.example" }, service = "xmpp-server" };
		for name, value in pairs(changes or {}) do arguments[name] = value; end
		return chain:verify(arguments);
	end

	-- The parts of a verdict that decide about a peer
	local function decision(changes)
		local verdict = verify(changes);
		return { verdict.chain, verdict.identity, verdict.dane, verdict.cause };
	end

	it("describes a certificate", function ()
		local info = chain:describe();
		assert.equal("CN=common.example", info.subject);
		assert.equal("EC", info.key.type);
		assert.equal(256, info.key.bits);
		assert.equal(3 * 24 * 3600, info.not_after - info.not_before);
		assert.matches("^%x+$", info.sha256);
		assert.equal(64, #info.spki_sha256);
	end);

	it("has the names of the leaf", function ()
		local names, fault = chain:names();
		assert.is_nil(fault);
		assert.same({
			{ type = "DNS-ID", value = "a.example" }, { type = "SRV-ID", value = "_xmpp-server.b.example" },
			{ type = "IP-ID", value = "127.0.0.1" };
		}, names);
	end);

	it("has all certificates of a text in order", function ()
		local both <close> = certs.parse(pem.."between them\n"..other..pem);
		assert.equal(3, #both);
		assert.equal(chain:describe().sha256, both:describe().sha256);
		assert.equal(certs.parse(other):describe().sha256, both:describe(2).sha256);
		assert.equal(both:describe(1).sha256, both:describe(3).sha256);
		assert.has_error(function () both:describe(0); end);
		assert.has_error(function () both:describe(4); end);
	end);

	it("cannot be parsed from a text without certificates", function ()
		for _, text in ipairs { "", "nothing", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n" } do
			local none, condition, why = certs.parse(text);
			assert.is_nil(none);
			assert.equal("certificate-invalid", condition);
			assert.is_string(why);
		end
	end);

	it("says of each name whether it matches, and why", function ()
		local matches, list = chain:identity("b.example", "xmpp-server");
		assert.is_true(matches);
		assert.is_false(list[1].matched);
		assert.is_true(list[2].matched);
		assert.is_string(list[1].reason);
		assert.is_false(chain:identity("b.example", "xmpp-client"));
		assert.is_false(chain:identity("common.example", "xmpp-server"));
		assert.is_false(chain:identity("no domain", "xmpp-server"));
	end);

	it("takes records by position, by name, and as Prosody names them", function ()
		local data = assert(chain:tlsa { 3, 1, 1 });
		assert.equal(data, chain:tlsa { usage = 3, selector = 1, match = 1 });
		for _, record in ipairs {
			{ 3, 1, 1, data }, { usage = 3, selector = 1, match = 1, data = data }, { use = 3, select = 1, match = 1, data = data };
		} do
			local verdict = verify { tlsa = { { 3, 1, 1, ("x"):rep(32) }, record } };
			assert.same({ "valid", "valid", "match" }, { verdict.chain, verdict.identity, verdict.dane });
			assert.same({ 2, 0 }, verdict.matched);
		end
	end);

	it("returns the errors of each certificate by its depth", function ()
		local verdict = verify();
		assert.equal("invalid", verdict.chain);
		assert.equal("valid", verdict.identity);
		assert.is_nil(verdict.dane);
		assert.is_nil(verdict.matched);
		assert.is_string(verdict.errors[0][1]);
		assert.equal("valid", verify { ca = pem }.chain);
		assert.equal("invalid", verify { ca = pem, time = 0 }.chain);
	end);

	it("returns the cause of a refusal, and whether a record matches nevertheless", function ()
		local data = assert(chain:tlsa { 1, 1, 1 });
		local function told(changes)
			local verdict = verify(changes);
			assert.is_string(verdict.text);
			assert.is_false(verdict.completed);
			return { verdict.cause, verdict.matches };
		end
		assert.same({ "untrusted", false }, told());
		assert.same({ "none", false }, told { ca = pem });
		assert.same({ "not-yet-valid", false }, told { ca = pem, time = 0 });
		assert.same({ "no-match", false }, told { tlsa = { { 1, 1, 1, ("x"):rep(32) } } });
		assert.same({ "untrusted", true }, told { tlsa = { { 1, 1, 1, data } } });
		assert.same({ "name", true }, told { tlsa = { { 1, 1, 1, data } }, ca = pem, references = { "c.example" } });
		assert.same({ "none", true }, told { tlsa = { { 1, 1, 1, data } }, ca = pem });
	end);

	it("distinguishes a record that does not match from an unusable one", function ()
		assert.equal("mismatch", verify { tlsa = { { 3, 1, 1, ("x"):rep(32) } } }.dane);
		assert.equal("unusable", verify { tlsa = { { 3, 1, 1, "short" }, { -1, 1e9 // 1 | 0, 1, "" } } }.dane);
	end);

	it("is verified anew each time", function ()
		local own, wrong = { { 3, 1, 1, chain:tlsa { 3, 1, 1 } } }, { { 3, 1, 1, ("x"):rep(32) } };
		local cases = {
			{ { "valid", "valid", nil, "none" }, { ca = pem } };
			{ { "valid", "invalid", nil, "name" }, { ca = pem, references = { "c.example" } } };
			{ { "invalid", "valid", nil, "untrusted" }, {} };
			{ { "invalid", "valid", nil, "untrusted" }, { ca = other } };
			{ { "invalid", "valid", nil, "expired" }, { ca = pem, time = 4e9 // 1 | 0 } };
			{ { "valid", "valid", "match", "none" }, { tlsa = own, references = {} } };
			{ { "invalid", "valid", "mismatch", "no-match" }, { tlsa = wrong, ca = pem } };
		};
		for step = 1, #cases - 1 do -- in several orders
			for i = 0, 2 * #cases do
				local case = cases[i * step % #cases + 1];
				assert.same(case[1], decision(case[2]));
			end
		end
	end);

	it("can be verified again after a failed verification", function ()
		for _ = 1, 3 do
			local verdict, condition, why = verify { cafile = "/nowhere" };
			assert.is_nil(verdict);
			assert.equal("certificate-invalid", condition);
			assert.is_string(why);
			assert.equal("valid", verify { ca = pem }.chain);
			assert.equal("invalid", verify().chain);
		end
	end);

	it("cannot be used after closing, and can be closed again", function ()
		chain:close();
		chain:close();
		for _, use in ipairs {
			function () return #chain; end, function () chain:describe(); end, function () chain:names(); end,
			function () chain:identity("a.example", "xmpp-server"); end, function () chain:tlsa { 3, 1, 1 }; end,
			function () chain:fits("key"); end, function () verify(); end;
		} do
			assert.error_matches(use, "the chain is closed");
		end
	end);

	it("may be closed while its arguments are evaluated", function ()
		local traps = {
			verify = function (trap) chain:verify(setmetatable({}, trap)); end;
			tlsa = function (trap) chain:tlsa(setmetatable({}, trap)); end;
		};
		for _, use in pairs(traps) do
			chain = assert(certs.parse(pem));
			local fields = { references = { "a.example" }, usage = 3, selector = 1, match = 1 };
			assert.error_matches(function ()
				use { __index = function (_, name)
					chain:close();
					return fields[name];
				end };
			end, "the chain is closed");
		end
	end);

	it("is closed at the end of a block, or by the collector", function ()
		local kept;
		do
			local inner <close> = certs.parse(pem);
			kept = inner;
		end
		assert.has_error(function () kept:describe(); end);
		local watched = setmetatable({}, { __mode = "k" });
		watched[certs.parse(pem)] = true;
		collectgarbage();
		collectgarbage();
		assert.is_nil(next(watched));
	end);

	it("does not use more memory after thousands of verifications", function ()
		local records = { { 3, 1, 1, ("x"):rep(32) }, { 3, 1, 1, chain:tlsa { 3, 1, 1 } } };
		local function rounds(count)
			for _ = 1, count do
				assert(verify { tlsa = records }.dane == "match");
				assert(chain:identity("a.example", "xmpp-server"));
			end
			collectgarbage();
			collectgarbage();
			return collectgarbage "count";
		end
		rounds(500);
		local before = rounds(500);
		assert.is_true(rounds(3000) < before + 16);
	end);

	it("raises for a wrong argument, without leaking", function ()
		assert.has_error(function () verify { tlsa = { { 3, 1, 1, {} } } }; end);
		assert.has_error(function () verify { tlsa = { { 3, 1, 1 } } }; end);
		assert.has_error(function () verify { references = "a.example" }; end);
		assert.has_error(function () chain:verify(); end);
		assert.has_error(function () chain:identity("a.example"); end);
		for _, kind in ipairs { { 4, 0, 0 }, { 3, 2, 0 }, { 3, 0, 3 }, { 3, 0 }, { 3, 0, -1 } } do
			assert.has_error(function () chain:tlsa(kind); end);
		end
		assert.has_error(function () certs.parse(); end);
		assert.has_error(function () chain.verify(io.stdout, { references = {} }); end);
	end);

	it("matches only its own key", function ()
		assert.is_true(chain:fits(own_key));
		assert.is_false(chain:fits((pem_of { domains = { "a.example" } })));
		assert.equal("key-invalid", select(2, chain:fits("nothing", "password")));
		assert.has_error(function () chain:fits(); end);
	end);
end);

describe("certs", function ()
	it("says which records are usable", function ()
		assert.is_true(certs.usable { 3, 1, 1, ("x"):rep(32) });
		local usable, why = certs.usable { usage = 3, selector = 1, match = 2, data = ("x"):rep(32) };
		assert.is_false(usable);
		assert.is_string(why);
		assert.has_error(function () certs.usable { 3, 1, 1 }; end);
	end);

	it("creates a key, and a request that names the domains for both services", function ()
		local key, csr = pem_of { domains = { "a.example", "*.b.example" }, services = { "xmpp-client", "xmpp-server" } };
		assert.matches("BEGIN PRIVATE KEY", key);
		assert.matches("BEGIN CERTIFICATE REQUEST", csr);
		assert.equal("internal-server-error", select(2, certs.request { domains = { "no domain" } }));
		assert.equal("internal-server-error", select(2, certs.request { domains = {} }));
		assert.has_error(function () certs.request { domains = "a" }; end);
	end);

	it("creates a request for an existing key", function ()
		local key = pem_of { domains = { "a.example" } };
		local same, csr = pem_of { domains = { "b.example" }, private_key = key };
		assert.equal(key, same);
		assert.equal(certs.public_key(key), certs.public_key(csr));
		assert.equal("key-invalid", select(2, certs.request { domains = { "a.example" }, private_key = "none" }));
	end);

	it("finds the key in a text", function ()
		local key, csr = pem_of { domains = { "a.example" } };
		assert.equal(certs.public_key(key), certs.public_key(csr));
		for _, text in ipairs { "no key", (self_signed "DNS:a.example") } do
			local none, condition, why = certs.public_key(text);
			assert.is_nil(none);
			assert.equal("key-invalid", condition);
			assert.is_string(why);
		end
		assert.has_error(function () certs.public_key(); end);
	end);
end);
