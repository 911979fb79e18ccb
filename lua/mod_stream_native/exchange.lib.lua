-- Puts a function into the place of another one that a session has in a field, or that a wrapper around it calls

local upvalues = module:require "upvalues";

local DEPTH = 4; -- wrappers around one another that are looked into

local function exchange_within(wrapper, session, find, depth)
	for i = 1, upvalues.MAX do
		local name, value = debug.getupvalue(wrapper, i);
		if not name then return; end
		local other = type(value) == "function" and find(value, session);
		if other then
			debug.setupvalue(wrapper, i, other);
		elseif other == nil and depth > 1 then
			exchange_within(value, session, find, depth - 1);
		end
	end
end

-- find(func, session) returns the function for the place of func; nil if func may wrap the one that is looked for, else false
return function (session, field, find)
	local current = session[field];
	local other = type(current) == "function" and find(current, session);
	if other then
		session[field] = other;
	elseif other == nil then
		exchange_within(current, session, find, DEPTH);
	end
end
