"""prosodyctl mod_certs renew: publishes, installs and serves a new certificate."""
import json
import os
import re
import socket
import subprocess

from authority import SERVER, openssl
from certsite import TOOL, tool
from renewsite import HOST, behaviour, fingerprint
from suite import every_version


@every_version
@behaviour("renew publishes records, waits, installs the certificate, checks the listeners, and removes the old records")
def a_renewal_goes_all_the_way(site):
	new = site.issue(HOST, name="new")
	site.go()
	was, will = site.old.tlsa(3, 1, 1), new.tlsa(3, 1, 1)
	found = site.hand_in(new)
	assert found["step"] == "wait" and not found["problems"], found
	assert site.published() == {was, will}
	assert site.files() == fingerprint(site.old.file.read_text())
	assert site.renew()["until"] == found["until"]
	site.pass_time(60)
	assert site.renew()["step"] == "wait"
	site.pass_time(61)
	found = site.renew()
	assert found["step"] == "done" and not found["problems"], found
	assert site.published() == {will}
	assert site.served() == {site.files()} == {fingerprint(new.file.read_text())}


@behaviour("each step prints its status in one line, and prints it again when it is called again")
def each_step_reports_its_state(site):
	new = site.issue(HOST, name="new")
	site.go()
	first = tool(site, "renew", HOST, "--new", new.file, "--key", new.key)
	assert first.status == 0 and re.fullmatch(rf"{HOST}\.crt: waiting until \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d UTC, when no cache has "
		r"only the old records\n", first.out), first
	again = tool(site, "renew")
	assert (again.status, again.out) == (0, first.out), again
	site.pass_time(200)
	done = tool(site, "renew", HOST)
	assert done.status == 0 and re.fullmatch(rf"{HOST}\.crt: served by all listeners, .*\n", done.out), done
	nothing = tool(site, "renew")
	assert nothing.status == 0 and not nothing.out + nothing.err, nothing
	assert site.hand_in(new)["step"] == "done"
	assert len(site.publisher.requests) == 2, site.publisher.requests


@behaviour("the published records equal the requests to the program, line by line")
def the_program_gets_the_records_to_publish(site):
	new = site.issue(HOST, name="new")
	site.go()
	site.hand_in(new)
	site.pass_time(200)
	site.renew()
	names = sorted(f"_{port}._tcp.xmpp.{HOST}." for port in site.places)
	assert [sorted(lines) for lines in site.publisher.requests] == [
		[f"{action} {name} 60 TLSA {certificate.tlsa(3, 1, 1)}" for name in names]
		for action, certificate in (("add", new), ("delete", site.old))], site.publisher.requests


@behaviour("a dry run prints the next steps, and does not change files, records or the served certificate")
def a_dry_run_changes_nothing(site):
	new = site.issue(HOST, name="new")
	site.go()
	site.shell("config:reload()")  # its writes are complete then

	def unchanged(step, says, *words):
		before, log = site.everything(), site.log().count("Reloading configuration")
		found = site.renew(HOST, *words, "--dry-run")
		assert found["step"] == step and re.search(says, found["text"]), found
		assert site.everything() == before and site.log().count("Reloading configuration") == log
	unchanged("publish", "would publish 4 records", "--new", new.file, "--key", new.key)
	assert not site.slot.exists()
	site.hand_in(new)
	unchanged("wait", "waiting until")
	site.pass_time(200)
	unchanged("install", "would install the new certificate, and reload Prosody")
	unchanged("next", "would create the next key", "--request")
	site.renew()
	assert site.served() == {fingerprint(new.file.read_text())}


@behaviour("chain and key can both come from standard input")
def stdin_carries_chain_and_key(site):
	new = site.issue(HOST, name="new")
	site.go()
	for text in (new.file.read_text() + new.key.read_text(), new.key.read_text() + new.file.read_text()):
		found = handed_in_by_pipe(site, text)
		assert found["step"] == "wait", found
	site.pass_time(200)
	assert site.renew()["step"] == "done"
	assert site.files() == fingerprint(new.file.read_text())


def handed_in_by_pipe(site, text, status=0):
	process = subprocess.run(TOOL.command(site, "renew", HOST, "--new", "-", "--json"), input=text, stdout=subprocess.PIPE,
		stderr=subprocess.PIPE, text=True, timeout=30, check=False)
	assert process.returncode == status, process
	return json.loads(process.stdout)["renewals"][0] if not status else process.stderr


@behaviour("with the same key no record is published, and only the certificate's file is replaced")
def the_same_key_replaces_only_the_certificate(site):
	site.go()
	again = reissue(site, site.old.request)
	key, mode = site.file(".key").stat(), site.file().stat().st_mode
	site.file().chmod(0o640)
	found = site.renew(HOST, "--new", again)  # the key is the one in use
	assert found["step"] == "done", found
	assert site.files() == fingerprint(again.read_text()) and site.served() == {site.files()}
	assert site.file(".key").stat() == key and site.file().stat().st_mode & 0o777 == 0o640, mode
	assert not site.publisher.requests


def reissue(site, request):
	"""A certificate for an existing request; a file with its chain."""
	issuer = site.lab.intermediate
	extensions, path = (site.directory / name for name in ("extensions", "again.pem"))
	extensions.write_text(SERVER.format(purpose="serverAuth").replace("@names", f"DNS:{HOST}"))
	path.write_bytes(openssl("x509", "-req", "-in", request, "-CA", issuer.alone, "-CAkey", issuer.key, "-days", 90,
		"-extfile", extensions) + issuer.alone.read_bytes())
	return path


