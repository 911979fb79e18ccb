"""prosodyctl mod_native check: its findings, cases without findings, and its output."""
import json
import os
import pathlib
import re
import shutil
import sys

import bed
from certsite import Resolver
from nativesite import (ENOUGH_FILES, ERRORS, FEW_FILES, OK, TOOL, USAGE, WARNINGS, allow_files, behaviour, check, configure, expect,
	findings, site, with_slow_syncs)
from suite import every_version
from test_native_status import status

sys.path.insert(0, str(bed.PROJECT / "tests/lab"))
from lab import Lab  # noqa: E402  pylint: disable=wrong-import-position

DNS_PORT, UNSIGNED = 53, 30


# --- usage ---

@every_version
@behaviour("native tool: without a command, and with --help, it prints its usage", **site())
def help_lists_the_commands(server):
	for words in ([], ["--help"], ["check", "--help"]):
		text = TOOL.good(server, *words)
		assert all(re.search(rf"^  {name} .*\n      \w", text, re.M) for name in ("check", "status")), text


@behaviour("native tool: invalid arguments are rejected with status 2", **site())
def bad_arguments_exit_with_2(server):
	for words in (["chek"], ["check", "x"], ["status", "--watch"], ["check", "--json=1"]):
		TOOL.bad(server, *words, status=USAGE, says="--help")


# --- the report ---

@every_version
@behaviour("native check: a server without problems", **site())
def a_sound_server_has_no_findings(server):
	assert findings(server, OK) == {}
	report = check(server, OK)
	modules = {m["name"]: m for m in report["modules"]}
	assert report["state"] == "ok"
	assert {"smacks", "storage_native", "s2s_auth_native", "certs", "native"} <= set(modules), modules
	for name in ("smacks", "storage_native", "native"):
		assert modules[name]["hosts"] == [server.host] and modules[name]["path"].endswith(f"/mod_{name}.lua"), modules
	assert modules["s2s_auth_native"]["hosts"] == []
	assert [o["name"] for o in modules["smacks"]["objects"]] == ["smacks"]
	assert all(o["loads"] for m in modules.values() for o in m["objects"])
	versions = report["versions"]
	assert versions["Prosody"].startswith(server.version) and versions["Lua"] == "5.4", versions
	assert all(re.fullmatch(r"\d+\.\d+\.\d+", versions[name]) for name in ("OpenSSL", "LMDB", "libzstd", "libexpat", "libunbound"))


@behaviour("native check: text and JSON agree", **site({"smacks_max_queue_byte": 100}))
def text_and_json_agree(server):
	found = findings(server, WARNINGS)
	output = TOOL.run(server, "check")
	assert output.status == WARNINGS, output
	(finding,) = found.values()
	assert finding["what"] in output.out and f"    {finding['line']}\n" in output.out, output
	assert finding["why"] in output.out.replace("\n         ", " "), output
	assert output.out.endswith("0 errors, 1 warning, 0 pieces of advice\n"), output
	assert re.search(r"^mod_smacks +prosody\.test +smacks$", output.out, re.M), output


@behaviour("native check: colours are used on terminals only, and not with NO_COLOR", **site({"smacks_max_queue_byte": 100}))
def only_a_terminal_gets_colours(server):
	colourless = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
	assert "\x1b[33mwarning" in TOOL.on_terminal(server, "check", environment={**colourless, "NO_COLOR": ""})
	assert "\x1b[33m" not in TOOL.on_terminal(server, "check", environment={"NO_COLOR": "1"})


# --- modules ---

@every_version
@behaviour("native check: a module of the same name that comes first in plugin_paths", **site())
def a_shadowed_module(server):
	first = server.directory / "plugins"
	shutil.copytree(bed.PROSODIES / f"prosody-{server.version}/root/usr/lib/prosody/modules", first)
	configure(server, plugin_paths=[first, bed.PROJECT / "lua"])
	finding = expect(server, "error", "mod_smacks", re.escape(f"{first}/mod_smacks.lua"), "^plugin_paths = ")
	assert str(bed.PROJECT / "lua") in finding["line"], finding
	configure(server, plugin_paths=[bed.PROJECT / "lua", first])
	assert findings(server, OK) == {}


