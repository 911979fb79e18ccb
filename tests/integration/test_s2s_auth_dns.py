"""Authentication between servers by DNS: secure, insecure and bogus answers, failed lookups, and the records
that lead to a server."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lab"))

from play import MISMATCH, OTHER_PORT, REFUSED, UNPROVEN, by, scenario  # noqa: E402

MATCH = [(3, 1, 1)]
LOST = {"outgoing": "ServFail|time-out", "incoming": "^remote-connection-failed"}


# --- Bogus ---

@scenario("a bogus TLSA record, the certificate is valid", dane=REFUSED, off=by("pkix"))
def _(peer):
	peer.shows(peer.lab.intermediate)
	peer.target(tlsa=MATCH)
	peer.breaks("_5269._tcp.xmpp", "TLSA")


@scenario("a bogus proof that there is no TLSA record", dane=REFUSED, off=by("pkix"))
def _(peer):
	peer.shows(peer.lab.intermediate)
	peer.target()
	peer.breaks("xmpp", "NSEC")


@scenario("a bogus SRV record, but an address at the domain", dane=REFUSED, off=None)
def _(peer):
	peer.shows(peer.lab.intermediate)
	peer.add("", "A", peer.address)
	peer.target()
	peer.breaks("_xmpp-server._tcp", "SRV")


@scenario("a bogus proof that there is no SRV record", dane=REFUSED, off=None)
def _(peer):
	peer.shows(peer.lab.intermediate)
	peer.add("", "A", peer.address)
	peer.breaks("", "NSEC")


@scenario("a bogus address of the target", dane=REFUSED, off=None)
def _(peer):
	peer.shows(peer.lab.intermediate)
	peer.target(tlsa=MATCH)
	peer.breaks("xmpp", "A")


@scenario("expired signatures", zone="expired.lab", dane=REFUSED, off=None)
def _(peer):
	peer.shows(peer.lab.intermediate)
	peer.add("", "A", peer.address)
	peer.target(tlsa=MATCH)


@scenario("the target's signatures have expired", dane=REFUSED, off=None)
def _(peer):
	peer.shows(peer.lab.intermediate)
	target = f"xmpp.{peer.label}.expired.lab."
	peer.srv(target)
	peer.lab.zone("expired.lab").add(f"xmpp.{peer.label}", "A", peer.address)


# --- Insecure ---

@scenario("TLSA records of an insecure zone that do not match", zone="insecure.lab", dane=by("pkix"), off=by("pkix"))
def _(peer):
	peer.shows(peer.lab.intermediate)
	peer.target(tlsa=[MISMATCH[3]])


@scenario("TLSA records of an insecure zone that match", zone="insecure.lab", dane=UNPROVEN, off=UNPROVEN)
def _(peer):
	peer.shows()
	peer.target(tlsa=MATCH)


@scenario("a secure SRV record, a target in an insecure zone", dane=by("pkix"), off=by("pkix"), state="insecure")
def _(peer):
	peer.shows(peer.lab.intermediate)
	target = f"xmpp.{peer.label}"
	peer.srv(f"{target}.insecure.lab.")
	peer.lab.zone("insecure.lab").add(target, "A", peer.address)
	peer.lab.zone("insecure.lab").add(f"_5269._tcp.{target}", "TLSA", MISMATCH[3])


@scenario("an insecure SRV record, a target in a secure zone", zone="insecure.lab", dane=UNPROVEN, off=UNPROVEN)
def _(peer):
	peer.shows()
	target = f"xmpp.{peer.label}"
	peer.srv(f"{target}.lab.")
	peer.lab.zone("lab").add(target, "A", peer.address)
	peer.lab.zone("lab").add(f"_5269._tcp.{target}", "TLSA", peer.certificate.tlsa(3, 1, 1))


@scenario("a secure SRV record and no TLSA, the certificate names only the target", dane=by("pkix"), off=None,
	named_by_srv=True)
def _(peer):
	peer.shows(peer.lab.intermediate, names=[f"DNS:xmpp.{peer.domain}"])
	peer.target()


@scenario("an insecure SRV record, the certificate names only the target", zone="insecure.lab",
	dane=UNPROVEN, off=UNPROVEN)
def _(peer):
	peer.shows(peer.lab.intermediate, names=[f"DNS:xmpp.{peer.domain}"])
	peer.target()


# --- Failed lookups ---

for zone, failure in (("servfail.lab", "fails"), ("silent.lab", "times out")):
	@scenario(f"the SRV lookup {failure}", zone=zone, dane=REFUSED, off=None, says=LOST)
	def _(peer):
		peer.shows(peer.lab.intermediate)

	@scenario(f"the TLSA lookup {failure}", dane=REFUSED, off=by("pkix"), says=LOST)
	def _(peer, server=zone):
		peer.shows(peer.lab.intermediate)
		peer.target()
		peer.add("_tcp.xmpp", "NS", "failing." if "fail" in server else "silent.")

	@scenario(f"the lookup of the target's address {failure}", dane=REFUSED, off=REFUSED, says=LOST,
		incoming_off=by("pkix"))
	def _(peer, server=zone):
		peer.shows(peer.lab.intermediate)
		peer.srv(f"xmpp.{peer.label}.{server}.")


# --- Ways to a server ---

@scenario("no SRV record, a valid certificate", dane=by("pkix"), off=by("pkix"))
def _(peer):
	peer.shows(peer.lab.intermediate)
	peer.add("", "A", peer.address)


@scenario("no SRV record, DANE-EE at the domain", dane=by("dane-ee"), off=UNPROVEN)
def _(peer):
	peer.shows()
	peer.add("", "A", peer.address)
	peer.add("_5269._tcp", "TLSA", peer.certificate.tlsa(3, 1, 1))


@scenario("no SRV record, DANE-EE at the domain does not match", dane=REFUSED, off=by("pkix"))
def _(peer):
	peer.shows(peer.lab.intermediate)
	peer.add("", "A", peer.address)
	peer.add("_5269._tcp", "TLSA", MISMATCH[3])


@scenario("no SRV record in an insecure zone", zone="insecure.lab", dane=by("pkix"), off=by("pkix"))
def _(peer):
	peer.shows(peer.lab.intermediate)
	peer.add("", "A", peer.address)


@scenario("the SRV target is the root", dane=REFUSED, off=REFUSED, incoming=by("pkix"), incoming_off=by("pkix"))
def _(peer):
	peer.shows(peer.lab.intermediate)
	peer.add("", "A", peer.address)
	peer.add("_xmpp-server._tcp", "SRV", "0 0 0 .")


@scenario("another port, and TLSA records of that port", dane=by("dane-ee"), off=UNPROVEN)
def _(peer):
	peer.shows()
	peer.target(tlsa=MATCH, port=OTHER_PORT)


@scenario("another port, and TLSA records of the usual one", dane=by("pkix"), off=by("pkix"))
def _(peer):
	peer.shows(peer.lab.intermediate)
	peer.target(port=OTHER_PORT)
	peer.tlsa("xmpp", [MISMATCH[3]])


@scenario("an SRV target at a hosting provider", dane=by("dane-ee"), off=UNPROVEN)
def _(peer):
	peer.shows(names=["DNS:provider.lab"])
	provider = f"provider-{peer.label}"
	peer.srv(f"{provider}.lab.")
	peer.zone.add(provider, "A", peer.address)
	peer.zone.add(f"_5269._tcp.{provider}", "TLSA", peer.certificate.tlsa(3, 1, 1))


@scenario("a bogus TLSA record of one target, a good one of the next", dane=by("dane-ee"), off=UNPROVEN,
	incoming_state="bogus")
def _(peer):
	peer.shows()
	peer.target("first", tlsa=MATCH, priority=1)
	peer.breaks("_5269._tcp.first", "TLSA")
	peer.target("second", tlsa=MATCH, priority=2)


@scenario("the TLSA lookup of one target fails, the next one's does not", dane=by("dane-ee"), off=UNPROVEN,
	incoming_state="failed")
def _(peer):
	peer.shows()
	peer.target("first", priority=1)
	peer.add("_tcp.first", "NS", "failing.")
	peer.target("second", tlsa=MATCH, priority=2)


@scenario("no match at the first target, one at the next", dane=by("dane-ee"), off=UNPROVEN)
def _(peer):
	peer.shows()
	peer.target("first", tlsa=[MISMATCH[3]], priority=1)
	peer.target("second", tlsa=MATCH, priority=2)


@scenario("the first target is unreachable, the next one matches", dane=by("dane-ee"), off=UNPROVEN)
def _(peer):
	peer.shows()
	peer.srv(peer.name("first"), priority=1)
	peer.add("first", "A", peer.lab.address(9))
	peer.tlsa("first", [MISMATCH[3]])
	peer.target("second", tlsa=MATCH, priority=2)


@scenario("no target matches", dane=REFUSED, off=by("pkix"))
def _(peer):
	peer.shows(peer.lab.intermediate)
	peer.target("first", tlsa=[MISMATCH[3]], priority=1)
	peer.target("second", tlsa=[MISMATCH[3]], priority=2)


# --- Several targets, one of them without records ---

def two_targets(peer, first, second):
	peer.target("first", tlsa=first, priority=1)
	peer.target("second", tlsa=second, priority=2)


@scenario("the first target's record matches, the second has none", dane=by("dane-ee"), off=UNPROVEN)
def _(peer):
	peer.shows()
	two_targets(peer, MATCH, [])


@scenario("the first target has no record, the second's matches", dane=UNPROVEN, off=UNPROVEN, incoming=by("dane-ee"))
def _(peer):
	peer.shows()
	two_targets(peer, [], MATCH)


@scenario("the first target has no record, the second's matches, the certificate is valid", dane=by("pkix"),
	off=by("pkix"), incoming=by("dane-ee"))
def _(peer):
	peer.shows(peer.lab.intermediate)
	two_targets(peer, [], MATCH)


@scenario("the first target's record does not match, the second has none", dane=UNPROVEN, off=UNPROVEN)
def _(peer):
	peer.shows()
	two_targets(peer, [MISMATCH[3]], [])


@scenario("the first target's record does not match, the second has none, the certificate is valid", dane=by("pkix"),
	off=by("pkix"))
def _(peer):
	peer.shows(peer.lab.intermediate)
	two_targets(peer, [MISMATCH[3]], [])


@scenario("the first target has no record, the second's does not match", dane=UNPROVEN, off=UNPROVEN)
def _(peer):
	peer.shows()
	two_targets(peer, [], [MISMATCH[3]])


@scenario("the first target has no record, the second's does not match, the certificate is valid", dane=by("pkix"),
	off=by("pkix"))
def _(peer):
	peer.shows(peer.lab.intermediate)
	two_targets(peer, [], [MISMATCH[3]])


@scenario("all targets are bogus", dane=REFUSED, off=by("pkix"))
def _(peer):
	peer.shows(peer.lab.intermediate)
	for priority, label in enumerate(("first", "second")):
		peer.target(label, tlsa=MATCH, priority=priority)
		peer.breaks(f"_5269._tcp.{label}", "TLSA")


# --- Direct TLS ---

@scenario("direct TLS, DANE-EE at its port", dane=by("dane-ee"), off=UNPROVEN)
def _(peer):
	peer.shows()
	peer.direct(tlsa=MATCH)


@scenario("direct TLS, a valid certificate", zone="insecure.lab", dane=by("pkix"), off=by("pkix"))
def _(peer):
	peer.shows(peer.lab.intermediate)
	peer.direct()


@scenario("direct TLS does not match, STARTTLS does", dane=by("dane-ee"), off=UNPROVEN)
def _(peer):
	peer.shows()
	peer.direct(tlsa=[MISMATCH[3]])
	peer.target(tlsa=MATCH)


@scenario("direct TLS does not match, and there is no other service", dane=REFUSED, off=by("pkix"))
def _(peer):
	peer.shows(peer.lab.intermediate)
	peer.direct(tlsa=[MISMATCH[3]])


# --- Aliases ---

def aliased(peer):
	peer.srv(peer.name("alias"))
	peer.add("alias", "CNAME", peer.name("real"))
	peer.add("real", "A", peer.address)


@scenario("a CNAMEd SRV target, TLSA at its real name", dane=by("dane-ee"), off=UNPROVEN)
def _(peer):
	peer.shows()
	aliased(peer)
	peer.tlsa("real", MATCH)


@scenario("a CNAMEd SRV target, TLSA at the alias", dane=by("dane-ee"), off=UNPROVEN)
def _(peer):
	peer.shows()
	aliased(peer)
	peer.tlsa("alias", MATCH)


@scenario("a CNAMEd SRV target, the real name's TLSA outweighs the alias's", dane=REFUSED, off=by("pkix"))
def _(peer):
	peer.shows(peer.lab.intermediate)
	aliased(peer)
	peer.tlsa("real", [MISMATCH[3]])
	peer.tlsa("alias", MATCH)


@scenario("a CNAMEd TLSA record", dane=by("dane-ee"), off=UNPROVEN)
def _(peer):
	peer.shows()
	peer.target()
	peer.add("_5269._tcp.xmpp", "CNAME", peer.name("_dane"))
	peer.add("_dane", "TLSA", peer.certificate.tlsa(3, 1, 1))


@scenario("a CNAMEd SRV record, all of it secure", dane=by("dane-ee"), off=UNPROVEN)
def _(peer):
	peer.shows()
	peer.add("_xmpp-server._tcp", "CNAME", peer.name("srv"))
	peer.add("srv", "SRV", f"1 0 5269 {peer.name('xmpp')}")
	peer.add("xmpp", "A", peer.address)
	peer.tlsa("xmpp", MATCH)


@scenario("a DNAMEd SRV record, all of it secure", dane=by("dane-ee"), off=UNPROVEN)
def _(peer):
	peer.shows()
	peer.add("_tcp", "DNAME", peer.name("_hosted"))
	peer.add("_xmpp-server._hosted", "SRV", f"1 0 5269 {peer.name('xmpp')}")
	peer.add("xmpp", "A", peer.address)
	peer.tlsa("xmpp", MATCH)


def insecure_srv(peer, records):
	"""The secure zone's SRV name is an alias of one in an insecure zone; the target's is secure again."""
	peer.add("_xmpp-server._tcp", "CNAME", f"srv.{peer.label}.insecure.lab.")
	peer.lab.zone("insecure.lab").add(f"srv.{peer.label}", "SRV", f"1 0 5269 {peer.name('xmpp')}")
	peer.add("xmpp", "A", peer.address)
	peer.tlsa("xmpp", records)


@scenario("a CNAMEd SRV record that leads into an insecure zone", dane=UNPROVEN, off=UNPROVEN, state="insecure")
def _(peer):
	peer.shows(peer.lab.intermediate, names=[f"DNS:xmpp.{peer.domain}"])
	insecure_srv(peer, MATCH)


# --- Aliases that are secure in part: RFC 7671 section 7, RFC 7673 section 3 ---

def alias_into(peer, zone, label="real"):
	"""An alias in the peer's zone of a name in another one, which has the address; returns the latter."""
	real = f"{label}.{peer.label}"
	peer.srv(peer.name("alias"))
	peer.add("alias", "CNAME", f"{real}.{zone}.")
	return real


