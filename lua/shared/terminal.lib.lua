-- Output of the tools: results to standard output, progress and errors to standard error

local array = require "util.array";
local pposix = require "util.pposix";
local is_utf8 = require "util.encodings".utf8.valid;
local monotonic = require "util.time".monotonic;

local INTERVAL = 0.1; -- seconds between two states of a progress line
local UNITS = { "KB", "MB", "GB", "TB" };
local STYLES = { bold = "1", dim = "2", red = "31", green = "32", yellow = "33" };
local CLEAR_LINE = "\r\27[K";

local wants_colour = (os.getenv("NO_COLOR") or "") == "";

local terminal = {};

local function styled(file, style, text)
	if not wants_colour or not pposix.isatty(file) then return text; end
	return ("\27[%sm%s\27[0m"):format(STYLES[style], text);
end

function terminal.style(style, text)
	return styled(io.stdout, style, text);
end

function terminal.print(format, ...)
	io.stdout:write(format:format(...), "\n");
end

function terminal.error(format, ...)
	io.stdout:flush();
	io.stderr:write(styled(io.stderr, "red", "error: "), format:format(...), "\n");
end

-- Escapes bytes of a name that a terminal would interpret or that JSON cannot hold as \xNN.
function terminal.printable(name)
	local function escape(byte)
		return ("\\x%02x"):format(byte:byte());
	end
	name = name:gsub("[%c\\]", escape);
	name = name:gsub("\194[\128-\159]", function (c1) return (c1:gsub(".", escape)); end);
	return is_utf8(name) and name or (name:gsub("[\128-\255]", escape));
end

-- The same for an array of names, for JSON
function terminal.printables(texts)
	local list = array();
	for _, text in ipairs(texts) do list:push(terminal.printable(text)); end
	return list;
end

function terminal.date(time)
	return os.date("!%Y-%m-%d %H:%M:%S UTC", time);
end

function terminal.bytes(number)
	if number < 1024 then return ("%d B"):format(number); end
	local unit = 0;
	repeat
		number, unit = number / 1024, unit + 1;
	until number < 1024 or unit == #UNITS;
	return ("%.1f %s"):format(number, UNITS[unit]);
end

-- A progress line, on a terminal only, where `visible` is true: update(done, total or nil) rewrites it, finish() removes it.
-- done may be a function, which is called only if the line is rewritten.
function terminal.progress(label)
	local visible = pposix.isatty(io.stderr);
	local progress, drawn_at = { visible = visible }, nil;

	function progress.update(done, total)
		local now = visible and monotonic();
		if not visible or (drawn_at and now - drawn_at < INTERVAL) then return; end
		drawn_at = now;
		local state = tostring(type(done) == "function" and done() or done);
		if total then
			state = ("%3d %%  %d of %d"):format(done * 100 // math.max(total, 1), done, total);
		end
		io.stderr:write(CLEAR_LINE, label, "  ", state);
	end

	function progress.finish()
		if drawn_at then io.stderr:write(CLEAR_LINE); end
		drawn_at = nil;
	end

	return progress;
end

-- "1 error", "2 errors"
function terminal.plural(number, noun)
	return ("%d %s%s"):format(number, noun, number == 1 and "" or "s");
end

return terminal;
