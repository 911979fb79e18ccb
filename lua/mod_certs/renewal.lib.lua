-- One renewal: takes the steps that can be taken now. Each call looks at DNS, at the files and at what is served anew
-- (replacement.lib.lua), so that it may be killed anywhere and called at any time.

local socket = require "socket";

local certificates = module:require "certificates";
local certs = module:require "native"("certs");
local dane = module:require "dane";
local installing = module:require "installing";
local nextkey = module:require "nextkey";
local pair = module:require "pair";
local publishing = module:require "publishing";
local reload = module:require "reloading";
local replacement = module:require "replacement";
local terminal = module:require "terminal";

local HOUR = 3600;
local PATIENCE = HOUR; -- seconds after which DNS should show what was published
local SETTLING, PAUSE = 5, 0.5; -- looks at the listeners after a reload, and seconds between them
local MAX_STEPS = 20; -- in one call; each is taken a few times at most

local renewal = {};

local work = {};
local work_mt = { __index = work };

local date = terminal.date;

-- ---- What is reported ----

-- Sets where the renewal is, and ends this call.
function work:at(step, format, ...)
	self.report.step, self.report.text = step, format:format(...);
	return false;
end

function work:problem(format, ...)
	table.insert(self.report.problems, format:format(...));
end

-- The same for a step that has failed
function work:stuck(step, why, format, ...)
	self:problem("%s", why);
	return self:at(step, format, ...);
end

-- ---- Small facts that are kept ----

-- When a thing was asked of the name servers first, and not seen there since
function work:note_sent(action)
	self.state.sent = type(self.state.sent) == "table" and self.state.sent or {};
	self.state.sent[action] = self.state.sent[action] or os.time();
end

function work:is_overdue(action)
	local since = type(self.state.sent) == "table" and self.state.sent[action];
	return since and os.time() - since > PATIENCE;
end

local function forget_sent(state, action)
	if type(state.sent) == "table" then state.sent[action] = nil; end
end

local function name_of(record)
	return record.name.." "..dane.key(record);
end

-- Records that may go once nothing needs them: those that were added here, and those of a certificate that was replaced here
function work:own(records)
	self.state.own = type(self.state.own) == "table" and self.state.own or {};
	for _, record in ipairs(records) do self.state.own[name_of(record)] = true; end
end

