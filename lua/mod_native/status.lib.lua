-- prosodyctl mod_native status: what the running server says of itself. Exit status 0 it has answered, 1 it has not.

local json = require "util.json";

local ask = module:require "ask";
local figures = module:require "figures";
local terminal = module:require "terminal";

local status = {};

-- What the server answers
function status.collect()
	return { prosody = prosody.version, uptime = os.time() - prosody.start_time, sections = figures.collect() };
end

function status.as_text(found)
	local head = ("Prosody %s, up %s"):format(found.prosody, figures.value(found.uptime, "seconds"));
	if not found.sections[1] then
		return head.."\n\nNo module with figures is loaded.\n";
	end
	return head.."\n\n"..figures.as_text(found.sections);
end

function status.as_json(found)
	local all = figures.by_name(found.sections);
	all.server = { prosody = found.prosody, uptime = found.uptime };
	return json.encode(all).."\n";
end

function status.run(_, flags)
	local found, text = ask();
	if not found then
		terminal.error("%s", text);
		return 1;
	end
	io.stdout:write(flags.json and status.as_json(found) or status.as_text(found));
	return 0;
end

return status;
