-- The parts of mod_certs renew that work without a server: its input, its state, and its requests to other programs.

local lfs = require "lfs";

local plugins = os.getenv("PN_PLUGINS") or "lua";
local function native(name)
	return assert(package.loadlib(("%s/mod_certs/%s.so"):format(plugins, name), "luaopen_"..name))();
end
local certs, disk = native "certs", native "file";

local function run(format, ...)
	assert(os.execute(format:format(...)));
end

local function read(path)
	local file = assert(io.open(path));
	local text = file:read("a");
	file:close();
	return text;
end

describe("mod_certs renew", function ()
	local root, options, zones;
	local stock_prosody = _G.prosody;

	-- Loads a library, with tables in place of the libraries that query Prosody or DNS.
	local function load_library(name)
		local played = {
			native = function (object) return object == "certs" and certs or disk; end;
			selection = { directory = function () return root.."/certs"; end };
			uses = { of = function () return {}; end };
			dane = { verify = function () return { chain = "valid" }; end, errors = function () end };
			hosts = { LABELS = {} };
			dns = { zone = function (owner) return zones[owner] or "example.org"; end };
		};
		local module = { get_option = function (_, option) return options[option]; end, require = function (self, lib)
			if played[lib] then return played[lib]; end
			local directory = (lib == "files" or lib == "options") and "mod_certs" or "shared";
			return assert(loadfile(("lua/%s/%s.lib.lua"):format(directory, lib), "t", setmetatable({ module = self }, { __index = _G })))();
		end };
		return assert(loadfile("lua/mod_certs/"..name..".lib.lua", "t", setmetatable({ module = module }, { __index = _G })))();
	end

	before_each(function ()
		root, options, zones = os.tmpname(), {}, {};
		os.remove(root);
		assert(lfs.mkdir(root));
		_G.prosody = { paths = { data = root.."/data" } };
		package.loaded["core.configmanager"] = { get = function (_, name) return options[name]; end };
	end);

	after_each(function ()
		run("rm -r %s", root);
		_G.prosody = stock_prosody;
		package.loaded["core.configmanager"] = nil;
	end);

	describe("reads the files of an ACME client", function ()
		local chain, key;

		before_each(function ()
			run("cd %s && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key -out cert -subj /CN=a "
				.."-days 3 2>/dev/null", root);
			chain, key = read(root.."/cert"), read(root.."/key");
		end);

		it("in two texts or in one, in any order, with other text between them", function ()
			local keypair = load_library "keypair";
			for _, texts in ipairs { { chain, key }, { chain..key }, { key..chain }, { "a\nb\n"..key.."x\n"..chain.."y" } } do
				local new = assert(keypair.parse(table.unpack(texts)));
				assert.same({ chain, key }, { new.pem, new.key });
				assert.equal(64, #new.leaf.spki_sha256);
				assert.same({}, keypair.problems(new, "/none"));
			end
		end);

		it("with the chain in its order, and without a key", function ()
			local new = assert(load_library "keypair".parse("text\n"..chain.."\n\n"..chain));
			assert.equal(chain..chain, new.pem);
			assert.is_nil(new.key);
		end);

		it("and says which part is missing", function ()
			local keypair = load_library "keypair";
			assert.same({ nil, "a certificate is missing or cannot be read" }, { keypair.parse(key) });
			assert.same({ nil, "no private key in the file of --key" }, { keypair.parse(chain, chain) });
			assert.same({ nil, "/nothing: No such file or directory" }, { keypair.load "/nothing" });
		end);

		it("and reports the key of another certificate", function ()
			run("cd %s && openssl genpkey -algorithm ed25519 -out other", root);
			local keypair = load_library "keypair";
			local new = assert(keypair.parse(chain, read(root.."/other")));
			assert.same({ "the private key does not belong to the first certificate" }, keypair.problems(new, "/none"));
		end);
	end);

	describe("stores it", function ()
		it("in a directory named after the certificate's path", function ()
			local store, names = load_library "renew_store", {};
			for _, file in ipairs {
				root.."/certs/example.org.crt", root.."/certs/example.org/fullchain.pem", "/etc/ssl/a b.pem", root.."/certs/.hidden",
				root.."/certs/%2e%.crt",
			} do
				local slot = store.of(file);
				assert.matches("^"..root:gsub("%p", "%%%0").."/data/mod_certs/renew/[^/]+$", slot.path);
				assert.is_true((slot:save("new.pem", "text")));
				names[slot.file] = true;
			end
			for _, slot in ipairs(store.list()) do
				assert.is_true(names[slot.file], slot.file);
				names[slot.file] = nil;
			end
			assert.is_nil(next(names));
			assert.equal("example.org.crt", store.of(root.."/certs/example.org.crt").name);
			assert.equal("/etc/ssl/a b.pem", store.of("/etc/ssl/a b.pem").name);
		end);

		it("readable only for the owner, with any umask", function ()
			local slot = load_library "renew_store".of("/x.crt");
			assert.is_true((slot:save("new.pem", "one")));
			assert.is_true((slot:save("new.pem", "two")));
			assert.equal("two", slot:load "new.pem");
			assert.equal("rw-------", lfs.attributes(slot.path.."/new.pem", "permissions"));
			assert.equal("rwx------", lfs.attributes(slot.path, "permissions"));
			assert.is_nil(lfs.attributes(slot.path.."/new.pem.part"));
		end);

		it("and replaces it by a later one", function ()
			local slot = load_library "renew_store".of("/x.crt");
			slot:save("incoming.pem", "first");
			assert.is_true((slot:adopt()));
			slot:save("incoming.pem", "second");
			assert.equal("first", slot:load "new.pem");
			slot:adopt();
			assert.equal("second", slot:load "new.pem");
			assert.is_nil(slot:load "incoming.pem");
			assert.is_true(slot:is_active());
			slot:remove "new.pem";
			assert.is_false(slot:is_active());
		end);

		it("and treats an unreadable state as empty", function ()
			local slot = load_library "renew_store".of("/x.crt");
			assert.same({}, slot:state());
			assert.is_true((slot:save_state { own = { a = true } }));
			assert.same({ own = { a = true } }, slot:state());
			slot:save("state.json", "[1");
			assert.same({}, slot:state());
		end);
	end);

	describe("asks a program to publish", function ()
		local RECORD = { name = "_5222._tcp.xmpp.example.org", ttl = 60, usage = 3, selector = 1, match = 1, data = "\1\255" };

		-- A program that writes its input to a file beside itself
		local function program(name, last)
			local path = root.."/"..name;
			local file = assert(io.open(path, "w"));
			file:write("#!/bin/sh\n{ echo \"$@\"; cat; } >>'"..root.."/seen'\n", last or "", "\n");
			file:close();
			run('chmod +x "%s"', path);
			return path;
		end

		local function with(changes)
			local record = {};
			for field, value in pairs(RECORD) do record[field] = value; end
			for field, value in pairs(changes or {}) do record[field] = value; end
			return record;
		end

		it("of the operator, with a line for each record", function ()
			options.certs_dns_command = program "it's mine";
			local dns_update = load_library "dns_update";
			assert.is_true((dns_update.publish("add", { with(), with { name = "b.example.org" } }, root)));
			assert.is_true((dns_update.publish("delete", { with() }, root)));
			assert.equal("\nadd _5222._tcp.xmpp.example.org. 60 TLSA 3 1 1 01ff\nadd b.example.org. 60 TLSA 3 1 1 01ff\n"
				.."\ndelete _5222._tcp.xmpp.example.org. 60 TLSA 3 1 1 01ff\n", read(root.."/seen"));
			assert.is_nil(lfs.attributes(root.."/program.input"));
		end);

		it("for dynamic updates, with one message for each zone", function ()
			options.certs_dns_update = { server = "2001:db8::53", program = program "knsupdate", key = "/key" };
			zones["a.example.net"] = "example.net";
			local list = { with(), with { name = "a.example.net" }, with { match = 2 } };
			assert.is_true((load_library "dns_update".publish("delete", list, root)));
			assert.equal("-k /key\nserver 2001:db8::53 53\nzone example.org.\nupdate delete _5222._tcp.xmpp.example.org. TLSA 3 1 1 01ff\n"
				.."update delete _5222._tcp.xmpp.example.org. TLSA 3 1 2 01ff\nsend\n-k /key\nserver 2001:db8::53 53\n"
				.."zone example.net.\nupdate delete a.example.net. TLSA 3 1 1 01ff\nsend\n", read(root.."/seen"));
		end);

		it("and never prints data from DNS as a line of its own", function ()
			local ways = { certs_dns_command = program "x", certs_dns_update = { server = "192.0.2.1", program = program "x" } };
			for way, option in pairs(ways) do
				for _, name in ipairs { "a\nb", "a b", "", "a;b", "a\\032b", ".", "é" } do
					options = { [way] = option };
					local ok, text = load_library "dns_update".publish("add", { with { name = name } }, root);
					assert.is_nil(ok);
					assert.matches("not a host name$", text);
				end
			end
			assert.is_nil(lfs.attributes(root.."/seen"));
		end);

		it("and shows its output and status, without the output of processes that it leaves running", function ()
			options.certs_dns_command = program("x", "echo one; echo two >&2; sleep 60 & exit 3");
			local ok, text = load_library "dns_update".publish("add", { with() }, root);
			assert.is_nil(ok);
			assert.equal(root.."/x failed with status 3: one; two", text);
			options.certs_dns_command = program("y", "kill -9 $$");
			assert.equal(root.."/y was killed by signal 9 without output",
				select(2, load_library "dns_update".publish("add", { with() }, root)));
			options.certs_dns_command, options.certs_dns_timeout = program("z", "echo begun; exec sleep 60"), 1;
			assert.equal(root.."/z did not end within 1 second: begun",
				select(2, load_library "dns_update".publish("add", { with() }, root)));
		end);
	end);
end);
