-- The archives of mod_storage_internal, read and written as lists. The driver itself rewrites a whole
-- archive for each item that comes with an id; and on 13.0 it ends in silence at an item that
-- is torn or has no id, as those of very old versions.

local datamanager = require "core.storagemanager".olddm;
local datetime = require "util.datetime";
local st = require "util.stanza";

local lists = {};
lists.__index = lists;

-- An item is the stanza, preserialized, with these beside it.
local function take_apart(item)
	local id, when, with = item.key, item.when or datetime.parse(item.attr.stamp), item.with;
	item.key, item.when, item.with = nil, nil, nil;
	item.attr.stamp, item.attr.stamp_legacy = nil, nil;
	return id or false, st.deserialize(item), when, with;
end

-- The iterator gives false where an item has no id.
function lists:find(user)
	local items, text = datamanager.list_load(user, self.host, self.store);
	if not items and text then return nil, text; end
	local i = 0;
	return function ()
		i = i + 1;
		if items and items[i] then return take_apart(items[i]); end
	end
end

-- Nothing with the same id may be there.
function lists:append(user, id, stanza, when, with)
	if not id then return self.driver_store:append(user, nil, stanza, when, with); end
	local item = st.preserialize(st.clone(stanza));
	item.key, item.when, item.with = id, when, with;
	item.attr.stamp = datetime.datetime(when);
	return datamanager.list_append(user, self.host, self.store, item);
end

function lists:users()
	return self.driver_store:users();
end

-- An archive of the driver; stores of other drivers or types are given back as they are.
return function (store, driver_name, host, name, typ)
	if not store or driver_name ~= "internal" or typ ~= "archive" then return store; end
	return setmetatable({ driver_store = store, host = host, store = name }, lists);
end
