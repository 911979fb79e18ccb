-- Wraps a function of every client's connection, as another module might, before the client is authenticated. Tests set
-- `wrapped`: the name of a field of the session, of its filters, or "thread".
module.environment.wrapped = false;

local function wrap(func)
	return function (...) return func(...); end
end

local function wrap_filters(session, name)
	for i, filter in ipairs(session.filters[name]) do
		session.filters[name][i] = wrap(filter);
	end
end

module:hook("authentication-success", function (event)
	local session, name = event.session, module.environment.wrapped;
	if not name then return; end
	if name == "thread" then
		session.thread.func = wrap(session.thread.func);
	elseif session[name] then
		session[name] = wrap(session[name]);
	else
		wrap_filters(session, name);
	end
end);
