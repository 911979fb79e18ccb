-- XEP-0198: Stream Management. Replaces Prosody's own module of the same name; the queue is native.
-- README.md lists options, log lines and limits.

local new_id = require "util.id".medium;
local st = require "util.stanza";

local xmlns_stanza_errors = "urn:ietf:params:xml:ns:xmpp-stanzas";
local xmlns_sm2 = "urn:xmpp:sm:2";
local xmlns_sm3 = "urn:xmpp:sm:3";

-- The parts of the module, by the name of their file. A part that needs others finds them here when it is called.
local smacks = {
	options = module:require "option_reader".read(module:require "options");
	queue = module:require "queue";
	delivery = module:require "delivery";
	errors = require "util.error".init("mod_smacks", xmlns_sm3, {
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
		unknown_transport = { condition = "internal-server-error", text = "This connection cannot take over a session" };
		-- h
		head = { condition = "undefined-condition", text = "Client acknowledged more stanzas than sent by server" };
		tail = { condition = "undefined-condition", text = "Client acknowledged less stanzas than already acknowledged" };
	});
};
for _, part in ipairs {
	"metrics", "registry", "accounts", "endings", "counting", "acks", "connection", "sessions", "s2s", "resumption",
} do
	smacks[part] = module:require(part)(smacks);
end
module:require "tuning";

local acks, counting, errors, options, registry = smacks.acks, smacks.counting, smacks.errors, smacks.options, smacks.registry;

local function format_h(h) return h and ("%d"):format(h) or nil; end

local function send_to(session, data) return (session.sends2s or session.send)(data); end

--- Enabling

local function can_do_smacks(session, advertise_only)
	if session.smacks then return nil, errors.new("already_enabled"); end
	local session_type = session.type or "";
	if session.username then
		if not advertise_only and not session.resource then return nil, errors.new("bind_required"); end
		return true;
	elseif options.smacks_enabled_s2s and (session_type == "s2sin" or session_type == "s2sout") then
		return true;
	elseif session_type:find("_un") then
		return nil, errors.new("not_authenticated");
	end
	return nil, errors.new("unavailable");
end
smacks.can_enable = can_do_smacks;

local function advertise(event)
	if can_do_smacks(event.origin, true) then
		event.features:tag("sm", { xmlns = xmlns_sm2 }):up():tag("sm", { xmlns = xmlns_sm3 }):up();
	end
end
module:hook("stream-features", advertise);
module:hook("s2s-stream-features", advertise);

-- The client's "max" is a preference (XEP-0198, section 3)
local function resumption_time(enable)
	local max = acks.parse_h(enable.attr.max);
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
			smacks.metrics.started(1);
			counting.start_out(session);
			counting.start_in(session, stanza);
		end;
	};
end

do_resume = smacks.resumption.do_resume;

-- For modules that encode a stanza once and send it to many
encode = smacks.queue.encode;
takes_bytes = smacks.counting.takes_bytes;
send_copy = smacks.counting.send_copy;

--- Elements of the protocol

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

function handle_r(session, _, xmlns_sm)
	if not session.smacks then
		session.log("debug", "Received an ack request, but stream management is not enabled");
		return;
	end
	acks.answer(session, xmlns_sm);
	acks.request_if_needed(session, false, "along with our own ack");
	return true;
end

local function reject_ack(session, h)
	local queue = session.outgoing_stanza_queue;
	local err = errors.wrap(select(2, queue:acknowledge(h)));
	session.log("warn", "Invalid ack from peer: h=%d, but %d stanzas were sent and %d already acknowledged: %s",
		h, queue:pushed(), queue:count_acked(), err.text);
	session:close {
		condition = err.condition; text = err.text;
		extra = err.context.wrapped_error == "head" and st.stanza("handled-count-too-high",
			{ xmlns = xmlns_sm3, h = format_h(h), ["send-count"] = format_h(queue:pushed()) }) or nil;
	};
end

function handle_a(session, stanza)
	if not session.smacks or not session.outgoing_stanza_queue then return; end
	if acks.receive(session, stanza) then return true; end
	local h = acks.parse_h(stanza.attr.h);
	if h then
		reject_ack(session, h);
	else
		session.log("warn", "Invalid ack from peer: h is not a number: %s", stanza:top_tag());
		session:close { condition = "invalid-xml"; text = "Missing or invalid 'h' attribute" };
	end
	return true;
end

for _, xmlns_sm in ipairs { xmlns_sm2, xmlns_sm3 } do
	local function hook_tag(name, handler, priority)
		module:hook_tag(xmlns_sm, name, function (session, stanza)
			return handler(session, stanza, xmlns_sm);
		end, priority);
	end
	hook_tag("enable", handle_enable, 100);
	hook_tag("enabled", smacks.s2s.handle_enabled, 100);
	hook_tag("failed", smacks.s2s.handle_failed);
	hook_tag("r", handle_r);
	hook_tag("a", handle_a);
	hook_tag("resume", handle_resume);
end

--- Reloading: sessions go on with the new module's filters

local function each_session(visit)
	local host = prosody.hosts[module.host];
	for _, user in pairs(host.sessions or {}) do -- a component has none
		for _, session in pairs(user.sessions) do visit(session); end
	end
	for _, session in pairs(host.s2sout or {}) do visit(session); end
	for session in pairs(prosody.incoming_s2s) do
		if session.to_host == module.host then visit(session); end
	end
end

local function adopt_session(session)
	if not session.smacks then return; end
	counting.replace_filters(session);
	if session.outgoing_stanza_queue then smacks.accounts.join(session); end
	if not session.smacks_writing then smacks.connection.guard_writes(session); end -- an older module had none
	if session.hibernating then registry.save_counter_soon(session); end
end

-- Without the module nobody counts, acknowledges or ends a hibernating session
local function end_sessions()
	local all = {};
	each_session(function (session) all[session] = session.outgoing_stanza_queue; end);
	for session in pairs(all) do
		if session.outgoing_stanza_queue then smacks.sessions.terminate(session, "Stream management is switched off", "reset"); end
	end
end

function module.unload()
	if not module.reloading then end_sessions(); end
	smacks.endings.unload();
end

function module.load()
	each_session(adopt_session);
	counting.publish_filters();
end
