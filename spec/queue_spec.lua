-- lua/mod_smacks/queue.lib.lua: the queue as mod_smacks and other modules see it

local helper = require "spec.helper";
local st = helper.st;

local logged = {};
local listeners = {};

-- The part of Prosody's module API that the library uses
local function load_library(name)
	local env = setmetatable({}, { __index = _G });
	env.module = {
		require = function (_, lib)
			return lib == "native" and helper.native or load_library(lib);
		end;
		log = function (_, level, ...) table.insert(logged, { level, string.format(...) }); end;
		fire_event = function (_, event_name, event)
			for _, listener in ipairs(listeners) do listener(event_name, event); end
		end;
	};
	return assert(loadfile("lua/mod_smacks/"..name..".lib.lua", "t", env))();
end

local queues = load_library "queue";

local function message(id, body)
	return st.message({ to = "a@example.com/r", from = "b@example.com", id = id, type = "chat" }, body or "hello");
end

local function new_queue(limits)
	return queues.new("a@example.com", limits or {});
end

local function filled(count, limits)
	local q = new_queue(limits);
	for i = 1, count do q:push(message("m"..i)); end
	return q;
end

local function ids(stanzas)
	local list = {};
	for i = 1, #stanzas do list[i] = stanzas[i].attr.id; end
	return table.concat(list, " ");
end

local function with_listener(listener, func)
	table.insert(listeners, listener);
	local ok, err = pcall(func);
	table.remove(listeners);
	if not ok then error(err, 0); end
end

