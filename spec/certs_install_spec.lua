-- install.lib.lua of mod_certs: a program that opens certificate and key always gets two that belong together, also after the
-- process was killed at any system call, and again during the recovery.

local lfs = require "lfs";

local native = assert(package.loadlib((os.getenv("PN_PLUGINS") or "lua").."/mod_certs/file.so", "luaopen_file"))();
local disk = {}; -- the same without waiting for the disk, thousands of times

local OLD = { certificate = "old chain\n", key = "old key\n" };
local NEW = { certificate = "new chain\n", key = "new key\n" };
local KILLED = "killed";

-- The functions that the library calls: { table, name }
local CALLS = {
	{ os, "rename" }, { os, "remove" }, { lfs, "link" }, { lfs, "mkdir" }, { lfs, "rmdir" }, { disk, "write" }, { disk, "sync" },
};

local function read(path)
	local file = assert(io.open(path));
	local text = file:read("a");
	file:close();
	return text;
end

local function write(path, text)
	local file = assert(io.open(path, "w"));
	file:write(text);
	file:close();
end

local function write_new(path, text)
	if lfs.symlinkattributes(path, "mode") then return nil, "io-error", "File exists"; end
	write(path, text);
	return true;
end

-- Calls before(number, name, ...) ahead of each call of the operating system, while work runs.
local function watch(before, work, ...)
	local number, stock = 0, {};
	for i, call in ipairs(CALLS) do
		local where, name = call[1], call[2];
		stock[i] = where[name];
		where[name] = function (...)
			number = number + 1;
			before(number, name, ...);
			return stock[i](...);
		end
	end
	local results = table.pack(pcall(work, ...));
	for i, call in ipairs(CALLS) do call[1][call[2]] = stock[i]; end
	return table.unpack(results, 1, results.n);
end

