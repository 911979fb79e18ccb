-- Opens streams to another server, one after another, and closes each as soon as it is there.
module:set_global();

local st = require "util.stanza";
local timer = require "util.timer";

local run; -- the streams under way: { from =, to =, left =, failed = }

local function open()
	local stanza = st.iq({ type = "result", id = "opener", from = run.from, to = run.to });
	module:context(run.from):fire_event("route/remote", { from_host = run.from, to_host = run.to, stanza = stanza });
end

module:hook("s2sout-established", function (event)
	if run and event.session.to_host == run.to then event.session:close(); end
end);

module:hook("s2s-destroyed", function (event)
	local session = event.session;
	if not run or session.direction ~= "outgoing" or session.to_host ~= run.to then return; end
	run.left = run.left - 1;
	if session.type ~= "s2sout" or not session.secure then run.failed = run.failed + 1; end
	if run.left > 0 then timer.add_task(0, open); end
end, -1);

function module.environment.start(from, to, count)
	run = { from = from, to = to, left = count, failed = 0 };
	open();
end

-- How many are still to come, and how many were none, or not over TLS.
function module.environment.left() return ("%d %d"):format(run.left, run.failed); end
