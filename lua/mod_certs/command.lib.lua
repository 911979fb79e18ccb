-- prosodyctl mod_certs COMMAND: what is asked for. Exit status 0 good, 1 something is wrong, 2 usage, 3 warnings of check.

local format = require "util.format".format;
local logger = require "util.logger";

local terminal = module:require "terminal";

local USAGE = [==[
Usage: prosodyctl mod_certs COMMAND

  explain FILE|HOST[:PORT] [--domain DOMAIN]
                          what a certificate says, which hosts and services it serves, and why it does not
  request HOST... [--rsa] [--output DIRECTORY]
                          makes a private key and a request for a certificate of these hosts
  tlsa HOST|FILE [--domain DOMAIN] [--usage N] [--selector N] [--match N] [--ttl SECONDS]
                          the TLSA records to publish, for a zone file
  check [HOST...] [--days N]
                          compares what DNS says with what is served
  rollover HOST --new FILE
                          replaces a certificate step by step, so that no peer is ever locked out

Each of them takes --json.]==];

-- maximal number of names, minimal number, flags: true, or "value" where one follows
local COMMANDS = {
	explain = { max = 1, min = 1, flags = { domain = "value" } };
	request = { max = 100, min = 1, flags = { rsa = true, output = "value" } };
	tlsa = { max = 1, min = 1, flags = { domain = "value", usage = "value", selector = "value", match = "value",
		ttl = "value" } };
	check = { max = math.huge, min = 0, flags = { days = "value" } };
	rollover = { max = 1, min = 1, flags = { new = "value" }, needs = "new" };
};

-- Returns names, flags; or nil, text.
local function parse(arg, known)
	local names, flags, i = {}, {}, 2;
	while i <= #arg do
		local flag, value = arg[i]:match("^%-%-([^=]+)=?(.*)$");
		local kind = flag == "json" or known.flags[flag];
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

local function asks_for_help(arg)
	for _, word in ipairs(arg) do
		if word == "--help" or word == "-h" then return true; end
	end
	return arg[1] == nil or arg[1] == "help";
end

-- Prosody's own log lines would stand among the results, or within JSON.
local function log_to_standard_error()
	logger.reset();
	for _, level in ipairs { "warn", "error" } do
		logger.add_level_sink(level, function (source, _, message, ...)
			io.stderr:write(source, ": ", format(message, ...), "\n");
		end);
	end
end

return function (arg)
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
		terminal.error("%s\nprosodyctl mod_certs --help tells what there is", flags);
		return 2;
	end
	log_to_standard_error();
	return module:require(arg[1])(names, flags);
end
