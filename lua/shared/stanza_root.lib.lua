-- Copies of a stanza that share its children: a fraction of the work of st.clone(). Their roots can be changed, their children are those
-- of the stanza.

local stanza_mt = require "util.stanza".stanza_mt;

local native = module:require "native" "mam"(stanza_mt);

local root = {
	copy = native.copy; -- (stanza)
	is_unchanged = native.is_unchanged; -- (copy, stanza): whether the copy still is the stanza with a further child
};

function root.copy_with(stanza, child)
	return native.copy(stanza, child);
end

-- namespaces: a set, { [xmlns] = true }
function root.copy_without_namespaces(stanza, namespaces)
	return native.copy(stanza, nil, namespaces);
end

-- Without the child elements for which is_left_out() is true
function root.copy_without(stanza, is_left_out)
	local copy = native.copy(stanza);
	return copy:maptags(function (child)
		if is_left_out(child) then return nil; end
		return child;
	end);
end

return root;
