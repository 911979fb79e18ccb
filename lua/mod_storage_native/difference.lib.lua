-- Compares a value with the one that a storage driver reads back

local is_stanza = require "util.stanza".is_stanza;

local function name_of(value)
	if type(value) == "string" then return ("%q"):format(value); end
	return type(value) == "table" and "a table" or tostring(value);
end

-- SQL drivers write 14 digits of a number with a fraction. NaN is the same as NaN.
local function same_number(a, b)
	if a == b or (a ~= a and b ~= b) then return true; end
	return math.type(a) == "float" and math.type(b) == "float" and ("%.14g"):format(a) == ("%.14g"):format(b);
end

local function same(a, b)
	if type(a) == "number" and type(b) == "number" then return same_number(a, b); end
	return a == b or (is_stanza(a) and is_stanza(b) and tostring(a) == tostring(b));
end

local function difference(a, b, path)
	if same(a, b) then return nil; end
	if type(a) ~= "table" or type(b) ~= "table" or is_stanza(a) or is_stanza(b) then
		return ("%s%s became %s"):format(path, name_of(a), name_of(b));
	end
	for key, value in pairs(a) do
		local found = difference(value, b[key], ("%s%s: "):format(path, tostring(key)));
		if found then return found; end
	end
	for key, value in pairs(b) do
		if a[key] == nil then return ("%s%s: nil became %s"):format(path, tostring(key), name_of(value)); end
	end
	return nil;
end

-- Nil if they are the same, or a text: the first difference
return function (a, b) return difference(a, b, ""); end
