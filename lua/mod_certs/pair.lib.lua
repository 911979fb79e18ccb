-- A certificate chain and its private key, as an ACME client leaves them: in one text, or in two

local certs = module:require "native"("certs");
local certificates = module:require "certificates";
local dane = module:require "dane";
local files = module:require "files";
local hosts = module:require "hosts";
local paths = module:require "paths";

local CERTIFICATE = "%-%-%-%-%-BEGIN CERTIFICATE%-%-%-%-%-.-%-%-%-%-%-END CERTIFICATE%-%-%-%-%-";
local KEY = "%-%-%-%-%-BEGIN ([%u ]*PRIVATE KEY)%-%-%-%-%-.-%-%-%-%-%-END %1%-%-%-%-%-";
local MAX_SIZE = 4 << 20; -- bytes

local pair = {};

-- The chain in a text: certificates alone, one after the other, for Prosody takes a file that begins with anything else for
-- none; "" where there is none
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

-- text: PEM of a chain, and perhaps of its key; key_text: PEM of the key, or nil. Returns { chain =, key = or nil, leaf = as of
-- certs.names() }; or nil, text.
function pair.read(text, key_text)
	local chain = chain_in(text);
	local leaf, _, why = certs.names(chain);
	if not leaf then return nil, why; end
	local key = key_in(key_text or text);
	if key_text and not key then return nil, "there is no private key in the file of --key"; end
	return { chain = chain, key = key, leaf = leaf };
end

-- The bytes of a file, or of standard input ("-"); or nil, text
function pair.load(path)
	local file, err = io.stdin, nil;
	if path ~= "-" then file, err = io.open(paths.absolute(path), "rb"); end
	if not file then return nil, paths.explain(err); end
	local text;
	text, err = file:read(MAX_SIZE);
	if path ~= "-" then file:close(); end
	if not text then return nil, ("%s: %s"):format(path == "-" and "standard input" or path, err or "empty"); end
	return text;
end

-- ---- What would be wrong with it ----

local function add_key_problem(list, new)
	local fits, _, why = certs.fits(new.chain, new.key);
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

-- Everybody whom Prosody uses the file for has to be served by the new certificate as well.
local function add_name_problems(list, chain, uses)
	local seen = {};
	for _, use in ipairs(uses) do
		for _, name in ipairs(use.hosts) do
			local text = ("the new certificate does not serve %s of %s"):format(hosts.PEOPLE[use.service], name);
			if not seen[text] and not certs.identity(chain, name, use.service) then list[#list + 1] = text; end
			seen[text] = true;
		end
	end
end

-- Whether clients, and peers without DANE, accept a chain; or false, why not
local function is_trusted(chain)
	local verdict = dane.verify(chain, { service = "xmpp-server", references = {} });
	return verdict.chain == "valid", dane.errors(verdict);
end

-- They have to accept the new chain, too, where they do the old one: it may be of an authority that is for tests.
local function add_trust_problem(list, chain, file)
	local trusted, why = is_trusted(chain);
	local old = not trusted and files.read(file);
	if old and is_trusted(old) then
		list[#list + 1] = ("clients do not accept the new certificate, and they do accept the old one: %s"):format(why or "it is not valid");
	end
end

-- Array of texts, empty where nothing is wrong. file = path of the certificate in use
function pair.problems(new, file)
	local list = {};
	add_key_problem(list, new);
	add_date_problem(list, new.leaf, os.time());
	add_name_problems(list, new.chain, certificates.uses(file));
	if not list[1] then add_trust_problem(list, new.chain, file); end
	return list;
end

-- The pair in the files that Prosody uses, as pair.read(); or nil, text
function pair.in_use(certificate, key)
	local text, err = files.read(certificate);
	if not text then return nil, err; end
	local key_text = text;
	if not files.same(certificate, key) then
		key_text, err = pair.load(key);
		if not key_text then return nil, err; end
	end
	return pair.read(text, key_text);
end

return pair;
