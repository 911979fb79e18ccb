"""prosodyctl mod_certs check: the services at the ports of SRV records."""
import contextlib
import re
import socket
import ssl
import threading

from certsite import bad, shut
from suite import every_version
from test_certs_installed import look
from test_certs_check import ERRORS, OK, SERVICES, WARNINGS, behaviour, check


class Other:
	"""Answers the first bytes with one text, over TLS if it has a certificate, and closes the connection."""

	def __init__(self, address, answer, certificate=None):
		self.answer, self.socket, self.context = answer, socket.create_server((address, 0)), None
		self.port = self.socket.getsockname()[1]
		if certificate:
			self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
			self.context.load_cert_chain(certificate.file, certificate.key)
		self.thread = threading.Thread(target=self._serve, daemon=True)
		self.thread.start()

	def _serve(self):
		while True:
			try:
				conn, _ = self.socket.accept()
			except OSError:  # the socket has been shut down
				return
			with contextlib.suppress(OSError), conn:  # the other side may have closed the connection
				with self.context.wrap_socket(conn, server_side=True) if self.context else conn as spoken:
					spoken.recv(4096)
					spoken.sendall(self.answer)

	def stop(self):
		shut(self.socket)
		self.thread.join()
		self.socket.close()


def other_at(site, service, answer, encrypted=True):
	"""A domain with a single service, which is not an XMPP server. Returns its listener's subject."""
	certificate = site.issue("other.lab")
	server = Other(site.address, answer, certificate if encrypted else None)
	site.extra.append(server)
	zone = site.lab.zone("lab")
	zone.add(f"_{service}._tcp.other", "SRV", f"0 5 {server.port} xmpp.good.lab.")
	zone.add(f"_{server.port}._tcp.xmpp.good", "TLSA", certificate.tlsa(3, 1, 1))
	return server.port


WEB = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"
NO_PROTOCOL = b"\x15\x03\x03\0\x02\x02\x78"  # the alert of servers that do not support the offered protocols (RFC 7301)


@behaviour("services: a web server, or any other TLS service, is not an XMPP service")
def another_service_is_not_xmpp(site):
	site.good()
	expected = [(other_at(site, "xmpps-client", WEB), "TLS, but not XMPP: a web server answers"),
		(other_at(site, "xmpps-server", WEB), "TLS, but not XMPP: a web server answers"),
		(other_at(site, "xmpps-client", b"* OK IMAP4rev1 ready\r\n"), "TLS, but not XMPP: the answer is not an XMPP stream"),
		(other_at(site, "xmpps-client", b"<html><head>"), "TLS, but not XMPP: a web server answers"),
		(other_at(site, "xmpps-client", b"<feed xmlns='http://www.w3.org/2005/Atom'/>"), "TLS, but not XMPP: the answer is not an XMPP stream"),
		(other_at(site, "xmpps-server", b""), "TLS, but not XMPP: the connection was closed"),
		(other_at(site, "xmpps-client", NO_PROTOCOL, encrypted=False), "no application protocol; the server does not speak XMPP")]
	site.lab.site("other.lab", site.issue("other.lab", name="web"), {})
	site.lab.zone("lab").add("web", "A", site.lab.web_address)
	site.lab.zone("lab").add("_xmpps-client._tcp.other", "SRV", "0 5 443 web.lab.")
	site.go()
	report = check(site, "other.lab", status=ERRORS)
	report.expect("error", "listener", f"{site.lab.web_address}:443 ", "TLS, but not XMPP: a web server answers")
	for port, text in expected:
		report.expect("error", "listener", f"{site.address}:{port} ", text)
		assert not report.rows_of("DANE", f"{site.address}:{port} "), report
	output = bad(site, "explain", f"xmpp.good.lab:{expected[0][0]}", "--domain", "other.lab", says="not XMPP: a web server answers")
	assert "DNS-ID  other.lab" in output.out and "TLS, but not XMPP" in output.out, output


@behaviour("services: STARTTLS behind the SRV record of direct TLS is reported, and the other way round")
def swapped_srv_records_are_reported(site):
	site.good(services=("xmpps-client", "xmpps-server", "xmpp-client", "xmpp-server"))
	site.go()
	report = check(site, status=ERRORS)
	for service, port in zip(("xmpps-client", "xmpps-server"), site.places):
		report.expect("error", "listener", f"{site.address}:{port} ", f"the port speaks STARTTLS, but _{service}._tcp.good.lab "
			f"promises direct TLS; publish the port as _{service.replace('xmpps', 'xmpp')}._tcp.good.lab")
	for service, port in zip(("xmpp-client", "xmpp-server"), site.places[2:]):
		report.expect("error", "listener", f"{site.address}:{port} ", f"the port speaks direct TLS, but _{service}._tcp.good.lab "
			f"promises STARTTLS; publish the port as _{service.replace('xmpp', 'xmpps')}._tcp.good.lab")
	output = bad(site, "explain", "good.lab")
	assert len(re.findall("the port speaks STARTTLS", output.err)) == 2 == len(re.findall("the port speaks direct TLS", output.err)), output


class Reserved(Other):
	"""An XMPP server that is silent until it reads XML."""

	def _serve(self):
		conns = []
		while True:
			try:
				conns.append(self.socket.accept()[0])
			except OSError:  # the socket has been shut down
				break
			if conns[-1].recv(4096).startswith(b"<?xml"):
				conns[-1].sendall(self.answer)
		for conn in conns:
			conn.close()


