-- The page and its files, and Converse.js

local array = require "util.array";
local files = require "net.http.files";
local json = require "util.json";
local lfs = require "lfs";

local types = {
	css = "text/css; charset=utf-8", html = "text/html; charset=utf-8", ico = "image/x-icon",
	js = "text/javascript; charset=utf-8", json = "application/json", mp3 = "audio/mpeg", ogg = "audio/ogg",
	png = "image/png", svg = "image/svg+xml", ttf = "font/ttf", wasm = "application/wasm", woff2 = "font/woff2",
};

-- No inline script, and nothing from any other host. Converse.js compiles WebAssembly, and adds styles as it goes.
local policy = table.concat({
	"default-src 'none'", "script-src 'self' 'wasm-unsafe-eval'", "style-src 'self' 'unsafe-inline'", "img-src 'self' data: blob:",
	"font-src 'self'", "media-src 'self'", "connect-src 'self'", "base-uri 'none'", "form-action 'none'",
	"frame-ancestors 'self'", -- and origins of the option
}, "; ");

local function serve(directory)
	return files.serve { path = directory, mime_map = types, index_files = {}, cache_max_file_size = 64 * 1024 };
end

return function (options, rooms, urls)
	local page_files = serve(module:get_directory() .. "/page");
	local converse_path = options.webchat_converse_path or module:get_directory() .. "/converse/dist";
	local converse_files = serve(converse_path);
	local stylesheet = options.webchat_stylesheet and serve(options.webchat_stylesheet:match("^(.*)/[^/]*$") or ".");
	local stylesheet_name = options.webchat_stylesheet and options.webchat_stylesheet:match("[^/]*$");

	local function is_file(path)
		return path ~= nil and lfs.attributes(path, "mode") == "file";
	end

	-- Or nil, and why not
	local function is_readable(path)
		local file, err = io.open(path);
		if not file then return nil, err; end
		file:close();
		return is_file(path), path .. ": it is no file";
	end

	local function has_converse()
		return is_file(converse_path .. "/converse.min.js");
	end

	local function configuration()
		return json.encode {
			title = options.webchat_title;
			host = module.host;
			room = options.webchat_default_room;
			ownRoom = options.webchat_room_per_visitor or nil;
			roomHosts = array(rooms.hosts());
			websocket = urls.from_page(urls.websocket());
			bosh = urls.from_page(urls.bosh());
			stylesheet = options.webchat_stylesheet ~= nil and is_readable(options.webchat_stylesheet) or false;
			converse = has_converse();
		};
	end

	local page_policy = table.concat({ policy, table.unpack(options.webchat_frame_ancestors) }, " ");

	local function secure(headers)
		headers.content_security_policy = page_policy;
		headers.x_content_type_options = "nosniff";
		headers.referrer_policy = "no-referrer";
		headers.cache_control = "no-cache"; -- ask whether it has changed: an ETag answers
	end

	module:depends "http";
	module:depends "websocket";
	module:depends "bosh";
	module:provides("http", {
		name = "webchat";
		default_path = "/chat";
		route = {
			["GET /*"] = function (event, path)
				local headers = event.response.headers;
				secure(headers);
				if path == "" then
					return page_files(event, "index.html");
				elseif path == "config.json" then
					headers.content_type = types.json;
					return configuration();
				elseif path == "custom.css" and stylesheet then
					return stylesheet(event, stylesheet_name);
				elseif path:sub(1, 9) == "converse/" then
					return converse_files(event, path:sub(10));
				end
				return page_files(event, path);
			end;
		};
	});

	if not has_converse() then
		module:log("error", "There is no converse.min.js in %s: run `sh %s/converse/get.sh DIRECTORY`, and name it in webchat_converse_path",
			converse_path, module:get_directory());
	end
	local readable, err = true, nil;
	if stylesheet then readable, err = is_readable(options.webchat_stylesheet); end
	if not readable then module:log("error", "webchat_stylesheet: %s", err); end
end
