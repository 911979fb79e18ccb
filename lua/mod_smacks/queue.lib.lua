-- The outgoing queue of one stream: answers as util.smqueue does, and holds bytes instead of stanzas.
--
-- A stanza becomes a table again only when a module reads it. Modules leave marks in such
-- tables (mod_cloud_notify notes which stanzas it has pushed): the marks come back with the stanza.

local os_time = os.time;

local native = module:require "native" "smacks";

local st = require "util.stanza";

local carbons = module:require "carbons";

local TOO_LARGE = "larger than the other server accepts";

local function is_own_field(key)
	return key == "name" or key == "attr" or key == "tags" or key == "namespaces" or key == "last_add";
end

local queue = {};
local queue_mt = { __index = queue, __name = "smqueue" };

-- from: the JID that <delay/> names, and whose messages these are; limits: { bytes =, items = } and account: as in
-- include/pn/smq.h. is_shared: messages for `from` go to all of its account's queues.
local function new(from, limits, account, is_shared)
	local self = setmetatable({
		from = from;
		limits = limits;
		account = account;
		is_shared = is_shared;
		decoded = setmetatable({}, { __mode = "v" }); -- counter -> stanza, while a module holds it
		in_use = {}; -- counter -> stanza, while an event is going on
		marks = {}; -- counter -> fields that others left in the stanza
		values = {}; -- counter -> value that was pushed and is not a stanza
	}, queue_mt);
	self:start_at(0);
	return self;
end

-- The counter of the i-th held item: the h that acknowledges it
local function counter_of(self, i)
	return (self.items:pushed() - self.items:held() + i) & 0xFFFFFFFF;
end

-- The position of the item with this counter; beyond held() if it is no longer held
local function position_of(self, counter)
	return ((counter - counter_of(self, 1)) & 0xFFFFFFFF) + 1;
end

local function with_delay(self, bytes, splice, time)
	if splice == 0 then return bytes; end
	return native.splice(bytes, splice, native.delay(self.from, time));
end

local function decode(self, bytes, splice, time)
	local stanza, _, err = native.decode(with_delay(self, bytes, splice, time), st.stanza_mt);
	if not stanza then
		module:log("error", "Cannot decode a queued stanza, dropping it (%s): %q", err, bytes);
	end
	return stanza;
end

-- Returns the bytes to send, whether the queue is over its limits now, and the bytes held by the
-- process and by the account; or nil and the reason why the stanza cannot be queued. max_bytes: of a stanza. The rest are the
-- results of native.encode(stanza), where the caller has them.
function queue:enqueue(stanza, max_bytes, bytes, splice, delayed)
	if not bytes then bytes, splice, delayed = native.encode(stanza); end
	if not bytes then return nil, delayed; end
	if max_bytes and #bytes > max_bytes then return nil, TOO_LARGE; end
	if delayed or stanza.name == "iq" then splice = 0; end
	local key = self.is_shared and self.items:siblings() > 1 and carbons.key(stanza, self.from) or 0;
	local over, total, account_bytes = self.items:push(bytes, splice, os_time(), key);
	if over == nil then return nil, total; end
	return bytes, over, total, account_bytes;
end

