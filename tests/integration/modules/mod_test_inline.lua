-- Enables and resumes as modules for SASL2 and Bind2 do: through do_enable and do_resume, with their
-- own element around the answer, and finish() after it has been sent.
local st = require "util.stanza";

local smacks = module:depends("smacks");
local xmlns_inline = "urn:test:inline";

local function format_h(h) return h and ("%d"):format(h); end

local function answer(session, element)
	session.send(st.stanza("success", { xmlns = xmlns_inline }):add_child(element));
end

local function fail(session, request, err)
	answer(session, st.stanza("failed", { xmlns = request.attr.xmlns, h = format_h(err.context and err.context.h) })
		:tag(err.condition, { xmlns = "urn:ietf:params:xml:ns:xmpp-stanzas" }));
end

local function enable(session, request)
	local enabled, err = smacks.do_enable(session, request);
	if not enabled then return fail(session, request, err); end
	assert(enabled.type == "enabled" and enabled.session == session);
	answer(session, st.stanza("enabled", { xmlns = request.attr.xmlns, id = enabled.id,
		resume = enabled.id and "1" or nil, max = enabled.resume_max }));
	enabled.finish();
end

local function resume(session, request)
	local resumed, err = smacks.do_resume(session, request);
	if not resumed then return fail(session, request, err); end
	assert(resumed.type == "resumed" and resumed.id == request.attr.previd and resumed.session ~= session);
	session = resumed.session;
	answer(session, st.stanza("resumed", { xmlns = request.attr.xmlns,
		h = format_h(session.handled_stanza_count), previd = request.attr.previd }));
	resumed.finish();
end

module:hook_tag(xmlns_inline, "authenticate", function (session, stanza)
	local request = stanza.tags[1];
	if request.name == "enable" then enable(session, request); else resume(session, request); end
	return true;
end);
