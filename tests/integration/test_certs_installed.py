"""prosodyctl mod_certs check: hosts, certificates and keys of this machine."""
import functools
import os
import pathlib
import shutil

import bed
import certsite
import test_certs_check
from certsite import HOST, good, tool
from test_certs_check import ERRORS, OK, SERVICES, WARNINGS, Report, check

behaviour = functools.partial(test_certs_check.behaviour, once=False)


def look(site, *words):
	"""A report of any status. Prosody's own errors before the command begins go to standard output, too."""
	output = tool(site, "check", *words, "--json")
	output.out = output.out[output.out.index("{"):]
	return Report(output)


# --- keys ---

@behaviour("installed: an encrypted key is opened with the password of the configuration, without a prompt")
def a_key_is_opened_with_its_configured_password(site):
	certificate = site.issue("good.lab")
	site.publish("good.lab", services=SERVICES[:2])
	closed = site.directory / "closed.key"
	bed.subprocess.run(["openssl", "pkey", "-in", certificate.key, "-aes128", "-passout", "pass:secret", "-out", closed], check=True)
	site.options["ssl"].update(certificate=certificate.file, key=closed, password="secret")
	site.lab.start()
	site.rewrite_config()
	look(site).expect("ok", "key", closed.name, str(closed))
	del site.options["ssl"]["password"]
	site.rewrite_config()
	look(site).expect("error", "key", closed.name, "error loading private key")


@behaviour("installed: a key that is missing, unreadable, or of another certificate is an error with its file")
def unusable_keys_are_errors(site):
	site.options["ssl"]["certificates"] = []
	keys = {"right": None, "garbage": b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "empty": b"", "missing": b"",
		"ecdsa": site.issue("good.lab", name="other").key.read_bytes(),
		"rsa": site.issue("good.lab", name="more", rsa=True).key.read_bytes()}
	for name, content in keys.items():
		certificate = site.issue("good.lab", name=name)
		if content is not None:
			certificate.key.write_bytes(content)
		site.options["ssl"]["certificates"].append({"certificate": certificate.file, "key": certificate.key})
	(certificate.key.parent / "missing.key").unlink()
	site.publish("good.lab", services=SERVICES[:2])
	site.lab.start()
	site.rewrite_config()
	report = look(site)
	for name, text in (("garbage", "error loading private key.*not a PEM key"), ("empty", "error loading private key"),
			("missing", "No such file or directory$"), ("ecdsa", "not the key of .*ecdsa.pem$"), ("rsa", "not the key of .*rsa.pem$")):
		rows = report.expect("error", "key", f"{name}.key", f"/{name}.key: {text}")
		assert len(rows) == 1, rows
	report.expect("ok", "key", "right.key", "/right.key is the key of /.*right.pem$")


# --- loaded certificates ---

@behaviour("installed: a certificate that Prosody has not loaded yet is a warning")
def a_certificate_not_yet_loaded_is_a_warning(site):
	old = site.good(tlsa=(), services=SERVICES[:2])
	site.go()
	new = site.issue("good.lab", name="new")
	site.install("good.lab", new)
	report = check(site, status=WARNINGS)
	for port in site.places[:2]:
		report.expect("warning", "reload", f"{site.address}:{port} ", "run prosodyctl reload")
	assert all("certs/good.lab.crt" in row["text"] for row in report.rows_of("reload")), report
	site.lua("prosody.reload_config()")
	assert not check(site, status=OK).rows_of("reload")
	site.install("good.lab", old)  # its age does not matter
	assert check(site, status=WARNINGS).rows_of("reload")


# --- selection by Prosody ---

@behaviour("installed: two files that match a host are an error with both names and a remedy")
def two_matching_files_are_an_error(site):
	certificates = [site.issue("good.lab", name=name) for name in ("one", "two")]
	for certificate in certificates:
		site.install(f"{certificate.file.stem}.elsewhere", certificate)
	site.publish("good.lab", [each.tlsa(3, 1, 1) for each in certificates], services=SERVICES[:2])
	site.go()
	report = check(site, status=ERRORS)
	rows = report.expect("error", "certificate", "good.lab", "Ambiguous certificate for good.lab.*one.elsewhere.crt, "
		".*two.elsewhere.crt.*Keep one of them below")
	assert len(rows) == 1 and not report.rows_of("reload"), report
	report.expect("ok", "DANE", text="3 1 1 matches")
	(site.directory / "certs/two.elsewhere.crt").unlink()
	assert not look(site).rows_of("certificate")


