"""prosodyctl mod_certs explain: the certificates that servers send."""
import contextlib
import hashlib
import socket
import threading

from certsite import HOST, OTHER, bad, behaviour, host_row, report_of, shut
from authority import Authority


@behaviour("explain asks a server as clients and as servers do, with STARTTLS and with direct TLS")
def explain_asks_as_clients_and_servers_do(site):
	between = Authority(site.directory, "between", site.ca)
	leaf = between.issue("leaf", [f"DNS:{HOST}"])
	site.install(leaf)
	direct = site.direct_ports()
	site.start()
	for port, way in ((site.port, "clients, STARTTLS"), (site.s2s_port, "servers, STARTTLS"),
			(direct[0], "clients, direct TLS"), (direct[1], "servers, direct TLS")):
		report = report_of(site, f"{HOST}:{port}")
		assert report["source"] == [f"{HOST}:{port}, {way}"], report
		assert [c["sha256"] for c in report["certificates"]] == [
			hashlib.sha256(c.der).hexdigest() for c in (leaf, between)], report
		assert report["chain"] == "valid" and report["problems"] == [], report


@behaviour("explain detects the protocol of a port that is not configured")
def explain_detects_the_protocol_of_a_port(site):
	site.install(site.issue(f"DNS:{HOST}"))
	ports = {"servers, STARTTLS": site.s2s_port, "clients, STARTTLS": site.port,
		"clients, direct TLS": site.direct_ports()[0]}
	site.start()
	for option in ("c2s_ports", "s2s_ports", "c2s_direct_tls_ports", "s2s_direct_tls_ports"):
		site.options[option] = []
	site.rewrite_config()  # the server has read it already
	for way, port in ports.items():
		report = report_of(site, f"{HOST}:{port}")
		assert report["source"] == [f"{HOST}:{port}, {way}"], (report, way)


@behaviour("explain connects by IPv6, too", options={"c2s_interfaces": ["::1"]})
def explain_connects_over_ipv6(site):
	site.install(site.issue(f"DNS:{HOST}"))
	site.start()
	report = report_of(site, f"[::1]:{site.port}", "--domain", HOST)
	assert report["problems"] == [], report
	site.resolver.address(OTHER, "::1")
	site.resolver.address(OTHER, "127.0.0.1")
	assert report_of(site, f"{OTHER}:{site.port}", "--domain", HOST)["problems"] == []


@behaviour("explain requests the certificate of the domain", hosts=(HOST, OTHER))
def explain_asks_for_the_certificate_of_the_domain(site):
	site.install(site.issue(f"DNS:{HOST}"))
	site.install(site.issue(f"DNS:{OTHER}", name="second"), OTHER)
	direct, _ = site.direct_ports()
	site.start()
	for port in (site.port, site.s2s_port, direct):
		for domain in (HOST, OTHER):
			report = report_of(site, f"127.0.0.1:{port}", "--domain", domain)
			assert host_row(report, domain) == (True, True) and report["problems"] == [], report


@behaviour("explain looks up the servers of a domain")
def explain_discovers_services(site):
	site.install(site.issue(f"DNS:{HOST}"))
	direct, _ = site.direct_ports()
	site.start()
	site.resolver.address("xmpp.lab")
	site.resolver.srv(f"_xmpp-client._tcp.{HOST}", site.port, "xmpp.lab")
	site.resolver.srv(f"_xmpp-server._tcp.{HOST}", site.s2s_port, "xmpp.lab")
	site.resolver.srv(f"_xmpps-client._tcp.{HOST}", direct, "xmpp.lab")
	report = report_of(site, HOST)
	assert report["source"] == [f"xmpp.lab:{site.port}, clients, STARTTLS",
		f"xmpp.lab:{direct}, clients, direct TLS", f"xmpp.lab:{site.s2s_port}, servers, STARTTLS"], report
	assert report["problems"] == [], report


