-- Pages as bytes: storage native encodes the results, and they are written at once. For sessions whose stanzas nobody looks at.

local direct_send = module:require "direct_send";
local mam_page = module:require "mam_page";

local encoded = {};

--- Who sees the stanzas of a session

-- Functions of our mod_smacks, if it is loaded on the host
local function smacks_of(session)
	return module:shared("/"..session.host.."/smacks/filters");
end

function encoded.takes_bytes(session)
	if session.type ~= "c2s" or not session.conn or session.sid or session.websocket_request then return false; end -- BOSH, WebSocket
	if not direct_send(session) then return false; end
	local smacks = smacks_of(session);
	if smacks.takes_bytes then return smacks.takes_bytes(session); end
	local filters = session.filters["stanzas/out"];
	return not session.outgoing_stanza_queue and not (filters and filters[1]);
end

local function send(session, results)
	local smacks = smacks_of(session);
	if smacks.send_encoded then return smacks.send_encoded(session, results); end
	return session.rawsend(table.concat(results));
end

--- Answering

local function reverse(list)
	local count = #list;
	for i = 1, count // 2 do list[i], list[count + 1 - i] = list[count + 1 - i], list[i]; end
end

-- Reads a page: archive:page() of mod_storage_native, for the messages that the conditions select. of_room: they have no "to".
-- Returns nil and the condition of an error if it fails.
function encoded.read(archive, owner, conditions, request, query, of_room)
	local attr = request.attr;
	return archive:page(owner, conditions, query.max, attr.from, attr.to, query.id, of_room);
end

-- Sends a page that was read, and <fin/>. Returns the ids of its messages in the order of reading.
function encoded.send(session, request, query, results, use_total)
	local ids = results.ids;
	if query.newest_first ~= query.reverse then reverse(results); end
	if results[1] then send(session, results); end
	session.send(mam_page.fin(request, query, ids[1], ids[#ids], {
		complete = not results.more;
		total = (use_total or query.max == 0) and results.total or nil;
	}));
	return ids;
end

return encoded;
