-- Counts stanzas: filters of a stream count incoming stanzas, and queue outgoing ones.
--
-- What arrives: XEP-0198 takes an ack as the promise that the stanza need not be sent again. So no ack counts a stanza
-- before its writes are committed, nor one of a turn of the event loop whose commit has failed. Where storage is not
-- mod_storage_native's, every write is done at once, and no turn is ever open.

local filters = require "util.filters";
local jid_bare = require "util.jid".bare;
local st = require "util.stanza";

local turns = module:shared "/*/storage_native/turns"; -- the README of mod_storage_native has the contract
local published = module:shared "filters"; -- { out =, in = } of the module that was loaded before; and functions for mod_mam

local xmlns_client = "jabber:client";
local H_MASK = 0xFFFFFFFF; -- counters are unsigned 32-bit integers that wrap
local PRIORITY = { out = -999, ["in"] = 999 };

local countable = { message = true, presence = true, iq = true };

local get_handlers = prosody.hosts[module.host].events.get_handlers;
local ack_event = { ["urn:xmpp:sm:2"] = "stanza/urn:xmpp:sm:2:a", ["urn:xmpp:sm:3"] = "stanza/urn:xmpp:sm:3:a" };

local smacks;
local counting = {};

--- The number of handled stanzas

-- A lost turn took with it all that the session had handled in it. Nothing later can be acknowledged either, for h
-- counts without gaps, until the session is resumed and the client sends again.
local function note_lost_turn(session)
	if turns.lost and turns.lost[session.handled_turn] and not session.handled_before_loss then
		session.handled_before_loss = session.handled_before_turn;
	end
end

-- Counts stanzas that were received
function counting.count(session, stanzas)
	local turn = turns.number;
	if turn ~= session.handled_turn then
		note_lost_turn(session);
		session.handled_turn, session.handled_before_turn = turn, session.handled_stanza_count;
	end
	session.handled_stanza_count = (session.handled_stanza_count + stanzas) & H_MASK;
end

local function is_open()
	return turns.is_open and turns.is_open();
end

-- The h to send if the open turn is committed before, or with it
function counting.total(session)
	note_lost_turn(session);
	return session.handled_before_loss or session.handled_stanza_count or 0;
end

-- The h to send now
function counting.safe(session)
	local total = counting.total(session);
	if session.handled_before_loss then return total; end
	if not is_open() or session.handled_turn ~= turns.number then
		session.handled_before_turn = total; -- a later turn may get the same number: h never decreases
		return total;
	end
	return session.handled_before_turn;
end

-- The client will send unacknowledged stanzas again: counts from there
function counting.resume(session)
	session.handled_stanza_count = counting.total(session);
	session.handled_before_loss, session.handled_turn = nil, nil;
end

-- Commits the writes of this turn, so that all handled stanzas may be acknowledged
function counting.commit(session)
	if is_open() and turns.commit() then session.handled_before_turn = counting.total(session); end
end

-- Calls back after the commit at the end of the open turn, whether it succeeds or not; at once if no turn is open
function counting.when_committed(callback)
	if is_open() then
		turns.when_committed(callback);
	else
		callback();
	end
end

-- Stanzas that were read together with `current`, and wait behind it because its handler does
function counting.count_waiting(session, current)
	local count = 0;
	for _, item in ipairs(session.thread and session.thread.queue or {}) do
		if item == current then
			count = 0;
		elseif st.is_stanza(item) and item.attr.xmlns == nil and countable[item.name] then
			count = count + 1;
		end
	end
	return count;
end

-- An ack need not take the way of stanzas unless another module hooks it. That way costs 42 000 instructions, 8 % of all that
-- Prosody spends on a chat message which its receiver acknowledges.
local function is_plain_ack(stanza)
	local event = stanza.name == "a" and ack_event[stanza.attr.xmlns];
	local handlers = event and get_handlers(event);
	return handlers and #handlers == 1;
end

local function incoming_filter(stanza, session)
	if stanza.attr.xmlns == nil then
		if countable[stanza.name] then counting.count(session, 1); end
	elseif is_plain_ack(stanza) and smacks.acks.receive(session, stanza) then
		return nil;
	end
	return stanza;
end

--- Queueing outgoing stanzas

-- The stanza is made only for handlers that look at it
local function fire_queued(session)
	local queue = session.outgoing_stanza_queue;
	session.log("debug", "Stanza queued while hibernating");
	queue:fire("smacks-hibernation-stanza-queued", session, setmetatable({}, { __index = function (_, key)
		if key == "stanza" then return queue:stanza(queue:held()); end
	end }));
end

-- Queues a stanza. Returns its bytes, and whether the queue is over its limits; or nil where the stanza is refused.
local function enqueue(session, stanza, ...)
	local queue = session.outgoing_stanza_queue;
	-- The limit of the other server (XEP-0478)
	local bytes, is_over, total, account_bytes = queue:enqueue(stanza, session.outgoing_stanza_size_limit, ...);
	session.smacks_writing.answer = bytes and "queued" or "refused";
	if not bytes then
		session.log(is_over == smacks.queue.TOO_LARGE and "info" or "error", "Cannot queue %s from %s (%s): replying with an error",
			stanza.name, stanza.attr.from, is_over);
		smacks.delivery.refuse(session, stanza);
		return nil;
	end
	smacks.metrics.queued(1);
	smacks.accounts.check_bytes(session.smacks_account, total, account_bytes);
	return bytes, is_over;
