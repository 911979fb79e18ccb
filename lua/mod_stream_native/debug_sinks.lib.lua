-- The list of functions that get debug lines: util.logger's own, so [1] tells at any time whether there is one. nil if this
-- version of Prosody keeps it elsewhere.

local logger = require "util.logger";

local upvalues = module:require "upvalues";

local level_sinks = upvalues.get(logger.add_level_sink, "level_sinks");
return type(level_sinks) == "table" and level_sinks.debug or nil;
