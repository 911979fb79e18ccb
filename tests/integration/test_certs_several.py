"""prosodyctl mod_certs with several certificates of a host: one of each key type, or several that match."""
import hashlib
import json

from certsite import HOST, bad, behaviour, good, report_of, tool, zone


def spki(certificate):
	return f"TLSA 3 1 1 {hashlib.sha256(certificate.public_key).hexdigest()}"


def pair(certificate):
	return {"certificate": certificate.file, "key": certificate.key}


def both(site):
	"""One certificate of each type of key."""
	return (site.issue(f"DNS:{HOST}", name="ecdsa"), site.issue(f"DNS:{HOST}", name="rsa", rsa=True))


def leaves_of(site, port):
	"""SHA-256 of a port's certificate."""
	output = tool(site, "explain", f"{HOST}:{port}", "--json")
	assert output.status == 0, output
	return sorted(report["certificates"][0]["sha256"] for report in json.loads(output.out)["reports"])


def digests(*certificates):
	return sorted(hashlib.sha256(each.der).hexdigest() for each in certificates)


# --- one of each key type ---

@behaviour("several: a key of each type is served and published, with STARTTLS and with direct TLS")
def both_key_types_are_served_and_published(site):
	pairs = both(site)
	direct = site.direct_ports()
	site.options["ssl"]["certificates"] = [pair(each) for each in pairs]
	site.rewrite_config()
	site.start()
	records = zone(good(site, "tlsa", HOST))
	for port in (site.port, site.s2s_port, *direct):
		assert leaves_of(site, port) == digests(*pairs), port
		assert records[f"_{port}._tcp.{HOST}."] == {spki(each) for each in pairs}, (port, records)
	for each in pairs:
		uses = report_of(site, each.file)["uses"]
		assert [(use["service"], use["tls"]) for use in uses if HOST in use["hosts"]] == [("xmpp-client", "starttls"),
			("xmpp-server", "starttls"), ("xmpp-client", "direct"), ("xmpp-server", "direct")], uses


@behaviour("several: certificates of a port or a service override global ones, and one that is found by name")
def port_and_service_certificates_come_first(site):
	found, pairs = site.issue(f"DNS:{HOST}"), both(site)
	site.install(found)
	direct = site.direct_ports()
	for option in ("c2s_ssl", "c2s_direct_tls_ssl"):
		site.options[option] = {"certificates": [pair(each) for each in pairs]}
	site.rewrite_config()
	site.start()
	records = zone(good(site, "tlsa", HOST))
	for ports, expected in (((site.port, direct[0]), pairs), ((site.s2s_port, direct[1]), [found])):
		for port in ports:
			assert leaves_of(site, port) == digests(*expected), port
			assert records[f"_{port}._tcp.{HOST}."] == {spki(each) for each in expected}, (port, records)


@behaviour("several: certificates of a host are for STARTTLS only, on 0.12 for direct TLS, too")
def host_certificates_are_for_starttls(site):
	found, pairs = site.issue(f"DNS:{HOST}"), both(site)
	site.install(found)
	direct = site.direct_ports()
	for option in ("ssl", "c2s_direct_tls_ssl"):
		site.host_options[option] = {"certificates": [pair(each) for each in pairs]}
	site.rewrite_config()
	site.start()
	records = zone(good(site, "tlsa", HOST))
	for port, expected in ((site.port, pairs), (direct[0], pairs if site.version == "0.12" else [found]), (direct[1], [found])):
		assert leaves_of(site, port) == digests(*expected), port
		assert records[f"_{port}._tcp.{HOST}."] == {spki(each) for each in expected}, (port, records)


@behaviour("several: Prosody ignores a table as certificate")
def a_table_as_certificate_is_ignored(site):
	pairs = both(site)
	host_option, paths, says = site.host_options, [each.file for each in pairs], rf"finds no certificate for {HOST}.*; for several set ssl = .*"
	host_option["certificate"] = paths
	site.rewrite_config()
	bad(site, "tlsa", HOST, says=says)
	host_option.clear()
	host_option["ssl"] = {"certificates": paths}
	site.rewrite_config()
	bad(site, "tlsa", HOST, says=says)
	host_option.clear()
	site.options["ssl"].update(certificate=paths, key=[each.key for each in pairs])
	site.rewrite_config()
	bad(site, "tlsa", HOST, says=says)
	site.start()
	bad(site, "explain", f"{HOST}:{site.port}", says="handshake")


# --- several that match ---

def install_two(site):
	"""Two files for one host, found by their content."""
	pairs = [site.issue(f"DNS:{HOST}", name=name) for name in ("one", "two")]
	return pairs, [site.install(each, f"{each.file.stem}.elsewhere") for each in pairs]


@behaviour("several: if Prosody may load either of two files, tlsa prints records for both and explain prints a remedy")
def tlsa_covers_both_candidate_files(site):
	pairs, files = install_two(site)
	text = good(site, "tlsa", HOST)
	assert zone(text)[f"_{site.port}._tcp.{HOST}."] == {spki(each) for each in pairs}, text
	comment = [line for line in text.splitlines() if line.startswith("; Ambiguous certificate")]
	assert comment[0][2:] == json.loads(good(site, "tlsa", HOST, "--json"))["records"][0]["choice"]
	assert len(comment) == 1 and all(str(file) in comment[0] for file in files), text
	output = bad(site, "explain", HOST, says=f"Ambiguous certificate for {HOST}.*{files[0]}, {files[1]}.*Keep one of them below")
	assert str(files[1]) in output.err
	assert [f"Ambiguous certificate for {HOST}" in text for text in json.loads(
		tool(site, "explain", HOST, "--json").out)["failures"]].count(True) == 1
	for each in files:
		assert report_of(site, each)["uses"][0]["hosts"] == [HOST]


@behaviour("several: copies, expired files, and a file that the host's section names are not ambiguous")
def copies_and_expired_files_are_no_choice(site):
	_, files = install_two(site)
	site.install(site.issue(f"DNS:{HOST}", name="old", days=(-9, -2)), "old.elsewhere")
	own = site.issue(f"DNS:{HOST}", name="own")
	site.host_options["ssl"] = pair(own)
	site.rewrite_config()
	text = good(site, "tlsa", HOST)
	assert zone(text) == {f"_{port}._tcp.{HOST}.": {spki(own)} for port in (site.port, site.s2s_port)}, text
	site.host_options.clear()
	site.rewrite_config()
	for suffix in (".crt", ".key"):
		(site.directory / f"certs/two.elsewhere{suffix}").write_bytes(files[0].with_suffix(suffix).read_bytes())
	text = good(site, "tlsa", HOST)
	assert "Ambiguous" not in text and len(zone(text)[f"_{site.port}._tcp.{HOST}."]) == 1, text


@behaviour("several: a wildcard is ambiguous only among wildcards, and that of a service is found by its file's name")
def wildcards_compete_only_with_wildcards(site):
	exact, wild = site.issue(f"DNS:{HOST}", name="exact"), site.issue("DNS:*.lab", name="wild")
	site.install(exact, "exact.elsewhere")
	site.install(wild, "wild.elsewhere")
	assert zone(good(site, "tlsa", HOST))[f"_{site.port}._tcp.{HOST}."] == {spki(exact)}
	srv = site.issue(f"SRV:_xmpp-client.{HOST}", f"SRV:_xmpp-server.{HOST}", name="srv")
	site.install(srv)
	text = good(site, "tlsa", HOST)
	assert zone(text)[f"_{site.port}._tcp.{HOST}."] == {spki(exact), spki(srv)} and "Ambiguous certificate" in text, text
