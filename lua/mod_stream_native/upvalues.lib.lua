-- Upvalues of functions by name, without Prosody's metatable of functions, which prosodyctl and tests lack

local upvalues = {
	MAX = 255; -- of a function of Lua
};

-- Returns the value of an upvalue, and its index; or nil
function upvalues.get(func, wanted)
	for i = 1, upvalues.MAX do
		local name, value = debug.getupvalue(func, i);
		if not name then return nil; end
		if name == wanted then return value, i; end
	end
end

-- The names in their order, as text
function upvalues.names(func)
	local names = {};
	for i = 1, upvalues.MAX do names[i] = debug.getupvalue(func, i); end
	return table.concat(names, " ");
end

return upvalues;
