-- PKIX over Secure HTTP, RFC 7711: a domain publishes digests of its certificates at
-- https://DOMAIN/.well-known/posh/xmpp-server.json.
--
-- posh(domain) -> promise of a set of digests { ["sha-256 HEX"] = true }, empty if there are none

local base64 = require "util.encodings".base64;
local cache = require "util.cache";
local hex = require "util.hex";
local http = require "net.http";
local idna_to_ascii = require "util.encodings".idna.to_ascii;
local json = require "util.json";
local promise = require "util.promise";
local timer = require "util.timer";

local PATH = "https://%s/.well-known/posh/xmpp-server.json";
local REMEMBERED = 1000; -- domains
local NOTHING_FOR = 600; -- seconds until a domain without a document is asked again
local LONGEST = 24 * 3600; -- maximum lifetime of a document
local DOCUMENT_MAX = 64 * 1024;
local AT_ONCE = 20; -- running requests: strangers decide about the domains
local PATIENCE = 5; -- seconds for one request: a stream waits for it

local to_hex = hex.encode or hex.to;
local known = cache.new(REMEMBERED);
local under_way = 0;

-- Resolves to the document, to nil if there is none, to false if too many requests are running. net.http validates the
-- certificate of the web server, for that name, by the authorities that the system trusts.
local function fetch(url)
	return promise.new(function (resolve)
		if not url:match("^https://") then return resolve(nil); end
		if under_way >= AT_ONCE then return resolve(false); end
		under_way = under_way + 1;
		local request, done;
		local function finish(document)
			if done then return; end
			done, under_way = true, under_way - 1;
			resolve(document);
		end
		local late = timer.add_task(PATIENCE, function ()
			finish(nil);
			if request and request.cancel then request:cancel(); end -- missing before it is connected
		end);
		request = http.request(url, { body_size_limit = DOCUMENT_MAX }, function (body, code)
			timer.stop(late);
			local document = code == 200 and type(body) == "string" and #body <= DOCUMENT_MAX and json.decode(body);
			finish(type(document) == "table" and document or nil);
		end);
	end);
end

-- The lifetime of a document in seconds; nil if it is expired, or has none
local function lifetime(document)
	local seconds = document and tonumber(document.expires) or 0;
	return seconds > 0 and math.min(seconds, LONGEST) or nil;
end

local function digests_of(document)
	local digests = {};
	if type(document.fingerprints) ~= "table" then return digests; end
	for _, fingerprint in ipairs(document.fingerprints) do
		for algorithm, digest in pairs(type(fingerprint) == "table" and fingerprint or {}) do
			local bytes = type(digest) == "string" and base64.decode(digest);
			if bytes then digests[tostring(algorithm):lower().." "..to_hex(bytes)] = true; end
		end
	end
	return digests;
end

local function remember(domain, digests, seconds)
	known:set(domain, { digests = digests, good_until = os.time() + seconds });
	return digests;
end

-- A document may refer to another one, once; the shorter of both lifetimes counts.
local function follow(domain, document)
	if document == false then return {}; end
	local seconds = lifetime(document);
	if not seconds then return remember(domain, {}, NOTHING_FOR); end
	if type(document.url) ~= "string" then return remember(domain, digests_of(document), seconds); end
	return fetch(document.url):next(function (second)
		if second == false then return {}; end
		local rest = lifetime(second);
		if not rest then return remember(domain, {}, NOTHING_FOR); end
		return remember(domain, digests_of(second), math.min(seconds, rest));
	end);
end

return function (domain)
	local remembered = known:get(domain);
	if remembered and os.time() < remembered.good_until then return promise.resolve(remembered.digests); end
	local host = idna_to_ascii(domain);
	if not host then return promise.resolve({}); end
	return fetch(PATH:format(host)):next(function (document) return follow(domain, document); end);
end
