-- Loads a library of mod_mam, as mod_mam_adhoc does
module.prefs = module:require "mod_mam/mamprefs";
