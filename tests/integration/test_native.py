"""prosodyctl mod_native check: what it finds wrong, what it leaves alone, and how it says so."""
import functools
import json
import os
import pathlib
import re
import resource
import shutil
import sys

import bed
import suite
from certsite import Resolver
from suite import every_version
from terminal import Tool

sys.path.insert(0, str(bed.PROJECT / "tests/lab"))
from lab import Lab  # noqa: E402  pylint: disable=wrong-import-position

OK, ERRORS, USAGE, WARNINGS = 0, 1, 2, 3
ENOUGH_FILES, FEW_FILES = 8192, 1024
DNS_PORT, UNSIGNED = 53, 30
TOOL = Tool("mod_native")
behaviour = functools.partial(suite.behaviour, once=True)


def site(options=None, modules=("native",), **settings):
	"""A server with nothing to mend, but for what is changed."""
	return {"modules": list(modules), "options": {"storage": "native", **(options or {})}, **settings}


def check(server, status, **settings):
	"""The report of check --json, with this status; with any where that is None."""
	output = TOOL.run(server, "check", "--json", **settings)
	assert status in (output.status, None) and not output.err, output
	return json.loads(output.out.splitlines()[-1])  # Prosody itself tells before that it misses a library


def allow_files(server, count):
	_, most = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
	resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (count, most))


def findings(server, status, **settings):
	"""{(severity, about): finding}, where the number of open files is no matter."""
	if server.process.poll() is None:
		allow_files(server, ENOUGH_FILES)
	return {(f["severity"], f["about"]): f for f in check(server, status, **settings)["findings"]}


def configure(server, modules=None, **options):
	"""Change the configuration, not the running server."""
	server.options.update(options)
	server.modules = modules or server.modules
	server.rewrite_config()


def expect(server, severity, about, what="", line="", count=1, **settings):
	"""So many findings, and one of them is this."""
	found = findings(server, {"error": ERRORS, "warning": WARNINGS, "advice": OK}[severity], **settings)
	assert len(found) == count, found
	finding = found[severity, about]
	assert re.search(what, finding["what"]) and re.search(line, finding.get("line", "")), finding
	assert finding["why"], finding
	return finding


# --- usage ---

@every_version
@behaviour("native tool: without a command, or asked for help, it tells what there is", **site())
def help_lists_the_commands(server):
	for words in ([], ["--help"], ["check", "--help"]):
		text = TOOL.good(server, *words)
		assert all(re.search(rf"^  {name} .*\n      \w", text, re.M) for name in ("check", "status")), text


@behaviour("native tool: what cannot be meant is refused with status 2", **site())
def bad_arguments_exit_with_2(server):
	for words in (["chek"], ["check", "x"], ["status", "--watch"], ["check", "--json=1"]):
		TOOL.bad(server, *words, status=USAGE, says="--help")


# --- what there is ---

@every_version
@behaviour("native check: a server with nothing to mend", **site())
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
	assert all(re.fullmatch(r"\d+\.\d+\.\d+", versions[name]) for name in ("OpenSSL", "LMDB", "libexpat", "libunbound"))


@behaviour("native check: the text says what the JSON says", **site({"smacks_max_queue_byte": 100}))
def text_and_json_agree(server):
	found = findings(server, WARNINGS)
	output = TOOL.run(server, "check")
	assert output.status == WARNINGS, output
	(finding,) = found.values()
	assert finding["what"] in output.out and f"    {finding['line']}\n" in output.out, output
	assert finding["why"] in output.out.replace("\n         ", " "), output
	assert output.out.endswith("0 errors, 1 warning, 0 pieces of advice\n"), output
	assert re.search(r"^mod_smacks +prosody\.test +smacks$", output.out, re.M), output


@behaviour("native check: colours are for terminals, and not with NO_COLOR", **site({"smacks_max_queue_byte": 100}))
def only_a_terminal_gets_colours(server):
	colourless = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
	assert "\x1b[33mwarning" in TOOL.on_terminal(server, "check", environment={**colourless, "NO_COLOR": ""})
	assert "\x1b[33m" not in TOOL.on_terminal(server, "check", environment={"NO_COLOR": "1"})


# --- options ---

@behaviour("native check: an option that was misspelt is told with the one that was meant and its value", **site())
def a_misspelt_option_is_named_with_the_right_one(server):
	configure(server, storage_native_snyc="none")
	expect(server, "warning", "storage_native_snyc", "did you mean storage_native_sync", '^storage_native_sync = "none"$')


