-- Preferences as XML (XEP-0441), for other modules too: see mamprefs.lib.lua

local jid_prep = require "util.jid".prep;
local st = require "util.stanza";

local xmlns_mam = "urn:xmpp:mam:2";

local DEFAULTS = { always = true, never = false, roster = "roster" };
local NAMES = { [true] = "always", [false] = "never", roster = "roster" };

local function sorted_rules(prefs, wanted)
	local jids = {};
	for jid, rule in pairs(prefs) do
		if jid and (rule and true or false) == wanted then jids[#jids + 1] = jid; end
	end
	table.sort(jids);
	return jids;
end

local function tostanza(prefs)
	local element = st.stanza("prefs", { xmlns = xmlns_mam, default = NAMES[prefs[false]] });
	for _, name in ipairs { "always", "never" } do
		element:tag(name);
		for _, jid in ipairs(sorted_rules(prefs, DEFAULTS[name])) do element:text_tag("jid", jid); end
		element:up();
	end
	return element;
end

-- Returns the rules; and the first JID that is invalid, which is left out
local function read(element)
	local prefs, invalid = { [false] = DEFAULTS[element.attr.default] }, nil;
	for _, name in ipairs { "always", "never" } do
		local list = element:get_child(name);
		for rule in (list or st.stanza(name)):childtags("jid") do
			local jid = jid_prep(rule:get_text());
			if jid then prefs[jid] = DEFAULTS[name]; else invalid = invalid or rule:get_text() or ""; end
		end
	end
	return prefs, invalid;
end

-- Preferences that a client has sent; or nil, the condition of an error and a text. A JID in both lists is never archived.
local function parse(element)
	local prefs, invalid = read(element);
	if prefs[false] == nil then return nil, "bad-request", "The attribute 'default' must be 'always', 'never' or 'roster'"; end
	if invalid then return nil, "jid-malformed", "Invalid JID: "..invalid; end
	return prefs;
end

return { tostanza = tostanza; fromstanza = function (element) return (read(element)); end; parse = parse };
