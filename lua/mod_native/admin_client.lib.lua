-- ask_server() -> the result of status.collect() in the running server, through its admin socket; or nil, text

local adminstream = require "util.adminstream";
local from_base64 = require "util.encodings".base64.decode;
local config = require "core.configmanager";
local is_running = require "util.prosodyctl".isrunning;
local json = require "util.json";
local resolve_path = require "util.paths".resolve_relative_path;
local server = require "net.server";
local st = require "util.stanza";
local timer = require "util.timer";

local TIMEOUT = 5; -- seconds
local ENABLE = 'Add "native" to modules_enabled in the global section of the configuration, and restart Prosody.';

local function why_unreachable(path, err)
	local known, running = is_running();
	if known and not running then
		return ("Prosody is not running: no process has locked the pidfile. Cannot reach %s (%s).\nStart Prosody, and try again.")
			:format(path, err);
	end
	return ("Cannot reach the admin socket %s (%s). Either Prosody is not running, or mod_native is not loaded in it.\n%s")
		:format(path, err, ENABLE);
end

return function ()
	local path = resolve_path(prosody.paths.data, config.get("*", "admin_socket") or "prosody.sock");
	local client = adminstream.client();
	local found, text;
	local pieces = {};

	local function finish(result, err)
		if found or text then return; end
		found, text = result, err;
		server.setquitting(true);
	end

	client.events.add_handler("connected", function ()
		client.send(st.stanza("native-status"));
	end);
	client.events.add_handler("received", function (stanza)
		if stanza.name == "native-status" then
			table.insert(pieces, stanza:get_text());
			if not stanza.attr.more then finish(json.decode(from_base64(table.concat(pieces)))); end
		else -- mod_admin_socket's answer if no module handles the stanza
			finish(nil, "Prosody is running, but mod_native is not loaded in it.\n"..ENABLE);
		end
		return true;
	end);
	client.events.add_handler("disconnected", function ()
		finish(nil, "Prosody closed the connection without an answer. See its log.");
	end);

	local connected, err = adminstream.connection(path, client.listeners):connect();
	if not connected then return nil, why_unreachable(path, err); end
	timer.add_task(TIMEOUT, function ()
		finish(nil, ("No answer from Prosody within %d seconds: it is busy or hangs."):format(TIMEOUT));
	end);
	server.loop();
	return found, text;
end
