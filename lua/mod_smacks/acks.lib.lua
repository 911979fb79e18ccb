-- Acks: telling the peer how many of its stanzas were handled, and requesting the same from it

local st = require "util.stanza";
local time_now = require "util.time".now;
local timer = require "util.timer";

local COMMIT_PATIENCE = 1; -- seconds that a request waits for the commit of the stanzas before it
local H_MAX = 0xFFFFFFFF; -- counters are unsigned 32-bit integers

local request_bytes = {};
for _, xmlns in ipairs { "urn:xmpp:sm:2", "urn:xmpp:sm:3" } do
	request_bytes[xmlns] = tostring(st.stanza("r", { xmlns = xmlns }));
end

local smacks;
local acks = {
	REQUEST_BYTES = 32; -- at most
};

-- The value of an attribute, or nil
function acks.parse_h(text)
	local h = text and text:match("^%d+$") and math.tointeger(tonumber(text));
	return h and h <= H_MAX and h or nil;
end

local function is_connected(session)
	return session.smacks and session.outgoing_stanza_queue
		and not session.destroyed and not session.hibernating and not session.resending_unacked;
end

-- Stream management has a filter of its own; others expect stanzas, not bytes
local function has_other_filters(session)
	return #session.filters["stanzas/out"] > 1;
end

local function send_request(session)
	local send = session.sends2s or session.send;
	if has_other_filters(session) then
		send(st.stanza("r", { xmlns = session.smacks }));
	else
		send(request_bytes[session.smacks]);
	end
end

local function send_ack(session, xmlns)
	local send = session.sends2s or session.send;
	local h = ("%d"):format(smacks.counting.safe(session));
	if has_other_filters(session) then
		send(st.stanza("a", { xmlns = xmlns, h = h }));
	else
		send("<a xmlns='"..xmlns.."' h='"..h.."'/>");
	end
end

-- Sends an ack at once
function acks.send(session, xmlns)
	smacks.counting.commit(session);
	send_ack(session, xmlns);
end

local owed = {}; -- { session, xmlns } of requests since the last commit
local late; -- timer

local function answer_all()
	local answers = owed;
	owed = {};
	if late then timer.stop(late); end
	late = nil;
	for _, answer in ipairs(answers) do
		local session, xmlns = answer[1], answer[2];
		if not session.destroyed and not session.hibernating and session.resending_unacked ~= true then send_ack(session, xmlns); end
	end
end

-- Answers <r/> when the open turn ends: one commit serves many. The answer must not be withheld (XEP-0198, section 4),
-- so without a commit in time it counts the stanzas that are committed.
function acks.answer(session, xmlns)
	owed[#owed + 1] = { session, xmlns };
	if #owed > 1 then return; end
	smacks.counting.when_committed(answer_all);
	if owed[1] then
		late = timer.add_task(COMMIT_PATIENCE, function ()
			late = nil;
			answer_all();
		end);
	end
end

function acks.stop_timer(session)
	if session.delayed_ack_timer then timer.stop(session.delayed_ack_timer); end
	session.delayed_ack_timer = nil;
end

-- One timer serves many requests: it waits for the answer to the last one
local function on_timer(session)
	if not session.awaiting_ack or not is_connected(session) then
		session.delayed_ack_timer = nil;
		return;
	end
	local left = session.ack_requested_at + smacks.options.smacks_max_ack_delay - time_now();
	if left > 0 then return left; end
	session.delayed_ack_timer = nil;
	local queue = session.outgoing_stanza_queue;
	session.log("debug", "No answer to an ack request for %d s: %d stanzas unacked",
		smacks.options.smacks_max_ack_delay, queue:count_unacked());
	queue:fire("smacks-ack-delayed", session, {});
end

-- force: even if nothing is unacked
local function is_due(session, force)
	if not session or session.awaiting_ack or not is_connected(session) then return false; end
	if force then return true; end
	local queue = session.outgoing_stanza_queue;
	local max_unacked = session.state == "inactive" and smacks.options.smacks_max_inactive_unacked_stanzas
		or smacks.options.smacks_max_unacked_stanzas;
	-- a peer that reports too few stanzas is asked again only when there is something new to ask for
	return queue:count_unacked() > max_unacked and queue:pushed() ~= session.last_requested_h;
end

local function note_request(session)
	session.awaiting_ack = true;
	session.last_requested_h = session.outgoing_stanza_queue:pushed();
	if smacks.options.smacks_max_ack_delay > 0 then
		session.ack_requested_at = time_now();
		session.delayed_ack_timer = session.delayed_ack_timer
			or timer.add_task(smacks.options.smacks_max_ack_delay, function () return on_timer(session); end);
	end
end

function acks.request_if_needed(session, force, reason)
	if not is_due(session, force) then return; end
	session.log("debug", "Requesting an ack (%s): %d stanzas unacked", reason,
		session.outgoing_stanza_queue:count_unacked());
	note_request(session);
	send_request(session);
end

-- The bytes of a stanza, followed by a request if one is due: that spares a second write for each stanza
function acks.append_request(session, bytes, force)
	if not is_due(session, force) then return bytes; end
	note_request(session);
	return bytes..request_bytes[session.smacks];
end

-- Handles a received ack. Returns whether it was valid.
function acks.receive(session, stanza)
	local queue, h = session.outgoing_stanza_queue, acks.parse_h(stanza.attr.h);
	local count = session.smacks and queue and h and queue:acknowledge(h);
	if not count then return false; end
	session.awaiting_ack = nil;
	smacks.metrics.acked:sample(count);
	if session.smacks_over then smacks.accounts.note_over_limit(session, queue:is_over()); end
	acks.request_if_needed(session, false, "after an ack");
	return true;
end

-- Events after which acks are requested, and whether even if nothing is unacked
for name, force in pairs {
	["csi-client-active"] = true, ["csi-flushing"] = false, ["c2s-pre-ondrain"] = false, ["s2s-pre-ondrain"] = false,
} do
	module:hook(name, function (event)
		acks.request_if_needed(event.session or event.origin, force, name);
	end);
end

local function on_read_timeout(event)
	local session = event.session;
	if not session.smacks then return; end
	if session.awaiting_ack then
		acks.stop_timer(session);
		return false; -- the peer is gone
	end
	acks.request_if_needed(session, true, "read timeout");
	return true;
end
module:hook("s2s-read-timeout", on_read_timeout);
module:hook("c2s-read-timeout", on_read_timeout);

return function (parts)
	smacks = parts;
	return acks;
end
