-- Visitors' nicknames: nobody may be mistaken for somebody else in the room or for one of its owners. Prosody's own checks do
-- not say what is wrong with a name.

local cache = require "util.cache";
local encodings = require "util.encodings";
local jid = require "util.jid";

local BEFORE_OTHERS = 100; -- priority: before Prosody's own checks
local XMLNS_NICK = "http://jabber.org/protocol/nick"; -- XEP-0172

local MAX_LENGTH = 40; -- characters; the same as in the page's form
local MAX_ACCENTS = 3; -- on one letter: languages that need more have precomposed letters in Unicode
local CACHED_NAMES = 2000; -- the people in a large room

local resourceprep, nameprep = encodings.stringprep.resourceprep, encodings.stringprep.nameprep;
local skeleton = encodings.confusable and encodings.confusable.skeleton; -- nil where Prosody was built without ICU

-- Default_Ignorable_Code_Point of Unicode's DerivedCoreProperties.txt, other characters of the general category Cf, and two
-- blanks that are not spaces. Characters that resourceprep removes or rejects are included, so that the list can be compared
-- with Unicode's.
local INVISIBLE = {
	{ 0xAD, 0xAD }, { 0x34F, 0x34F }, { 0x600, 0x605 }, { 0x61C, 0x61C }, { 0x6DD, 0x6DD }, { 0x70F, 0x70F }, { 0x890, 0x891 },
	{ 0x8E2, 0x8E2 }, { 0x115F, 0x1160 }, { 0x1680, 0x1680 }, { 0x17B4, 0x17B5 }, { 0x180B, 0x180F }, { 0x200B, 0x200F },
	{ 0x2028, 0x202E }, { 0x2060, 0x206F }, { 0x2800, 0x2800 }, { 0x3164, 0x3164 }, { 0xFE00, 0xFE0F }, { 0xFEFF, 0xFEFF },
	{ 0xFFA0, 0xFFA0 }, { 0xFFF0, 0xFFFB }, { 0x110BD, 0x110BD }, { 0x110CD, 0x110CD }, { 0x13430, 0x1343F }, { 0x1BCA0, 0x1BCA3 },
	{ 0x1D173, 0x1D17A }, { 0xE0000, 0xE0FFF },
};

-- Combining Diacritical Marks, and the blocks that extend them
local ACCENTS = { { 0x300, 0x36F }, { 0x483, 0x489 }, { 0x1AB0, 0x1AFF }, { 0x1DC0, 0x1DFF }, { 0x20D0, 0x20FF }, { 0xFE20, 0xFE2F } };

-- Alphabets with letters that look alike
local ALPHABETS = {
	Latin = { { 0x41, 0x5A }, { 0x61, 0x7A }, { 0xC0, 0xD6 }, { 0xD8, 0xF6 }, { 0xF8, 0x24F }, { 0x1E00, 0x1EFF } };
	Greek = { { 0x370, 0x3FF }, { 0x1F00, 0x1FFF } };
	Cyrillic = { { 0x400, 0x52F }, { 0x1C80, 0x1C8F }, { 0xA640, 0xA69F } };
};

local nicknames = { has_icu = skeleton ~= nil };

local refusals, rooms, visitors; -- see start()

--- Names that nobody can have

local function is_in(code, ranges)
	for _, range in ipairs(ranges) do
		if code >= range[1] and code <= range[2] then return true; end
	end
	return false;
end

-- Whether a name has more than `max` of these characters in a row
local function has_run(name, ranges, max)
	local count = 0;
	for _, code in utf8.codes(name) do
		count = is_in(code, ranges) and count + 1 or 0;
		if count > max then return true; end
	end
	return false;
end

-- Whether one word has letters of two alphabets; a name may have words of several
local function mixes_alphabets(name)
	local alphabet;
	for _, code in utf8.codes(name) do
		if code == 0x20 then alphabet = nil; end
		for each, ranges in pairs(ALPHABETS) do
			if is_in(code, ranges) then
				if alphabet and alphabet ~= each then return true; end
				alphabet = each;
			end
		end
	end
	return false;
end

