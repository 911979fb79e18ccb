-- Which visitors may log in, and how they come back: by resuming a session (XEP-0198), or by replacing one. A visitor without
-- an account proves to own a session with its id. It is as hard to guess as a password, and only its client knows it.

local st = require "util.stanza";
local timer = require "util.timer";
local watchdog = require "util.watchdog";

local BEFORE_AUTH, BEFORE_BIND = 10, 10; -- priorities: before Prosody spends time on the login
local BEFORE_SMACKS = 1000; -- priority

local MAX_ATTEMPTS = 5; -- of a session to replace another: the page tries once, and each attempt looks at all sessions

local XMLNS_SASL = "urn:ietf:params:xml:ns:xmpp-sasl";
local XMLNS_WEBCHAT = "https://prosody.im/protocol/webchat";

-- Prosody's option: how long a connection may take to authenticate
local get_period = module.get_option_period or module.get_option_number;
local login_time = get_period(module, "c2s_timeout", 300);

local logins = {};

local bars, budgets, networks, options, refusals, rooms, visitors; -- see start()
local metric = module:metric("counter", "logins", "", "Logins of visitors", {}):with_labels();

--- Logins

-- A reason and a text why a network may have no more visitors; nil if it may
local function refusal_of_network(network)
	local ends = bars.find(network);
	if ends then
		return "barred", "You are barred from this chat until " .. bars.format(ends);
	elseif not visitors.is_proxy(network) and visitors.count_at(network) >= options.webchat_sessions_per_address then
		return "sessions", ("%d visitors are here from your network already"):format(options.webchat_sessions_per_address);
	end
end

-- The same for a visitor who is not here yet
local function refusal_of_visitor(network)
	local reason, text = refusal_of_network(network);
	if reason then return reason, text; end
	if visitors.count() >= options.webchat_max_visitors then return "full", "The chat is full: try again later"; end
end

-- Detects a proxy before the limits of a network keep all its visitors out
local function detect_proxy(session)
	if not visitors.detect_proxy(session) then return; end
	module:log("warn", "Addresses not forwarded: bans and limits per network do not apply to visitors of this proxy. %s: %s",
		networks.ADVICE, visitors.network_of(session));
end

local function authenticating(event)
	local session = event.origin;
	if session.type ~= "c2s_unauthed" then return; end
	detect_proxy(session);
	local network = visitors.network_of(session);
	local reason, text = refusal_of_visitor(network);
	local short = not reason and budgets.take(visitors.budgets(session), "logins", 1);
	if short then
		reason, text = "logins", short == visitors.at(network) and "Too many logins from your network: wait a minute"
			or "Too many logins: wait a minute";
	end
	if not reason then return; end
	refusals.note(session, reason, text);
	session.send(st.stanza("failure", { xmlns = XMLNS_SASL })
		:tag("temporary-auth-failure"):up()
		:text_tag("text", text));
	return true;
end

-- A session without a resource is not counted as a visitor, so it may not stay
local function authenticated(event)
	local session = event.session;
	if login_time == math.huge then return; end
	timer.add_task(login_time, function ()
		if session.type == "c2s_unbound" then refusals.disconnect(session, "connection-timeout", "No resource was bound"); end
	end);
end

-- Checks again: there may have been other logins since this one
local function binding(event)
	local reason, text = refusal_of_visitor(visitors.network_of(event.session));
	if not reason then return; end
	refusals.note(event.session, reason, text);
	event.error = { type = "wait", condition = "resource-constraint", text = text };
	return false;
end

local function bound(event)
	visitors.add(event.session);
	detect_proxy(event.session);
	metric:add(1);
end

--- Hibernation and resumption

-- Limits the time that the client requests. A mod_smacks that respects "max" tells the client the result.
local function limit_max(_, stanza)
	local max = tonumber((stanza.attr.max or ""):match("^%d+$"));
	if not max or max < 1 or max > options.webchat_hibernation_time then
		stanza.attr.max = ("%d"):format(options.webchat_hibernation_time);
	end
end

-- The same for a mod_smacks that ignores "max"
local function limit_hibernation(event)
	local session = event.origin;
	local dog = session.hibernating_watchdog;
	if not dog or dog.timeout <= options.webchat_hibernation_time then return; end
	dog:cancel();
	session.hibernating_watchdog = watchdog.new(options.webchat_hibernation_time, dog.callback);
end

local resuming = setmetatable({}, { __mode = "k" }); -- session -> { network =, forwarded = } of the connection that resumes it

