-- Loads a shared object from the folder of this module. A reload of the module keeps the C code that is mapped; only a restart of
-- Prosody loads a new one.
return function (name)
	local path = ("%s/%s.so"):format(module:get_directory(), name);
	local open, err = package.loadlib(path, "luaopen_"..name);
	if not open then
		error(("cannot load %s: %s; run make, or install the module again"):format(path, err), 0);
	end
	return open();
end
