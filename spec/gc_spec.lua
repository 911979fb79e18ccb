-- The bindings under the garbage collector: collections at every allocation and at every
-- instruction, and finalizers that call the same functions while others of them run.

local helper = require "spec.helper";
local generate = require "spec.generate";

local st, element = helper.st, helper.element;
local native = helper.native("smacks");
local smq = native;
local plugins = os.getenv("PN_PLUGINS") or "lua";
local stock = { top_tag = st.stanza_mt.top_tag, tostring = st.stanza_mt.__tostring, clone = st.clone,
	tag = st.stanza_mt.tag, text = st.stanza_mt.text, add_direct_child = st.stanza_mt.add_direct_child };
local functions = assert(package.loadlib(plugins .. "/mod_stream_native/stream.so", "luaopen_stream"))()
	.stanza_functions(st.stanza_mt, stock);

-- A cycle is one step, and the next begins at once: each allocation makes one, and runs finalizers.
local function every_allocation()
	collectgarbage("incremental", 0, 100, 24);
	collectgarbage("setpause", 0);
	collectgarbage(); -- the new pause counts from here
end

local COLLECTORS = {
	["in generational mode"] = function () collectgarbage("generational", 20, 100); end;
	["in generational mode with rare major collections"] = function () collectgarbage("generational", 1, 1000); end;
	["in incremental mode, as slow as can be"] = function () collectgarbage("incremental", 1000, 1, 1); end;
	["in incremental mode, in smallest steps"] = function ()
		collectgarbage("incremental", 0, 1, 1);
		collectgarbage("setpause", 0);
		collectgarbage();
	end;
	["with a cycle at each allocation"] = every_allocation;
	["with a full collection at each instruction"] = function ()
		debug.sethook(function () collectgarbage(); end, "", 1);
	end;
};

local function with_collector(set_up, fn)
	collectgarbage();
	set_up();
	local ok, err = xpcall(fn, debug.traceback);
	debug.sethook();
	collectgarbage("incremental", 200, 100, 13);
	collectgarbage();
	collectgarbage();
	if not ok then error(err, 0); end
end

-- Stanzas, and the results of the functions without the collector. Elements have one
-- attribute, so that results can be compared byte for byte.
local samples = {};
do
	local generator = generate.new(31, { attributes = 1, depth = 3, children = 3 });
	for i = 1, 5 do
		local stanza = generator:stanza();
		local xml, at = native.encode(stanza);
		local child = native.delay("a@b/" .. ("x"):rep(50), i);
		local spliced = native.splice(xml, at, child);
		stanza.namespaces = { p = "urn:p", q = "urn:q", r = "urn:r" };
		samples[i] = { stanza = stanza, text = stock.tostring(stanza), top_tag = stock.top_tag(stanza),
			xml = xml, at = at, time = i, from = "a@b/" .. ("x"):rep(50), child = child,
			spliced = spliced, decoded = native.encode(native.decode(spliced, st.stanza_mt)) };
	end
end

local broken = { element("a", {}, { ("x"):rep(1000), element("b", { c = true }) }), element("a", {}, { {} }) };

