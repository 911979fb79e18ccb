-- excluded(name, host) -> why a global module that protects every host does not protect this one, or nil
--
-- Prosody loads a module where the list of a host names it, and gives a component only a part of the global list. A module that
-- protects all hosts follows modules_disabled instead.

local config = require "core.configmanager";
local set = require "util.set";

local GLOBAL = "*";

local function lists(section, option, name)
	local list = config.rawget(section, option);
	return type(list) == "table" and set.new(list):contains(name);
end

return function (name, host)
	if lists(host, "modules_disabled", name) then
		return "modules_disabled of this host names the module";
	elseif lists(GLOBAL, "modules_disabled", name) and not lists(host, "modules_enabled", name) then
		return "modules_disabled of the global section names the module";
	end
end;
