-- prosodyctl mod_storage_native: what the operator can do with the store

local run_command = module:require "command";

local NOTES = [==[
An import or export that was interrupted goes on when it is run again. What holds other data already is an error:
move that away first. Or --merge copies the rest, and leaves that as it is.]==];

-- Each is loaded when it is wanted.
local function in_file(file, name)
	return function (names, options)
		return module:require(file)[name](names, options);
	end
end

return function (database, arg)
	local function transfer(name)
		return function (names, options)
			return module:require "transfer"(database)[name](names, options);
		end
	end

	return run_command(arg, {
		{
			usage = "stat [HOST [STORE [USER]]] [--json]";
			help = "what is in the store; pep_* stands for all that begin with pep_";
			run = in_file("inspect", "stat");
		};
		{
			usage = "check [--json]";
			help = "compares all records that depend on one another";
			run = in_file("inspect", "check");
		};
		{
			usage = "backup FILE";
			help = "copies the store to a new file, while the server runs";
			run = in_file("copies", "backup");
		};
		{
			usage = "restore FILE [--replace]";
			help = "puts a backup in the place of the store; the server must be stopped";
			run = function (names, options) return module:require "restore"(names, options); end;
		};
		{
			usage = "compact";
			help = "writes the store anew, without what was deleted; the server must be stopped";
			run = in_file("copies", "compact");
		};
		{
			usage = "import --from DRIVER [HOST [STORE]] [--merge] [--online] [--json]";
			help = "copies from another storage driver, for instance internal or sql";
			run = transfer "import";
		};
		{
			usage = "export --to DRIVER [HOST [STORE]] [--merge] [--json]";
			help = "copies to another storage driver";
			run = transfer "export";
		};
	}, NOTES);
end