describe("mod_smacks queue", function ()
	describe("answers as util.smqueue", function ()
		local smqueue = require "util.smqueue";

		-- The same calls on both, with stanzas of which only the id matters
		local function both(size, steps)
			local theirs, ours = smqueue.new(size), new_queue { items = size };
			local results = {};
			for i, q in ipairs { theirs, ours } do
				results[i] = {};
				steps(q, function (result)
					if type(result) == "table" then result = ids(result); end
					table.insert(results[i], tostring(result));
				end);
			end
			assert.same(results[1], results[2]);
		end

		local function push(q, from, to)
			for i = from, to do q:push(message("m"..i)); end
		end

		it("counts more items than it holds", function ()
			both(10, function (q, note)
				push(q, 1, 20);
				note(q:count_unacked()); note(q:count_acked()); note(#q); note(q:resumable());
			end);
		end);

		it("is resumable until an item is dropped, and again when acks have caught up", function ()
			both(10, function (q, note)
				push(q, 1, 10); note(q:resumable());
				push(q, 11, 12); note(q:resumable());
				note(q:ack(1)); note(q:resumable());
				note(q:ack(2)); note(q:resumable());
			end);
		end);

		it("returns the acknowledged stanzas, and head or tail for a wrong h", function ()
			both(10, function (q, note)
				push(q, 1, 10);
				note(q:ack(3)); note(q:ack(6)); note(q:ack(6));
				note(q:ack(3)); note(select(2, q:ack(3)));
				note(q:ack(100)); note(select(2, q:ack(100)));
				push(q, 11, 20);
				note(q:ack(12)); note(q:count_unacked());
			end);
		end);

		it("iterates, makes a table, and consumes", function ()
			both(10, function (q, note)
				push(q, 1, 12);
				q:ack(6);
				local resumed = {};
				for i, stanza in q:resume() do resumed[i] = stanza; end
				note(resumed); note(q:table());
				local consumed = {};
				for stanza in q:consume() do table.insert(consumed, stanza); end
				note(consumed); note(q:table());
			end);
		end);

		it("freezes to its counters", function ()
			local q = filled(3);
			q:ack(1);
			assert.same({ head = 3, tail = 1 }, getmetatable(q).__freeze(q));
		end);

		it("accepts values that are not stanzas", function ()
			local q = new_queue { items = 10 };
			for i = 1, 12 do q:push(i); end
			assert.same({ 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 }, q:table());
			assert.same({ 3, 4 }, q:ack(4));
			local consumed = {};
			for value in q:consume() do table.insert(consumed, value); end
			assert.same({ 5, 6, 7, 8, 9, 10, 11, 12 }, consumed);
		end);
	end);

	describe("returns stanzas", function ()
		it("with a delay of the time of queueing as the last child", function ()
			local before = os.time();
			local q = filled(1);
			local stanza = q:stanza(1);
			local delay = stanza.tags[#stanza.tags];
			assert.equal("delay", delay.name);
			assert.equal("urn:xmpp:delay", delay.attr.xmlns);
			assert.equal("a@example.com", delay.attr.from);
			local stamp = require "util.datetime".parse(delay.attr.stamp);
			assert.is_true(stamp >= before and stamp <= os.time());
			assert.equal("hello", stanza:get_child_text("body"));
		end);

		it("without a second delay if there is one", function ()
			local q = new_queue();
			q:push(message("m1"):tag("delay", { xmlns = "urn:xmpp:delay", stamp = "2020-01-01T00:00:00Z" }):up());
			local count = 0;
			for tag in q:stanza(1):childtags("delay", "urn:xmpp:delay") do
				count = count + 1;
				assert.equal("2020-01-01T00:00:00Z", tag.attr.stamp);
			end
			assert.equal(1, count);
		end);

		it("without a delay in an iq", function ()
			local q = new_queue();
			q:push(st.iq { id = "1", type = "get", to = "a@example.com" }:tag("query", { xmlns = "urn:x" }));
			assert.is_nil(q:stanza(1):get_child("delay", "urn:xmpp:delay"));
		end);

		it("as bytes that a parser reads as the same stanza", function ()
			local q = new_queue();
			q:push(st.presence { from = "a&b'<>@example.com" });
			helper.assert_same_stanza(helper.parse(q:render(1, 1)), q:stanza(1));
		end);

		it("except invalid XML, which it logs", function ()
			local q = new_queue();
			local stanza = message("m1");
			stanza.attr.id = "a\1b\127\0";
			q:push(stanza);
			logged = {};
			assert.is_nil(q:stanza(1));
			assert.equal("error", logged[1][1]);
			q:push(message("m2"));
			assert.equal("m2", ids(q:table()));
			local consumed = {};
			for left in q:consume() do table.insert(consumed, left); end
			assert.equal("m2", ids(consumed));
		end);
	end);

	describe("in events", function ()
		it("looks like an array", function ()
			local q = filled(5);
			q:ack(2);
			local view = q:view();
			assert.equal("table", type(view));
			assert.equal(3, #view);
			assert.equal("m3", view[1].attr.id);
			assert.is_nil(view[0]);
			assert.is_nil(view[4]);
			local by_ipairs, by_pairs = {}, {};
			for i, stanza in ipairs(view) do by_ipairs[i] = stanza; end
			for i, stanza in pairs(view) do by_pairs[i] = stanza; end
			assert.equal("m3 m4 m5", ids(by_ipairs));
			assert.equal("m3 m4 m5", ids(by_pairs));
			assert.equal("m3 m4 m5", ids { table.unpack(view) });
		end);

		it("keeps its stanzas while others come and go", function ()
			local q = filled(5);
			local view = q:view();
			q:ack(2);
			q:push(message("m6"));
			assert.equal(5, #view);
			assert.is_nil(view[2]);
			assert.equal("m3", view[3].attr.id);
			assert.is_nil(view[6]);
		end);

		it("passes the same stanza to every listener", function ()
			local q = filled(2);
			local seen = {};
			local function look(_, event)
				collectgarbage();
				table.insert(seen, event.queue[2]);
			end
			with_listener(look, function ()
				with_listener(look, function () q:fire("test", {}, {}); end);
			end);
			assert.equal(2, #seen);
			assert.is_true(rawequal(seen[1], seen[2]));
		end);

		it("keeps the marks of a listener, but not the stanza", function ()
			local q = filled(3);
			with_listener(function (_, event) event.queue[2]._push_notify = { x = true }; end, function ()
				q:fire("test", {}, {});
			end);
			collectgarbage(); collectgarbage();
			assert.is_nil(next(q.decoded));
			local marks;
			with_listener(function (_, event) marks = event.queue[2]._push_notify; end, function ()
				q:fire("test", {}, {});
			end);
			assert.same({ x = true }, marks);
		end);

		it("keeps marks made later in a stanza that a listener has kept", function ()
			local q = filled(1);
			local held;
			with_listener(function (_, event) held = event.queue[1]; end, function () q:fire("test", {}, {}); end);
			held._push_notify = "late";
			collectgarbage();
			assert.equal("late", q:stanza(1)._push_notify);
		end);

		it("passes marks to the delivery failure event", function ()
			local q = filled(2, { items = 2 });
			q:stanza(1).mark, q:stanza(2).mark = "one", "two";
			q:settle();
			collectgarbage(); collectgarbage();
			local take = q:consume();
			local first, second = take(), take();
			assert.equal("m1 m2", ids { first, second });
			assert.equal("one", first.mark);
			assert.equal("two", second.mark);
		end);

		it("forgets marks with their stanzas", function ()
			local q = filled(3);
			for i = 1, 3 do q:stanza(i).mark = i; end
			q:settle();
			q:acknowledge(2);
			assert.same({ [3] = { mark = 3 } }, q.marks);
			q:acknowledge(3);
			assert.same({}, q.marks);
		end);

		it("can end the queue", function ()
			local q = filled(2);
			with_listener(function (_, event)
				event.queue[1].mark = true;
				q:close();
			end, function () q:fire("test", {}, {}); end);
			assert.is_true(q.closed);
		end);
	end);

	it("counts modulo 2^32", function ()
		local q = new_queue { items = 4 };
		q:start_at(0xFFFFFFFE);
		for i = 1, 4 do q:push(message("m"..i)); end
		assert.equal(2, q:pushed());
		assert.equal("m1 m2 m3 m4", ids(q:view()));
		for i = 1, 4 do q:stanza(i).mark = i; end
		q:settle();
		assert.equal(3, q:acknowledge(1));
		assert.same({ [2] = { mark = 4 } }, q.marks);
		assert.equal("m4", ids(q:view()));
		assert.equal(4, q:stanza(1).mark);
		assert.same({ nil, "tail" }, { q:acknowledge(0xFFFFFFFF) });
		assert.same({ nil, "head" }, { q:acknowledge(3) });
	end);

	it("returns the excess over its limits, and the size of all queues", function ()
		local before = queues.total_bytes();
		local q = new_queue { items = 2 };
		local _, is_over, total = q:enqueue(message("m1"));
		assert.is_false(is_over);
		assert.equal(before + q:bytes(), total);
		q:enqueue(message("m2"));
		_, is_over = q:enqueue(message("m3"));
		assert.is_true(is_over);
		assert.is_true(q:is_over());
		assert.equal(3, q:held());
		assert.is_true(q:resumable());
		q:acknowledge(1);
		assert.is_false(q:is_over());
		q:close();
		assert.equal(before, queues.total_bytes());
	end);

	it("returns the size of its account, and the largest account", function ()
		collectgarbage();
		collectgarbage();
		local one, two = queues.new("a@example.com", {}, "a@example.com", true), queues.new("a@example.com", {}, "a@example.com", true);
		local other = queues.new("b@example.com", {}, "b@example.com", true);
		one:enqueue(message("m1"));
		local _, _, _, account_bytes = two:enqueue(message("m2"));
		other:enqueue(message("m3"));
		assert.equal(one:bytes() + two:bytes(), account_bytes);
		assert.same({ account_bytes, 2 }, { queues.account_bytes("a@example.com") });
		assert.same({ "a@example.com", account_bytes }, { queues.largest() });
		one:close();
		two:close();
		assert.equal("b@example.com", (queues.largest()));
		other:close();
		assert.not_equal("b@example.com", (queues.largest()));
	end);

	describe("of several that hold a message", function ()
		local account = "a@example.com";

		local function two_queues()
			return queues.new(account, {}, account, true), queues.new(account, {}, account, true);
		end

		local function carbon(kind, inner)
			local copy = st.clone(inner);
			copy.attr.xmlns = "jabber:client";
			return st.message({ from = account, to = account.."/s" }):tag(kind, { xmlns = "urn:xmpp:carbons:2" })
				:tag("forwarded", { xmlns = "urn:xmpp:forward:0" }):add_child(copy):reset();
		end

		local function fate(q) return (select(2, q:consume()())); end

		it("the last one knows that it is the last, with and without copies", function ()
			for _, other in ipairs { message("m1"), carbon("received", message("m1")) } do
				local one, two = two_queues();
				one:enqueue(message("m1"));
				two:enqueue(other);
				assert.equal("held", fate(one));
				assert.equal("last", fate(two));
				one:close(); two:close();
			end
		end);

		it("each learns of an ack to another", function ()
			local one, two = two_queues();
			one:enqueue(message("m1"));
			two:enqueue(carbon("received", message("m1")));
			one:acknowledge(1);
			assert.equal("seen", fate(two));
			one:close(); two:close();
		end);

		it("those of other messages are independent", function ()
			local differing = { message("m2"), message("m1", "other text"), st.presence { id = "m1" },
				st.message({ to = "a@example.com/other", from = "b@example.com", id = "m1", type = "chat" }, "hello"),
				st.message({ to = "a@example.com/r", from = "c@example.com", id = "m1", type = "chat" }, "hello") };
			for _, other in ipairs(differing) do
				local one, two = two_queues();
				one:enqueue(message("m1"));
				two:enqueue(other);
				assert.equal("alone", fate(one));
				assert.equal("alone", fate(two));
				one:close(); two:close();
			end
		end);

		it("messages without an id are never considered equal, unless the archive has given them one", function ()
			local function anonymous(id)
				local stanza = st.message({ to = "a@example.com", from = "b@example.com" }, "ok");
				return id and stanza:tag("stanza-id", { xmlns = "urn:xmpp:sid:0", by = account, id = id }):up() or stanza;
			end
			for id, expected in pairs { [false] = "alone", archived = "held" } do
				local one, two = two_queues();
				one:enqueue(anonymous(id));
				two:enqueue(anonymous(id));
				assert.equal(expected, fate(one));
				one:close(); two:close();
			end
		end);

		it("only the account's server makes copies", function ()
			local one, two = two_queues();
			local forged = carbon("received", message("m1"));
			forged.attr.from = "mallory@example.com";
			one:enqueue(message("m1"));
			two:enqueue(forged);
			assert.equal("alone", fate(one));
			one:close(); two:close();
		end);

		it("they are not linked if messages do not go to all resources", function ()
			local one, two = queues.new("b.example.com", {}, "b.example.com"), queues.new("b.example.com", {}, "b.example.com");
			one:enqueue(message("m1"));
			two:enqueue(message("m1"));
			assert.equal("alone", fate(one));
			one:close(); two:close();
		end);
	end);

	it("rejects stanzas that cannot be encoded, and is unchanged", function ()
		local q = filled(1);
		assert.has_error(function () q:enqueue(setmetatable({ name = "message" }, st.stanza_mt)); end);
		local huge = message("m0");
		for i = 1, 800 do huge.attr["urn:"..("x"):rep(100000).."\1a"..i] = ""; end
		assert.is_nil((q:enqueue(huge)));
		assert.equal(1, q:count_unacked());
		q:push(message("m2"));
		assert.equal("m1 m2", ids(q:view()));
	end);
end);
