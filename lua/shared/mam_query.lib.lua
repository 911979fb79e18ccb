-- Queries of XEP-0313: the form, and what a client has sent as a table

local parse_time = module:require "xmpp_time".parse;

local dataform = require "util.dataforms".new;
local datetime = require "util.datetime".datetime;
local jid = require "util.jid";

local xmlns_forms = "jabber:x:data";
local xmlns_mam = "urn:xmpp:mam:2";
local xmlns_rsm = "http://jabber.org/protocol/rsm";

local whole_seconds = not pcall(datetime, 0.5);

local BOOLEANS = { ["1"] = true, ["true"] = true, ["0"] = false, ["false"] = false };

local query = { DEFAULT_SIZE = 20 };

--- Errors: nil, a type, a condition and a text

local function refuse(condition, text, ...)
	return nil, { type = "modify", condition = condition, text = text:format(...) };
end

local function bad_request(text, ...)
	return refuse("bad-request", text, ...);
end

--- Fields of the form. Each takes the values that the client has sent, one unless it is a list.

local fields = {};

function fields.with(value)
	local prepped = jid.prep(value);
	if not prepped then return bad_request("Invalid JID: %s", value); end
	return prepped;
end

-- round: archives of 0.12 have whole seconds, and some databases compare them with nothing else
local function read_time(value, round)
	local time = parse_time(value);
	if not time then return bad_request("invalid timestamp"); end
	return whole_seconds and round(time) or time;
end

function fields.start(value) return read_time(value, math.ceil); end
fields["end"] = function (value) return read_time(value, math.floor); end;

local function any_text(value) return value; end

fields["before-id"], fields["after-id"] = any_text, any_text;

fields["include-groupchat"] = function (value)
	if BOOLEANS[value] == nil then return bad_request("Invalid boolean: %s", value); end
	return BOOLEANS[value];
end;

function fields.ids(values)
	if not values[1] then return bad_request("The field ids has no values"); end
	return values;
end

-- The form for an archive store. has_groupchat: it has the field include-groupchat
function query.form(caps, has_groupchat)
	caps = caps or {};
	local form = dataform {
		{ name = "FORM_TYPE"; type = "hidden"; value = xmlns_mam };
		{ name = "with"; type = "jid-single" };
		{ name = "start"; type = "text-single"; datatype = "xs:dateTime" };
		{ name = "end"; type = "text-single"; datatype = "xs:dateTime" };
	};
	if caps.full_id_range then
		table.insert(form, { name = "before-id"; type = "text-single" });
		table.insert(form, { name = "after-id"; type = "text-single" });
	end
	if caps.ids then table.insert(form, { name = "ids"; type = "list-multi" }); end
	if has_groupchat then table.insert(form, { name = "include-groupchat"; type = "boolean" }); end
	return form;
end

--- Reading the form

local function values_of(field)
	local values = {};
	for value in field:childtags("value") do
		local text = value:get_text();
		if not text then return nil; end
		values[#values + 1] = text;
	end
	return values;
end

-- A field without a value is as good as none, but for a list. Returns whether the field is valid, or nil and an error
local function read_field(field, layout, data)
	local name, values = field.attr.var, values_of(field);
	if not name and field.attr.type == "fixed" then return true; end -- text for people
	if not name then return bad_request("A field of the form has no name"); end
	if not values or data[name] ~= nil then return bad_request("Invalid field: %s", name); end
	if name == "FORM_TYPE" then return true; end
	if not layout[name] then return refuse("feature-not-implemented", "Unsupported field: %s", name); end
	local is_list = name == "ids";
	if not is_list and values[2] then return bad_request("More than one value: %s", name); end
	if not is_list and not values[1] then return true; end
	local value, err = fields[name](is_list and values or values[1]);
	if err then return nil, err; end
	data[name] = value;
	return true;
end

local function form_type(form)
	for field in form:childtags("field") do
		if field.attr.var == "FORM_TYPE" then return field:get_child_text("value"); end
	end
end

local function read_form(form, layout)
	local data = {};
	if not form then return data; end
	if (form.attr.type or "submit") ~= "submit" then return bad_request("The form must be submitted"); end
	if form_type(form) ~= xmlns_mam then return bad_request("Unexpected FORM_TYPE, expected '%s'", xmlns_mam); end
	for field in form:childtags("field") do
		local ok, err = read_field(field, layout, data);
		if not ok then return nil, err; end
	end
	return data;
end

--- Reading the set (XEP-0059)

local function read_max(set, most)
	local element = set and set:get_child("max");
	if not element then return math.min(query.DEFAULT_SIZE, most); end
	local digits = (element:get_text() or ""):match("^%s*(%d+)%s*$");
	if not digits then return bad_request("Invalid max"); end
	return math.min(math.tointeger(tonumber(digits)) or most, most);
end

local function text_of(set, name)
	local element = set and set:get_child(name);
	return element and element:get_text();
end

-- An empty <before/> requests the last page
local function read_set(set, most)
	if set and set:get_child("index") then return refuse("feature-not-implemented", "Pages cannot be requested by index"); end
	local max, err = read_max(set, most);
	if not max then return nil, err; end
	local before = text_of(set, "before");
	return { max = max, reverse = before ~= nil, before = before ~= "" and before or nil, after = text_of(set, "after") };
end

--- The query

local function layout_of(form)
	local layout = {};
	for _, field in ipairs(form) do layout[field.name] = true; end
	return layout;
end

-- Reads a <query/>. form: of query.form(); most: messages of a page. Returns
--
--   id              of the query, may be nil
--   with            a JID, bare or full
--   start, end      seconds since 1970, inclusive
--   before, after   ids in the archive, exclusive
--   ids             an array of ids
--   max             messages that the page may have; 0: the client only counts
--   reverse         whether the page is the last one of those that match, and not the first one
--   newest_first    whether the messages are sent from the newest to the oldest
--   no_groupchat    whether messages of rooms are left out
--
-- each of which is nil where the client says nothing; or nil and an error for st.error_reply(), { type =, condition =, text = }.
function query.parse(element, form, most)
	local data, err = read_form(element:get_child("x", xmlns_forms), layout_of(form));
	if not data then return nil, err; end
	local set;
	set, err = read_set(element:get_child("set", xmlns_rsm), most);
	if not set then return nil, err; end
	return {
		id = element.attr.queryid;
		with = data.with, start = data.start, ["end"] = data["end"], ids = data.ids;
		before = set.before or data["before-id"], after = set.after or data["after-id"];
		max = set.max, reverse = set.reverse;
		newest_first = element:get_child("flip-page") ~= nil;
		no_groupchat = data["include-groupchat"] == false or nil;
	};
end

return query;
