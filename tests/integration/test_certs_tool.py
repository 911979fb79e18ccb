"""prosodyctl mod_certs: its usage, and explain with the certificates in a file."""
import hashlib
import json
import os
import re

from certsite import CLIENT, HOST, OTHER, ROOMS, SERVER, bad, behaviour, good, host_row, on_terminal, report_of, row, \
	tool, zone
from authority import Authority, openssl, self_signed

COMMANDS = ["explain", "request", "tlsa", "check", "rollover"]


# --- usage ---

@behaviour("without a command, and with --help, it prints its usage")
def help_lists_the_commands(site):
	for words in ([], ["--help"], ["explain", "--help"]):
		text = good(site, *words)
		assert all(re.search(rf"^  {name} .*\n      \w", text, re.M) for name in COMMANDS), text


@behaviour("invalid arguments are rejected with status 2")
def bad_arguments_exit_with_2(site):
	for words in (["examine"], ["explain"], ["explain", "a", "b"], ["explain", "a", "--days", "1"], ["request"],
			["request", "a.test", "--output"], ["tlsa"], ["tlsa", "a", "b"], ["check", "--usage", "1"], ["check", "--json=no"],
			["rollover", HOST], ["rollover", "--new", "x"]):
		bad(site, *words, status=2, says="--help")
	for name, says in (("127.0.0.1:5222", "--domain"), ("192.0.2.1", "missing port"), ("no/such/file", "neither a file nor HOST or HOST:PORT: No such file"),
			("a..lab", "invalid domain name"), ("localhost:99999", "the port must be a number from 1 to 65535"),
			("localhost:0", "1 to 65535"), (f"localhost:{'9' * 30}", "1 to 65535")):
		bad(site, "explain", name, status=2, says=says)


@behaviour("invalid numbers of TLSA records are rejected with status 2")
def bad_tlsa_numbers_exit_with_2(site):
	certificate = site.install(site.issue(f"DNS:{HOST}"))
	for flag, value in (("usage", "4"), ("selector", "2"), ("match", "3"), ("match", "x"), ("usage", "-1"),
			("usage", "1.5"), ("ttl", "-1")):
		for words in ((certificate, f"--{flag}", value), (f"--{flag}={value}", certificate)):
			bad(site, "tlsa", *words, status=2, says=f"--{flag} must be a number")


# --- explain: a file ---

@behaviour("explain shows every name with its type and its services",
	components={ROOMS: "muc"})
def explain_lists_names_by_type(site):
	certificate = site.install(site.issue(f"DNS:{HOST}", f"DNS:*.{HOST}", f"SRV:_xmpp-server.{OTHER}",
		f"SRV:_imap.{OTHER}", "XMPP:xmpp.lab", "IP:192.0.2.1"))
	text = good(site, "explain", certificate)
	assert row(text, "DNS-ID", HOST) == ["clients and servers"], text
	assert row(text, "DNS-ID", f"*.{HOST}") == ["clients and servers"], text
	assert row(text, "SRV-ID", f"_xmpp-server.{OTHER}") == ["servers"], text
	assert row(text, "SRV-ID", f"_imap.{OTHER}")[0].startswith("nothing: "), text
	assert row(text, "IP-ID", "192.0.2.1"), text
	assert row(text, HOST, "yes", "yes") == [f"DNS-ID {HOST}"], text
	assert row(text, ROOMS, "yes", "yes") == [f"DNS-ID *.{HOST}"], text
	report = report_of(site, certificate)
	assert [(name["type"], name["value"]) for name in report["names"]] == [("DNS-ID", HOST), ("DNS-ID", f"*.{HOST}"),
		("SRV-ID", f"_xmpp-server.{OTHER}"), ("SRV-ID", f"_imap.{OTHER}"), ("XmppAddr", "xmpp.lab"),
		("IP-ID", "192.0.2.1")], report
	assert host_row(report, HOST) == host_row(report, ROOMS) == (True, True), report


