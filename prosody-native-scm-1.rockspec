rockspec_format = "3.0"
package = "prosody-native"
version = "scm-1"
source = {
	-- Must be there, and is not read: `luarocks make` builds the sources that this file lies in
	url = "git+file://.",
}
description = {
	summary = "Native modules for the Prosody XMPP server",
	detailed = [[
		Stream management, storage, authentication of other servers and what an operator needs beside, in C.
		In Prosody's own tree for plugins they are found without a line of plugin_paths.
	]],
	license = "MIT",
}
dependencies = { "lua ~> 5.4" }
external_dependencies = {
	EXPAT = { header = "expat.h" },
	IDN2 = { header = "idn2.h" },
	LDNS = { header = "ldns/ldns.h" },
	LMDB = { header = "lmdb.h" },
	OPENSSL = { header = "openssl/ssl.h" },
	PSL = { header = "libpsl.h" },
	UNBOUND = { header = "unbound.h" },
	XXHASH = { header = "xxhash.h" },
	ZSTD = { header = "zstd.h" },
}
build = {
	type = "make",
	variables = { LUA_CFLAGS = "-I$(LUA_INCDIR)" },
	-- Shared objects too: each module loads those that lie beside it
	install_variables = { PLUGINDIR = "$(LUADIR)" },
	-- Nobody loads this copy: a rock without a library is packed as one for all architectures
	install = { lib = { ["mod_native.architecture"] = "lua/mod_smacks/smacks.so" } },
}