@behaviour("native check: an option with a module's prefix that it does not know", **site({"smacks_colour": "blue"}))
def an_unknown_option_of_a_module(server):
	expect(server, "warning", "smacks_colour", "mod_smacks has no such option", "remove smacks_colour")


@every_version
@behaviour("native check: options of a host are looked at, and told with the host", components={
	"rooms.prosody.test": {"component_module": "muc", "smacks_max_queue_sise": 7}}, **site())
def options_of_a_host_are_named_with_it(server):
	finding = expect(server, "warning", "smacks_max_queue_sise", "did you mean smacks_max_queue_size", "= 7$")
	assert finding["host"] == "rooms.prosody.test" and "rooms.prosody.test" in finding["place"], finding


@behaviour("native check: options of others are no matter, whatever they look like", **site({
	"c2s_ssl": {}, "limits": {}, "use_libevent": False, "unbounded": True, "s2s_timeout": 90, "storag": "x", "smack": 1}))
def options_of_other_modules_are_ignored(server):
	assert findings(server, OK) == {}


@every_version
@behaviour("native check: what a module would complain about", **site())
def invalid_values_are_findings(server):
	configure(server, storage_native_sync="often")
	assert "its default instead" in expect(server, "error", "mod_storage_native", "storage_native_sync.*often")["why"]
	configure(server, storage_native_sync="group", smacks_max_old_sessions=-1)
	expect(server, "error", "mod_smacks", "smacks_max_old_sessions")


@behaviour("native check: numbers that are none", **site())
def values_that_are_not_numbers(server):
	configure(server, storage_native_max_size="lots", smacks_max_total_bytes="lots")
	found = findings(server, ERRORS)
	assert {"mod_storage_native", "mod_smacks"} == {about for severity, about in found if severity == "error"}, found
	assert all(name in found["error", f"mod_{module}"]["what"] for module, name in
		(("storage_native", "storage_native_max_size"), ("smacks", "smacks_max_total_bytes"))), found


@behaviour("native check: a module whose options cannot be read is an error, and none of its options is unknown", **site())
def unreadable_options(server):
	plugins = server.directory / "plugins"
	shutil.copytree(bed.PROJECT / "lua", plugins)
	configure(server, plugin_paths=[plugins], webchat_titl="Help", webchat_colour="blue")
	for text, reason in (("return {", "expected"), ("error()", "nil value"), ("return 1", "not a table")):
		(plugins / "mod_webchat/options.lib.lua").write_text(text)
		expect(server, "error", "mod_webchat", f"^Cannot read its options: .*{reason}")


class Guests(bed.Prosody):
	"""With a webchat on a host of its own, whose options are in `guests`."""
	guests = {"authentication": "anonymous"}

	def _config(self):
		lines = "".join(f"{name} = {bed.lua(value)}\n" for name, value in self.guests.items())
		return super()._config() + f'VirtualHost "guest.prosody.test"\nmodules_enabled = {{ "webchat" }}\n{lines}'


@behaviour("native check: a webchat wants a host without accounts, and its client", **site())
def a_webchat_needs_an_anonymous_host_and_a_client(server):
	configure(server, webchat_title="Help")
	advice = expect(server, "warning", "webchat_title", "mod_webchat is not enabled")
	assert 'authentication = "anonymous"' in advice["line"], advice
	server.__class__ = Guests
	server.rewrite_config()
	assert not findings(server, OK)
	server.guests = {"authentication": "anonymous", "webchat_converse_path": "/nonexistent"}
	server.rewrite_config()
	expect(server, "error", "webchat_converse_path", "no Converse.js in /nonexistent", r"get\.sh /.*\nwebchat_converse_path = ")
	server.guests = {"authentication": "anonymous", "webchat_stylesheet": "/nonexistent.css"}
	server.rewrite_config()
	expect(server, "warning", "webchat_stylesheet", "no file /nonexistent.css")
	server.guests = {"authentication": "internal_plain"}
	server.rewrite_config()
	finding = expect(server, "error", "authentication", "not anonymous", 'authentication = "anonymous"')
	assert finding["host"] == "guest.prosody.test", finding


@behaviour("native check: an option without the one that it needs", **site())
def needed_option(server):
	server.__class__ = Guests
	server.guests = {"authentication": "anonymous", "webchat_room_per_visitor": True}
	server.rewrite_config()
	finding = expect(server, "error", "mod_webchat", "webchat_room_per_visitor needs webchat_default_room")
	assert finding["host"] == "guest.prosody.test", finding
	server.guests["webchat_default_room"] = "support@rooms.prosody.test"
	server.rewrite_config()
	assert findings(server, OK) == {}


