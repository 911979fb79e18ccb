-- What operators ask of all modules: prosodyctl mod_native check and status, the same in the admin shell. See README.md.
--
-- A module offers its figures as an item, whether or not anybody reads it:
--
--   module:add_item("native-status", { name = "smacks", figures = function () return { ... }; end })
--
-- name     of the module
-- figures  gives an array, empty where there is nothing to tell, in the order in which it is shown, of
--            { name = "held_bytes", value = 57000, unit = "bytes", limit = 536870912 }
--            { name = "largest_queues", columns = { { name = "jid" }, { name = "bytes", unit = "bytes" } },
--              rows = { { "alice@example.org/phone", 57000 } } }
--          value is a number, a text or a boolean; unit is "bytes", "seconds", "per second" or nil for a count; limit,
--          which may be absent, is the most that value can be. A table is short: its module sorts it, and cuts it off.

module:set_global();

if prosody.process_type == "prosody" then
	module:depends "admin_socket"; -- in prosodyctl it would take the server's socket away
	module:require "answer";
end

function module.command(arg)
	return module:require "command"(arg, {
		{ usage = "check [--json]", run = module:require "check".run,
			help = "what is loaded, which options are wrong, and what the machine lacks\n"
				.."exit status: 0 no problems, 1 errors, 3 warnings only" };
		{ usage = "status [--json]", run = module:require "status".run,
			help = "asks the running server: sessions, storage, proofs\n"
				.."exit status: 0 it has answered, 1 it has not" };
	});
end
