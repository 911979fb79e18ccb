-- Failures of import and export. The fault of one item is reported, and everything else is copied. A failure that every later
-- item would meet as well stops the run.
--
--   fault   { item = name or nil, reason = text }
--   stop    { stop = true, text =, again = whether another run continues once the cause is gone }

local faults = {};

local AGAIN, NEVER = true, false;

-- Texts of libraries and of the operating system, in the locale of prosodyctl, which is fixed
local ALWAYS = {
	["not enough memory"] = AGAIN;
	["Cannot allocate memory"] = AGAIN;
	["Too many open files"] = AGAIN;
	["database is locked"] = AGAIN;
	["database table is locked"] = AGAIN;
	["database schema is locked"] = AGAIN;
	["unable to open database file"] = AGAIN;
	["file is not a database"] = NEVER;
};

-- Stop a run that writes. While reading, an error of the disk may concern the blocks of one file.
local WRITING = {
	["No space left on device"] = AGAIN;
	["Disk quota exceeded"] = AGAIN;
	["Read-only file system"] = AGAIN;
	["Input/output error"] = AGAIN;
	["database or disk is full"] = AGAIN;
	["attempt to write a readonly database"] = AGAIN;
	["disk I/O error"] = AGAIN;
};

-- Conditions of the native driver that do not concern one item; storage-corrupt may, when reading
local CONDITIONS = {
	["host-full"] = AGAIN; ["storage-full"] = AGAIN; ["disk-full"] = AGAIN; ["read-only"] = AGAIN; ["access-denied"] = AGAIN;
	["storage-busy"] = AGAIN; ["resource-constraint"] = AGAIN; ["storage-lost"] = AGAIN;
	["io-error"] = NEVER; ["storage-damaged"] = NEVER; ["storage-foreign"] = NEVER; ["storage-version"] = NEVER;
};

-- Only at the end of a text: it may quote text of a user before that.
local function find_in(list, text)
	for ending, again in pairs(list) do
		if text:sub(-#ending) == ending then return again; end
	end
end

-- Drivers raise texts, or util.error's tables, which have a text. The place in Prosody that raised a text is of no use to an operator.
local function text_of(err)
	local text = type(err) == "table" and (err.text or err.condition) or err;
	return (tostring(text):gsub("%S*%.lua:%d+: ", ""));
end

function faults.stop(text, again)
	error({ stop = true, text = text, again = again }, 0);
end

faults.text_of = text_of;

-- The fault for an error that was raised, or returned by a method. Raises a stop again.
function faults.of(err, writing)
	if type(err) == "table" and err.stop then error(err, 0); end
	if type(err) == "table" and err.reason then return err; end
	local text = text_of(err);
	local again = find_in(ALWAYS, text);
	if again == nil and writing then again = find_in(WRITING, text); end
	if again ~= nil then faults.stop(text, again); end
	return { reason = text };
end

-- Raises the fault, or stop, for the error that a method has returned: a text, or a condition and a text.
function faults.raise(condition, text)
	local again = CONDITIONS[condition];
	if again ~= nil then faults.stop(text or condition, again); end
	error(faults.of(text or condition), 0);
end

-- Stops the run: the native driver cannot write, and no item is the cause.
function faults.refused(condition, text)
	faults.stop(text or condition, CONDITIONS[condition] or false);
end

-- Returns true and the result, or false and the fault.
function faults.protect(call, ...)
	local ok, result = pcall(call, ...);
	if ok then return true, result; end
	return false, faults.of(result);
end

return faults;