@behaviour("native check: a shared object that cannot be loaded is an error where its module is enabled", **site())
def an_unloadable_shared_object(server):
	plugins = server.directory / "plugins"
	shutil.copytree(bed.PROJECT / "lua", plugins)
	(plugins / "mod_certs/dns.so").unlink()
	configure(server, plugin_paths=[plugins])
	expect(server, "warning", "mod_certs", "Cannot load .*dns.so", "^make")
	(plugins / "mod_smacks/smacks.so").write_bytes(b"nothing")
	expect(server, "error", "mod_smacks", "Cannot load .*smacks.so", "^make", count=2)
	report = check(server, ERRORS)
	assert [(m["name"], o["name"]) for m in report["modules"] for o in m["objects"] if not o["loads"]] == [
		("smacks", "smacks"), ("certs", "dns")], report


@every_version
@behaviour("native check: it works without mod_native being enabled, and advises to enable it", **site(modules=()))
def the_tool_works_without_the_module(server):
	expect(server, "advice", "mod_native", "not enabled", '"native"')


# --- the machine ---

def without_unbound(server):
	"""An environment in which Lua finds every installed library except lua-unbound."""
	libraries = server.directory / "libraries"
	libraries.mkdir()
	for directory in pathlib.Path("/usr/lib").glob("*/lua/5.4"):
		for path in directory.iterdir():
			if path.name != "lunbound.so":
				(libraries / path.name).symlink_to(path)
	return {**os.environ, "LUA_CPATH_5_4": f"{libraries}/?.so"}


@behaviour("native check: without lua-unbound DNS answers cannot be validated", **site())
def without_unbound_dane_proves_nothing(server):
	configure(server, modules=["native", "s2s_auth_native"])
	environment = without_unbound(server)
	expect(server, "warning", "lua-unbound", "not installed", "apt install lua-unbound", env=environment)
	configure(server, use_dane=True)
	expect(server, "error", "lua-unbound", env=environment)
	configure(server, use_dane=False)
	assert findings(server, OK, env=environment) == {}


@every_version
@behaviour("native check: a resolver without a trust anchor, and one whose anchor file is missing", **site())
def a_missing_trust_anchor(server):
	configure(server, modules=["native", "s2s_auth_native"])
	expect(server, "warning", "unbound", "no trust anchor", "unbound = { trustfile = ")
	configure(server, use_dane=True)
	expect(server, "error", "unbound", "no trust anchor")
	configure(server, unbound={"trustfile": server.directory / "root.key"})
	expect(server, "error", "unbound", "root.key does not exist")


@behaviour("native check: a resolver whose answers are valid, with each option for the trust anchor", **site())
def a_validating_resolver(server):
	with Lab(bed.BUILD / "lab") as lab:
		lab.start()
		settings = lab.unbound()
		configure(server, modules=["native", "s2s_auth_native"], unbound=settings)
		assert findings(server, OK) == {}
		anchor = settings.pop("trustfile")
		configure(server, unbound={**settings, "trusted": anchor.read_text().strip()})
		assert findings(server, OK) == {}
		options = {**settings["options"], "trust-anchor-file:": anchor}
		configure(server, unbound={**settings, "options": options})
		assert findings(server, OK) == {}


