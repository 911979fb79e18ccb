-- prosodyctl mod_storage_native COMMAND: what is asked for. Exit status 0 good, 1 something is wrong, 2 usage.

local terminal = module:require "terminal";

local USAGE = [==[
Usage: prosodyctl mod_storage_native COMMAND

  stat [HOST [STORE [USER]]] [--json]   what is in the store; pep_* stands for all that begin with pep_
  check [--json]                        compares all records that depend on one another
  backup FILE                           copies the store to a new file, while the server runs
  restore FILE [--replace]              puts a backup in the place of the store; the server must be stopped
  compact                               writes the store anew, without what was deleted; the server must be stopped
  import --from DRIVER [HOST [STORE]] [--merge] [--online]
                                        copies from another storage driver, for instance internal or sql
  export --to DRIVER [HOST [STORE]] [--merge]
                                        copies to another storage driver

An import or export that was interrupted goes on when it is run again. What holds other data already is an error;
--merge leaves that as it is.]==];

-- maximal number of names, minimal number, flags: true, or "value" where one follows
local COMMANDS = {
	stat = { max = 3, min = 0, flags = { json = true } };
	check = { max = 0, min = 0, flags = { json = true } };
	backup = { max = 1, min = 1, flags = {} };
	restore = { max = 1, min = 1, flags = { replace = true } };
	compact = { max = 0, min = 0, flags = {} };
	import = { max = 2, min = 0, flags = { from = "value", merge = true, online = true }, needs = "from" };
	export = { max = 2, min = 0, flags = { to = "value", merge = true }, needs = "to" };
};

-- Returns names, flags; or nil, text.
local function parse(arg, known)
	local names, flags, i = {}, {}, 2;
	while i <= #arg do
		local flag, value = arg[i]:match("^%-%-([^=]+)=?(.*)$");
		local kind = known.flags[flag];
		if flag and not kind then return nil, ("unknown option %s"):format(arg[i]); end
		if kind == "value" and value == "" then
			i = i + 1;
			value = arg[i];
			if not value then return nil, ("--%s needs a value"):format(flag); end
		end
		if kind == "value" then
			flags[flag] = value;
		elseif kind then
			flags[flag] = true;
		else
			names[#names + 1] = arg[i];
		end
		i = i + 1;
	end
	if #names < known.min then return nil, "a name is missing"; end
	if #names > known.max then return nil, ("%s is one name too many"):format(names[known.max + 1]); end
	if known.needs and not flags[known.needs] then return nil, ("--%s is needed"):format(known.needs); end
	return names, flags;
end

local function load_tool(name, database)
	if name == "stat" or name == "check" then return (module:require "inspect")[name]; end
	if name == "backup" or name == "compact" then return (module:require "copies")[name]; end
	if name == "restore" then return module:require "restore"; end
	return module:require "transfer"(database)[name];
end

local function asks_for_help(arg)
	for _, word in ipairs(arg) do
		if word == "--help" or word == "-h" then return true; end
	end
	return arg[1] == nil or arg[1] == "help";
end

return function (database, arg)
	if asks_for_help(arg) then
		terminal.print("%s", USAGE);
		return 0;
	end
	local known = COMMANDS[arg[1]];
	local names, flags;
	if known then
		names, flags = parse(arg, known);
	else
		flags = ("unknown command %s"):format(arg[1]);
	end
	if not names then
		terminal.error("%s\nprosodyctl mod_storage_native --help tells what there is", flags);
		return 2;
	end
	return load_tool(arg[1], database)(names, flags);
end
