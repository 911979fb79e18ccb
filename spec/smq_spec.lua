-- Queues of smacks.so: the binding. The queue itself is tested in tests/unit/test_smq.c.

local helper = require "spec.helper";
local smq = helper.native("smacks");

local ITEM_COST = 64; -- bytes counted for an item beside its own
local KEY_COST = 64; -- and for its key

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
	for bytes in queue.take, queue do
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
			assert.equal(0, select("#", queue:take()));
			queue:close();
		end
	end);

	it("renders a range of items as they are sent again", function ()
		local xml, splice = smq.encode(helper.st.message({ id = "1" }):text_tag("body", "a & b"));
		local queue = smq.new {};
		for time = 0, 2 do queue:push(xml, splice, time); end
		queue:push("<iq id='2'/>", 0, 3);
		local function delayed(time) return smq.splice(xml, splice, smq.delay("a<b", time)); end
		local all = delayed(0)..delayed(1)..delayed(2).."<iq id='2'/>";
		assert.same({ all, 5 }, { queue:render(1, "a<b", 100000) });
		assert.same({ delayed(1)..delayed(2), 4 }, { queue:render(2, "a<b", #xml + 100) });
		assert.same({ delayed(2), 4 }, { queue:render(3, "a<b", 1) });
		assert.same({ "", 5 }, { queue:render(5, "a<b", 1) });
		for _, wrong in ipairs { 0, -1, 2^32 | 0 } do assert.is_false(pcall(queue.render, queue, wrong, "a", 1)); end
		assert.is_false(pcall(queue.render, queue, 1, "a", 0));
	end);

	it("does not render items that cannot be spliced", function ()
		local queue = smq.new {};
		queue:push("no xml", 3, 0);
		assert.equal("internal-server-error", select(2, queue:render(1, "a", 1)));
	end);

	it("returns items as they were pushed", function ()
		local queue = smq.new {};
		queue:push("<a\0\255/>", 3, math.mininteger);
		queue:push("", 0, math.maxinteger);
		assert.same({ "<a\0\255/>", 3, math.mininteger }, { queue:at(1) });
		assert.same({ "", 0, math.maxinteger }, { queue:at(2) });
		assert.equal(0, select("#", queue:at(3)));
		assert.same({ "<a\0\255/>", 3, math.mininteger, "alone" }, { queue:take() });
		assert.same({ "", 0, math.maxinteger, "alone" }, { queue:take() });
		assert.equal(0, select("#", queue:take()));
		queue:close();
	end);

	it("returns nil before the first and after the last item", function ()
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

	it("says when a push takes it over a limit, and drops nothing", function ()
		local by_items, by_bytes = smq.new { items = 2 }, smq.new { bytes = 2 * (ITEM_COST + 1) };
		for _, queue in ipairs { by_items, by_bytes } do
			assert.is_false(queue:over());
			assert.is_false((queue:push("a", 0, 0)));
			assert.is_false((queue:push("b", 0, 0)));
			assert.is_false(queue:over());
			assert.is_true((queue:push("c", 0, 0)));
			assert.is_true(queue:over());
			assert.equal(3, queue:held());
			assert.equal("a", (queue:take()));
			assert.is_false(queue:over());
			assert.same({ "b", "c" }, drain(queue));
			queue:close();
		end
	end);

	it("returns the sizes of itself, its account and the process", function ()
		local queue, sibling = smq.new { account = "a@b" }, smq.new { account = "a@b" };
		local other = smq.new { account = "c@d" };
		assert.same({ false, ITEM_COST + 1, ITEM_COST + 1 }, { queue:push("a", 0, 0) });
		assert.same({ false, 2 * ITEM_COST + 3, ITEM_COST + 2 }, { other:push("bc", 0, 0) });
		assert.same({ false, 3 * ITEM_COST + KEY_COST + 6, 2 * ITEM_COST + KEY_COST + 4 },
			{ sibling:push("def", 0, 0, 1) });
		assert.same({ ITEM_COST + 1, ITEM_COST + KEY_COST + 3 }, { queue:bytes(), sibling:bytes() });
		queue:close(); sibling:close(); other:close();
	end);

	it("is not resumable while unacknowledged items are missing", function ()
		local queue = queue_of({}, "a", "b");
		queue:take();
		assert.is_false(queue:resumable());
		assert.equal(2, queue:unacked());
		queue:ack(1);
		assert.is_true(queue:resumable());
		queue:close();
	end);

	it("raises for wrong arguments and changes nothing", function ()
		local queue = queue_of({}, "a");
		local calls = {
			{ "push" }, { "push", "b" }, { "push", "b", 0 }, { "push", {}, 0, 0 }, { "push", nil, 0, 0 },
			{ "push", "b", -1, 0 }, { "push", "b", 2, 0 }, { "push", "b", 0.5, 0 }, { "push", "b", 0, "now" },
			{ "push", "b", 0, 0.5 }, { "ack" }, { "ack", "x" }, { "ack", -1 }, { "ack", 2^32 | 0 }, { "ack", 0.5 },
			{ "push", "b", 0, 0, "key" }, { "push", "b", 0, 0, 0.5 }, { "push", "b", 0, 0, {} },
			{ "at" }, { "at", "x" }, { "at", 0.5 },
		};
		for _, call in ipairs(calls) do
			assert.has_error(function () queue[call[1]](queue, table.unpack(call, 2, 5)); end);
		end
		assert.same({ 0, 1, 1 }, { queue:acked(), queue:pushed(), queue:held() });
		assert.same({ "a" }, drain(queue));
		queue:close();
	end);

	it("raises in every method for values that are not queues", function ()
		local queue = smq.new {};
		for _, name in ipairs { "push", "ack", "at", "take", "over", "siblings", "acked", "pushed", "unacked", "held",
			"bytes", "resumable", "close" } do
			for _, wrong in ipairs { 1, "x", {}, io.stdout, false } do
				assert.has_error(function () queue[name](wrong, 1, 0, 0); end);
			end
			assert.has_error(function () queue[name](); end);
		end
		queue:close();
	end);

	it("raises in every method except close after it was closed", function ()
		local queue = queue_of({}, "a");
		queue:close();
		queue:close();
		for name, arguments in pairs { push = { "b", 0, 0 }, ack = { 0 }, at = { 1 }, take = {}, over = {},
			siblings = {}, acked = {}, pushed = {}, unacked = {}, held = {}, bytes = {}, resumable = {} } do
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
			{ bytes = -1 }, { bytes = {} }, { bytes = 1e30 }, { start = -1 }, { start = 2^32 | 0 }, { start = true },
			{ account = 1 }, { account = false }, { account = {} }, { account = "a\0b" }, { account = "\0" } } do
			assert.has_error(function () smq.new(limits); end);
		end
		assert.has_error(function () smq.new(); end);
		assert.same({ 0, 0 }, { smq.total() });
	end);
end);

describe("an account", function ()
	before_each(collect);

	it("is the sum of its queues, whatever its name", function ()
		for _, name in ipairs { "", "a@b", "\255\1'\"", ("x"):rep(5000), "queue", "__mode", "__gc" } do
			assert.same({ 0, 0 }, { smq.account(name) });
			local first, second = smq.new { account = name }, smq.new { account = name };
			first:push("a", 0, 0);
			second:push("bc", 0, 0, -1);
			assert.same({ 2 * ITEM_COST + KEY_COST + 3, 2 }, { smq.account(name) });
			assert.same({ name, 2 * ITEM_COST + KEY_COST + 3 }, { smq.largest() });
			assert.same({ 2, 2 }, { first:siblings(), second:siblings() });
			first:close();
			assert.same({ ITEM_COST + KEY_COST + 2, 1 }, { smq.account(name) });
			assert.equal(1, second:siblings());
			second:close();
			assert.same({ 0, 0 }, { smq.account(name) });
		end
	end);

	it("is shared by queues without a name", function ()
		local first, second = smq.new {}, smq.new {};
		first:push("a", 0, 0);
		assert.same({ ITEM_COST + 1, 2 }, { smq.account("") });
		first:close(); second:close();
	end);

	it("that does not exist is empty, and so is one with a zero byte in its name", function ()
		local queue = queue_of({ account = "a" }, "b");
		assert.same({ 0, 0 }, { smq.account("b") });
		assert.same({ 0, 0 }, { smq.account("a\0") });
		queue:close();
	end);

	it("needs a name", function ()
		for _, wrong in ipairs { 1, {}, false } do
			assert.has_error(function () smq.account(wrong); end);
		end
		assert.has_error(function () smq.account(); end);
	end);

	it("is the same after a garbage collection, while it has a queue", function ()
		local first = queue_of({ account = "a@b" }, "a");
		collect();
		local second = queue_of({ account = "a@b" }, "b");
		assert.same({ 2 * ITEM_COST + 2, 2 }, { smq.account("a@b") });
		first:close();
		first = nil; -- luacheck: ignore 311
		collect();
		assert.same({ ITEM_COST + 1, 1 }, { smq.account("a@b") });
		assert.equal(1, second:siblings());
		second:close();
	end);

	it("is collected with its queues, in every mode of the collector", function ()
		for _, mode in ipairs { "generational", "incremental" } do
			collectgarbage(mode);
			local kept = queue_of({ account = "kept" }, "a");
			for i = 1, 2000 do
				local account = "a" .. i % 50;
				queue_of({ account = account }, "a", ("b"):rep(100));
				local queue = smq.new { account = account };
				queue:push("c", 0, 0, i);
				if i % 3 == 0 then queue:close(); end
			end
			collect();
			assert.same({ ITEM_COST + 1, 1 }, { smq.total() });
			assert.same({ "kept", ITEM_COST + 1 }, { smq.largest() });
			for i = 0, 49 do
				assert.same({ 0, 0 }, { smq.account("a" .. i) });
			end
			kept:close();
		end
		collectgarbage("incremental");
	end);

	it("may be used by a finalizer that has its queue", function ()
		local seen = {};
		do
			local function on_gc(self)
				seen[#seen + 1] = not pcall(self.queue.held, self.queue);
				local queue = queue_of({ account = "a@b" }, "again");
				seen[#seen + 1] = queue:siblings();
				queue:close();
			end
			local before = setmetatable({}, { __gc = on_gc });
			local queue = queue_of({ account = "a@b" }, "a");
			setmetatable({ queue = queue }, { __gc = on_gc });
			before.queue = queue;
		end
		collect();
		assert.same({ false, 1, true, 1 }, seen); -- the younger one came before its queue was closed
		assert.same({ 0, 0 }, { smq.total() });
		assert.same({ 0, 0 }, { smq.account("a@b") });
	end);
end);

describe("take", function ()
	before_each(collect);

	-- Three queues of an account that hold a copy of a message
	local function copies(key)
		local queues = {};
		for i = 1, 3 do
			queues[i] = smq.new { account = "a@b" };
			queues[i]:push("copy " .. i, 0, i, key);
		end
		return queues[1], queues[2], queues[3];
	end

	local function assert_takes(fate, queue)
		assert.equal(fate, (select(4, queue:take())));
	end

	local function close(...)
		for _, queue in ipairs { ... } do queue:close(); end
	end

	it("says that another queue holds a message, and which queue has the last copy", function ()
		for _, key in ipairs { 1, -1, math.mininteger, math.maxinteger } do
			local a, b, c = copies(key);
			assert_takes("held", b);
			assert_takes("held", a);
			assert.same({ "copy 3", 0, 3, "last" }, { c:take() });
			close(a, b, c);
		end
	end);

	it("says that a message was acknowledged in another queue", function ()
		local a, b, c = copies(7);
		a:ack(1);
		assert_takes("seen", b);
		assert_takes("seen", c);
		close(a, b, c);
	end);

	it("says that a message is alone without a key, in another account, or after others are closed", function ()
		local a, b, c = copies(0);
		assert_takes("alone", a);
		close(a, b, c);
		a, b, c = copies(nil);
		assert_takes("alone", a);
		close(a, b, c);
		a, b, c = copies(1);
		local stranger = smq.new { account = "c@d" };
		stranger:push("no copy", 0, 0, 1);
		assert_takes("alone", stranger);
		close(a, b, stranger);
		assert_takes("alone", c);
		c:close();
	end);
end);

describe("largest", function ()
	before_each(collect);

	it("is nil if all queues are empty", function ()
		assert.equal(0, select("#", smq.largest()));
		local queue = smq.new { account = "a@b" };
		assert.equal(0, select("#", smq.largest()));
		queue:close();
	end);

	it("is the largest account of all loads of the module", function ()
		local again = helper.native("smacks");
		local a, b = queue_of({ account = "a" }, "abc"), again.new { account = "b" };
		b:push("defg", 0, 0);
		assert.same({ "b", ITEM_COST + 4 }, { smq.largest() });
		a:push("", 0, 0);
		assert.same({ "a", 2 * ITEM_COST + 3 }, { again.largest() });
		a:take();
		assert.same({ "b", ITEM_COST + 4 }, { again.largest() });
		b:ack(1);
		assert.same({ "a", ITEM_COST }, { smq.largest() });
		a:close();
		assert.equal(0, select("#", smq.largest()));
		b:close();
	end);

	it("is an account that several loads of the module share, with its copies", function ()
		local again = helper.native("smacks");
		local a, b = smq.new { account = "a" }, again.new { account = "a" };
		a:push("x", 0, 0, 1);
		b:push("x", 0, 0, 1);
		assert.same({ "a", 2 * (ITEM_COST + KEY_COST + 1) }, { again.largest() });
		assert.same({ 2 * (ITEM_COST + KEY_COST + 1), 2 }, { again.account("a") });
		assert.equal("held", (select(4, a:take())));
		assert.equal("last", (select(4, again.new {}.take(b))));
		a:close(); b:close();
	end);
end);

describe("total", function ()
	before_each(collect);

	local function assert_total(bytes, items)
		assert.same({ bytes, items }, { smq.total() });
	end

	it("is 0 without queues", function ()
		assert_total(0, 0);
	end);

	it("is the sum over all queues, also those of another load of the module", function ()
		local first, second = queue_of({}, "a", "bcd"), helper.native("smacks").new {};
		local _, held = second:push("efgh", 0, 0);
		assert.equal(3 * ITEM_COST + 8, held);
		assert_total(3 * ITEM_COST + 8, 3);
		assert.equal(2 * ITEM_COST + 4, first:bytes());
		first:ack(1);
		second:take();
		assert_total(ITEM_COST + 3, 1);
		first:close();
		assert_total(0, 0);
		second:close();
	end);

	it("is 0 again after close", function ()
		local queue = queue_of({ items = 2 }, "a", "b", "c");
		assert_total(3 * ITEM_COST + 3, 3);
		queue:take();
		assert_total(2 * ITEM_COST + 2, 2);
		queue:close();
		assert_total(0, 0);
	end);

	it("is 0 again after garbage collection", function ()
		for _ = 1, 100 do
			queue_of({}, "a", ("b"):rep(1000));
		end
		collect();
		assert_total(0, 0);
	end);
end);
