-- Which messages are worth archiving: the type of the message, the hints of XEP-0334, and what it contains

local jid_resource = require "util.jid".resource;
local stanza_mt = require "util.stanza".stanza_mt;

local native = module:require "native" "mam"(stanza_mt);

-- Reasons by rank: that with the lowest one decides. Ids of archives have no rank.
local REASONS = { "hint", "hint", "body", "subject", "encrypted", "receipt", "marker", "invite", "jingle call" };
local NO_STORE, STORE, BODY, SUBJECT, ENCRYPTED, RECEIPT, MARKER, INVITE, CALL = 1, 2, 3, 4, 5, 6, 7, 8, 9;
local NOTHING, ID = 10, -1;

-- Ranks of elements by namespace: of all its elements, by name, or by the name of a child
local BY_NAMESPACE = {
	["urn:xmpp:hints"] = { ["no-store"] = NO_STORE; ["no-permanent-store"] = NO_STORE; store = STORE };
	["urn:xmpp:eme:0"] = { encryption = ENCRYPTED };
	["urn:xmpp:receipts"] = RECEIPT;
	["urn:xmpp:chat-markers:0"] = MARKER;
	["jabber:x:conference"] = { x = INVITE };
	["http://jabber.org/protocol/muc#user"] = { x = { invite = INVITE } };
	["urn:xmpp:jingle-message:0"] = CALL;
	["urn:xmpp:jingle-message:1"] = CALL;
	["urn:xmpp:sid:0"] = { ["stanza-id"] = ID };
};
local OWN = { body = BODY; subject = SUBJECT }; -- in the namespace of the message

local decision = {};

-- Looks at the children of a message once. left_out: a set of namespaces. Returns a rank for decide(), how many children belong to
-- left_out, how many there are, and whether one is a <stanza-id/>.
function decision.examine(stanza, left_out)
	return native.examine(stanza, BY_NAMESPACE, OWN, left_out, NOTHING);
end

-- Returns whether to archive the message, and the reason. rank: of examine(), if that was called already
function decision.decide(stanza, rank)
	local kind = stanza.attr.type;
	if kind == "headline" then return false, "headline"; end
	if kind == "groupchat" then return false, "groupchat"; end -- rooms have archives of their own
	-- Failed deliveries go to the full JID of the client that sent. Other errors answer messages of the account, such as those of PEP
	if kind == "error" then return jid_resource(stanza.attr.to) ~= nil, "bounce"; end
	rank = rank or decision.examine(stanza);
	if rank == NOTHING then return false, "default"; end
	return rank ~= NO_STORE, REASONS[rank];
end

return decision;
