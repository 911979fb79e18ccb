std = "lua54"
max_line_length = 140
cache = false

files["lua/"] = {
	read_globals = { "prosody" },
	globals = { "module" },
}

-- What mod_smacks exports to modules that depend on it
files["lua/mod_smacks/mod_smacks.lua"] = {
	globals = {
		"module", "do_enable", "do_resume",
		"handle_enable", "handle_enabled", "handle_failed", "handle_r", "handle_a", "handle_resume",
	},
}

-- A module's globals are what others, tests among them, see of it
files["tests/"] = {
	read_globals = { "prosody" },
	globals = { "module" },
	allow_defined_top = true,
}

files["spec/"] = {
	std = "+busted",
	globals = { "prosody", "module" },
}
