"""Authentication between servers as operators see it: a key that changes, a resolver without a trust
anchor or none at all, IPv6, stock's own DANE, a peer that shows no certificate."""
import os
import pathlib
import re
import socket
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lab"))

import bed  # noqa: E402
import xmpp  # noqa: E402
from lab import SERVER  # noqa: E402
from play import MISMATCH, REFUSED, UNPROVEN, by, domain, established, on_bed, opened, scenario  # noqa: E402
from raw import direct_stream, peer_stream, read_until  # noqa: E402
from servers import POLICIES, Server, tls  # noqa: E402

VALID, ROLLOVER, MISMATCHING, PINNED = "valid.lab", "rollover.lab", "mismatching.lab", "pinned.lab"
FAULTY = "faulty.lab"  # which no other test has used
SIX, OTHER_SIX = "six.lab", "other-six.lab"
PINNED_PUBLIC = "pinned-public.lab"


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


@scenario("a key that the next tests use", label="pinned", dane=by("dane-ee"), off=UNPROVEN)
def _(peer):
	peer.shows()
	peer.target(tlsa=[(3, 1, 1)])


def show_certificate(servers, name):
	"""The peer switches to another certificate."""
	files = servers.lab.directory
	options = {"key": files / f"{name}.key", "certificate": files / f"{name}.pem", "cafile": servers.lab.public.file}
	servers.peer.lua(f"""require "core.configmanager".set("{ROLLOVER}", "ssl", {bed.lua(options)})""")
	servers.peer.lua(f"""require "core.modulemanager".reload("{ROLLOVER}", "tls")""")


@on_bed("a change of a known peer's key is logged once")
def a_changed_peer_key_is_logged_once(servers):
	subject = servers.subject("strict", True)
	change = rf"\twarn\t[^\n]*Key changed: {ROLLOVER} had"
	try:
		established(subject, subject.domain, ROLLOVER)
		servers.forget(ROLLOVER)
		assert not re.search(change, subject.log()[subject.mark:])
		show_certificate(servers, "rollover-next")
		for _ in range(2):
			established(subject, subject.domain, ROLLOVER)
			servers.forget(ROLLOVER)
		assert len(re.findall(change, subject.log()[subject.mark:])) == 1
		assert subject.audit("outgoing", ROLLOVER)["proof"] == "dane-ee"
	finally:
		show_certificate(servers, "peer-rollover")


def extra_server(servers, here, certificate, address, ours=True, **options):
	"""One more server beside the bed's, strict, and not yet running."""
	ours = ours and not servers.stock
	return Server(servers.lab, servers.peer.version, address, {here: tls(certificate, servers.lab)},
		{"s2s_secure_auth": True, **options}, ["s2s_auth_native"] if ours else [], not ours)


@on_bed("without a trust anchor certificates are checked as usual, and one warning names the remedy")
def without_a_trust_anchor_pkix_decides(servers):
	lab, here = servers.lab, "anchorless.lab"
	unbound = {name: value for name, value in lab.unbound().items() if name != "trustfile"}
	certificate = lab.intermediate.issue(here, [f"DNS:{here}"])
	server = extra_server(servers, here, certificate, lab.address(20), use_dane=True, unbound=unbound)
	try:
		server.start()
		established(server, here, MISMATCHING)
		server.assert_no_traceback()
		warnings = re.findall(r"\twarn\t[^\n]*trust anchor[^\n]*", server.log())
		assert len(warnings) == 1 and "trustfile" in warnings[0], warnings
	finally:
		server.discard()
		servers.peer.streams("forget", here)


def start_without_unbound(server, nameserver):
	"""Starts a server that has no lua-unbound, and asks `nameserver` with Prosody's own resolver."""
	resolv_conf = server.directory / "resolv.conf"
	resolv_conf.write_text(f"nameserver {nameserver}\n")
	changes = {"LUA_INIT": f"@{bed.PROJECT}/tests/lab/without_unbound.lua", "TEST_RESOLV_CONF": str(resolv_conf)}
	os.environ.update(changes)
	try:
		server.start()
	finally:
		for name in changes:
			del os.environ[name]


@on_bed("without lua-unbound certificates are checked as usual, and one warning names the remedy")
def without_unbound_pkix_decides(servers):
	lab, here = servers.lab, "boundless.lab"
	server = extra_server(servers, here, lab.intermediate.issue(here, [f"DNS:{here}"]), lab.address(21))
	try:
		start_without_unbound(server, lab.address(SERVER))
		established(server, here, MISMATCHING)
		assert server.audit("outgoing", MISMATCHING)["proof"] == "pkix"
		assert not opened(server, here, PINNED)["established"]
		server.assert_no_traceback()
		warnings = re.findall(r"\twarn\t[^\n]*DANE[^\n]*", server.log())
		assert len(warnings) == 1 and "Install the package lua-unbound" in warnings[0], warnings
	finally:
		server.discard()
		servers.peer.streams("forget", here)


@domain("faulty")
def _(peer):
	peer.shows()
	peer.target(tlsa=[(3, 1, 1)])


@on_bed("a check that fails in the middle does not accept the peer")
def a_failing_check_accepts_nobody(servers):
	subject = servers.judging = servers.subject("lax", True)
	store = "require'core.storagemanager'"
	subject.lua(f"local s = {store}; s.saved = s.open; s.open = function () error('there is no store') end")
	try:
		subject.announced += ["Cannot check the certificate", "stack traceback"]
		assert not opened(subject, subject.domain, FAULTY)["established"]
		assert not opened(servers.peer, FAULTY, subject.domain)["established"]
		assert len(re.findall(r"\terror\t[^\n]*there is no store", subject.log()[subject.mark:])) == 2
	finally:
		subject.lua(f"local s = {store}; s.open, s.saved = s.saved, nil")
		servers.forget(FAULTY)


