-- prosodyctl mod_storage_native stat, check

local config = require "core.configmanager";
local json = require "util.json";

local drivers = module:require "drivers";
local format_table = module:require "table";
local option_reader = module:require "option_reader";
local terminal = module:require "terminal";
local tool = module:require "tool";

local matches, group_name = drivers.matches, drivers.group_name;
local printable, bytes = terminal.printable, terminal.bytes;

local LEVELS = { "host", "store", "user" };
local THE_HOST = "(the host)"; -- no user name holds a blank

-- ---- stat ----

local function is_selected(collection, patterns)
	for i, level in ipairs(LEVELS) do
		if patterns[i] and not matches(patterns[i], collection[level] or "") then return false; end
	end
	return true;
end

-- A text for a misspelt host: one that is neither in the configuration nor in the database
local function unknown_host(pattern, in_database)
	if not pattern or pattern:sub(-1) == "*" or prosody.hosts[pattern] or in_database[pattern] then return nil; end
	return ("the host %s is neither in the configuration nor in the database"):format(printable(pattern));
end

-- Calls visit(collection) for those that match the patterns. Returns true, or nil, text.
local function each_collection(handle, patterns, visit)
	local progress, seen, position, in_database = terminal.progress("Counting"), 0, 0, {};
	while position do
		local collections, next_position, text = handle:collections(position, true);
		if not collections then
			progress.finish();
			return nil, text;
		end
		for _, collection in ipairs(collections) do
			in_database[collection.host] = true;
			if is_selected(collection, patterns) then visit(collection); end
		end
		seen, position = seen + #collections, next_position;
		progress.update(seen);
	end
	progress.finish();
	local why = unknown_host(patterns[1], in_database);
	if why then return nil, why; end
	return true;
end

-- A row for each host, store or user: the first level without a name
local function grouped_level(patterns)
	for i, level in ipairs(LEVELS) do
		if not patterns[i] or patterns[i]:sub(-1) == "*" then return level; end
	end
	return "user";
end

local function group_of(collection, level, patterns)
	local name = collection[level] or THE_HOST;
	return level == "store" and not patterns[2] and group_name(name) or name;
end

