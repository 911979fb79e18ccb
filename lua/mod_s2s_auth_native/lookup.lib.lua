-- lookup(name, type) -> promise of an answer, which is never rejected: what went wrong is its state.
--
--   state      "secure"    validated, also that there is no record
--              "insecure"  from a zone that is not signed
--              "bogus"     the validation failed: whatever it says is not to be used
--              "failed"    there was no answer: SERVFAIL, a time-out
--   reason     for the latter two
--   [i]        the records, as net.adns parses them
--   canonical  the name to which CNAME and DNAME records led, where it is another one

local adns = require "net.adns";
local promise = require "util.promise";
local timer = require "util.timer";

local NOERROR, NXDOMAIN = 0, 3;

local function without_dot(name)
	return name and name:lower():gsub("(.)%.$", "%1");
end

local function failed(reason)
	return { state = "failed", reason = reason };
end

local function classify(name, found, err)
	if not found then return failed(err or "no answer"); end
	if found.bogus then return { state = "bogus", reason = tostring(found.bogus) }; end
	if found.rcode ~= NOERROR and found.rcode ~= NXDOMAIN then
		return failed(tostring(found.status or found.rcode));
	end
	local answer = { state = found.secure and "secure" or "insecure" };
	local canonical = without_dot(found.canonname);
	if canonical ~= without_dot(name) then answer.canonical = canonical; end
	return table.move(found, 1, #found, 1, answer);
end

return function (timeout)
	return function (name, type)
		return promise.new(function (resolve)
			local late = timer.add_task(timeout, function () resolve(failed("time-out")); end);
			local query, err = adns.resolver():lookup(function (found, failure)
				timer.stop(late);
				resolve(classify(name, found, failure));
			end, name, type, "IN");
			if not query then
				timer.stop(late);
				resolve(failed(err or "the resolver does not work"));
			end
		end);
	end;
end
