"""prosodyctl mod_certs request, tlsa: requests for certificates, and records of existing ones."""
import hashlib
import itertools
import json
import re
import subprocess

from certsite import CLIENT, HOST, OTHER, ROOMS, SERVER, bad, behaviour, good, report_of, row, zone
from authority import Authority, openssl


# --- request ---

def names_of(text):
	"""The alternative names in openssl's output, sorted."""
	line = text.split("Subject Alternative Name:")[1].splitlines()[1]
	return sorted(name.strip().replace("SRVName::", "SRVName:") for name in line.split(","))  # the notation of older versions


@behaviour("request creates a key, and a request that names hosts for clients and servers")
def request_makes_a_key_and_a_csr(site):
	text = good(site, "request", HOST, ROOMS, "--output", site.directory)
	request, key = site.directory / f"{HOST}.csr", site.directory / f"{HOST}.key"
	shown = openssl("req", "-in", request, "-noout", "-text", "-verify").decode()
	expected = [f"DNS:{HOST}", f"DNS:{ROOMS}"] + [f"othername: SRVName:_{service}.{host}"
		for host in (HOST, ROOMS) for service in (CLIENT, SERVER)]
	assert names_of(shown) == sorted(expected), shown
	assert "ASN1 OID: prime256v1" in shown, shown
	assert openssl("req", "-in", request, "-noout", "-pubkey") == openssl("pkey", "-in", key, "-pubout")
	assert all(f"  {kind}  {name}" in text for kind, name in (("DNS-ID", ROOMS), ("SRV-ID", f"_{CLIENT}.{HOST}"))), text
	assert str(site.directory / f"certs/{HOST}.key") in text and "SRV-IDs" in text, text
	assert "PRIVATE" not in text, text


@behaviour("request creates an RSA key on demand, and prints JSON")
def request_makes_an_rsa_key(site):
	made = json.loads(good(site, "request", HOST, "--rsa", "--output", site.directory, "--json"))
	assert made["request"] == str(site.directory / f"{HOST}.csr") and made["domains"] == [HOST], made
	assert "3072 bit" in openssl("pkey", "-in", made["key"], "-noout", "-text").decode()
	openssl("req", "-in", made["request"], "-noout", "-verify")


@behaviour("request: only the owner can read the key, with any umask", options={"umask": "000"})
def the_key_is_private_under_any_umask(site):
	good(site, "request", HOST, "--output", site.directory)
	key = site.directory / f"{HOST}.key"
	assert key.stat().st_mode & 0o777 == 0o600 and key.stat().st_nlink == 1, key.stat()
	assert {path.name for path in site.directory.iterdir() if not path.name.startswith("root.")} >= {
		f"{HOST}.key", f"{HOST}.csr"}
	assert not [path for path in site.directory.iterdir() if path.name.startswith(".")]


@behaviour("request does not overwrite files, and does not leave a key without its request")
def request_overwrites_nothing(site):
	for taken, other in ((".key", ".csr"), (".csr", ".key")):
		file = site.directory / (HOST + taken)
		file.write_text("precious")
		bad(site, "request", HOST, "--output", site.directory, says=re.escape(str(file)) + ": file exists")
		assert file.read_text() == "precious" and not (site.directory / (HOST + other)).exists()
		file.unlink()
		file.symlink_to(site.directory / "elsewhere")
		bad(site, "request", HOST, "--output", site.directory, says="exists")
		assert not (site.directory / "elsewhere").exists()
		file.unlink()
	bad(site, "request", HOST, "--output", site.directory / "nowhere", says="nowhere: No such file")


