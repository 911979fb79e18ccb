-- Enforces the limits on visitors' stanzas, on the server's time for them, and on bytes that wait for visitors

local add_filter = require "util.filters".add_filter;
local remove_filter = require "util.filters".remove_filter;
local monotonic = require "util.time".monotonic;

local BEFORE_OTHERS, AFTER_OTHERS = 1000, -1000000; -- priorities of hooks
local BEFORE_SMACKS = 1000; -- priority of a filter: mod_smacks removes acks

-- Bytes for which an element counts that is not a stanza. A visitor gets and sends about as many acks as stanzas.
local ACK, OTHER_ELEMENT = 100, 10240;

-- Unacknowledged stanzas up to which their bytes are not added up
local FEW = 16;

-- Texts by the scope of the budget that is short
local TOO_MUCH = {
	visitor = "You are sending too much: wait a moment";
	network = "You or others on your network are sending too much: wait a moment";
	total = "The chat is busy: wait a moment";
};
local BUSY = {
	visitor = "You have kept the server busy: wait a moment";
	network = "Your network has kept the server busy: wait a moment";
	total = "The chat is busy: wait a moment";
};

local limits = {};

local budgets, options, refusals, visitors; -- see start()

--- Messages and requests

-- The bucket that pays for a stanza. is_own: it is addressed to the visitor's own account, or to this host
local function kind_of(stanza, is_own)
	if stanza.name == "iq" and (stanza.attr.type == "result" or stanza.attr.type == "error") then return "answers"; end
	return is_own and "questions" or "messages";
end

-- Refuses a stanza that exceeds a limit. Returns true then.
function limits.refuse(event, size, is_own)
	local session, stanza = event.origin, event.stanza;
	local price = budgets.price(session, stanza, size);
	if price == 0 then return false; end
	local list = visitors.budgets(session);
	local debtor = budgets.in_debt(list, "seconds");
	if debtor then return refusals.refuse(event, "time", "wait", "policy-violation", BUSY[debtor.scope]); end
	local short = budgets.take(list, kind_of(stanza, is_own), price);
	return short and refusals.refuse(event, "rate", "wait", "policy-violation", TOO_MUCH[short.scope]) or false;
end

--- Time that the server spends on a stanza, whichever module handles it

local function charge(session, began)
	budgets.charge(visitors.budgets(session), "seconds", monotonic() - began);
end

-- Runs after all other handlers: does what Prosody does next, and stops the clock
local function deliver(event)
	local session, began = event.origin, event.webchat_began;
	if not began then return; end
	prosody.core_post_stanza(session, event.stanza);
	if not session.destroyed then charge(session, began); end
	return true;
end

-- Hooks all stanzas that visitors send. check(event) returns true if it has handled the stanza.
function limits.hook(check)
	local function before(event)
		local began = monotonic();
		event.webchat_began = began;
		if not check(event) then return; end
		if not event.origin.destroyed then charge(event.origin, began); end
		return true;
	end
	for _, name in ipairs { "iq", "message", "presence" } do
		for _, to in ipairs { "bare", "full", "host" } do
			module:hook(("pre-%s/%s"):format(name, to), before, BEFORE_OTHERS);
			module:hook(("pre-%s/%s"):format(name, to), deliver, AFTER_OTHERS);
		end
	end
end

--- Bytes received, and elements that are not stanzas

local function take_bytes(session, bytes)
	if session.webchat_ending then return; end
	if not budgets.take(visitors.budgets(session), "bytes", bytes) then return; end
	refusals.note(session, "bytes", "More bytes per minute than visitors may send");
	refusals.disconnect_soon(session, "policy-violation", "You are sending too much");
end

local function count_bytes(data, session)
	take_bytes(session, #data);
	if session.webchat_ending then return nil; end
	return data;
end

local function count_elements(stanza, session)
	local xmlns = stanza.attr.xmlns;
	if xmlns and xmlns ~= "jabber:client" then
		take_bytes(session, (stanza.name == "a" or stanza.name == "r") and ACK or OTHER_ELEMENT);
	end
	return stanza;
end

-- From the first stream header on. A resumed session has new filters.
function limits.watch(session)
	add_filter(session, "bytes/in", count_bytes, BEFORE_SMACKS - 1);
	add_filter(session, "stanzas/in", count_elements, BEFORE_SMACKS);
end

function limits.unwatch(session)
	remove_filter(session, "bytes/in", count_bytes);
	remove_filter(session, "stanzas/in", count_elements);
end

--- Bytes that wait for a visitor who does not read or acknowledge them

local sizes = setmetatable({}, { __mode = "k" }); -- stanza -> bytes

local function size_of(stanza)
	sizes[stanza] = sizes[stanza] or #tostring(stanza);
	return sizes[stanza];
end

local function sum(parts)
	local bytes = 0;
	for _, part in ipairs(parts) do bytes = bytes + #part; end
	return bytes;
end

-- A write buffer is a string or an array of strings on 0.12, and a buffer with a length on 13.0
local function buffered(buffer)
	if not buffer then return 0; end
	return type(buffer) == "table" and buffer[1] and sum(buffer) or #buffer;
end

-- Bytes of stanzas without an ack, in the queue of this project's mod_smacks or of Prosody's
local function unacked(queue)
	if not queue then return 0; end
	if queue.bytes then return queue:bytes(); end
	if queue:count_unacked() < FEW then return 0; end
	local bytes = 0;
	for _, stanza in queue:resume() do bytes = bytes + size_of(stanza); end
	return bytes;
end

-- Disconnects a visitor for whom too much waits. Returns true then. The buffer and the queue may hold the same stanzas.
function limits.has_unread(session)
	if session.webchat_ending then return true; end
	local conn = session.conn;
	local bytes = math.max(unacked(session.outgoing_stanza_queue),
		session.send_buffer and sum(session.send_buffer) or conn and buffered(conn.writebuffer) or 0);
	if bytes <= options.webchat_max_unread_bytes then return false; end
	refusals.count(session, "unread", ("Too much unread data: %d bytes"):format(bytes));
	refusals.disconnect_soon(session, "resource-constraint", "Too much unread data");
	return true;
end

function limits.start(webchat)
	budgets, options, refusals, visitors = webchat.budgets, webchat.options, webchat.refusals, webchat.visitors;
	module:hook("stream-features", function (event) limits.watch(event.origin); end);
	module:hook("smacks-hibernation-end", function (event) limits.watch(event.resumed); end);
end

return limits;
