-- One renewal: takes the steps that are possible now. Each call examines DNS, files and listeners anew (rollover_state.lib.lua), so
-- that it may be killed anywhere and called at any time.

local socket = require "socket";

local dane = module:require "dane";
local dns_update = module:require "dns_update";
local install = module:require "install";
local keypair = module:require "keypair";
local next_key = module:require "next_key";
local reload = module:require "reload";
local rollover = module:require "rollover_state";
local terminal = module:require "terminal";
local uses = module:require "uses";

local HOUR = 3600;
local DNS_TIMEOUT = HOUR; -- seconds after which the name servers should have a change
local MAX_PROBES, PAUSE = 5, 0.5; -- of the listeners after a reload, and seconds between them
local MAX_STEPS = 20; -- in one call; each step takes a few at most

local steps = {};

local renewal = {};
local renewal_mt = { __index = renewal };

local date = terminal.date;

-- ---- Report ----

-- Sets the state of the renewal, and ends this call.
function renewal:at(step, format, ...)
	self.report.step, self.report.text = step, format:format(...);
	return false;
end

function renewal:problem(format, ...)
	table.insert(self.report.problems, format:format(...));
end

-- The same for a failed step
function renewal:stuck(step, why, format, ...)
	self:problem("%s", why);
	return self:at(step, format, ...);
end

-- ---- State that is kept between calls ----

-- Notes when a change was first sent to the name servers.
function renewal:note_sent(action)
	self.state.sent = type(self.state.sent) == "table" and self.state.sent or {};
	self.state.sent[action] = self.state.sent[action] or os.time();
end

function renewal:is_overdue(action)
	local since = type(self.state.sent) == "table" and self.state.sent[action];
	return since and os.time() - since > DNS_TIMEOUT;
end

local function forget_sent(state, action)
	if type(state.sent) == "table" then state.sent[action] = nil; end
end

local function name_of(record)
	return record.name.." "..dane.key(record);
end

-- Records that may be removed once nothing needs them: those that renew added, and those of a certificate that it replaced
function renewal:own(records)
	self.state.own = type(self.state.own) == "table" and self.state.own or {};
	for _, record in ipairs(records) do self.state.own[name_of(record)] = true; end
end