function work:left_behind(result)
	local list = {};
	for _, record in ipairs(result.unknown) do
		if type(self.state.own) == "table" and self.state.own[name_of(record)] then list[#list + 1] = record; end
	end
	return list;
end

-- ---- Publishing ----

local DO, DONE = { add = "publish", delete = "remove" }, { add = "published", delete = "removed" };

-- It was done in this call already.
function work:wait_for_dns(action, step)
	if self:is_overdue(action) then
		self:problem("the name servers do not show it, for %s now: see that they take what is published",
			terminal.plural((os.time() - self.state.sent[action]) // 60, "minute"));
	end
	return self:at(step, "waits until all name servers show what was %s", DONE[action]);
end

-- Adds or deletes records. Returns whether to look again; what is left to do stands in the report otherwise.
function work:publish(action, step, records)
	self.report.records = records;
	if not publishing.way() then
		self:problem("%s %s, and call renew again", DO[action], terminal.plural(#records, "record"));
		return self:at(step, "waits for records that are to be %s by hand", DONE[action]);
	end
	if self.dry_run then return self:at(step, "would %s %s", DO[action], terminal.plural(#records, "record")); end
	if self.published[action] then return self:wait_for_dns(action, step); end
	if action == "add" then self:own(records); end
	self:note_sent(action);
	self:save_state();
	local ok, err = publishing.publish(action, records, self.slot.path);
	if not ok then return self:stuck(step, err, "%s could not be %s", terminal.plural(#records, "record"), DONE[action]); end
	self.published[action] = true;
	self.report.records = nil;
	return true;
end

function work:save_state()
	if self.dry_run then return; end
	local ok, err = self.slot:save_state(self.state);
	if not ok then self:problem("%s", err); end
end

-- ---- The steps, as replacement.lib.lua has them ----

local STEPS = {};

function STEPS.add(self, result)
	return self:publish("add", "publish", result.add);
end

function STEPS.wait(self, result)
	forget_sent(self.state, "add");
	if self.new.leaf.not_after and self.new.leaf.not_after < result.ends then
		self:problem("the new certificate ends before that: get another one");
	end
	self.report["until"] = result.ends;
	return self:at("wait", "waits until %s, when no cache has the old records alone", date(result.ends));
end

function STEPS.switch(self, result)
	forget_sent(self.state, "add");
	if not result.safe and self:is_installed() then
		return self:at("check", "is installed; it is not known to be safe to make Prosody take it");
	elseif not result.safe then
		return self:at("install", "is not installed yet: it is not known to be safe");
	end
	if self:is_installed() then return self:check(result); end
	if self.dry_run then return self:at("install", "would install the new certificate, and reload Prosody"); end
	self:own(result.remove);
	self:save_state();
	local ok, err = installing.install(self.place, { certificate = self.new.chain, key = self.new.key,
		same_key = certs.fits(self.new.chain, self.in_use.key) });
	if not ok then return self:stuck("install", err, "could not be installed"); end
	self.in_use = self.new;
	return self:reload();
end

function STEPS.remove(self, result)
	if not self:is_installed() then return STEPS.switch(self, result); end
	if not result.safe then return self:at("remove", "the old records stay for now: it is not known to be safe to remove them"); end
	local list = self:left_behind(result);
	return self:publish("delete", "remove", table.move(result.remove, 1, #result.remove, #list + 1, list));
end

function STEPS.done(self, result)
	if not self:is_installed() then return STEPS.switch(self, result); end
	if result.problems[1] then return self:at("check", "is installed; not everything is as it should be"); end
	local left = self:left_behind(result);
	if left[1] then return self:publish("delete", "remove", left); end
	if self.dry_run then return self:at("done", "would be done"); end
	self.state.own, self.state.sent = nil, nil;
	return self:finish();
end

-- ---- Installing ----

function work:is_installed()
	return self.in_use.leaf.sha256 == self.new.leaf.sha256;
end

function work:reload()
	local ok, err = reload();
	if ok == nil then return self:stuck("reload", err, "is installed; Prosody could not be told to reload"); end
	self.reloaded, self.looks = ok, 0;
	return true;
end

-- Installed, and not seen everywhere
function work:check(result)
	if self.dry_run then return self:at("check", "is installed; Prosody would be told to reload"); end
	if self.reloaded == nil then return self:reload(); end
	if not self.reloaded then return self:at("check", "is installed; Prosody does not run"); end
	if not result.listeners[1] then return STEPS.done(self, result); end -- there is nothing to look at
	self.looks = self.looks + 1;
	if self.looks < SETTLING then
		socket.sleep(PAUSE);
		return true;
	end
	for _, listener in ipairs(result.listeners) do
		if listener.serves == "old" then self:problem("%s still serves the old certificate", listener.name); end
		if listener.serves == "unknown" then self:problem("%s: %s", listener.name, listener.text or "it is not known what is served"); end
	end
	return self:at("check", "is installed, but not served everywhere");
end

-- ---- The next key ----

function work:finish()
	self:at("done", "is served everywhere, the certificate of the key %s", self.new.leaf.spki_sha256:sub(1, 16));
	self:save_state();
	self.slot:remove "new.pem";
	if self.spare then self:keep_next_key(); end
	return false;
end

-- Takes care that there is one. Returns whether there is.
function work:make_next_key()
	local own, err = self.spare, nil;
	if not self.dry_run then own, err = nextkey.make(self.slot, self.in_use); end
	self.spare = own;
	if own then return true; end
	if self.dry_run then return self:at("next", "would make the next key, and publish it"); end
	return self:stuck("next", err, "the next key could not be made");
end

-- Its records are everywhere: says when a certificate for it may come
function work:next_key_is_published(found)
	forget_sent(self.state, "add");
	if not self.dry_run and nextkey.ends(self.slot, found) > os.time() then self:look(self.in_use); end -- which notes since when
	local ends = nextkey.ends(self.slot, found);
	if ends <= os.time() then return self:at("done", "the next key is published; a certificate for it can be installed at once"); end
	self.report["until"] = ends;
	return self:at("next", "the next key is published; a certificate for it can be installed from %s on", date(ends));
end

-- Nothing is left to be published
function work:tell_of_next_key(found)
	if found.problems[1] then return self:at("next", "it is not known whether the next key is published"); end
	if not found.records[1] then return self:at("done", "there is a next key, and no TLSA record beside which it could be published"); end
	return self:next_key_is_published(found);
end

-- Publishes its records; one look again after that.
function work:keep_next_key()
	if not self:make_next_key() then return false; end
	local found;
	repeat
		found = nextkey.examine(self.slot, self.spare);
		if found.lacking[1] and not self.dry_run then self:look(self.in_use); end -- which notes that they are not there
	until not found.lacking[1] or not self:publish("add", "next", found.lacking);
	table.move(found.problems, 1, #found.problems, #self.report.problems + 1, self.report.problems);
	if not found.lacking[1] then self:tell_of_next_key(found); end
	self:save_state();
	return false;
end

-- ---- Together ----

function work:look(new)
	return replacement.examine {
		old = self.slot.file, new = new.chain, key = new.key, keep = { self.spare and self.spare.key }, dry_run = self.dry_run,
	};
end

function work:examine()
	local result, err = self:look(self.new);
	if not result then return nil, err; end
	self.report.hosts, self.report.problems, self.report.warnings = result.hosts, result.problems, result.warnings;
	return result;
end

function work:replace()
	for _, text in ipairs(pair.problems(self.new, self.slot.file)) do self:problem("%s", text); end
	if self.report.problems[1] then return self:at("check", "cannot be used"); end
	for _ = 1, MAX_STEPS do
		local result, err = self:examine();
		if not result then return self:stuck("check", err, "cannot be used"); end
		if not STEPS[result.step](self, result) then break; end
	end
	self:save_state();
end

-- The files that Prosody uses, as they are after an interrupted exchange has been ended. Returns true, or nil, text.
function work:find_place()
	local key, err = certificates.key(self.slot.file);
	if not key then return nil, ("%s; to forget this renewal remove %s"):format(err, self.slot.path); end
	self.place = { certificate = installing.target(self.slot.file), key = installing.target(key) };
	if not self.dry_run then
		local ok;
		ok, err = installing.mend(self.place);
		if not ok then return nil, err; end
	end
	self.in_use, err = pair.in_use(self.place.certificate, self.place.key);
	return self.in_use, err;
end

-- The pair that is to be installed; nil where there is none; or nil, text
function work:find_new(given)
	if given then return given; end
	if not self.dry_run then self.slot:adopt(); end
	local text = self.dry_run and self.slot:load "incoming.pem" or self.slot:load "new.pem";
	if not text then return nil; end
	local new, err = pair.read(text);
	return new, err;
end

-- The private key that Prosody has now, PEM; or nil
function renewal.key_in_use(slot)
	local key = certificates.key(slot.file);
	local in_use = key and pair.in_use(slot.file, key);
	return in_use and in_use.key or nil;
end

local function hosts_of(file)
	local list, seen = {}, {};
	for _, use in ipairs(certificates.uses(file)) do
		for _, name in ipairs(use.hosts) do
			if not seen[name] then list[#list + 1] = name; end
			seen[name] = true;
		end
	end
	return list;
end

-- slot: of staging.of(). options: dry_run; request = whether a next key is wanted; new = a pair that is not staged. Returns
-- { file =, name = for people, hosts =, step =, text =, until = or nil, records = that are to be published or removed, or nil,
-- request = path, problems =, warnings = }.
function renewal.run(slot, options)
	local self = setmetatable({ slot = slot, dry_run = options.dry_run, published = {}, state = slot:state(),
		report = { file = slot.file, name = slot.name, hosts = hosts_of(slot.file), step = "done", text = "there is nothing to do", problems = {},
			warnings = {} } }, work_mt);
	local ok, err = self:find_place();
	if not ok then
		self:stuck("check", err, "cannot be renewed");
		return self.report;
	end
	self.spare = nextkey.load(slot);
	if options.request and not self:make_next_key() then return self.report; end
	self.new, err = self:find_new(options.new);
	if err then
		self:stuck("check", err, "what was handed in cannot be used");
	elseif self.new then
		self:replace();
	elseif self.spare then
		self:keep_next_key();
	end
	self.report.request = options.request and self.spare and slot.path.."/next.csr" or nil;
	return self.report;
end

return renewal;
