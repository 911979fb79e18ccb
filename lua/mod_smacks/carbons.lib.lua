-- Carbon copies (XEP-0280). A message may wait in several queues of an account, as it was sent to each session and as a
-- carbon copy; all of them have the same key.

local sha1 = require "util.hashes".sha1;
local st = require "util.stanza";

local xmlns_carbons = "urn:xmpp:carbons:2";
local xmlns_client = "jabber:client";
local xmlns_delay = "urn:xmpp:delay";
local xmlns_forward = "urn:xmpp:forward:0";
local xmlns_sid = "urn:xmpp:sid:0";

local carbons = {};

local function forwarded(stanza, kind)
	local carbon = stanza:get_child(kind, xmlns_carbons);
	local forward = carbon and carbon:get_child("forwarded", xmlns_forward);
	return forward and forward:get_child("message", xmlns_client);
end

-- Returns the message within a carbon copy, and "sent" or "received"; else the stanza itself.
-- Only the account's own server makes carbon copies (XEP-0280, section 11).
function carbons.unwrap(stanza, account)
	if stanza.attr.from ~= account then return stanza; end
	for _, kind in ipairs { "received", "sent" } do
		local message = forwarded(stanza, kind);
		if message then return message, kind; end
	end
	return stanza;
end

-- The id of a message in the account's archive, nil if it is not there
function carbons.archive_id(message, account)
	local stanza_id = message:get_child_with_attr("stanza-id", xmlns_sid, "by", account);
	return stanza_id and stanza_id.attr.id;
end

-- The message within a carbon copy as a stanza of its own, with the delay of the copy
function carbons.extract(carbon, message)
	local extracted = st.clone(message);
	extracted.attr.xmlns = nil;
	local delay = carbon:get_child("delay", xmlns_delay);
	if delay and not extracted:get_child("delay", xmlns_delay) then extracted:add_child(delay); end
	return extracted;
end

-- An integer that is the same for all copies of a message, and differs between messages. 0 if
-- the message has no id.
function carbons.key(stanza, account)
	if stanza.name ~= "message" then return 0; end
	local message = carbons.unwrap(stanza, account);
	local attr, archive_id = message.attr, carbons.archive_id(message, account);
	if not attr.id and not archive_id then return 0; end
	-- Senders that use an id twice are common; texts that differ tell those messages apart
	local parts = { attr.from or "", attr.to or "", attr.type or "", attr.id or "", archive_id or "",
		message:get_child_text("body") or "" };
	return (("<i8"):unpack(sha1(table.concat(parts, "\0"))));
end

return carbons;
