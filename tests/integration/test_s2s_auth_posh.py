"""Authentication between servers by documents on the web: PKIX over Secure HTTP, RFC 7711."""
import base64
import hashlib
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lab"))

from play import MISMATCH, REFUSED, UNPROVEN, by, domain, established, on_bed, opened, scenario  # noqa: E402

PATH = "/.well-known/posh/xmpp-server.json"
EXPIRED = (-9, -1)
INSECURE = {"zone": "insecure.lab"}
PROVEN, NOT_PROVEN = {"dane": by("posh"), "off": by("posh")}, {"dane": UNPROVEN, "off": UNPROVEN}
HOUR = 3600
EXPIRING = "posh-expiring.insecure.lab"


def digest(certificate, algorithm="sha-256"):
	data = hashlib.new(algorithm.replace("-", ""), certificate.der).digest()
	return base64.b64encode(data).decode()


def fingerprints(certificate, algorithm="sha-256", expires=HOUR):
	return {"fingerprints": [{algorithm: digest(certificate, algorithm)}], "expires": expires}


def another(peer):
	"""A certificate that the peer does not show."""
	return peer.lab.self_signed(f"another-{peer.label}", [f"DNS:{peer.domain}"])


def referring(peer, document, reference=HOUR, **settings):
	"""The domain's document leads to one at another host, whose certificate has `settings`."""
	host = f"posh-{peer.label}.lab"
	peer.posh({PATH: {"url": f"https://{host}/posh.json", "expires": reference}})
	peer.posh({"/posh.json": document}, host=host, **settings)


# --- The document ---

for name in ("sha-256", "sha-512"):
	@scenario(f"POSH: the document has the certificate's {name}", **PROVEN, **INSECURE)
	def _(peer, algorithm=name):
		peer.posh({PATH: fingerprints(peer.shows(), algorithm)})
		peer.target()


@scenario("POSH: the zone is signed and has no TLSA record", **PROVEN)
def _(peer):
	peer.posh({PATH: fingerprints(peer.shows())})
	peer.target()


@scenario("POSH: an internationalised domain", label="čaj", **PROVEN, **INSECURE)
def _(peer):
	peer.posh({PATH: fingerprints(peer.shows())})
	peer.target()


@scenario("POSH: the document has several certificates' digests", **PROVEN, **INSECURE)
def _(peer):
	document = fingerprints(another(peer))
	document["fingerprints"] += fingerprints(peer.shows())["fingerprints"]
	peer.posh({PATH: document})
	peer.target()


@scenario("POSH: the document has another certificate's digest", **NOT_PROVEN, **INSECURE)
def _(peer):
	peer.shows()
	peer.posh({PATH: fingerprints(another(peer))})
	peer.target()


@scenario("POSH: the web server does not have the document", **NOT_PROVEN, **INSECURE)
def _(peer):
	peer.posh({"/": fingerprints(peer.shows())})
	peer.target()


@scenario("POSH: a document that is too long", **NOT_PROVEN, **INSECURE)
def _(peer):
	peer.posh({PATH: {**fingerprints(peer.shows()), "filler": "x" * 100000}})
	peer.target()


for title, each in {"has expired": 0, "expired long ago": -HOUR, "does not say how long it is good for": None}.items():
	@scenario(f"POSH: a document that {title}", **NOT_PROVEN, **INSECURE)
	def _(peer, expires=each):
		peer.posh({PATH: fingerprints(peer.shows(), expires=expires)})
		peer.target()


# --- The web server ---

@scenario("POSH: the web server's certificate is for another host", **NOT_PROVEN, **INSECURE)
def _(peer):
	peer.posh({PATH: fingerprints(peer.shows())}, names=["DNS:elsewhere.lab"])
	peer.target()


@scenario("POSH: the web server's certificate is not trusted", **NOT_PROVEN, **INSECURE)
def _(peer):
	peer.posh({PATH: fingerprints(peer.shows())}, peer.lab.private)
	peer.target()


@scenario("POSH: the web server's certificate has expired", **NOT_PROVEN, **INSECURE)
def _(peer):
	peer.posh({PATH: fingerprints(peer.shows())}, days=EXPIRED)
	peer.target()


@scenario("POSH: the web server does not answer", **NOT_PROVEN, **INSECURE)
def _(peer):
	peer.shows()
	peer.add("", "A", peer.lab.silent_web_address)
	peer.target()


# --- References ---

@scenario("POSH: the document refers to another host's", **PROVEN, **INSECURE)
def _(peer):
	referring(peer, fingerprints(peer.shows()))
	peer.target()


@scenario("POSH: the document refers to a host whose certificate is for another", **NOT_PROVEN, **INSECURE)
def _(peer):
	referring(peer, fingerprints(peer.shows()), names=[f"DNS:{peer.domain}"])
	peer.target()


@scenario("POSH: a reference that has expired", **NOT_PROVEN, **INSECURE)
def _(peer):
	referring(peer, fingerprints(peer.shows()), reference=0)
	peer.target()


@scenario("POSH: a reference to a document that has expired", **NOT_PROVEN, **INSECURE)
def _(peer):
	referring(peer, fingerprints(peer.shows(), expires=0))
	peer.target()


@scenario("POSH: a reference to a reference", **NOT_PROVEN, **INSECURE)
def _(peer):
	last = f"posh-last-{peer.label}.lab"
	referring(peer, {"url": f"https://{last}/posh.json", "expires": HOUR})
	peer.posh({"/posh.json": fingerprints(peer.shows())}, host=last)
	peer.target()


# --- With other proofs ---

@scenario("POSH: the document proves nothing against a TLSA record", dane=REFUSED, off=by("posh"))
def _(peer):
	peer.posh({PATH: fingerprints(peer.shows())})
	peer.target(tlsa=[MISMATCH[3]])


# --- Its lifetime ---

@domain("posh-expiring", **INSECURE)
def _(peer):
	peer.posh({PATH: fingerprints(peer.shows())})
	peer.target()


def set_clock(server, seconds):
	"""Shifts the clock of the server's Lua code."""
	server.lua(f"""
		os.real_time = os.real_time or os.time
		os.time = function (date) return os.real_time(date) + (date and 0 or {seconds}) end""")


@on_bed("POSH: a document is used until it expires, and requested again then")
def a_document_is_cached_until_it_expires(servers):
	subject = servers.judging = servers.subject("strict", True)
	site = servers.lab.sites[EXPIRING]
	try:
		established(subject, subject.domain, EXPIRING)
		servers.forget(EXPIRING)
		site.documents[PATH] = json.dumps(fingerprints(another(servers.peers[EXPIRING])))
		set_clock(subject, HOUR - 60)
		established(subject, subject.domain, EXPIRING)
		servers.forget(EXPIRING)
		set_clock(subject, HOUR)
		outcome = opened(subject, subject.domain, EXPIRING)
		assert not outcome["established"], outcome
	finally:
		set_clock(subject, 0)
		servers.forget(EXPIRING)
