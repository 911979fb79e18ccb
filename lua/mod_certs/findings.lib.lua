-- What a check has found: rows that are ok, a warning or an error, and the exit status that monitoring wants

local array = require "util.array";
local json = require "util.json";

local terminal = module:require "terminal";

local COLOURS = { ok = "green", warning = "yellow", error = "red" };
local ORDER = { ok = 0, warning = 1, error = 2 };
local STATUS = { ok = 0, warning = 3, error = 1 };

local function print_row(row, widths)
	local state = terminal.style(COLOURS[row.state], ("%-7s"):format(row.state));
	terminal.print("  %s  %-"..widths.check.."s  %-"..widths.subject.."s  %s", state, row.check, row.subject, row.text);
end

local function widths_of(rows)
	local widths = { check = 0, subject = 0 };
	for _, row in ipairs(rows) do
		widths.check = math.max(widths.check, #row.check);
		widths.subject = math.max(widths.subject, #row.subject);
	end
	return widths;
end

local function print_all(rows, counts)
	local widths, last = widths_of(rows), nil;
	for _, row in ipairs(rows) do
		if row.host ~= last then
			terminal.print("%s%s", last and "\n" or "", terminal.style("bold", row.host));
			last = row.host;
		end
		print_row(row, widths);
	end
	terminal.print("\n%d ok, %s, %s", counts.ok, terminal.plural(counts.warning, "warning"), terminal.plural(counts.error, "error"));
end

-- Text that strangers may have written is made printable here, for the terminal as for JSON.
return function ()
	local rows, counts, worst = array(), { ok = 0, warning = 0, error = 0 }, "ok";
	local findings = {};

	-- state: "ok", "warning" or "error"; check: what kind of row; subject: the record, address or certificate
	function findings.add(state, host, check, subject, format, ...)
		rows:push { state = state, host = terminal.printable(host), check = check, subject = terminal.printable(subject),
			text = terminal.printable(format:format(...)) };
		counts[state] = counts[state] + 1;
		if ORDER[state] > ORDER[worst] then worst = state; end
	end

	-- Prints all. Returns the exit status: 0 all is good, 1 there are errors, 3 there are warnings alone
	function findings.finish(as_json)
		if as_json then
			terminal.print("%s", json.encode { state = worst, checks = rows });
		else
			print_all(rows, counts);
		end
		return STATUS[worst];
	end

	return findings;
end