@behaviour("request writes names in the form of DNS, each once, and rejects invalid ones")
def request_normalizes_names(site):
	good(site, "request", "Müller.Lab", "xn--mller-kva.lab", "--output", site.directory)
	shown = openssl("req", "-in", site.directory / "xn--mller-kva.lab.csr", "-noout", "-text").decode()
	assert names_of(shown) == sorted(["DNS:xn--mller-kva.lab"] + [
		f"othername: SRVName:_{service}.xn--mller-kva.lab" for service in (CLIENT, SERVER)]), shown
	for name in ("", "../evil", "a b", "a..test", ".test", "192.0.2.1", "::1", "a/b", "a@b.test", "*.test", "a" * 64 + ".test"):
		bad(site, "request", name, "--output", site.directory, status=2, says="invalid domain name")


@behaviour("explain shows that a signed request is valid for its hosts", components={ROOMS: "muc"})
def a_signed_request_serves_its_hosts(site):
	good(site, "request", HOST, ROOMS, "--output", site.directory / "certs")
	certificate = site.directory / f"certs/{HOST}.crt"
	openssl("x509", "-req", "-copy_extensions", "copy", "-days", "9", "-CA", site.ca.alone, "-CAkey", site.ca.key,
		"-in", site.directory / f"certs/{HOST}.csr", "-out", certificate)
	text = good(site, "explain", certificate)
	assert "no problems" in text and row(text, HOST, "yes", "yes") and row(text, ROOMS, "yes", "yes"), text
	site.start()
	assert report_of(site, f"{HOST}:{site.port}")["problems"] == []


# --- tlsa ---

@behaviour("tlsa: without SRV records they are for the host itself, and for the ports of the configuration")
def tlsa_without_srv_uses_configured_ports(site):
	leaf = site.issue(f"DNS:{HOST}")
	site.install(leaf)
	direct = site.direct_ports()
	text = good(site, "tlsa", HOST)
	record = {f"TLSA 3 1 1 {hashlib.sha256(leaf.public_key).hexdigest()}"}
	assert zone(text) == {f"_{port}._tcp.{HOST}.": record for port in (site.port, site.s2s_port, *direct)}, text
	for label, port in zip(("xmpp-client", "xmpp-server", "xmpps-client", "xmpps-server"),
			(site.port, site.s2s_port, *direct)):
		assert f"; _{label}._tcp.{HOST}. 3600 IN SRV 0 5 {port} {HOST}.\n" in text, text


@behaviour("tlsa: an SRV record is optional only for the usual ports with STARTTLS",
	options={"c2s_ports": [5222], "s2s_ports": [5269], "c2s_direct_tls_ports": [5223]})
def usual_ports_need_no_srv(site):
	site.install(site.issue(f"DNS:{HOST}"))
	text = good(site, "tlsa", HOST)
	assert re.findall(r"^; _(\S+)\._tcp\S+ .* ; optional$", text, re.M) == ["xmpp-client", "xmpp-server"], text
	assert re.search(rf"^; _xmpps-client\._tcp\.{HOST}\. \d+ IN SRV 0 5 5223 {HOST}\.$", text, re.M), text


@behaviour("tlsa: targets are taken from SRV records")
def tlsa_follows_srv_records(site):
	leaf = site.issue(f"DNS:{HOST}")
	site.install(leaf)
	site.resolver.srv(f"_xmpp-client._tcp.{HOST}", 5222, "c.lab")
	site.resolver.srv(f"_xmpp-server._tcp.{HOST}", 5269, "one.lab")
	site.resolver.srv(f"_xmpp-server._tcp.{HOST}", 6269, "two.lab", priority=9)
	site.resolver.srv(f"_xmpps-server._tcp.{HOST}", 443, "one.lab")
	site.resolver.srv(f"_xmpps-client._tcp.{HOST}", 0, ".")
	text = good(site, "tlsa", HOST, "--ttl", "60")
	assert set(zone(text)) == {"_5222._tcp.c.lab.", "_5269._tcp.one.lab.", "_6269._tcp.two.lab.",
		"_443._tcp.one.lab."}, text
	assert " 60 IN TLSA" in text and " SRV " not in text, text
	records = json.loads(good(site, "tlsa", HOST, "--json"))["records"]
	assert {(r["target"], r["port"], r["service"], r["tls"]) for r in records} == {("c.lab", 5222, CLIENT, "starttls"),
		("one.lab", 5269, SERVER, "starttls"), ("two.lab", 6269, SERVER, "starttls"),
		("one.lab", 443, SERVER, "direct")}, records
	assert all(r["data"] == hashlib.sha256(leaf.public_key).hexdigest() for r in records), records


