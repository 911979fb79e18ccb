-- Which nicknames a visitor may have: what is wrong with one by itself, and which two look alike

local encodings = require "util.encodings";
local cache = require "util.cache";

local LONGEST = 40; -- characters; the page's form says so too
local ACCENTS = 3; -- on one letter: no language that Unicode has no precomposed letters for needs more
local KNOWN = 2000; -- names whose keys are kept: those of the people in a large room

local resourceprep, nameprep = encodings.stringprep.resourceprep, encodings.stringprep.nameprep;
local skeleton = encodings.confusable and encodings.confusable.skeleton; -- nil where Prosody was built without ICU

-- Default_Ignorable_Code_Point of Unicode's DerivedCoreProperties.txt, what else has the general category Cf, and two blanks
-- that are no spaces. The characters that resourceprep removes or refuses are here too: the list can be compared with Unicode's.
local invisible = {
	{ 0xAD, 0xAD }, { 0x34F, 0x34F }, { 0x600, 0x605 }, { 0x61C, 0x61C }, { 0x6DD, 0x6DD }, { 0x70F, 0x70F }, { 0x890, 0x891 },
	{ 0x8E2, 0x8E2 }, { 0x115F, 0x1160 }, { 0x1680, 0x1680 }, { 0x17B4, 0x17B5 }, { 0x180B, 0x180F }, { 0x200B, 0x200F },
	{ 0x2028, 0x202E }, { 0x2060, 0x206F }, { 0x2800, 0x2800 }, { 0x3164, 0x3164 }, { 0xFE00, 0xFE0F }, { 0xFEFF, 0xFEFF },
	{ 0xFFA0, 0xFFA0 }, { 0xFFF0, 0xFFFB }, { 0x110BD, 0x110BD }, { 0x110CD, 0x110CD }, { 0x13430, 0x1343F }, { 0x1BCA0, 0x1BCA3 },
	{ 0x1D173, 0x1D17A }, { 0xE0000, 0xE0FFF },
};

-- Combining Diacritical Marks, and the further blocks of such
local accents = { { 0x300, 0x36F }, { 0x483, 0x489 }, { 0x1AB0, 0x1AFF }, { 0x1DC0, 0x1DFF }, { 0x20D0, 0x20FF }, { 0xFE20, 0xFE2F } };

-- The alphabets whose letters look alike
local alphabets = {
	Latin = { { 0x41, 0x5A }, { 0x61, 0x7A }, { 0xC0, 0xD6 }, { 0xD8, 0xF6 }, { 0xF8, 0x24F }, { 0x1E00, 0x1EFF } };
	Greek = { { 0x370, 0x3FF }, { 0x1F00, 0x1FFF } };
	Cyrillic = { { 0x400, 0x52F }, { 0x1C80, 0x1C8F }, { 0xA640, 0xA69F } };
};

local function is_in(code, ranges)
	for _, range in ipairs(ranges) do
		if code >= range[1] and code <= range[2] then return true; end
	end
	return false;
end

local function has_invisible(name)
	for _, code in utf8.codes(name) do
		if is_in(code, invisible) then return true; end
	end
	return false;
end

local function has_many_accents(name)
	local count = 0;
	for _, code in utf8.codes(name) do
		count = is_in(code, accents) and count + 1 or 0;
		if count > ACCENTS then return true; end
	end
	return false;
end

-- In one word, so that both may be in a name
local function mixes_alphabets(name)
	local alphabet;
	for _, code in utf8.codes(name) do
		if code == 0x20 then alphabet = nil; end
		for each, ranges in pairs(alphabets) do
			if is_in(code, ranges) then
				if alphabet and alphabet ~= each then return true; end
				alphabet = each;
			end
		end
	end
	return false;
end

local names = { has_icu = skeleton ~= nil };

-- Why nobody can have this name, for people to read; nil if somebody can. The name is a resource as Prosody has prepared it.
function names.flaw(name)
	local length = utf8.len(name);
	if not length or not resourceprep(name, true) then
		return "This server cannot use a character of this name, as most emoji: choose letters, digits and spaces";
	elseif length > LONGEST then
		return ("This name is longer than %d characters: choose a shorter one"):format(LONGEST);
	elseif has_invisible(name) then
		return "This name has a character that cannot be seen: type it anew";
	elseif name:find("^ ") or name:find(" $") or name:find("  ", 1, true) then
		return "A name neither begins nor ends with a space, and has no two in a row: choose another one";
	elseif has_many_accents(name) then
		return "This name has too many accents on one letter: choose another one";
	elseif mixes_alphabets(name) then
		return "This name mixes alphabets in one word: write the word in one of them";
	end
end

local function fold(text)
	return nameprep(text) or text:lower(); -- RFC 3491: case folding, and NFKC
end

-- Spaces and signs between the letters tell nobody apart
local function letters(text)
	local rest = text:gsub("[%s%p]", "");
	return rest ~= "" and rest or text;
end

-- The skeleton (UTS #39, section 4) knows capital and small letters as different. Which of them is a look-alike of which
-- depends on what is done first: a capital I is like a small l, and is the same letter as a small i.
local function make_keys(name)
	if not skeleton then return { [letters(fold(name))] = true }; end
	return { [letters(fold(skeleton(name)))] = true, [letters(fold(skeleton(fold(name))))] = true };
end

local known = cache.new(KNOWN);

local function keys(name)
	local made = known:get(name);
	if not made then
		made = make_keys(name);
		known:set(name, made);
	end
	return made;
end

function names.are_alike(one, other)
	local others = keys(other);
	for key in pairs(keys(one)) do
		if others[key] then return true; end
	end
	return false;
end

return names;
