-- Which messages are worth archiving: the type of the message, the hints of XEP-0334, and what it contains. One pass over its children.

local jid_resource = require "util.jid".resource;

-- Reasons by rank: that with the lowest one decides
local REASONS = { "hint", "hint", "body", "subject", "encrypted", "receipt", "marker", "invite", "jingle call" };
local NO_STORE, STORE, BODY, SUBJECT, ENCRYPTED, RECEIPT, MARKER, INVITE, CALL = 1, 2, 3, 4, 5, 6, 7, 8, 9;
local NOTHING = 10;

-- Ranks of elements by namespace: of all its elements, or by name
local BY_NAMESPACE = {
	["urn:xmpp:hints"] = { ["no-store"] = NO_STORE; ["no-permanent-store"] = NO_STORE; store = STORE };
	["urn:xmpp:eme:0"] = { encryption = ENCRYPTED };
	["urn:xmpp:receipts"] = RECEIPT;
	["urn:xmpp:chat-markers:0"] = MARKER;
	["jabber:x:conference"] = { x = INVITE };
	["http://jabber.org/protocol/muc#user"] = { x = function (x) return x:get_child("invite") and INVITE; end };
	["urn:xmpp:jingle-message:0"] = CALL;
	["urn:xmpp:jingle-message:1"] = CALL;
};
local OWN = { body = BODY; subject = SUBJECT }; -- in the namespace of the message

local function rank_of(tag, xmlns)
	local ranks;
	if tag.attr.xmlns == xmlns then ranks = OWN; else ranks = BY_NAMESPACE[tag.attr.xmlns]; end
	local rank = type(ranks) == "table" and ranks[tag.name] or ranks;
	if type(rank) == "function" then rank = rank(tag); end
	return type(rank) == "number" and rank or NOTHING;
end

local function lowest_rank(stanza)
	local lowest, xmlns = NOTHING, stanza.attr.xmlns;
	for _, tag in ipairs(stanza.tags) do
		local rank = rank_of(tag, xmlns);
		if rank < lowest then lowest = rank; end
	end
	return lowest;
end

-- Returns whether to archive the message, and the reason
return function (stanza)
	local kind = stanza.attr.type;
	if kind == "headline" then return false, "headline"; end
	if kind == "groupchat" then return false, "groupchat"; end -- rooms have archives of their own
	-- Failed deliveries go to the full JID of the client that sent. Other errors answer messages of the account, such as those of PEP
	if kind == "error" then return jid_resource(stanza.attr.to) ~= nil, "bounce"; end
	local rank = lowest_rank(stanza);
	if rank == NOTHING then return false, "default"; end
	return rank ~= NO_STORE, REASONS[rank];
end