# --- hosts that are not published ---

RESERVED = ("localhost", "chat.localhost", "upload.internal", "a.test", "b.invalid", "c.local", "d.home.arpa", "machine")


@behaviour("installed: a host that is not in DNS is an error if it is named; in a public zone it is a warning")
def an_unpublished_host_is_no_error(site):
	site.good(services=SERVICES[:2])
	site.more_hosts += [*RESERVED, "quiet.lab"]
	site.go()
	report = check(site, status=WARNINGS)
	for host in RESERVED:
		rows = [row for row in report.rows if row["host"] == host]
		assert [(row["state"], row["check"]) for row in rows] == [("ok", "published")], rows
	rows = [row for row in report.rows if row["host"] == "quiet.lab"]
	assert [(row["state"], row["check"]) for row in rows] == [("warning", "published")], rows
	report.expect("warning", "published", "quiet.lab", "no SRV record and no address.*_xmpp-client._tcp.quiet.lab")
	check(site, "quiet.lab", status=ERRORS).expect("error", "A", "quiet.lab", "no address")
	site.lab.zone("lab").add("_xmpp-server._tcp.quiet", "SRV", f"0 5 {site.s2s_port} nowhere.lab.")
	site.lab.start()
	check(site, status=ERRORS).expect("error", "A", "nowhere.lab", "no address", host="quiet.lab")


@behaviour("installed: a component without connections to other servers is not an error, and need not be named")
def a_component_without_s2s_is_no_error(site):
	site.components = {"upload.good.lab": {"modules_disabled": ["s2s"], "component_secret": "x"}}
	site.good()
	site.go()
	check(site, status=OK).expect("ok", "published", "upload.good.lab", "without clients and servers")
	assert "upload.good.lab  -        -" in good(site, "explain", site.directory / "certs/good.lab.crt")


@behaviour("installed: a failure of DNS does not count as an unpublished host")
def a_dns_failure_is_not_an_unpublished_host(site):
	site.good(services=SERVICES[:2])
	site.more_hosts.append("servfail.lab")
	site.go()
	check(site, status=ERRORS).expect("error", "SRV", "servfail.lab", "SERVFAIL")


# --- files that Prosody cannot read ---

def let_in(path):
	"""All users may enter and list a directory."""
	while path != pathlib.Path("/"):
		if path.stat().st_uid == os.geteuid() and path.stat().st_mode & 0o055 != 0o055:
			path.chmod(path.stat().st_mode | 0o055)
		path = path.parent


@certsite.behaviour("certificates in a directory that Prosody cannot read are reported with remedies",
	options={"run_as_root": False, "prosody_user": "nobody", "prosody_group": "nogroup"})
def a_directory_closed_to_prosody_is_reported(site):
	live = site.directory / "letsencrypt/live"
	own = live / HOST
	own.mkdir(parents=True)
	let_in(own)
	certificate = site.issue(f"DNS:{HOST}")
	shutil.copy(certificate.file, own / "fullchain.pem")
	shutil.copy(certificate.key, own / "privkey.pem")
	live.chmod(0o700 if os.geteuid() == 0 else 0)  # only root can switch to a user without access
	words = [f"Prosody's user cannot read the directory {live}", f"--root cert import {live}", "deploy hook", "chgrp"]

	def expect_closed(command, *arguments):
		text = tool(site, command, *arguments).err
		assert all(word in text for word in words), text

	def expect_row(check_name, text):
		site.rewrite_config()
		rows = look(site, HOST).expect("error", check_name, text=text)
		assert all(word in row["text"] for word in words for row in rows), rows

	site.options["certificates"] = live
	expect_row("certificate", f"Prosody finds no certificate for {HOST}")
	expect_closed("tlsa", HOST)
	del site.options["certificates"]
	for suffix, name in ((".crt", "fullchain.pem"), (".key", "privkey.pem")):
		(site.directory / f"certs/{HOST}{suffix}").symlink_to(own / name)
	expect_row("certificate", f"Prosody finds no certificate for {HOST}")
	site.options["ssl"].update(certificate=own / "fullchain.pem", key=own / "privkey.pem")
	expect_row("key", "Prosody's user cannot read")
	expect_closed("tlsa", HOST)
	expect_closed("explain", own / "fullchain.pem")
	live.chmod(0o755)
	(own / "privkey.pem").chmod(0o600 if os.geteuid() == 0 else 0)
	look(site, HOST).expect("error", "key", "privkey.pem", "user cannot read the file .*privkey.pem")