@scenario("a secure alias of a name in an insecure zone, its record matches", dane=UNPROVEN, off=UNPROVEN, state="insecure")
def _(peer):
	peer.shows()
	peer.lab.zone("insecure.lab").add(alias_into(peer, "insecure.lab"), "A", peer.address)
	peer.tlsa("alias", MATCH)


@scenario("a secure alias of a name in an insecure zone, its record does not match", dane=by("pkix"), off=by("pkix"),
	state="insecure")
def _(peer):
	peer.shows(peer.lab.intermediate)
	peer.lab.zone("insecure.lab").add(alias_into(peer, "insecure.lab"), "A", peer.address)
	peer.tlsa("alias", [MISMATCH[3]])


@scenario("a secure alias of a name in an insecure zone, the lookup of its records fails", dane=by("pkix"), off=by("pkix"),
	state="insecure")
def _(peer):
	peer.shows(peer.lab.intermediate)
	peer.lab.zone("insecure.lab").add(alias_into(peer, "insecure.lab"), "A", peer.address)
	peer.add("_tcp.alias", "NS", "failing.")


def insecure_alias(peer, records):
	"""The secure SRV record names an alias in an insecure zone of a name in a secure one."""
	alias = f"alias.{peer.label}"
	peer.srv(f"{alias}.insecure.lab.")
	peer.lab.zone("insecure.lab").add(alias, "CNAME", peer.name("real"))
	peer.add("real", "A", peer.address)
	peer.tlsa("real", records)