local function add(groups, collection, level, patterns)
	local name = group_of(collection, level, patterns);
	local key = name.."\0"..(level == "host" and "" or collection.type);
	local group = groups[key];
	if not group then
		group = { name = name, type = collection.type, collections = 0, entries = 0, bytes = 0 };
		groups[key] = group;
		groups[#groups + 1] = group;
	end
	group.collections = group.collections + 1;
	group.entries = group.entries + collection.entries;
	group.bytes = group.bytes + collection.bytes;
end

local host_options = option_reader.of_scope(module:require "options", "host");

-- The bytes that a host may have, nil: no limit
local function limit_of(host)
	local values = option_reader.values(host_options, function (name) return config.get(host, name); end, function () end);
	return values.storage_native_max_host_size > 0 and math.floor(values.storage_native_max_host_size) or nil;
end

-- For a table of hosts: their limits, if there are any
local function add_limits(groups, columns, rows)
	local limits, any = {}, false;
	for i, group in ipairs(groups) do
		limits[i] = limit_of(group.name);
		any = any or limits[i] ~= nil;
	end
	if not any then return; end
	table.insert(columns, { title = "limit", right = true });
	for i, row in ipairs(rows) do table.insert(row, limits[i] and bytes(limits[i]) or ""); end
end

local function print_groups(groups, level)
	table.sort(groups, function (a, b)
		if a.name ~= b.name then return a.name < b.name; end
		return a.type < b.type;
	end);
	local columns = { { title = level }, { title = "collections", right = true },
		{ title = "entries", right = true }, { title = "bytes", right = true } };
	if level ~= "host" then table.insert(columns, 2, { title = "type" }); end
	local rows, sums = {}, { collections = 0, entries = 0, bytes = 0 };
	local function row(name, kind, group)
		local cells = { name, tostring(group.collections), tostring(group.entries), bytes(group.bytes) };
		if level ~= "host" then table.insert(cells, 2, kind); end
		return cells;
	end
	for i, group in ipairs(groups) do
		rows[i] = row(printable(group.name), group.type, group);
		for name in pairs(sums) do sums[name] = sums[name] + group[name]; end
	end
	local total = row("total", "", sums);
	if level == "host" then add_limits(groups, columns, rows); end
	if #columns > #total then table.insert(total, ""); end
	io.stdout:write(format_table(columns, rows, total));
end

local STRUCTURES = {
	sound = "verified", damaged = "damaged, nothing is written: restore a backup, or export what can be read",
	unknown = "not verified since the machine was started",
};

local function print_file(info, structure)
	terminal.print("%s", terminal.style("bold", tool.directory));
	terminal.print("  file      %s, %s used, %s free inside, at most %s", bytes(info.file_bytes), bytes(info.used_bytes),
		bytes(info.file_bytes - info.used_bytes), bytes(info.max_bytes));
	terminal.print("  durable   %s", info.durable >= info.transaction and ("all of %d transactions"):format(info.transaction)
		or ("%d of %d transactions"):format(info.durable, info.transaction));
	terminal.print("  structure %s", STRUCTURES[structure]);
	if info.erasing > 0 then
		terminal.print("  erasing   deleted records of %d collections", info.erasing);
	end
	terminal.print("");
end

local function stat_as_text(handle, patterns)
	local info, condition, why = handle:info();
	if not info then return tool.fail("%s", why or condition); end
	local level, groups = grouped_level(patterns), {};
	local ok, text = each_collection(handle, patterns, function (collection)
		add(groups, collection, level, patterns);
	end);
	if not ok then return tool.fail("%s", text); end
	print_file(info, handle:verification().structure);
	print_groups(groups, level);
	return 0;
end

-- As text: the hosts with their sizes and limits
local function hosts_as_json(sizes)
	local list = {};
	for host, size in pairs(sizes) do
		list[#list + 1] = json.encode { host = printable(host), bytes = size, max_bytes = limit_of(host) };
	end
	table.sort(list);
	return table.concat(list, ",");
end

local function stat_as_json(handle, patterns)
	local info, condition, why = handle:info();
	if not info then return tool.fail("%s", why or condition); end
	local list, sizes = {}, {};
	local ok, text = each_collection(handle, patterns, function (collection)
		sizes[collection.host] = (sizes[collection.host] or 0) + collection.bytes;
		list[#list + 1] = json.encode({
			host = printable(collection.host), store = printable(collection.store),
			user = collection.user and printable(collection.user) or json.null,
			type = collection.type, entries = collection.entries, bytes = collection.bytes,
		});
	end);
	if not ok then return tool.fail("%s", text); end
	io.stdout:write('{"store":', json.encode({
		directory = printable(tool.directory), file_bytes = info.file_bytes, used_bytes = info.used_bytes,
		max_bytes = info.max_bytes, transaction = info.transaction, durable = info.durable, erasing = info.erasing,
		structure = handle:verification().structure,
	}), ',"hosts":[', hosts_as_json(sizes), '],"collections":[', table.concat(list, ","), "]}\n");
	return 0;
end

-- ---- check ----

-- Returns the number of records, and an array of problems; or nil, text. On damaged pages records cannot be compared.
local function find_problems(handle)
	local damage = tool.verify(handle);
	if damage then return 0, { damage }; end
	local task, condition, why = handle:check();
	if not task then return nil, why or condition; end
	local ok, done, _, problems = tool.run_task(task, "Checking");
	return ok and done, ok and problems or done;
end

local function check(handle, as_json)
	local done, problems = find_problems(handle);
	if not done then return tool.fail("%s", problems); end
	if as_json then
		local list = {};
		for i, problem in ipairs(problems) do list[i] = json.encode(printable(problem)); end
		io.stdout:write(('{"records":%d,"problems":[%s]}\n'):format(done, table.concat(list, ",")));
	else
		for _, problem in ipairs(problems) do terminal.print("%s", printable(problem)); end
		terminal.print("%s", #problems == 0
			and terminal.style("green", ("%d records, no problems"):format(done))
			or terminal.style("red", ("%d records, %d problems"):format(done, #problems)));
	end
	return #problems == 0 and 0 or 1;
end

return {
	stat = function (patterns, flags)
		return tool.with_unverified(flags.json and stat_as_json or stat_as_text, patterns);
	end;
	check = function (_, flags)
		return tool.with_unverified(check, flags.json);
	end;
};