-- The same for the bytes of a message whose end tag takes end_bytes, and which only this queue gets
function queue:enqueue_encoded(bytes, end_bytes)
	return self.items:push(bytes, #bytes - end_bytes, os_time(), 0);
end

-- The held stanzas from the i-th on as they are sent again, with their <delay/>, until there are `most` bytes.
-- Returns them, and the position after them.
function queue:render(i, most)
	return self.items:render(i, self.from, most);
end

-- The stanza with this counter: the same table as before, if a module still holds it, else made
-- from the item's bytes, with the marks that were left in it
local function restore(self, counter, bytes, splice, time)
	local stanza = self.values[counter] or self.decoded[counter];
	if stanza ~= nil then return stanza; end
	stanza = decode(self, bytes, splice, time);
	if stanza and self.marks[counter] then
		for key, value in pairs(self.marks[counter]) do stanza[key] = value; end
	end
	self.decoded[counter] = stanza;
	return stanza;
end

function queue:stanza(i)
	local bytes, splice, time = self.items:at(i);
	if not bytes then return nil; end
	local counter = counter_of(self, i);
	local stanza = restore(self, counter, bytes, splice, time);
	self.in_use[counter] = stanza;
	return stanza;
end

local function marks_of(stanza)
	local marks;
	for key, value in pairs(stanza) do
		if type(key) == "string" and not is_own_field(key) then
			marks = marks or {};
			marks[key] = value;
		end
	end
	return marks;
end

-- Notes the marks that an event left, and lets go of the stanzas
function queue:settle()
	if self.closed then return; end
	local held = self.items:held();
	for counter, stanza in pairs(self.in_use) do
		if st.is_stanza(stanza) and position_of(self, counter) <= held then
			self.marks[counter] = marks_of(stanza);
		end
		self.in_use[counter] = nil;
	end
end

-- Fires an event that has the queue as a field
function queue:fire(name, session, event)
	event.origin = event.origin or session;
	event.queue = self:view();
	module:fire_event(name, event);
	self:settle();
end

local function forget_gone(self, by_counter)
	local held = self.items:held();
	for counter in pairs(by_counter) do
		if position_of(self, counter) > held then by_counter[counter] = nil; end
	end
end

local function after_removal(self)
	if next(self.marks) then forget_gone(self, self.marks); end
	if next(self.values) then forget_gone(self, self.values); end
end

-- The client handled stanzas up to h. Returns how many are newly acknowledged, or nil and "head" or "tail".
function queue:acknowledge(h)
	local count, err = self.items:ack(h);
	if not count then return nil, err; end
	after_removal(self);
	return count;
end

-- The queue as an array that decodes stanzas when they are read, for events. It shows those that are queued now.
local view_mt = {
	__name = "smqueue.view";
	__index = function (view, i)
		if math.type(i) ~= "integer" or i < 1 or i > view.count then return nil; end
		return view.queue:stanza(position_of(view.queue, (view.first + i - 1) & 0xFFFFFFFF));
	end;
	__len = function (view) return view.count; end;
	__pairs = ipairs;
};

function queue:view()
	return setmetatable({ queue = self, first = counter_of(self, 1), count = self.items:held() }, view_mt);
end

-- Starts the counters at h instead of 0, before anything is pushed
function queue:start_at(h)
	if self.items then
		assert(self.items:unacked() == 0, "the queue is in use");
		self.items:close();
	end
	self.items = native.new { account = self.account; bytes = self.limits.bytes; items = self.limits.items; start = h };
end

-- Positions count held items from 1, counters count all pushed ones
function queue:counter(i) return counter_of(self, i); end
function queue:position(counter) return position_of(self, counter); end

function queue:is_over() return self.items:over(); end
function queue:bytes() return self.items:bytes(); end
function queue:held() return self.items:held(); end
function queue:pushed() return self.items:pushed(); end

function queue:close()
	self.closed = true;
	self.items:close();
end

-- Methods with the names and results of util.smqueue

function queue:push(value)
	if st.is_stanza(value) then
		assert(self:enqueue(value));
	else
		self.items:push("", 0, os_time());
		self.values[self.items:pushed()] = value;
	end
	while self.items:over() do self.items:take(); end
	after_removal(self);
end

function queue:ack(h)
	local acked = {};
	local left = (self.items:pushed() - h) & 0xFFFFFFFF;
	for i = 1, self.items:held() - left do acked[i] = self:stanza(i); end
	local count, err = self:acknowledge(h);
	if not count then return nil, err; end
	return acked;
end

function queue:count_unacked() return self.items:unacked(); end
function queue:count_acked() return self.items:acked(); end
function queue:resumable() return self.items:resumable(); end

function queue:resume()
	return function (_, i)
		for position = i + 1, self.items:held() do
			local stanza = self:stanza(position);
			if stanza ~= nil then return position, stanza; end -- one that is not XML hides none behind it
		end
	end, self, 0;
end

-- The second value says which other sessions have the message: see pn_smq_fate in include/pn/smq.h
function queue:consume()
	return function ()
		while not self.closed and self.items:held() > 0 do
			local counter = counter_of(self, 1);
			local bytes, splice, time, fate = self.items:take();
			local stanza = restore(self, counter, bytes, splice, time);
			after_removal(self);
			if stanza then return stanza, fate; end
		end
	end;
end

function queue:table()
	local stanzas = {};
	for _, stanza in self:resume() do table.insert(stanzas, stanza); end
	self:settle();
	return stanzas;
end

queue_mt.__len = queue.count_unacked;

function queue_mt.__freeze(self)
	return { head = self.items:pushed(), tail = self.items:acked() };
end

return {
	new = new;
	encode = native.encode;
	TOO_LARGE = TOO_LARGE;
	total_bytes = native.total;
	account_bytes = native.account;
	largest = native.largest;
};
