-- The records of a list of mod_storage_internal, one by one, so that a damaged one does not hide the others:
--
--   item({
--           ["name"] = "message";
--           ...
--   });
--
-- Within a string Prosody escapes every control character. So "item({" and a line feed begin a record anywhere, also after
-- a torn record; a line that ends with "});" ends one; and a zero byte was never written.

local BEGIN, END = "item({\n", "});\n";

local records = {};

-- The lines of a text, each with its line feed, but divided where a record begins within one: an iterator of text, number
local function divide(text)
	local at, number, rest = 1, 0, nil;
	return function ()
		if rest then
			local line = rest;
			rest = nil;
			return line, number;
		end
		if at > #text then return nil; end
		local stop = text:find("\n", at, true) or #text;
		local line = text:sub(at, stop);
		at, number = stop + 1, number + 1;
		if #line > #BEGIN and line:sub(-#BEGIN) == BEGIN then
			line, rest = line:sub(1, -#BEGIN - 1), BEGIN;
		end
		return line, number;
	end
end

-- The parts of a list, each of which is a record or something else: an iterator of text, number of its first line
function records.split(text)
	local next_piece = divide(text);
	local held, held_number;

	return function ()
		local parts, first = {}, nil;
		while true do
			local line, number = held, held_number;
			held = nil;
			if not line then line, number = next_piece(); end
			if not line then break; end
			if parts[1] and line:sub(1, 5) == "item(" then
				held, held_number = line, number;
				break;
			end
			first = first or number;
			parts[#parts + 1] = line;
			if line:sub(-#END) == END then break; end
		end
		if parts[1] then return table.concat(parts), first; end
	end
end

-- "line:2: unexpected symbol" within a part that begins in line 7: "line 8: unexpected symbol"
local function explain(err, first)
	local line, text = tostring(err):match("^line:(%d+): (.*)$");
	if not line then return ("line %d: %s"):format(first, tostring(err)); end
	return ("line %d: %s"):format(first + tonumber(line) - 1, text);
end

-- Parses one part. Returns an array of items, and a reason if some of it cannot be parsed.
function records.read(text, first)
	local items, zero = {}, text:find("\0", 1, true);
	local written = zero and text:sub(1, zero - 1) or text;
	local function item(value) items[#items + 1] = value; end
	local chunk, err = load(written, "=line", "t", { item = item });
	local ok = chunk ~= nil;
	if ok then ok, err = pcall(chunk); end
	if not ok then return items, explain(err, first); end
	if zero then return items, ("line %d: zeros instead of a record"):format(first + select(2, written:gsub("\n", ""))); end
	if not items[1] and written:find("%S") then return items, ("line %d: no item"):format(first); end
	return items;
end

-- Parses the file of a table. Returns the table, or nil, reason
function records.read_table(text)
	local chunk, err = load(text, "=line", "t", {});
	if not chunk then return nil, explain(err, 1); end
	local ok, value = pcall(chunk);
	if not ok then return nil, explain(value, 1); end
	if type(value) ~= "table" then return nil, ("holds a %s instead of a table"):format(type(value)); end
	return value;
end

return records;
