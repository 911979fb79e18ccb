-- Archives of the storage driver: messages, and their ids. Queries: storage_query_spec.lua

local helper = require "spec.helper";
local generate = require "spec.generate";
local storage = require "spec.storage_helper";
local now = require "util.time".now;

local st, sorted, bodies, message = helper.st, storage.sorted, storage.bodies, storage.message;

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

before_each(function () restart(); end);
after_each(function ()
	bed:close();
	bed = nil;
end);

local function assert_refused(condition, ok, err)
	assert.falsy(ok);
	assert.equal(condition, err);
end

-- Appends messages 1 to n, message i at the time 1000 + i. Returns their ids.
local function fill(user, n, with)
	local ids = {};
	for i = 1, n do
		ids[i] = assert(archive:append(user, nil, message(i), 1000 + i, with or "a@example.com"));
	end
	return ids;
end

-- What there is, by every way to it
local function assert_holds(expected, user)
	local _, count = expected:gsub("%S+", "");
	local reversed = {};
	for body in expected:gmatch("%S+") do table.insert(reversed, 1, body); end
	assert.same({ expected, count }, { bodies(archive:find(user, { total = true })) });
	assert.equal(table.concat(reversed, " "), (bodies(archive:find(user, { reverse = true }))));
	for _, item in ipairs((storage.items(archive:find(user)))) do
		assert.equal(tostring(item.stanza), tostring(archive:get(user, item.id)));
	end
end

