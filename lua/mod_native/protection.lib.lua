-- Which hosts mod_s2s_auth_native protects, and which not: it serves every one of them, but those from which it was kept

local family = module:require "family";

local NAME = "s2s_auth_native";
local LINE = 'modules_enabled = { "s2s_auth_native"; --[[ and what you had ]] }';

local function left_out(findings)
	for _, host in ipairs(family.hosts()) do
		local why = family.left_out_because(NAME, host);
		if why and family.has("s2s", host) then
			findings.add("warning", { about = NAME, host = host, what = ("It does not protect this host: %s."):format(why),
				why = "Streams from and to it have no DANE: Prosody judges their certificates. A stream that another server has "
					.."opened to it may carry stanzas for the other hosts as well.",
				line = '-- take "s2s_auth_native" out of modules_disabled' });
		end
	end
end

-- The global section loads a module on virtual hosts; where one is named below a host alone, all depends on that host.
local function not_global(findings, loaded_with)
	findings.add("warning", { about = NAME, host = loaded_with[2] == nil and loaded_with[1] or nil,
		what = ("It is enabled below %s alone."):format(table.concat(loaded_with, ", ")),
		why = "It protects every host once it is loaded, and it is loaded with this one: when that is taken out of the "
			.."configuration, no host is protected any more.",
		line = LINE, place = family.place "*" });
end

local function not_loaded(findings)
	local host = family.hosts()[1];
	findings.add("error", { about = NAME, what = "It is enabled in the global section, and no host loads it.",
		why = "Prosody loads modules of the global section on virtual hosts. Where there are components alone, one of them has "
			.."to name it; no host is protected now.",
		line = LINE, place = family.place(host) });
end

return function (findings)
	local loaded_with, is_global = family.loaded_with(NAME), family.is_global(NAME);
	if not loaded_with[1] then
		if is_global and family.hosts()[1] then not_loaded(findings); end
		return;
	end
	if not is_global then not_global(findings, loaded_with); end
	left_out(findings);
end