function renewal:left_behind(result)
	local list = {};
	for _, record in ipairs(result.unknown) do
		if type(self.state.own) == "table" and self.state.own[name_of(record)] then list[#list + 1] = record; end
	end
	return list;
end

-- ---- Publishing ----

local DO, DONE = { add = "publish", delete = "remove" }, { add = "published", delete = "removed" };

-- After the change was sent in this call
function renewal:wait_for_dns(action, step)
	if self:is_overdue(action) then
		self:problem("the name servers do not have the change after %s: check that they accept updates",
			terminal.plural((os.time() - self.state.sent[action]) // 60, "minute"));
	end
	return self:at(step, "waiting until all name servers have %s the records", DONE[action]);
end

-- Adds or deletes records. Returns whether to examine again; otherwise the report has the next step.
function renewal:publish(action, step, records)
	self.report.records = records;
	if not dns_update.way() then
		self:problem("%s %s, then run renew again", DO[action], terminal.plural(#records, "record"));
		return self:at(step, "waiting for records to be %s manually", DONE[action]);
	end
	if self.dry_run then return self:at(step, "would %s %s", DO[action], terminal.plural(#records, "record")); end
	if self.sent[action] then return self:wait_for_dns(action, step); end
	if action == "add" then self:own(records); end
	self:note_sent(action);
	self:save_state();
	local ok, err = dns_update.publish(action, records, self.slot.path);
	if not ok then return self:stuck(step, err, "cannot %s %s", DO[action], terminal.plural(#records, "record")); end
	self.sent[action] = true;
	self.report.records = nil;
	return true;
end

function renewal:save_state()
	if self.dry_run then return; end
	local ok, err = self.slot:save_state(self.state);
	if not ok then self:problem("%s", err); end
end

-- ---- The steps of rollover_state.lib.lua ----

local STEPS = {};

function STEPS.add(self, result)
	return self:publish("add", "publish", result.add);
end

function STEPS.wait(self, result)
	forget_sent(self.state, "add");
	if self.new.leaf.not_after and self.new.leaf.not_after < result.ends then
		self:problem("the new certificate expires before that: get another one");
	end
	self.report["until"] = result.ends;
	return self:at("wait", "waiting until %s, when no cache has only the old records", date(result.ends));
end

function STEPS.switch(self, result)
	forget_sent(self.state, "add");
	if not result.safe and self:is_installed() then
		return self:at("check", "installed, but not known to be safe: Prosody is not reloaded");
	elseif not result.safe then
		return self:at("install", "not installed yet: not known to be safe");
	end
	if self:is_installed() then return self:check(result); end
	if self.dry_run then return self:at("install", "would install the new certificate, and reload Prosody"); end
	self:own(result.remove);
	self:save_state();
	local ok, err = install.replace(self.files, { certificate = self.new.pem, key = self.new.key,
		same_key = self.new.chain:fits(self.in_use.key) });
	if not ok then return self:stuck("install", err, "cannot install the new certificate"); end
	self.in_use = self.new;
	return self:reload();
end

function STEPS.remove(self, result)
	if not self:is_installed() then return STEPS.switch(self, result); end
	if not result.safe then return self:at("remove", "old records stay for now: not known to be safe to remove"); end
	local list = self:left_behind(result);
	return self:publish("delete", "remove", table.move(result.remove, 1, #result.remove, #list + 1, list));
end

function STEPS.done(self, result)
	if not self:is_installed() then return STEPS.switch(self, result); end
	if result.problems[1] then return self:at("check", "installed, but there are problems"); end
	local left = self:left_behind(result);
	if left[1] then return self:publish("delete", "remove", left); end
	if self.dry_run then return self:at("done", "would be done"); end
	self.state.own, self.state.sent = nil, nil;
	return self:finish();
end

-- ---- Installing ----

function renewal:is_installed()
	return self.in_use.leaf.sha256 == self.new.leaf.sha256;
end

function renewal:reload()
	local ok, err = reload();
	if ok == nil then return self:stuck("reload", err, "installed, but Prosody did not reload"); end
	self.reloaded, self.probes = ok, 0;
	return true;
end

-- After the installation, until all listeners serve the new certificate
function renewal:check(result)
	if self.dry_run then return self:at("check", "installed; would reload Prosody"); end
	if self.reloaded == nil then return self:reload(); end
	if not self.reloaded then return self:at("check", "installed; Prosody is not running"); end
	if not result.listeners[1] then return STEPS.done(self, result); end -- nothing to probe
	self.probes = self.probes + 1;
	if self.probes < MAX_PROBES then
		socket.sleep(PAUSE);
		return true;
	end
	for _, listener in ipairs(result.listeners) do
		if listener.serves == "old" then self:problem("%s still serves the old certificate", listener.name); end
		if listener.serves == "unknown" then self:problem("%s: %s", listener.name, listener.text or "unknown certificate"); end
	end
	return self:at("check", "installed, but not served by all listeners");
end

-- ---- The next key ----

function renewal:finish()
	self:at("done", "served by all listeners, key %s", self.new.leaf.spki_sha256:sub(1, 16));
	self:save_state();
	self.slot:remove "new.pem";
	if self.spare then self:keep_next_key(); end
	return false;
end

-- Creates it if there is none. Returns whether there is one.
function renewal:make_next_key()
	local own, err = self.spare, nil;
	if not self.dry_run then own, err = next_key.make(self.slot, self.in_use); end
	self.spare = own;
	if own then return true; end
	if self.dry_run then return self:at("next", "would create the next key, and publish it"); end
	return self:stuck("next", err, "cannot create the next key");
end

-- If all name servers have its records: reports when a certificate for it can be installed
function renewal:next_key_is_published(found)
	forget_sent(self.state, "add");
	if not self.dry_run and next_key.ends(self.slot, found) > os.time() then self:examine_with(self.in_use); end -- notes since when
	local ends = next_key.ends(self.slot, found);
	if ends <= os.time() then return self:at("done", "the next key is published; a certificate for it can be installed at once"); end
	self.report["until"] = ends;
	return self:at("next", "the next key is published; a certificate for it can be installed from %s on", date(ends));
end

-- If all records are published
function renewal:report_next_key(found)
	if found.problems[1] then return self:at("next", "cannot check whether the next key is published"); end
	if not found.records[1] then return self:at("done", "next key ready; without TLSA records there is nothing to publish"); end
	return self:next_key_is_published(found);
end

-- Publishes its records, and examines them again.
function renewal:keep_next_key()
	if not self:make_next_key() then return false; end
	local found;
	repeat
		found = next_key.examine(self.slot, self.spare);
		if found.lacking[1] and not self.dry_run then self:examine_with(self.in_use); end -- notes that they are missing
	until not found.lacking[1] or not self:publish("add", "next", found.lacking);
	table.move(found.problems, 1, #found.problems, #self.report.problems + 1, self.report.problems);
	if not found.lacking[1] then self:report_next_key(found); end
	self:save_state();
	return false;
end

-- ---- Together ----

function renewal:examine_with(new)
	return rollover.examine {
		old = self.slot.file, new = new.chain, key = new.key, keep = { self.spare and self.spare.key }, dry_run = self.dry_run,
	};
end

function renewal:examine()
	local result, err = self:examine_with(self.new);
	if not result then return nil, err; end
	self.report.hosts, self.report.problems, self.report.warnings = result.hosts, result.problems, result.warnings;
	return result;
end

function renewal:replace()
	for _, text in ipairs(keypair.problems(self.new, self.slot.file)) do self:problem("%s", text); end
	if self.report.problems[1] then return self:at("check", "unusable certificate"); end
	for _ = 1, MAX_STEPS do
		local result, err = self:examine();
		if not result then return self:stuck("check", err, "unusable certificate"); end
		if not STEPS[result.step](self, result) then break; end
	end
	self:save_state();
end

-- Finds the files that Prosody uses, after it has completed an interrupted installation. Returns true; or nil, text.
function renewal:find_files()
	local key, err = uses.key(self.slot.file);
	if not key then return nil, ("%s; to give up this renewal remove %s"):format(err, self.slot.path); end
	self.files = { certificate = install.target(self.slot.file), key = install.target(key) };
	if not self.dry_run then
		local ok;
		ok, err = install.recover(self.files);
		if not ok then return nil, err; end
	end
	self.in_use, err = keypair.in_use(self.files.certificate, self.files.key);
	return self.in_use, err;
end

-- The pair to install; nil if there is none; or nil, text
function renewal:find_new(given)
	if given then return given; end
	if not self.dry_run then self.slot:adopt(); end
	local text = self.dry_run and self.slot:load "incoming.pem" or self.slot:load "new.pem";
	if not text then return nil; end
	local new, err = keypair.parse(text);
	return new, err;
end

-- The private key that Prosody uses now, PEM; or nil
function steps.key_in_use(slot)
	local key = uses.key(slot.file);
	local in_use = key and keypair.in_use(slot.file, key);
	return in_use and in_use.key or nil;
end

-- slot: as of renew_store.of(). options: dry_run; request = create a next key; new = a pair that is not stored. Returns { file =,
-- name = for people, hosts =, step =, text =, until = or nil, records = to publish or remove, or nil, request = path, problems =,
-- warnings = }.
function steps.run(slot, options)
	local self = setmetatable({
		slot = slot, dry_run = options.dry_run, sent = {}, state = slot:state(),
		report = { file = slot.file, name = slot.name, hosts = uses.hosts(uses.of(slot.file)), step = "done", text = "nothing to do",
			problems = {}, warnings = {} },
	}, renewal_mt);
	local ok, err = self:find_files();
	if not ok then
		self:stuck("check", err, "cannot renew");
		return self.report;
	end
	self.spare = next_key.load(slot);
	if options.request and not self:make_next_key() then return self.report; end
	self.new, err = self:find_new(options.new);
	if err then
		self:stuck("check", err, "unusable certificate");
	elseif self.new then
		self:replace();
	elseif self.spare then
		self:keep_next_key();
	end
	self.report.request = options.request and self.spare and slot.path.."/next.csr" or nil;
	return self.report;
end

return steps;