describe("append() of an archive", function ()
	it("appends, whatever the clock says", function ()
		for i, when in ipairs { 5000, 3000, 4000, 4000, 1, 0, -1, 9000, 2 } do
			assert(archive:append("user", nil, message(i), when, "a@example.com"));
		end
		assert_holds("1 2 3 4 5 6 7 8 9", "user");
		reopen();
		assert_holds("1 2 3 4 5 6 7 8 9", "user");
	end);

	it("keeps times far in the past and in the future", function ()
		local times = { 1, -1, 0, 253402300799, -62135596800, 2^31 | 0, 2^32 | 0, 2^40 | 0, 1539204123 };
		for i, when in ipairs(times) do
			local id = assert(archive:append("user", nil, message(i), when, "a@example.com"));
			assert.equal(when, (select(2, archive:get("user", id))));
		end
	end);

	if storage.whole_seconds then
		it("drops fractions of a second, and gives integers", function ()
			for when, expected in pairs { [1539204123.9] = 1539204123, [5.0] = 5, [0.1] = 0, [-0.1] = -1 } do
				local id = assert(archive:append("user", nil, message(1), when, "a@example.com"));
				local _, got = archive:get("user", id);
				assert.equal(expected, got);
				assert.equal("integer", math.type(got));
			end
			for _, item in ipairs((storage.items(archive:find("user")))) do
				assert.equal("integer", math.type(item.when));
			end
		end);
	else
		it("keeps fractions of a second", function ()
			for _, when in ipairs { 1539204123.9, 1739204123.123456, 1739204123.1234567, 0.1, -0.1, 5.0, 5 } do
				local id = assert(archive:append("user", nil, message(1), when, "a@example.com"));
				assert.equal(when, (select(2, archive:get("user", id))));
			end
		end);
	end

	it("takes the current time, and nobody, where none are given", function ()
		local before = math.floor(now()); -- os.time() may be a few milliseconds behind
		local id = assert(archive:append("user", nil, message(1)));
		local _, when = archive:get("user", id);
		assert.is_true(when >= before and when <= now());
		assert.equal("1", bodies(archive:find("user", { start = before })));
		local _, count = next(archive:summary("user").counts);
		assert.equal(1, count);
	end);

	it("takes a key for the id", function ()
		assert.equal("current", archive:append("user", "current", message(1), 1, "a@example.com"));
		assert.equal("1", archive:get("user", "current"):get_child_text("body"));
		assert.equal("current", (storage.items(archive:find("user")))[1].id);
	end);

	it("replaces what has the same key, and puts it at the end", function ()
		fill("user", 2);
		assert(archive:append("user", "key", message("old"), 1010, "old@example.com"));
		fill("user", 2);
		assert_holds("1 2 old 1 2", "user");
		assert.equal("key", archive:append("user", "key", message("new"), 5, "new@example.com"));
		for _ = 1, 2 do
			assert_holds("1 2 1 2 new", "user");
			assert.same({ "", 0 }, { bodies(archive:find("user", { with = "old@example.com", total = true })) });
			assert.same({ "new", 1 }, { bodies(archive:find("user", { with = "new@example.com", total = true })) });
			assert.same({ "new", 1 }, { bodies(archive:find("user", { ["end"] = 5, total = true })) });
			assert.same({ "new", 1 }, { bodies(archive:find("user", { key = "key", total = true })) });
			reopen();
		end
		assert_refused("item-not-found", archive:get("other", "key"));
	end);

	it("replaces the only message, again and again", function ()
		for n = 1, 50 do
			assert(archive:append("user", "current", message(n), n, "a@example.com"));
			assert_holds(tostring(n), "user");
		end
	end);

	it("takes keys of any bytes and any length", function ()
		local keys = { "", "a", "A", "\0", "a\0", "a/b", "%", "\255", ("k"):rep(511), ("k"):rep(512),
			("k"):rep(3000) .. "1", ("k"):rep(3000) .. "2", ("\0"):rep(600), ("k"):rep(100000) };
		for i, key in ipairs(keys) do
			assert.equal(key, archive:append("user", key, message(i), i, "a@example.com"));
		end
		reopen();
		for i, key in ipairs(keys) do
			assert.equal(tostring(i), archive:get("user", key):get_child_text("body"));
			assert.equal(tostring(i), bodies(archive:find("user", { key = key })));
		end
		for i, key in ipairs(keys) do
			assert.equal(1, archive:delete("user", { key = key }));
			assert_refused("item-not-found", archive:get("user", key));
			assert.equal(#keys - i, select(2, archive:find("user", { total = true, limit = 0 })));
		end
	end);

	it("takes for a key the id of a message that is there, and replaces it", function ()
		local ids = fill("user", 3);
		assert.equal(ids[2], archive:append("user", ids[2], message("new"), 1, "b@example.com"));
		assert_holds("1 3 new", "user");
		assert.equal("new", bodies(archive:find("user", { after = ids[3] })));
		assert.equal("1 3", bodies(archive:find("user", { before = ids[2] })));
		assert.equal(ids[2], archive:append("user", ids[2], message("newer"), 1, "b@example.com"));
		assert_holds("1 3 newer", "user");
		assert.equal(1, archive:delete("user", { key = ids[2] }));
		assert_holds("1 3", "user");
		assert_refused("item-not-found", archive:get("user", ids[2]));
	end);

	it("takes for a key the id of a message that was deleted, or of another archive", function ()
		local ids = fill("user", 3);
		local other = fill("other", 1)[1];
		assert(archive:delete("user", { key = ids[2] }));
		assert.equal(ids[2], archive:append("user", ids[2], message("again"), 1, "b@example.com"));
		assert.equal(other, archive:append("user", other, message("other's"), 1, "b@example.com"));
		reopen();
		assert_holds("1 3 again other's", "user");
		assert_holds("1", "other");
		assert.equal("other's", archive:get("user", other):get_child_text("body"));
		assert.equal("1", archive:get("other", other):get_child_text("body"));
	end);

	it("refuses what is no stanza", function ()
		for _, value in ipairs { "text", 1, true, {}, { name = "message", attr = {}, tags = {} }, print } do
			assert_refused("unsupported-datatype", archive:append("user", nil, value, 1, "a@example.com"));
			assert_refused("unsupported-datatype", archive:append("user", "key", value, 1, "a@example.com"));
		end
		assert_refused("unsupported-datatype", archive:append("user", nil, nil, 1, "a@example.com"));
		assert_holds("", "user");
		assert.same({}, sorted(archive:users()));
	end);

	it("leaves the message that has the key where the new one is refused", function ()
		assert(archive:append("user", "key", message(1), 1, "a@example.com"));
		assert_refused("unsupported-datatype", archive:append("user", "key", "text", 1, "a@example.com"));
		assert_holds("1", "user");
	end);

	it("neither changes the stanza nor keeps hold of it", function ()
		local stanza = st.message({ to = "a@example.com" }, "before"):tag("x", { xmlns = "urn:x" }):reset();
		local copy = st.clone(stanza);
		local id = assert(archive:append("user", nil, stanza, 1, "a@example.com"));
		helper.assert_same_stanza(copy, stanza);
		stanza.attr.to = "b@example.com";
		stanza:get_child("body")[1] = "after";
		helper.assert_same_stanza(copy, (archive:get("user", id)));
	end);
end);

describe("a stanza in an archive", function ()
	local function assert_kept(stanza)
		local id = assert(archive:append("user", nil, stanza, 1, "a@example.com"));
		helper.assert_same_stanza(stanza, (archive:get("user", id)));
		local item = (storage.items(archive:find("user", { reverse = true, limit = 1 })))[1];
		assert.equal(id, item.id);
		helper.assert_same_stanza(stanza, item.stanza);
	end

	it("keeps namespaces, of elements and of attributes", function ()
		assert_kept(st.message({ xmlns = "jabber:client", ["urn:a\1k"] = "1", ["urn:b\1k"] = "2", k = "3", ["xml:lang"] = "de" })
			:tag("x", { xmlns = "urn:a" }):tag("y", { xmlns = "urn:b" }):tag("x", { xmlns = "urn:a" }):up():up():up()
			:tag("z", { xmlns = "" }):up());
	end);

	it("keeps text with any characters of XML", function ()
		assert_kept(st.message({ id = "<&'\">\t\n\r ]]>" }, "<&'\">\t\n\r ]]> &amp; \u{7f}\u{80}\u{e9}\u{d7ff}\u{fffd}\u{1f600}\u{10ffff}"));
		assert_kept(st.message({}, " "));
		assert_kept(st.message({}, "\u{1f469}\u{200d}\u{1f4bb}\u{1f3f3}\u{fe0f}\u{200d}\u{1f308}"));
	end);

	it("keeps text between elements", function ()
		assert_kept(st.stanza("p"):text("a "):tag("b"):text("bold"):up():text(" c "):tag("i"):up():text("d"));
	end);

	it("keeps a hundred levels of elements", function ()
		local stanza = st.message();
		for level = 1, 99 do stanza:tag("level", { n = tostring(level) }); end
		assert_kept(stanza:text("leaf"):reset());
	end);

	it("may be large", function ()
		assert_kept(st.message({ id = ("i"):rep(100000) }, ("0123456789"):rep(30000)));
		local stanza = st.message();
		for n = 1, 3000 do stanza:tag("item", { id = tostring(n), name = ("n"):rep(80) }):up(); end
		assert_kept(stanza);
		reopen();
		assert.equal(300000, #(storage.items(archive:find("user", { limit = 1 })))[1].stanza:get_child_text("body"));
	end);

	it("may be a presence, an iq, or a payload of PubSub", function ()
		assert_kept(st.presence { from = "a@example.com/r" });
		assert_kept(st.iq { type = "get", id = "1" }:tag("query", { xmlns = "jabber:iq:roster" }):up());
		assert_kept(st.stanza("item", { xmlns = "http://jabber.org/protocol/pubsub", id = "current" })
			:tag("nick", { xmlns = "http://jabber.org/protocol/nick" }):text("n"):up());
	end);

	it("keeps what a generator makes of it", function ()
		local generator, stanzas = generate.new(43), {};
		for n = 1, 300 do
			stanzas[n] = generator:stanza();
			assert(archive:append("user", nil, stanzas[n], n, "a@example.com"));
		end
		reopen();
		for n, item in ipairs((storage.items(archive:find("user")))) do
			assert.equal(storage.xml(stanzas[n]), storage.xml(item.stanza));
		end
	end);
end);

describe("an id", function ()
	local function assert_unknown(user, id, other_store)
		local store = other_store or archive;
		assert_refused("item-not-found", store:get(user, id));
		assert_refused("item-not-found", store:set(user, id, message("x"), 1, "x"));
		assert_refused("item-not-found", store:find(user, { before = id }));
		assert_refused("item-not-found", store:find(user, { after = id }));
		assert_refused("item-not-found", store:find(user, { ids = { id } }));
		assert_refused("item-not-found", store:delete(user, { before = id }));
		assert_refused("item-not-found", store:delete(user, { after = id }));
		assert.same({ "", 0 }, { bodies(store:find(user, { key = id, total = true })) });
		assert.equal(0, store:delete(user, { key = id }));
		assert.equal(0, store:delete(user, { ids = { id } }));
	end

	it("tells nothing of its message's place", function ()
		local ids, seen, ascending = fill("user", 1000), {}, 0;
		for i, id in ipairs(ids) do
			assert.is_true(#id >= 16);
			assert.is_nil(id:find("[^%w_-]"));
			for _, part in ipairs { id, "first " .. id:sub(1, 8), "last " .. id:sub(-8) } do
				assert.is_nil(seen[part], part);
				seen[part] = true;
			end
			ascending = ascending + (i > 1 and ids[i - 1] < id and 1 or 0);
		end
		assert.is_true(ascending > 350 and ascending < 650);
	end);

	it("is another in every user's archive", function ()
		local seen = {};
		for _, user in ipairs { "one", "two", "three" } do
			for _, id in ipairs(fill(user, 20)) do
				assert.is_nil(seen[id]);
				seen[id] = true;
			end
		end
	end);

	it("is known in its own archive alone", function ()
		restart { hosts = { "example.com", "other.example" } };
		local ids = fill("one", 3);
		fill("two", 3);
		assert_unknown("two", ids[2]);
		assert_unknown("nobody", ids[2]);
		assert_unknown(nil, ids[2]);
		local others = { bed:open("muc_log", "archive"), bed:open("archive", "archive", "other.example") };
		for _, other in ipairs(others) do
			assert_unknown("one", ids[2], other);
			assert(other:append("one", nil, message(1), 1, "a@example.com"));
			assert_unknown("one", ids[2], other);
		end
		assert_holds("1 2 3", "one");
	end);

	it("cannot be made of another by changing a character", function ()
		local id = fill("user", 1)[1];
		local letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=";
		for i = 1, #id do
			for letter in letters:gmatch(".") do
				if letter ~= id:sub(i, i) then
					assert_refused("item-not-found", archive:get("user", id:sub(1, i - 1) .. letter .. id:sub(i + 1)));
				end
			end
		end
		for _, other in ipairs { id .. "=", id .. "A", id .. "\0", id:sub(1, -2), id:sub(2), " " .. id, id:upper() .. "x", "" } do
			assert_unknown("user", other);
		end
		assert_holds("1", "user");
	end);

	it("is unknown once its message is deleted, and is not given again", function ()
		local seen = {};
		for round = 1, 12 do
			local ids = fill("user", 10);
			for _, id in ipairs(ids) do
				assert.is_nil(seen[id]);
				seen[id] = true;
			end
			if round % 3 == 0 then
				assert.truthy(bed:driver():purge("user"));
			elseif round % 3 == 1 then
				assert.equal(10, archive:delete("user"));
			else
				assert.equal(3, archive:delete("user", { after = ids[7] }));
				assert_unknown("user", ids[9]);
				assert.equal(7, archive:delete("user", { ids = ids }));
			end
			for _, id in ipairs { ids[1], ids[10] } do assert_unknown("user", id); end
			if round % 2 == 0 then reopen(); end
			assert_unknown("user", ids[10]);
		end
		local count = 0;
		for id in pairs(seen) do
			count = count + 1;
			assert_refused("item-not-found", archive:get("user", id));
		end
		assert.equal(120, count);
	end);

	it("stays the same after a reload", function ()
		local ids = fill("user", 3);
		reopen();
		for i, item in ipairs((storage.items(archive:find("user")))) do assert.equal(ids[i], item.id); end
		assert.equal("2", archive:get("user", ids[2]):get_child_text("body"));
		assert.equal("3", bodies(archive:find("user", { after = ids[2] })));
	end);
end);

describe("get() of an archive", function ()
	it("gives the stanza, its time and its correspondent", function ()
		local ids = fill("user", 3);
		local stanza, when, with = archive:get("user", ids[2]);
		helper.assert_same_stanza(message(2), stanza);
		assert.equal(1002, when);
		assert.equal("a@example.com", with);
	end);

	it("gives a stanza of the caller's own", function ()
		local id = fill("user", 1)[1];
		archive:get("user", id):tag("more"):up().attr.id = "changed";
		helper.assert_same_stanza(message(1), (archive:get("user", id)));
	end);

	it("gives no message where there is no id", function ()
		fill("user", 1);
		local ok, stanza = pcall(archive.get, archive, "user", nil);
		assert.is_true(not ok or stanza == nil);
	end);

	it("answers item-not-found in an archive that is empty", function ()
		assert_refused("item-not-found", archive:get("user", "key"));
		assert_refused("item-not-found", archive:get(nil, "key"));
	end);
end);

describe("set() of an archive", function ()
	local ids;
	before_each(function () ids = fill("user", 5); end);

	it("changes the stanza, and leaves the rest", function ()
		assert.is_true((archive:set("user", ids[3], message("new"))));
		for _ = 1, 2 do
			assert_holds("1 2 new 4 5", "user");
			assert.same({ 1003, "a@example.com" }, { select(2, archive:get("user", ids[3])) });
			reopen();
		end
	end);

	it("changes the time, also to one out of order, and keeps the place", function ()
		for _, when in ipairs { 1003, 1, 5000, 1004, -7, 1002 } do
			assert.is_true((archive:set("user", ids[3], message("3"), when)));
			assert_holds("1 2 3 4 5", "user");
			assert.same({ when, "a@example.com" }, { select(2, archive:get("user", ids[3])) });
			local function expect(query)
				local list = {};
				for i = 1, 5 do
					local time = i == 3 and when or 1000 + i;
					if (not query.start or time >= query.start) and (not query["end"] or time <= query["end"]) then
						table.insert(list, i);
					end
				end
				query.total = true;
				assert.same({ table.concat(list, " "), #list }, { bodies(archive:find("user", query)) });
			end
			expect { start = 1004 };
			expect { ["end"] = 1002 };
			expect { start = when, ["end"] = when };
			expect { start = 1001, ["end"] = 1003 };
			expect { start = 1003, ["end"] = 1005 };
			if when == 5000 then reopen(); end
		end
	end);

	it("changes the correspondent", function ()
		assert.is_true((archive:set("user", ids[3], message("3"), nil, "b@example.com/r")));
		for _ = 1, 2 do
			assert.same({ 1003, "b@example.com/r" }, { select(2, archive:get("user", ids[3])) });
			assert.same({ "3", 1 }, { bodies(archive:find("user", { with = "b@example.com", total = true })) });
			assert.same({ "3", 1 }, { bodies(archive:find("user", { with = "b@example.com/r", total = true })) });
			assert.same({ "1 2 4 5", 4 }, { bodies(archive:find("user", { with = "a@example.com", total = true })) });
			assert.same({ ["a@example.com"] = 4, ["b@example.com/r"] = 1 }, archive:summary("user").counts);
			reopen();
		end
		assert(archive:set("user", ids[3], message("3"), nil, "a@example.com"));
		assert.same({ "1 2 3 4 5", 5 }, { bodies(archive:find("user", { with = "a@example.com", total = true })) });
		assert.same({ "", 0 }, { bodies(archive:find("user", { with = "b@example.com", total = true })) });
	end);

	it("changes a message with a key", function ()
		assert(archive:append("user", ("k"):rep(600), message(6), 1006, "a@example.com"));
		assert.is_true((archive:set("user", ("k"):rep(600), message("six"), 1, "b@example.com")));
		assert_holds("1 2 3 4 5 six", "user");
		assert.equal("six", bodies(archive:find("user", { key = ("k"):rep(600) })));
	end);

	it("makes a stanza larger or smaller by any amount", function ()
		for _, size in ipairs { 10, 5000, 300000, 100, 70000, 0 } do
			assert(archive:set("user", ids[3], st.message({}, ("x"):rep(size))));
			assert.equal(size, #(archive:get("user", ids[3]):get_child_text("body") or ""));
		end
		assert.equal(5, select(2, archive:find("user", { total = true })));
	end);

	if storage.whole_seconds then
		it("drops fractions of a second", function ()
			assert(archive:set("user", ids[3], message(3), 77.9));
			local _, when = archive:get("user", ids[3]);
			assert.equal("77", tostring(when));
		end);
	end

	it("answers item-not-found for an unknown id, and appends nothing", function ()
		assert_refused("item-not-found", archive:set("user", "unknown", message("x"), 1, "a@example.com"));
		assert_refused("item-not-found", archive:set("nobody", "unknown", message("x"), 1, "a@example.com"));
		assert_holds("1 2 3 4 5", "user");
		assert.same({ "user" }, sorted(archive:users()));
	end);

	it("refuses what is no stanza", function ()
		assert_refused("unsupported-datatype", archive:set("user", ids[3], "text", 1, "b@example.com"));
		assert_refused("unsupported-datatype", archive:set("user", ids[3], {}, 1, "b@example.com"));
		assert_holds("1 2 3 4 5", "user");
		assert.same({ 1003, "a@example.com" }, { select(2, archive:get("user", ids[3])) });
	end);
end);
