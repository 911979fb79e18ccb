-- What an import or export has copied: a table of counts, and whose data is not the same in both

local format_table = module:require "table";
local name_of_many = module:require "names".name_of_many;
local terminal = module:require "terminal";

local SHOWN_FAILURES = 100;

local COLUMNS = {
	{ title = "host" }, { title = "store" }, { title = "type" }, { title = "users", right = true },
	{ title = "source", right = true }, { title = "target", right = true }, { title = "" },
};

local NOT_COPIED = "%d tables or archives were not copied: %s holds other data in their places, and keeps them.";

local report = {};

local function asked_for(job)
	if job.store then return (" in the store %s of %s"):format(terminal.printable(job.store), job.host); end
	return job.host and " of "..job.host or "";
end

function report.name(store, user)
	return ("%s (%s) of %s"):format(terminal.printable(store.name), store.type,
		user and terminal.printable(user).."@"..store.host or store.host.." itself");
end

local function row_for(rows, store)
	local name = name_of_many(store.name);
	local key = ("%s\0%s\0%s"):format(store.host, name, store.type);
	if not rows[key] then
		rows[key] = { host = store.host, name = name, type = store.type, users = 0, source = 0, target = 0, skipped = 0 };
		rows[#rows + 1] = rows[key];
	end
	return rows[key];
end

local function add_unit(row, unit)
	if unit.skipped then
		row.skipped = row.skipped + 1;
		return true;
	end
	row.users, row.source, row.target = row.users + 1, row.source + unit.source, row.target + unit.target;
	return unit.source == unit.target and not unit.error;
end

local function cells(row)
	local note = row.differs and terminal.style("red", "differs") or "";
	if row.skipped > 0 then note = (note.." %d not copied"):format(row.skipped); end
	return { terminal.printable(row.host), terminal.printable(row.name), row.type, tostring(row.users),
		tostring(row.source), tostring(row.target), note };
end

-- Returns how many tables and archives were skipped.
local function print_table(rows)
	local lines, total = {}, { host = "total", name = "", type = "", users = 0, source = 0, target = 0, skipped = 0 };
	for i, row in ipairs(rows) do
		lines[i] = cells(row);
		for _, name in ipairs { "users", "source", "target", "skipped" } do total[name] = total[name] + row[name]; end
	end
	io.stdout:write(format_table(COLUMNS, lines, cells(total)));
	return total.skipped;
end

-- job: { to = the target's driver, host and store = what alone was asked for, or nil }
function report.new(job)
	local rows, failures = {}, {};
	local result = {};

	-- units of a store: { user =, source =, target =, error = } in entries, or { user =, skipped = true }
	function result.add(store, units)
		local row = row_for(rows, store);
		for _, unit in ipairs(units) do
			if not add_unit(row, unit) then
				row.differs = true;
				if not store.unsupported then
					failures[#failures + 1] = ("%s: %d of %d; %s"):format(report.name(store, unit.user), unit.target,
						unit.source, unit.error or "what has come is not what was sent");
				end
			end
		end
		if store.unsupported then
			failures[#failures + 1] = ("%s (%s) on %s: %s"):format(terminal.printable(store.name), store.type, store.host,
				store.unsupported);
		end
	end

	-- Prints it. Returns the exit status.
	function result.finish()
		if not rows[1] then
			terminal.print("There is nothing to be copied%s.", asked_for(job));
			return 0;
		end
		local skipped = print_table(rows);
		if skipped > 0 then
			terminal.print("%s", terminal.style("yellow", NOT_COPIED:format(skipped, job.to)));
		end
		for i = 1, math.min(#failures, SHOWN_FAILURES) do terminal.error("%s", failures[i]); end
		if #failures > SHOWN_FAILURES then terminal.error("... and %d more", #failures - SHOWN_FAILURES); end
		return #failures == 0 and 0 or 1;
	end

	return result;
end

return report;
