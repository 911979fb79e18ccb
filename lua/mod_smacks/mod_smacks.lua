-- XEP-0198: Stream Management
-- Takes the place of the stock module; the queue is native. README.md lists options, log lines, limits.

local os_time = os.time;

local add_filter = require "util.filters".add_filter;
local remove_filter = require "util.filters".remove_filter;
local async = require "util.async";
local jid = require "util.jid";
local new_id = require "util.id".medium;
local sessionmanager = require "core.sessionmanager";
local st = require "util.stanza";
local timer = require "util.timer";
local watchdog = require "util.watchdog";

local options = module:require "option_reader".read(module:require "options");
local metrics = module:require "metrics";
local registry = module:require "registry";
local handled = module:require "handled";
local accounts = module:require "accounts";
local queues = module:require "queue";
local acks = module:require "acks" (options);
local delivery = module:require "delivery";
local endings = module:require "endings" (delivery);
local limits = module:require "limits" (options, queues, accounts, endings);
local transport = module:require "transport";
module:require "figures" (options, queues.total_bytes);
module:require "tuning";

local xmlns_client = "jabber:client";
local xmlns_stanza_errors = "urn:ietf:params:xml:ns:xmpp-stanzas";
local xmlns_sm2 = "urn:xmpp:sm:2";
local xmlns_sm3 = "urn:xmpp:sm:3";

local H_MASK = 0xFFFFFFFF; -- counters are unsigned 32-bit integers that wrap
local STRIP_AGAIN = 1; -- seconds

local local_sessions = prosody.hosts[module.host].sessions; -- nil on a component

local sm_errors = require "util.error".init("mod_smacks", xmlns_sm3, {
	-- <enable/>
	already_enabled = { condition = "unexpected-request", text = "Stream management is already enabled" };
	not_authenticated = { condition = "unexpected-request", text = "The stream must be authenticated first" };
	bind_required = { condition = "unexpected-request", text = "Client must bind a resource before enabling stream management" };
	unavailable = { condition = "service-unavailable", text = "Stream management is not available for this stream" };
	-- <resume/>
	already_bound = { condition = "unexpected-request", text = "Cannot resume another session after a resource is bound" };
	bad_request = { condition = "bad-request", text = "Missing or invalid 'previd' or 'h' attribute" };
	unknown_session = { condition = "item-not-found", text = "Unknown session" };
	expired = { condition = "item-not-found", text = "Session expired, and cannot be resumed" };
	incomplete = { condition = "resource-constraint", text = "Some unacked stanzas are gone, session can't be resumed" };
	-- h
	head = { condition = "undefined-condition", text = "Client acknowledged more stanzas than sent by server" };
	tail = { condition = "undefined-condition", text = "Client acknowledged less stanzas than already acknowledged" };
});

local function format_h(h) return h and ("%d"):format(h) or nil; end

local function parse_h(text)
	local h = text and text:match("^%d+$") and math.tointeger(tonumber(text));
	return h and h <= H_MASK and h or nil;
end

local function send_to(session, data) return (session.sends2s or session.send)(data); end

-- Handlers of what follows may wait, for which they must not be on the main thread
local function run_async(func)
	async.runner(nil, { error = function (_, err) module:log("error", "Traceback: %s", err); end }):run(func);
end

--- Counting and queueing

local outgoing_filter;

local countable = { message = true, presence = true, iq = true };

-- Nobody but this module and the handlers of the event look at a hibernating session's stanza
local function fire_queued(session)
	local queue = session.outgoing_stanza_queue;
	session.log("debug", "Stanza queued while hibernating");
	queue:fire("smacks-hibernation-stanza-queued", session, setmetatable({}, { __index = function (_, key)
		if key == "stanza" then return queue:stanza(queue:held()); end
	end }));
end