@behaviour("owner, mode and layout of the old files are kept: one file, links, and directories")
def owner_mode_and_layout_stay(site):
	elsewhere = site.directory / "elsewhere"
	elsewhere.mkdir()
	for suffix in (".crt", ".key"):
		site.file(suffix).rename(elsewhere / f"own{suffix}")
		(elsewhere / f"own{suffix}").chmod(0o640)
		os.chown(elsewhere / f"own{suffix}", os.geteuid(), 4321 if os.geteuid() == 0 else os.getegid())
	site.file().symlink_to(elsewhere / "own.crt")
	site.file(".key").symlink_to("../elsewhere/own.key")
	site.go()
	new = site.issue(HOST, name="new")
	site.hand_in(new)
	site.pass_time(200)
	assert site.renew()["step"] == "done"
	assert site.file().is_symlink() and site.file(".key").is_symlink() and site.files() == fingerprint(new.file.read_text())
	for suffix in (".crt", ".key"):
		found = (elsewhere / f"own{suffix}").lstat()
		assert (found.st_mode, found.st_gid) == (0o100640, 4321 if os.geteuid() == 0 else os.getegid()), (suffix, found)
	assert sorted(path.name for path in elsewhere.iterdir()) == ["own.crt", "own.key"]
	assert sorted(path.name for path in (site.directory / "certs").iterdir()) == [f"{HOST}.crt", f"{HOST}.key"]


@every_version
@behaviour("a host's directory with fullchain.pem and privkey.pem is still found afterwards, also if it is a link")
def a_host_directory_is_found_as_before(site):
	versions, new = site.directory / "versions", site.issue(HOST, name="new")
	versions.mkdir()
	for suffix, name in ((".crt", "fullchain.pem"), (".key", "privkey.pem")):
		site.file(suffix).rename(versions / name)
	(site.directory / f"certs/{HOST}").symlink_to("../versions")
	site.go()
	site.hand_in(new)
	assert (site.slot.parent / f"{HOST}%2ffullchain.pem/new.pem").exists()
	site.pass_time(200)
	found = site.renew()
	assert found["step"] == "done" and site.served() == {fingerprint(new.file.read_text())}, found
	assert sorted(path.name for path in versions.iterdir()) == ["fullchain.pem", "privkey.pem"]


@every_version
@behaviour("chain and key in one file are replaced in one rename")
def a_combined_file_is_renamed_once(site):
	both = site.directory / "both.pem"
	both.write_text(site.old.file.read_text() + site.old.key.read_text())
	both.chmod(0o600)
	site.options["ssl"] = {**site.options["ssl"], "certificate": both, "key": both}
	for suffix in (".crt", ".key"):
		site.file(suffix).unlink()
	site.go()
	new = site.issue(HOST, name="new")
	assert site.hand_in(new)["step"] == "wait"
	site.pass_time(200)
	before = both.stat().st_ino
	assert site.renew()["step"] == "done"
	assert both.stat().st_ino != before and both.stat().st_mode & 0o777 == 0o600
	assert both.read_text() == new.file.read_text() + new.key.read_text()
	assert fingerprint(both.read_text()) in site.served()


@every_version
@behaviour("if the server does not run, the certificate is installed, and checked when it runs")
def a_stopped_server_is_checked_once_it_runs(site):
	new = site.issue(HOST, name="new")
	site.go()
	site.hand_in(new)
	site.pass_time(200)
	site.kill()
	for _ in range(2):
		found = site.renew()
		assert (found["step"], found["text"]) == ("check", "installed; Prosody is not running") and not found["problems"], found
	assert site.published() == {site.old.tlsa(3, 1, 1), new.tlsa(3, 1, 1)}
	assert site.files() == fingerprint(new.file.read_text())
	site.start()
	assert site.renew()["step"] == "done"
	assert site.published() == {new.tlsa(3, 1, 1)} and site.served() == {site.files()}


@every_version
@behaviour("without mod_admin_shell Prosody reloads on a signal")
def a_signal_reloads_without_admin_shell(site):
	site.modules.remove("admin_shell")
	site.options["modules_disabled"] = ["admin_shell", "admin_socket"]
	new = site.issue(HOST, name="new")
	site.lab.start()
	site.rewrite_config()
	launch_without_shell(site)
	site.hand_in(new)
	site.pass_time(200)
	found = site.renew()
	assert found["step"] == "done" and site.served() == {fingerprint(new.file.read_text())}, found
	site.terminate()


def launch_without_shell(site):
	"""Like site.start(), which uses the shell to detect the server."""
	ports = [(site.address, port) for port in (*site.places, site.web.number)]
	site._answers = lambda: all(map(is_open, ports))
	site.start()


def is_open(address):
	with socket.socket() as conn:
		return conn.connect_ex(address) == 0


@behaviour("without an option the records are printed, and renew continues when they are in DNS")
def without_a_program_records_are_printed(site):
	del site.options["certs_dns_command"]
	new = site.issue(HOST, name="new")
	site.go()
	output = tool(site, "renew", HOST, "--new", new.file, "--key", new.key)
	assert output.status == 1 and "publish 4 records, then run renew again" in output.err, output
	assert all(f"_{port}._tcp.xmpp.{HOST}. 60 IN TLSA {new.tlsa(3, 1, 1)}\n" in output.out for port in site.places), output
	site.republish(site.old.tlsa(3, 1, 1), new.tlsa(3, 1, 1))
	assert site.renew()["step"] == "wait"
	site.pass_time(200)
	found = site.renew(status=1)
	assert found["step"] == "remove" and {each["data"] for each in found["records"]} == {site.old.tlsa(3, 1, 1).split()[3]}, found
	site.republish(new.tlsa(3, 1, 1))
	assert site.renew()["step"] == "done"