end

local outgoing_filter;

-- Sends the queued bytes, unless another filter comes after this one and expects a stanza
local function send_queued(session, stanza, bytes, is_over)
	local acks = smacks.acks;
	if is_over then smacks.accounts.note_over_limit(session, true); end
	local list = session.filters["stanzas/out"];
	if list[#list] == outgoing_filter then
		local max_bytes = session.outgoing_stanza_size_limit;
		if session.awaiting_ack or max_bytes and #bytes + acks.REQUEST_BYTES > max_bytes then return bytes; end
		return acks.append_request(session, bytes, is_over);
	end
	if is_over then
		acks.request_if_needed(session, true, "queue limit");
		session.last_requested_h = nil; -- this stanza is written after the request: another request may follow
	end
	return stanza;
end

function outgoing_filter(stanza, session)
	if not session.outgoing_stanza_queue or type(stanza) ~= "table" or session.resending_unacked == "sending" then return stanza; end
	local xmlns = stanza.attr.xmlns; -- mod_bosh and mod_websocket write the default one out
	if not countable[stanza.name] or (xmlns and xmlns ~= xmlns_client) then
		return not session.hibernating and stanza or nil;
	end
	local is_away = session.hibernating or session.resending_unacked;
	local bytes, is_over = enqueue(session, stanza);
	if not bytes then return nil; end
	if not is_away then return send_queued(session, stanza, bytes, is_over); end
	if not session.resending_unacked then fire_queued(session); end -- else it is sent in a moment
	return nil;
end

--- Messages that are encoded already: pages of an archive, and copies for the occupants of a room

local END_BYTES = #"</message>";

-- Whether bytes may be sent in the place of stanzas: no other filter wants to see these, and the client is there
function counting.takes_bytes(session)
	local list = session.filters["stanzas/out"];
	if not session.outgoing_stanza_queue then return not list or list[1] == nil; end
	return list ~= nil and #list == 1 and list[1] == outgoing_filter and not session.hibernating and not session.resending_unacked;
end

-- Queues messages, and returns how many fit into the memory of the server, and the results of the last push
local function enqueue_encoded(queue, messages)
	local is_over, total, account_bytes;
	for i, message in ipairs(messages) do
		local ok, size, account_size = queue:enqueue_encoded(message, END_BYTES);
		if ok == nil then
			module:log("error", "Cannot queue the results of an archive query (%s): leaving out %d", size, #messages - i + 1);
			return i - 1, is_over, total, account_bytes;
		end
		is_over, total, account_bytes = ok, size, account_size;
	end
	return #messages, is_over, total, account_bytes;
end

-- Queues messages, an array of strings that end with </message>, and writes them at once. Call it only if takes_bytes().
function counting.send_encoded(session, messages)
	local queue = session.outgoing_stanza_queue;
	if not queue then return session.rawsend(table.concat(messages)); end
	local count, is_over, total, account_bytes = enqueue_encoded(queue, messages);
	if count == 0 then return true; end
	smacks.metrics.queued(count);
	smacks.accounts.check_bytes(session.smacks_account, total, account_bytes);
	if is_over then smacks.accounts.note_over_limit(session, true); end
	return smacks.connection.write_queued(session, smacks.acks.append_request(session, table.concat(messages, "", 1, count), is_over));
end

-- Does what session.send(stanza) does, if session.send is Prosody's own and takes_bytes(). The rest are the results of
-- encode(stanza).
function counting.send_copy(session, stanza, ...)
	local writing = session.smacks_writing;
	local outer = writing.answer;
	local bytes, is_over = enqueue(session, stanza, ...);
	writing.answer = outer;
	if not bytes then return true; end
	return smacks.connection.write_queued(session, send_queued(session, stanza, bytes, is_over));
end

--- Filters of a session

function counting.start_out(session)
	if not session.outgoing_stanza_queue then
		local account = smacks.accounts.join(session);
		local from = jid_bare(session.full_jid or session.host or module.host);
		local limits = { bytes = smacks.options.smacks_max_queue_bytes, items = smacks.options.smacks_max_queue_size };
		session.outgoing_stanza_queue = smacks.queue.new(from, limits, account, session.username ~= nil);
	end
	smacks.connection.guard_writes(session);
	filters.add_filter(session, "stanzas/out", outgoing_filter, PRIORITY.out);
end

function counting.stop_out(session)
	filters.remove_filter(session, "stanzas/out", outgoing_filter);
end

-- current: the element that is being handled, of which counting begins
function counting.start_in(session, current)
	session.handled_stanza_count = session.handled_stanza_count or 0;
	counting.count(session, current and counting.count_waiting(session, current) or 0);
	filters.add_filter(session, "stanzas/in", incoming_filter, PRIORITY["in"]);
end

-- After a reload of the module
function counting.replace_filters(session)
	for direction, filter in pairs { out = outgoing_filter, ["in"] = incoming_filter } do
		local name = "stanzas/"..direction;
		if filters.remove_filter(session, name, published[direction]) then
			filters.add_filter(session, name, filter, PRIORITY[direction]);
		end
	end
end

function counting.publish_filters()
	published.out, published["in"] = outgoing_filter, incoming_filter;
	published.takes_bytes, published.send_encoded = counting.takes_bytes, counting.send_encoded;
end

return function (parts)
	smacks = parts;
	return counting;
end
