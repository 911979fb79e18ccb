-- Messages, and turns of the event loop, for the modules that measure storage drivers

local async = require "util.async";
local datetime = require "util.datetime";
local monotonic = require "util.time".monotonic;
local st = require "util.stanza";
local timer = require "util.timer";

local clock = os.clock; -- CPU time of the process, all its threads

local EPOCH, SPACING = 1500000000, 3.25; -- times of the messages, in seconds; also those of messages.c
local fractional = pcall(datetime.datetime, 0.5); -- Prosody 0.12 keeps whole seconds

local traffic = {};

-- The same numbers for every driver
function traffic.randomness(seed)
	local state = seed;
	return function (below)
		state = (state * 6364136223846793005 + 1442695040888963407) & 0x7fffffffffffffff;
		return (state >> 33) % below;
	end
end

local words = {};
for word in ([[the train is late and I walk home from station do not wait for me at eight we could meet in
	front of library tomorrow if it rains bring umbrella she said that nobody knows where they went after concert]]
	):gmatch("%a+") do
	words[#words + 1] = word;
end

local function make_body(random)
	local text = {};
	for i = 1, 4 + random(14) do text[i] = words[1 + random(#words)]; end
	return table.concat(text, " ");
end

local function make_id(random)
	return ("%08x-%04x-4%03x-9%03x-%08x%04x"):format(random(1 << 30), random(1 << 16), random(1 << 12), random(1 << 12),
		random(1 << 30), random(1 << 16));
end

function traffic.contact(n)
	return ("friend%d@contacts.test"):format(n);
end

-- A chat message as mod_mam stores it: about 300 bytes
function traffic.make_message(random, owner, contacts)
	local id = make_id(random);
	return st.message({ from = traffic.contact(random(contacts)).."/phone."..(1000 + random(9000)), to = owner.."@"..module.host,
			type = "chat", id = id })
		:text_tag("body", make_body(random))
		:tag("origin-id", { xmlns = "urn:xmpp:sid:0", id = id }):up()
		:tag("request", { xmlns = "urn:xmpp:receipts" }):up()
		:tag("markable", { xmlns = "urn:xmpp:chat-markers:0" }):up();
end

function traffic.sent_at(n)
	local when = EPOCH + n * SPACING;
	return fractional and when or math.floor(when);
end

-- Calls func in `count` turns of the event loop. Seconds of CPU, and elapsed seconds
function traffic.run_turns(count, func)
	local wait, done = async.waiter();
	local cpu, began;
	local function turn()
		if count == 0 then
			cpu, began = clock() - cpu, monotonic() - began;
			done();
			return;
		end
		count = count - 1;
		func();
		timer.add_task(0, turn); -- tasks that func has scheduled come first
	end
	timer.add_task(0, function ()
		collectgarbage();
		cpu, began = clock(), monotonic();
		turn();
	end);
	wait();
	return cpu, began;
end

return traffic;