-- Every function of stanzas in smacks.so on every sample.
local function use_stanza()
	for i, sample in ipairs(samples) do
		assert(native.encode(sample.stanza) == sample.xml, "encode");
		assert(native.delay(sample.from, sample.time) == sample.child, "delay");
		assert(native.splice(sample.xml, sample.at, sample.child) == sample.spliced, "splice");
		local decoded = native.decode(sample.spliced, st.stanza_mt);
		assert(not pcall(native.encode, broken[i % #broken + 1]), "encode of a malformed table");
		assert(native.decode(sample.spliced .. "<", st.stanza_mt) == nil, "decode of malformed XML");
		assert(native.encode(decoded) == sample.decoded, "decode");
	end
end

-- Every function of stanzas in stream.so, also where it passes the call on
local function use_functions()
	local tostring_before = st.stanza_mt.__tostring;
	st.stanza_mt.__tostring = functions.tostring;
	for i, sample in ipairs(samples) do
		assert(functions.tostring(sample.stanza) == sample.text, "tostring");
		assert(functions.top_tag(sample.stanza) == sample.top_tag, "top_tag");
		local clone = functions.clone(sample.stanza);
		assert(functions.tostring(clone) == sample.text and clone.namespaces.r == "urn:r", "clone");
		assert(functions.tostring(functions.clone(sample.stanza, true)):sub(1, -3) == sample.top_tag:sub(1, -2), "clone of the top");
		functions.text(functions.tag(clone, "added", { xmlns = "urn:x" }), "text"):reset();
		assert(clone.tags[#clone.tags].name == "added" and clone[#clone][1] == "text", "tag and text");
		assert(not pcall(functions.tag, clone, "added", { xmlns = 5 }), "tag with a number");
		assert(not pcall(functions.tostring, broken[i % #broken + 1]), "tostring of a malformed table");
		assert(not pcall(functions.clone, {}), "clone of a table");
	end
	st.stanza_mt.__tostring = tostring_before;
end

local function long(n)
	return n .. (" long enough to be no internal string of Lua"):rep(2);
end

-- Every function of queues in smacks.so. One queue is closed, another left to the collector.
local function use_smq()
	for _, close in ipairs { true, false } do
		local queue = smq.new { account = long("a"), items = 3, start = 2^32 - 3 | 0 };
		local sibling = smq.new { account = long("a") };
		for n = 1, 5 do
			assert(queue:push(long(n), n, n, n) == (n > 3), "push");
			assert(sibling:push("copy", 0, n, n) == false, "push of a copy");
		end
		assert(sibling:ack(1) == 1, "ack of a copy");
		for n, fate in ipairs { "seen", "held" } do
			assert(queue:over(), "over");
			local bytes, splice, time, got = queue:take();
			assert(bytes == long(n) and splice == n and time == n and got == fate, "take over the limit");
		end
		assert(queue:siblings() >= 2 and select(2, smq.account(long("a"))) >= 2, "account");
		assert(type(smq.largest()) == "string", "largest");
		assert(queue:at(3) == long(5) and queue:at(4) == nil, "at");
		assert(queue:ack(0) == 3, "ack");
		assert(queue:take() == long(4) and queue:held() == 1, "take");
		assert(not queue:resumable() and queue:ack(2) == 2 and queue:resumable(), "resumable");
		queue:push(1.5, 0, 0);
		assert(queue:take() == "1.5", "a number");
		if close then
			queue:close();
			sibling:close();
		end
	end
end

-- Has the collector call fn, again and again until the result is called, which says how often.
local function finalizing(fn)
	local calls, stopped, failure = 0, false, nil;
	local function renew()
		setmetatable({}, { __gc = function ()
			if stopped then return; end
			calls = calls + 1;
			local ok, err = pcall(fn);
			failure = failure or not ok and err;
			renew();
		end });
	end
	renew();
	return function ()
		stopped = true;
		assert(not failure, failure);
		return calls;
	end
end

describe("the garbage collector", function ()
	for description, collector in pairs(COLLECTORS) do
		describe(description, function ()
			it("does not collect data in use by encode, decode, splice and delay", function ()
				with_collector(collector, use_stanza);
			end);

			it("does not collect data in use by tostring, top_tag and clone", function ()
				with_collector(collector, use_functions);
			end);

			it("keeps the items of queues, and frees them with the queues", function ()
				with_collector(collector, use_smq);
				assert.same({ 0, 0 }, { smq.total() });
			end);
		end);
	end

	it("keeps a queue that a coroutine holds, and frees it with the coroutine", function ()
		with_collector(every_allocation, function ()
			local thread = coroutine.wrap(function ()
				local queue = smq.new {};
				queue:push(long(1), 0, 0);
				coroutine.yield(queue:at(1));
				coroutine.yield((queue:take()));
			end);
			assert.equal(long(1), thread());
			assert.equal(long(1), thread());
		end);
		assert.same({ 0, 0 }, { smq.total() });
	end);
end);

describe("a finalizer", function ()
	it("may encode and decode while others do", function ()
		with_collector(every_allocation, function ()
			local stop = finalizing(use_stanza);
			use_stanza();
			assert.is_true(stop() > 20);
		end);
	end);

	it("may use the functions of stanzas while others do", function ()
		with_collector(every_allocation, function ()
			local stop = finalizing(use_functions);
			use_functions();
			assert.is_true(stop() > 20);
		end);
	end);

	it("may use queues of its own while others are used", function ()
		with_collector(every_allocation, function ()
			local stop = finalizing(use_smq);
			use_smq();
			assert.is_true(stop() > 5);
		end);
		assert.same({ 0, 0 }, { smq.total() });
	end);

	-- Every method of a queue that allocates in Lua, with results or arguments that are new strings.
	local function is_first(bytes) return bytes == long(1); end
	local calls = {
		push = function (queue, new) queue:push(new .. "", 0, 0); end;
		["push of a number"] = function (queue, new) queue:push(new, 0, 0); end;
		["at"] = function (queue) return is_first(queue:at(1)); end;
		take = function (queue) return is_first(queue:take() or long(1)); end;
		["new in its account"] = function (_, new) smq.new { account = "a" .. new, items = 1 }:close(); end;
		largest = function () return (smq.largest() or long("a")) == long("a"); end;
		["ack of a head"] = function (queue) return queue:ack(9) == nil; end;
	};

	-- Calls, with a finalizer that closes the queue at the nth collection from now: it works, or it
	-- raises. Returns when the queue was closed.
	local function close_during(call, nth, new)
		local queue, phase, closed = smq.new { account = long("a"), items = 2 }, "before", nil;
		for n = 1, 3 do queue:push(long(n), 0, n); end
		local function later(n)
			setmetatable({}, { __gc = function ()
				if n > 1 then later(n - 1); return; end
				queue:close();
				closed = closed or phase;
			end });
		end
		later(nth);
		phase = "during";
		local ok, result = pcall(call, queue, new);
		phase = "after";
		queue:close();
		assert(ok and result ~= false or not ok and result:find("closed", 1, true), result);
		return closed;
	end

	for name, call in pairs(calls) do
		it("may close a queue during " .. name, function ()
			local seen = {};
			with_collector(every_allocation, function ()
				for attempt = 1, 100 do
					seen[close_during(call, attempt % 10 + 1, attempt + 0.125) or "not"] = true;
				end
			end);
			assert.is_true(seen.during);
			assert.same({ 0, 0 }, { smq.total() });
		end);
	end

	it("may create the account that is being created", function ()
		local seen = {};
		with_collector(every_allocation, function ()
			for attempt = 1, 100 do
				local limits, phase, first = { account = long(attempt) }, "before", nil;
				local function later(n)
					setmetatable({}, { __gc = function ()
						if n > 1 then later(n - 1); return; end
						first = smq.new(limits);
						seen[phase] = true;
					end });
				end
				later(attempt % 10 + 1);
				phase = "during";
				local second = smq.new(limits);
				phase = "after";
				assert(second:siblings() == (first and 2 or 1), "two accounts of one name");
			end
		end);
		assert.is_true(seen.during);
	end);

	local function take(queue, taken)
		table.insert(taken, (select(3, queue:take())));
	end

	local function take_over(queue, taken)
		while queue:over() do take(queue, taken); end
	end

	-- Takes all items except the last, also in a finalizer. Returns the taken items, and how often the
	-- finalizer ran.
	local function take_all(fn, fn_of_finalizer)
		local queue, taken = smq.new { items = 1 }, {};
		for n = 1, 12 do queue:push(long(n), 0, n); end
		local stop = finalizing(function () fn_of_finalizer(queue, taken); end);
		while queue:held() > 1 do fn(queue, taken); end
		local runs = stop();
		while queue:held() > 0 do take(queue, taken); end
		queue:close();
		return taken, runs;
	end

	local ways = { ["take one"] = take, ["take all beyond a limit"] = take_over };
	for name, fn in pairs(ways) do
		for name_of_finalizer, fn_of_finalizer in pairs(ways) do
			it(("may %s while others %s, and each item is taken once"):format(name_of_finalizer, name), function ()
				with_collector(every_allocation, function ()
					local runs_in_all = 0;
					for _ = 1, 20 do
						local taken, runs = take_all(fn, fn_of_finalizer);
						table.sort(taken);
						assert.equal("1 2 3 4 5 6 7 8 9 10 11 12", table.concat(taken, " "));
						runs_in_all = runs_in_all + runs;
					end
					assert.is_true(runs_in_all > 0);
				end);
			end);
		end
	end
end);
