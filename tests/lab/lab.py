"""A DNSSEC laboratory on loopback: a signed root of its own, name servers, and authorities.

	with Lab(parent) as lab:
		lab.zone("lab").add("alpha", "A", lab.address(10))
		certificate = lab.public.issue("alpha", ["DNS:alpha.lab"])
		lab.start()
		prosody_options = {"unbound": lab.unbound()}

Zones: ".", "lab.", and below it

	expired.lab.	signed, and the signatures have expired
	insecure.lab.	not signed, as signed records of lab. prove
	servfail.lab.	its server answers SERVFAIL
	silent.lab.	its server never answers
"""
import pathlib
import shutil
import tempfile

from authority import Authority, self_signed
from nameserver import Failing, Network, Nsd
from website import Silent, Site, Website
from zones import Zone

# The last numbers of the name servers' addresses. Unsigned zones have a server of their own: resolvers
# consider a server broken that serves signed zones, too, and gives an unsigned answer.
SERVER, FAILING, UNSIGNED, SILENT = 1, 2, 3, 254
WEB = 4  # the web server's; at SILENT no web server answers either

# A short timeout for servers that do not answer: libunbound would retry for half a minute
UNBOUND_OPTIONS = {
	"do-not-query-localhost:": "no",
	"do-ip6:": "no",
	"qname-minimisation:": "no",
	"trust-anchor-signaling:": "no",
	"target-fetch-policy:": "0 0 0 0 0",
	"unknown-server-time-limit:": "1000",
	"infra-cache-min-rtt:": "1000",
	"infra-cache-max-rtt:": "2000",
	"outbound-msg-retry:": "2",
}


class Lab:
	"""All files are in a new directory below `parent`; stop() removes it."""

	def __init__(self, parent):
		parent.mkdir(parents=True, exist_ok=True)
		self.directory = pathlib.Path(tempfile.mkdtemp(prefix="lab-", dir=parent))
		self.servers = []
		self.network = Network()
		self.public = Authority(self.directory, "public")
		self.intermediate = Authority(self.directory, "intermediate", self.public)
		self.private = Authority(self.directory, "private")
		self.for_lab = Authority(self.directory, "for-lab", self.public, constraints="permitted;DNS:lab")
		self.for_another = Authority(self.directory, "for-another", self.public, constraints="permitted;DNS:elsewhere.example")
		self.expired = Authority(self.directory, "expired", self.private, days=(-20, -10))
		self.zones = {}
		self.sites = {}
		self._lay_out()

	def _lay_out(self):
		for name, valid in (("lab", (-1, 30)), ("expired.lab", (-20, -10)), ("insecure.lab", None)):
			self.zones[name] = Zone(name + ".", "ns." if valid else "unsigned.", valid)
		for child, server in (("expired", "ns."), ("insecure", "unsigned."), ("servfail", "failing."), ("silent", "silent.")):
			self.zones["lab"].add(child, "NS", server)
		root = self.zones["root"] = Zone(".")
		root.add("lab.", "NS", "ns.")
		for server, number in (("ns.", SERVER), ("failing.", FAILING), ("unsigned.", UNSIGNED), ("silent.", SILENT)):
			root.add(server, "A", self.address(number))

	def zone(self, name):
		"""The zone of this name, "lab" or "insecure.lab", to add records until start()."""
		return self.zones[name]

	def address(self, number):
		"""An address of the laboratory's network, 127.A.B.`number`; 5 to 253 are free."""
		return self.network.address(number)

	def site(self, host, certificate, documents):
		"""HTTPS as this host, at web_address from start() on; `documents` are {path: text}."""
		self.sites[host] = Site(certificate, documents)
		return self.sites[host]

	@property
	def web_address(self):
		return self.address(WEB)

	@property
	def silent_web_address(self):
		"""An address where HTTPS is never answered."""
		return self.address(SILENT)

	def self_signed(self, name, names, **settings):
		return self_signed(self.directory, name, names, **settings)

	def start(self):
		"""Sign the zones and serve them; call it again after more records."""
		self._stop_servers()
		self.children = self.zones["expired.lab"].write(self.directory) + self.zones["insecure.lab"].write(self.directory)
		top = self.zones["lab"].write(self.directory, self.children)
		anchor = self.zones["root"].write(self.directory, top)
		self.trust_anchor.write_text("\n".join(anchor) + "\n")
		self.root_hints.write_text(f". 3600 IN NS ns.\nns. 3600 IN A {self.address(SERVER)}\n")
		unsigned = self.zones["insecure.lab"]
		self.servers.append(self._serve_signed())
		self.servers.append(Nsd(self.directory, "nsd-unsigned", self.address(UNSIGNED), [unsigned]))
		self.servers.append(Failing(self.address(FAILING)))
		if self.sites:
			self.servers += [Website(self.web_address, self.sites), Silent(self.silent_web_address)]
		return self

	def _serve_signed(self):
		return Nsd(self.directory, "nsd", self.address(SERVER), [zone for zone in self.zones.values() if zone.valid])

	def change_lab(self):
		"""After start(): signs the zone "lab" again, with the same key, and serves it."""
		self.zones["lab"].write(self.directory, self.children)
		self.servers.pop(0).stop()
		self.servers.insert(0, self._serve_signed())

	@property
	def trust_anchor(self):
		return self.directory / "root.ds"

	@property
	def root_hints(self):
		return self.directory / "root.hints"

	def unbound(self):
		"""Prosody's option `unbound`: ask this root, and trust it."""
		return {"resolvconf": False, "hoststxt": False, "trustfile": self.trust_anchor,
			"options": {**UNBOUND_OPTIONS, "root-hints:": self.root_hints}}

	def _stop_servers(self):
		while self.servers:
			self.servers.pop().stop()

	def stop(self):
		self._stop_servers()
		self.network.close()
		shutil.rmtree(self.directory, ignore_errors=True)

	def __enter__(self):
		return self

	def __exit__(self, *_):
		self.stop()
