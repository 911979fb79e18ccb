-- is_left_out(name, host) -> why a global module that serves every host does not serve this one, or nil
--
-- Prosody loads a module where the list of a host names it, and gives a component a part of the global list alone. A module
-- that is to protect all of them goes by what the operator has forbidden instead.

local config = require "core.configmanager";
local set = require "util.set";

local GLOBAL = "*";

local function names(section, option, name)
	local list = config.rawget(section, option);
	return type(list) == "table" and set.new(list):contains(name);
end

return function (name, host)
	if names(host, "modules_disabled", name) then
		return "modules_disabled of this host names the module";
	elseif names(GLOBAL, "modules_disabled", name) and not names(host, "modules_enabled", name) then
		return "modules_disabled of the global section names the module";
	end
end;
