"""DNS zones: written, signed by dnssec-signzone(8), and optionally broken.

	zone = Zone("lab.")
	zone.add("alpha", "A", "127.0.0.1")
	zone.break_signature("alpha", "A")
	zone.write(directory)

Owners are relative to the zone, "" is its top. Names may be in Unicode.
"""
import shutil
import subprocess

from authority import moment

TTL = 60


def run(*words, cwd):
	done = subprocess.run(list(map(str, words)), cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
		stderr=subprocess.PIPE, text=True, check=False)
	if done.returncode:
		raise RuntimeError(f"{words[0]}: {done.stderr}")
	return done.stdout


def ascii_name(name):
	"""A domain name in A-labels; labels such as "_tcp" and "*" stay as they are."""
	return ".".join(label if label.isascii() else label.encode("idna").decode() for label in name.split("."))


class Zone:
	"""A zone with its records. `valid` is the validity of its signatures, in days from now; None leaves the
	zone unsigned, and its parent proves it."""

	def __init__(self, name, server="ns.", valid=(-1, 30)):
		self.name, self.valid = name, valid
		self.records, self.broken, self.key = [], [], None
		self.add("", "SOA", f"{server} hostmaster. 1 3600 600 86400 {TTL}")
		self.add("", "NS", server)

	def owner(self, relative):
		return ascii_name(f"{relative}.{self.name}" if relative and self.name != "." else relative or self.name)

	def add(self, owner, kind, *data):
		"""A record for each of `data`."""
		self.records += [f"{self.owner(owner)} {TTL} IN {kind} {ascii_name(each)}" for each in data]

	def break_signature(self, owner, kind):
		"""The signature of these records will be invalid."""
		self.broken.append((self.owner(owner).lower(), kind))

	def write(self, directory, children=()):
		"""Writes the zone for a name server, with its children's DS records; returns its own."""
		self.file = directory / f"zone-{self.name.rstrip('.') or 'root'}"
		self.file.write_text("\n".join([*self.records, *children]) + "\n")
		return self._sign(directory) if self.valid else []

	def _sign(self, directory):
		keys = directory / f"{self.file.name}.keys"
		if not self.key:  # otherwise it is signed again, and the caches of resolvers stay valid
			shutil.rmtree(keys, ignore_errors=True)
			keys.mkdir()
			self.key = run("dnssec-keygen", "-q", "-K", keys, "-f", "KSK", "-a", "ECDSAP256SHA256", self.name, cwd=directory).strip()
		signed = self.file.with_suffix(".signed")
		with open(self.file, "a", encoding="ascii") as file:
			file.write((keys / f"{self.key}.key").read_text())
		begin, end = (moment(day).rstrip("Z") for day in self.valid)
		run("dnssec-signzone", "-q", "-z", "-P", "-O", "full", "-o", self.name, "-s", begin, "-e", end, "-f", signed,
			self.file, keys / self.key, cwd=keys)
		lines = signed.read_text().splitlines(keepends=True)
		self.file.write_text("".join(map(self._spoil, lines)))
		missing = set(self.broken) - {self._signed(line) for line in lines}
		if missing:
			raise RuntimeError(f"there is no signature to break: {missing}")
		return (keys / f"dsset-{self.name}").read_text().splitlines()

	@staticmethod
	def _signed(line):
		"""The owner and the type that a signature line is for, or None."""
		fields = line.split()
		return (fields[0].lower(), fields[4]) if fields[3:4] == ["RRSIG"] else None

	def _spoil(self, line):
		"""The signature of broken records with its first letter changed."""
		if self._signed(line) not in self.broken:
			return line
		fields = line.split()
		signature = "".join(fields[12:])
		changed = ("B" if signature[0] == "A" else "A") + signature[1:]
		return " ".join([*fields[:12], changed]) + "\n"
