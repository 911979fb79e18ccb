-- Stream management on streams to other servers: who begins it, and what becomes of a lost stream

local remove_filter = require "util.filters".remove_filter;
local st = require "util.stanza";
local xml = require "util.xml";

local xmlns_sm2 = "urn:xmpp:sm:2";
local xmlns_sm3 = "urn:xmpp:sm:3";

-- Prosody 0.12 keeps what waits for a stream as text, and would write it past the filter that queues and counts.
-- Text that is no XML by itself (db:verify, whose prefix the stream declares) is no stanza.
local function send_waiting(session)
	local waiting = session.sendq or {};
	for i, item in ipairs(waiting) do
		waiting[i] = nil;
		session.sends2s(xml.parse(item[1]) or item[1]);
	end
end

-- can_enable(session); start.out(session), start.in_(session): begin to count; close_queue(session): returns a
-- function that hands on what is unacknowledged
return function (options, metrics, accounts, can_enable, start, close_queue)
	local peers = {};

	local function enable(session, xmlns_sm)
		session.smacks = xmlns_sm;
		start.out(session);
		session.sends2s(st.stanza("enable", { xmlns = xmlns_sm }));
	end

	module:hook_tag("http://etherx.jabber.org/streams", "features", function (session, stanza)
		if not can_enable(session) then return; end
		session.smacks_feature = stanza:get_child("sm", xmlns_sm3) or stanza:get_child("sm", xmlns_sm2);
	end);

	module:hook("s2sout-established", function (event)
		local session = event.session;
		if not session.smacks_feature then return; end
		enable(session, session.smacks_feature.attr.xmlns);
		send_waiting(session);
	end);

	function peers.handle_enabled(session, _, xmlns_sm)
		if not session.outgoing_stanza_queue or session.handled_stanza_count then return; end -- we did not ask
		session.log("debug", "Stream management is enabled by the other server");
		session.smacks = xmlns_sm;
		metrics.started(1);
		start.in_(session);
		return true;
	end

	-- The other server has second thoughts: the stream goes on without
	function peers.handle_failed(session)
		if session.type ~= "s2sout" or not session.outgoing_stanza_queue or session.handled_stanza_count then return; end
		session.log("info", "The other server refuses stream management, which it had offered");
		remove_filter(session, "stanzas/out", start.filter);
		session.outgoing_stanza_queue:close();
		accounts.leave(session);
		session.smacks, session.outgoing_stanza_queue = nil, nil;
		return true;
	end

	local function send_again(session, queue)
		session.outgoing_stanza_queue = nil;
		for stanza in queue:consume() do module:send(stanza); end
		queue:close();
	end

	local function handle_destroyed(event)
		local session = event.session;
		local queue = session.outgoing_stanza_queue;
		if not queue then return; end
		if queue:count_unacked() > 0 then
			session.log("warn", "Stream to another server ends with %d unacked stanzas", queue:count_unacked());
		end
		if options.smacks_s2s_resend then send_again(session, queue); end
		close_queue(session)();
	end
	module:hook("s2sout-destroyed", handle_destroyed);
	module:hook("s2sin-destroyed", handle_destroyed);

	-- Ends a stream that holds what others need
	function peers.terminate(session, text, condition)
		local hand_on = close_queue(session);
		session:close({ condition = condition, text = text });
		hand_on();
	end

	return peers;
end
