-- The operator's tool for certificates and DANE: prosodyctl mod_certs. See README.md.

module:set_global();

function module.command(arg) return module:require "command"(arg); end
