-- Check and status of all modules of this project, with prosodyctl and in the admin shell. See README.md.
--
-- A module offers its figures as an item:
--
--   module:add_item("native-status", { name = "smacks", figures = function () return { ... }; end })
--
-- name     of the module
-- figures  returns an array, which may be empty, in the order to show, of
--            { name = "held_bytes", value = 57000, unit = "bytes", limit = 536870912 }
--            { name = "largest_queues", columns = { { name = "jid" }, { name = "bytes", unit = "bytes" } },
--              rows = { { "alice@example.org/phone", 57000 } } }
--          value is a number, a string or a boolean; unit is "bytes", "seconds", "per second" or nil for a count; limit,
--          which may be absent, is the maximum of value. The module sorts a table and keeps it short.

module:set_global();

if prosody.process_type == "prosody" then
	module:depends "admin_socket"; -- in prosodyctl it would take the server's socket away
	module:require "admin_server";
end

function module.command(arg)
	return module:require "command"(arg, {
		{ usage = "check [--json]", run = module:require "check".run,
			help = "look for problems in the configuration and on the machine\n"
				.."exit status: 0 no problems, 1 errors, 3 warnings only" };
		{ usage = "status [--json]", run = module:require "status".run,
			help = "show sessions, storage and proofs of the running server\n"
				.."exit status: 0 answered, 1 no answer" };
	});
end