@scenario("an insecure alias of a name in a secure zone, whose record matches", dane=UNPROVEN, off=UNPROVEN,
	state="insecure")
def _(peer):
	peer.shows()
	insecure_alias(peer, MATCH)


@scenario("an insecure alias of a name in a secure zone, whose record does not match", dane=by("pkix"), off=by("pkix"),
	state="insecure")
def _(peer):
	peer.shows(peer.lab.intermediate)
	insecure_alias(peer, [MISMATCH[3]])


@scenario("a secure alias of an insecure one of a name in a secure zone, whose record does not match", dane=by("pkix"),
	off=by("pkix"), state="insecure")
def _(peer):
	peer.shows(peer.lab.intermediate)
	peer.lab.zone("insecure.lab").add(alias_into(peer, "insecure.lab", "between"), "CNAME", peer.name("real"))
	peer.add("real", "A", peer.address)
	peer.tlsa("real", [MISMATCH[3]])


@scenario("a CNAMEd SRV record that leads into an insecure zone, its target's record matches", dane=UNPROVEN,
	off=UNPROVEN, state="insecure")
def _(peer):
	peer.shows()
	insecure_srv(peer, MATCH)


@scenario("a CNAMEd SRV record that leads into an insecure zone, its target's record does not match", dane=by("pkix"),
	off=by("pkix"), state="insecure")
