-- What visitors may cost the server. A budget is a set of token buckets, one for each kind of cost; a visitor, a network and
-- all visitors together have one each.

local throttle = require "util.throttle";

local KIB = 1024;
local REQUEST = 0.1; -- price of a request or of an answer, in messages

local budgets = {};

local function per_minute(rate, burst)
	return throttle.create(burst, 60 * burst / rate);
end

-- The limits of a visitor, of a network, and of all visitors. `messages`, `seconds`, `bytes`, `refusals` and `logins` are of a
-- minute, `burst` is of messages at once.
function budgets.limits(options)
	return {
		visitor = {
			messages = options.webchat_visitor_messages_per_minute, burst = options.webchat_visitor_message_burst;
			seconds = options.webchat_visitor_seconds_per_minute, bytes = options.webchat_visitor_bytes_per_minute;
			refusals = options.webchat_refusals_per_minute;
		};
		network = {
			messages = options.webchat_messages_per_minute, burst = options.webchat_message_burst;
			seconds = options.webchat_seconds_per_minute, bytes = options.webchat_bytes_per_minute;
			refusals = options.webchat_refusals_per_minute, logins = options.webchat_logins_per_minute;
		};
		total = {
			messages = options.webchat_total_messages_per_minute, burst = options.webchat_total_message_burst;
			seconds = options.webchat_total_seconds_per_minute, logins = options.webchat_total_logins_per_minute;
		};
	};
end

-- limits: one of these. scope: which of them, for messages
function budgets.new(limits, scope)
	local budget = { scope = scope };
	-- Answers, which others ask for, and requests to the host do not reduce the messages
	for _, kind in ipairs { "messages", "answers", "questions" } do budget[kind] = per_minute(limits.messages, limits.burst); end
	budget.seconds = limits.seconds and per_minute(limits.seconds, limits.seconds / 3); -- others wait for a burst of these
	for _, kind in ipairs { "bytes", "refusals", "logins" } do
		budget[kind] = limits[kind] and per_minute(limits[kind], limits[kind]) or nil;
	end
	return budget;
end

-- Whether all buckets of a budget are full, as those of a new one are
function budgets.is_unused(budget)
	for _, bucket in pairs(budget) do
		if bucket.peek and not bucket:peek(bucket.max) then return false; end
	end
	return true;
end

-- The price of a stanza of `size` bytes, in messages. Leaving a room is free.
function budgets.price(session, stanza, size)
	local name, kind, to = stanza.name, stanza.attr.type, stanza.attr.to;
	local price = 1;
	if name == "iq" then
		price = REQUEST;
	elseif name == "presence" and kind == "unavailable" then
		local is_available = to and session.directed and session.directed[to] or not to and session.presence;
		price = is_available and 0 or REQUEST;
	elseif name == "presence" and not to then
		price = REQUEST; -- it has no subscribers
	end
	return price * math.max(1, size / KIB);
end

-- For costs that are known after the fact. A debt is at most a minute's tokens, so nobody is locked out for longer.
function budgets.charge(list, kind, price)
	for _, budget in ipairs(list) do
		local bucket = budget[kind];
		if bucket then
			bucket:update();
			bucket.balance = math.max(bucket.balance - price, -60 * bucket.rate);
		end
	end
end

-- Takes the price from every budget, or from none. Returns nil, or the budget that is short. A price above the size of a
-- bucket needs a full bucket.
function budgets.take(list, kind, price)
	for _, budget in ipairs(list) do
		local bucket = budget[kind];
		if bucket and not bucket:peek(math.min(price, bucket.max)) then return budget; end
	end
	budgets.charge(list, kind, price);
end

-- The first budget that is in debt, or nil
function budgets.in_debt(list, kind)
	for _, budget in ipairs(list) do
		if budget[kind] and not budget[kind]:peek(0) then return budget; end
	end
end

return budgets;
