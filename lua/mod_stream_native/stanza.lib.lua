-- Replaces functions and methods of util.stanza by functions in C that give the same

local st = require "util.stanza";

local PLACES = {
	{ name = "top_tag", table = st.stanza_mt, field = "top_tag" };
	{ name = "tostring", table = st.stanza_mt, field = "__tostring" };
	{ name = "clone", table = st, field = "clone" };
	{ name = "tag", table = st.stanza_mt, field = "tag" };
	{ name = "text", table = st.stanza_mt, field = "text" };
};
local SOURCE = debug.getinfo(st.is_stanza, "S").source;

local stanza = {};
local replaced, ours = {}, {}; -- by name

local function is_prosodys(func)
	return type(func) == "function" and debug.getinfo(func, "S").source == SOURCE;
end

function stanza.start(native)
	for _, place in ipairs(PLACES) do replaced[place.name] = place.table[place.field]; end
	local add = st.stanza_mt.add_direct_child; -- tag() and text() do its work
	replaced.add_direct_child = is_prosodys(add) and add or nil;
	ours = native.stanza_functions(st.stanza_mt, replaced);
	for _, place in ipairs(PLACES) do
		if is_prosodys(replaced[place.name]) then
			place.table[place.field] = ours[place.name];
		else
			module:log("info", "Another module has replaced %s of util.stanza: leaving it", place.field);
		end
	end
end

local function is_in_use(place)
	return place.table[place.field] == ours[place.name];
end

-- Whoever has replaced ours meanwhile goes on calling it
function stanza.stop()
	for _, place in ipairs(PLACES) do
		if is_in_use(place) then place.table[place.field] = replaced[place.name]; end
	end
end

function stanza.figures()
	local names = {};
	for _, place in ipairs(PLACES) do
		if is_in_use(place) then names[#names + 1] = place.name; end
	end
	return { { name = "stanza_functions", value = #names, limit = #PLACES } };
end

return stanza;
