-- Answers queries of clients (XEP-0313)

local encoded = module:require "mam_encoded";
local mam_query = module:require "mam_query";
local offline = module:require "offline";
local page = module:require "mam_page";

local datetime = require "util.datetime".datetime;
local jid_resource = require "util.jid".resource;
local st = require "util.stanza";

local xmlns_mam = "urn:xmpp:mam:2";

local host = module.host;

local mam, form;

local function refuse(origin, stanza, err)
	origin.send(st.error_reply(stanza, err.type, err.condition, err.text));
	return true;
end

local function log_query(origin, stanza, query)
	module:log("debug", "Archive query by %s id=%s with=%s when=%s...%s max=%d%s", origin.username, query.id or stanza.attr.id,
		query.with or "*", query.start and datetime(query.start) or "", query["end"] and datetime(query["end"]) or "", query.max,
		query.reverse and " last page" or "");
end

-- Returns the ids of the messages that it has sent; or nil and the condition of an error
local function answer_with_stanzas(origin, stanza, query)
	local user, ids = origin.username, {};
	local found, condition = page.read(mam.archive, user, user.."@"..host, query, mam.use_total);
	if not found then return nil, condition; end
	page.send(origin, stanza, query, found);
	for i, message in ipairs(found) do ids[i] = message.id; end
	return ids;
end

-- Whether storage native can select what the query asks for
local function is_for_storage(query)
	return mam.archive.page and not (query.with and jid_resource(query.with)) and not query.no_groupchat;
end

local function answer(origin, stanza, query)
	if is_for_storage(query) and encoded.takes_bytes(origin) then
		local results, condition = encoded.read(mam.archive, origin.username, query, stanza, query);
		if results then return encoded.send(origin, stanza, query, results, mam.use_total); end
		if condition == "item-not-found" then return nil, condition; end
	end
	return answer_with_stanzas(origin, stanza, query);
end

module:hook("iq-get/self/"..xmlns_mam..":query", function (event)
	local origin, stanza = event.origin, event.stanza;
	mam.prefs.touch(origin.username);
	origin.send(st.reply(stanza):query(xmlns_mam):add_child(form:form()));
	return true;
end);

module:hook("iq-set/self/"..xmlns_mam..":query", function (event)
	local origin, stanza = event.origin, event.stanza;
	origin.mam_requested = true;
	mam.prefs.touch(origin.username);
	local query, err = mam_query.parse(stanza.tags[1], form, mam.page_size);
	if not query then return refuse(origin, stanza, err); end
	log_query(origin, stanza, query);
	local ids, condition = answer(origin, stanza, query);
	if not ids then
		module:log("debug", "Archive query id=%s failed: %s", query.id or stanza.attr.id, condition);
		return refuse(origin, stanza, { type = condition == "item-not-found" and "modify" or "cancel", condition = condition });
	end
	offline.read(origin, ids);
	module:log("debug", "Archive query id=%s completed, %d items returned", query.id or stanza.attr.id, #ids);
	return true;
end);

module:hook("iq-get/self/"..xmlns_mam..":metadata", function (event)
	event.origin.send(page.metadata(mam.archive, event.origin.username, event.stanza));
	return true;
end);

-- mam: { archive =, prefs =, page_size = most messages of a page, use_total = whether matches are counted }
return function (parts)
	mam = parts;
	form = mam_query.form(mam.archive.caps, true);
end
