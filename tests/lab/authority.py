"""Private certificate authorities, and their certificates, created by openssl(1).

	public = Authority(directory, "public")
	certificate = public.issue("alpha", ["DNS:alpha.lab"], days=(-1, 30))
	certificate.tlsa(3, 1, 1)  # "3 1 1 2d711642..."

Keys are ECDSA with P-256, of leaves with rsa=True RSA. Times of validity count from now.
"""
import base64
import datetime
import hashlib
import ssl
import subprocess

OTHER_NAMES = {"SRV": "1.3.6.1.5.5.7.8.7;IA5STRING", "XMPP": "1.3.6.1.5.5.7.8.5;FORMAT:UTF8,UTF8"}
DIGESTS = {0: bytes, 1: lambda data: hashlib.sha256(data).digest(), 2: lambda data: hashlib.sha512(data).digest()}
ECDSA = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")
RSA = ("-newkey", "rsa:2048")

CONFIGURATION = """\
[ca]
default_ca = authority
[authority]
database = {directory}/{name}.index
new_certs_dir = {directory}
default_md = sha256
policy = any
unique_subject = no
rand_serial = yes
email_in_dn = no
[any]
commonName = supplied
[extensions]
{extensions}
[names]
{names}
"""
AUTHORITY = """\
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
"""
# Public authorities issue only for servers, so an incoming peer shows such a certificate, too
SERVER = """\
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = {purpose}
subjectKeyIdentifier = hash
subjectAltName = @names
"""


def openssl(*words, data="", errors=False):
	"""Runs openssl WORDS..., which reads `data`; returns its output, optionally with standard error."""
	done = subprocess.run(["openssl", *map(str, words)], input=data.encode(), stdout=subprocess.PIPE,
		stderr=subprocess.PIPE, check=False)
	if done.returncode:
		raise RuntimeError(f"openssl {words[0]}: {done.stderr.decode(errors='replace')}")
	return done.stdout + (done.stderr if errors else b"")


class Certificate:
	"""A certificate with its key. `file` holds the chain as a server sends it."""

	def __init__(self, directory, name, issuer):
		self.issuer = issuer
		self.key, self.request = directory / f"{name}.key", directory / f"{name}.csr"
		self.alone, self.file = directory / f"{name}.crt", directory / f"{name}.pem"

	def write_chain(self, chain):
		self.file.write_text("".join(each.alone.read_text() for each in (self, *chain)))

	@property
	def der(self):
		return ssl.PEM_cert_to_DER_cert(self.alone.read_text())

	@property
	def public_key(self):
		"""The SubjectPublicKeyInfo, DER. It is before the request."""
		return base64.b64decode(self.request.read_text().split("-----")[2])

	def tlsa(self, usage, selector, match):
		"""The record of this certificate, as in zone files."""
		data = DIGESTS[match](self.public_key if selector else self.der)
		return f"{usage} {selector} {match} {data.hex()}"


class Authority(Certificate):
	"""The certificate of an authority; without an issuer it is self-signed. `constraints` are name constraints, such as
	"permitted;DNS:alpha.lab"."""

	def __init__(self, directory, name, issuer=None, days=(-10, 365), constraints=None):
		super().__init__(directory, name, issuer)
		self.directory = directory
		(directory / f"{name}.index").touch()
		extensions = AUTHORITY + (f"nameConstraints = critical, {constraints}\n" if constraints else "")
		make(self, f"Laboratory's {name}", extensions, [], days, issuer or self)
		self.write_chain([])

	def issue(self, name, names, days=(-1, 30), common_name="server", chain=None, purpose="serverAuth",
			rsa=False):
		"""`names` such as "DNS:alpha.lab", "SRV:_xmpp-server.alpha.lab" and "XMPP:alpha.lab". `chain` is
		sent with the leaf; by default the authorities up to the root, without the root."""
		certificate = Certificate(self.directory, name, self)
		make(certificate, common_name, SERVER.format(purpose=purpose), names, days, self, RSA if rsa else ECDSA)
		certificate.write_chain(self.path() if chain is None else chain)
		return certificate

	def path(self):
		"""The authorities from this one up to the root, without the root."""
		return [self, *self.issuer.path()] if self.issuer else []


def self_signed(directory, name, names, days=(-1, 30), common_name="server"):
	"""A self-signed certificate."""
	certificate = Certificate(directory, name, None)
	(directory / f"{name}.index").touch()
	make(certificate, common_name, SERVER.format(purpose="serverAuth"), names, days, certificate)
	certificate.write_chain([])
	return certificate


def make(certificate, common_name, extensions, names, days, issuer, key=ECDSA):
	"""Creates the key and the certificate."""
	openssl("req", "-new", "-pubkey", *key, "-nodes",
		"-subj", f"/CN={common_name}", "-keyout", certificate.key, "-out", certificate.request)
	configuration = certificate.request.with_suffix(".conf")
	configuration.write_text(CONFIGURATION.format(directory=issuer.key.parent, name=issuer.key.stem,
		extensions=extensions, names="\n".join(alternative(n, name) for n, name in enumerate(names))))
	signer = ["-selfsign"] if issuer is certificate else ["-cert", issuer.alone]
	begin, end = (moment(day) for day in days)
	openssl("ca", "-batch", "-notext", "-config", configuration, "-extensions", "extensions", *signer,
		"-keyfile", issuer.key, "-startdate", begin, "-enddate", end, "-in", certificate.request,
		"-out", certificate.alone)


def alternative(number, name):
	"""A line of openssl's section of alternative names: "DNS.3 = alpha.lab"."""
	kind, value = name.split(":", 1)
	if kind in OTHER_NAMES:
		kind, value = "otherName", f"{OTHER_NAMES[kind]}:{value}"
	return f"{kind}.{number} = {value}"


def moment(days):
	"""A number of days from now, in the format of openssl(1) and dnssec-signzone(8)."""
	then = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=days)
	return then.strftime("%Y%m%d%H%M%SZ")
