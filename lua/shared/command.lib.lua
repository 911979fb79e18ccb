-- prosodyctl mod_NAME COMMAND ...: parses the arguments of a module's commands, and runs the command. In the module:
--
--   function module.command(arg)
--       return module:require "command"(arg, {
--           { usage = "stat [HOST [STORE]] [--json]", help = "shows what is in the store", run = stat };
--           { usage = "import FILE... --from DRIVER [--depth N]", help = "copies from another driver", run = import };
--       }, "A paragraph below the help.");
--   end
--
-- usage   the name of the command, then its arguments: WORD is required, WORD... is one or more, [WORD] and [WORD...] are
--         optional. --option WORD is required and takes a value, [--option WORD] is optional, [--option] takes no value, and
--         [--option WORD...] may be repeated. Options may be anywhere; --option=VALUE is the same as --option VALUE.
-- help    one or more lines
-- run     run(names, options) gets an array of the arguments and a table of the options, { json = true, depth = "3",
--         tag = { "each", "value", "of [--tag WORD...]" } }. It returns the exit status: 0 success, 1 failure, 2 wrong usage;
--         other values are the command's own. error { text = ... } prints the text and ends the command with status 1.
--         Meanwhile Prosody's log goes to standard error: only the output of run is on standard output.

local format = require "util.format".format;
local logger = require "util.logger";

local terminal = module:require "terminal";

-- ---- Usage ----

local function count(text, pattern)
	return select(2, text:gsub(pattern, ""));
end

-- { name =, min =, max = number of names, options = { [option] = "value", "values" or "flag" }, required = { options } }
local function grammar_of(usage)
	local name, rest = usage:match("^(%S+)(.*)$");
	local grammar = { name = name, min = 0, max = 0, options = {}, required = {} };
	local depth, of = 0, nil; -- of: the option whose value is the next word
	for word in rest:gmatch("%S+") do
		local optional = depth > 0 or word:find("^%[") ~= nil;
		local option = word:match("^%[?%-%-([%w-]+)");
		if option then
			grammar.options[option] = word:find("%]$") and "flag" or "value";
			if not optional then table.insert(grammar.required, option); end
		elseif of then
			if word:find("...", 1, true) then grammar.options[of] = "values"; end
		else
			grammar.max = word:find("...", 1, true) and math.huge or grammar.max + 1;
			if not optional then grammar.min = grammar.min + 1; end
		end
		of = grammar.options[option] == "value" and option or nil;
		depth = depth + count(word, "%[") - count(word, "%]");
	end
	return grammar;
end

local function print_help(commands, notes)
	terminal.print("Usage: prosodyctl mod_%s COMMAND\n", module.name);
	for _, command in ipairs(commands) do
		terminal.print("  %s\n      %s", command.usage, (command.help:gsub("\n", "\n      ")));
	end
	if notes then terminal.print("\n%s", notes); end
end

-- ---- Arguments ----

-- Returns name and value of the option at arg[i], and the number of words that they take; or nil, text.
local function read_option(grammar, arg, i, option, value)
	local kind = grammar.options[option];
	if not kind then return nil, ("unknown option --%s"):format(option); end
	if kind == "flag" then
		if value then return nil, ("--%s takes no value"):format(option); end
		return option, true, 1;
	end
	local words = value and 1 or 2;
	value = value or arg[i + 1];
	if not value or value == "" then return nil, ("missing value of --%s"):format(option); end
	return option, value, words;
end

-- Returns names, options; or nil, text.
local function parse(grammar, arg)
	local names, options, i = {}, {}, 2;
	while i <= #arg do
		local words = 1;
		local option, value = arg[i]:match("^%-%-([^=]+)=?(.*)$");
		if option then
			if not arg[i]:find("=", 1, true) then value = nil; end
			option, value, words = read_option(grammar, arg, i, option, value);
			if not option then return nil, value; end
			if grammar.options[option] == "values" then
				options[option] = options[option] or {};
				table.insert(options[option], value);
			else
				options[option] = value;
			end
		else
			table.insert(names, arg[i]);
		end
		i = i + words;
	end
	if #names < grammar.min then return nil, "missing argument"; end
	if #names > grammar.max then return nil, ("too many arguments: %s"):format(names[grammar.max + 1]); end
	for _, option in ipairs(grammar.required) do
		if not options[option] then return nil, ("missing option --%s"):format(option); end
	end
	return names, options;
end

local function asks_for_help(arg)
	for _, word in ipairs(arg) do
		if word == "--help" or word == "-h" then return true; end
	end
	return arg[1] == nil or arg[1] == "help";
end

local function find(commands, name)
	for _, command in ipairs(commands) do
		local grammar = grammar_of(command.usage);
		if grammar.name == name then return command, grammar; end
	end
	return nil, ("unknown command %s"):format(name);
end

-- Otherwise Prosody's log lines would be among the results, or within JSON.
local function log_to_standard_error()
	logger.reset();
	for _, level in ipairs { "warn", "error" } do
		logger.add_level_sink(level, function (source, _, message, ...)
			io.stderr:write(source, ": ", format(message, ...), "\n");
		end);
	end
end

-- error { text = } is meant for the operator. Other errors are bugs.
local function with_traceback(err)
	return type(err) == "table" and err or debug.traceback(err);
end

return function (arg, commands, notes)
	if asks_for_help(arg) then
		print_help(commands, notes);
		return 0;
	end
	local command, grammar = find(commands, arg[1]);
	local names, options;
	if command then
		names, options = parse(grammar, arg);
	else
		options = grammar;
	end
	if not names then
		terminal.error("%s\nSee prosodyctl mod_%s --help", options, module.name);
		return 2;
	end
	log_to_standard_error();
	local ok, status = xpcall(command.run, with_traceback, names, options);
	if not ok and type(status) == "table" then terminal.error("%s", status.text); end
	if not ok and type(status) ~= "table" then error(status, 0); end
	return ok and status or 1;
end
