-- Writes to archives and key-value stores as fast as it can, a group of operations in each turn of
-- the event loop, and reports each group once the driver has taken it. run.py, which kills the
-- server meanwhile, computes the expected content from the reports.
--
-- A line of the report is { group, plan, ids, time, committed, durable }, with ids of `append` operations,
-- a monotonic time, and the last groups that the driver has called committed and durable; or
-- { divided = group }.
--
-- The last operation of every group appends a message that holds the group's plan: a group whose
-- report the kill cut short is known by it. An operation is one of
--
--	{"append", user, n, with}       {"key", user, n, with, key}     a message with number n
--	{"delete", user, id}            {"truncate", user, keep}
--	{"map", user, key}              {"keyval", user, key}           the value is the group's number
local json = require "util.json";
local monotonic = require "util.time".monotonic;
local st = require "util.stanza";

local driver = require "core.storagemanager".get_driver(module.host);
local archive = module:open_store("test_crash_archive", "archive");
local keyval = module:open_store("test_crash_values", "keyval");
local map = module:open_store("test_crash_values", "map");

local USERS, CONTACTS, KEYS = 8, 5, 6;
local MOST_OPERATIONS = 12;
local KEEP = { 100, 100, 100, 5 }; -- messages that a truncated archive holds; in the last case many are deleted
local RECENT = 50; -- ids of a user that may be deleted
local BODY, LONG_BODY = 600, 12000; -- bytes; a page of the store holds 4096
local LONG_TURN = 0.03; -- seconds; one of 0.05 may be committed in parts

local random = math.random;
local report, group, message;
local turns = module:shared "/*/storage_native/turns";
local committed = 0; -- the last group whose turn was committed: it survives a kill
local durable, asked = 0, false; -- the last durable group, and whether the driver was asked for the next
local began, began_before; -- when this group and the one before it began: they may share a transaction
local recent = {}; -- user -> ids of messages that were appended to their archive

local function body_of(n)
	local size = n % 40 == 0 and LONG_BODY or n * 7919 % BODY;
	return (("message %d "):format(n):rep(size // 10 + 1));
end

local function new_message(n, plan)
	local stanza = st.message({ type = "chat"; number = ("%d"):format(n); group = ("%d"):format(group) }, body_of(n));
	if plan then stanza:text_tag("plan", plan); end
	return stanza;
end

local function next_message(operation, user)
	message = message + 1;
	return { operation; user; message; ("contact%d@example.com"):format(random(CONTACTS)) };
end

local plans = {
	append = function (user) return next_message("append", user); end;
	key = function (user)
		local operation = next_message("key", user);
		operation[5] = ("key%d"):format(random(KEYS));
		return operation;
	end;
	delete = function (user)
		local ids = recent[user];
		return ids and ids[1] and { "delete"; user; table.remove(ids, random(#ids)) } or next_message("append", user);
	end;
	truncate = function (user) return { "truncate"; user; KEEP[random(#KEEP)] }; end;
	map = function (user) return { "map"; user; ("value%d"):format(random(KEYS)) }; end;
	keyval = function (user) return { "keyval"; user; ("value%d"):format(random(KEYS)) }; end;
};
local choice = { "append", "append", "append", "append", "append", "key", "delete", "truncate", "map", "keyval" };

local function remember(user, id)
	local ids = recent[user] or {};
	table.insert(ids, id);
	if #ids > RECENT then table.remove(ids, 1); end
	recent[user] = ids;
end

local function append(plan, _, user, n, with, key)
	local id = assert(archive:append(user, key, new_message(n, plan), group, with));
	if not key then remember(user, id); end
	return id;
end

local perform = {
	append = append;
	key = append;
	delete = function (_, _, user, id) assert(archive:delete(user, { ids = { id } })); end;
	truncate = function (_, _, user, keep) assert(archive:delete(user, { truncate = keep })); end;
	map = function (_, _, user, key) assert(map:set(user, key, group)); end;
	keyval = function (_, _, user, key) assert(keyval:set(user, { [key] = group })); end;
};

local function new_plan()
	local plan = {};
	for i = 1, random(0, MOST_OPERATIONS) do
		plan[i] = plans[choice[random(#choice)]](("user%d"):format(random(USERS)));
	end
	table.insert(plan, plans.append(("user%d"):format(random(USERS))));
	return plan;
end

-- One write: a kill leaves all of the line or a part of it without its end
local function tell(line)
	report:write(json.encode(line), "\n");
	report:flush();
end

local function ask_for_durability()
	if asked then return; end
	asked = true;
	local written = group;
	driver.when_durable(function (ok)
		asked = false;
		if ok then durable = written; end
	end);
end

local function write_group()
	group = group + 1;
	began, began_before = monotonic(), began;
	local plan, ids, divided = new_plan(), {}, false;
	local text = json.encode(plan);
	for i, operation in ipairs(plan) do
		if not divided and monotonic() - (began_before or began) > LONG_TURN then
			divided = true; -- the process was held up
			tell { divided = group };
		end
		local id = perform[operation[1]](i == #plan and text or nil, table.unpack(operation));
		if operation[1] == "append" then table.insert(ids, id); end
	end
	local written = group;
	turns.when_committed(function (ok)
		if ok then committed = written; end
	end);
	ask_for_durability();
	tell { group = group; plan = plan; ids = ids; time = monotonic(); committed = committed; durable = durable };
	return 0;
end

-- Begins to write, after that group and that message, reporting to a file.
function module.environment.begin(file, last_group, last_message, seed)
	report = assert(io.open(file, "a"));
	report:setvbuf("full", 65536);
	group, message = last_group, last_message;
	math.randomseed(seed);
	module:add_timer(0, write_group);
end

local function dump_archive(user)
	local messages, totals = {}, {};
	for id, stanza, when, with in assert(archive:find(user)) do
		local n = math.tointeger(stanza.attr.number);
		table.insert(messages, { id = id; n = n; group = math.tointeger(when); with = with;
			plan = stanza:get_child_text("plan");
			whole = stanza:get_child_text("body") == body_of(n) and tonumber(stanza.attr.group) == when; });
	end
	for i = 1, CONTACTS do
		local with = ("contact%d@example.com"):format(i);
		local _, total = assert(archive:find(user, { with = with; total = true; limit = 0 }));
		totals[with] = total;
	end
	return { messages = messages; totals = totals };
end

-- Everything that is stored, as a text: archives and values by user.
function module.environment.dump()
	local archives, values = {}, {};
	for i = 1, USERS do
		local user = ("user%d"):format(i);
		archives[user] = dump_archive(user);
		values[user] = keyval:get(user);
	end
	return json.encode({ archives = archives; values = values });
end
