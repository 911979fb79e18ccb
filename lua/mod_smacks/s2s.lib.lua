-- Stream management on streams between servers: enabling it, and the end of a lost stream

local st = require "util.stanza";
local xml = require "util.xml";

local xmlns_sm2 = "urn:xmpp:sm:2";
local xmlns_sm3 = "urn:xmpp:sm:3";

local smacks;
local s2s = {};

-- Prosody 0.12 keeps stanzas that wait for a stream as text, and would write them past the filter that queues and counts.
-- Text that is not XML by itself (db:verify, whose prefix the stream declares) is not a stanza.
local function send_waiting(session)
	local waiting = session.sendq or {};
	for i, item in ipairs(waiting) do
		waiting[i] = nil;
		session.sends2s(xml.parse(item[1]) or item[1]);
	end
end

local function enable(session, xmlns_sm)
	session.smacks = xmlns_sm;
	smacks.counting.start_out(session);
	session.sends2s(st.stanza("enable", { xmlns = xmlns_sm }));
end

module:hook_tag("http://etherx.jabber.org/streams", "features", function (session, stanza)
	if not smacks.can_enable(session) then return; end
	session.smacks_feature = stanza:get_child("sm", xmlns_sm3) or stanza:get_child("sm", xmlns_sm2);
end);

module:hook("s2sout-established", function (event)
	local session = event.session;
	if not session.smacks_feature then return; end
	enable(session, session.smacks_feature.attr.xmlns);
	send_waiting(session);
end);

function s2s.handle_enabled(session, _, xmlns_sm)
	if not session.outgoing_stanza_queue or session.handled_stanza_count then return; end -- not asked for
	session.log("debug", "Stream management enabled by remote server");
	session.smacks = xmlns_sm;
	smacks.metrics.started(1);
	smacks.counting.start_in(session);
	return true;
end

-- The stream goes on without stream management
function s2s.handle_failed(session)
	if session.type ~= "s2sout" or not session.outgoing_stanza_queue or session.handled_stanza_count then return; end
	session.log("info", "Remote server refused stream management, although it had offered it");
	smacks.counting.stop_out(session);
	session.outgoing_stanza_queue:close();
	smacks.accounts.leave(session);
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
		session.log("warn", "Stream to remote server ends with %d unacked stanzas", queue:count_unacked());
	end
	if smacks.options.smacks_s2s_resend then send_again(session, queue); end
	smacks.sessions.close_queue(session)();
end
module:hook("s2sout-destroyed", handle_destroyed);
module:hook("s2sin-destroyed", handle_destroyed);

-- Ends a stream that holds memory that others need
function s2s.terminate(session, text, condition)
	local hand_on = smacks.sessions.close_queue(session);
	session:close({ condition = condition, text = text });
	hand_on();
end

return function (parts)
	smacks = parts;
	return s2s;
end