@behaviour("native check: a resolver that strips signatures", **site())
def a_resolver_without_signatures(server):
	with Lab(bed.BUILD / "lab") as lab:
		lab.start()
		address = lab.address(UNSIGNED)
		resolver, resolv_conf = Resolver(address, DNS_PORT), server.directory / "resolv.conf"
		resolv_conf.write_text(f"nameserver {address}\n")
		local = {"options": {"do-not-query-localhost:": "no"}, "trustfile": lab.trust_anchor}
		try:
			configure(server, modules=["native", "s2s_auth_native"], unbound={**local, "resolvconf": resolv_conf})
			found = expect(server, "error", "DNS", "cannot be validated: .*no DNSKEY", "resolvconf = false")
			assert str(lab.trust_anchor) in found["line"], found
			configure(server, unbound={**local, "resolvconf": False, "forward": address})
			assert "line" not in expect(server, "error", "DNS", "cannot be validated")
			resolver.broken.add("")
			expect(server, "error", "DNS", "does not work: .*")
		finally:
			resolver.stop()


@behaviour("native check: an invalid trust anchor", **site())
def an_invalid_trust_anchor(server):
	with Lab(bed.BUILD / "lab") as lab:
		lab.start()
		anchor = server.directory / "root.key"
		anchor.write_text("; empty\n")
		configure(server, modules=["native", "s2s_auth_native"], unbound={**lab.unbound(), "trustfile": anchor})
		expect(server, "warning", "unbound", "no answer is validated", "^(apt install dns-root-data\n)?unbound = ")


@behaviour("native check: a resolver whose settings do not work", **site())
def broken_resolver_settings(server):
	anchor = server.directory / "root.key"
	anchor.write_text(". IN DS 1 8 2 00\n")
	configure(server, modules=["native", "s2s_auth_native"], unbound={"trustfile": anchor, "resolvconf": False})
	expect(server, "error", "DNS", "The resolver does not work: ")
	configure(server, unbound={"trusted": [". IN DS 1 8 2 00"]})  # which lua-unbound does not accept
	expect(server, "error", "DNS", "The resolver does not work: .*cannot use the option unbound as it stands")


@every_version
@behaviour("native check: missing certificates of authorities", **site())
def no_certificate_authorities(server):
	configure(server, s2s_secure_auth=True, ssl={"capath": server.directory / "certs"})
	expect(server, "error", "s2s_secure_auth", "no certificates of authorities", "ca-certificates")
	(server.directory / "certs/0a1b2c3d.0").write_text("")
	assert findings(server, OK) == {}


def with_free(server, kilobytes):
	"""An environment with this much free disk space."""
	programs = server.directory / "programs"
	programs.mkdir(exist_ok=True)
	(programs / "df").write_text("#!/bin/sh\necho Filesystem 1024-blocks Used Available Capacity Mounted on\n"
		f"echo /dev/sda1 99999999 5 {kilobytes} 50% /\n")
	(programs / "df").chmod(0o755)
	return {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}


@behaviour("native check: a disk that is nearly full, or too small for a copy of the store", **site())
def a_disk_nearly_full(server):
	server.account("alice")  # a store exists now
	(server.directory / "data/native/data.mdb").open("ab").truncate(2 << 30)
	expect(server, "error", "disk", "10.0 MB are free", "storage_native_max_size", env=with_free(server, 10 << 10))
	expect(server, "warning", "disk", r"1.0 GB are free .* 2.0 GB", env=with_free(server, 1 << 20))
	assert findings(server, OK, env=with_free(server, 3 << 20)) == {}


@behaviour("native check: a store in memory", **site())
def a_store_in_memory(server):
	configure(server, storage_native_path="/dev/shm/prosody")
	expect(server, "warning", "storage_native_path", "in memory", "storage_native_path = ")


@behaviour("native check: a store that cannot be opened", **site())
def an_unopenable_store(server):
	configure(server, storage_native_path="/nonexistent/native")
	expect(server, "error", "storage_native_path", "Cannot open the store: /nonexistent/native/data.mdb: No such file", "install -d ")
	in_the_way = server.directory / "file"
	in_the_way.write_text("")
	configure(server, storage_native_path=in_the_way)
	expect(server, "error", "storage_native_path", "Cannot open the store: .*/file/data.mdb: Not a directory")
	configure(server, storage_native_path=server.directory / "other")
	assert findings(server, OK) == {}


