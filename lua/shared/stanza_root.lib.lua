-- Copies of a stanza that share its children: a tenth of the work of st.clone(). Their roots can be changed, their children are those of
-- the stanza.

local stanza_mt = require "util.stanza".stanza_mt;

local root = {};

local function new(stanza)
	local attr = {};
	for name, value in pairs(stanza.attr) do attr[name] = value; end
	return setmetatable({ name = stanza.name, attr = attr, tags = {}, namespaces = rawget(stanza, "namespaces") }, stanza_mt);
end

function root.copy(stanza)
	local copy = new(stanza);
	table.move(stanza.tags, 1, #stanza.tags, 1, copy.tags);
	return table.move(stanza, 1, #stanza, 1, copy);
end

-- Without the child elements for which is_left_out() is true
function root.copy_without(stanza, is_left_out)
	local copy = new(stanza);
	local tags = copy.tags;
	for _, child in ipairs(stanza) do
		local is_element = type(child) == "table";
		if not is_element or not is_left_out(child) then
			copy[#copy + 1] = child;
			if is_element then tags[#tags + 1] = child; end
		end
	end
	return copy;
end

function root.copy_with(stanza, child)
	local copy = root.copy(stanza);
	copy[#copy + 1], copy.tags[#copy.tags + 1] = child, child;
	return copy;
end

return root;