-- Every anonymous login creates a user, and mod_smacks lets users resume only their own sessions. So the connection gets the
-- user name of the session for this one attempt.
local function resume(session, stanza)
	local id = stanza.attr.previd;
	if session.type ~= "c2s_unbound" or not id then return; end
	local original = visitors.find_session(function (each) return each.resumption_token == id; end);
	if not original then return refusals.note(session, "resumption", "No session has this id"); end
	if resuming[original] then return; end -- this handler has fired the event
	local network = visitors.network_of(session);
	if network ~= visitors.network_of(original) then
		local reason, text = refusal_of_network(network);
		if reason then return refusals.note(session, reason, text); end -- mod_smacks finds no session of this user then
	end
	local username = session.username;
	session.username = original.username;
	resuming[original] = { network = network, forwarded = session.webchat_forwarded };
	local handled = module:fire_event(("stanza/%s:resume"):format(stanza.attr.xmlns), { origin = session, stanza = stanza });
	resuming[original] = nil;
	if session.type == "c2s_unbound" then -- it has failed
		session.username = username;
		refusals.note(session, "resumption", "mod_smacks did not resume the session");
	end
	return handled;
end

local function leave_barred_rooms(session)
	for room in rooms.each_live() do
		if bars.find(visitors.network_of(session), room.jid) then rooms.kick(room, session, "You are barred"); end
	end
end

local function resumed(event)
	local session = event.resumed;
	local from = resuming[session];
	if from then
		session.webchat_forwarded = from.forwarded;
		visitors.move(session, from.network);
	end
	leave_barred_rooms(session);
end

--- Replacement: a visitor whose tab was killed logs in as another user, while the old session hibernates in the room under
--- the visitor's nickname. The page ends that session:
--- <iq type='set' to='HOST'><replace xmlns='https://prosody.im/protocol/webchat' session='ID'/></iq>

-- ID: the id for resumption (XEP-0198), or a BOSH session's, which is as secret (XEP-0124, section 17.2)
local function find_replaced(id)
	return visitors.find_session(function (session)
		return session.resumption_token == id or session.bosh_version ~= nil and session.sid == id;
	end);
end

local function leave_rooms(session)
	for room in rooms.each_live() do
		local occupant = room:get_occupant_by_real_jid(session.full_jid);
		local leaving = occupant and st.presence { from = session.full_jid, to = occupant.nick, type = "unavailable" };
		if leaving then room:handle_normal_presence(session, leaving); end
	end
end

local function replace(event)
	local origin, stanza = event.origin, event.stanza;
	local id = stanza.tags[1].attr.session;
	origin.webchat_attempts = (origin.webchat_attempts or 0) + 1;
	if origin.webchat_attempts > MAX_ATTEMPTS then
		return refusals.reply(event, "cancel", "policy-violation", "Too many attempts");
	end
	local old = id and visitors.is_visitor(origin) and find_replaced(id);
	if not old or old == origin then return refusals.reply(event, "cancel", "item-not-found", "This session has ended"); end
	visitors.inherit(origin, old); -- bans and costs follow the visitor
	leave_rooms(old);
	old.log("info", "Session replaced: the visitor came back in a new tab as %s", origin.full_jid);
	old:close { condition = "conflict", text = "You have come back in another tab" };
	origin.send(st.reply(stanza));
	return true;
end

function logins.start(webchat)
	bars, budgets, networks, options = webchat.bars, webchat.budgets, webchat.networks, webchat.options;
	refusals, rooms, visitors = webchat.refusals, webchat.rooms, webchat.visitors;
	module:hook("stanza/"..XMLNS_SASL..":auth", authenticating, BEFORE_AUTH);
	module:hook("authentication-success", authenticated);
	module:hook("pre-resource-bind", binding, BEFORE_BIND);
	module:hook("resource-bind", bound);
	module:hook("resource-unbind", function (event) visitors.remove(event.session); end);
	for _, xmlns_sm in ipairs { "urn:xmpp:sm:2", "urn:xmpp:sm:3" } do
		module:hook_tag(xmlns_sm, "enable", limit_max, BEFORE_SMACKS);
		module:hook_tag(xmlns_sm, "resume", resume, BEFORE_SMACKS);
	end
	module:hook("smacks-hibernation-start", limit_hibernation);
	module:hook("smacks-hibernation-end", resumed);
	module:hook("iq-set/host/" .. XMLNS_WEBCHAT .. ":replace", replace);
end

return logins;