@behaviour("native check: a log that grows", **site())
def a_large_log(server):
	server.account("alice")
	assert findings(server, OK) == {}
	(server.directory / "data/native/log.ffffffffffffffff").open("wb").truncate(70 << 20)
	expect(server, "warning", "log", r"^The log in /.*/native has grown to 7\d\.\d MB\.$")


SLOW = 700


@every_version
@behaviour("native check: a disk that is too slow for the log", start=False, **site(modules=["native", "private"]))
def a_slow_disk(server):
	with_slow_syncs(server, SLOW, "/log.")
	server.login("alice")
	found = bed.wait_for(lambda: findings(server, None), "a sync has ended")
	(finding,) = found.values()
	assert finding["severity"] == "warning" and finding["about"] == "disk speed", finding
	assert re.search(r"took 0\.[78] s|took [1-9]", finding["what"]) and "faster disk" in finding["line"], finding
	figures = status(server)["storage_native"]["*"]
	assert figures["slowest_sync"] >= SLOW / 1000 and figures["last_sync"] > 0 and figures["log"] > 0, figures
	shell = server.shell("native:check()")
	assert "disk speed" in shell, shell


@behaviour("native check: a low limit of open files, and few files left", **site())
def few_file_descriptors(server):
	allow_files(server, FEW_FILES)
	(finding,) = check(server, WARNINGS)["findings"]
	assert finding["about"] == "open files" and str(FEW_FILES) in finding["what"], finding
	assert "LimitNOFILE=" in finding["line"], finding
	allow_files(server, len(os.listdir(f"/proc/{server.process.pid}/fd")))
	(finding,) = check(server, ERRORS)["findings"]
	assert finding["about"] == "open files" and finding["severity"] == "error", finding
	allow_files(server, ENOUGH_FILES)


@behaviour("native check: the open files of a server that does not run are not checked", **site())
def files_of_a_stopped_server_are_not_checked(server):
	server.finish()
	assert check(server, OK)["findings"] == []


@every_version
@behaviour("native check: garbage collection that takes half of the CPU time", **site())
def costly_garbage_collection(server):
	assert findings(server, OK) == {}
	for gc in {"mode": "incremental"}, {"threshold": 105}, {"mode": "incremental", "threshold": 149}:
		configure(server, gc=gc)
		expect(server, "advice", "gc", line="^gc = { threshold = 200 }$")
	for gc in {"threshold": 150}, {"mode": "generational"}:
		configure(server, gc=gc)
		assert findings(server, OK) == {}, gc
	others = [name for name in server.modules if name != "smacks"]
	configure(server, others, storage="internal", gc={"mode": "incremental"})
	assert findings(server, OK) == {}


# --- in the server ---

@every_version
@behaviour("native check: the shell gives the same report", **site({"smacks_max_queue_byte": 100}))
def the_shell_gives_the_same_report(server):
	allow_files(server, ENOUGH_FILES)
	server.lua("""require "util.pposix".isatty = function () return true; end""")  # as with prosody -F
	text, shell = TOOL.run(server, "check").out, server.shell("native", "check")
	assert "\x1b" not in shell, shell
	assert text.rstrip("\n").rsplit("\n", 1)[0].rstrip() in shell, (text, shell)
	assert "OK: 0 errors, 1 warning, 0 pieces of advice" in shell, shell
	server.shell("module", "reload", "native")
	assert "did you mean smacks_max_queue_bytes" in server.shell("native", "check")


@behaviour("native check: errors are errors in the shell, too", **site({"storage_native_sync": "often"}))
def the_shell_reports_errors(server):
	server.expect_log("storage_native_sync")
	try:
		server.shell("native", "check")
	except RuntimeError as error:
		assert '"often" must be' in str(error) and re.search(r"Error: .*1 error, ", str(error), re.S), error
	else:
		raise AssertionError("the shell calls it good")
