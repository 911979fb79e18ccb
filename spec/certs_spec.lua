-- certs.so: what Lua gives to modules/cert and gets from it. What certificates prove is tested in C.

local libdir = os.getenv("PN_PLUGINS") or "lua";
local certs = assert(package.loadlib(libdir.."/mod_s2s_auth_native/certs.so", "luaopen_certs"))();

local function pem_of(request)
	local key, csr, text = certs.request(request);
	assert(key, text);
	return key, csr;
end

-- A certificate made by the openssl program; removed when the test ends.
local function self_signed(names)
	local directory = os.tmpname();
	os.remove(directory);
	assert(os.execute("mkdir "..directory));
	local command = "cd %s && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key -out cert "
		.."-subj /CN=common.example -addext 'subjectAltName=%s' -days 3 2>openssl.log";
	assert(os.execute(command:format(directory, names)));
	local file = assert(io.open(directory.."/cert"));
	local pem = file:read("*a");
	file:close();
	os.execute("rm -r "..directory);
	return pem;
end

describe("certs", function ()
	local pem = self_signed("DNS:a.example,otherName:1.3.6.1.5.5.7.8.7;IA5:_xmpp-server.b.example,IP:127.0.0.1");

	local function verify(changes)
		local arguments = { chain = pem, references = { "a.example" }, service = "xmpp-server" };
		for name, value in pairs(changes or {}) do arguments[name] = value; end
		return certs.verify(arguments);
	end

	it("describes a certificate and its names", function ()
		local info = certs.names(pem);
		assert.equal("CN=common.example", info.subject);
		assert.equal("EC", info.key.type);
		assert.equal(256, info.key.bits);
		assert.equal(3 * 24 * 3600, info.not_after - info.not_before);
		assert.matches("^%x+$", info.sha256);
		assert.equal(64, #info.spki_sha256);
		assert.same({ type = "DNS-ID", value = "a.example" }, info.names[1]);
		assert.same({ type = "SRV-ID", value = "_xmpp-server.b.example" }, info.names[2]);
		assert.same({ type = "IP-ID", value = "127.0.0.1" }, info.names[3]);
	end);

	it("describes every certificate of a text", function ()
		assert.equal(3, #certs.chain(pem.."between them\n"..pem..pem));
	end);

	it("says what is wrong with a text that holds none", function ()
		for _, text in ipairs { "", "nothing", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n" } do
			for _, call in ipairs { certs.names, certs.chain } do
				local info, condition, why = call(text);
				assert.is_nil(info);
				assert.equal("certificate-invalid", condition);
				assert.is_string(why);
			end
		end
	end);

	it("tells of each name whether it matches, and why", function ()
		local matches, list = certs.identity(pem, "b.example", "xmpp-server");
		assert.is_true(matches);
		assert.is_false(list[1].matched);
		assert.is_true(list[2].matched);
		assert.is_string(list[1].reason);
		assert.is_false(certs.identity(pem, "b.example", "xmpp-client"));
		assert.is_false(certs.identity(pem, "common.example", "xmpp-server"));
		assert.is_false(certs.identity(pem, "no domain", "xmpp-server"));
	end);

	it("takes records by position, by name, and as Prosody names them", function ()
		local data = assert(certs.tlsa(pem, 3, 1, 1));
		for _, record in ipairs {
			{ 3, 1, 1, data }, { usage = 3, selector = 1, match = 1, data = data }, { use = 3, select = 1, match = 1, data = data };
		} do
			local verdict = verify { tlsa = { { 3, 1, 1, ("x"):rep(32) }, record } };
			assert.same({ "valid", "valid", "match" }, { verdict.chain, verdict.identity, verdict.dane });
			assert.same({ 2, 0 }, verdict.matched);
		end
	end);

	it("gives the errors of each certificate by its depth", function ()
		local verdict = verify();
		assert.equal("invalid", verdict.chain);
		assert.equal("valid", verdict.identity);
		assert.is_nil(verdict.dane);
		assert.is_nil(verdict.matched);
		assert.is_string(verdict.errors[0][1]);
		assert.equal("valid", verify { ca = pem }.chain);
		assert.equal("invalid", verify { ca = pem, time = 0 }.chain);
	end);

	it("tells the cause of a refusal, and whether a record matches all the same", function ()
		local data = assert(certs.tlsa(pem, 1, 1, 1));
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

	it("tells a record that does not match from one that cannot be used", function ()
		assert.equal("mismatch", verify { tlsa = { { 3, 1, 1, ("x"):rep(32) } } }.dane);
		assert.equal("unusable", verify { tlsa = { { 3, 1, 1, "short" }, { -1, 1e9 // 1 | 0, 1, "" } } }.dane);
		assert.is_true(certs.usable(3, 1, 1, ("x"):rep(32)));
		local usable, why = certs.usable(3, 1, 2, ("x"):rep(32));
		assert.is_false(usable);
		assert.is_string(why);
	end);

	it("raises for what is no argument, and holds nothing then", function ()
		assert.has_error(function () verify { tlsa = { { 3, 1, 1, {} } } }; end);
		assert.has_error(function () verify { references = "a.example" }; end);
		assert.has_error(function () certs.verify(); end);
		assert.has_error(function () certs.tlsa(pem, 4, 0, 0); end);
		assert.has_error(function () certs.request { domains = "a" }; end);
	end);

	it("makes a key and a request that name the domains for both services", function ()
		local key, csr = pem_of { domains = { "a.example", "*.b.example" }, services = { "xmpp-client", "xmpp-server" } };
		assert.matches("BEGIN PRIVATE KEY", key);
		assert.matches("BEGIN CERTIFICATE REQUEST", csr);
		assert.equal("internal-server-error", select(2, certs.request { domains = { "no domain" } }));
		assert.equal("internal-server-error", select(2, certs.request { domains = {} }));
	end);

	it("makes a request for a key that there is", function ()
		local key = pem_of { domains = { "a.example" } };
		local same, csr = pem_of { domains = { "b.example" }, private_key = key };
		assert.equal(key, same);
		assert.equal(certs.public_key(key), certs.public_key(csr));
		assert.equal("key-invalid", select(2, certs.request { domains = { "a.example" }, private_key = "none" }));
	end);

	it("tells which key a text holds, and whether a certificate is for it", function ()
		local key, csr = pem_of { domains = { "a.example" } };
		local spki = certs.public_key(key);
		assert.equal(spki, certs.public_key(csr));
		assert.is_false(certs.fits(pem, key));
		assert.same({ nil, "key-invalid" }, { certs.public_key(pem), (select(2, certs.public_key(pem))) });
		assert.equal("key-invalid", select(2, certs.fits(pem, "nothing", "password")));
		assert.equal("certificate-invalid", select(2, certs.fits("nothing", key)));
		assert.has_error(function () certs.public_key(); end);
		assert.has_error(function () certs.fits(pem); end);
	end);
end);
