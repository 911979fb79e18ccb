-- The path of a stanza through Prosody in C: the parser of streams. README.md lists options, log lines and limits.

module:set_global();

local native = module:require "native" "stream";
local options = module:require "option_reader".read(module:require "options");

-- Each part replaces functions of Prosody until it is stopped
local parts = {};
for _, name in ipairs { "parser" } do
	parts[#parts + 1] = module:require(name);
end

for _, part in ipairs(parts) do part.start(native, options); end

function module.unload()
	for i = #parts, 1, -1 do parts[i].stop(); end
end
