"""Authentication between servers: further domains of an incoming stream, also of one whose header does not name
a domain. RFC 7712 section 6.1."""
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lab"))

import bed  # noqa: E402
from peers import MISMATCH  # noqa: E402
from play import domain, on_bed  # noqa: E402
from raw import peer_stream, read_until  # noqa: E402
from servers import POLICIES  # noqa: E402

FIRST, NAMED, PUBLISHED, ANCHORED, MISMATCHING, BOGUS, UNPROVEN = (f"further-{name}.lab" for name in
	("first", "named", "published", "anchored", "mismatching", "bogus", "unproven"))
RESULT = "<db:result[^>]*(/>|>.*</db:result>)"
shown = {}  # by laboratory: the one certificate that the peer shows for all of them


def further(name):
	return domain(name.removesuffix(".lab"))


@further(FIRST)
def _(peer):
	names = [f"DNS:{name}" for name in (FIRST, NAMED, MISMATCHING, BOGUS)]
	shown[peer.lab] = peer.shows(peer.lab.intermediate, names=names)
	peer.target()


@further(NAMED)
def _(peer):
	peer.shows()
	peer.target()


@further(PUBLISHED)
def _(peer):
	peer.shows()
	peer.target(tlsa=[shown[peer.lab].tlsa(3, 1, 1)])


@further(ANCHORED)
def _(peer):
	peer.shows()
	peer.target(tlsa=[peer.lab.intermediate.tlsa(2, 0, 1)])


@further(MISMATCHING)
def _(peer):
	peer.shows()
	peer.target(tlsa=[MISMATCH[3]])


@further(BOGUS)
def _(peer):
	peer.shows()
	peer.target(tlsa=[(3, 1, 1)])
	peer.breaks("_5269._tcp.xmpp", "TLSA")


@further(UNPROVEN)
def _(peer):
	peer.shows()
	peer.target()


def stream(servers, subject, origin=f"from='{FIRST}'"):
	servers.judging = subject
	return peer_stream(subject, servers.lab.public, origin, shown[servers.lab])


class Asking:
	"""A stream to a subject, whose peer asks to be authenticated for domains towards `ours`, any of the subject's."""

	def __init__(self, connection, subject, ours):
		self.connection, self.subject, self.ours = connection, subject, ours

	def ask_for(self, name):
		"""Requests a domain, with an invalid dialback key; returns the answer."""
		self.connection.sendall(f"<db:result from='{name}' to='{self.ours}'>key</db:result>".encode())
		return re.search(RESULT, read_until(self.connection, RESULT)).group()

	def assert_heard(self, name):
		"""A stanza from the domain is processed."""
		self.connection.sendall(f"<iq type='result' id='heard-{name}' from='{name}' to='{self.ours}'/>".encode())
		bed.wait_for(lambda: re.search(rf"Received\[[^\n]*heard-{name}", self.subject.log()[self.subject.mark:]),
			"the stanza is processed")


def dialback_was_asked(subject, name):
	return f"asking {name} if key" in subject.log()[subject.mark:]


def on_subjects(title, dane=True, policies=POLICIES):
	"""A test that a stream to a subject of each of the policies passes, towards its host and its component."""
	def register(function):
		@on_bed(f"further domains: {title}")
		def a_further_domain_is_judged(servers):
			for policy in policies:
				subject = servers.subject(policy, dane)
				for ours in subject.domains:
					with stream(servers, subject) as connection:
						read_until(connection, "</stream:features>")
						function(Asking(connection, subject, ours), subject)
					servers.finish()  # the next one's log begins here
		return function
	return register


@on_subjects("one whose record matches the stream's certificate is there without dialback")
def _(stream, subject):
	assert "type='valid'" in stream.ask_for(PUBLISHED)
	assert subject.audit("incoming", PUBLISHED)["proof"] == "dane-ee"
	stream.assert_heard(PUBLISHED)
	assert not dialback_was_asked(subject, PUBLISHED)


@on_subjects("one that the certificate names, too", dane=False)
def _(stream, subject):
	assert "type='valid'" in stream.ask_for(NAMED)
	assert subject.audit("incoming", NAMED)["proof"] == "pkix"
	stream.assert_heard(NAMED)


