-- Makes Prosody's libraries and the project's shared objects load in busted.
--
--   PROSODY_LIB  directory of Prosody's Lua files; default /usr/lib/prosody
--   PN_LIBDIR    directory of the shared objects; default lua/mod_smacks
--   SEED, SOAK   see helper.seed, helper.tries

local prosody_lib = os.getenv("PROSODY_LIB") or "/usr/lib/prosody";
local pn_libdir = os.getenv("PN_LIBDIR") or "lua/mod_smacks";

if not package.path:find(prosody_lib, 1, true) then
	package.path = prosody_lib .. "/?.lua;" .. package.path;
	package.cpath = prosody_lib .. "/?.so;" .. package.cpath;
end

-- From 13.0 on, this makes "prosody.util.x" the same as "util.x".
if not package.loaded["prosody.loader"] and package.searchpath("loader", prosody_lib .. "/?.lua") then
	require "loader";
	package.loaded["prosody.loader"] = true;
end

local st = require "util.stanza";
local new_stream = require "util.xmppstream".new;

local helper = { st = st };

--- Seed of random tests; make sets it from the date.
helper.seed = tonumber(os.getenv("SEED") or 1);

--- How often a random test repeats: the full number with SOAK in the environment, otherwise a sample.
function helper.tries(sample, full)
	return os.getenv("SOAK") and full or sample;
end

--- The functions of a shared object of mod_smacks.
function helper.native(name)
	return assert(package.loadlib(pn_libdir .. "/" .. name .. ".so", "luaopen_" .. name))();
end

--- A stanza from a table, without the checks of util.stanza: any name, attribute or text.
function helper.element(name, attr, children)
	local element = { name = name, attr = attr or {}, tags = {} };
	for i, child in ipairs(children or {}) do
		element[i] = child;
		if type(child) == "table" then
			table.insert(element.tags, child);
		end
	end
	return setmetatable(element, st.stanza_mt);
end

--- Parses `xml` as Prosody does in a client's stream; nil and a condition if it is not well-formed.
-- Leaves out the xml:lang that the stream adds to every stanza.
function helper.parse(xml)
	local parsed, failure;
	local own_lang = xml:match("^<[^>]*"):find(" xml:lang='", 1, true);
	local callbacks = {
		default_ns = "jabber:client";
		streamopened = function (session) session.notopen = nil; end;
		handlestanza = function (_, stanza) parsed = stanza; end;
		error = function (_, condition)
			failure = condition ~= "invalid-top-level-element" and condition or failure;
		end;
	};
	local stream = new_stream({ notopen = true }, callbacks, 100 * 1024 * 1024);
	assert(stream:feed("<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"));
	local ok = stream:feed(xml);
	if not ok or failure or not parsed then
		return nil, failure or "not-well-formed";
	end
	if not own_lang then
		parsed.attr["xml:lang"] = nil;
	end
	return parsed;
end

local function first_difference(a, b, path)
	if type(a) ~= "table" or type(b) ~= "table" then
		return a ~= b and ("%s: %q and %q"):format(path, tostring(a), tostring(b)) or nil;
	end
	path = path .. "/" .. tostring(a.name);
	if a.name ~= b.name then
		return path .. ": name is " .. tostring(b.name);
	elseif #a ~= #b or #a.tags ~= #b.tags then
		return path .. (": %d children, %d tags and %d, %d"):format(#a, #a.tags, #b, #b.tags);
	elseif getmetatable(a) ~= getmetatable(b) then
		return path .. ": metatables";
	end
	for _, pair in ipairs { { a.attr, b.attr }, { b.attr, a.attr } } do
		for key, value in pairs(pair[1]) do
			if pair[2][key] ~= value then
				return ("%s: attribute %q is %q and %q"):format(path, key, value, tostring(pair[2][key]));
			end
		end
	end
	local tag = 0;
	for i = 1, #a do
		if type(a[i]) == "table" then
			tag = tag + 1;
			if a.tags[tag] ~= a[i] or b.tags[tag] ~= b[i] then
				return path .. ": tags do not list the children";
			end
		end
		local difference = first_difference(a[i], b[i], path .. "[" .. i .. "]");
		if difference then
			return difference;
		end
	end
	for key in pairs(b) do
		if a[key] == nil then
			return path .. ": field " .. tostring(key);
		end
	end
end

--- Fails, with the first difference, unless two stanzas are the same tables.
function helper.assert_same_stanza(expected, got)
	local difference = first_difference(expected, got, "");
	if difference then
		error(difference, 2);
	end
end

local function canonical_tag(name, attributes)
	local prefixes, list = {}, {};
	for prefix, ns in attributes:gmatch(" xmlns:(ns%d+)='([^']*)'") do
		prefixes[prefix] = ns;
	end
	for key, value in attributes:gmatch(" ([^=]*)='([^']*)'") do
		local prefix, rest = key:match("^(ns%d+):(.*)$");
		if prefix then
			table.insert(list, prefixes[prefix] .. "\1" .. rest .. "=" .. value);
		elseif not key:match("^xmlns:ns%d+$") then
			table.insert(list, key .. "=" .. value);
		end
	end
	table.sort(list);
	return "<" .. name .. " " .. table.concat(list, " ") .. (attributes:match("/$") or "") .. ">";
end

--- Serialized XML with its attributes in a fixed order. tostring() escapes < > and ' in values and text.
function helper.canonical(xml)
	return (xml:gsub("<([^ />]+)([^>]*)>", canonical_tag));
end

return helper;
