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

-- The end of the record at a position, if it is as Prosody writes it and nothing in it looks like another record; or nil
local function record_end(text, at)
	if text:sub(at, at + #BEGIN - 1) ~= BEGIN then return nil; end
	local _, stop = text:find(END, at, true);
	local other = stop and text:find("item(", at + 1, true);
	return (not other or other > stop) and stop or nil;
end

-- The end of any part: line by line
local function part_end(text, at)
	local line = at;
	while line <= #text do
		if line > at and text:sub(line, line + 4) == "item(" then return line - 1; end
		local stop = text:find("\n", line, true) or #text;
		if stop - line >= #BEGIN and text:sub(stop - #BEGIN + 1, stop) == BEGIN then return stop - #BEGIN; end
		if text:sub(stop - #END + 1, stop) == END then return stop; end
		line = stop + 1;
	end
	return #text;
end

-- The parts of a list, each of which is a record or something else: an iterator of text, function. The function returns the
-- number of the part's first line, until the next part is asked for: lines are counted for errors only.
function records.split(text)
	local at, next_at = 1, 1;
	local counted, number = 1, 1; -- position, and its line

	local function line()
		number = number + select(2, text:sub(counted, at - 1):gsub("\n", ""));
		counted = at;
		return number;
	end

	return function ()
		at = next_at;
		if at > #text then return nil; end
		local stop = record_end(text, at) or part_end(text, at);
		next_at = stop + 1;
		return text:sub(at, stop), line;
	end
end

-- "line:2: unexpected symbol" within a part that begins in line 7: "line 8: unexpected symbol"
local function explain(err, first)
	local line, text = tostring(err):match("^line:(%d+): (.*)$");
	if not line then return ("line %d: %s"):format(first(), tostring(err)); end
	return ("line %d: %s"):format(first() + tonumber(line) - 1, text);
end

-- Parses one part, with the function of its line. Returns an array of items, and a reason if some of it cannot be parsed.
function records.read(text, first)
	local items, zero = {}, text:find("\0", 1, true);
	local written = zero and text:sub(1, zero - 1) or text;
	local function item(value) items[#items + 1] = value; end
	local chunk, err = load(written, "=line", "t", { item = item });
	local ok = chunk ~= nil;
	if ok then ok, err = pcall(chunk); end
	if not ok then return items, explain(err, first); end
	if zero then return items, ("line %d: zeros instead of a record"):format(first() + select(2, written:gsub("\n", ""))); end
	if not items[1] and written:find("%S") then return items, ("line %d: no item"):format(first()); end
	return items;
end

-- Parses the file of a table. Returns the table, or nil, reason
function records.read_table(text)
	local function first() return 1; end
	local chunk, err = load(text, "=line", "t", {});
	if not chunk then return nil, explain(err, first); end
	local ok, value = pcall(chunk);
	if not ok then return nil, explain(value, first); end
	if type(value) ~= "table" then return nil, ("holds a %s instead of a table"):format(type(value)); end
	return value;
end

return records;