@behaviour("tlsa: direct TLS that is not published yet belongs to the target of STARTTLS")
def unpublished_direct_tls_uses_the_starttls_target(site):
	site.install(site.issue(f"DNS:{HOST}"))
	port, _ = site.direct_ports()
	site.resolver.srv(f"_xmpp-client._tcp.{HOST}", 5222, "second.lab", priority=9)
	site.resolver.srv(f"_xmpp-client._tcp.{HOST}", 5222, "first.lab", priority=1)
	text = good(site, "tlsa", HOST)
	assert f"_{port}._tcp.first.lab." in zone(text), text
	assert re.search(rf"^; _xmpps-client\._tcp\.{HOST}\. \d+ IN SRV 0 5 {port} first\.lab\.$", text, re.M), text


@behaviour("tlsa: a target that is not a host name is not printed into a zone file")
def an_invalid_target_is_left_out(site):
	site.install(site.issue(f"DNS:{HOST}"))
	for target in ("a\n_1._tcp.evil.lab", "a;b.lab", "a b.lab", "\x1b[31m.lab"):
		site.resolver.records.clear()
		site.resolver.srv(f"_xmpp-client._tcp.{HOST}", 5222, target)
		output = bad(site, "tlsa", HOST, says="invalid host name")
		assert not zone(output.out), output


@behaviour("tlsa: records are not guessed if DNS does not answer")
def no_records_are_guessed_without_dns(site):
	site.install(site.issue(f"DNS:{HOST}"))
	site.resolver.broken.add(f"_xmpp-server._tcp.{HOST}")
	output = bad(site, "tlsa", HOST, says="SERVFAIL")
	assert not zone(output.out), output


def compare_combinations(site, usages, certificate, file):
	"""Every selector and matching type, with the data that openssl computes from the certificate."""
	for usage, selector, match in itertools.product(usages, range(2), range(3)):
		text = good(site, "tlsa", file, "--usage", str(usage), "--selector", str(selector), "--match", str(match))
		records = set().union(*zone(text).values())
		assert records == {f"TLSA {certificate.tlsa(usage, selector, match)}"}, text


@behaviour("tlsa: every combination for the server's certificate equals the output of openssl")
def server_records_equal_those_of_openssl(site):
	leaf = site.issue(f"DNS:{HOST}")
	compare_combinations(site, (1, 3), leaf, leaf.file)
	pipeline = f"openssl x509 -in {leaf.file} -noout -pubkey | openssl pkey -pubin -outform der | sha256sum"
	digest = subprocess.run(pipeline, shell=True, stdout=subprocess.PIPE, text=True, check=True).stdout.split()[0]
	assert set().union(*zone(good(site, "tlsa", leaf.file)).values()) == {f"TLSA 3 1 1 {digest}"}


@behaviour("tlsa: every combination for the authority equals the output of openssl")
def authority_records_equal_those_of_openssl(site):
	leaf, both = site.issue(f"DNS:{HOST}"), site.directory / "both.pem"
	both.write_text(leaf.alone.read_text() + site.ca.alone.read_text())
	compare_combinations(site, (0, 2), site.ca, both)


@behaviour("tlsa: a certificate that is not an authority's does not get a record of an authority")
def a_leaf_is_no_authority(site):
	leaf = site.issue(f"DNS:{HOST}")
	for usage in "02":
		bad(site, "tlsa", leaf.alone, "--usage", usage, says="authority")


