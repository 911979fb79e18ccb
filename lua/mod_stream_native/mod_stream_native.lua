-- XML streams and their stanzas in C, for the whole server. README.md lists options, log lines and limits.

module:set_global();

local native = module:require "native" "stream";
local options = module:require "option_reader".read(module:require "options");

-- Each part has start(native, options), stop(), and optionally figures() for `prosodyctl mod_native status`
local parts = {};

local function stop()
	for i = #parts, 1, -1 do parts[i].stop(); end
end

for _, name in ipairs { "parser", "stanza", "send", "connection", "carbons" } do
	local part = module:require(name);
	parts[#parts + 1] = part;
	local ok, err = pcall(part.start, native, options);
	if not ok then
		stop(); -- Prosody does not unload a module that cannot be loaded
		error(err, 0);
	end
end

module:add_item("native-status", {
	name = "stream_native";
	figures = function ()
		local list = {};
		for _, part in ipairs(parts) do
			for _, figure in ipairs(part.figures and part.figures() or {}) do list[#list + 1] = figure; end
		end
		return list;
	end;
});

module.unload = stop;
