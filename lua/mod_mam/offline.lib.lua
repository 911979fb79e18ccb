-- Offline messages of clients that read the archive.
--
-- Such a client gets no offline message that is in the archive. The message stays in offline storage, for clients that do not read
-- archives, until a page with it was sent to a client of the account.

local stanza_id = module:require "stanza_id";

local cache = require "util.cache";
local datetime = require "util.datetime".datetime;

local READ_MAX = 10000; -- ids that are remembered of a session: as many as offline messages that a user may have

local host = module.host;
local modules = prosody.hosts[host].modules;

-- By session, until the first presence: ids that pages had; after it: keys of offline messages, by id, that no page had
local read_by, kept_by = setmetatable({}, { __mode = "k" }), setmetatable({}, { __mode = "k" });

local store;
local function offline_store()
	store = store or module:open_store("offline", "archive");
	return store;
end

local function delete(user, keys)
	for _, key in ipairs(keys) do
		local ok, err = offline_store():delete(user, { key = key });
		if not ok then module:log("error", "Cannot delete an offline message of %s: %s", user, err); end
	end
end

-- Sends an offline message as mod_offline does
local function send(origin, stanza, when)
	stanza:tag("delay", { xmlns = "urn:xmpp:delay", from = host, stamp = datetime(when) }):up();
	origin.send(stanza);
end

-- Returns the keys of messages that are done with, and those of the others by their ids in the archive
local function deliver(origin, messages)
	local own, read = origin.username.."@"..host, read_by[origin];
	local done, kept = {}, nil;
	for key, stanza, when in messages do
		local id = stanza_id.get(stanza, own);
		if id and not (read and read:get(id)) then
			kept = kept or {};
			kept[id] = key;
		else
			if not id then send(origin, stanza, when); end
			done[#done + 1] = key;
		end
	end
	return done, kept;
end

-- Messages that are not in the archive are delivered: the client would never see them
module:hook("message/offline/broadcast", function (event)
	local origin = event.origin;
	if not origin.mam_requested then return; end
	if not modules.offline then return true; end
	local messages = offline_store():find(origin.username);
	if messages then
		local done, kept = deliver(origin, messages);
		kept_by[origin] = kept;
		if not kept then
			offline_store():delete(origin.username);
		else
			delete(origin.username, done);
		end
	end
	read_by[origin] = nil;
	return true;
end);

-- Catches messages that mod_offline does not store. A message that is in the archive is not lost, so its sender gets no error.
module:hook("message/offline/handle", function (event)
	if stanza_id.get(event.stanza, event.username.."@"..host) then return true; end
end, -2);

local offline = {};

-- To be called for each page with the ids of its messages
function offline.read(session, ids)
	if not session.presence and modules.offline then -- offline messages come with the first presence
		local read = read_by[session] or cache.new(READ_MAX);
		read_by[session] = read;
		for _, id in ipairs(ids) do read:set(id, true); end
	end
	local kept, keys = kept_by[session], {};
	for _, id in ipairs(kept and ids or {}) do
		keys[#keys + 1], kept[id] = kept[id], nil;
	end
	delete(session.username, keys);
end

return offline;