@behaviour("tlsa of a file is for the hosts that use it, or that are named", hosts=(HOST, OTHER), components={ROOMS: "muc"})
def tlsa_of_a_file_covers_its_hosts(site):
	site.options.update(c2s_ports=[5222], s2s_ports=[5269])
	site.rewrite_config()
	text = good(site, "tlsa", site.issue(f"DNS:{OTHER}", f"DNS:{ROOMS}").file)
	assert set(zone(text)) == {f"_5222._tcp.{OTHER}.", f"_5269._tcp.{OTHER}.", f"_5269._tcp.{ROOMS}."}, text
	foreign = site.issue("DNS:xn--mller-kva.lab", "DNS:*.foreign.lab", name="foreign").file
	assert set(zone(good(site, "tlsa", foreign))) == {f"_{port}._tcp.xn--mller-kva.lab." for port in (5222, 5269)}
	assert set(zone(good(site, "tlsa", foreign, "--domain", "some.lab"))) == {
		"_5222._tcp.some.lab.", "_5269._tcp.some.lab."}
	nobody = site.issue("IP:192.0.2.1", name="nobody").file
	bad(site, "tlsa", nobody, says="--domain")


@behaviour("tlsa rejects an unknown host")
def tlsa_refuses_an_unknown_host(site):
	bad(site, "tlsa", OTHER, status=2, says="neither a configured host nor a file: No such file")
	bad(site, "tlsa", HOST, says="no certificate")
	bad(site, "tlsa", site.issue(f"DNS:{HOST}").file, "--domain", "a..lab", says="invalid domain name")

# --- tlsa: certificates of ports ---

def spki(certificate):
	return {f"TLSA 3 1 1 {hashlib.sha256(certificate.public_key).hexdigest()}"}


def compare(site, expected):
	"""The printed records of the ports, {port: certificate}."""
	records = zone(good(site, "tlsa", HOST))
	for port, certificate in expected.items():
		assert records[f"_{port}._tcp.{HOST}."] == spki(certificate), (port, records)


def compare_with_served(site, expected):
	"""The same, compared with the certificates of a running server."""
	compare(site, expected)
	site.start()
	for port, certificate in expected.items():
		report = report_of(site, f"{HOST}:{port}")
		assert report["certificates"][0]["sha256"] == hashlib.sha256(certificate.der).hexdigest(), (port, report)


def option_for(certificate):
	return {"certificate": certificate.file, "key": certificate.key}


@behaviour("tlsa: a port has the certificate of its option, as in the server")
def a_port_uses_the_certificate_of_its_option(site):
	host, clients, servers = (site.issue(f"DNS:{HOST}", name=name) for name in ("host", "clients", "servers"))
	site.install(host)
	direct = site.direct_ports()
	site.options["c2s_direct_tls_ssl"] = option_for(clients)
	site.options["s2s_direct_tls_ssl"] = option_for(servers)
	site.rewrite_config()
	compare_with_served(site, {site.port: host, site.s2s_port: host, direct[0]: clients, direct[1]: servers})


@behaviour("tlsa: legacy_ssl has its own option, and that of a host overrides it")
def legacy_ssl_has_its_own_option(site):
	host, legacy, own = (site.issue(f"DNS:{HOST}", name=name) for name in ("host", "legacy", "own"))
	site.install(host)
	port, other = site.direct_ports()
	site.options.update(c2s_direct_tls_ports=[], s2s_direct_tls_ports=[other], legacy_ssl_ports=[port],
		legacy_ssl_ssl=option_for(legacy), s2s_direct_tls_ssl=option_for(legacy))
	site.host_options["s2s_direct_tls_ssl"] = option_for(own)
	site.rewrite_config()
	compare_with_served(site, {site.port: host, port: legacy, other: own})