describe("installing a certificate", function ()
	local root, install, place;

	local function new_root()
		root = os.tmpname();
		os.remove(root);
		assert(lfs.mkdir(root));
		assert(lfs.mkdir(root.."/certs"));
		assert(lfs.mkdir(root.."/private"));
	end

	local function load_library()
		local paths = assert(loadfile "lua/shared/paths.lib.lua")();
		_G.module = { require = function (_, name)
			if name == "native" then return function () return disk; end; end
			if name == "paths" then return paths; end
			return assert(loadfile("lua/mod_certs/"..name..".lib.lua"))();
		end };
		install = _G.module:require "install";
	end

	-- The paths of the files, with the old pair in them
	local function lay_out(key_directory)
		place = { certificate = root.."/certs/example.org.crt", key = root.."/"..key_directory.."/example.org.key" };
		write(place.certificate, OLD.certificate);
		write(place.key, OLD.key);
	end

	local function names_in(directory)
		local list = {};
		for name in lfs.dir(directory) do
			if name ~= "." and name ~= ".." then list[#list + 1] = name; end
		end
		table.sort(list);
		return list;
	end

	-- Which of the two pairs is installed. Prosody's search must not find anything else.
	local function visible()
		local certificate, key = read(place.certificate), read(place.key);
		for name in lfs.dir(root.."/certs") do
			assert.is_true(name:sub(1, 1) == "." and not name:find "%.crt$" and not name:find "fullchain"
				or name == "example.org.crt" or name == "example.org.key", name);
		end
		if certificate == OLD.certificate and key == OLD.key then return "old"; end
		assert.same(NEW, { certificate = certificate, key = key });
		return "new";
	end

	-- Installs, and is killed ahead of call `number`; a write has got halfway. Returns whether it was killed.
	local function install_killed(number)
		local ok, err = watch(function (at, name, path, text)
			visible();
			if at < number then return; end
			if name == "write" then write(path, text:sub(1, #text // 2)); end
			error(KILLED, 0);
		end, install.replace, place, { certificate = NEW.certificate, key = NEW.key });
		if not ok then assert.equal(KILLED, err); end
		return not ok;
	end

	local function recover_killed(number)
		local ok, err = watch(function (at)
			visible();
			if at == number then error(KILLED, 0); end
		end, install.recover, place);
		if not ok then assert.equal(KILLED, err); end
		return not ok;
	end

	before_each(function ()
		disk.write, disk.sync = write_new, function () return true; end;
		new_root();
		load_library();
	end);

	after_each(function ()
		os.execute("rm -r "..root);
		_G.module = nil;
	end);

	for _, key_directory in ipairs { "certs", "private" } do
		it("never leaves a certificate with the wrong key, with the key in "..key_directory, function ()
			local number, outcomes = 0, {};
			local was_killed;
			repeat
				number = number + 1;
				local recovering = 0;
				local again;
				repeat -- the same, killed once more during the recovery
					lay_out(key_directory);
					recovering = recovering + 1;
					was_killed = install_killed(number);
					local seen = visible();
					again = was_killed and recover_killed(recovering);
					assert.is_true((install.recover(place)));
					assert.equal(seen, visible());
					assert.same(key_directory == "certs" and {} or { "example.org.key" }, names_in(root.."/private"));
					assert.equal(key_directory == "certs" and 2 or 1, #names_in(root.."/certs"));
					outcomes[seen] = true;
				until not again;
			until not was_killed;
			assert.same({ old = true, new = true }, outcomes);
			assert.is_true(number > 20);
		end);
	end

	it("rolls back if it fails", function ()
		lay_out "certs";
		local number = 0;
		local ok, result, text;
		repeat
			number = number + 1;
			local failed = false;
			ok, result, text = watch(function () end, function ()
				local at = 0;
				local rename = os.rename;
				os.rename = function (...) -- luacheck: ignore 122
					at = at + 1;
					if at == number then failed = true; return nil, "x: No space left on device"; end
					return rename(...);
				end
				local done, why = install.replace(place, { certificate = NEW.certificate, key = NEW.key });
				os.rename = rename; -- luacheck: ignore 122
				return done, why;
			end);
			assert.is_true(ok);
			if not result then assert.matches("No space left on device", text); end
			assert.same({ "example.org.crt", "example.org.key" }, names_in(root.."/certs"));
			visible();
			if failed then lay_out "certs"; end
		until not failed;
		assert.equal("new", visible());
	end);

	it("takes one rename if the key is unchanged, or both are in one file", function ()
		lay_out "certs";
		local renames = 0;
		local function count(_, name) renames = renames + (name == "rename" and 1 or 0); end
		assert.is_true(watch(count, install.replace, place, { certificate = NEW.certificate, key = OLD.key, same_key = true }));
		assert.equal(1, renames);
		assert.same({ NEW.certificate, OLD.key }, { read(place.certificate), read(place.key) });
		place.key = place.certificate;
		assert.is_true(watch(count, install.replace, place, NEW));
		assert.equal(2, renames);
		assert.equal(NEW.certificate..NEW.key, read(place.certificate));
	end);

	it("keeps owner and mode of the old files", function ()
		disk.write, disk.sync = native.write, native.sync;
		lay_out "private";
		os.execute(("chmod 640 %s; chmod 600 %s"):format(place.certificate, place.key));
		assert.is_true((install.replace(place, NEW)));
		assert.equal("rw-r-----", lfs.attributes(place.certificate, "permissions"));
		assert.equal("rw-------", lfs.attributes(place.key, "permissions"));
	end);

	it("follows links of the operator, and replaces its own", function ()
		lay_out "private";
		assert(lfs.link("../private/example.org.key", root.."/certs/one.key", true));
		assert(lfs.link(root.."/certs/one.key", root.."/certs/two.key", true));
		assert.equal(root.."/certs/../private/example.org.key", install.target(root.."/certs/two.key"));
		assert(lfs.link(root.."/certs/.example.org.crt.switch/now/key", root.."/certs/own.key", true));
		assert.equal(root.."/certs/own.key", install.target(root.."/certs/own.key"));
	end);
end);