@on_subjects("one whose record does not match is refused, and the stream goes on")
def _(stream, subject):
	answer = stream.ask_for(MISMATCHING)
	assert "type='error'" in answer and "<policy-violation" in answer, answer
	assert "certificate does not match any DANE TLSA records</text>" in answer, answer
	subject.expect_log(rf"\twarn\tNot authenticating {MISMATCHING} on this stream \(mismatch\): its certificate does not match")
	assert not dialback_was_asked(subject, MISMATCHING)
	assert "type='valid'" in stream.ask_for(NAMED)
	stream.assert_heard(NAMED)


@on_subjects("one whose record matches and whose name the certificate does not have gets this error")
def _(stream, subject):
	answer = stream.ask_for(ANCHORED)
	assert "<policy-violation" in answer, answer
	assert "certificate matches a DANE TLSA record, but it is not valid for this name</text>" in answer, answer
	assert not dialback_was_asked(subject, ANCHORED)


@on_subjects("one whose record cannot be validated is refused, whatever its certificate")
def _(stream, subject):
	answer = stream.ask_for(BOGUS)
	assert "type='error'" in answer and "<remote-server-timeout" in answer, answer
	assert not dialback_was_asked(subject, BOGUS)


@on_subjects("one without a proof is refused where the policy is strict", policies=["strict"])
def _(stream, subject):
	answer = stream.ask_for(UNPROVEN)
	assert "type='error'" in answer and "<policy-violation" in answer, answer
	assert not dialback_was_asked(subject, UNPROVEN)


@on_subjects("one without a proof may use dialback where the policy is lax", policies=["lax"])
def _(stream, subject):
	assert "type='invalid'" in stream.ask_for(UNPROVEN)  # its server does not know the key
	assert dialback_was_asked(subject, UNPROVEN)


@on_subjects("the one in the header may use dialback, and is checked once", policies=["lax"])
def _(stream, subject):
	assert "type='invalid'" in stream.ask_for(FIRST)
	assert len(re.findall(rf"peer {FIRST} \(incoming\)", subject.log()[subject.mark:])) == 1


@on_subjects("a stanza from a refused one ends the stream")
def _(stream, subject):
	stream.ask_for(PUBLISHED)
	stream.ask_for(MISMATCHING)
	stream.connection.sendall(f"<iq type='result' id='never' from='{MISMATCHING}' to='{stream.ours}'/>".encode())
	assert "<not-authorized" in read_until(stream.connection, "</stream:error>")


@on_subjects("a stream may authenticate a hundred domains", policies=["strict"])
def _(stream, subject):
	answers = [stream.ask_for(f"n{number}.{UNPROVEN}") for number in range(101)]
	assert all("<policy-violation" in each for each in answers[:100]), answers
	assert "<resource-constraint" in answers[100], answers[100]


@on_bed("further domains: a stream whose header does not name a domain proves each requested one, or is refused")
def a_nameless_stream_proves_each_domain(servers):
	subject = servers.subject("lax", True)
	for ours in subject.domains:
		with stream(servers, subject, "") as connection:
			read_until(connection, "</stream:features>")
			asking = Asking(connection, subject, ours)
			assert "<policy-violation" in asking.ask_for(MISMATCHING)
			assert "type='valid'" in asking.ask_for(PUBLISHED)
			asking.assert_heard(PUBLISHED)


@on_subjects("stanzas read together with a request are handled after its check, without a further packet")
def _(stream, subject):
	assert "type='valid'" in stream.ask_for(NAMED)
	behind = "".join(f"<iq type='result' id='behind-{n}.' from='{NAMED}' to='{stream.ours}'><x xmlns='urn:x'>{'x' * 400}</x></iq>"
		for n in range(25))  # more than Prosody reads at once, and in one record of TLS, of which nothing is left to poll for
	stream.connection.sendall(f"<db:result from='{PUBLISHED}' to='{stream.ours}'>key</db:result>{behind}".encode())
	read_until(stream.connection, RESULT)
	for n in (0, 24):
		bed.wait_for(lambda: re.search(rf"Received\[[^\n]*behind-{n}\.", subject.log()[subject.mark:]), f"stanza {n} is handled")
