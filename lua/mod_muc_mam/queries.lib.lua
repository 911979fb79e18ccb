-- Answers queries to the archives of rooms (XEP-0313)

local encoded = module:require "mam_encoded";
local mam_query = module:require "mam_query";
local page = module:require "mam_page";
local stored = module:require "stored";

local datetime = require "util.datetime".datetime;
local jid = require "util.jid";
local st = require "util.stanza";

local xmlns_mam = "urn:xmpp:mam:2";

local muc_mam, form;

local function refuse(origin, stanza, err)
	origin.send(st.error_reply(stanza, err.type, err.condition, err.text));
	return true;
end

-- The room, or nil and an error. Outcasts may not read, nor may others than members where only members may enter.
local function readable_room(stanza)
	local room = muc_mam.get_room(stanza.attr.to);
	if not room then return nil, { type = "cancel", condition = "item-not-found" }; end
	local affiliation = room:get_affiliation(jid.bare(stanza.attr.from));
	if affiliation == "outcast" or room:get_members_only() and not affiliation then
		return nil, { type = "auth", condition = "forbidden" };
	end
	return room;
end

-- The archive of a room as one that has messages only, as they are sent to readers
local function messages_of(room)
	local archive = muc_mam.archive;
	return setmetatable({ find = function (_, name, conditions)
		conditions.with = stored.WITH;
		local items, total = archive:find(name, conditions);
		if not items then return nil, total; end
		return function ()
			local id, item, when = items();
			if id then return id, stored.read(room, item), when; end
		end, total;
	end }, { __index = archive });
end

-- Pages as they are stored, for readers whose stanzas nobody looks at. Returns nil if that is not possible, or not allowed: only
-- stored.read() can leave out real JIDs.
local function read_encoded(room, origin, stanza, query)
	if not muc_mam.archive.page or not encoded.takes_bytes(origin) or query.with and query.with ~= room.jid then return nil; end
	local conditions = { with = stored.WITH, start = query.start, ["end"] = query["end"], before = query.before, after = query.after,
		ids = query.ids, reverse = query.reverse };
	local results = encoded.read(muc_mam.archive, muc_mam.name_of(room), conditions, stanza, query, true);
	if not results or room:get_whois() == "anyone" then return results; end
	for _, result in ipairs(results) do
		if stored.may_have_item(result) then return nil; end
	end
	return results;
end

-- All messages are from the room: "with" is its JID, or that of an occupant
local function read_page(room, query)
	if query.with and jid.bare(query.with) ~= room.jid then return { total = 0, complete = true }; end
	return page.read(messages_of(room), muc_mam.name_of(room), room.jid, query, muc_mam.use_total);
end

-- Returns how many messages it has sent; or nil and the condition of an error
local function answer(room, origin, stanza, query)
	local results = read_encoded(room, origin, stanza, query);
	if results then return #encoded.send(origin, stanza, query, results, muc_mam.use_total); end
	local found, condition = read_page(room, query);
	if not found then return nil, condition; end
	page.send(origin, stanza, query, found);
	return #found;
end

local function log_query(stanza, query)
	module:log("debug", "Archive query by %s id=%s with=%s when=%s...%s max=%d%s", jid.bare(stanza.attr.from), query.id or stanza.attr.id,
		query.with or "*", query.start and datetime(query.start) or "", query["end"] and datetime(query["end"]) or "", query.max,
		query.reverse and " last page" or "");
end

module:hook("iq-get/bare/"..xmlns_mam..":query", function (event)
	event.origin.send(st.reply(event.stanza):query(xmlns_mam):add_child(form:form()));
	return true;
end);

module:hook("iq-set/bare/"..xmlns_mam..":query", function (event)
	local origin, stanza = event.origin, event.stanza;
	local room, err = readable_room(stanza);
	if not room then return refuse(origin, stanza, err); end
	local query;
	query, err = mam_query.parse(stanza.tags[1], form, muc_mam.options.max_archive_query_results);
	if not query then return refuse(origin, stanza, err); end
	log_query(stanza, query);
	local count, condition = answer(room, origin, stanza, query);
	if not count then
		module:log("debug", "Archive query id=%s failed: %s", query.id or stanza.attr.id, condition);
		return refuse(origin, stanza, { type = condition == "item-not-found" and "modify" or "cancel", condition = condition });
	end
	module:log("debug", "Archive query id=%s completed, %d items returned", query.id or stanza.attr.id, count);
	return true;
end);

module:hook("iq-get/bare/"..xmlns_mam..":metadata", function (event)
	local origin, stanza = event.origin, event.stanza;
	local room, err = readable_room(stanza);
	if not room then return refuse(origin, stanza, err); end
	origin.send(page.metadata(messages_of(room), muc_mam.name_of(room), stanza));
	return true;
end);

--- Disco

module:add_feature(xmlns_mam);

module:hook("muc-disco#info", function (event)
	local caps = muc_mam.archive.caps or {};
	local reply = event.reply;
	if muc_mam.is_archived(event.room) then
		reply:tag("feature", { var = xmlns_mam }):up();
		if caps.full_id_range and caps.ids then reply:tag("feature", { var = xmlns_mam.."#extended" }):up(); end
	end
	reply:tag("feature", { var = "urn:xmpp:sid:0" }):up();
end);

return function (parts)
	muc_mam = parts;
	form = mam_query.form(muc_mam.archive.caps);
end
