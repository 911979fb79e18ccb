-- What a check has found. A finding says what is the matter, why it matters, and what to write where.

local terminal = module:require "terminal";

local COLOURS = { error = "red", warning = "yellow", advice = "green" };
local ORDER = { "error", "warning", "advice" };

-- Breaks a text into lines of at most `width` letters
local function wrapped(text, indent, width)
	local lines, line = {}, "";
	for word in text:gmatch("%S+") do
		if line ~= "" and #line + 1 + #word > width then
			lines[#lines + 1], line = line, word;
		else
			line = line == "" and word or line.." "..word;
		end
	end
	lines[#lines + 1] = line;
	return table.concat(lines, "\n"..indent);
end

return function ()
	local list = {};
	local findings = { list = list, counts = { error = 0, warning = 0, advice = 0 } };

	-- finding: { about = module, option or part of the machine, host = nil for all, what =, why =, line = nil where there is
	-- nothing to be written, place = where the line belongs, the configuration unless it says otherwise }
	function findings.add(severity, finding)
		finding.severity = severity;
		for _, key in ipairs { "about", "host", "what", "why" } do
			finding[key] = finding[key] and terminal.printable(finding[key]);
		end
		list[#list + 1] = finding;
		findings.counts[severity] = findings.counts[severity] + 1;
	end

	-- The worst there is; "ok" where there is no more than advice
	function findings.state()
		return findings.counts.error > 0 and "error" or findings.counts.warning > 0 and "warning" or "ok";
	end

	local function one_as_text(finding)
		local severity, indent = finding.severity, "         ";
		local about = finding.host and finding.about.." on "..finding.host or finding.about;
		local text = ("%s  %s\n%s%s\n%s%s\n"):format(
			terminal.style(COLOURS[severity], ("%-7s"):format(severity)), terminal.style("bold", about),
			indent, wrapped(finding.what, indent, 100), indent, terminal.style("dim", wrapped(finding.why, indent, 100)));
		if not finding.line then return text; end
		return ("%s%s%s:\n%s    %s\n"):format(text, indent, finding.place or "In the configuration", indent,
			(finding.line:gsub("\n", "\n"..indent.."    ")));
	end

	function findings.as_text()
		local texts = {};
		for _, severity in ipairs(ORDER) do
			for _, finding in ipairs(list) do
				if finding.severity == severity then texts[#texts + 1] = one_as_text(finding); end
			end
		end
		return table.concat(texts, "\n");
	end

	function findings.summary()
		local counts = findings.counts;
		local function number(count, one, many) return ("%d %s"):format(count, count == 1 and one or many); end
		return ("%s, %s, %s"):format(number(counts.error, "error", "errors"),
			number(counts.warning, "warning", "warnings"), number(counts.advice, "piece of advice", "pieces of advice"));
	end

	return findings;
end
