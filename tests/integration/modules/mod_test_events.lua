-- Writes down the events of stream management, and marks queued stanzas as push modules do.
-- Tests read `seen`: a list of texts such as "start 2 [a b]", with the bodies in event.queue.
local seen = {};
module.environment.seen = seen;

-- The bodies of a queue; an unmarked stanza is shown as it is, a marked one in brackets
local function describe(queue)
	local bodies = {};
	for i, stanza in ipairs(queue) do
		assert(stanza == queue[i], "the same position gives the same stanza");
		local body = stanza:get_child_text("body") or stanza.name;
		bodies[i] = stanza._test_mark and "("..body..")" or body;
		stanza._test_mark = true;
	end
	return ("%d [%s]"):format(#queue, table.concat(bodies, " "));
end

local function note(name, event, extra)
	table.insert(seen, name.." "..describe(event.queue)..(extra and " "..extra or ""));
end

module:hook("smacks-hibernation-start", function (event)
	assert(event.origin.hibernating and event.origin.hibernating_watchdog, "origin hibernates");
	note("start", event);
end);

module:hook("smacks-hibernation-stanza-queued", function (event)
	assert(event.origin.hibernating, "origin hibernates");
	local last = event.queue[#event.queue];
	assert(event.stanza == last, "the queued stanza is the last of the queue");
	note("queued", event, event.stanza:get_child_text("body"));
end);

module:hook("smacks-hibernation-end", function (event)
	assert(not event.resumed.hibernating and event.resumed.send, "the resumed session is live");
	note("end", event);
end);

module:hook("smacks-ack-delayed", function (event)
	assert(event.origin.awaiting_ack, "origin owes an ack");
	note("delayed", event);
end);

module:hook("delivery/failure", function (event)
	assert(event.session.username, "a session with an account");
	table.insert(seen, "failure "..(event.stanza:get_child_text("body") or event.stanza.name));
end, 1);
