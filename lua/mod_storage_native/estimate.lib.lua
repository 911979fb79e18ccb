-- The progress line of import and export, on a terminal:
--
--   Copying  archive (archive) of user1@example.org  120000 written  20134/s  21 %  0:22 left
--
-- The share and the time left are of weights: entries or bytes, as the source counts. They are left out if it cannot.

local monotonic = require "util.time".monotonic;

local terminal = module:require "terminal";

local function clock(seconds)
	local minutes, hours = seconds // 60, seconds // 3600;
	if hours > 0 then return ("%d:%02d:%02d"):format(hours, minutes % 60, seconds % 60); end
	return ("%d:%02d"):format(minutes, seconds % 60);
end

local estimate = {};
estimate.__index = estimate;

-- Adds the weight of a user's data, nil: unknown, before the copy begins. weigh: a function, called on a terminal only
function estimate:expect(weigh)
	if not self.line.visible then return; end
	local weight = weigh();
	self.total = weight and self.total and self.total + weight or nil;
end

function estimate:begin(name)
	self.name, self.began = name, self.began or monotonic();
end

function estimate:passed(weight)
	self.done = self.done + weight;
	self:draw();
end

function estimate:wrote()
	self.written = self.written + 1;
	self:draw();
end

function estimate:draw()
	self.line.update(self.text);
end

function estimate:finish()
	self.line.finish();
end

-- seconds: since the copy began
function estimate:state(seconds)
	local parts = { self.name, ("%d written"):format(self.written) };
	if seconds >= 1 then parts[#parts + 1] = ("%d/s"):format(self.written // seconds); end
	if self.total and self.total > 0 then
		local share = math.min(self.done / self.total, 1);
		parts[#parts + 1] = ("%d %%"):format(math.floor(100 * share));
		if seconds >= 1 and share > 0 then
			parts[#parts + 1] = clock(math.ceil(seconds * (1 - share) / share)).." left";
		end
	end
	return table.concat(parts, "  ");
end

-- label: the first word of the line
return function (label)
	local self = setmetatable({ line = terminal.progress(label), total = 0, done = 0, written = 0, name = "" }, estimate);
	self.text = function () return self:state(monotonic() - (self.began or monotonic())); end;
	return self;
end
