-- Message Archive Management, XEP-0313 and XEP-0441. Replaces Prosody's own module of the same name. README.md lists options, log lines,
-- limits and differences.

local set = require "util.set";

local options = module:require "option_reader".read(module:require "options");
if not options.mam_native then return module:require "stock" "mam_native"; end

local CHAT_STATES = "http://jabber.org/protocol/chatstates";

local archive = module:open_store(options.archive_store, "archive");
if not archive.find then
	error(("mod_%s does not support archiving\nSee https://prosody.im/doc/storage and https://prosody.im/doc/archiving for more information")
		:format(archive._provided_by or archive.name and "storage_"..archive.name));
end
local caps = archive.caps or {};

local note_day, expires = module:require "archive_expiry" {
	archive = archive, seconds = options.archive_expires_after;
	store = "archive_cleanup", cache_size = options.archive_cleanup_date_cache_size, owners = "users";
};

local use_total = options.mam_include_total;
if use_total == nil then use_total = expires or archive.counts_fast == true; end

local left_out = options.dont_archive_namespaces and {} or { [CHAT_STATES] = true };
for namespace in options.dont_archive_namespaces or set.new {} do left_out[namespace] = true; end

-- What the parts of the module share
local mam = {
	archive = archive;
	append = module:require "archive_append"(archive, options.archive_expires_after, options.storage_archive_item_limit);
	note_day = note_day;
	prefs = module:require "prefs"(options.archive_store);
	left_out = left_out;
	page_size = options.max_archive_query_results;
	use_total = use_total;
};
module:require "messages"(mam);
module:require "queries"(mam);

local features = { "urn:xmpp:mam:2", "urn:xmpp:sid:0", "urn:xmpp:mam:2#groupchat-field" };
if caps.full_id_range and caps.ids then table.insert(features, "urn:xmpp:mam:2#extended"); end

module:hook("account-disco-info", function (event)
	local reply = event.reply or event.stanza;
	for _, feature in ipairs(features) do reply:tag("feature", { var = feature }):up(); end
end);

module:log("info", "Loaded prosody-native's module in the place of Prosody's own");
