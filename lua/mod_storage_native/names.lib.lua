-- Names of stores, hosts and users on the command line and in tables

local names = {};

-- Whether a name is the one that was given; "pep_*" stands for all that begin with "pep_".
function names.matches(pattern, name)
	if pattern:sub(-1) ~= "*" then return name == pattern; end
	return name:sub(1, #pattern - 1) == pattern:sub(1, -2);
end

-- Each node of PEP or PubSub has a store: one by one they would make a list without an end.
function names.name_of_many(store)
	if store == "pubsub_nodes" then return store; end
	return (store:gsub("^(pep_).*", "%1*"):gsub("^(pubsub_).*", "%1*"));
end

return names;