def _(peer):
	peer.shows(peer.lab.intermediate)
	insecure_srv(peer, [MISMATCH[3]])


def insecure_alias_of_srv(peer, records):
	"""The insecure zone's SRV name is an alias of one in a secure zone, and so is the target there."""
	secure = peer.lab.zone("lab")
	peer.add("_xmpp-server._tcp", "CNAME", f"srv.{peer.label}.lab.")
	secure.add(f"srv.{peer.label}", "SRV", f"1 0 5269 xmpp.{peer.label}.lab.")
	secure.add(f"xmpp.{peer.label}", "A", peer.address)
	for record in records:
		secure.add(f"_5269._tcp.xmpp.{peer.label}", "TLSA", record)


@scenario("an insecure alias of an SRV record in a secure zone, its target's record matches", zone="insecure.lab",
	dane=UNPROVEN, off=UNPROVEN)
def _(peer):
	insecure_alias_of_srv(peer, [peer.shows().tlsa(3, 1, 1)])


@scenario("an insecure alias of an SRV record in a secure zone, its target's record does not match", zone="insecure.lab",
	dane=by("pkix"), off=by("pkix"))
def _(peer):
	peer.shows(peer.lab.intermediate)
	insecure_alias_of_srv(peer, [MISMATCH[3]])


@scenario("an insecure alias of an SRV record in a secure zone, the certificate names only its target",
	zone="insecure.lab", dane=UNPROVEN, off=UNPROVEN)
def _(peer):
	peer.shows(peer.lab.intermediate, names=[f"DNS:xmpp.{peer.label}.lab"])
	insecure_alias_of_srv(peer, [])
