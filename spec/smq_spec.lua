-- smq.so: the binding. The queue itself is tested in tests/unit/test_smq.c.

local helper = require "spec.helper";
local smq = helper.native("smq");

local ITEM_COST = 64; -- bytes counted for an item beside its own

-- A queue with the given limits that holds these items.
local function queue_of(limits, ...)
	local queue = smq.new(limits);
	for i, bytes in ipairs { ... } do
		queue:push(bytes, 0, i);
	end
	return queue;
end

-- All that can be taken from a queue, oldest first.
local function drain(queue)
	local items = {};
	for bytes in queue.pop, queue do
		table.insert(items, bytes);
	end
	return items;
end

-- Frees every queue that nothing refers to.
local function collect()
	collectgarbage();
	collectgarbage();
end

describe("a queue", function ()
	before_each(collect);

	it("begins empty, resumable, at the given counter", function ()
		for _, start in ipairs { 0, 1, 2^31 | 0, 2^32 - 1 | 0 } do
			local queue = smq.new { start = start };
			assert.equal(start, queue:acked());
			assert.equal(start, queue:pushed());
			assert.equal(0, queue:unacked());
			assert.equal(0, queue:held());
			assert.equal(0, queue:bytes());
			assert.is_true(queue:resumable());
			assert.equal(0, select("#", queue:at(1)));
			assert.equal(0, select("#", queue:pop()));
			queue:close();
		end
	end);

	it("gives items back as they were pushed", function ()
		local queue = smq.new {};
		queue:push("<a\0\255/>", 3, math.mininteger);
		queue:push("", 0, math.maxinteger);
		assert.same({ "<a\0\255/>", 3, math.mininteger }, { queue:at(1) });
		assert.same({ "", 0, math.maxinteger }, { queue:at(2) });
		assert.equal(0, select("#", queue:at(3)));
		assert.same({ "<a\0\255/>", 3, math.mininteger }, { queue:pop() });
		assert.same({ "", 0, math.maxinteger }, { queue:pop() });
		assert.equal(0, select("#", queue:pop()));
		queue:close();
	end);

	it("has no item before the first and after the last", function ()
		local queue = queue_of({}, "a", "b");
		for _, index in ipairs { 0, -1, 3, 2^32 | 0, 2^32 + 1 | 0, math.maxinteger, math.mininteger } do
			assert.equal(0, select("#", queue:at(index)));
		end
		queue:close();
	end);

	it("counts acks and refuses wrong ones with the words of util.smqueue", function ()
		local queue = queue_of({ start = 2^32 - 2 | 0 }, "a", "b", "c");
		assert.equal(1, queue:pushed());
		assert.equal(1, queue:ack(2^32 - 1 | 0));
		assert.equal(1, queue:ack(0));
		for h, condition in pairs { [2] = "head", [2^32 - 1 | 0] = "tail" } do
			local newly, got, text = queue:ack(h);
			assert.is_nil(newly);
			assert.equal(condition, got);
			assert.is_string(text);
		end
		assert.same({ 0, 1, 1, 1 }, { queue:acked(), queue:pushed(), queue:unacked(), queue:held() });
		assert.same({ "c" }, drain(queue));
		queue:close();
	end);

	it("says when a push takes it over a limit", function ()
		local by_items, by_bytes = smq.new { items = 2 }, smq.new { bytes = 2 * (ITEM_COST + 1) };
		for _, queue in ipairs { by_items, by_bytes } do
			assert.is_false((queue:push("a", 0, 0)));
			assert.is_false((queue:push("b", 0, 0)));
			assert.is_true((queue:push("c", 0, 0)));
			assert.equal(1, queue:shed());
			assert.same({ "b", "c" }, drain(queue));
			queue:close();
		end
	end);

	it("is not resumable while something unacknowledged is gone", function ()
		local queue = queue_of({}, "a", "b");
		queue:pop();
		assert.is_false(queue:resumable());
		assert.equal(2, queue:unacked());
		queue:ack(1);
		assert.is_true(queue:resumable());
		queue:close();
	end);

	describe("sheds", function ()
		it("the oldest, and gives each to the handler", function ()
			local queue, seen = queue_of({ items = 1 }, "a", "b", "c"), {};
			assert.equal(2, queue:shed(function (...) table.insert(seen, { ... }); end));
			assert.same({ { "a", 0, 1 }, { "b", 0, 2 } }, seen);
			assert.same({ "c" }, drain(queue));
			queue:close();
		end);

		it("nothing within its limits", function ()
			local queue = queue_of({}, "a", "b");
			assert.equal(0, queue:shed(error));
			assert.same({ "a", "b" }, drain(queue));
			queue:close();
		end);

		it("each item once, also when the handler raises", function ()
			local queue, seen = queue_of({ items = 1 }, "a", "b", "c"), {};
			local function handler(bytes)
				table.insert(seen, bytes);
				error("refused");
			end
			for _ = 1, 2 do
				local ok, err = pcall(queue.shed, queue, handler);
				assert.is_false(ok);
				assert.matches("refused", err);
			end
			assert.equal(0, queue:shed(handler));
			assert.same({ "a", "b" }, seen);
			assert.same({ "c" }, drain(queue));
			queue:close();
		end);

		it("until the handler closes it", function ()
			local queue, seen = queue_of({ items = 1 }, "a", "b", "c"), {};
			assert.equal(1, queue:shed(function (bytes)
				table.insert(seen, bytes);
				queue:close();
			end));
			assert.same({ "a" }, seen);
			assert.has_error(function () queue:held(); end);
		end);

		it("what the handler pushes, too", function ()
			local queue, seen = queue_of({ items = 1 }, "a", "b"), {};
			queue:shed(function (bytes)
				table.insert(seen, bytes);
				if #seen < 3 then
					queue:push("pushed " .. #seen, 0, 0);
				end
			end);
			assert.same({ "a", "b", "pushed 1" }, seen);
			assert.same({ "pushed 2" }, drain(queue));
			queue:close();
		end);

		it("no more when the handler has acknowledged or popped the rest", function ()
			for _, take in ipairs { function (queue) queue:ack(queue:pushed()); end, drain } do
				local queue = queue_of({ items = 1 }, "a", "b", "c");
				assert.equal(1, queue:shed(function () take(queue); end));
				assert.equal(0, queue:held());
				queue:close();
			end
		end);

		it("nothing through a handler that cannot be called", function ()
			for _, handler in ipairs { 1, "x", {}, true } do
				local queue = queue_of({ items = 1 }, "a", "b");
				assert.has_error(function () queue:shed(handler); end);
				assert.equal(2, queue:held());
				queue:close();
			end
		end);
	end);

	it("raises for wrong arguments and changes nothing", function ()
		local queue = queue_of({}, "a");
		local calls = {
			{ "push" }, { "push", "b" }, { "push", "b", 0 }, { "push", {}, 0, 0 }, { "push", nil, 0, 0 },
			{ "push", "b", -1, 0 }, { "push", "b", 2, 0 }, { "push", "b", 0.5, 0 }, { "push", "b", 0, "now" },
			{ "push", "b", 0, 0.5 }, { "ack" }, { "ack", "x" }, { "ack", -1 }, { "ack", 2^32 | 0 }, { "ack", 0.5 },
			{ "at" }, { "at", "x" }, { "at", 0.5 },
		};
		for _, call in ipairs(calls) do
			assert.has_error(function () queue[call[1]](queue, table.unpack(call, 2, 4)); end);
		end
		assert.same({ 0, 1, 1 }, { queue:acked(), queue:pushed(), queue:held() });
		assert.same({ "a" }, drain(queue));
		queue:close();
	end);

	it("raises for every method of anything that is no queue", function ()
		local queue = smq.new {};
		for _, name in ipairs { "push", "ack", "at", "pop", "shed", "acked", "pushed", "unacked", "held", "bytes",
			"resumable", "close" } do
			for _, wrong in ipairs { 1, "x", {}, io.stdout, false } do
				assert.has_error(function () queue[name](wrong, 1, 0, 0); end);
			end
			assert.has_error(function () queue[name](); end);
		end
		queue:close();
	end);

	it("raises for every method but close once it is closed", function ()
		local queue = queue_of({}, "a");
		queue:close();
		queue:close();
		for name, arguments in pairs { push = { "b", 0, 0 }, ack = { 0 }, at = { 1 }, pop = {}, shed = {}, acked = {},
			pushed = {}, unacked = {}, held = {}, bytes = {}, resumable = {} } do
			local ok, err = pcall(queue[name], queue, table.unpack(arguments));
			assert.is_false(ok);
			assert.matches("closed", err);
		end
	end);

	it("is closed at the end of its scope", function ()
		local kept;
		do
			local queue <close> = queue_of({}, "a");
			kept = queue;
		end
		assert.has_error(function () kept:held(); end);
	end);
end);

describe("new", function ()
	it("raises for wrong limits", function ()
		for _, limits in ipairs { false, 1, "x", { items = -1 }, { items = 2^32 | 0 }, { items = "x" }, { items = 0.5 },
			{ bytes = -1 }, { bytes = {} }, { bytes = 1e30 }, { start = -1 }, { start = 2^32 | 0 }, { start = true } } do
			assert.has_error(function () smq.new(limits); end);
		end
		assert.has_error(function () smq.new(); end);
	end);
end);

describe("total", function ()
	before_each(collect);

	local function assert_total(bytes, items)
		assert.same({ bytes, items }, { smq.total() });
	end

	it("is nothing without queues", function ()
		assert_total(0, 0);
	end);

	it("is the sum over all queues, also those of another load of the module", function ()
		local first, second = queue_of({}, "a", "bcd"), helper.native("smq").new {};
		local _, held = second:push("efgh", 0, 0);
		assert.equal(3 * ITEM_COST + 8, held);
		assert_total(3 * ITEM_COST + 8, 3);
		assert.equal(2 * ITEM_COST + 4, first:bytes());
		first:ack(1);
		second:pop();
		assert_total(ITEM_COST + 3, 1);
		first:close();
		assert_total(0, 0);
		second:close();
	end);

	it("is nothing again after close", function ()
		local queue = queue_of({ items = 2 }, "a", "b", "c");
		queue:shed();
		assert_total(2 * ITEM_COST + 2, 2);
		queue:close();
		assert_total(0, 0);
	end);

	it("is nothing again after garbage collection", function ()
		for _ = 1, 100 do
			queue_of({}, "a", ("b"):rep(1000));
		end
		collect();
		assert_total(0, 0);
	end);
end);
