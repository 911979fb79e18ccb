-- Accounts without lookups: every user name has an account, with the password of tests/integration/bed.py.
-- luacheck: ignore 212
local new_sasl = require "util.sasl".new;

local PASSWORD = "secret";

local provider = {};

function provider.test_password(username, password) return password == PASSWORD; end
function provider.get_password() return PASSWORD; end
function provider.user_exists() return true; end
function provider.create_user() return true; end
function provider.users() return next, prosody.hosts[module.host].sessions, nil; end

function provider.get_sasl_handler()
	return new_sasl(module.host, { plain_test = function (_, _, password) return password == PASSWORD, true; end });
end

module:provides("auth", provider);
