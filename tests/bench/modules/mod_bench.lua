-- Measures stream management inside the server that runs it. tests/bench/figures.py calls these
-- functions through the admin socket; each returns its numbers as one text.

local clock = os.clock; -- CPU time of the process

local storagemanager = require "core.storagemanager";
local new_xmpp_stream = require "util.xmppstream".new;
local parse_xml = require "util.xml".parse;
local st = require "util.stanza";

local filler = ("It's all \"Greek\" to me, said R&D; I shall look it up in the library and write again. "):rep(40);

-- Distinct from each other, as stanzas of a real stream are: %d and %x stand for a number
local templates = {
	short = [[<message from="romeo@prosody.test/orchard" to="juliet@prosody.test/balcony" type="chat" id="m%x">]]
		..[[<body>See you at %d</body></message>]];
	typical = [[<message from="romeo@prosody.test/orchard" to="juliet@prosody.test/balcony" type="chat" id="8c1f0a52-%016x">]]
		..[[<body>Message %d: don't wait for me at the station, the train is late & I walk</body>]]
		..[[<origin-id xmlns="urn:xmpp:sid:0" id="8c1f0a52-%x"/><stanza-id xmlns="urn:xmpp:sid:0" by="juliet@prosody.test" id="01f3-%x"/>]]
		..[[<markable xmlns="urn:xmpp:chat-markers:0"/></message>]];
	presence = [[<presence from="romeo@prosody.test/orchard" to="juliet@prosody.test/balcony" id="p%x"><show>away</show>]]
		..[[<status>Back at %d</status><priority>5</priority>]]
		..[[<c xmlns="http://jabber.org/protocol/caps" hash="sha-1" node="https://client.example" ver="QgayPKawpkPSDYmwT/WM94uAlu0="/>]]
		..[[<x xmlns="vcard-temp:x:update"><photo>3c1dd1b5d4b7f6b2f0f9d6ac11b1ae40f1ee7a7e</photo></x></presence>]];
	long = [[<message from="romeo@prosody.test/orchard" to="juliet@prosody.test/balcony" type="chat" id="m%x">]]
		..[[<body>%d ]]..filler:gsub("[&\"']", { ["&"] = "&amp;", ["\""] = "&quot;", ["'"] = "&apos;" })
		..[[</body><origin-id xmlns="urn:xmpp:sid:0" id="8c1f0a52-%x"/></message>]];
};

local function make_xml(kind, n)
	return (templates[kind]:gsub(" & ", " &amp; "):gsub("%%%d*[dx]", function (format) return format:format(n); end));
end

local function make_stanza(kind, n)
	return assert(parse_xml(make_xml(kind, n)));
end

local function make_many(kind, count)
	local stanzas, texts = {}, {};
	for n = 1, count do
		texts[n] = make_xml(kind, n);
		stanzas[n] = make_stanza(kind, n);
	end
	return stanzas, texts;
end

local function smacks()
	return prosody.hosts[module.host].modules.smacks;
end

-- The client acknowledges its `count` oldest stanzas
local function acknowledge(session, count)
	local h = session.outgoing_stanza_queue:count_acked() + count;
	smacks().handle_a(session, st.stanza("a", { h = ("%d"):format(h) }), session.smacks);
end

local ACK_EVERY = 100;

-- Seconds per stanza from session.send to bytes, acks included
function module.outgoing(full_jid, kind, count)
	local session = prosody.full_sessions[full_jid];
	local filter, stanzas = session.filter, make_many(kind, ACK_EVERY);
	collectgarbage();
	local started = clock();
	for _ = 1, count // ACK_EVERY do
		for i = 1, ACK_EVERY do
			tostring(filter("stanzas/out", stanzas[i])); -- as session.rawsend does; does nothing for a string
		end
		acknowledge(session, ACK_EVERY);
	end
	return (clock() - started) / (count // ACK_EVERY * ACK_EVERY);
end

-- Queues typical messages, or has the oldest acknowledged, until `length` are queued. The session passes
-- for connected meanwhile: what the queue holds is the same, but the event for hibernating sessions,
-- with which the stock module takes minutes, is not fired.
function module.fill(full_jid, length)
	local session = prosody.full_sessions[full_jid];
	local queued, since = session.outgoing_stanza_queue:count_unacked(), session.hibernating;
	if queued > length then acknowledge(session, queued - length); end
	rawset(session, "hibernating", nil);
	for n = queued + 1, length do session.filter("stanzas/out", make_stanza("typical", n)); end
	rawset(session, "hibernating", since);
	return session.outgoing_stanza_queue:count_unacked();
end

-- Bytes: resident size of the process, size of Lua's heap, size of the queue outside of Lua
function module.memory(full_jid)
	collectgarbage();
	collectgarbage();
	local queue = prosody.full_sessions[full_jid].outgoing_stanza_queue;
	local status = assert(io.open("/proc/self/status")):read("a");
	return ("%d %d %d"):format(status:match("VmRSS:%s*(%d+)") * 1024, collectgarbage("count") * 1024 // 1,
		queue.bytes and queue:bytes() or 0);
end

local ballast;

-- Keeps about this many MiB of stanzas, as sessions, rosters and rooms would
function module.ballast(mebibytes)
	ballast = {};
	collectgarbage();
	local before, stanza = collectgarbage("count"), make_stanza("typical", 1);
	collectgarbage("stop"); -- it would traverse the whole heap repeatedly
	while collectgarbage("count") - before < mebibytes * 1024 do ballast[#ballast + 1] = st.clone(stanza); end
	collectgarbage("restart");
	collectgarbage();
	return #ballast;
end

-- Seconds of the longest pause while the heap grows by the size of the ballast
function module.longest_stop()
	local stanza, longest, count = make_stanza("typical", 1), 0, #ballast;
	for n = 1, count do
		local started = clock();
		local copy = st.clone(stanza);
		for _ = 1, 3 do st.clone(stanza); end -- garbage
		longest = math.max(longest, clock() - started);
		ballast[count + n] = copy; -- not timed: the table grows
	end
	for n = 2 * count, count + 1, -1 do ballast[n] = nil; end
	return longest;
end

local STEP, ENOUGH, MAX_STEPS = 10, 0.2, 200; -- stanzas, seconds of CPU

-- Seconds to queue one stanza for a hibernating session whose queue keeps its length within STEP
function module.queueing(full_jid, with_listener)
	local session = prosody.full_sessions[full_jid];
	local stanzas, spent, steps = make_many("typical", STEP), 0, 0;
	local function listener() end
	if with_listener then module:hook("smacks-hibernation-stanza-queued", listener); end
	collectgarbage();
	while spent < ENOUGH and steps < MAX_STEPS do
		local started = clock();
		for i = 1, STEP do session.send(stanzas[i]); end
		spent, steps = spent + clock() - started, steps + 1;
		acknowledge(session, STEP);
	end
	if with_listener then module:unhook("smacks-hibernation-stanza-queued", listener); end
	return spent / (steps * STEP);
end

local function load_native(name)
	local directory = smacks().module:get_directory();
	return assert(package.loadlib(("%s/%s.so"):format(directory, name), "luaopen_"..name))();
end

local function open_stream()
	local stream = new_xmpp_stream({ notopen = true }, {
		default_ns = "jabber:client";
		streamopened = function (session) session.notopen = nil; end;
		handlestanza = function () end;
	});
	stream:feed("<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>");
	return stream;
end

local function time_each(items, count, func)
	collectgarbage();
	local started = clock();
	for _ = 1, count // #items do
		for i = 1, #items do func(items[i]); end
	end
	return (clock() - started) / (count // #items * #items);
end

-- Seconds per stanza of tostring, encode, util.xml.parse, util.xmppstream, decode; and its bytes
function module.codec(kind, count)
	local stanzas, texts = make_many(kind, 100);
	local xml, stream = load_native("smacks"), open_stream();
	return ("%.9f %.9f %.9f %.9f %.9f %d"):format(
		time_each(stanzas, count, tostring),
		time_each(stanzas, count, xml.encode),
		time_each(texts, count, parse_xml),
		time_each(texts, count, function (text) assert(stream:feed(text)); end),
		time_each(texts, count, function (text) assert(xml.decode(text, st.stanza_mt)); end),
		#texts[1]);
end

-- Number of messages in the archive of a user or of a room
function module.archived(user, host, store)
	local archive, found = storagemanager.open(host or module.host, store or "archive", "archive"), 0;
	for _ in assert(archive:find(user, {})) do found = found + 1; end
	return found;
end

-- Gives a user and all users prefix1 to prefix<count> presence of each other
function module.befriend(user, prefix, count)
	local rosters, roster = module:open_store("roster"), { [false] = { version = 1 } };
	local function contact(name) return { subscription = "both", name = name, groups = { Friends = true } }; end
	for n = 1, count do
		local friend = ("%s%d"):format(prefix, n);
		roster[friend.."@"..module.host] = contact(friend);
		assert(rosters:set(friend, { [false] = { version = 1 }, [user.."@"..module.host] = contact(user) }));
	end
	assert(rosters:set(user, roster));
	return count;
end
