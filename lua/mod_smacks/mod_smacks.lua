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

local options = module:require "options";
local metrics = module:require "metrics";
local registry = module:require "registry";
local queues = module:require "queue";
local acks = module:require "acks" (options);
local fail = module:require "delivery";
local limits = module:require "limits" (options, metrics, queues, fail);
local transport = module:require "transport";
module:require "figures" (options, queues.total_bytes);
module:require "tuning";

local xmlns_client = "jabber:client";
local xmlns_stanza_errors = "urn:ietf:params:xml:ns:xmpp-stanzas";
local xmlns_sm2 = "urn:xmpp:sm:2";
local xmlns_sm3 = "urn:xmpp:sm:3";

local H_MASK = 0xFFFFFFFF; -- counters are unsigned 32-bit integers that wrap

local local_sessions = prosody.hosts[module.host].sessions; -- nil on a component
local hibernating = module:shared "/*/smacks/hibernating"; -- session -> function that ends it

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
	overflow = { condition = "resource-constraint", text = "Too many unacked stanzas remaining, session can't be resumed" };
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

local function keep_for_later(session, is_over, total)
	if session.resending_unacked then return nil; end -- it is sent in a moment
	local queue = session.outgoing_stanza_queue;
	fire_queued(session);
	if is_over and session.outgoing_stanza_queue == queue then limits.release_unsent(session); end
	if total > options.max_total_bytes then limits.enforce_total(session); end
	return nil;
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

	local bytes, is_over, total = queue:enqueue(stanza);
	if not bytes then
		session.log("error", "A %s from %s cannot be encoded and is dropped (%s)", stanza.name, stanza.attr.from, is_over);
		return nil;
	end
	metrics.queued(1);
	if is_away then return keep_for_later(session, is_over, total); end
	if is_over then limits.release_sent(session); end
	if total > options.max_total_bytes then limits.enforce_total(session); end
	-- What is queued is what is sent, unless another filter comes after this one and wants to see a stanza
	local list = session.filters["stanzas/out"];
	if list[#list] == outgoing_filter then
		return session.awaiting_ack and bytes or acks.append_request(session, bytes, is_over);
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
		if countable[stanza.name] then
			session.handled_stanza_count = (session.handled_stanza_count + 1) & H_MASK;
		end
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

local function start_counting_out(session)
	if not session.outgoing_stanza_queue then
		session.outgoing_stanza_queue = queues.new(jid.bare(session.full_jid or session.host or module.host), options.queue_limits);
	end
	add_filter(session, "stanzas/out", outgoing_filter, -999);
end

local function start_counting_in(session, current)
	local waiting = current and count_waiting(session, current) or 0;
	session.handled_stanza_count = ((session.handled_stanza_count or 0) + waiting) & H_MASK;
	add_filter(session, "stanzas/in", incoming_filter, 999);
end

--- Enabling

local function can_do_smacks(session, advertise_only)
	if session.smacks then return nil, sm_errors.new("already_enabled"); end
	local session_type = session.type or "";
	if session.username then
		if not advertise_only and not session.resource then return nil, sm_errors.new("bind_required"); end
		return true;
	elseif options.s2s and (session_type == "s2sin" or session_type == "s2sout") then
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
	return max and max > 0 and max < options.resume_timeout and max or options.resume_timeout;
end

-- First of two steps, for modules that enable inline: nothing is counted before finish()
function do_enable(session, stanza)
	local ok, err = can_do_smacks(session);
	if not ok then
		session.log("warn", "Failed to enable stream management: %s", err.text);
		return nil, err;
	end
	if session.username then registry.prune_counters(session.username, options.max_old_sessions); end

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
	if not session.destroyed then enabled.finish(); end
	return true;
end

--- Enabling on our own streams to other servers

local function enable_s2s(session, xmlns_sm)
	session.smacks = xmlns_sm;
	start_counting_out(session);
	session.sends2s(st.stanza("enable", { xmlns = xmlns_sm }));
end

-- Prosody 0.12 writes what waited for the stream as raw bytes, after this event: those cannot be counted
local sends_raw_queue = not sessionmanager.update_session;

module:hook_tag("http://etherx.jabber.org/streams", "features", function (session, stanza)
	if not can_do_smacks(session) then return; end
	session.smacks_feature = stanza:get_child("sm", xmlns_sm3) or stanza:get_child("sm", xmlns_sm2);
	if session.smacks_feature and sends_raw_queue then
		timer.add_task(1e-6, function ()
			if can_do_smacks(session) then enable_s2s(session, session.smacks_feature.attr.xmlns); end
		end);
	end
end);

module:hook("s2sout-established", function (event)
	local session = event.session;
	if session.smacks_feature and not sends_raw_queue then
		enable_s2s(session, session.smacks_feature.attr.xmlns);
	end
end);

function handle_enabled(session, _, xmlns_sm)
	if not session.outgoing_stanza_queue or session.handled_stanza_count then return; end -- we did not ask
	session.log("debug", "Stream management is enabled by the other server");
	session.smacks = xmlns_sm;
	metrics.started(1);
	start_counting_in(session);
	return true;
end

-- The other server has second thoughts: the stream goes on without
function handle_failed(session)
	if session.type ~= "s2sout" or not session.outgoing_stanza_queue or session.handled_stanza_count then return; end
	session.log("info", "The other server refuses stream management, which it had offered");
	remove_filter(session, "stanzas/out", outgoing_filter);
	session.outgoing_stanza_queue:close();
	session.smacks, session.outgoing_stanza_queue = nil, nil;
	return true;
end

--- Acks

function handle_r(session, _, xmlns_sm)
	if not session.smacks then
		session.log("debug", "Received an ack request, but stream management is not enabled");
		return;
	end
	acks.send(session, xmlns_sm);
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
	limits.note_ack(session);
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

local function fail_unacked(session)
	local queue = session.outgoing_stanza_queue;
	session.smacks = false; -- nothing is queued any more
	session.outgoing_stanza_queue = nil;
	hibernating[session] = nil;
	acks.stop_timer(session);
	if not queue then return; end
	local unacked = queue:count_unacked();
	if unacked > 0 then
		session.log("debug", "Session ends with %d unacked stanzas", unacked);
		metrics.dropped:sample(unacked);
		for stanza in queue:consume() do fail(session, stanza); end
	end
	queue:close();
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
	if session.destroyed or not session.resumption_token then return; end
	registry.save_counter(session, registry.remove(session));
	cancel_watchdog(session);
	run_async(function () sessionmanager.destroy_session(session, reason); end);
end

local function start_watchdog(session)
	cancel_watchdog(session);
	-- Push modules put a watchdog of their own in the place of this one, with this callback or around it
	session.hibernating_watchdog = watchdog.new(session.smacks_hibernation_time or options.resume_timeout, function ()
		if session.destroyed or not session.hibernating then return; end
		session.log("debug", "Hibernation ends, the client has not returned");
		metrics.expired(1);
		expire(session, "Hibernating too long");
	end);
end

local function end_early(session)
	expire(session, "Stream management queues hold too much");
end

local function hibernate(session)
	local queue = session.outgoing_stanza_queue;
	session.hibernating = os_time();
	session.awaiting_ack = nil;
	acks.stop_timer(session);
	start_watchdog(session);
	transport.detach(session);
	-- On Prosody 0.12 a signal to stop is handled at once, wherever the server is in its work
	if session.destroyed or not session.resumption_token then return; end
	hibernating[session] = end_early;
	registry.save_counter_soon(session);
	session.log("debug", "Connection lost, session hibernates with %d unacked stanzas", queue:count_unacked());
	queue:fire("smacks-hibernation-start", session, {});
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
	fail_unacked(session);
	if session.destroyed then return true; end -- on Prosody 0.12, by a signal that came in between
end);

