"""Authentication between servers by TLSA records: every usage, usable records, and their priority."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lab"))

from play import MISMATCH, REFUSED, UNPROVEN, by, scenario  # noqa: E402

EXPIRED, NOT_YET_VALID = (-9, -1), (1, 30)  # days from now
COMPLAINT = {"outgoing": "does not match any DANE TLSA records",
	"incoming": r"^not-authorized \(Your server's certificate does not match any DANE TLSA records\)"}


# --- DANE-EE: only the key counts ---

@scenario("DANE-EE matches, names are unrelated", dane=by("dane-ee"), off=UNPROVEN)
def _(peer):
	peer.shows(peer.lab.private, names=["DNS:elsewhere.example"])
	peer.target(tlsa=[(3, 1, 1)])


@scenario("DANE-EE matches, the certificate has expired", dane=by("dane-ee"), off=UNPROVEN)
def _(peer):
	peer.shows(peer.lab.intermediate, days=EXPIRED)
	peer.target(tlsa=[(3, 1, 1)])


@scenario("DANE-EE matches, the certificate is not yet valid", dane=by("dane-ee"), off=UNPROVEN)
def _(peer):
	peer.shows(peer.lab.intermediate, days=NOT_YET_VALID)
	peer.target(tlsa=[(3, 1, 1)])


@scenario("DANE-EE matches a self-signed certificate", dane=by("dane-ee"), off=UNPROVEN)
def _(peer):
	peer.shows()
	peer.target(tlsa=[(3, 1, 1)])


@scenario("DANE-EE matches a valid certificate", dane=by("dane-ee"), off=by("pkix"))
def _(peer):
	peer.shows(peer.lab.intermediate)
	peer.target(tlsa=[(3, 1, 1)])


for selector in (0, 1):
	for match in (0, 1, 2):
		@scenario(f"DANE-EE with selector {selector} and matching type {match}", dane=by("dane-ee"), off=UNPROVEN)
		def _(peer, record=(3, selector, match)):
			peer.shows()
			peer.target(tlsa=[record])


@scenario("DANE-EE does not match a valid certificate", dane=REFUSED, off=by("pkix"), says=COMPLAINT)
def _(peer):
	peer.shows(peer.lab.intermediate)
	peer.target(tlsa=[MISMATCH[3]])


@scenario("DANE-EE does not match a self-signed certificate", dane=REFUSED, off=UNPROVEN, says=COMPLAINT)
def _(peer):
	peer.shows()
	peer.target(tlsa=[MISMATCH[3]])


# --- DANE-TA: an authority named by DNS ---

@scenario("DANE-TA 2 0 1, the certificate names the service domain", dane=by("dane-ta"), off=UNPROVEN)
def _(peer):
	peer.shows(peer.lab.private, chain=[peer.lab.private])
	peer.target(tlsa=[peer.lab.private.tlsa(2, 0, 1)])


@scenario("DANE-TA 2 1 1, the certificate names the target of a secure SRV record", dane=by("dane-ta"), off=UNPROVEN)
def _(peer):
	peer.shows(peer.lab.private, names=[f"DNS:xmpp.{peer.domain}"], chain=[peer.lab.private])
	peer.target(tlsa=[peer.lab.private.tlsa(2, 1, 1)])


@scenario("DANE-TA with the authority absent from the chain", dane=REFUSED, off=UNPROVEN)
def _(peer):
	peer.shows(peer.lab.private, chain=[])
	peer.target(tlsa=[peer.lab.private.tlsa(2, 0, 1)])


@scenario("DANE-TA, the certificate names another domain", dane=REFUSED, off=UNPROVEN)
def _(peer):
	peer.shows(peer.lab.private, names=["DNS:elsewhere.example"], chain=[peer.lab.private])
	peer.target(tlsa=[peer.lab.private.tlsa(2, 0, 1)])


@scenario("DANE-TA, the certificate has expired", dane=REFUSED, off=UNPROVEN)
def _(peer):
	peer.shows(peer.lab.private, chain=[peer.lab.private], days=EXPIRED)
	peer.target(tlsa=[peer.lab.private.tlsa(2, 0, 1)])


@scenario("DANE-TA does not match the leaf", dane=REFUSED, off=UNPROVEN)
def _(peer):
	peer.shows()
	peer.target(tlsa=[(2, 0, 1)])


# --- PKIX-TA and PKIX-EE: a further constraint ---

@scenario("PKIX-TA matches an authority of the chain", dane=by("pkix-ta"), off=by("pkix"))
def _(peer):
	peer.shows(peer.lab.intermediate)
	peer.target(tlsa=[peer.lab.intermediate.tlsa(0, 0, 1)])


@scenario("PKIX-TA names another authority", dane=REFUSED, off=by("pkix"))
def _(peer):
	peer.shows(peer.lab.intermediate)
	peer.target(tlsa=[peer.lab.private.tlsa(0, 0, 1)])


@scenario("PKIX-TA matches an untrusted authority", dane=REFUSED, off=UNPROVEN)
def _(peer):
	peer.shows(peer.lab.private, chain=[peer.lab.private])
	peer.target(tlsa=[peer.lab.private.tlsa(0, 0, 1)])


@scenario("PKIX-EE matches", dane=by("pkix-ee"), off=by("pkix"))
def _(peer):
	peer.shows(peer.lab.intermediate)
	peer.target(tlsa=[(1, 1, 1)])


@scenario("PKIX-EE matches an untrusted certificate", dane=REFUSED, off=UNPROVEN)
def _(peer):
	peer.shows()
	peer.target(tlsa=[(1, 1, 1)])


@scenario("PKIX-EE matches, the certificate has expired", dane=REFUSED, off=UNPROVEN)
def _(peer):
	peer.shows(peer.lab.intermediate, days=EXPIRED)
	peer.target(tlsa=[(1, 1, 1)])


@scenario("PKIX-EE matches, the certificate is not yet valid", dane=REFUSED, off=UNPROVEN)
def _(peer):
	peer.shows(peer.lab.intermediate, days=NOT_YET_VALID)
	peer.target(tlsa=[(1, 1, 1)])


@scenario("PKIX-EE matches, the certificate names another domain", dane=REFUSED, off=UNPROVEN)
def _(peer):
	peer.shows(peer.lab.intermediate, names=["DNS:elsewhere.example"])
	peer.target(tlsa=[(1, 1, 1)])


# --- A record matches, but the certificate is invalid ---

def refusal(cause):
	"""The error of an outgoing stream, and the error that a peer gets."""
	text = f"certificate matches a DANE TLSA record, but {cause}"
	return {"outgoing": f"server's {text}", "incoming": rf"^not-authorized \(Your server's {text}\)"}


@scenario("DANE-TA matches, the certificate's purpose is another", dane=REFUSED, off=UNPROVEN,
	says=refusal("its purpose does not allow it"))
def _(peer):
	peer.shows(peer.lab.private, chain=[peer.lab.private], purpose="clientAuth")
	peer.target(tlsa=[peer.lab.private.tlsa(2, 0, 1)])


@scenario("DANE-TA matches, the authority has expired", dane=REFUSED, off=UNPROVEN,
	says=refusal("an authority of its chain has expired"))
def _(peer):
	peer.shows(peer.lab.expired, chain=[peer.lab.expired])
	peer.target(tlsa=[peer.lab.expired.tlsa(2, 0, 1)])


@scenario("DANE-TA matches, the authority is for another domain", dane=REFUSED, off=UNPROVEN,
	says=refusal("a name constraint of an authority forbids it"))
def _(peer):
	peer.shows(peer.lab.for_another)
	peer.target(tlsa=[peer.lab.for_another.tlsa(2, 0, 1)])


@scenario("DANE-TA matches, the authority is for another domain than the SRV-ID's", dane=REFUSED, off=UNPROVEN,
	says=refusal("a name constraint of an authority forbids it"))
def _(peer):
	peer.shows(peer.lab.for_another, names=[f"SRV:_xmpp-server.{peer.domain}"])
	peer.target(tlsa=[peer.lab.for_another.tlsa(2, 0, 1)])


@scenario("PKIX-EE matches, the certificate is self-signed", dane=REFUSED, off=UNPROVEN,
	says=refusal("its chain does not lead to a trusted authority"))
def _(peer):
	peer.shows()
	peer.target(tlsa=[(1, 1, 1)])


@scenario("PKIX-TA matches, the certificate names another domain", dane=REFUSED, off=UNPROVEN,
	says=refusal("it is not valid for this name"))
def _(peer):
	peer.shows(peer.lab.intermediate, names=["DNS:elsewhere.example"])
	peer.target(tlsa=[peer.lab.intermediate.tlsa(0, 0, 1)])


# --- PKIX-TA with the authority in the record ---

@scenario("PKIX-TA holds the authority that is not sent", dane=by("pkix-ta"), off=UNPROVEN, completed=True)
def _(peer):
	peer.shows(peer.lab.intermediate, chain=[])
	peer.target(tlsa=[peer.lab.intermediate.tlsa(0, 0, 0)])


@scenario("PKIX-TA holds the authority that is not sent, the certificate has expired", dane=REFUSED, off=UNPROVEN)
def _(peer):
	peer.shows(peer.lab.intermediate, chain=[], days=EXPIRED)
	peer.target(tlsa=[peer.lab.intermediate.tlsa(0, 0, 0)])


@scenario("PKIX-TA has only the digest of the authority that is not sent", dane=REFUSED, off=UNPROVEN, says=COMPLAINT)
def _(peer):
	peer.shows(peer.lab.intermediate, chain=[])
	peer.target(tlsa=[peer.lab.intermediate.tlsa(0, 0, 1)])


# --- Several records ---

@scenario("one of two DANE-EE records matches", dane=by("dane-ee"), off=UNPROVEN)
def _(peer):
	peer.shows()
	peer.target(tlsa=[MISMATCH[3], (3, 1, 1)])


@scenario("DANE-EE does not match, PKIX-EE does", dane=by("pkix-ee"), off=by("pkix"))
def _(peer):
	peer.shows(peer.lab.intermediate)
	peer.target(tlsa=[MISMATCH[3], (1, 1, 1)])


@scenario("fifty records, one matches", dane=by("dane-ee"), off=UNPROVEN)
def _(peer):
	peer.shows()
	peer.target(tlsa=[*(f"3 1 1 {n:064x}" for n in range(49)), (3, 1, 1)])


@scenario("fifty records, none matches", dane=REFUSED, off=by("pkix"))
def _(peer):
	peer.shows(peer.lab.intermediate)
	peer.target(tlsa=[f"3 1 1 {n:064x}" for n in range(50)])


@scenario("twenty targets, each has the record", dane=by("dane-ee"), off=UNPROVEN)
def _(peer):
	peer.shows()
	for n in range(20):
		peer.target(f"xmpp{n}", tlsa=[(3, 1, 1)])


@scenario("twenty targets, whose records do not match", dane=REFUSED, off=by("pkix"))
def _(peer):
	peer.shows(peer.lab.intermediate)
	for n in range(20):
		peer.target(f"xmpp{n}", tlsa=[MISMATCH[3]])


@scenario("SHA-512 matches, SHA-256 of the same kind does not", dane=by("dane-ee"), off=UNPROVEN)
def _(peer):
	peer.shows()
	peer.target(tlsa=[MISMATCH[3], (3, 1, 2)])


@scenario("SHA-256 matches, SHA-512 of the same kind does not", dane=REFUSED, off=UNPROVEN)
def _(peer):
	peer.shows()
	peer.target(tlsa=[f"3 1 2 {'00' * 64}", (3, 1, 1)])


@scenario("SHA-256 matches, SHA-512 of another selector does not", dane=by("dane-ee"), off=UNPROVEN)
def _(peer):
	peer.shows()
	peer.target(tlsa=[f"3 0 2 {'00' * 64}", (3, 1, 1)])


@scenario("the whole key matches, SHA-512 does not", dane=by("dane-ee"), off=UNPROVEN)
def _(peer):
	peer.shows()
	peer.target(tlsa=[f"3 1 2 {'00' * 64}", (3, 1, 0)])


# --- Unusable records ---

UNUSABLE = {
	"an unknown usage": f"4 1 1 {'00' * 32}",
	"an unknown selector": f"3 2 1 {'00' * 32}",
	"an unknown matching type": f"3 1 3 {'00' * 32}",
	"a digest that is too short": f"3 1 1 {'00' * 31}",
	"a digest that is too long": f"3 1 1 {'00' * 33}",
	"an invalid certificate": "3 0 0 30820000",
}

for what, unusable in UNUSABLE.items():
	@scenario(f"a record with {what} is ignored", dane=by("pkix"), off=by("pkix"))
	def _(peer, record=unusable):
		peer.shows(peer.lab.intermediate)
		peer.target(tlsa=[record])


@scenario("ignored records prove nothing", dane=UNPROVEN, off=UNPROVEN)
def _(peer):
	peer.shows()
	peer.target(tlsa=UNUSABLE.values())


@scenario("malformed records beside one that matches", dane=by("dane-ee"), off=UNPROVEN)
def _(peer):
	peer.shows()
	peer.target(tlsa=[*UNUSABLE.values(), (3, 1, 1)])


@scenario("malformed records beside one that does not match", dane=REFUSED, off=by("pkix"))
def _(peer):
	peer.shows(peer.lab.intermediate)
	peer.target(tlsa=[*UNUSABLE.values(), MISMATCH[3]])


# --- Without TLS ---

NO_TLS = {"modules_disabled": ["tls"]}


@scenario("no TLS where a usable record exists", dane=REFUSED, off=UNPROVEN)
def _(peer):
	peer.shows()
	peer.options = NO_TLS
	peer.target(tlsa=[(3, 1, 1)])


@scenario("no TLS and no record", dane=UNPROVEN, off=UNPROVEN)
def _(peer):
	peer.shows()
	peer.options = NO_TLS
	peer.target()


@scenario("no TLS and only unusable records", dane=UNPROVEN, off=UNPROVEN)
def _(peer):
	peer.shows()
	peer.options = NO_TLS
	peer.target(tlsa=UNUSABLE.values())