# --- IPv6 ---

class Port6:
	"""A free port of ::1, kept from others as bed.Port keeps one; 0 where there is no IPv6."""

	def __init__(self):
		self.socket = socket.socket(socket.AF_INET6)
		try:
			self.socket.bind(("::1", 0))
		except OSError:  # the other tests on this bed do not need it
			pass
		self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
		self.number = self.socket.getsockname()[1]


for each in (SIX, OTHER_SIX):
	@domain(each.removesuffix(".lab"))
	def _(peer):
		peer.port6 = Port6()
		peer.shows()
		peer.srv(peer.name("xmpp"), port=peer.port6.number)
		peer.add("xmpp", "AAAA", "::1")
		peer.tlsa("xmpp", [(3, 1, 1)], peer.port6.number)


@on_bed("a peer that has only an IPv6 address, both ways")
def an_ipv6_peer_works_both_ways(servers):
	def server(name, ours):
		peer = servers.peers[name]
		assert peer.port6.number, "this machine does not let bind ::1"
		return extra_server(servers, name, peer.certificate, "::1", ours, use_ipv6=True, s2s_ports=[peer.port6.number],
			s2s_direct_tls_ports=[], s2s_secure_auth=ours)

	subject, peer = server(SIX, True), server(OTHER_SIX, False)
	try:
		subject.start()
		peer.start()
		for direction, opener, here, there in (("outgoing", subject, SIX, OTHER_SIX), ("incoming", peer, OTHER_SIX, SIX)):
			established(opener, here, there)
			assert subject.audit(direction, OTHER_SIX)["proof"] == "dane-ee"
			for each in (subject, peer):
				each.streams("forget", OTHER_SIX)
		subject.assert_no_traceback()
	finally:
		subject.discard()
		peer.discard()


# --- Prosody 13.0's own DANE ---

@on_bed("stock's own DANE is enabled, too: it does nothing, and every name is looked up once", versions=["13.0"])
def stock_dane_is_disabled(servers):
	for subject in (servers.subject(policy, True) for policy in POLICIES):
		servers.judging = subject
		assert subject.lua("return require'core.modulemanager'.is_loaded('*', 's2s_auth_dane_in')") == "true"
		for direction, opener, here, there in (("outgoing", subject, subject.domain, ROLLOVER),
				("incoming", servers.peer, ROLLOVER, subject.domain)):
			mark = len(subject.log())
			established(opener, here, there)
			assert subject.audit(direction, ROLLOVER)["proof"] == "dane-ee"
			asked = re.findall(rf"Results for (\S*\b{ROLLOVER} IN \S+):", subject.log()[mark:])
			servers.forget(ROLLOVER)
			assert sorted(asked) == [f"_5269._tcp.xmpp.{ROLLOVER} IN TLSA", f"_xmpp-server._tcp.{ROLLOVER} IN SRV",
				f"_xmpps-server._tcp.{ROLLOVER} IN SRV", f"xmpp.{ROLLOVER} IN A"], asked
			assert "Enabling DANE" not in subject.log()[mark:]


# --- Direct TLS ---

@domain("pinned-public")
def _(peer):
	peer.shows(peer.lab.intermediate)
	peer.target(tlsa=[(1, 1, 1)])


@on_bed("an incoming peer with direct TLS is authenticated, also if the path of the authorities is relative")
def a_direct_tls_peer_is_proven(servers):
	lab, here = servers.lab, "relative.lab"
	certificate = lab.intermediate.issue(here, [f"DNS:{here}"])
	server = extra_server(servers, here, certificate, lab.address(22))
	server.options["ssl"] = {**server.options["ssl"], "cafile": os.path.relpath(lab.public.file, server.directory)}
	try:
		server.start()
		server.lua(f"return require'lfs'.chdir({bed.lua(server.directory / 'certs')})")  # elsewhere, as where it is installed
		with direct_stream(server, f"from='{PINNED_PUBLIC}'", servers.peers[PINNED_PUBLIC].certificate) as stream:
			answer = read_until(stream, "</stream:(features|error)>")
		assert "EXTERNAL" in answer, answer
		assert server.audit("incoming", PINNED_PUBLIC)["proof"] == "pkix-ee"
		server.assert_no_traceback()
	finally:
		server.discard()


# --- Peers without a certificate, or without a name ---

def bare_stream(servers, subject, origin=f"from='{VALID}'", certificate=None):
	"""The subject's first answers on a stream of a peer that encrypts and shows no certificate, or this one."""
	with peer_stream(subject, servers.lab.public, origin, certificate) as stream:
		return read_until(stream, "</stream:(features|error)>")


@on_bed("an incoming peer without a certificate is refused where the policy is strict")
def strict_policy_refuses_a_missing_certificate(servers):
	for dane in (True, False):
		answer = bare_stream(servers, servers.subject("strict", dane))
		assert "<not-authorized" in answer, answer


@on_bed("an incoming peer without a certificate may use only dialback where the policy is lax")
def lax_policy_allows_dialback(servers):
	for dane in (True, False):
		answer = bare_stream(servers, servers.subject("lax", dane))
		assert "urn:xmpp:features:dialback" in answer and "EXTERNAL" not in answer, answer


@on_bed("an incoming peer without a name in its header is not authenticated by its certificate")
def an_anonymous_stream_proves_nothing(servers):
	for policy, expected in (("strict", "<not-authorized"), ("lax", "urn:xmpp:features:dialback")):
		answer = bare_stream(servers, servers.subject(policy, True), "", servers.peers[VALID].certificate)
		assert expected in answer and "EXTERNAL" not in answer, answer