local function handle_s2s_destroyed(event)
	local session = event.session;
	local queue = session.outgoing_stanza_queue;
	if not queue then return; end
	if queue:count_unacked() > 0 then
		session.log("warn", "Stream to another server ends with %d unacked stanzas", queue:count_unacked());
	end
	if options.s2s_resend then
		session.outgoing_stanza_queue = nil;
		for stanza in queue:consume() do module:send(stanza); end
		queue:close();
	end
	fail_unacked(session);
end
module:hook("s2sout-destroyed", handle_s2s_destroyed);
module:hook("s2sin-destroyed", handle_s2s_destroyed);

-- Before mod_c2s closes all sessions: the counters are kept, so that clients learn them after a restart
module:hook_global("server-stopping", function (event)
	if not local_sessions then return; end
	for _, user in pairs(local_sessions) do
		for _, session in pairs(user.sessions) do
			if session.resumption_token and registry.save_counter(session, session.resumption_token) then
				registry.remove(session);
				cancel_watchdog(session);
				fail_unacked(session);
				transport.detach(session);
				session:close { condition = "system-shutdown", text = event.reason };
			end
		end
	end
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
	if not original.outgoing_stanza_queue:resumable() then
		expire(original, "Released stanzas that the client has not received");
		return nil, sm_errors.new("overflow", { h = registry.take_counter(session, token) });
	end
	limits.note_ack(original);
	return original;
end

local function wake(session)
	local hibernating_since = session.hibernating;
	cancel_watchdog(session);
	acks.stop_timer(session);
	session.hibernating, session.awaiting_ack = nil, nil;
	session.state = nil; -- client state is active on a resumed stream (XEP-0352, section 5.3)
	hibernating[session] = nil;
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
	transport.end_replaced(original);
	local age = wake(original);
	local waiting = count_waiting(session, stanza);
	transport.adopt(original, session);
	original.resending_unacked = true;
	original.handled_stanza_count = (original.handled_stanza_count + waiting) & H_MASK;
	start_counting_out(original);
	start_counting_in(original);

	return {
		type = "resumed";
		session = original;
		id = stanza.attr.previd;
		finish = function ()
			metrics.resumption_age:sample(age);
			if not transport.resend(original) then return; end -- cut off again meanwhile
			original.outgoing_stanza_queue:fire("smacks-hibernation-end", original, { origin = session; resumed = original });
			acks.request_if_needed(original, true, "resumed");
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
	hook_tag("enabled", handle_enabled, 100);
	hook_tag("failed", handle_failed);
	hook_tag("r", handle_r);
	hook_tag("a", handle_a);
	hook_tag("resume", handle_resume);
end

--- Reloading: sessions go on with the new module's filters

local filters = module:shared "filters"; -- { out =, in = } of the module that was loaded before

local function replace_filters(session)
	if not session.smacks then return; end
	local was_out = remove_filter(session, "stanzas/out", filters.out);
	local was_in = remove_filter(session, "stanzas/in", filters["in"]);
	if was_out then add_filter(session, "stanzas/out", outgoing_filter, -999); end
	if was_in then add_filter(session, "stanzas/in", incoming_filter, 999); end
	if hibernating[session] then
		hibernating[session] = end_early;
		registry.save_counter_soon(session);
	end
end

function module.load()
	for _, user in pairs(local_sessions or {}) do
		for _, session in pairs(user.sessions) do replace_filters(session); end
	end
	for _, session in pairs(prosody.hosts[module.host].s2sout or {}) do replace_filters(session); end
	for session in pairs(prosody.incoming_s2s) do
		if session.to_host == module.host then replace_filters(session); end
	end
	filters.out, filters["in"] = outgoing_filter, incoming_filter;
end
