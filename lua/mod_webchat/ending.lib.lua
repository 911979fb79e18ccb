-- Ends visitors, with a stream error where there is a connection

local async = require "util.async";
local sessionmanager = require "core.sessionmanager";
local timer = require "util.timer";

local LINGER = 10; -- seconds for which a client may read what waits for it, the error last

local function drop(conn)
	if not conn.conn or not conn.writebuffer then return; end
	conn.writebuffer = nil;
	conn:close();
end

local ending = {};

function ending.now(session, condition, text)
	if session.destroyed then return; end
	local conn = not session.sid and session.conn; -- BOSH's belongs to a request
	session:close { condition = condition, text = text };
	-- mod_websocket of 0.12 leaves a session that hibernates
	if not session.destroyed and not session.conn then sessionmanager.destroy_session(session, text); end
	if conn and conn.writebuffer then timer.add_task(LINGER, function () drop(conn); end); end
end

local function report(_, err) module:log("error", "Traceback: %s", err); end

-- Not while a stanza is handed out, which goes over the occupants of a room; and where handlers may wait
function ending.soon(session, condition, text)
	if session.webchat_ending then return; end
	session.webchat_ending = true;
	timer.add_task(0, function ()
		async.runner(nil, { error = report }):run(function () ending.now(session, condition, text); end);
	end);
end

return ending;
