-- Loads Prosody's own module of this name in the place of this one: it is the next one in the plugin path

local envload = require "util.envload".envload;

local NAME = "mod_"..module.name;

local function read(path)
	local file = io.open(path);
	if not file then return nil; end
	local text = file:read("a");
	file:close();
	return text;
end

-- Folders that hold the module, in the order in which Prosody looks into them. options.lib.lua: a folder of this project
local function find()
	for directory in prosody.paths.plugins:gmatch("[^"..package.config:sub(3, 3).."]+") do
		directory = directory:gsub("/+$", "");
		for _, folder in ipairs { directory.."/"..NAME, directory } do
			local text = not read(folder.."/options.lib.lua") and read(folder.."/"..NAME..".lua");
			if text then return folder, text; end
		end
	end
end

-- Its libraries are beside it, and not those of this folder
local function require_from(folder)
	local require_ours = module.require;
	function module:require(name)
		local text = read(folder.."/"..name..".lib.lua");
		if not text then return require_ours(self, name); end
		return assert(envload(text, "@"..folder.."/"..name..".lib.lua", self.environment))();
	end
end

-- option: the name of the option that was set to false
return function (option)
	local folder, text = find();
	if not folder then error("cannot find Prosody's own "..NAME.." in the plugin path", 0); end
	module:log("info", "Loading Prosody's own module, because of %s = false: %s/%s.lua", option, folder, NAME);
	module.path = folder.."/"..NAME..".lua";
	require_from(folder);
	return assert(envload(text, "@"..module.path, module.environment))();
end
