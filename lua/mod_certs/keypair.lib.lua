-- A certificate chain and its private key: reading them from PEM, and whether they fit each other and the hosts

local dane = module:require "dane";
local files = module:require "files";
local hosts = module:require "hosts";
local paths = module:require "paths";
local uses = module:require "uses";

local CERTIFICATE = "%-%-%-%-%-BEGIN CERTIFICATE%-%-%-%-%-.-%-%-%-%-%-END CERTIFICATE%-%-%-%-%-";
local KEY = "%-%-%-%-%-BEGIN ([%u ]*PRIVATE KEY)%-%-%-%-%-.-%-%-%-%-%-END %1%-%-%-%-%-";

local keypair = {};

-- ---- Reading ----

-- The certificates of a text, without anything between them, for Prosody does not recognize a file that begins with other text
local function chain_in(text)
	local list = {};
	for block in text:gmatch(CERTIFICATE) do list[#list + 1] = block.."\n"; end
	return table.concat(list);
end

-- The first private key in a text, or nil
local function key_in(text)
	local from, to = text:find(KEY);
	return from and text:sub(from, to).."\n" or nil;
end

-- text: PEM of a chain, perhaps with its key; key_text: PEM of the key, or nil. Returns { pem = of the chain, chain = and leaf = as
-- of files.parse_chain(), key = PEM or nil }; or nil, text.
function keypair.parse(text, key_text)
	local pem = chain_in(text);
	local chain, leaf = files.parse_chain(pem);
	if not chain then return nil, leaf; end
	local key = key_in(key_text or text);
	if key_text and not key then return nil, "no private key in the file of --key"; end
	return { pem = pem, chain = chain, leaf = leaf, key = key };
end

-- The text of a file that an operator names, or of standard input ("-"); or nil, text
function keypair.load(path)
	return files.read_any(path == "-" and path or paths.absolute(path));
end

-- The pair in the files that Prosody uses, as of parse(); or nil, text
function keypair.in_use(certificate, key)
	local text, err = files.read(certificate);
	if not text then return nil, err; end
	local key_text = text;
	if not files.same(certificate, key) then
		key_text, err = files.read_any(key);
		if not key_text then return nil, err; end
	end
	return keypair.parse(text, key_text);
end

-- ---- The key of a certificate that is not installed yet ----

local function has_private_key(text)
	return text:find("PRIVATE KEY-----", 1, true) ~= nil;
end

-- The key that goes with a certificate file by Prosody's rules: { path =, pem = if the file itself has it }; or nil
function keypair.key_beside(path, text)
	if has_private_key(text) then return { path = path, pem = text }; end
	local beside = path:gsub("%.crt$", ".key"):gsub("fullchain", "privkey");
	return beside ~= path and files.exists(beside) and { path = beside } or nil;
end

-- LuaSec accepts a text, or a function that returns one.
local function password_in(option)
	local given = option;
	if type(option) == "function" then given = option(); end
	return type(given) == "string" and given or nil;
end

-- key = { pem = text, or path = file, password = }; certificate: what to call the chain, such as "the new certificate". Returns
-- why the key cannot be used with the chain, and whether it is readable but of another certificate; or nil.
function keypair.key_fault(chain, certificate, key)
	local name = key.path and "the key "..key.path or "the new key";
	local text, err = key.pem, nil;
	if not text then text, err = files.read_any(key.path); end
	if not text then return ("cannot read %s of %s: %s"):format(name, certificate, files.closed(key.path) or err); end
	if not has_private_key(text) then return ("%s is not a private key, which %s needs"):format(name, certificate); end
	local fits, condition, why = chain:fits(text, password_in(key.password));
	if fits then return nil; end
	if fits == false then return ("%s does not belong to %s"):format(name, certificate), true; end
	if condition == "key-invalid" and text:find("ENCRYPTED", 1, true) then
		return ("%s is encrypted, and the password in Prosody's option ssl does not decrypt it"):format(name);
	end
	return ("%s of %s: %s"):format(name, certificate, why or condition);
end

-- ---- Whether a pair can be installed ----

local function add_key_problem(list, new)
	local fits, _, why = new.chain:fits(new.key);
	if fits == nil then
		list[#list + 1] = why;
	elseif not fits then
		list[#list + 1] = "the private key does not belong to the first certificate";
	end
end

local function add_date_problem(list, leaf, now)
	if not leaf.not_after or leaf.not_after < now then list[#list + 1] = "the new certificate has expired"; end
	if not leaf.not_before or leaf.not_before > now then list[#list + 1] = "the new certificate is not valid yet"; end
end

local function add_name_problems(list, chain, file)
	local seen = {};
	for _, use in ipairs(uses.of(file)) do
		for _, name in ipairs(use.hosts) do
			local text = ("the new certificate is not valid for %s of %s"):format(hosts.LABELS[use.service], name);
			if not seen[text] and not chain:identity(name, use.service) then list[#list + 1] = text; end
			seen[text] = true;
		end
	end
end

local function is_trusted(chain)
	local verdict = dane.verify(chain, { service = "xmpp-server", names = {} });
	return verdict.chain == "valid", dane.errors(verdict);
end

-- Untrusted is a problem only if the old chain is trusted: both may be of a test authority.
local function add_trust_problem(list, chain, file)
	local trusted, why = is_trusted(chain);
	local old = not trusted and files.read_chain(file);
	if old and is_trusted(old) then
		list[#list + 1] = ("clients trust the old certificate, but not the new one: %s"):format(why or "not valid");
	end
end

-- Why a pair cannot replace a certificate file: an array of texts
function keypair.problems(new, file)
	local list = {};
	add_key_problem(list, new);
	add_date_problem(list, new.leaf, os.time());
	add_name_problems(list, new.chain, file);
	if not list[1] then add_trust_problem(list, new.chain, file); end
	return list;
end

return keypair;
