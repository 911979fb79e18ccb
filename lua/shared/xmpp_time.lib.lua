-- Times of XEP-0082 as clients write them. util.datetime.parse() raises an error for the last second before 1970, and takes dates that
-- do not exist for others.

local xmpp_time = {};

local DATE_TIME = "^(%d%d%d%d)%-?(%d%d)%-?(%d%d)T(%d%d):(%d%d):(%d%d)(%.?%d*)([Z+%-]?[%d:]*)$";
local DAY = 86400;
local MONTHS = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };

local function days_of(year, month)
	local is_leap = year % 4 == 0 and (year % 100 ~= 0 or year % 400 == 0);
	return month == 2 and is_leap and 29 or MONTHS[month];
end

-- Days from 1970-01-01 to a date of the Gregorian calendar. The year begins in March, so that February ends it.
local function day_number(year, month, day)
	if month <= 2 then year = year - 1; end
	local of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1;
	return year * 365 + year // 4 - year // 100 + year // 400 + of_year - 719468;
end

-- Seconds east of UTC, or nil. Without a zone the time is UTC, as in Prosody.
local function parse_zone(zone)
	if zone == "" or zone == "Z" then return 0; end
	local sign, hours, minutes = zone:match("^([+%-])(%d%d):?(%d?%d?)$");
	if not sign then return nil; end
	local seconds = tonumber(hours) * 3600 + (tonumber(minutes) or 0) * 60;
	return seconds <= DAY and (sign == "-" and -seconds or seconds) or nil;
end

-- Returns seconds since 1970, an integer unless the text has a fraction, or nil. A leap second is the first second of the next day.
function xmpp_time.parse(text)
	local year, month, day, hour, minute, second, fraction, zone = text:match(DATE_TIME);
	if not year or fraction == "." then return nil; end
	year, month, day = math.tointeger(year), math.tointeger(month), math.tointeger(day);
	hour, minute, second = math.tointeger(hour), math.tointeger(minute), math.tointeger(second);
	local east = parse_zone(zone);
	if not east or not MONTHS[month] or day < 1 or day > days_of(year, month) then return nil; end
	if hour > 23 or minute > 59 or second > 60 then return nil; end
	local time = day_number(year, month, day) * DAY + hour * 3600 + minute * 60 + second - east;
	return fraction ~= "" and time + tonumber("0"..fraction) or time;
end

return xmpp_time;
