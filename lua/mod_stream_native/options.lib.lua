-- The options of this module as data. option_reader.lib.lua describes a row; the table in README.md is made of them.

return { prefix = "stream_native_",
	{ name = "stream_native_idle_parsers", type = "integer", default = 256, least = 0, scope = "server",
		text = "Streams between two stanzas that keep the memory of their XML parser: those that were used last. The others get a "
			.."new one with their next stanza, which costs about half as much as parsing it." };
};