@behaviour("explain describes each certificate of the chain as openssl does")
def explain_describes_a_chain_as_openssl_does(site):
	between = Authority(site.directory, "between", site.ca)
	leaf = between.issue("leaf", [f"DNS:{HOST}"], days=(-1, 9.5))
	report = report_of(site, site.install(leaf))
	assert [c["depth"] for c in report["certificates"]] == [0, 1], report
	for described, certificate in zip(report["certificates"], (leaf, between)):
		assert described["sha256"] == hashlib.sha256(certificate.der).hexdigest(), described
		assert described["spki_sha256"] == hashlib.sha256(certificate.public_key).hexdigest(), described
		serial = openssl("x509", "-in", certificate.alone, "-noout", "-serial").decode().strip().split("=")[1]
		assert int(described["serial"], 16) == int(serial, 16), described
		assert (described["key_type"], described["key_bits"]) == ("EC", 256), described
	assert report["certificates"][1]["authority"] and not report["certificates"][0]["authority"], report
	assert report["chain"] == "valid" and report["days_left"] == 9 and report["problems"] == [], report


@behaviour("explain says why a name is not valid for any service")
def explain_says_why_a_name_serves_nothing(site):
	certificate = site.install(site.issue(f"DNS:{HOST}", f"SRV:{HOST}", "DNS:*.test.*", "DNS:two words.test"))
	text = good(site, "explain", certificate)
	assert re.match(r"nothing: .*_(xmpp-server|service)\.", row(text, "SRV-ID", HOST)[0]), text
	assert row(text, "DNS-ID", "*.test.*")[0].startswith("nothing: "), text
	assert row(text, "DNS-ID", "two words.test")[0].startswith("nothing: "), text


@behaviour("explain finds a host that uses a certificate without its name", hosts=(HOST, OTHER),
	components={ROOMS: "muc"})
def explain_finds_a_host_not_served(site):
	certificate = site.install(site.issue(f"SRV:_xmpp-server.{HOST}", f"DNS:{OTHER}"))
	output = bad(site, "explain", certificate)
	assert f"the certificate is not valid for clients of {HOST}" in output.out, output
	assert f"the certificate is not valid for servers of {ROOMS}" in output.out, output  # it uses its parent's certificate
	assert "no problems" not in output.out, output
	assert row(output.out, HOST, "no", "yes"), output
	assert row(output.out, ROOMS, "-", "no") == ["no name for this domain"], output
	assert row(output.out, OTHER, "yes", "yes") == [f"DNS-ID {OTHER}"], output
	problems = report_of(site, certificate, status=1)["problems"]
	assert len(problems) == 2 and not any(OTHER in problem for problem in problems), problems


@behaviour("explain shows the certificate of each service of a host", options={})
def explain_knows_the_certificate_of_each_service(site):
	clients, servers = site.issue(f"SRV:_{CLIENT}.{HOST}"), site.issue(f"SRV:_{SERVER}.{HOST}", name="second")
	site.options["c2s_ssl"] = {"certificate": clients.file, "key": clients.key}
	site.options["s2s_ssl"] = {"certificate": servers.file, "key": servers.key}
	site.rewrite_config()
	for certificate, serves in ((clients, (True, False)), (servers, (False, True))):
		report = report_of(site, certificate.file)
		assert host_row(report, HOST) == serves and report["problems"] == [], report
	site.options["c2s_ssl"] = {"certificate": servers.file, "key": servers.key}
	site.rewrite_config()
	assert report_of(site, servers.file, status=1)["problems"] == [f"the certificate is not valid for clients of {HOST}"]


@behaviour("explain finds the uses of a file: services, ports and the web", hosts=(HOST, OTHER))
def explain_finds_every_use_of_a_file(site):
	own, port_alone = site.issue(f"DNS:{HOST}", f"DNS:{OTHER}"), site.issue(f"DNS:{HOST}", name="second")
	site.install(site.issue(f"DNS:{HOST}", name="third"))
	clients, servers = site.direct_ports()
	site.options["s2s_direct_tls_ssl"] = site.options["https_ssl"] = {"certificate": own.file, "key": own.key}
	site.options["c2s_direct_tls_ssl"] = {clients: {"certificate": port_alone.file, "key": port_alone.key}}
	site.options["https_ports"] = [5281]
	site.host_options["http_host"] = f"web.{HOST}"
	site.rewrite_config()
	output = bad(site, "explain", own.file)
	assert row(output.out, f"servers, direct TLS on port {servers}") == [f"{OTHER}, {HOST}, clients without SNI"], output
	assert row(output.out, "web clients, direct TLS on port 5281") == [f"{OTHER}, web.{HOST}, clients without SNI"], output
	report = report_of(site, own.file, status=1)
	assert report["problems"] == [f"the certificate is not valid for web clients of web.{HOST}"], report
	assert [(use["service"], use["tls"], use.get("port"), use["hosts"]) for use in report["uses"]] == [
		(SERVER, "direct", servers, [OTHER, HOST]), ("https", "direct", 5281, [OTHER, f"web.{HOST}"])], report
	output = bad(site, "explain", port_alone.file)
	assert row(output.out, f"clients, direct TLS on port {clients}") == [f"{OTHER}, clients without SNI"], output
	assert f"the certificate is not valid for clients of {OTHER}" in output.out, output


