-- What visitors cost the server, and how much a visitor, a network, and all visitors together may

local throttle = require "util.throttle";

local KIB = 1024;
local REQUEST = 0.1; -- of a message: a request, or an answer to one

local costs = {};

local function per_minute(rate, at_once)
	return throttle.create(at_once, 60 * at_once / rate);
end

-- The limits of a visitor, of a network, and of all visitors. `messages`, `seconds`, `bytes`, `refusals` and `logins` are of a
-- minute, `burst` is of messages at once.
function costs.limits(options)
	return {
		visitor = { whose = "visitor";
			messages = options.webchat_visitor_messages_per_minute, burst = options.webchat_visitor_message_burst;
			seconds = options.webchat_visitor_seconds_per_minute, bytes = options.webchat_visitor_bytes_per_minute;
			refusals = options.webchat_refusals_per_minute;
		};
		network = { whose = "network";
			messages = options.webchat_messages_per_minute, burst = options.webchat_message_burst;
			seconds = options.webchat_seconds_per_minute, bytes = options.webchat_bytes_per_minute;
			refusals = options.webchat_refusals_per_minute, logins = options.webchat_logins_per_minute;
		};
		total = { whose = "total";
			messages = options.webchat_total_messages_per_minute, burst = options.webchat_total_message_burst;
			seconds = options.webchat_total_seconds_per_minute, logins = options.webchat_total_logins_per_minute;
		};
	};
end

-- One bucket for each kind of cost that is limited
function costs.account(limits)
	local account = { limits = limits };
	-- Answers, for which others ask, and questions to the host take nothing from the messages
	for _, kind in ipairs { "messages", "answers", "questions" } do account[kind] = per_minute(limits.messages, limits.burst); end
	account.seconds = limits.seconds and per_minute(limits.seconds, limits.seconds / 3); -- for which others wait, at once
	for _, kind in ipairs { "bytes", "refusals", "logins" } do
		account[kind] = limits[kind] and per_minute(limits[kind], limits[kind]) or nil;
	end
	return account;
end

-- Whether an account is as good as a new one
function costs.is_unused(account)
	for _, bucket in pairs(account) do
		if bucket.peek and not bucket:peek(bucket.max) then return false; end
	end
	return true;
end

-- Of a stanza, in messages. Leaving a room is never too much.
function costs.price(session, stanza, size)
	local name, kind, to = stanza.name, stanza.attr.type, stanza.attr.to;
	local price = 1;
	if name == "iq" then
		price = REQUEST;
	elseif name == "presence" and kind == "unavailable" then
		local is_here = to and session.directed and session.directed[to] or not to and session.presence;
		price = is_here and 0 or REQUEST;
	elseif name == "presence" and not to then
		price = REQUEST; -- nobody has subscribed to it
	end
	return price * math.max(1, size / KIB);
end

-- Takes the price from each account, or from none. Returns nil, or the account that has too little. A price above what an
-- account can hold waits until it is full.
function costs.take(accounts, kind, price)
	for _, account in ipairs(accounts) do
		local bucket = account[kind];
		if bucket and not bucket:peek(math.min(price, bucket.max)) then return account; end
	end
	costs.charge(accounts, kind, price);
end

-- For costs that are known afterwards. A debt is at most a minute's: nobody is locked out for longer.
function costs.charge(accounts, kind, price)
	for _, account in ipairs(accounts) do
		local bucket = account[kind];
		if bucket then
			bucket:update();
			bucket.balance = math.max(bucket.balance - price, -60 * bucket.rate);
		end
	end
end

-- The account that is in debt, or nil
function costs.debtor(accounts, kind)
	for _, account in ipairs(accounts) do
		if account[kind] and not account[kind]:peek(0) then return account; end
	end
end

return costs;