@behaviour("native check: options of prosodyctl mod_certs are known, need no enabled module, and are not for a host", **site())
def options_of_the_tool(server):
	configure(server, certs_dns_command="/usr/local/bin/publish")
	assert findings(server, OK) == {}
	configure(server, certs_dns_comand="/usr/local/bin/publish", certs_dns_timeout=0)
	found = findings(server, ERRORS)
	assert "did you mean certs_dns_command" in found["warning", "certs_dns_comand"]["what"] and len(found) == 2, found
	assert "certs_dns_timeout = 0 must be" in found["error", "mod_certs"]["what"], found
	server.__class__ = Guests
	server.guests = {"authentication": "anonymous", "certs_dns_timeout": 5}
	del server.options["certs_dns_comand"], server.options["certs_dns_timeout"]
	server.rewrite_config()
	assert expect(server, "warning", "certs_dns_timeout", "below a host")["host"] == "guest.prosody.test"


@every_version
@behaviour("native check: options that are read for the whole server stand below no host", **site())
def global_options_below_a_host(server):
	server.__class__ = Guests
	server.guests = {"authentication": "anonymous", "storage_native_path": "other", "smacks_max_total_bytes": 10**8,
		"s2s_native_posh": False}
	configure(server, modules=["native", "smacks"])
	for option in ("storage_native_path", "smacks_max_total_bytes"):  # s2s_native_posh is the third
		finding = expect(server, "warning", option, "below a host", f"^{option} = ", count=3)
		assert finding["host"] == "guest.prosody.test" and "global" in finding["place"], finding
	expect(server, "warning", "s2s_native_posh", "not enabled", count=3)
	server.guests = {"authentication": "anonymous", "use_dane": False}
	configure(server, modules=["native", "s2s_auth_native"], use_dane=False)
	expect(server, "warning", "use_dane", "below a host")


@behaviour("native check: one option that is wrong for all hosts is told of once, and of no host", **site())
def a_global_finding_is_reported_once(server):
	server.__class__ = Guests
	configure(server, smacks_max_total_bytes=10**6, modules=["native", "smacks"])
	assert "host" not in expect(server, "error", "smacks_max_total_bytes", "1000000 bytes")
	configure(server, smacks_max_total_bytes="1 MB")
	report = check(server, ERRORS)
	assert ["host" in found for found in report["findings"]] == [False], report


@every_version
@behaviour("native check: modules and drivers that are not there", **site())
def missing_modules_and_drivers(server):
	configure(server, modules=["native", "s2s_auth_nativ", "no_such_thing"])
	expect(server, "error", "s2s_auth_nativ", "did you mean s2s_auth_native", '"s2s_auth_native"')
	configure(server, modules=["native"], storage={"archive": "natve", "accounts": "internal"})
	assert "host" not in expect(server, "error", "storage", 'no storage driver "natve"', 'storage = "native"')
	configure(server, storage="storage_native")
	expect(server, "error", "storage", 'no storage driver "storage_native"', 'storage = "native"')
	configure(server, storage=["internal"], default_storage="natve")
	assert "global" in expect(server, "error", "storage", 'no storage driver "natve"')["place"]
	for storage in ("internal", {"accounts": False, "pep": "native", "mam": "null"}):
		configure(server, storage=storage, default_storage="native")
		assert findings(server, OK) == {}
	configure(server, modules=["native", "smack"])
	expect(server, "error", "smack", "did you mean smacks")


@behaviour("native check: options of a module that is not enabled", **site())
def options_of_a_disabled_module(server):
	configure(server, s2s_native_posh=False)
	expect(server, "warning", "s2s_native_posh", "mod_s2s_auth_native is not enabled", '"s2s_auth_native"')
	del server.options["s2s_native_posh"]
	configure(server, storage="internal", storage_native_max_size=10**9)
	expect(server, "warning", "storage_native_max_size", "mod_storage_native is not enabled", '^storage = "native"$')


