-- Compaction through store.so, and by a request to the driver

local json = require "util.json";
local lfs = require "lfs";
local storage = require "spec.storage_helper";

local function read(name)
	local file = io.open(name);
	local text = file and file:read("a");
	if file then file:close(); end
	return text;
end

describe("compaction", function ()
	local bed, archive, directory;

	before_each(function ()
		bed = storage.new { loop = true };
		archive, directory = bed:open("archive", "archive"), bed.directory.."/native";
		storage.fill(archive, "user", 300);
		bed.turn();
	end);
	after_each(function () bed:close(); end);

	it("keeps stores and iterators that were opened before it", function ()
		local ids = storage.fill(archive, "user", 200);
		local page = assert(archive:find("user", {}));
		local count = 0;
		repeat
			bed:compact();
			if page() then count = count + 1; end
		until not bed.compaction;
		for _ in page do count = count + 1; end
		assert.equal(500, count);
		assert(archive:get("user", ids[200]));
		bed:reopen();
		assert.equal(500, select(2, bed:open("archive", "archive"):find("user", { total = true, limit = 0 })));
	end);

	it("ends with its handle", function ()
		bed:compact();
		assert.is_string(lfs.attributes(directory.."/compact.part", "mode"));
		local again, condition = bed.compacted:compact(false);
		assert.is_nil(again);
		assert.equal("storage-busy", condition);
		bed.compaction:close();
		bed.compaction:close();
		assert.equal(0, bed.compaction:compressed()); -- there are no messages of an older form
		assert.has_error(function () bed.compaction:step(); end);
		assert.has_error(function () bed.compaction:switch(); end);
		assert.is_nil(lfs.attributes(directory.."/compact.part", "mode"));
		bed.compaction = assert(bed.compacted:compact(false));
	end);

	it("knows of no other process", function ()
		bed:compact();
		assert.same({}, bed.compacted:others());
	end);

	it("is asked for by a file, and answered by another one", function ()
		local before = lfs.attributes(directory.."/data.mdb", "ino");
		assert(archive:delete("user", {}));
		assert(io.open(directory.."/compact.request", "w")):close();
		bed:wait_until(function ()
			local text = read(directory.."/compact.answer");
			return text and json.decode(text).state == "done";
		end);
		local answer = json.decode(read(directory.."/compact.answer"));
		assert.is_nil(lfs.attributes(directory.."/compact.request", "mode"));
		assert.not_equal(before, lfs.attributes(directory.."/data.mdb", "ino"));
		assert.equal(lfs.attributes(directory.."/data.mdb", "size"), answer.after);
		assert.is_true(answer.after < answer.before and answer.records < 20);
		local done;
		storage.fill(archive, "user", 3);
		bed:driver().when_durable(function (ok) done = ok; end);
		bed:wait_until(function () return done; end);
		assert.equal(3, select(2, archive:find("user", { total = true, limit = 0 })));
	end);

	it("is answered when the driver is unloaded meanwhile", function ()
		bed:compact();
		local check = assert(bed.compacted:check()); -- the switch waits for it
		bed.compaction:close();
		assert(io.open(directory.."/compact.request", "w")):close();
		bed:wait_until(function () return lfs.attributes(directory.."/compact.answer", "mode"); end);
		assert.is_string(lfs.attributes(directory.."/compact.part", "mode"));
		bed:reopen();
		check:close();
		local answer = json.decode(read(directory.."/compact.answer"));
		assert.equal("failed", answer.state);
		assert.matches("unloaded", answer.text, 1, true);
		assert.is_nil(lfs.attributes(directory.."/compact.part", "mode"));
	end);
end);