@behaviour("services: STARTTLS behind the SRV record of direct TLS, with a server that does not answer TLS")
def a_starttls_server_silent_to_tls_is_recognized(site):
	server = Reserved(site.address, b"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>"
		b"<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features></stream:stream>")
	site.extra.append(server)
	site.lab.zone("lab").add("_xmpps-client._tcp.other", "SRV", f"0 5 {server.port} xmpp.other.lab.")
	site.lab.zone("lab").add("xmpp.other", "A", site.address)
	site.lab.start()
	site.rewrite_config()
	look(site, "other.lab").expect("error", "listener", f"{site.address}:{server.port} ", "the port speaks STARTTLS")


@behaviour("services: a service with neither kind of TLS is reported as before")
def a_port_of_neither_kind_stays_unknown(site):
	site.good()
	expected = [(other_at(site, "xmpps-client", b"* OK IMAP4rev1 ready\r\n", encrypted=False), "TLS handshake"),
		(other_at(site, "xmpp-client", b"* OK IMAP4rev1 ready\r\n", encrypted=False), "not an XMPP stream"),
		(other_at(site, "xmpp-server", WEB, encrypted=True), "closed|not an XMPP stream|reset")]
	site.go()
	report = check(site, "other.lab", status=ERRORS)
	for port, text in expected:
		rows = report.expect("error", "listener", f"{site.address}:{port} ", text)
		assert "the port speaks" not in rows[0]["text"], rows


@behaviour("services: servers behind the SRV record of clients are reported, also with direct TLS")
def an_s2s_port_behind_a_client_srv_is_reported(site):
	site.good(services=("xmpp-client", "xmpp-client", "xmpps-server", "xmpps-client"))
	site.go()
	report = check(site, status=ERRORS)
	report.expect("error", "listener", f"{site.address}:{site.places[1]} xmpp-client", "a stream of jabber:server")
	report.expect("error", "listener", f"{site.address}:{site.places[3]} xmpp-client, direct TLS", "a stream of jabber:server")
	report.expect("error", "listener", f"{site.address}:{site.places[2]} xmpp-server, direct TLS", "a stream of jabber:client")


@every_version
@behaviour("services: the chains of both key types are requested and verified")
def both_key_types_are_checked(site):
	ecdsa, rsa = site.issue("good.lab"), site.issue("good.lab", name="rsa", rsa=True)
	site.options["ssl"]["certificates"] = [{"certificate": each.file, "key": each.key} for each in (ecdsa, rsa)]
	site.publish("good.lab", [ecdsa.tlsa(3, 1, 1), rsa.tlsa(3, 1, 1)])
	site.go()
	report = check(site, status=OK)
	for port in site.places:
		rows = report.expect("ok", "listener", f"{site.address}:{port} ")
		assert sorted(row["text"].split()[0] for row in rows) == ["ECDSA", "RSA"], rows
		assert sorted(row["text"] for row in report.expect("ok", "DANE", f"{site.address}:{port} ")) == [
			"ECDSA: 3 1 1 matches", "RSA: 3 1 1 matches"], report
	assert len(report.expect("ok", "chain", "xmpp-server")) == 2 and len(report.expect("ok", "key")) == 2, report


@behaviour("services: a chain of the other key type that peers refuse is found")
def a_bad_chain_of_the_other_key_type_is_found(site):
	ecdsa, rsa = site.issue("good.lab"), site.issue("good.lab", ["DNS:elsewhere.lab"], name="rsa", rsa=True, days=(-9, -2))
	site.options["ssl"]["certificates"] = [{"certificate": each.file, "key": each.key} for each in (ecdsa, rsa)]
	site.publish("good.lab", [ecdsa.tlsa(3, 1, 1)], services=SERVICES[:2])
	site.go()
	report = check(site, status=ERRORS)
	texts = sorted((row["state"], row["text"].split(":")[0]) for row in report.rows_of("DANE", f"{site.address}:{site.port} "))
	assert texts == [("error", "RSA"), ("ok", "ECDSA")], report
	assert [row["state"] for row in report.rows_of("expiry", "xmpp-client")].count("error") == 1, report


@behaviour("services: with TLS 1.3 only, the report says that the other key type cannot be requested")
def tls13_hides_the_other_key_type(site):
	ecdsa, rsa = site.issue("good.lab"), site.issue("good.lab", name="rsa", rsa=True)
	site.options["ssl"]["certificates"] = [{"certificate": each.file, "key": each.key} for each in (ecdsa, rsa)]
	site.options["tls_profile"] = "modern"
	site.publish("good.lab", [ecdsa.tlsa(3, 1, 1), rsa.tlsa(3, 1, 1)], services=SERVICES[:2])
	site.go()
	report = check(site, status=OK)
	for port in site.places[:2]:
		report.expect("ok", "listener", f"{site.address}:{port} ", "^(ECDSA|RSA) certificate")
		report.expect("ok", "reload", f"{site.address}:{port} ", "cannot check .*(good|rsa).*: with only TLS 1.3")
	del site.options["tls_profile"]
	site.kill()
	site.options["ssl"]["certificates"].pop()
	site.start()
	site.options["ssl"]["certificates"].append({"certificate": rsa.file, "key": rsa.key})
	site.rewrite_config()
	check(site, status=WARNINGS).expect("warning", "reload", f"{site.address}:{site.port} ", "rsa.pem .* is not served")