@behaviour("native check: a limit for all queues below that of one", **site())
def a_total_limit_below_a_single_one(server):
	configure(server, smacks_max_total_bytes=10**6)
	expect(server, "error", "smacks_max_total_bytes", "1000000 bytes, but each of them 4194304", "smacks_max_total_bytes = ")
	configure(server, smacks_max_queue_bytes=10**6)
	assert findings(server, OK) == {}
	configure(server, smacks_max_account_bytes=10**7)
	expect(server, "error", "smacks_max_total_bytes", "1000000 bytes, but those of each account 10000000", "= 160000000")


@behaviour("native check: a database that nobody uses any more", **site({"sql": {"driver": "SQLite3"}}))
def an_unused_database(server):
	expect(server, "advice", "sql", "no host stores")
	configure(server, storage={"archive": "native", "accounts": "sql"})
	assert findings(server, OK) == {}


@behaviour("native check: two modules that judge certificates by DNS", **site())
def two_modules_that_use_dane(server):
	configure(server, modules=["native", "s2s_auth_native", "s2s_auth_dane_in"], use_dane=False)
	expect(server, "warning", "s2s_auth_dane_in", "beside mod_s2s_auth_native")


@every_version
@behaviour("native check: valid certificates demanded, and nobody who looks at them", **site())
def required_certificates_that_nobody_checks(server):
	configure(server, s2s_secure_auth=True, modules_disabled=["tls", "s2s_auth_certs"])
	expect(server, "error", "s2s_secure_auth", "no module checks them", "s2s_auth_native")


@behaviour("native check: valid certificates demanded of a component's peers too, and a module that looks at them",
	**site({"s2s_secure_auth": True}, components={"rooms.prosody.test": "muc"}))
def required_certificates_of_component_peers(server):
	configure(server, modules=["native", "s2s_auth_native"], modules_disabled=["tls"], use_dane=False)
	assert ("error", "s2s_secure_auth") not in findings(server, OK)
	configure(server, modules_disabled=["tls"])
	assert findings(server, OK) == {}


COMPONENTS = {f"{name}.prosody.test": {"component_module": "muc"} for name in ("push", "rooms", "upload")}


def protected(server, status, *expected):
	"""The hosts that mod_s2s_auth_native protects are these, and no others."""
	modules = {each["name"]: each["hosts"] for each in check(server, status)["modules"]}
	assert modules["s2s_auth_native"] == sorted(expected), modules


@every_version
@behaviour("native check: every host and component is protected that no list takes out",
	**site(components={**COMPONENTS, "left.prosody.test": {"modules_disabled": ["s2s_auth_native"]}}))
def every_listed_host_is_protected(server):
	enabled = {"modules": ["native", "s2s_auth_native"], "modules_disabled": ["tls"], "use_dane": False}
	configure(server, **enabled)
	finding = expect(server, "warning", "s2s_auth_native", "does not protect this host: modules_disabled of this host", "remove")
	assert finding["host"] == "left.prosody.test", finding
	protected(server, None, server.host, *COMPONENTS)
	assert re.search("^mod_s2s_auth_native +4 of 5 hosts", TOOL.run(server, "check").out, re.M)
	del server.components["left.prosody.test"]
	configure(server, **enabled)
	assert findings(server, OK) == {}
	protected(server, None, server.host, *COMPONENTS)
	assert re.search("^mod_s2s_auth_native +all 4 hosts", TOOL.run(server, "check").out, re.M)
	configure(server, modules_disabled=["tls", "s2s_auth_native"])
	protected(server, None)


@behaviour("native check: a module that is enabled below a host alone protects all, as long as there is that host",
	**site(components={**COMPONENTS, "own.prosody.test": {"modules_enabled": ["s2s_auth_native"]}}))
def one_host_protects_all(server):
	configure(server, modules_disabled=["tls"], use_dane=False)
	finding = expect(server, "warning", "s2s_auth_native", "enabled below own.prosody.test only", '"s2s_auth_native"')
	assert finding["place"] == "In the global section of the configuration", finding
	protected(server, None, server.host, "own.prosody.test", *COMPONENTS)
	configure(server, modules_disabled=["tls", "s2s_auth_native"])
	protected(server, None, "own.prosody.test")


@every_version
@behaviour("native check: components alone do not load a module of the global section", **site(components=COMPONENTS))
def components_load_no_global_modules(server):
	configure(server, modules=["native", "s2s_auth_native"], modules_disabled=["tls"], use_dane=False)
	config = server.config.read_text()
	server.config.write_text(config.replace(f'VirtualHost "{server.host}"', f'VirtualHost "{server.host}"\nenabled = false'))
	found = findings(server, ERRORS)
	assert "no host loads it" in found["error", "s2s_auth_native"]["what"], found
	protected(server, None)


