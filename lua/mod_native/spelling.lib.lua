-- nearest(word, words, shortest) -> the key of `words` that was probably meant, or nil. Keys of fewer than `shortest` letters (8 by
-- default) have to be equal: short words are too similar to each other.

local SHORTEST, LONG = 8, 12; -- letters: from LONG on two may be wrong

-- How many letters have to be put in, taken out or replaced (Levenshtein)
local function distance(a, b)
	local above = {};
	for j = 0, #b do above[j] = j; end
	for i = 1, #a do
		local row = { [0] = i };
		for j = 1, #b do
			local replaced = above[j - 1] + (a:byte(i) == b:byte(j) and 0 or 1);
			row[j] = math.min(replaced, above[j] + 1, row[j - 1] + 1);
		end
		above = row;
	end
	return above[#b];
end

return function (word, words, shortest)
	local best, best_distance;
	for candidate in pairs(words) do
		local allowed = #candidate >= LONG and 2 or #candidate >= (shortest or SHORTEST) and 1 or 0;
		local found = distance(word, candidate);
		if found <= allowed and (not best or found < best_distance or found == best_distance and candidate < best) then
			best, best_distance = candidate, found;
		end
	end
	return best;
end
