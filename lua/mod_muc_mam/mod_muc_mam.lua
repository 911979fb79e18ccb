-- Message Archive Management for rooms, XEP-0313. Replaces Prosody's own module of the same name. README.md lists options, log lines,
-- limits and differences.

if module:get_host_type() ~= "component" then
	module:log_status("error", "mod_%s should be loaded only on a MUC component, not normal hosts", module.name);
	return;
end

local options = module:require "option_reader".read(module:require "options");
if not options.muc_mam_native then return module:require "stock" "muc_mam_native"; end

local archive = module:open_store("muc_log", "archive");
if archive.name == "null" or not archive.find then
	module:log("error", "Rooms cannot be archived: storage driver %s cannot do that",
		archive._provided_by or archive.name and "storage_"..archive.name.."(?)" or "<unknown>");
	module:log("info", "See https://prosody.im/doc/storage and https://prosody.im/doc/archiving for more information");
	return false;
end

local note_day, expires = module:require "archive_expiry" {
	archive = archive, seconds = options.muc_log_expires_after;
	store = "muc_log_cleanup", cache_size = options.muc_log_cleanup_date_cache_size, owners = "rooms";
};

local use_total = options.muc_log_include_total;
if use_total == nil then use_total = expires or archive.counts_fast or options.mam_include_total; end

-- What the parts of the module share
local muc_mam = {
	options = options;
	archive = archive;
	append = module:require "archive_append"(archive, options.muc_log_expires_after, options.storage_archive_item_limit);
	note_day = note_day;
	use_total = use_total;
	get_room = module:depends "muc".get_room_from_jid;
};
muc_mam.is_archived = module:require "config"(muc_mam);
module:require "messages"(muc_mam);
module:require "history"(muc_mam);
module:require "queries"(muc_mam);
local broadcast = module:require "broadcast";

if archive.delete then
	module:hook("muc-room-destroyed", function (event)
		archive:delete(muc_mam.name_of(event.room));
	end);
else
	module:log("warn", "Storage driver %s does not support deletion", archive._provided_by);
	module:log("warn", "Archived message will persist after a room has been destroyed");
end

function module.load()
	broadcast.load();
	module:log("info", "Loaded prosody-native's module in the place of Prosody's own");
end

function module.unload()
	broadcast.unload();
end
