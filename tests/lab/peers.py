"""A domain of the laboratory: its records and certificate, and the expected verdicts of the subjects."""
import json

PORT, OTHER_PORT, DIRECT_PORT = 5269, 5299, 5270  # every server listens on them all
MISMATCH = {usage: f"{usage} 1 1 {'00' * 32}" for usage in range(4)}


def by(proof):
	return {"strict": proof, "lax": proof}


REFUSED = by("refused")
UNPROVEN = {"strict": "refused", "lax": "none"}  # according to the policy

scenarios = []


class Scenario:
	"""Keywords, all but the first two optional:

	dane, off	the expected result of its streams with and without DANE: by policy, the proof
		of the peer, or "refused". "none" is accepted without a proof of the
		certificate, by dialback. None: any result that conforms to the invariant
	incoming, incoming_off	the same for incoming streams, if their results differ
	zone, label	the domain's name; the default label is generated
	listed	the domain is in s2s_insecure_domains of the strict, in s2s_secure_domains of the lax
	state	the state of DNS in the log if the peer is accepted and DANE is on: secure, except in an insecure
		zone; for incoming streams the worst of all servers, with `incoming_state`
	says	{direction: regular expression}, if DANE is on: the reason for refusing an outgoing stream, and
		the error that an incoming peer gets
	named_by_srv	its certificate names the target of a secure SRV record, and not the domain
	completed	a record holds the authority that its chain lacks"""

	def __init__(self, title, set_up, dane, off, incoming=None, incoming_off=None, zone="lab", label=None,
			listed=False, state=None, incoming_state=None, says=None, named_by_srv=False, completed=False):
		self.title, self.set_up = title, set_up
		self.label, self.zone = label or f"s{len(scenarios)}", zone
		self.domain = f"{self.label}.{zone}"
		self.listed, self.says = listed, says or {}
		state = state or ("insecure" if zone == "insecure.lab" else "secure")
		self.states = {"outgoing": state, "incoming": incoming_state or state}
		self.named_by_srv, self.completed = named_by_srv, completed
		self.expected = {("outgoing", True): dane, ("incoming", True): incoming or dane,
			("outgoing", False): off, ("incoming", False): incoming_off or off}


class Peer:
	"""The domain of a scenario, configured by its function."""

	def __init__(self, lab, scenario, address):
		self.lab, self.domain, self.label, self.address = lab, scenario.domain, scenario.label, address
		self.zone = lab.zones.get(scenario.zone)
		self.options = {}
		self.certificate, self.has_direct_tls = None, False

	def shows(self, issuer=None, names=None, **settings):
		"""Its certificate, by an authority or self-signed. The domain is its only name by default;
		`names` sets others; see authority.issue for the rest."""
		names = [f"DNS:{self.ascii}"] if names is None else names
		if issuer:
			self.certificate = issuer.issue(f"peer-{self.label}", names, **settings)
		else:
			self.certificate = self.lab.self_signed(f"peer-{self.label}", names, **settings)
		return self.certificate

	@property
	def ascii(self):
		return self.domain.encode("idna").decode()

	def name(self, label):
		"""The full name of a host of this domain."""
		return f"{label}.{self.domain}."

	def relative(self, owner=""):
		"""An owner's name as the zone takes it."""
		return f"{owner}.{self.label}" if owner else self.label

	def add(self, owner, kind, *data):
		self.zone.add(self.relative(owner), kind, *data)

	def srv(self, target, priority=10, port=PORT, service="_xmpp-server"):
		"""An SRV record; the target is a full name."""
		self.add(f"{service}._tcp", "SRV", f"{priority} 0 {port} {target}")

	def tlsa(self, label, records, port=PORT):
		"""TLSA records of a host: (usage, selector, match) of the peer's own certificate, or texts."""
		for record in records:
			text = record if isinstance(record, str) else self.certificate.tlsa(*record)
			self.add(f"_{port}._tcp.{label}", "TLSA", text)

	def target(self, label="xmpp", tlsa=(), priority=10, port=PORT):
		"""An SRV record, its target with an address, and that target's TLSA records."""
		self.srv(self.name(label), priority, port)
		self.add(label, "A", self.address)
		self.tlsa(label, tlsa, port)

	def direct(self, tlsa=()):
		"""A server with direct TLS (XEP-0368), preferred to others."""
		self.has_direct_tls = True
		self.srv(self.name("direct"), 1, DIRECT_PORT, "_xmpps-server")
		self.add("direct", "A", self.address)
		self.tlsa("direct", tlsa, DIRECT_PORT)

	def posh(self, documents, issuer=None, host=None, **settings):
		"""HTTPS at the domain, or at another host: {path: document}. The certificate is issued by the
		public authority for that name, unless `issuer`, `names` or `days` are set."""
		host = host or self.ascii
		names = settings.pop("names", [f"DNS:{host}"])
		certificate = (issuer or self.lab.public).issue(f"web-{host}", names, **settings)
		label, _, zone = host.partition(".")
		self.lab.zone(zone).add(label, "A", self.lab.web_address)
		return self.lab.site(host, certificate, {path: json.dumps(document) for path, document in documents.items()})

	def breaks(self, owner, kind):
		self.zone.break_signature(self.relative(owner), kind)
