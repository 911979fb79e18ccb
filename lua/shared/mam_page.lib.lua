-- Pages of XEP-0313: reads one from an archive, and sends it. For queries as mam_query.lib.lua returns them.

local datetime = require "util.datetime".datetime;
local jid = require "util.jid";
local rsm = require "util.rsm";
local st = require "util.stanza";

local xmlns_delay = "urn:xmpp:delay";
local xmlns_forward = "urn:xmpp:forward:0";
local xmlns_mam = "urn:xmpp:mam:2";

local BATCH = 500; -- messages that are read at once to look for those with a full JID

local jid_bare, jid_resource = jid.bare, jid.resource;

local page = {};

--- Ids that are not in the archive

local function holds_all(archive, owner, ids)
	local items = archive:find(owner, { ids = ids });
	local missing = {};
	for _, id in ipairs(ids) do missing[id] = true; end
	if items then
		for id in items do missing[id] = nil; end
	end
	return next(missing) == nil;
end

-- Some drivers ignore unknown ids. is_page: messages were found
local function has_unknown_ids(archive, owner, query, is_page)
	if query.ids and not holds_all(archive, owner, query.ids) then return true; end
	if not archive.caps or not archive.caps.ids or is_page and (query.reverse or not query.before) then return false; end
	local bounds = { query.before };
	bounds[#bounds + 1] = query.after;
	return bounds[1] ~= nil and not holds_all(archive, owner, bounds);
end

--- Conditions that archives do not know

-- The other side of a message, as a full JID
local function peer_of(stanza, owner_jid)
	local from, to = stanza.attr.from, stanza.attr.to;
	if jid_bare(from) == owner_jid then return to or from; end
	return from;
end

local function any() return true; end

-- Returns nil if the archive knows all conditions
local function condition_of(query, owner_jid)
	local with = query.with and jid_resource(query.with) and query.with;
	if not with and not query.no_groupchat then return nil; end
	return function (stanza)
		if query.no_groupchat and stanza.attr.type == "groupchat" then return false; end
		return not with or peer_of(stanza, owner_jid) == with;
	end;
end

--- Reading

local function to_stanza(item)
	return st.is_stanza(item) and item or st.deserialize(item);
end

local function find(archive, owner, query, limit, wants_total)
	return archive:find(owner, {
		start = query.start, ["end"] = query["end"];
		with = query.with and jid_bare(query.with);
		before = query.before, after = query.after, ids = query.ids;
		reverse = query.reverse, limit = limit, total = wants_total;
	});
end

-- The messages that match, one more than the page has, and the number of all that match
local function read_matches(archive, owner, query, use_total)
	local items, total = find(archive, owner, query, query.max == 0 and 0 or query.max + 1, use_total or query.max == 0);
	if not items then return nil, total; end
	local found = {};
	for id, item, when in items do
		if #found > query.max then break; end
		found[#found + 1] = { id = id, stanza = to_stanza(item), when = when };
	end
	return found, tonumber(total);
end

-- The same with a condition that the archive does not know. To count these is to read them, so there is a number only if the page has
-- all of them, or if the client wants nothing else.
local function select_matches(archive, owner, query, matches)
	local found, count, position = {}, 0, setmetatable({}, { __index = query });
	local is_bounded = query.before ~= nil or query.after ~= nil;
	repeat
		local items, err = find(archive, owner, position, BATCH);
		if not items then return nil, err; end
		local read, last = 0, nil;
		for id, item, when in items do
			read, last = read + 1, id;
			local stanza = to_stanza(item);
			if matches(stanza) then
				count = count + 1;
				if query.max > 0 then found[count] = { id = id, stanza = stanza, when = when }; end
				if query.max > 0 and count > query.max then return found; end
			end
		end
		position[query.reverse and "before" or "after"] = last;
	until read < BATCH;
	return found, not is_bounded and count or nil;
end

-- Reads a page. owner: of the archive; owner_jid: its bare JID; use_total: whether the number of all matches is wanted. Returns
-- { [i] = { id =, stanza =, when = } in the order of reading; total = may be nil; complete = whether it ends the archive };
-- or nil and the condition of an error.
function page.read(archive, owner, owner_jid, query, use_total)
	local matches = condition_of(query, owner_jid);
	local found, total;
	if matches then
		found, total = select_matches(archive, owner, query, matches);
	else
		found, total = read_matches(archive, owner, query, use_total);
		if found and not total and query.max == 0 then found, total = select_matches(archive, owner, query, any); end
	end
	if not found then return nil, total == "item-not-found" and total or "internal-server-error"; end
	if not archive.finds_unknown_ids and has_unknown_ids(archive, owner, query, found[1] ~= nil) then return nil, "item-not-found"; end
	found.total = total;
	found.complete = #found <= query.max and (query.max > 0 or total == 0);
	found[query.max + 1] = nil;
	return found;
end

--- Sending

-- <fin/>. first, last: ids of the first and the last message that was read
function page.fin(request, query, first, last, found)
	if query.reverse then first, last = last, first; end
	return st.reply(request):tag("fin", { xmlns = xmlns_mam, complete = found.complete and "true" or nil })
		:add_child(rsm.generate { first = first, last = last, count = found.total });
end

local function result(request, query, message)
	message.stanza.attr.xmlns = "jabber:client";
	return st.message({ to = request.attr.from, from = request.attr.to })
		:tag("result", { xmlns = xmlns_mam, queryid = query.id, id = message.id })
			:tag("forwarded", { xmlns = xmlns_forward })
				:tag("delay", { xmlns = xmlns_delay, stamp = datetime(message.when) }):up()
				:add_child(message.stanza);
end

-- Sends a page that was read, and <fin/>
function page.send(origin, request, query, found)
	local count = #found;
	local from, to, step = 1, count, 1;
	if query.newest_first ~= query.reverse then from, to, step = count, 1, -1; end
	for i = from, to, step do origin.send(result(request, query, found[i])); end
	origin.send(page.fin(request, query, count > 0 and found[1].id or nil, count > 0 and found[count].id or nil, found));
end

--- Metadata

local function end_of(archive, owner, reverse)
	local items, err = archive:find(owner, { limit = 1, reverse = reverse });
	if not items then return nil, err; end
	local id, _, when = items();
	return id and { id = id, timestamp = datetime(when) } or {};
end

-- The answer to a request for metadata: when the archive begins and ends
function page.metadata(archive, owner, request)
	local first = end_of(archive, owner);
	local last = first and end_of(archive, owner, true);
	if not last then return st.error_reply(request, "cancel", "internal-server-error"); end
	local reply = st.reply(request):tag("metadata", { xmlns = xmlns_mam });
	if first.id then reply:tag("start", first):up(); end
	if last.id then reply:tag("end", last):up(); end
	return reply;
end

return page;
