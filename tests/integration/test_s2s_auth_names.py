"""Authentication between servers by names: matching names of certificates, and the policy for the
others."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lab"))

from play import MISMATCH, REFUSED, UNPROVEN, by, scenario  # noqa: E402

EXCEPTED = {"strict": "none", "lax": "refused"}
EXPIRED = {"outgoing": "certificate has expired", "incoming": r"^not-authorized \(Your server's certificate has expired\)"}


# --- Names in certificates ---

NAMES = {
	"a DNS-ID": "DNS:{}",
	"a DNS-ID in upper case": "DNS:{upper}",
	"an SRV-ID alone": "SRV:_xmpp-server.{}",
	"an XmppAddr alone": "XMPP:{}",
}
OTHER_NAMES = {
	"another domain": "DNS:elsewhere.lab",
	"a subdomain": "DNS:www.{}",
	"an SRV-ID of another service": "SRV:_xmpp-client.{}",
	"an SRV-ID without a service": "SRV:{}",
	"an XmppAddr with a user": "XMPP:admin@{}",
	"a wildcard for a public suffix": "DNS:*.lab",
}


def written(name, peer):
	return name.format(peer.domain, upper=peer.domain.upper())


for title, each in NAMES.items():
	@scenario(f"the certificate names {title}", dane=by("pkix"), off=by("pkix"))
	def _(peer, name=each):
		peer.shows(peer.lab.intermediate, names=[written(name, peer)])
		peer.target()


for title, each in OTHER_NAMES.items():
	@scenario(f"the certificate names {title}", dane=UNPROVEN, off=UNPROVEN)
	def _(peer, name=each):
		peer.shows(peer.lab.intermediate, names=[written(name, peer)])
		peer.target()


@scenario("the common name alone is the domain", dane=UNPROVEN, off=UNPROVEN)
def _(peer):
	peer.shows(peer.lab.intermediate, names=["email:admin@elsewhere.lab"], common_name=peer.domain)
	peer.target()


@scenario("a wildcard for one label", label="one.wild", dane=by("pkix"), off=by("pkix"))
def _(peer):
	peer.shows(peer.lab.intermediate, names=["DNS:*.wild.lab"])
	peer.target()


@scenario("a wildcard does not stand for two labels", label="two.labels.wild", dane=UNPROVEN, off=UNPROVEN)
def _(peer):
	peer.shows(peer.lab.intermediate, names=["DNS:*.wild.lab"])
	peer.target()


@scenario("an internationalised domain, named in A-labels", label="bücher", dane=by("pkix"), off=by("pkix"))
def _(peer):
	peer.shows(peer.lab.intermediate)
	peer.target()


@scenario("an internationalised domain, named by an XmppAddr", label="žluťoučký", dane=by("pkix"), off=by("pkix"))
def _(peer):
	peer.shows(peer.lab.intermediate, names=[f"XMPP:{peer.domain}"])
	peer.target()


@scenario("an internationalised domain with DANE-EE", label="ελλάδα", dane=by("dane-ee"), off=UNPROVEN)
def _(peer):
	peer.shows()
	peer.target(tlsa=[(3, 1, 1)])


@scenario("an internationalised domain, named by an XmppAddr in upper case", label="müller", dane=by("pkix"), off=by("pkix"))
def _(peer):
	peer.shows(peer.lab.intermediate, names=[f"XMPP:{peer.domain.upper()}"])
	peer.target()


# --- Authorities with name constraints ---

NOT_VALID = "certificate is not valid for this name: a name constraint of an authority forbids it"
FORBIDDEN = {"outgoing": NOT_VALID, "incoming": rf"^not-authorized \(Your server's {NOT_VALID}"}
FORBIDDEN_BY_OPENSSL = {direction: "certificate has a name that a name constraint of an authority forbids"
	for direction in FORBIDDEN}

for title, each in NAMES.items():
	@scenario(f"an authority for this domain, the certificate names {title}", dane=by("pkix"), off=by("pkix"))
	def _(peer, name=each):
		peer.shows(peer.lab.for_lab, names=[written(name, peer)])
		peer.target()

	@scenario(f"an authority for another domain, the certificate names {title}", dane=UNPROVEN, off=UNPROVEN,
		says=FORBIDDEN_BY_OPENSSL if each.startswith("DNS") else FORBIDDEN)
	def _(peer, name=each):
		peer.shows(peer.lab.for_another, names=[written(name, peer)])
		peer.target()


# --- The policy without DNSSEC ---

@scenario("a valid certificate without DNSSEC", zone="insecure.lab", dane=by("pkix"), off=by("pkix"))
def _(peer):
	peer.shows(peer.lab.intermediate)
	peer.target()


@scenario("a self-signed certificate without DNSSEC", zone="insecure.lab", dane=UNPROVEN, off=UNPROVEN)
def _(peer):
	peer.shows()
	peer.target()


@scenario("an unknown authority without DNSSEC", zone="insecure.lab", dane=UNPROVEN, off=UNPROVEN)
def _(peer):
	peer.shows(peer.lab.private, chain=[peer.lab.private])
	peer.target()


@scenario("an expired certificate without DNSSEC", zone="insecure.lab", dane=UNPROVEN, off=UNPROVEN, says=EXPIRED)
def _(peer):
	peer.shows(peer.lab.intermediate, days=(-9, -1))
	peer.target()


@scenario("an authority missing in the chain", zone="insecure.lab", dane=UNPROVEN, off=UNPROVEN)
def _(peer):
	peer.shows(peer.lab.intermediate, chain=[])
	peer.target()


@scenario("an excepted domain with a self-signed certificate", zone="insecure.lab", listed=True,
	dane=EXCEPTED, off=EXCEPTED)
def _(peer):
	peer.shows()
	peer.target()


@scenario("an excepted domain with a valid certificate", zone="insecure.lab", listed=True, dane=by("pkix"), off=by("pkix"))
def _(peer):
	peer.shows(peer.lab.intermediate)
	peer.target()


@scenario("an excepted domain whose TLSA record does not match", listed=True, dane=REFUSED, off=EXCEPTED)
def _(peer):
	peer.shows()
	peer.target(tlsa=[MISMATCH[3]])
