-- Requests between visitors and others that have no answer yet (RFC 6120, section 8.2.3)

local cache = require "util.cache";
local time = require "util.time";

local ASKED = 100; -- requests to a visitor that are remembered: more than a room full of clients sends at once
local LIFETIME = 60; -- seconds after which no answer is expected

return function (options, visitors)
	local asked = {};
	local to_visitor = setmetatable({}, { __mode = "k" }); -- session -> cache of who and id
	local by_visitor = setmetatable({}, { __mode = "k" }); -- session -> who and id -> when

	local function key(stanza_id, jid)
		return stanza_id .. "\0" .. (jid or "");
	end

	-- Somebody asks a visitor
	function asked.begin_answer(session, stanza)
		to_visitor[session] = to_visitor[session] or cache.new(ASKED);
		to_visitor[session]:set(key(stanza.attr.id or "", stanza.attr.from), true);
	end

	-- A visitor answers. Returns whether that was asked, which it is once.
	function asked.end_answer(session, stanza)
		local questions, name = to_visitor[session], key(stanza.attr.id, stanza.attr.to);
		if not questions or not questions:get(name) then return false; end
		questions:set(name, nil);
		return true;
	end

	local function open_requests(session)
		local count, oldest = 0, time.now() - LIFETIME;
		for name, began in pairs(by_visitor[session] or {}) do
			if began < oldest then by_visitor[session][name] = nil; else count = count + 1; end
		end
		return count;
	end

	local function requests_from(network)
		local count = 0;
		for session in pairs(visitors.sessions_at(network)) do count = count + open_requests(session); end
		return count;
	end

	-- A visitor asks an occupant. Returns whether that is one request too many.
	function asked.begin_request(session, stanza)
		if open_requests(session) >= options.webchat_visitor_requests_at_once then return false; end
		if requests_from(visitors.network_of(session)) >= options.webchat_requests_at_once then return false; end
		by_visitor[session] = by_visitor[session] or {};
		by_visitor[session][key(stanza.attr.id, stanza.attr.to)] = time.now();
		return true;
	end

	-- It is answered
	function asked.end_request(session, stanza)
		local requests = by_visitor[session];
		if requests then requests[key(stanza.attr.id or "", stanza.attr.from)] = nil; end
	end

	return asked;
end
