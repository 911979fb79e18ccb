-- Lets a visitor's stanzas pass while the visitor, the network and all visitors together can pay for them

local add_filter = require "util.filters".add_filter;
local remove_filter = require "util.filters".remove_filter;
local monotonic = require "util.time".monotonic;

local BEFORE_OTHERS, AFTER_OTHERS = 1000, -1000000; -- priorities
local BEFORE_SMACKS = 1000; -- the same of filters, which takes acks out

-- What an element beside stanzas counts, in bytes. Acks are as frequent as stanzas to the visitor.
local ACK, OTHER_ELEMENT = 100, 10240;

local too_much = { visitor = "You are sending too much: wait a moment",
	network = "You are sending too much, or others of your network are: wait a moment",
	total = "The chat is busy: wait a moment" };
local busy = { visitor = "You have kept the server busy: wait a moment",
	network = "Your network has kept the server busy: wait a moment", total = "The chat is busy: wait a moment" };

return function (visitors, costs, refusal, ending)
	local gate = {};

	local function refuse(event, kind, account)
		local text = (kind == "seconds" and busy or too_much)[account.limits.whose];
		return refusal.stanza(event, kind == "seconds" and "time" or "rate", "wait", "policy-violation", text);
	end

	-- The bucket that a stanza is paid from. is_own: it goes to the visitor's own account, or to this host
	local function kind_of(stanza, is_own)
		if stanza.name == "iq" and (stanza.attr.type == "result" or stanza.attr.type == "error") then return "answers"; end
		return is_own and "questions" or "messages";
	end

	-- Refuses a stanza that is too much, and returns true then
	function gate.refuse(event, size, is_own)
		local session, stanza = event.origin, event.stanza;
		local price = costs.price(session, stanza, size);
		if price == 0 then return false; end
		local accounts = visitors.accounts(session);
		local debtor = costs.debtor(accounts, "seconds");
		if debtor then return refuse(event, "seconds", debtor); end
		local kind = kind_of(stanza, is_own);
		local short = costs.take(accounts, kind, price);
		return short and refuse(event, kind, short) or false;
	end

	--- The time that the server spends on a stanza, whatever deals with it

	local function charge(session, began)
		costs.charge(visitors.accounts(session), "seconds", monotonic() - began);
	end

	-- Everything else has let it pass: this is what Prosody does next
	local function deliver(event)
		local session, began = event.origin, event.webchat_began;
		if not began then return; end
		prosody.core_post_stanza(session, event.stanza);
		if not session.destroyed then charge(session, began); end
		return true;
	end

	-- check(event): true if it has dealt with a stanza
	function gate.hook(check)
		local function before(event)
			local began = monotonic();
			event.webchat_began = began;
			if not check(event) then return; end
			if not event.origin.destroyed then charge(event.origin, began); end
			return true;
		end
		for _, name in ipairs { "iq", "message", "presence" } do
			for _, to in ipairs { "bare", "full", "host" } do
				module:hook(("pre-%s/%s"):format(name, to), before, BEFORE_OTHERS);
				module:hook(("pre-%s/%s"):format(name, to), deliver, AFTER_OTHERS);
			end
		end
	end

	--- Bytes, and elements beside stanzas

	local function spend_bytes(session, bytes)
		if session.webchat_ending then return; end
		if not costs.take(visitors.accounts(session), "bytes", bytes) then return; end
		refusal.note(session, "bytes", "More bytes a minute than visitors may send");
		ending.soon(session, "policy-violation", "You are sending too much");
	end

	local function count_bytes(data, session)
		spend_bytes(session, #data);
		if session.webchat_ending then return nil; end
		return data;
	end

	local function count_elements(stanza, session)
		local xmlns = stanza.attr.xmlns;
		if xmlns and xmlns ~= "jabber:client" then
			spend_bytes(session, (stanza.name == "a" or stanza.name == "r") and ACK or OTHER_ELEMENT);
		end
		return stanza;
	end

	-- From the first stream header on. A session that is resumed has filters anew.
	function gate.watch(session)
		add_filter(session, "bytes/in", count_bytes, BEFORE_SMACKS - 1);
		add_filter(session, "stanzas/in", count_elements, BEFORE_SMACKS);
	end

	function gate.unwatch(session)
		remove_filter(session, "bytes/in", count_bytes);
		remove_filter(session, "stanzas/in", count_elements);
	end

	module:hook("stream-features", function (event) gate.watch(event.origin); end);
	module:hook("smacks-hibernation-end", function (event) gate.watch(event.resumed); end);

	return gate;
end
