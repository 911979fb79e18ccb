-- Appends to an archive, and makes room where it is full

local DEFAULT_LIMIT = 1000; -- messages of an archive whose driver names no limit

-- Returns append(owner, stanza, when, with) -> id, or nil and an error. expires: seconds that messages are kept, math.huge: for ever;
-- limit: messages of an owner, nil: the driver's
return function (archive, expires, limit)
	local caps = archive.caps or {};
	local keep = math.floor((limit or caps.quota or DEFAULT_LIMIT) * 0.99);

	return function (owner, stanza, when, with)
		local id, err = archive:append(owner, nil, stanza, when, with);
		if id or err ~= "quota-limit" then return id, err; end
		if expires ~= math.huge then
			module:log("debug", "Archive of %s is full: deleting its expired messages", owner);
			if archive:delete(owner, { ["end"] = os.time() - expires }) then
				id, err = archive:append(owner, nil, stanza, when, with);
			end
		end
		if not id and caps.truncate then
			module:log("debug", "Archive of %s is full: deleting its oldest messages", owner);
			if archive:delete(owner, { truncate = keep }) then
				id, err = archive:append(owner, nil, stanza, when, with);
			end
		end
		return id, err;
	end;
end
