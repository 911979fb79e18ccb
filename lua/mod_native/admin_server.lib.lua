-- The side of the running server: the answer to `prosodyctl mod_native status`, and the commands of the admin shell

local to_base64 = require "util.encodings".base64.encode;
local json = require "util.json";
local st = require "util.stanza";

local check = module:require "check";
local status = module:require "status";
local terminal = module:require "terminal";

local PIECE = 8000; -- bytes: Prosody takes elements of 10 000

-- JSON in base64, which can be cut anywhere and needs no escaping. All elements but the last have `more`.
module:hook("admin/native-status", function (event)
	local text = to_base64(json.encode(status.collect()));
	for start = 1, #text, PIECE do
		local more = start + PIECE <= #text and "true" or nil;
		event.origin.send(st.stanza("native-status", { more = more }):text(text:sub(start, start + PIECE - 1)));
	end
	return true;
end);

-- Without colours: the terminal is the shell's, not this process's.
local function print_plain(session, text)
	for line in text:gsub("\27%[[%d]*m", ""):gmatch("([^\n]*)\n") do session.print(line); end
end

-- A module may have figures on several hosts.
local function number_of_modules(sections)
	local names, count = {}, 0;
	for _, section in ipairs(sections) do
		count, names[section.name] = count + (names[section.name] and 0 or 1), true;
	end
	return terminal.plural(count, "module");
end

local commands = {
	status = { desc = "Show sessions, storage and proofs of the native modules", handler = function (self)
		local found = status.collect();
		print_plain(self.session, status.as_text(found));
		return true, "Figures of "..number_of_modules(found.sections);
	end };
	check = { desc = "Look for problems in the configuration and on the machine", handler = function (self)
		local report = check.collect();
		print_plain(self.session, check.as_text(report));
		return check.state(report) ~= "error", check.summary(report);
	end };
};

-- 13.0 takes items; 0.12 shares the table in which its shell looks names up
local shell_env = module:shared "/*/admin_shell/env";
local takes_items = prosody.version:match("^0%.") == nil;

for name, command in pairs(commands) do
	if takes_items then
		module:add_item("shell-command", { section = "native", section_desc = "Native modules", name = name,
			desc = command.desc, args = {}, handler = command.handler });
	else
		shell_env.native = shell_env.native or {};
		shell_env.native[name] = command.handler;
	end
end

function module.unload()
	if not takes_items then shell_env.native = nil; end
end
