-- The key of a certificate: where it is, and whether it fits

local certs = module:require "native"("certs");
local files = module:require "files";
local permissions = module:require "permissions";

local keys = {};

local function has_private(text)
	return text:find("PRIVATE KEY-----", 1, true) ~= nil;
end

-- As LuaSec takes it: a text, or a function that gives one
local function password_in(option)
	local given = option;
	if type(option) == "function" then given = option(); end
	return type(given) == "string" and given or nil;
end

-- Why a text is not the key of a chain, or nil. name and certificate: how to call them
local function misfit(chain, text, password, name, certificate)
	if not has_private(text) then return ("%s holds no private key, which %s needs"):format(name, certificate); end
	local fits, condition, why = certs.fits(chain, text, password_in(password));
	if fits then return nil; end
	if fits == false then return ("%s does not belong to %s"):format(name, certificate), true; end
	if condition == "key-invalid" and text:find("ENCRYPTED", 1, true) then
		return ("%s is enciphered, and the password in Prosody's option ssl does not open it"):format(name);
	end
	return ("%s, of %s: %s"):format(name, certificate, why or condition);
end

-- key = { pem = text, or path = file, password = } of a chain that is called `certificate`, "the new certificate". Returns why it
-- cannot be used, and whether it is readable and another one; or nil.
function keys.fault(chain, certificate, key)
	local name = key.path and "the key "..key.path or "the new key";
	local text, err = key.pem, nil;
	if not text then text, err = files.read_any(key.path); end
	if not text then return ("%s, of %s, cannot be read: %s"):format(name, certificate, permissions.closed(key.path) or err); end
	return misfit(chain, text, key.password, name, certificate);
end

-- The key that goes with a certificate file, by Prosody's rules: { path =, pem = if the file itself holds it }; or nil
function keys.beside(path, text)
	if has_private(text) then return { path = path, pem = text }; end
	local beside = path:gsub("%.crt$", ".key"):gsub("fullchain", "privkey");
	return beside ~= path and files.exists(beside) and { path = beside } or nil;
end

return keys;
