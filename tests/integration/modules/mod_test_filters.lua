-- Two filters on every client's stream, one before and one after that of stream management. Each puts
-- a child into messages that have a body.
local filters = require "util.filters";
local st = require "util.stanza";

local function mark(name)
	return function (stanza)
		if not st.is_stanza(stanza) or not stanza:get_child("body") then return stanza; end
		return st.clone(stanza):tag(name, { xmlns = "urn:test:filter" }):up();
	end
end

local function add_filters(session)
	if not session.type:find("^c2s") then return; end
	filters.add_filter(session, "stanzas/out", mark("before"), 10);
	filters.add_filter(session, "stanzas/out", mark("after"), -1500);
end

filters.add_filter_hook(add_filters);
function module.unload() filters.remove_filter_hook(add_filters); end