@behaviour("explain names the part of a domain that it could not reach")
def explain_reports_unreachable_parts(site):
	site.install(site.issue(f"DNS:{HOST}"))
	site.start()
	site.resolver.address("xmpp.lab")
	site.resolver.srv(f"_xmpp-client._tcp.{HOST}", site.port, "xmpp.lab")
	site.resolver.srv(f"_xmpp-server._tcp.{HOST}", 1, "xmpp.lab")
	output = bad(site, "explain", HOST, says=r"xmpp\.lab:1, servers, STARTTLS: .*refused")
	assert f"xmpp.lab:{site.port}, clients" in output.out, output
	site.resolver.broken.add(f"_xmpps-server._tcp.{HOST}")
	bad(site, "explain", HOST, says=rf"_xmpps-server\._tcp\.{HOST} SRV: SERVFAIL")
	bad(site, "explain", "nowhere.lab", says="nowhere.lab has no address")
	for service in ("xmpp-client", "xmpp-server"):
		site.resolver.srv(f"_{service}._tcp.silent.lab", 0, ".")
	bad(site, "explain", "silent.lab", says="DNS has no XMPP service for silent.lab")


@behaviour("explain does not report missing services if DNS does not answer")
def a_dns_failure_is_not_a_missing_service(site):
	names = [f"_{service}._tcp.mute.lab" for service in ("xmpp-client", "xmpps-client", "xmpp-server", "xmpps-server")]
	site.resolver.broken.update(names)
	output = bad(site, "explain", "mute.lab")
	assert all(f"{name} SRV: SERVFAIL" in output.err for name in names), output
	assert "no XMPP service" not in output.err, output


class Answering:
	"""A server that answers with one text after the other, and closes the connection."""

	def __init__(self, *texts):
		self.texts, self.socket = texts, socket.create_server(("127.0.0.1", 0))
		self.port = self.socket.getsockname()[1]
		self.thread = threading.Thread(target=self._serve, daemon=True)
		self.thread.start()

	def _serve(self):
		while True:
			try:
				conn, _ = self.socket.accept()
			except OSError:  # the socket has been shut down
				return
			with conn, contextlib.suppress(OSError):  # the other side may have closed the connection
				for text in self.texts:
					conn.recv(4096)
					conn.sendall(text)

	def __enter__(self):
		return self

	def __exit__(self, *_):
		shut(self.socket)
		self.thread.join()
		self.socket.close()


@behaviour("explain ends with an error for any answer of a server")
def hostile_answers_end_with_an_error(site):
	stream = b"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>"
	offer = stream + b"<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>"
	proceed = b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
	for *answers, says in ((b"", "closed"), (b"SSH-2.0-OpenSSH_9.2\r\n", "not an XMPP stream"),
			(b"\xff" * 3000, "not an XMPP stream"), (stream, "closed"), (stream + b"<stream:features/>", "does not offer"),
			(stream + b"</stream:stream>", "closed"), (stream + b"<a>" * 30000, "not an XMPP stream"),
			(stream + b"<stream:error><host-unknown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/><text "
				b"xmlns='urn:ietf:params:xml:ns:xmpp-streams'>not\\here</text></stream:error>", r"host-unknown: not\\x5chere$"),
			(offer, proceed.replace(b"proceed", b"failure"), "does not start"),
			(offer, proceed + b"\x16\x03\x03\0\x02", "not an XMPP stream"),  # unprotected bytes
			(offer, proceed, b"\x16\x03\x03\0\x02\0\0", "TLS handshake")):
		with Answering(*answers) as server:
			bad(site, "explain", f"127.0.0.1:{server.port}", "--domain", HOST, says=says)
	bad(site, "explain", "127.0.0.1:1", "--domain", HOST, says="refused")


@behaviour("explain names the likely cause if a server does not offer a certificate")
def a_missing_certificate_gets_a_likely_cause(site):
	site.start()
	bad(site, "explain", f"{HOST}:{site.port}", says="handshake failure; the server may have no certificate for this host")
