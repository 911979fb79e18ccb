-- How many stanzas of its peer a session may acknowledge. XEP-0198 takes an ack for the promise that the
-- stanza need not be sent again: so none is told before what the stanza wrote is committed, and none of a
-- turn of the event loop whose commit has failed.
--
-- Where storage is not mod_storage_native's, what is written is written at once, and all this is nothing.

local turns = module:shared "/*/storage_native/turns"; -- its README has the contract

local H_MASK = 0xFFFFFFFF; -- counters are unsigned 32-bit integers that wrap

local handled = {};

-- A turn that was lost took all with it that the session had handled in it. Nothing later can be
-- acknowledged either, for h counts without gaps; until the session is resumed, and the client sends again.
local function note_lost_turn(session)
	if turns.lost and turns.lost[session.handled_turn] and not session.handled_before_loss then
		session.handled_before_loss = session.handled_before_turn;
	end
end

-- Counts stanzas that were received
function handled.count(session, stanzas)
	local turn = turns.number;
	if turn ~= session.handled_turn then
		note_lost_turn(session);
		session.handled_turn, session.handled_before_turn = turn, session.handled_stanza_count;
	end
	session.handled_stanza_count = (session.handled_stanza_count + stanzas) & H_MASK;
end

local function is_open()
	return turns.is_open and turns.is_open();
end

-- The number that may be told to the peer if the open turn is committed before, or with it
function handled.total(session)
	note_lost_turn(session);
	return session.handled_before_loss or session.handled_stanza_count or 0;
end

-- The number that may be told to the peer now
function handled.safe(session)
	local total = handled.total(session);
	if session.handled_before_loss then return total; end
	if not is_open() or session.handled_turn ~= turns.number then
		session.handled_before_turn = total; -- a later turn may get the same number: less is never told
		return total;
	end
	return session.handled_before_turn;
end

-- The client will send what it was not acknowledged again: lets the session count from there
function handled.resume(session)
	session.handled_stanza_count = handled.total(session);
	session.handled_before_loss, session.handled_turn = nil, nil;
end

-- Commits what was written in this turn, so that all that the session has handled may be told
function handled.commit(session)
	if is_open() and turns.commit() then session.handled_before_turn = handled.total(session); end
end

-- Calls back after the commit at the end of the open turn, whatever became of it; at once if none is open
function handled.when_committed(callback)
	if is_open() then
		turns.when_committed(callback);
	else
		callback();
	end
end

return handled;
