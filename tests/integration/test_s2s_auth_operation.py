"""Authentication between servers as operators see it: a key that changes, a resolver without a trust
anchor, a peer that shows no certificate."""
import pathlib
import re
import socket
import ssl
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lab"))

import bed  # noqa: E402
import xmpp  # noqa: E402
from play import MISMATCH, REFUSED, by, on_bed, scenario  # noqa: E402
from servers import Server, tls  # noqa: E402

VALID, ROLLOVER, MISMATCHING = "valid.lab", "rollover.lab", "mismatching.lab"
STREAM = ("<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' "
	"version='1.0' from='{}' to='{}'>")


@scenario("a peer that the next tests use", label="valid", dane=by("pkix"), off=by("pkix"))
def _(peer):
	peer.shows(peer.lab.intermediate)
	peer.target()


@scenario("a record of the next certificate beside the present one's", label="rollover", dane=by("dane-ee"), off=by("pkix"))
def _(peer):
	following = peer.lab.intermediate.issue("rollover-next", [f"DNS:{ROLLOVER}"])
	peer.shows(peer.lab.intermediate)
	peer.target(tlsa=[(3, 1, 1), following.tlsa(3, 1, 1)])


@scenario("a record of another certificate", label="mismatching", dane=REFUSED, off=by("pkix"))
def _(peer):
	peer.shows(peer.lab.intermediate)
	peer.target(tlsa=[MISMATCH[3]])


def established(server, here, there):
	"""Opens a stream and waits until it is there."""
	server.streams("open", here, there)
	outcome = bed.wait_for(lambda: server.outcome("outgoing", here, there), f"the stream to {there} begins or ends", 20)
	assert outcome["established"], outcome


def show_certificate(servers, name):
	"""The peer begins to use another certificate."""
	files = servers.lab.directory
	options = {"key": files / f"{name}.key", "certificate": files / f"{name}.pem", "cafile": servers.lab.public.file}
	servers.peer.lua(f"""require "core.configmanager".set("{ROLLOVER}", "ssl", {bed.lua(options)})""")
	servers.peer.lua(f"""require "core.modulemanager".reload("{ROLLOVER}", "tls")""")


@on_bed("a change of a known peer's key is told once")
def test(servers):
	subject = servers.subject("strict", True)
	change = rf"\twarn\t[^\n]*key of {ROLLOVER} has changed"
	try:
		established(subject, subject.domain, ROLLOVER)
		for server in servers.servers:
			server.streams("forget", ROLLOVER)
		assert not re.search(change, subject.log()[subject.mark:])
		show_certificate(servers, "rollover-next")
		for _ in range(2):
			established(subject, subject.domain, ROLLOVER)
			for server in servers.servers:
				server.streams("forget", ROLLOVER)
		assert len(re.findall(change, subject.log()[subject.mark:])) == 1
		assert subject.audit("outgoing", ROLLOVER)["proof"] == "dane-ee"
	finally:
		show_certificate(servers, "peer-rollover")


@on_bed("without a trust anchor certificates are checked as ever, and one warning says what to do")
def test(servers):
	lab, here = servers.lab, "anchorless.lab"
	unbound = {name: value for name, value in lab.unbound().items() if name != "trustfile"}
	certificate = lab.intermediate.issue(here, [f"DNS:{here}"])
	options = {"use_dane": True, "s2s_secure_auth": True, "unbound": unbound}
	modules = [] if servers.stock else ["s2s_auth_native"]
	server = Server(lab, servers.peer.version, lab.address(20), {here: tls(certificate, lab)}, options, modules, servers.stock)
	try:
		server.start()
		established(server, here, MISMATCHING)
		server.assert_no_traceback()
		warnings = re.findall(r"\twarn\t[^\n]*trust anchor[^\n]*", server.log())
		assert len(warnings) == 1 and "trustfile" in warnings[0], warnings
	finally:
		server.discard()
		servers.peer.streams("forget", here)


def bare_stream(servers, subject):
	"""The subject's first answers on a stream of a peer that encrypts and shows no certificate."""
	context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
	context.load_verify_locations(servers.lab.public.file)
	header = STREAM.format(VALID, subject.domain).encode()
	with socket.create_connection((subject.address, 5269), timeout=xmpp.READ_TIMEOUT) as plain:
		plain.sendall(header)
		read_until(plain, b"</stream:features>")
		plain.sendall(b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
		read_until(plain, b"proceed")
		with context.wrap_socket(plain, server_hostname=subject.domain) as encrypted:
			encrypted.sendall(header)
			return read_until(encrypted, b"</stream:features>", b"</stream:error>")


def read_until(connection, *ends):
	received = b""
	while not any(end in received for end in ends):
		data = connection.recv(65536)
		assert data, received
		received += data
	return received.decode()


@on_bed("an incoming peer without a certificate is refused where the policy is strict")
def test(servers):
	for dane in (True, False):
		answer = bare_stream(servers, servers.subject("strict", dane))
		assert "<not-authorized" in answer, answer


@on_bed("an incoming peer without a certificate has dialback alone where the policy is lax")
def test(servers):
	for dane in (True, False):
		answer = bare_stream(servers, servers.subject("lax", dane))
		assert "urn:xmpp:features:dialback" in answer and "EXTERNAL" not in answer, answer