@every_version
@behaviour("native check: an endpoint for metrics that has none", **site())
def a_metrics_endpoint_without_metrics(server):
	configure(server, modules=["native", "http_openmetrics"])
	expect(server, "error", "statistics", "collects no statistics", 'statistics = "internal"')
	configure(server, statistics="internal")
	expect(server, "advice", "statistics_interval", line='statistics_interval = "manual"')
	configure(server, statistics_interval="manual")
	assert findings(server, OK) == {}


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
@behaviour("native check: it need not be enabled itself, but that is advised", **site(modules=()))
def the_tool_works_without_the_module(server):
	expect(server, "advice", "mod_native", "not enabled", '"native"')


# --- the machine ---

def without_unbound(server):
	"""An environment in which Lua finds every installed library but lua-unbound."""
	libraries = server.directory / "libraries"
	libraries.mkdir()
	for directory in pathlib.Path("/usr/lib").glob("*/lua/5.4"):
		for path in directory.iterdir():
			if path.name != "lunbound.so":
				(libraries / path.name).symlink_to(path)
	return {**os.environ, "LUA_CPATH_5_4": f"{libraries}/?.so"}


@behaviour("native check: without lua-unbound nothing can be proven by DNS", **site())
def without_unbound_dane_proves_nothing(server):
	configure(server, modules=["native", "s2s_auth_native"])
	environment = without_unbound(server)
	expect(server, "warning", "lua-unbound", "not installed", "apt install lua-unbound", env=environment)
	configure(server, use_dane=True)
	expect(server, "error", "lua-unbound", env=environment)
	configure(server, use_dane=False)
	assert findings(server, OK, env=environment) == {}


@every_version
@behaviour("native check: a resolver without a trust anchor, and one whose anchor is not there", **site())
def a_missing_trust_anchor(server):
	configure(server, modules=["native", "s2s_auth_native"])
	expect(server, "warning", "unbound", "no trust anchor", "unbound = { trustfile = ")
	configure(server, use_dane=True)
	expect(server, "error", "unbound", "no trust anchor")
	configure(server, unbound={"trustfile": server.directory / "root.key"})
	expect(server, "error", "unbound", "root.key does not exist")


@behaviour("native check: a resolver whose answers are valid, wherever its trust anchor stands", **site())
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


@behaviour("native check: a resolver that leaves out signatures", **site())
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


@behaviour("native check: a trust anchor that is none", **site())
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
	configure(server, unbound={"trusted": [". IN DS 1 8 2 00"]})  # of which lua-unbound makes no resolver
	expect(server, "error", "DNS", "The resolver does not work: .*cannot use the option unbound as it stands")


@every_version
@behaviour("native check: no certificates of authorities", **site())
def no_certificate_authorities(server):
	configure(server, s2s_secure_auth=True, ssl={"capath": server.directory / "certs"})
	expect(server, "error", "s2s_secure_auth", "no certificates of authorities", "ca-certificates")
	(server.directory / "certs/0a1b2c3d.0").write_text("")
	assert findings(server, OK) == {}


def with_free(server, kilobytes):
	"""An environment in which so much of the disk is free."""
	programs = server.directory / "programs"
	programs.mkdir(exist_ok=True)
	(programs / "df").write_text("#!/bin/sh\necho Filesystem 1024-blocks Used Available Capacity Mounted on\n"
		f"echo /dev/sda1 99999999 5 {kilobytes} 50% /\n")
	(programs / "df").chmod(0o755)
	return {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}


@behaviour("native check: a disk that is nearly full, or has no room for a copy of the store", **site())
def a_disk_nearly_full(server):
	server.account("alice")  # there is a store now
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


@behaviour("native check: few files that may be open, and few that are left", **site())
def few_file_descriptors(server):
	allow_files(server, FEW_FILES)
	(finding,) = check(server, WARNINGS)["findings"]
	assert finding["about"] == "open files" and str(FEW_FILES) in finding["what"], finding
	assert "LimitNOFILE=" in finding["line"], finding
	allow_files(server, len(os.listdir(f"/proc/{server.process.pid}/fd")))
	(finding,) = check(server, ERRORS)["findings"]
	assert finding["about"] == "open files" and finding["severity"] == "error", finding
	allow_files(server, ENOUGH_FILES)


@behaviour("native check: of a server that does not run, its files are not looked at", **site())
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
