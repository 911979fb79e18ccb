-- tests/options.lua, with which make lint compares options.lib.lua with READMEs and with the options that Lua reads

describe("the table of options", function ()
	local directory;

	local function path(name) return ("%s/mod_x/%s"):format(directory, name); end

	local function write(name, text)
		local file <close> = assert(io.open(path(name), "w"));
		file:write(text);
	end

	local function read(name)
		local file <close> = assert(io.open(path(name)));
		return file:read("a");
	end

	-- Returns the output of the program, and its exit status.
	local function lint(flags)
		local pipe = io.popen(("lua5.4 tests/options.lua %s '%s' 2>&1"):format(flags or "", directory));
		local text = pipe:read("a"):gsub(directory.."/mod_x/", "");
		local _, _, status = pipe:close();
		return text, status;
	end

	local ROWS = [[
		return { prefix = "x_",
			{ name = "x_size", type = "integer", least = 1, default = 7, scope = "host", text = "Bytes." };
			{ name = "x_path", type = "path", default = "native", scope = "host", text = "Directory." };
			{ name = "x_room", type = "room", scope = "host", text = "Room." };
			{ name = "x_burst", type = "integer", least = 1, default_of = "x_size", scope = "host", text = "At once.", group = "limits" };
			{ name = "x_origins", type = "origins", default = {}, default_text = "no one's", scope = "host", text = "Origins.", group = "limits" };
		};]];
	local README = "# x\n\n<!-- options -->\n%s\n<!-- end of options -->\n\nMore\n\n<!-- options limits -->\n%s\n<!-- end of options -->\n";
	local HEAD = "| option | default | effect |\n|---|---|---|\n";
	local FIRST = HEAD..'| `x_size` | 7 | Bytes. |\n| `x_path` | `"native"` | Directory. |\n| `x_room` | none | Room. |';
	local SECOND = HEAD.."| `x_burst` | that of `x_size` | At once. |\n| `x_origins` | no one's | Origins. |";

	before_each(function ()
		directory = os.tmpname();
		assert(os.execute(("rm '%s' && mkdir -p '%s'"):format(directory, path "")));
		write("options.lib.lua", ROWS);
		write("README.md", README:format(FIRST, SECOND));
		write("mod_x.lua", 'local size, other = options.x_size, module:get_option_string("y_size");');
	end);

	after_each(function () os.execute(("rm -r '%s'"):format(directory)); end);

	it("is silent if code and READMEs agree with the rows", function ()
		assert.same({ "", 0 }, { lint() });
	end);

	it("fails if a README differs, until it is rewritten", function ()
		write("README.md", README:format(FIRST:gsub("7", "8"), SECOND));
		assert.same({ "README.md: the table of options differs from options.lib.lua\n", 1 }, { lint() });
		assert.same({ "", 0 }, { lint "--write" });
		assert.equal(README:format(FIRST, SECOND), read "README.md");
		assert.same({ "", 0 }, { lint() });
	end);

	it("fails if a README does not have a table for an option", function ()
		write("README.md", (README:gsub(" limits", " others"):format(FIRST, SECOND)));
		local text, status = lint();
		assert.truthy(text:find("README.md: no table for x_burst\n", 1, true) and text:find("no table for x_origins\n", 1, true));
		assert.equal(1, status);
	end);

	it("fails if code reads an option without a row, in any way", function ()
		for _, reading in ipairs { 'module:get_option("x_sise")', 'module:get_option_string "x_sise"', 'host:get_option_set("x_sise", {})',
			'config.get("*", "x_sise")', 'config.rawget(host, "x_sise")', "options.x_sise", "given_options.x_sise" } do
			write("part.lib.lua", "local value = "..reading..";");
			assert.same({ "part.lib.lua: no row for x_sise\n", 1 }, { lint() }, reading);
		end
	end);
end);
