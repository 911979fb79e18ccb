"""Authentication between servers: further input from a target whose certificate was refused."""
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lab"))

import bed  # noqa: E402
from peers import MISMATCH  # noqa: E402
from play import domain, established, on_bed, opened  # noqa: E402
from raw import OPENED, Target, peer_stream, read_until  # noqa: E402
from servers import POLICIES  # noqa: E402

REFUSED_TARGET = 30  # the last number of its address
LEAVING, ONLY_ONE = "leaving.lab", "only-one.lab"
FEATURES = "<stream:features/>"
BURSTS = {
	"sends a stanza": FEATURES + f"<message from='{LEAVING}' to='{{here}}' id='injected'><body>x</body></message>",
	"claims that dialback has succeeded": FEATURES + f"<db:result from='{LEAVING}' to='{{here}}' type='valid'/>",
	"claims that there was SASL, and dialback": FEATURES + "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"
		f"<db:result from='{LEAVING}' to='{{here}}' type='valid'/>",
	"wants dialback to fail": FEATURES + f"<db:result from='{LEAVING}' to='{{here}}' type='invalid'/>",
	"closes the stream": FEATURES + "</stream:stream>",
	"sends a stream error": "<stream:error><conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>",
	"sends what is no XML": FEATURES + "<<",
	"sends nothing else": "",
}

# Only to the lax ones: the strict ones require encryption, and request it even if it is not offered
UNENCRYPTED = {
	"offers no encryption": FEATURES,
	"claims without encryption that dialback has succeeded": BURSTS["claims that dialback has succeeded"],
	"claims so without features, too": BURSTS["claims that dialback has succeeded"].removeprefix(FEATURES),
}


PROCESSED = r"Received\[[^\n]*injected"
HEADER_ALONE = r"(<\?xml[^>]*>)?" + OPENED
HEADER_AND_ERROR = HEADER_ALONE + r"<stream:error>((?!<iq).)*</stream:stream>"


def first_target(peer):
	"""The refused target."""
	peer.shows()
	peer.srv(peer.name("first"), priority=1)
	peer.add("first", "A", peer.lab.address(REFUSED_TARGET))
	peer.tlsa("first", [MISMATCH[3]])


@domain("leaving")
def _(peer):
	first_target(peer)
	peer.target("second", tlsa=[(3, 1, 1)], priority=2)


@domain("only-one")
def _(peer):
	first_target(peer)


def leave(servers, policies, burst, certificate=None, **settings):
	"""Makes subjects connect to a target that sends `burst`, and checks the result."""
	for subject in (servers.subject(policy, True) for policy in policies):
		for here in subject.domains:
			servers.judging, mark = subject, len(servers.peer.log())
			with Target(servers.lab.address(REFUSED_TARGET), burst.format(here=here), certificate, **settings) as refused:
				established(subject, here, LEAVING)
			assert re.fullmatch(HEADER_ALONE, refused.heard or ""), refused.heard
			assert subject.audit("outgoing", LEAVING)["proof"] == "dane-ee"
			assert not re.search(PROCESSED, subject.log()[subject.mark:])
			bed.wait_for(lambda mark=mark: "id='opener'" in servers.peer.log()[mark:], "the next target has the stanza")
			servers.forget(LEAVING)
			servers.finish()  # the next one's log begins here


def refuse(servers, burst, certificate=None):
	"""The same without another target."""
	subject = servers.judging = servers.subject("lax", True)
	for here in subject.domains:
		with Target(servers.lab.address(REFUSED_TARGET), burst.format(here=here), certificate) as refused:
			outcome = opened(subject, here, ONLY_ONE)
		assert not outcome["established"], outcome
		assert re.fullmatch(HEADER_AND_ERROR, refused.heard or ""), refused.heard
		assert not re.search(PROCESSED, subject.log()[subject.mark:])


def another_certificate(servers):
	return servers.lab.self_signed("refused-target", [f"DNS:{LEAVING}"])


for title, each in BURSTS.items():
	@on_bed(f"a refused target {title}: it neither receives nor sends stanzas, and the next one is tried")
	def the_next_target_follows_a_refused_one(servers, burst=each):
		leave(servers, POLICIES, burst, another_certificate(servers))


@on_bed("a refused target hangs up: the next one is tried")
def the_next_target_follows_a_hangup(servers):
	leave(servers, POLICIES, FEATURES, another_certificate(servers), hangs_up=True)


for title, each in UNENCRYPTED.items():
	@on_bed(f"a target with a usable record {title}: it neither receives nor sends stanzas, and the next one is tried")
	def the_next_target_follows_a_failed_proof(servers, burst=each):
		leave(servers, ["lax"], burst)


for title, each in BURSTS.items():
	@on_bed(f"a refused target, the only one, {title}: it receives only the error")
	def the_only_target_is_told_why(servers, burst=each):
		refuse(servers, burst.replace(LEAVING, ONLY_ONE), another_certificate(servers))


for title, each in UNENCRYPTED.items():
	@on_bed(f"the only target, with a usable record, {title}: it receives only the error")
	def the_only_target_with_a_record_is_told_why(servers, burst=each):
		refuse(servers, burst.replace(LEAVING, ONLY_ONE))


@on_bed("an unencrypted answer of a target with a usable record about another stream's dialback is ignored")
def unencrypted_dialback_results_are_not_believed(servers):
	subject = servers.judging = servers.subject("lax", True)
	for here in subject.domains:
		claim_of_another(servers, subject, here)
		servers.finish()


def claim_of_another(servers, subject, here):
	with peer_stream(subject, servers.lab.public, f"from='{ONLY_ONE}'") as connection:
		stream_id = re.search(r"<stream:stream[^>]* id=['\"]([^'\"]+)", read_until(connection, "</stream:features>")).group(1)
		claim = f"<db:verify from='{ONLY_ONE}' to='{here}' id='{stream_id}' type='valid'/>"
		with Target(servers.lab.address(REFUSED_TARGET), FEATURES.replace("<", claim + "<", 1)) as refused:
			connection.sendall(f"<db:result from='{ONLY_ONE}' to='{here}'>key</db:result>".encode())
			heard = bed.wait_for(lambda: refused.heard, "the target is left")
		assert re.fullmatch(HEADER_AND_ERROR, heard), heard
		connection.sendall(f"<iq type='result' id='injected' from='{ONLY_ONE}' to='{here}'/>".encode())
		received = bed.wait_for(lambda: re.search(PROCESSED, subject.log()[subject.mark:]), "the stanza comes").group()
		assert "[s2sin_unauthed]" in received, received
