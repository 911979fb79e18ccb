-- Which rooms are archived: owners decide in the room's configuration

local FIELD = "muc#roomconfig_enablearchiving";
local LABEL = module.get_option_period and "Archive chat on server" or "Enable archiving?"; -- 13.0, 0.12

-- Returns is_archived(room)
return function (muc_mam)
	local options = muc_mam.options;
	if options.muc_log_all_rooms then return function () return true; end; end

	local function is_archived(room)
		local enabled = room._data.archiving;
		if enabled == nil then return options.muc_log_by_default; end
		return enabled;
	end

	module:hook("muc-config-form", function (event)
		table.insert(event.form, { name = FIELD, type = "boolean", label = LABEL, value = is_archived(event.room) });
	end);

	module:hook("muc-config-submitted/"..FIELD, function (event)
		event.room._data.archiving = event.value;
		event.status_codes[event.value and "170" or "171"] = true;
	end);

	return is_archived;
end
