-- mod_native's own checks of the system, and mod_s2s_auth_native's counters for it

local function load_lib(path, libs)
	local environment = setmetatable({ module = libs }, { __index = _G });
	return assert(loadfile("lua/"..path..".lib.lua", "t", environment))();
end

describe("spelling", function ()
	local nearest = load_lib "mod_native/spelling";
	local known = { smacks_max_queue_size = true, smacks_max_queue_bytes = true, use_dane = true, ssl = true };

	it("finds the intended option", function ()
		assert.equal("smacks_max_queue_size", nearest("smacks_max_queue_sise", known));
		assert.equal("smacks_max_queue_bytes", nearest("smacks_max_queue_byte", known));
		assert.equal("smacks_max_queue_bytes", nearest("smacks_max_queu_bytes", known));
		assert.equal("smacks_max_queue_size", nearest("smack_max_queue_size", known));
		assert.equal("use_dane", nearest("use_dan", known));
	end);

	it("prefers the nearest one, and the first of several at the same distance", function ()
		assert.equal("option_number_11", nearest("option_number_1", { option_number_11 = true, option_number_222 = true }));
		for _ = 1, 5 do
			assert.equal("option_number_1a", nearest("option_number_1", { option_number_1b = true, option_number_1a = true }));
		end
	end);

	it("does not guess if names differ much, or are short", function ()
		assert.is_nil(nearest("smacks_max_cue_size", known));
		assert.is_nil(nearest("use_ipv6", known));
		assert.is_nil(nearest("sql", known));
		assert.is_nil(nearest("", known));
	end);
end);

describe("system", function ()
	local system = load_lib "mod_native/system";
	local MOUNTS = table.concat({
		"22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw",
		"23 22 0:20 / /proc rw,nosuid - proc proc rw",
		"40 22 0:40 / /var/lib rw shared:2 master:1 - xfs /dev/sdb1 rw",
		"41 40 0:41 / /var/lib/pro\\040sody rw - nfs4 server:/export rw",
		"42 22 0:42 / /run rw - tmpfs tmpfs rw",
		"43 42 0:43 / /run rw - ext4 /dev/sdc1 rw",
	}, "\n").."\n";

	it("finds the file system of a path", function ()
		assert.equal("ext4", system.type_in(MOUNTS, "/"));
		assert.equal("ext4", system.type_in(MOUNTS, "/var/library"));
		assert.equal("xfs", system.type_in(MOUNTS, "/var/lib"));
		assert.equal("xfs", system.type_in(MOUNTS, "/var/lib/prosody/native"));
		assert.equal("nfs4", system.type_in(MOUNTS, "/var/lib/pro sody/native"));
	end);

	it("finds the topmost of several mounts", function ()
		assert.equal("ext4", system.type_in(MOUNTS, "/run/prosody"));
	end);

	it("returns nil without a table of mounts", function ()
		assert.is_nil(system.type_in("", "/var/lib"));
		assert.is_nil(system.type_in("garbage\n\n1 2 3\n", "/var/lib"));
	end);

	it("recognizes network file systems, and those in memory", function ()
		for _, typ in ipairs { "nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "ceph", "virtiofs" } do
			assert.is_true(system.is_remote(typ), typ);
		end
		for _, typ in ipairs { "ext4", "xfs", "btrfs", "zfs", "overlay", "tmpfs", "fuseblk" } do
			assert.is_false(system.is_remote(typ), typ);
		end
		assert.is_true(system.is_volatile("tmpfs"));
		assert.is_false(system.is_volatile("ext4"));
	end);

	it("returns free space, also for paths that do not exist, with any characters", function ()
		assert.is_true(system.free("/") > 0);
		assert.equal("/", system.existing("/is not there/'at all'"));
		assert.is_true(system.free("/is not there/'at all'") > 0);
	end);

	it("returns the limit of open files of a process", function ()
		local limit, open = system.open_files(require "util.pposix".getpid());
		assert.is_true(limit >= open and open > 0);
		assert.is_nil(system.open_files(0));
	end);
end);

describe("audit", function ()
	local added, audit;

	before_each(function ()
		added = {};
		audit = load_lib("mod_s2s_auth_native/audit", { metric = function (_, _, name)
			return { with_labels = function (_, ...)
				local key = table.concat({ name, ... }, " ");
				return { add = function (_, number) added[key] = (added[key] or 0) + number; end };
			end };
		end });
	end);

	local function row(name, what)
		for _, figure in ipairs(audit.figures("on")) do
			for _, cells in ipairs(figure.name == name and figure.rows or {}) do
				if cells[1] == what then return { cells[2], cells[3] }; end
			end
		end
	end

	it("counts proofs and refusals by direction, for metrics as for figures", function ()
		audit.count({ direction = "incoming", cert_chain_status = "valid", cert_identity_status = "valid" }, { kind = "dane-ee" });
		audit.count({ direction = "outgoing" }, { kind = "none" });
		audit.refused({ direction = "outgoing" }, "policy");
		assert.same({ 1, 0 }, row("proofs", "dane-ee"));
		assert.same({ 0, 1 }, row("proofs", "none"));
		assert.same({ 0, 1 }, row("refused", "policy"));
		assert.equal(1, added["proofs incoming dane-ee"]);
		assert.equal(1, added["checked unknown unknown"]);
		assert.equal(1, added["refused outgoing policy"]);
	end);

	it("has a counter for every kind from the start", function ()
		assert.equal(0, added["proofs outgoing pkix"]);
		assert.equal(0, added["refused incoming mismatch"]);
		assert.same({ 0, 0 }, row("proofs", "posh"));
		assert.same({ name = "dane", value = "on" }, audit.figures("on")[1]);
	end);
end);