@behaviour("explain lists domains of a certificate that are not hosts of the server")
def explain_names_unused_domains(site):
	certificate = site.issue(f"DNS:{OTHER}")
	report = report_of(site, certificate.file)
	assert host_row(report, HOST) == (False, False) and report["problems"] == [], report
	assert row(good(site, "explain", certificate.file), "DNS-ID", OTHER) == ["clients and servers"]
	nothing = site.issue("IP:192.0.2.1", "SRV:_imap.other.lab", name="nothing")
	report = report_of(site, nothing.file, "--domain", OTHER, status=1)
	assert report["problems"] == [f"the certificate is not valid for clients of {OTHER}", f"the certificate is not valid for servers of {OTHER}"], report


@behaviour("explain compares the names with the given domain", hosts=(HOST, OTHER))
def explain_compares_with_a_named_domain(site):
	certificate = site.install(site.issue(f"DNS:{HOST}", "DNS:xn--mller-kva.lab"))
	assert report_of(site, certificate, "--domain", "xn--mller-kva.lab")["problems"] == []
	report = report_of(site, certificate, "--domain", "müller.lab")
	assert host_row(report, "müller.lab") == (True, True), report
	assert report_of(site, certificate, "--domain", OTHER, status=1)["problems"] == [
		f"the certificate is not valid for clients of {OTHER}", f"the certificate is not valid for servers of {OTHER}"]


@behaviour("a host can be given in Unicode or in A-labels", hosts=("müller.lab",))
def unicode_hosts_equal_a_labels(site):
	certificate = site.install(site.issue("DNS:xn--mller-kva.lab"))
	for name in ("müller.lab", "xn--mller-kva.lab"):
		report = report_of(site, certificate, "--domain", name)
		assert len(report["hosts"]) == 1 and host_row(report, "müller.lab") == (True, True), report
		assert set(zone(good(site, "tlsa", name))) == {
			f"_{port}._tcp.xn--mller-kva.lab." for port in (site.port, site.s2s_port)}
	site.start()
	site.resolver.address("xn--mller-kva.lab")
	assert report_of(site, f"müller.lab:{site.port}")["problems"] == []


@behaviour("explain reports certificates that have expired or are not yet valid")
def explain_judges_dates(site):
	for name, days, problem, shown in (
			("expired", (-9, -3), "the certificate has expired", r"expired 3\.0 days ago$"),
			("early", (3, 9), "the certificate is not valid yet", r"not valid yet"),
			("last", (-3, 0.5), None, r", 0\.5 days left$")):
		file = site.issue(f"DNS:{HOST}", name=name, days=days).file
		output = tool(site, "explain", file, "--domain", HOST)
		assert re.search(shown, output.out, re.M), output
		report = report_of(site, file, "--domain", HOST, status=1 if problem else 0)
		assert (problem in report["problems"]) == bool(problem), report


@behaviour("explain says at which depth a chain breaks")
def explain_names_the_depth_of_a_broken_chain(site):
	between = Authority(site.directory, "between", site.ca)
	whole, broken = (between.issue(name, [f"DNS:{HOST}"], chain=chain)
		for name, chain in (("whole", [between]), ("broken", [])))
	alone = self_signed(site.directory, "alone", [f"DNS:{HOST}"])
	assert report_of(site, whole.file)["chain"] == "valid"
	for certificate in (broken, alone):
		report = report_of(site, certificate.file, status=1)
		assert report["chain"] == "invalid" and report["certificates"][0]["errors"], report
		assert "the chain does not lead to a trusted authority" in report["problems"], report
		assert "error" in bad(site, "explain", certificate.file).out


@behaviour("explain shows a certificate without names")
def explain_shows_a_nameless_certificate(site):
	key, certificate = site.directory / "bare.key", site.directory / "bare.crt"
	openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "9",
		"-subj", f"/CN={HOST}", "-keyout", key, "-out", certificate)
	output = bad(site, "explain", certificate)
	assert "common name does not count" in output.out and "not valid for any XMPP domain" in output.out, output