-- A text that says why nobody can have this name; nil if somebody can. name: a resource that Prosody has prepared
function nicknames.flaw(name)
	local length = utf8.len(name);
	if not length or not resourceprep(name, true) then
		return "This name has a character that the server does not support, such as most emoji: use letters, digits and spaces";
	elseif length > MAX_LENGTH then
		return ("This name is longer than %d characters: choose a shorter one"):format(MAX_LENGTH);
	elseif has_run(name, INVISIBLE, 0) then
		return "This name has an invisible character: type it again";
	elseif name:find("^ ") or name:find(" $") or name:find("  ", 1, true) then
		return "A name cannot begin or end with a space or have two in a row: choose another one";
	elseif has_run(name, ACCENTS, MAX_ACCENTS) then
		return "This name has too many accents on one letter: choose another one";
	elseif mixes_alphabets(name) then
		return "This name mixes alphabets in one word: use one alphabet for each word";
	end
end

--- Names that look alike

local function fold(text)
	return nameprep(text) or text:lower(); -- RFC 3491: case folding and NFKC
end

-- Names do not differ by spaces and punctuation between letters
local function letters(text)
	local rest = text:gsub("[%s%p]", "");
	return rest ~= "" and rest or text;
end

-- The skeleton (UTS #39, section 4) distinguishes case, so the result depends on whether case is folded before or after it: a
-- capital I looks like a small l, but is the same letter as a small i. Names are alike if they share one of the two.
local function make_keys(name)
	if not skeleton then return { [letters(fold(name))] = true }; end
	return { [letters(fold(skeleton(name)))] = true, [letters(fold(skeleton(fold(name))))] = true };
end

local known = cache.new(CACHED_NAMES);

local function keys(name)
	local made = known:get(name);
	if not made then
		made = make_keys(name);
		known:set(name, made);
	end
	return made;
end

function nicknames.are_alike(one, other)
	local others = keys(other);
	for key in pairs(keys(one)) do
		if others[key] then return true; end
	end
	return false;
end

--- Names that others have

-- Whether another user in the room has a name like this
local function is_taken(room, name, own_jid)
	for nick, occupant in room:each_occupant() do
		if occupant.bare_jid ~= own_jid and nicknames.are_alike(jid.resource(nick), name) then return true; end
	end
	return false;
end

local function is_name_of(address, name)
	local node = jid.node(address);
	return node ~= nil and nicknames.are_alike(jid.unescape(node), name);
end

-- Whether the name is like that of an owner or admin of the room, present or not, or like a reserved nickname
local function is_reserved(room, name)
	for address, affiliation, data in room:each_affiliation() do
		local nick = data and data.reserved_nickname;
		if nick and nicknames.are_alike(nick, name) then return true; end
		if (affiliation == "owner" or affiliation == "admin") and is_name_of(address, name) then return true; end
	end
	for address in module:context(jid.host(room.jid)):get_option_inherited_set("admins", {}) do
		if is_name_of(address, name) then return true; end
	end
	return false;
end

-- Returns true if the name was refused
local function check(event, nick)
	local name = jid.resource(nick);
	if is_taken(event.room, name, jid.bare(event.stanza.attr.from)) then
		return refusals.refuse(event, "name", "cancel", "conflict",
			"Somebody in the room has this name or one that looks like it: choose another one");
	elseif is_reserved(event.room, name) then
		return refusals.refuse(event, "name", "cancel", "conflict", "This name is reserved for somebody else: choose another one");
	end
	local flaw = nicknames.flaw(name);
	if flaw then return refusals.refuse(event, "name", "cancel", "not-acceptable", flaw); end
end

local function entering(event)
	if visitors.is_visitor(event.origin) then return check(event, event.occupant.nick); end
end

local function changing(event)
	local nick = event.dest_occupant.nick;
	if visitors.is_visitor(event.origin) and nick ~= event.orig_occupant.nick then return check(event, nick); end
end

-- Some clients show the nickname of XEP-0172 in place of the occupant's
local function remove_nick(event)
	event.stanza:remove_children("nick", XMLNS_NICK);
end

function nicknames.start(webchat)
	refusals, rooms, visitors = webchat.refusals, webchat.rooms, webchat.visitors;
	rooms.hook("muc-occupant-pre-join", entering, BEFORE_OTHERS);
	rooms.hook("muc-occupant-pre-change", changing, BEFORE_OTHERS);
	for _, name in ipairs { "pre-message", "pre-presence" } do
		module:hook(name.."/bare", remove_nick, BEFORE_OTHERS);
		module:hook(name.."/full", remove_nick, BEFORE_OTHERS);
	end
	if not nicknames.has_icu then
		module:log("warn", "Prosody was built without ICU: lookalikes of nicknames are not found, and names are compared without regard to case");
	end
end

return nicknames;
