-- The store types keyval and map, which share their data, and keyval+, which is both

return function (database, get_space)
	local wrote = database.wrote;

	-- An array of names as an iterator
	local function iterate(names)
		local i = 0;
		return function ()
			i = i + 1;
			return names[i];
		end
	end

	local function read(self, method, ...)
		local space, condition, text = get_space(self);
		if not space then return nil, condition, text; end
		local result;
		result, condition, text = space[method](space, ...);
		if condition then return database.failed("read from %s", condition, text); end
		return result;
	end

	local function write(self, method, ...)
		local space, condition, text = get_space(self, true);
		if not space then return nil, condition, text; end
		local ok;
		ok, condition, text = space[method](space, ...);
		database.schedule_erase();
		return wrote(ok, condition, text);
	end

	local function check_key(name, key)
		if type(key) == "string" and key ~= "" then return true; end
		return nil, name.." only supports non-empty string keys";
	end

	local methods = { remove = {} };

	function methods:get(user)
		return read(self, "get", user);
	end

	function methods:set(user, data)
		return write(self, "set", user, data);
	end

	function methods:users()
		local names, condition, text = read(self, "users");
		if not names then error(text or condition, 0); end
		return iterate(names);
	end

	function methods:get_key(user, key)
		return read(self, "get_key", user, key);
	end

	function methods:set_key(user, key, value)
		if value == self.remove then value = nil; end
		return write(self, "set_key", user, key, value);
	end

	function methods:set_keys(user, values)
		return write(self, "set_keys", user, values, self.remove);
	end

	function methods:get_all(key)
		local ok, err = check_key("get_all", key);
		if not ok then return nil, err; end
		return read(self, "get_all", key);
	end

	function methods:delete_all(key)
		local ok, err = check_key("delete_all", key);
		if not ok then return nil, err; end
		return write(self, "delete_all", key);
	end

	local function class(names)
		local index = { remove = methods.remove; };
		for name, method in pairs(names) do index[name] = methods[method]; end
		return { __index = index };
	end

	return {
		iterate = iterate;
		keyval = class { get = "get", set = "set", users = "users" };
		map = class {
			get = "get_key", set = "set_key", set_keys = "set_keys",
			get_all = "get_all", delete_all = "delete_all", users = "users",
		};
		["keyval+"] = class {
			get = "get", set = "set", items = "users",
			get_key = "get_key", set_key = "set_key", set_keys = "set_keys",
			get_key_from_all = "get_all", delete_key_from_all = "delete_all",
		};
	};
end
