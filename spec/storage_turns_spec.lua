-- The storage driver in a server that has started: all writes of one turn of the event loop are one
-- transaction, committed at its end and synced after it.

local storage = require "spec.storage_helper"; -- before what needs Prosody
local modulemanager = require "core.modulemanager";
local time = require "util.time";

local bodies, message = storage.bodies, storage.message;

local bed, archive, keyval, when_durable;

local function open()
	archive, keyval = bed:open("archive", "archive"), bed:open("things");
	when_durable = bed:driver().when_durable;
end

before_each(function ()
	bed = storage.new { loop = true };
	open();
end);
after_each(function () bed:close(); end);

-- Appends messages 1 to n.
local function fill(n)
	for i = 1, n do assert(archive:append("user", nil, message(i), i, "a@example.com")); end
end

describe("in one turn of the event loop, the storage driver", function ()
	it("reads its own writes", function ()
		fill(3);
		assert(keyval:set("user", { a = 1 }));
		assert.same({ "1 2 3", 3 }, { bodies(archive:find("user", { total = true })) });
		assert.same({ a = 1 }, keyval:get("user"));
		assert.same({ "user" }, storage.sorted(archive:users()));
		assert.equal(2, archive:delete("user", { ["end"] = 2 }));
		assert.same({ "3", 1 }, { bodies(archive:find("user", { total = true })) });
	end);

	it("continues an iterator of an earlier turn", function ()
		fill(500);
		bed.turn();
		local n = 0;
		for _, stanza in archive:find("user") do
			n = n + 1;
			assert.equal(tostring(n), stanza:get_child_text("body"));
			if n % 50 == 0 then bed.turn(); end
			if n % 70 == 0 then assert(archive:append("user", nil, message("new"), 1, "x")); end
		end
		assert.equal(500, n);
	end);

	it("writes more than fits into a transaction", function ()
		fill(5000);
		assert.equal(5000, (select(2, archive:find("user", { total = true, limit = 0 }))));
		bed:reopen();
		open();
		assert.equal(5000, (select(2, archive:find("user", { total = true, limit = 0 }))));
	end);

	it("keeps the other writes of the turn if one is rejected", function ()
		fill(1);
		assert.falsy(archive:append("user", nil, "no stanza", 1, "x"));
		assert.falsy(archive:set("user", "unknown", message(9)));
		assert.falsy(keyval:set("user", { print }));
		assert(keyval:set("user", { a = 1 }));
		bed.turn();
		bed:reopen();
		open();
		assert.equal("1", (bodies(archive:find("user"))));
		assert.same({ a = 1 }, keyval:get("user"));
	end);

	it("works near its limit while the stored data are well below it", function ()
		bed:close();
		bed = storage.new { loop = true, config = { storage_native_max_size = 4 << 20, storage_archive_item_limit = 150 } };
		open();
		local text = ("x"):rep(200);
		for when = 1, 250 do
			for n = 1, 4 do -- as mod_mam does for each user whose archive has a message
				local user = "user" .. n;
				local ok, condition = archive:append(user, nil, message(text), when, "a@example.com/r");
				if condition == "quota-limit" then
					assert.equal(2, archive:delete(user, { truncate = 148 }));
					ok, condition = archive:append(user, nil, message(text), when, "a@example.com/r");
				end
				assert(ok, condition);
			end
			bed.turn();
		end
		assert.equal(150, (select(2, archive:find("user1", { total = true, limit = 0 }))));
	end);

	it("reports no lag when all is durable, even before it gets the event", function ()
		local function figures()
			local found = {};
			for _, item in ipairs(modulemanager.get_items("native-status", "*")) do
				for _, figure in ipairs(item.figures()) do found[figure.name] = figure.value; end
			end
			return found;
		end
		fill(1);
		bed.turn();
		local deadline = time.now() + 10;
		repeat assert(time.now() < deadline, "waited in vain"); until figures().behind == 0; -- the event loop stands still
		assert.equal(0, figures().sync_lag);
	end);

	it("commits when it is unloaded", function ()
		fill(3);
		bed:reopen();
		open();
		assert.equal("1 2 3", (bodies(archive:find("user"))));
	end);
end);

describe("when_durable() of the storage driver", function ()
	it("calls back at once without writes", function ()
		local called;
		when_durable(function (...) called = { ... }; end);
		assert.same({ true }, called);
	end);

	it("calls back when the writes are durable, in the order of the calls", function ()
		local called = {};
		for n = 1, 3 do
			fill(1);
			when_durable(function (ok) table.insert(called, ok and n); end);
			assert.is_nil(called[n]);
			if n == 2 then bed.turn(); end
		end
		bed:wait_until(function () return called[3]; end);
		assert.same({ 1, 2, 3 }, called);
		local now;
		when_durable(function () now = true; end);
		assert.is_true(now);
	end);

	it("calls back when the driver is unloaded", function ()
		local called;
		fill(1);
		when_durable(function (ok) called = ok; end);
		bed:unload();
		assert.is_true(called);
		bed:load();
	end);

	it("runs the other callbacks if one fails", function ()
		local called;
		fill(1);
		when_durable(function () error("expected"); end);
		when_durable(function (ok) called = ok; end);
		bed:wait_until(function () return called ~= nil; end);
		assert.is_true(called);
	end);

	it("waits for each commit if each is synced", function ()
		bed:close();
		bed = storage.new { loop = true, config = { storage_native_sync = "commit" } };
		open();
		local called;
		fill(1);
		when_durable(function (ok) called = ok; end);
		assert.is_nil(called);
		bed.turn();
		assert.is_true(called);
	end);
end);
