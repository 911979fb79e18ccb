std = "lua54"
max_line_length = 140
cache = false

files["lua/"] = {
	read_globals = { "prosody" },
	globals = { "module" },
}

-- Exports of mod_smacks for modules that depend on it
files["lua/mod_smacks/mod_smacks.lua"] = {
	globals = {
		"module", "do_enable", "do_resume", "encode", "takes_bytes", "send_copy",
		"handle_enable", "handle_enabled", "handle_failed", "handle_r", "handle_a", "handle_resume",
	},
}

-- A module's globals are its interface for others, among them tests
files["tests/"] = {
	read_globals = { "prosody" },
	globals = { "module" },
	allow_defined_top = true,
}

files["spec/"] = {
	std = "+busted",
	globals = { "prosody", "module" },
}
