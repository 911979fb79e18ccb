"""prosodyctl mod_certs renew --request: the next key is published in advance, so that its certificate can be installed at once."""
from authority import SERVER, openssl
from certsite import bad, tool
from renewsite import HOST, behaviour, fingerprint, record_of
from suite import every_version


class Requested:
	"""The next key, and a certificate for its request, with the interface of authority.Certificate."""

	def __init__(self, site, name, names=f"DNS:{HOST}"):
		directory, issuer = site.directory, site.lab.intermediate
		self.text = (site.slot / "next.csr").read_text()
		self.request, self.file, extensions = (directory / f"{name}.{suffix}" for suffix in ("csr", "pem", "extensions"))
		self.request.write_text(self.text)
		extensions.write_text(SERVER.format(purpose="serverAuth").replace("@names", names))
		self.file.write_bytes(openssl("x509", "-req", "-in", self.request, "-CA", issuer.alone, "-CAkey", issuer.key, "-days", 90,
			"-extfile", extensions) + issuer.alone.read_bytes())
		self.record = record_of(self.file.read_text())


@every_version
@behaviour("the next key is published in advance, its certificate is installed at once, and another next key is created")
def a_next_key_is_published_ahead(site):
	site.go()
	found = site.renew(HOST, "--request")
	assert found["request"] == str(site.slot / "next.csr") and found["step"] == "next" and not found["problems"], found
	first, was = Requested(site, "first"), site.old.tlsa(3, 1, 1)
	assert site.published() == {was, first.record}
	assert site.renew(HOST, "--request")["until"] == found["until"] and (site.slot / "next.csr").read_text() == first.text
	early = site.renew(HOST, "--new", first.file)
	assert (early["step"], early["until"]) == ("wait", found["until"]), (early, found)
	site.pass_time(200)
	found = site.renew()
	assert found["step"] == "next" and not found["problems"], found
	assert site.files() == fingerprint(first.file.read_text()) and site.served() == {site.files()}
	second = Requested(site, "second")
	assert second.record != first.record and site.published() == {first.record, second.record}
	site.pass_time(200)
	found = site.renew()
	assert found["step"] == "done" and "at once" in found["text"] and not found["problems"], found
	count = len(site.publisher.requests)
	found = site.renew(HOST, "--new", second.file)  # without a call in between that waits
	assert site.files() == fingerprint(second.file.read_text()) and site.served() == {site.files()}, found
	third = Requested(site, "third")
	assert site.published() == {second.record, third.record} and len(site.publisher.requests) == count + 2
	assert (site.slot / "next.key").stat().st_mode & 0o777 == 0o600 and site.slot.stat().st_mode & 0o777 == 0o700


@behaviour("a request has the names of the certificate in use, and those of the hosts that use it")
def a_request_names_hosts_in_use(site):
	site.serve(HOST, site.issue(HOST, names=["DNS:www.good.lab", "DNS:*.good.lab", f"DNS:{HOST}"], name="wide"))
	site.go()
	output = tool(site, "renew", HOST, "--request")
	path = output.out.splitlines()[0]
	text = openssl("req", "-in", path, "-noout", "-text").decode()
	names = text.split("Subject Alternative Name:")[1].split("\n")[1].strip().split(", ")
	assert output.status == 0 and names == [f"DNS:{HOST}", "DNS:www.good.lab", "DNS:*.good.lab"], text
	assert "Public-Key: (256 bit)" in text, text


@behaviour("a certificate without a key must be for the next key or the one in use")
def a_certificate_needs_the_next_or_current_key(site):
	site.go()
	site.renew(HOST, "--request")
	stranger = site.issue(HOST, name="stranger")
	before = site.everything()
	bad(site, "renew", HOST, "--new", stranger.file, says="missing private key")
	assert site.everything() == before


@behaviour("a lost request is created again for the same key")
def a_lost_request_is_made_again(site):
	site.go()
	site.renew(HOST, "--request")
	key, records = (site.slot / "next.key").read_bytes(), site.published()
	(site.slot / "next.csr").unlink()
	site.renew()
	assert (site.slot / "next.key").read_bytes() == key and site.published() == records
	assert Requested(site, "again").record in records


@behaviour("while DNS does not answer, it is unknown whether the next key is published")
def without_dns_the_next_key_is_uncertain(site):
	site.go()
	site.renew(HOST, "--request")
	site.pass_time(200)
	for server in site.lab.servers:
		server.stop()
	found = site.renew(HOST, status=1)
	assert found["step"] == "next" and found["problems"] and "at once" not in found["text"], found
