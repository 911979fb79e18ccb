-- The simplest implementation of archives: an archive is a list of { id, when, with, ... } in order of appending.

local model = {};

function model.matches(item, query)
	if query.ids then
		local found = false;
		for _, id in ipairs(query.ids) do found = found or id == item.id; end
		if not found then return false; end
	end
	local with = query.with;
	return (not query.start or item.when >= query.start)
		and (not query["end"] or item.when <= query["end"])
		and (not with or item.with == with or not with:find("/", 1, true) and item.with:match("^[^/]*") == with)
		and (not query.key or item.id == query.key);
end

function model.position(list, id)
	for i, item in ipairs(list) do
		if item.id == id then return i; end
	end
end

-- The matches, in order; nil if before or after are unknown.
function model.select(list, query)
	local first = query.after and model.position(list, query.after) or not query.after and 0;
	local last = query.before and model.position(list, query.before) or not query.before and #list + 1;
	if not first or not last then return nil, "item-not-found"; end
	local selected = {};
	for i = first + 1, last - 1 do
		if model.matches(list[i], query) then table.insert(selected, list[i]); end
	end
	return selected;
end

function model.total(list, query)
	local total = 0;
	for _, item in ipairs(list) do
		if model.matches(item, query) then total = total + 1; end
	end
	return total;
end

function model.find(list, query)
	for _, id in ipairs(query.ids or {}) do
		if not model.position(list, id) then return nil, "item-not-found"; end
	end
	local selected, err = model.select(list, query);
	if not selected then return nil, err; end
	local page = {};
	for i = 1, math.min(#selected, query.limit or math.huge) do
		page[i] = selected[query.reverse and #selected + 1 - i or i];
	end
	return page, query.total and model.total(list, query) or nil;
end

function model.delete(list, query)
	local selected, err = model.select(list, query);
	if not selected then return nil, err; end
	local keep = math.min(query.truncate or 0, #selected);
	for i, item in ipairs(selected) do
		local kept = query.reverse and i <= keep or not query.reverse and i > #selected - keep;
		if not kept then table.remove(list, model.position(list, item.id)); end
	end
	return #selected - keep;
end

return model;
