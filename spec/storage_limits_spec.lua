-- Limits: the quota of an archive, that of offline messages, and the bytes of a host

local storage = require "spec.storage_helper";

local bodies, message, assert_refused = storage.bodies, storage.message, storage.assert_refused;

local bed, archive;

local function reopen()
	bed:reopen();
	archive = bed:open("archive", "archive");
end

local function restart(options)
	if bed then bed:close(); end
	bed = storage.new(options);
	archive = bed:open("archive", "archive");
end

local function fill(user, count)
	return storage.fill(archive, user, count);
end

local function assert_holds(expected, user)
	local _, count = expected:gsub("%S+", "");
	assert.same({ expected, count }, { bodies(archive:find(user, { total = true })) });
end

before_each(function () restart(); end);
after_each(function ()
	bed:close();
	bed = nil;
end);

describe("the quota of an archive", function ()
	it("rejects further messages until some are deleted, and allows replacements", function ()
		restart { config = { storage_archive_item_limit = 3 } };
		local ids = fill("user", 3);
		fill("another", 3);
		reopen();
		assert_refused("quota-limit", archive:append("user", nil, message(4), 4, "a@example.com"));
		assert_refused("quota-limit", archive:append("user", "key", message(4), 4, "a@example.com"));
		assert.equal(ids[1], archive:append("user", ids[1], message("one"), 2, "a@example.com"));
		assert.is_true((archive:set("user", ids[2], message("set"))));
		assert.equal(1, archive:delete("user", { key = ids[3] }));
		assert(archive:append("user", nil, message("new"), 4, "a@example.com"));
		assert_refused("quota-limit", archive:append("user", nil, message(4), 4, "a@example.com"));
		assert_holds("set one new", "user");
	end);

	it("does not affect messages from before it", function ()
		fill("user", 5);
		bed:set("storage_archive_item_limit", 3);
		reopen();
		assert_holds("1 2 3 4 5", "user");
		assert_refused("quota-limit", archive:append("user", nil, message(6), 4, "a@example.com"));
	end);
end);

describe("the quota of offline messages", function ()
	local function quotas(options)
		restart { config = options };
		return { bed:open("offline", "archive").caps.quota or 0, archive.caps.quota or 0 };
	end

	it("is 10 000 by default, and other archives have none", function ()
		assert.same({ 10000, 0 }, quotas {});
		assert.same({ 3, 0 }, quotas { storage_native_offline_limit = 3 });
		assert.same({ 0, 0 }, quotas { storage_native_offline_limit = 0 });
	end);

	it("is the lower one of that of all archives and its own", function ()
		assert.same({ 10000, 20000 }, quotas { storage_archive_item_limit = 20000 });
		assert.same({ 5, 5 }, quotas { storage_archive_item_limit = 5 });
		assert.same({ 5, 5 }, quotas { storage_archive_item_limit = 5, storage_native_offline_limit = 0 });
	end);

	it("rejects further messages of a user until some are deleted", function ()
		restart { config = { storage_native_offline_limit = 2 } };
		local offline = bed:open("offline", "archive");
		storage.fill(offline, "user", 2);
		storage.fill(offline, "another", 2);
		fill("user", 3);
		assert_refused("quota-limit", offline:append("user", nil, message(3), 3, ""));
		assert.equal(2, offline:delete("user"));
		assert(offline:append("user", nil, message(3), 3, ""));
		assert.equal("3", (bodies(offline:find("user"))));
	end);
end);

describe("the limit of a host", function ()
	it("rejects what adds bytes, and names the host", function ()
		restart { loop = true, hosts = { "a.example", "b.example" }, config = { storage_native_max_host_size = 2000 } };
		local keyval, other = bed:open("things"), bed:open("archive", "archive", "b.example");
		assert(keyval:set("user", { text = ("x"):rep(500) }));
		local ids = fill("user", 5);
		local ok, condition, text;
		repeat ok, condition, text = archive:append("user", nil, message(6), 6, "a@example.com"); until not ok;
		assert_refused("host-full", ok, condition);
		assert.matches("a%.example.*storage_native_max_host_size", text);
		assert_refused("host-full", keyval:set("user", { text = ("x"):rep(700) }));
		assert_refused("host-full", archive:set("user", ids[1], message(("x"):rep(500))));
		assert(archive:set("user", ids[1], message("2")));
		assert(other:append("user", nil, message(1), 1, "a@example.com"));
		assert(keyval:set("user", { text = "short" }));
		assert(archive:append("user", nil, message(("x"):rep(200)), 6, "a@example.com"));
	end);
end);
