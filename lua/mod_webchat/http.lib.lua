-- Serves the page, its configuration and Converse.js over HTTP, and publishes their URLs: in the service discovery of rooms
-- and in host-meta

local array = require "util.array";
local files = require "net.http.files";
local http_server = require "net.http.server";
local json = require "util.json";
local lfs = require "lfs";
local st = require "util.stanza";
local urlencode = require "util.http".urlencode;

local BEFORE_ALTCONNECT = 1; -- priority: mod_websocket of 13.0 loads mod_http_altconnect, which serves host-meta as well
local URL_FIELD = "muc#roominfo_webchat_url";

local MIME_TYPES = {
	css = "text/css; charset=utf-8", html = "text/html; charset=utf-8", ico = "image/x-icon",
	js = "text/javascript; charset=utf-8", json = "application/json", mp3 = "audio/mpeg", ogg = "audio/ogg",
	png = "image/png", svg = "image/svg+xml", ttf = "font/ttf", wasm = "application/wasm", woff2 = "font/woff2",
};

-- Content-Security-Policy: no inline scripts, and nothing from other hosts. Converse.js compiles WebAssembly and adds styles at
-- run time.
local POLICY = table.concat({
	"default-src 'none'", "script-src 'self' 'wasm-unsafe-eval'", "style-src 'self' 'unsafe-inline'", "img-src 'self' data: blob:",
	"font-src 'self'", "media-src 'self'", "connect-src 'self'", "base-uri 'none'", "form-action 'none'",
	"frame-ancestors 'self'", -- followed by the origins of webchat_frame_ancestors
}, "; ");

local http = {};

local options, rooms; -- see start()

local function converse_path()
	return options.webchat_converse_path or module:get_directory() .. "/converse/dist";
end

--- URLs, as clients see them that connect through http_external_url

-- Of the page, or of the page for a room
local function page_url(room_jid)
	local page = module:http_url("webchat", "/chat"):gsub("/*$", "/");
	return room_jid and page .. "#" .. urlencode(room_jid):gsub("%%40", "@") or page;
end

local function websocket_url()
	return (module:http_url("websocket", "/xmpp-websocket"):gsub("^http", "ws"));
end

local function bosh_url()
	return module:http_url("bosh", "/http-bind");
end

local function path_of(url) return url:match("^%a+://[^/]*(/[^?#]*)") or "/"; end

-- A URL as a path relative to the page: it is valid wherever a proxy maps both
local function relative(url)
	local page, path = path_of(page_url()), path_of(url);
	local common = 1;
	for slash in page:gmatch("()/") do
		if page:sub(1, slash) ~= path:sub(1, slash) then break; end
		common = slash;
	end
	local _, depth = page:sub(common + 1):gsub("/", "/");
	return ("../"):rep(depth) .. path:sub(common + 1);
end

--- The page

local function is_file(path)
	return lfs.attributes(path, "mode") == "file";
end

-- Returns true; or false and an error message
local function is_readable(path)
	local file, err = io.open(path);
	if not file then return false, err; end
	file:close();
	return is_file(path), path .. ": not a regular file";
end

local function has_converse()
	return is_file(converse_path() .. "/converse.min.js");
end

-- See app.js
local function configuration()
	return json.encode {
		title = options.webchat_title;
		host = module.host;
		room = options.webchat_default_room;
		ownRoom = options.webchat_room_per_visitor or nil;
		roomHosts = array(rooms.hosts());
		websocket = relative(websocket_url());
		bosh = relative(bosh_url());
		stylesheet = options.webchat_stylesheet ~= nil and is_readable(options.webchat_stylesheet);
		converse = has_converse();
	};
end

local function serve(directory)
	return files.serve { path = directory, mime_map = MIME_TYPES, index_files = {}, cache_max_file_size = 64 * 1024 };
end

-- Returns the handler of GET /*
local function page_handler()
	local page_files, converse_files = serve(module:get_directory() .. "/page"), serve(converse_path());
	local stylesheet = options.webchat_stylesheet and serve(options.webchat_stylesheet:match("^(.*)/[^/]*$") or ".");
	local policy = table.concat({ POLICY, table.unpack(options.webchat_frame_ancestors) }, " ");
	return function (event, path)
		local headers = event.response.headers;
		headers.content_security_policy = policy;
		headers.x_content_type_options = "nosniff";
		headers.referrer_policy = "no-referrer";
		headers.cache_control = "no-cache"; -- browsers revalidate, with the ETag
		if path == "" then
			return page_files(event, "index.html");
		elseif path == "config.json" then
			headers.content_type = MIME_TYPES.json;
			return configuration();
		elseif path == "custom.css" and stylesheet then
			return stylesheet(event, options.webchat_stylesheet:match("[^/]*$"));
		elseif path:sub(1, 9) == "converse/" then
			return converse_files(event, path:sub(10));
		end
		return page_files(event, path);
	end;
end

local function check_files()
	if not has_converse() then
		module:log("error", "Cannot find converse.min.js: run sh %s/converse/get.sh DIRECTORY, and set webchat_converse_path to DIRECTORY."
			.. " It is not in %s", module:get_directory(), converse_path());
	end
	if not options.webchat_stylesheet then return; end
	local readable, err = is_readable(options.webchat_stylesheet);
	if not readable then module:log("error", "webchat_stylesheet: %s", err); end
end

--- Discovery

-- Service discovery of a room (XEP-0045, section 15.5.4)
local function add_url(event)
	local room = event.room;
	if not event.form or room:get_members_only() then return; end -- visitors are not members
	if event.formdata[URL_FIELD] then return; end -- of another webchat, which also leads to the room
	table.insert(event.form, { name = URL_FIELD, type = "text-single", label = "Address of the room for web browsers" });
	event.formdata[URL_FIELD] = page_url(room.jid);
end

-- For host-meta (RFC 6415): the connections (XEP-0156) and the page
local function links()
	return {
		{ rel = "urn:xmpp:alt-connections:websocket", href = websocket_url() };
		{ rel = "urn:xmpp:alt-connections:xbosh", href = bosh_url() };
		{ rel = "alternate", type = "text/html", href = page_url() };
	};
end

local function host_meta_xml()
	local xrd = st.stanza("XRD", { xmlns = "http://docs.oasis-open.org/ns/xri/xrd-1.0" });
	for _, link in ipairs(links()) do xrd:tag("Link", link):up(); end
	return '<?xml version="1.0" encoding="UTF-8"?>\n' .. tostring(xrd);
end

local function host_meta_json()
	return json.encode { links = links() };
end

local function provide_host_meta(path, content_type, content)
	local event = ("GET %s%s"):format(module:get_option_string("http_host", module.host), path);
	module:hook_object_event(http_server, event, function (request)
		local headers = request.response.headers;
		headers.content_type = content_type;
		headers.access_control_allow_origin = "*";
		return content();
	end, BEFORE_ALTCONNECT);
end

function http.start(webchat)
	options, rooms = webchat.options, webchat.rooms;
	module:depends "http";
	module:depends "websocket";
	module:depends "bosh";
	module:provides("http", { name = "webchat", default_path = "/chat", route = { ["GET /*"] = page_handler() } });
	provide_host_meta("/.well-known/host-meta", "application/xrd+xml", host_meta_xml);
	provide_host_meta("/.well-known/host-meta.json", "application/json", host_meta_json);
	rooms.hook("muc-disco#info", add_url);
	check_files();
end

return http;