@behaviour("tlsa: a certificate found by the host's name overrides the option of a single port")
def a_match_by_name_beats_a_port_option(site):
	host, single = (site.issue(f"DNS:{HOST}", name=name) for name in ("host", "single"))
	port, other = site.direct_ports()
	site.options.update(c2s_ssl=option_for(host), s2s_ssl=option_for(host), s2s_direct_tls_ssl=option_for(host),
		c2s_direct_tls_ssl={port: option_for(single)})
	site.rewrite_config()
	compare(site, {site.port: host, site.s2s_port: host, port: single, other: host})
	site.install(host)
	compare(site, {port: host})


@behaviour("tlsa: the certificate of a service is used if the directory does not have one")
def a_service_certificate_is_the_fallback(site):
	host, service = (site.issue(f"DNS:{HOST}", name=name) for name in ("host", "service"))
	port, _ = site.direct_ports()
	site.options.update(c2s_ssl=option_for(host), s2s_ssl=option_for(host), s2s_direct_tls_ports=[],
		c2s_direct_tls_certificate={port: site.install(service, "elsewhere").rename(site.directory / "own.crt")})
	(site.directory / "certs/elsewhere.key").rename(site.directory / "own.key")
	site.rewrite_config()
	compare_with_served(site, {site.port: host, site.s2s_port: host, port: service})
	site.install(host)
	compare(site, {port: host})


@behaviour("tlsa: ports of mod_net_multiplex are for clients and servers, and have their own option")
def multiplexed_ports_have_their_own_option(site):
	host, shared = (site.issue(f"DNS:{HOST}", name=name) for name in ("host", "shared"))
	site.install(host)
	port, _ = site.direct_ports()
	site.modules.append("net_multiplex")
	site.options.update(c2s_direct_tls_ports=[], s2s_direct_tls_ports=[], ssl_ports=[port], multiplex_ssl_ssl=option_for(shared))
	site.rewrite_config()
	compare_with_served(site, {site.port: host, site.s2s_port: host, port: shared})


# --- tlsa: no records with which peers would refuse ---

@behaviour("tlsa does not print records with which peers would refuse the certificate, and says why")
def records_that_peers_refuse_are_not_printed(site):
	other = Authority(site.directory, "other")
	foreign, alone = other.issue("foreign", [f"DNS:{HOST}"]), site.issue(f"DNS:{HOST}")
	own = site.directory / "own.pem"
	openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "9", "-subj", "/CN=x",
		"-addext", f"subjectAltName=DNS:{HOST}", "-keyout", site.directory / "own.key", "-out", own)  # it claims to be an authority
	unrelated, named = site.directory / "unrelated.pem", site.issue("DNS:elsewhere.lab", name="named")
	unrelated.write_text(alone.alone.read_text() + other.alone.read_text())
	whole = site.directory / "whole.pem"
	whole.write_text(named.alone.read_text() + site.ca.alone.read_text())
	private = site.directory / "private.pem"
	private.write_text(foreign.alone.read_text() + other.alone.read_text())
	old = site.issue(f"DNS:{HOST}", name="old", days=(-9, -2))
	for file, usage, says in ((foreign.file, 1, "usages 0 and 1 are for certificates of public authorities"), (own, 1, "public authorities"),
			(own, 2, "with a record 2 1 1"), (unrelated, 2, "with a record 2 1 1"), (unrelated, 0, "with a record 0 1 1"),
			(whole, 2, "no name matches"), (old.file, 1, "expired"), (foreign.alone, 0, "authority")):
		output = bad(site, "tlsa", file, "--domain", HOST, "--usage", str(usage), says=says)
		assert not zone(output.out) and str(file) in output.err, output
	for file, usage in ((private, 2), (foreign.file, 3), (own, 3), (named.file, 3), (old.file, 3), (alone.file, 1)):
		assert zone(good(site, "tlsa", file, "--domain", HOST, "--usage", str(usage))), (file, usage)
