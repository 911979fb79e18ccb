-- posh.lib.lua of mod_s2s_auth_native: documents of RFC 7711. net.http, which validates the web server's
-- certificate, is played by a table of answers, util.timer by a set of tasks.

local base64 = require "util.encodings".base64;
local json = require "util.json";

local URL = "https://%s/.well-known/posh/xmpp-server.json";
local DIGEST = ("d"):rep(32);
local HEX = ("64"):rep(32);

describe("posh", function ()
	local answers, asked, posh, now, held, timers;
	local stock_http, stock_timer, stock_time = package.loaded["net.http"], package.loaded["util.timer"], os.time;

	before_each(function ()
		answers, asked, now, held, timers = {}, {}, 1000000, nil, {};
		package.loaded["net.http"] = {
			request = function (url, _, callback)
				asked[#asked + 1] = url;
				local answer = answers[url];
				if held then
					table.insert(held, callback);
					return;
				end
				callback(type(answer) == "table" and json.encode(answer) or answer or "", answer and 200 or 404);
			end;
		};
		package.loaded["util.timer"] = {
			add_task = function (_, callback)
				timers[callback] = true;
				return callback;
			end;
			stop = function (callback) timers[callback] = nil; end;
		};
		os.time = function () return now; end -- luacheck: ignore 122
		posh = assert(loadfile("lua/mod_s2s_auth_native/posh.lib.lua"))();
	end);

	after_each(function ()
		package.loaded["net.http"], package.loaded["util.timer"] = stock_http, stock_timer;
		os.time = stock_time; -- luacheck: ignore 122
	end);

	local function digests(domain)
		local result;
		posh(domain):next(function (found) result = found; end);
		return result;
	end

	local function document(expires)
		return { fingerprints = { { ["sha-256"] = base64.encode(DIGEST) } }, expires = expires };
	end

	it("returns the digests of a domain's document", function ()
		answers[URL:format "a.example"] = document(60);
		assert.same({ ["sha-256 "..HEX] = true }, digests "a.example");
		assert.same({}, digests "b.example");
	end);

	it("requests the document again after it has expired, and not before", function ()
		answers[URL:format "a.example"] = document(60);
		digests "a.example";
		now = now + 59;
		digests "a.example";
		assert.equal(1, #asked);
		now = now + 1;
		answers[URL:format "a.example"] = nil;
		assert.same({}, digests "a.example");
		assert.equal(2, #asked);
	end);

	it("does not use a document for longer than a day", function ()
		answers[URL:format "a.example"] = document(1e9);
		digests "a.example";
		now = now + 24 * 3600;
		digests "a.example";
		assert.equal(2, #asked);
	end);

	it("rejects documents without a lifetime, and references to them", function ()
		answers[URL:format "a.example"] = document(nil);
		answers[URL:format "b.example"] = document(0);
		answers[URL:format "c.example"] = { url = "https://host.example/posh.json", expires = 30 };
		answers["https://host.example/posh.json"] = document(0);
		for _, domain in ipairs { "a.example", "b.example", "c.example" } do
			assert.same({}, digests(domain));
		end
	end);

	it("requests the domain's name in A-labels", function ()
		answers[URL:format "xn--bcher-kva.example"] = document(60);
		assert.same({ ["sha-256 "..HEX] = true }, digests "b\u{fc}cher.example");
	end);

	it("follows one reference to another document, for the shorter of both lifetimes", function ()
		answers[URL:format "a.example"] = { url = "https://host.example/posh.json", expires = 30 };
		answers["https://host.example/posh.json"] = document(60);
		assert.same({ ["sha-256 "..HEX] = true }, digests "a.example");
		now = now + 30;
		digests "a.example";
		assert.equal(4, #asked);
		answers["https://host.example/posh.json"] = { url = "https://third.example/", expires = 60 };
		now = now + 30;
		assert.same({}, digests "a.example");
		assert.equal(6, #asked);
	end);

	it("does not follow a reference without encryption", function ()
		answers[URL:format "a.example"] = { url = "http://host.example/posh.json", expires = 30 };
		answers["http://host.example/posh.json"] = document(60);
		assert.same({}, digests "a.example");
		assert.equal(1, #asked);
	end);

	it("requests a few documents at a time, and does not cache a delay of others as a result", function ()
		answers[URL:format "late.example"] = document(60);
		held = {};
		for i = 1, 20 do digests(("d%d.example"):format(i)); end
		assert.same({}, digests "late.example");
		assert.equal(20, #asked);
		for _, callback in ipairs(held) do callback("", 404); end
		held = nil;
		assert.same({ ["sha-256 "..HEX] = true }, digests "late.example");
		assert.is_nil(next(timers));
	end);

	it("gives up a domain that does not answer, and requests others instead", function ()
		held = {};
		local results = {};
		for i = 1, 20 do
			posh(("d%d.example"):format(i)):next(function (found) results[i] = found; end);
		end
		for late in pairs(timers) do late(); end
		assert.equal(20, #results);
		for _, callback in ipairs(held) do callback("", 200); end -- too late
		for i = 21, 41 do digests(("d%d.example"):format(i)); end
		assert.equal(40, #asked);
	end);

	it("treats an invalid document as none, and does not request it again at once", function ()
		for i, nonsense in ipairs { "", "no json", "[]", "3", { fingerprints = 3 }, { fingerprints = { 1, { ["sha-256"] = {} } } },
			{ url = 3 }, { expires = "x" } } do
			local domain = ("d%d.example"):format(i);
			answers[URL:format(domain)] = nonsense;
			assert.same({}, digests(domain));
		end
	end);
end);