@behaviour("explain rejects files without a certificate")
def explain_refuses_files_without_certificates(site):
	file = site.directory / "file"
	for content in (b"", b"a text\n", os.urandom(5000),
			b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
		file.write_bytes(content)
		bad(site, "explain", file, says=re.escape(str(file)))
		bad(site, "tlsa", file, says=re.escape(str(file)))


@behaviour("explain reports a private key, also beside a certificate")
def explain_recognizes_private_keys(site):
	leaf = site.issue(f"DNS:{HOST}")
	legacy, both = site.directory / "legacy.key", site.directory / "both.pem"
	legacy.write_bytes(openssl("ecparam", "-name", "prime256v1", "-genkey"))  # with its parameters before it
	for key in (leaf.key, legacy):
		for command in ("explain", "tlsa"):
			bad(site, command, key, says=re.escape(f"{key}: this is a private key, not a certificate"))
	both.write_bytes(leaf.key.read_bytes() + leaf.file.read_bytes())
	good(site, "explain", both, "--domain", HOST)


@behaviour("control characters and broken UTF-8 of a certificate are escaped on terminals and in JSON")
def control_characters_are_escaped(site):
	configuration, certificate = site.directory / "odd.conf", site.directory / "odd.crt"
	configuration.write_bytes(b"[req]\ndistinguished_name=dn\nx509_extensions=ext\nprompt=no\n[dn]\n"
		b"CN=\x1b[31mred\xff\n[ext]\nsubjectAltName=DNS:\x1b[31mred.test,DNS:\xff.test\n")
	openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "9",
		"-config", configuration, "-keyout", site.directory / "odd.key", "-out", certificate)
	output = tool(site, "explain", certificate)  # which rejects ESC
	assert "\\x1b[31mred.test" in output.out and "\\xff.test" in output.out, output
	names = report_of(site, certificate, status=1)["names"]
	assert [name["value"] for name in names] == ["\\x1b[31mred.test", "\\xff.test"], names
	assert all(name["fault"] for name in names), names


@behaviour("explain resolves paths relative to the operator's directory")
def file_names_are_relative_to_the_caller(site):
	site.issue(f"DNS:{HOST}")
	text = good(site, "explain", "leaf.pem", "--domain", HOST, cwd=site.directory,
		env={**os.environ, "PWD": str(site.directory)})
	assert text.startswith(f"{site.directory}/leaf.pem\n"), text


@behaviour("explain names the user who may not read a directory",
	options={"run_as_root": False, "prosody_user": "nobody", "prosody_group": "nogroup"})
def explain_names_whose_permissions_count(site):
	closed, denied = site.directory / "closed", "Permission denied; prosodyctl works as the user that Prosody runs as"
	site.directory.chmod(0o755)
	closed.mkdir(0o700 if os.geteuid() == 0 else 0)  # only root can switch to a user without access
	there = {"env": {**os.environ, "PWD": str(closed)}}
	output = bad(site, "explain", "leaf.crt", **there)
	assert "leaf.crt has no address" in output.err and f"{closed}/leaf.crt: {denied}\n" in output.err, output
	for name in ("my leaf..crt", "./leaf.crt", f"{closed}/leaf.crt"):
		output = bad(site, "explain", name, **there)
		assert re.search(rf"^error: {closed}/.*leaf.*crt: {denied}$", output.err, re.M) and "HOST" not in output.err, output
	output = tool(site, "explain", f"{closed}/leaf.crt", "--json")
	assert json.loads(output.out) == {"reports": [], "failures": [f"{closed}/leaf.crt: {denied}"]}, output
	bad(site, "tlsa", f"{closed}/leaf.crt", says=f"nor a file: {denied}")
	assert denied not in bad(site, "explain", "leaf.crt", cwd="/", env={**os.environ, "PWD": "/"}).err


# --- terminals ---

@behaviour("colours are used on terminals only, and not with NO_COLOR")
def only_a_terminal_gets_colours(site):
	certificate = site.install(site.issue(f"DNS:{HOST}"))
	text = on_terminal(site, "explain", certificate, environment={"NO_COLOR": ""})
	assert "\x1b[32mno problems\x1b[0m" in text, text
	assert "\x1b" not in on_terminal(site, "explain", certificate, environment={"NO_COLOR": "1"})
