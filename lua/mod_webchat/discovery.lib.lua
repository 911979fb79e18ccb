-- How clients learn of the webchat: from a room, and from the web server

local json = require "util.json";
local http_server = require "net.http.server";
local st = require "util.stanza";

local FIELD = "muc#roominfo_webchat_url";

return function (rooms, urls)

	--- Service discovery of a room (XEP-0045, section 15.5.4)

	rooms.on_host(function (host)
		module:context(host):hook("muc-disco#info", function (event)
			local room = event.room;
			if not event.form or not rooms.is_host(host) or room:get_members_only() then return; end -- no visitor is a member
			if event.formdata[FIELD] then return; end -- another host's webchat leads there too
			table.insert(event.form, { name = FIELD, type = "text-single", label = "Address of the room for web browsers" });
			event.formdata[FIELD] = urls.page(room.jid);
		end);
	end);

	--- host-meta (RFC 6415), with the links of XEP-0156 and the page

	local function links()
		return {
			{ rel = "urn:xmpp:alt-connections:websocket", href = urls.websocket() };
			{ rel = "urn:xmpp:alt-connections:xbosh", href = urls.bosh() };
			{ rel = "alternate", type = "text/html", href = urls.page() };
		};
	end

	local function xml()
		local xrd = st.stanza("XRD", { xmlns = "http://docs.oasis-open.org/ns/xri/xrd-1.0" });
		for _, link in ipairs(links()) do xrd:tag("Link", link):up(); end
		return '<?xml version="1.0" encoding="UTF-8"?>\n' .. tostring(xrd);
	end

	-- Hooked before mod_http_altconnect, which Prosody 13.0 serves with mod_websocket
	local function provide(path, content_type, content)
		local event = ("GET %s%s"):format(module:get_option_string("http_host", module.host), path);
		module:hook_object_event(http_server, event, function (request)
			local headers = request.response.headers;
			headers.content_type = content_type;
			headers.access_control_allow_origin = "*";
			return content();
		end, 1);
	end

	module:depends "http";
	provide("/.well-known/host-meta", "application/xrd+xml", xml);
	provide("/.well-known/host-meta.json", "application/json", function () return json.encode { links = links() }; end);
end
