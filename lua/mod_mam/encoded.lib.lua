-- Pages as bytes: storage native encodes the results, and they are written at once. For sessions whose stanzas nobody looks at.

local direct_send = module:require "direct_send";
local mam_page = module:require "mam_page";

local jid_resource = require "util.jid".resource;

local smacks = module:shared "smacks/filters"; -- of our mod_smacks: functions that queue bytes

local encoded = {};

--- Who sees the stanzas of a session

local function takes_bytes(session)
	if session.type ~= "c2s" or not session.conn or session.sid or session.websocket_request then return false; end -- BOSH, WebSocket
	if not direct_send(session) then return false; end
	if smacks.takes_bytes then return smacks.takes_bytes(session); end
	local filters = session.filters["stanzas/out"];
	return not session.outgoing_stanza_queue and not (filters and filters[1]);
end

local function send(session, results)
	if smacks.send_encoded then return smacks.send_encoded(session, results); end
	return session.rawsend(table.concat(results));
end

--- Answering

-- Whether the archive can select and encode what the query asks for, and the session takes it
function encoded.can_answer(archive, session, query)
	local by_resource = query.with and jid_resource(query.with);
	return archive.page and not by_resource and not query.no_groupchat and takes_bytes(session);
end

local function reverse(list)
	local count = #list;
	for i = 1, count // 2 do list[i], list[count + 1 - i] = list[count + 1 - i], list[i]; end
end

-- Sends a page. Returns the ids of its messages in the order of reading; or nil and the condition of an error.
function encoded.answer(mam, session, request, query)
	local attr = request.attr;
	local results, condition = mam.archive:page(session.username, query, query.max, attr.from, attr.to, query.id);
	if not results then return nil, condition; end
	local ids = results.ids;
	if query.newest_first ~= query.reverse then reverse(results); end
	if results[1] then send(session, results); end
	session.send(mam_page.fin(request, query, ids[1], ids[#ids], {
		complete = not results.more;
		total = (mam.use_total or query.max == 0) and results.total or nil;
	}));
	return ids;
end

return encoded;