function outgoing_filter(stanza, session)
	local queue = session.outgoing_stanza_queue;
	if not queue or type(stanza) ~= "table" or session.resending_unacked == "sending" then return stanza; end
	local is_away = session.hibernating or session.resending_unacked;
	local xmlns = stanza.attr.xmlns; -- mod_bosh and mod_websocket write the default one out
	if not countable[stanza.name] or (xmlns and xmlns ~= xmlns_client) then
		if session.hibernating then return nil; end
		return stanza;
	end

	local max_bytes = session.outgoing_stanza_size_limit; -- of the other server (XEP-0478), for what is sent at once
	local bytes, is_over, total, account_bytes = queue:enqueue(stanza, max_bytes);
	session.smacks_writing.answer = bytes and "queued" or "refused";
	if not bytes then
		session.log(is_over == queues.TOO_LARGE and "info" or "error", "A %s from %s cannot be queued (%s): its sender gets an error",
			stanza.name, stanza.attr.from, is_over);
		delivery.refuse(session, stanza);
		return nil;
	end
	metrics.queued(1);
	limits.check(session.smacks_account, total, account_bytes);
	if is_away then
		if not session.resending_unacked then fire_queued(session); end -- else it is sent in a moment
		return nil;
	end
	if is_over then limits.note(session, true); end
	-- What is queued is what is sent, unless another filter comes after this one and wants to see a stanza
	local list = session.filters["stanzas/out"];
	if list[#list] == outgoing_filter then
		if session.awaiting_ack or max_bytes and #bytes + acks.REQUEST_BYTES > max_bytes then return bytes; end
		return acks.append_request(session, bytes, is_over);
	end
	if is_over then
		acks.request_if_needed(session, true, "queue limit");
		session.last_requested_h = nil; -- this stanza is written after the request, and may be asked for again
	end
	return stanza;
end

local handle_ack;

local ack_event = { [xmlns_sm2] = "stanza/"..xmlns_sm2..":a", [xmlns_sm3] = "stanza/"..xmlns_sm3..":a" };
local handlers = prosody.hosts[module.host].events._handlers;

-- Whether nobody but this module hooks the arrival of acks. Then they need not take the way of stanzas.
local function is_plain_ack(stanza)
	local event = stanza.name == "a" and ack_event[stanza.attr.xmlns];
	return event and handlers[event] and #handlers[event] == 1;
end

local function incoming_filter(stanza, session)
	if stanza.attr.xmlns == nil then
		if countable[stanza.name] then handled.count(session, 1); end
	elseif is_plain_ack(stanza) and handle_ack(session, stanza) then
		return nil;
	end
	return stanza;
end

-- Stanzas that were read in one go with `current`, and wait behind it because its handler does
local function count_waiting(session, current)
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

local terminate, peers;

local queue_limits = { bytes = options.smacks_max_queue_bytes, items = options.smacks_max_queue_size };

local function start_counting_out(session)
	if not session.outgoing_stanza_queue then
		local account = accounts.join(session, terminate);
		local from = jid.bare(session.full_jid or session.host or module.host);
		session.outgoing_stanza_queue = queues.new(from, queue_limits, account, session.username ~= nil);
	end
	transport.guard_writes(session);
	add_filter(session, "stanzas/out", outgoing_filter, -999);
end

local function start_counting_in(session, current)
	session.handled_stanza_count = session.handled_stanza_count or 0;
	handled.count(session, current and count_waiting(session, current) or 0);
	add_filter(session, "stanzas/in", incoming_filter, 999);
end

--- Enabling

local function can_do_smacks(session, advertise_only)
	if session.smacks then return nil, sm_errors.new("already_enabled"); end
	local session_type = session.type or "";
	if session.username then
		if not advertise_only and not session.resource then return nil, sm_errors.new("bind_required"); end
		return true;
	elseif options.smacks_enabled_s2s and (session_type == "s2sin" or session_type == "s2sout") then
		return true;
	elseif session_type:find("_un") then
		return nil, sm_errors.new("not_authenticated");
	end
	return nil, sm_errors.new("unavailable");
end

local function advertise(event)
	if can_do_smacks(event.origin, true) then
		event.features:tag("sm", { xmlns = xmlns_sm2 }):up():tag("sm", { xmlns = xmlns_sm3 }):up();
	end
end
module:hook("stream-features", advertise);
module:hook("s2s-stream-features", advertise);

-- The client's "max" is a preference (XEP-0198, section 3)
local function resumption_time(enable)
	local max = parse_h(enable.attr.max);
	return max and max > 0 and max < options.smacks_hibernation_time and max or options.smacks_hibernation_time;
end

-- First of two steps, for modules that enable inline: nothing is counted before finish()
function do_enable(session, stanza)
	local ok, err = can_do_smacks(session);
	if not ok then
		session.log("warn", "Failed to enable stream management: %s", err.text);
		return nil, err;
	end
	if session.username then registry.prune_counters(session.username, options.smacks_max_old_sessions); end

	local token, max;
	if (stanza.attr.resume == "true" or stanza.attr.resume == "1") and session.username then
		token, max = new_id(), resumption_time(stanza); -- s2s streams cannot be resumed
	end
	return {
		type = "enabled";
		id = token;
		resume_max = max and tostring(max);
		session = session;
		finish = function ()
			if session.destroyed or session.smacks then return; end
			session.log("debug", "Enabling stream management");
			session.smacks = stanza.attr.xmlns;
			if token then registry.add(session, token); end
			session.smacks_hibernation_time = max;
			metrics.started(1);
			start_counting_out(session);
			start_counting_in(session, stanza);
		end;
	};
end

local function send_failed(session, xmlns_sm, err)
	send_to(session, st.stanza("failed", { xmlns = xmlns_sm, h = format_h(err.context and err.context.h) })
		:tag(err.condition, { xmlns = xmlns_stanza_errors }));
	return true;
end

function handle_enable(session, stanza, xmlns_sm)
	local enabled, err = do_enable(session, stanza);
	if not enabled then return send_failed(session, xmlns_sm, err); end
	send_to(session, st.stanza("enabled", {
		xmlns = xmlns_sm; id = enabled.id; resume = enabled.id and "true" or nil; max = enabled.resume_max;
	}));
	enabled.finish();
	return true;
end

--- Acks

function handle_r(session, _, xmlns_sm)
	if not session.smacks then
		session.log("debug", "Received an ack request, but stream management is not enabled");
		return;
	end
	acks.answer(session, xmlns_sm);
	acks.request_if_needed(session, false, "along with our own ack");
	return true;
end

local function reject_ack(session, h, err)
	local queue = session.outgoing_stanza_queue;
	session.log("warn", "Peer acknowledged %d stanzas; it was sent %d and had acknowledged %d: %s",
		h, queue:pushed(), queue:count_acked(), err.text);
	session:close {
		condition = err.condition; text = err.text;
		extra = err.context.wrapped_error == "head" and st.stanza("handled-count-too-high",
			{ xmlns = xmlns_sm3, h = format_h(h), ["send-count"] = format_h(queue:pushed()) }) or nil;
	};
end

-- Returns true if the ack is right and nothing is left to do
function handle_ack(session, stanza)
	local queue, h = session.outgoing_stanza_queue, parse_h(stanza.attr.h);
	local count = session.smacks and queue and h and queue:acknowledge(h);
	if not count then return false; end
	session.awaiting_ack = nil;
	metrics.acked:sample(count);
	if session.smacks_over then limits.note(session, queue:is_over()); end
	acks.request_if_needed(session, false, "after an ack");
	return true;
end

function handle_a(session, stanza)
	if not session.smacks or not session.outgoing_stanza_queue then return; end
	if handle_ack(session, stanza) then return true; end
	local h = parse_h(stanza.attr.h);
	if h then
		reject_ack(session, h, sm_errors.wrap(select(2, session.outgoing_stanza_queue:acknowledge(h))));
	else
		session.log("warn", "Received an ack whose h is no number: %s", stanza:top_tag());
		session:close { condition = "invalid-xml"; text = "Missing or invalid 'h' attribute" };
	end
	return true;
end

--- The end of a session

-- A record of a session for handlers of its stanzas: the session itself does not exist any more by then
local function record_of(session)
	local record = { destroyed = true, send = function () return false; end };
	for _, field in ipairs { "username", "host", "resource", "full_jid", "type", "id", "log", "mam_requested", "directed",
		"from_host", "to_host", "direction" } do record[field] = session[field]; end
	return record;
end

-- From now on nothing is queued. Returns a function that hands on what is not acknowledged.
local function close_queue(session)
	local queue, record = session.outgoing_stanza_queue, record_of(session);
	session.smacks = false;
	session.outgoing_stanza_queue = nil;
	accounts.leave(session);
	acks.stop_timer(session);
	if not queue then return function () end; end
	local unacked = queue:count_unacked();
	if unacked > 0 then
		session.log("debug", "Session ends with %d unacked stanzas", unacked);
		metrics.dropped:sample(unacked);
	end
	return function () endings.hand_over(record, queue); end;
end

local function cancel_watchdog(session)
	if session.hibernating_watchdog then session.hibernating_watchdog:cancel(); end
	session.hibernating_watchdog = nil;
end

module:hook("pre-session-close", function (event)
	local session = event.session;
	if session.smacks == nil then return; end
	local token = registry.remove(session);
	if token then registry.clear_counter(session, token); end
	cancel_watchdog(session);
	if session.smacks and session.conn and session.handled_stanza_count then
		acks.send(session, session.smacks);
	elseif session.username and not session.conn and not session.destroyed then
		-- mod_websocket of 0.12 closes nothing where there is no connection
		local reason = event.reason;
		sessionmanager.destroy_session(session, type(reason) == "table" and (reason.text or reason.condition) or reason);
	end
end);

-- The counter stays, for the client to learn which of its stanzas were handled
local function expire(session, reason)
	if session.destroyed or not session.hibernating then return false; end
	session.smacks_ending = true;
	local token = registry.remove(session);
	if token then registry.save_counter(session, token); end
	cancel_watchdog(session);
	run_async(function () sessionmanager.destroy_session(session, reason); end);
	return true;
end

-- Ends a session, connected or not, that holds what others need
function terminate(session, text, condition)
	condition = condition or "resource-constraint";
	if not session.username then return peers.terminate(session, text, condition); end
	local token = registry.remove(session);
	if token then registry.save_counter(session, token); end
	cancel_watchdog(session);
	transport.end_connection(session, condition, text);
	run_async(function () sessionmanager.destroy_session(session, text); end);
end

local function start_watchdog(session)
	cancel_watchdog(session);
	-- Push modules put a watchdog of their own in the place of this one, with this callback or around it
	session.hibernating_watchdog = watchdog.new(session.smacks_hibernation_time or options.smacks_hibernation_time, function ()
		if session.destroyed or not session.hibernating then return; end
		session.log("debug", "Hibernation ends, the client has not returned");
		local since = session.resumption_counter;
		endings.add(function ()
			if session.resumption_counter ~= since then return false; end -- it has returned meanwhile
			metrics.expired(1);
			return expire(session, "Hibernating too long");
		end);
	end);
end

local function hibernate(session)
	local queue = session.outgoing_stanza_queue;
	accounts.set_hibernating(session, os_time());
	session.resending_unacked, session.smacks_resending = nil, nil;
	session.awaiting_ack = nil;
	acks.stop_timer(session);
	start_watchdog(session);
	transport.detach(session);
	-- On Prosody 0.12 a signal to stop is handled at once, wherever the server is in its work
	if session.destroyed or not session.resumption_token then return; end
	registry.save_counter_soon(session);
	session.log("debug", "Connection lost, session hibernates with %d unacked stanzas", queue:count_unacked());
	queue:fire("smacks-hibernation-start", session, {});
	timer.add_task(0, function () -- what was read together with the end is still handled
		if session.hibernating and not session.destroyed and not transport.strip(session) then return STRIP_AGAIN; end
	end);
	limits.check_hibernating(session.smacks_account);
end

-- mod_bosh closes a session without an event, and gives no reason
local function is_closed_by_bosh(event)
	local session = event.session;
	return transport.is_bosh(session) and not session.hibernating and (session.bosh_terminate or event.error == nil);
end

module:hook("pre-resource-unbind", function (event)
	local session = event.session;
	if session.smacks == nil then return; end
	if session.smacks and session.resumption_token and not session.hibernating and not is_closed_by_bosh(event) then
		hibernate(session);
		return true;
	end
	local token = registry.remove(session);
	if token then registry.clear_counter(session, token); end
	cancel_watchdog(session);
	if session.destroyed then return true; end -- on Prosody 0.12, by a signal that came in between
end);

-- What is left is handed on once contacts and rooms know that the resource is gone: errors that come after that
-- throw nobody out of a room
local closing = {}; -- session -> function that hands on

local function hand_on(session)
	local close = closing[session];
	closing[session] = nil;
	if close then close(); end
end

module:hook("resource-unbind", function (event)
	local session = event.session;
	if session.smacks == nil then return; end
	closing[session] = close_queue(session);
	timer.add_task(0, function () hand_on(session); end); -- where a handler in between has failed
end, 1000);

module:hook("resource-unbind", function (event) hand_on(event.session); end, -1000);

peers = module:require "peers" (options, metrics, accounts, can_do_smacks,
	{ out = start_counting_out, in_ = start_counting_in, filter = outgoing_filter }, close_queue);

-- Before mod_c2s closes all sessions: the counters are kept, so that clients learn them after a restart
module:hook_global("server-stopping", function (event)
	for _, user in pairs(local_sessions or {}) do
		for _, session in pairs(user.sessions) do
			if session.resumption_token and registry.save_counter(session, session.resumption_token) then
				registry.remove(session);
				cancel_watchdog(session);
				transport.detach(session);
				session:close { condition = "system-shutdown", text = event.reason };
			end
		end
	end
	endings.stop(); -- while senders can be reached
end, -90);

--- Resumption

-- Returns the session, or nil and why it cannot be resumed. Nothing changes unless the client can be believed.
local function find_resumable(session, stanza)
	if session.full_jid then return nil, sm_errors.new("already_bound"); end
	if not session.username then return nil, sm_errors.new("not_authenticated"); end
	local token, h = stanza.attr.previd, parse_h(stanza.attr.h);
	if not token or not h then return nil, sm_errors.new("bad_request"); end

	local original = registry.find(session, token);
	if not original or original.destroyed then
		local old_h = registry.take_counter(session, token);
		if not old_h then return nil, sm_errors.new("unknown_session"); end
		metrics.resumption_expired(1);
		return nil, sm_errors.new("expired", { h = old_h });
	end

	local ok, err = sm_errors.coerce(original.outgoing_stanza_queue:acknowledge(h));
	if not ok then return nil, err; end
	if not original.outgoing_stanza_queue:resumable() then return nil, sm_errors.new("incomplete"); end
	return original;
end

local function wake(session)
	local hibernating_since = session.hibernating;
	cancel_watchdog(session);
	acks.stop_timer(session);
	accounts.set_hibernating(session, nil);
	session.awaiting_ack = nil;
	session.state = nil; -- client state is active on a resumed stream (XEP-0352, section 5.3)
	if hibernating_since then registry.clear_counter(session, session.resumption_token); end
	return hibernating_since and os_time() - hibernating_since or 0;
end

-- First of two steps, for modules that resume inline: until finish(), nothing is sent on the resumed stream
function do_resume(session, stanza)
	local original, err = find_resumable(session, stanza);
	if not original then
		session.log("info", "Resumption failed: %s", err.text);
		return nil, err;
	end
	session.log("debug", "Resuming session %s", original.full_jid);
	handled.commit(original);
	transport.end_connection(original, "conflict");
	local age = wake(original);
	local waiting = count_waiting(session, stanza);
	transport.adopt(original, session);
	original.resending_unacked = true;
	handled.resume(original);
	start_counting_out(original);
	start_counting_in(original);

	return {
		type = "resumed";
		session = original;
		id = stanza.attr.previd;
		finish = function ()
			if original.resending_unacked ~= true then return; end -- cut off again meanwhile
			metrics.resumption_age:sample(age);
			handled.count(original, waiting);
			local connected = transport.resend(original, function ()
				acks.request_if_needed(original, true, "resumed");
			end);
			if not connected then return; end
			original.outgoing_stanza_queue:fire("smacks-hibernation-end", original, { origin = session; resumed = original });
		end;
	};
end

function handle_resume(session, stanza, xmlns_sm)
	local resumed, err = do_resume(session, stanza);
	if not resumed then return send_failed(session, xmlns_sm, err); end
	session = resumed.session;
	session.smacks = xmlns_sm;
	session.send(st.stanza("resumed", {
		xmlns = xmlns_sm; h = format_h(session.handled_stanza_count); previd = resumed.id;
	}));
	resumed.finish();
	return true;
end

for _, xmlns_sm in ipairs { xmlns_sm2, xmlns_sm3 } do
	local function hook_tag(name, handler, priority)
		module:hook_tag(xmlns_sm, name, function (session, stanza)
			return handler(session, stanza, xmlns_sm);
		end, priority);
	end
	hook_tag("enable", handle_enable, 100);
	hook_tag("enabled", peers.handle_enabled, 100);
	hook_tag("failed", peers.handle_failed);
	hook_tag("r", handle_r);
	hook_tag("a", handle_a);
	hook_tag("resume", handle_resume);
end

--- Reloading: sessions go on with the new module's filters

local function each_session(visit)
	for _, user in pairs(local_sessions or {}) do
		for _, session in pairs(user.sessions) do visit(session); end
	end
	for _, session in pairs(prosody.hosts[module.host].s2sout or {}) do visit(session); end
	for session in pairs(prosody.incoming_s2s) do
		if session.to_host == module.host then visit(session); end
	end
end

local filters = module:shared "filters"; -- { out =, in = } of the module that was loaded before

local function replace_filters(session)
	if not session.smacks then return; end
	local was_out = remove_filter(session, "stanzas/out", filters.out);
	local was_in = remove_filter(session, "stanzas/in", filters["in"]);
	if was_out then add_filter(session, "stanzas/out", outgoing_filter, -999); end
	if was_in then add_filter(session, "stanzas/in", incoming_filter, 999); end
	if session.outgoing_stanza_queue then accounts.join(session, terminate); end
	if not session.smacks_writing then transport.guard_writes(session); end -- a module before had none
	if session.hibernating then registry.save_counter_soon(session); end
end

-- Without the module nobody counts, acknowledges or ends a session that hibernates
local function end_sessions()
	local all = {};
	each_session(function (session) all[session] = session.outgoing_stanza_queue; end);
	for session in pairs(all) do
		if session.outgoing_stanza_queue then terminate(session, "Stream management is switched off", "reset"); end
	end
end

function module.unload()
	if not module.reloading then end_sessions(); end
	endings.unload();
end

function module.load()
	each_session(replace_filters);
	filters.out, filters["in"] = outgoing_filter, incoming_filter;
end
