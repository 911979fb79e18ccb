-- Names processes for operators

-- "process 4242 (/usr/bin/lua5.4 /usr/bin/prosodyctl shell) has", "processes 1 (...), 2 (...) have"
return function (pids)
	local names = {};
	for i, pid in ipairs(pids) do
		local file = io.open(("/proc/%d/cmdline"):format(pid), "rb");
		local command = file and file:read(200);
		if file then file:close(); end
		command = command and command:gsub("%z+$", ""):gsub("[%z%c]", " ");
		names[i] = command and command ~= "" and ("%d (%s)"):format(pid, command) or ("%d"):format(pid);
	end
	if #names == 0 then return "another process has"; end
	return ("process%s %s %s"):format(#names > 1 and "es" or "", table.concat(names, ", "), #names > 1 and "have" or "has");
end
