-- Where the page and the connections are, as those see it who come through http_external_url

local urlencode = require "util.http".urlencode;

local urls = {};

-- The page, or the page in a room
function urls.page(room_jid)
	local page = module:http_url("webchat", "/chat"):gsub("/*$", "/");
	return room_jid and page .. "#" .. urlencode(room_jid):gsub("%%40", "@") or page;
end

function urls.websocket()
	return (module:http_url("websocket", "/xmpp-websocket"):gsub("^http", "ws"));
end

function urls.bosh()
	return module:http_url("bosh", "/http-bind");
end

local function path_of(url) return url:match("^%a+://[^/]*(/[^?#]*)") or "/"; end

-- A URL as a path relative to the page: it holds wherever a proxy has put both
function urls.from_page(url)
	local page, path = path_of(urls.page()), path_of(url);
	local common = 1;
	for slash in page:gmatch("()/") do
		if page:sub(1, slash) ~= path:sub(1, slash) then break; end
		common = slash;
	end
	local _, depth = page:sub(common + 1):gsub("/", "/");
	return ("../"):rep(depth) .. path:sub(common + 1);
end

return urls;
