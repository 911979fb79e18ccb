-- The result of an import or export: a table of counts and a table of failures, or both as JSON

local json = require "util.json";

local format_table = module:require "table";
local group_name = module:require "drivers".group_name;
local terminal = module:require "terminal";

local printable, plural = terminal.printable, terminal.plural;

local SHOWN_FAILURES = 100;
local MOST = 40; -- a longer name does not widen its column

local COLUMNS = {
	{ title = "host" }, { title = "store" }, { title = "type" }, { title = "users", right = true },
	{ title = "source", right = true }, { title = "target", right = true }, { title = "" },
};
local FAILURE_COLUMNS = {
	{ title = "host", most = MOST }, { title = "store", most = MOST }, { title = "type", most = MOST },
	{ title = "user", most = MOST }, { title = "item", most = MOST }, { title = "reason" },
};

-- Names of stores and users contain no blanks.
local ALL_STORES, ALL_USERS, THE_HOST = "(all stores)", "(all users)", "(the host)";

local SEE_README = "For each of them see \"What cannot be copied\" in README.md.\n";
local NOT_COPIED = "%d tables or archives were not copied: %s has other data in their places, which are unchanged.";

local report = {};

local function selection(job)
	if job.store then return (" in the store %s of %s"):format(printable(job.store), job.host); end
	return job.host and " of "..job.host or "";
end

function report.name(store, user)
	return ("%s (%s) of %s"):format(printable(store.name), store.type,
		user and printable(user).."@"..store.host or store.host.." itself");
end

-- ---- Counts ----

local function row_for(rows, store)
	local name = group_name(store.name);
	local key = ("%s\0%s\0%s"):format(store.host, name, store.type);
	if not rows[key] then
		rows[key] = {
			host = store.host, name = name, type = store.type, users = 0, source = 0, target = 0, conflicts = 0, failures = 0;
		};
		rows[#rows + 1] = rows[key];
	end
	return rows[key];
end

local function add_unit(row, unit)
	if unit.conflict then
		row.conflicts = row.conflicts + 1;
		return;
	end
	row.users, row.source, row.target = row.users + 1, row.source + unit.source, row.target + unit.target;
	row.failures = row.failures + (unit.failures or 0);
end

local function note(row)
	local notes = {};
	if row.source ~= row.target then notes[1] = terminal.style("red", "differs"); end
	if row.failures > 0 then notes[#notes + 1] = terminal.style("red", row.failures.." failed"); end
	if row.conflicts > 0 then notes[#notes + 1] = row.conflicts.." not copied"; end
	return table.concat(notes, ", ");
end

local function cells(row)
	return { printable(row.host), printable(row.name), row.type, tostring(row.users),
		tostring(row.source), tostring(row.target), note(row) };
end

-- Returns how many tables and archives were not copied because of other data.
local function print_table(rows)
	local total = { host = "total", name = "", type = "", users = 0, source = 0, target = 0, conflicts = 0, failures = 0 };
	local lines = {};
	for i, row in ipairs(rows) do
		lines[i] = cells(row);
		for _, name in ipairs { "users", "source", "target", "conflicts", "failures" } do
			total[name] = total[name] + row[name];
		end
	end
	io.stdout:write(format_table(COLUMNS, lines, cells(total)));
	return total.conflicts;
end

-- ---- Failures ----

local function failure_cells(failure)
	return { printable(failure.host), printable(failure.store), failure.type or "", printable(failure.user or THE_HOST),
		printable(failure.item or ""), printable(failure.reason) };
end

local function print_failures(failures, copied)
	if not failures[1] then return; end
	local lines = {};
	for i = 1, math.min(#failures, SHOWN_FAILURES) do lines[i] = failure_cells(failures[i]); end
	terminal.error("%s%s", plural(#failures, "failure"), copied and "; the rest was copied" or "");
	io.stderr:write(format_table(FAILURE_COLUMNS, lines));
	if #failures > SHOWN_FAILURES then
		io.stderr:write(("... and %d more; --json shows all\n"):format(#failures - SHOWN_FAILURES));
	end
	io.stderr:write(SEE_README);
end

local function place(host, store, user)
	return { host = printable(host), store = printable(store.name), type = store.type,
		user = user and printable(user) or json.null };
end

local function print_json(rows, failures, conflicts)
	local lists = { counts = {}, failures = {}, conflicts = {} };
	for i, row in ipairs(rows) do
		lists.counts[i] = json.encode { host = printable(row.host), store = printable(row.name), type = row.type,
			users = row.users, source = row.source, target = row.target, not_copied = row.conflicts };
	end
	for i, failure in ipairs(failures) do
		lists.failures[i] = json.encode { host = printable(failure.host), store = printable(failure.store),
			type = failure.type or json.null, user = failure.user and printable(failure.user) or json.null,
			item = failure.item and printable(failure.item) or json.null, reason = printable(failure.reason) };
	end
	for i, conflict in ipairs(conflicts) do
		lists.conflicts[i] = json.encode(place(conflict.store.host, conflict.store, conflict.user));
	end
	io.stdout:write(('{"counts":[%s],"failures":[%s],"conflicts":[%s]}\n'):format(table.concat(lists.counts, ","),
		table.concat(lists.failures, ","), table.concat(lists.conflicts, ",")));
end

-- job: { to = the driver of the target, host and store = the selection, or nil }
function report.new(job, as_json)
	local rows, failures = {}, {};
	local result = {};

	-- store: { host =, name = or nil for all of the host's, type = }. user: false for the host itself, nil for all users
	function result.failed(store, user, item, reason)
		if user == nil then user = ALL_USERS; end
		failures[#failures + 1] = { host = store.host, store = store.name or ALL_STORES, type = store.type, user = user,
			item = item, reason = reason };
	end

	-- units of a store: { user =, source = and target = entries, failures = number }, or { user =, conflict = true }
	function result.add(store, units)
		local row = row_for(rows, store);
		for _, unit in ipairs(units) do add_unit(row, unit); end
		if store.unsupported then
			row.failures = row.failures + 1;
			result.failed(store, nil, nil, store.unsupported);
		end
	end

	-- Nothing was written. conflicts: array of { store =, user = }
	function result.refused(conflicts, text)
		if as_json then
			print_json({}, failures, conflicts);
		else
			terminal.print("%s", text);
		end
	end

	local function print_text()
		if not rows[1] and not failures[1] then terminal.print("Nothing to copy%s.", selection(job)); end
		local conflicts = rows[1] and print_table(rows) or 0;
		if conflicts > 0 then
			terminal.print("%s", terminal.style("yellow", NOT_COPIED:format(conflicts, job.to)));
		end
		print_failures(failures, rows[1] ~= nil);
	end

	-- Prints it. Returns the exit status.
	function result.finish()
		if as_json then
			print_json(rows, failures, {});
		else
			print_text();
		end
		return failures[1] and 1 or 0;
	end

	return result;
end

return report;
