"""prosodyctl mod_native check: options that are unknown, invalid, without effect, or contradict each other."""
import re
import shutil

import bed
from nativesite import ERRORS, OK, TOOL, behaviour, check, configure, expect, findings, site
from suite import every_version


@behaviour("native check: a misspelt option is reported with its value and the similar known option", **site())
def a_misspelt_option_is_named_with_the_right_one(server):
	configure(server, storage_native_snyc="none")
	expect(server, "warning", "storage_native_snyc", "did you mean storage_native_sync", '^storage_native_sync = "none"$')


@behaviour("native check: an unknown option with a module's prefix", **site({"smacks_colour": "blue"}))
def an_unknown_option_of_a_module(server):
	expect(server, "warning", "smacks_colour", "mod_smacks has no such option", "remove smacks_colour")


@every_version
@behaviour("native check: options of a host are checked, and reported with the host", components={
	"rooms.prosody.test": {"component_module": "muc", "smacks_max_queue_sise": 7}}, **site())
def options_of_a_host_are_named_with_it(server):
	finding = expect(server, "warning", "smacks_max_queue_sise", "did you mean smacks_max_queue_size", "= 7$")
	assert finding["host"] == "rooms.prosody.test" and "rooms.prosody.test" in finding["place"], finding


@behaviour("native check: options of other modules are ignored", **site({
	"c2s_ssl": {}, "limits": {}, "use_libevent": False, "unbounded": True, "s2s_timeout": 90, "storag": "x", "smack": 1}))
def options_of_other_modules_are_ignored(server):
	assert findings(server, OK) == {}


@every_version
@behaviour("native check: option values that a module rejects", **site())
def invalid_values_are_findings(server):
	configure(server, storage_native_sync="often")
	assert "its default instead" in expect(server, "error", "mod_storage_native", "storage_native_sync.*often")["why"]
	configure(server, storage_native_sync="group", smacks_max_old_sessions=-1)
	expect(server, "error", "mod_smacks", "smacks_max_old_sessions")


@behaviour("native check: invalid numbers", **site())
def values_that_are_not_numbers(server):
	configure(server, storage_native_max_size="lots", smacks_max_total_bytes="lots")
	found = findings(server, ERRORS)
	assert {"mod_storage_native", "mod_smacks"} == {about for severity, about in found if severity == "error"}, found
	assert all(name in found["error", f"mod_{module}"]["what"] for module, name in
		(("storage_native", "storage_native_max_size"), ("smacks", "smacks_max_total_bytes"))), found


@behaviour("native check: a module whose options cannot be read is an error, and its options do not count as unknown", **site())
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


@behaviour("native check: a webchat needs an anonymous host, and Converse.js", **site())
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


@behaviour("native check: an option without another one that it needs", **site())
def needed_option(server):
	server.__class__ = Guests
	server.guests = {"authentication": "anonymous", "webchat_room_per_visitor": True}
	server.rewrite_config()
	finding = expect(server, "error", "mod_webchat", "webchat_room_per_visitor needs webchat_default_room")
	assert finding["host"] == "guest.prosody.test", finding
	server.guests["webchat_default_room"] = "support@rooms.prosody.test"
	server.rewrite_config()
	assert findings(server, OK) == {}


@behaviour("native check: options of prosodyctl mod_certs are known without an enabled module, and are not for a host", **site())
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
@behaviour("native check: global options in the section of a host", **site())
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


@behaviour("native check: an option that is wrong for all hosts is reported once, without a host", **site())
def a_global_finding_is_reported_once(server):
	server.__class__ = Guests
	configure(server, smacks_max_total_bytes=10**6, modules=["native", "smacks"])
	assert "host" not in expect(server, "error", "smacks_max_total_bytes", "1000000 bytes")
	configure(server, smacks_max_total_bytes="1 MB")
	report = check(server, ERRORS)
	assert ["host" in found for found in report["findings"]] == [False], report


@every_version
@behaviour("native check: modules and drivers that do not exist", **site())
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


@behaviour("native check: a database that is not used any more", **site({"sql": {"driver": "SQLite3"}}))
def an_unused_database(server):
	expect(server, "advice", "sql", "no host stores")
	configure(server, storage={"archive": "native", "accounts": "sql"})
	assert findings(server, OK) == {}


@behaviour("native check: two modules that verify certificates by DNS", **site())
def two_modules_that_use_dane(server):
	configure(server, modules=["native", "s2s_auth_native", "s2s_auth_dane_in"], use_dane=False)
	expect(server, "warning", "s2s_auth_dane_in", "beside mod_s2s_auth_native")


@every_version
@behaviour("native check: valid certificates are required, and no module verifies them", **site())
def required_certificates_that_nobody_checks(server):
	configure(server, s2s_secure_auth=True, modules_disabled=["tls", "s2s_auth_certs"])
	expect(server, "error", "s2s_secure_auth", "no module checks them", "s2s_auth_native")


@behaviour("native check: valid certificates are required of a component's peers, too, and a module verifies them",
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
@behaviour("native check: every host and component is protected unless a list excludes it",
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


@behaviour("native check: a module that is enabled for one host protects all, as long as that host exists",
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
@behaviour("native check: an endpoint for metrics without metrics", **site())
def a_metrics_endpoint_without_metrics(server):
	configure(server, modules=["native", "http_openmetrics"])
	expect(server, "error", "statistics", "collects no statistics", 'statistics = "internal"')
	configure(server, statistics="internal")
	expect(server, "advice", "statistics_interval", line='statistics_interval = "manual"')
	configure(server, statistics_interval="manual")
	assert findings(server, OK) == {}
