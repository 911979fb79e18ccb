-- Paths that an operator names

describe("paths", function ()
	local paths = assert(loadfile "lua/shared/paths.lib.lua")();

	it("are relative to the caller's directory", function ()
		assert.equal("/etc/passwd", paths.absolute "/etc/passwd");
		assert.equal(os.getenv "PWD".."/lua/shared", paths.absolute "lua/shared");
	end);

	it("must be absolute if the caller's directory is unknown", function ()
		local getenv = os.getenv;
		os.getenv = function () return nil; end -- luacheck: ignore 122
		local ok, err = pcall(paths.absolute, "a/b");
		local whole = paths.absolute "/a/b";
		os.getenv = getenv; -- luacheck: ignore 122
		assert.is_false(ok);
		assert.matches("^a/b: PWD is not set", err.text);
		assert.equal("/a/b", whole);
	end);

	it("exist, or have a reason for their absence", function ()
		assert.is_nil(paths.missing "/");
		assert.is_nil(paths.missing "/etc/passwd");
		assert.equal("No such file or directory", paths.missing "/nothing: at all");
		assert.equal("Not a directory", paths.missing "/etc/passwd/x");
	end);

	it("may be inaccessible for the user of prosodyctl", function ()
		local closed = "^Permission denied; prosodyctl works as the user that Prosody runs as$";
		assert.matches(closed, paths.reason "/root/new.crt: Permission denied");
		assert.matches(closed, paths.reason "cannot obtain information from file '/root/a: b': Permission denied");
		assert.matches(closed, paths.closed "/etc/new");
		assert.matches(closed, paths.closed "/new");
		assert.equal("No such file or directory", paths.closed "/nothing/new");
		assert.is_nil(paths.hidden "/nothing/new");
		assert.equal("/x: No space left on device", paths.explain "/x: No space left on device");
	end);
end);
