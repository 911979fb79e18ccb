"""A name server whose zone changes while it runs: Knot, which takes dynamic updates (RFC 2136) with a key of its own
(TSIG, RFC 8945), and signs changes at once.

	server = Dynamic(directory, lab.address(30), zone)
	lab.zone("lab").records += server.ds()
	server.key_file("nsupdate")  # for nsupdate -k
"""
import base64
import os
import pathlib
import subprocess

from nameserver import end, launch, wait_for_answer
from zones import run

UNPACKED = pathlib.Path(__file__).resolve().parents[2] / "build/knot/usr/sbin"
PROGRAMS = UNPACKED if UNPACKED.exists() else pathlib.Path("/usr/sbin")
NOERROR = 0
KEY = "prosody"

CONFIGURATION = """\
server:
    listen: {address}@53
    rundir: {directory}
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
log:
  - target: stderr
    any: info
database:
    storage: {directory}
    journal-db-max-size: 16M
    kasp-db-max-size: 8M
    timer-db-max-size: 1M
    catalog-db-max-size: 5M
key:
  - id: {key}
    algorithm: hmac-sha256
    secret: {secret}
acl:
  - id: update
    key: {key}
    action: update
    update-type: TLSA
policy:
  - id: automatic
    algorithm: ecdsap256sha256
    single-type-signing: on
    cds-cdnskey-publish: none
zone:
  - domain: {zone.name}
    file: {zone.file}
    dnssec-signing: on
    dnssec-policy: automatic
    acl: update
"""
KEY_FILES = {
	"nsupdate": 'key "{key}" {{ algorithm hmac-sha256; secret "{secret}"; }};\n',
	"knsupdate": "hmac-sha256:{key}:{secret}\n",
}


class Dynamic:
	"""Serves a zones.Zone that is not signed yet. It may be killed and started again: an update that it has answered is kept."""

	def __init__(self, directory, address, zone):
		self.directory, self.address, self.zone = directory / f"dynamic-{address}", address, zone
		self.directory.mkdir()
		zone.write(self.directory)
		self.secret = base64.b64encode(os.urandom(32)).decode()
		self.configuration, self.log = self.directory / "knot.conf", self.directory / "log"
		self.configuration.write_text(CONFIGURATION.format(address=address, directory=self.directory, zone=zone,
			key=KEY, secret=self.secret))
		self.start()

	def start(self):
		with open(self.log, "ab") as log:
			self.process = launch([PROGRAMS / "knotd", "-c", self.configuration], self.directory, log)
		try:
			wait_for_answer(self.process, self.address, self.zone.name, NOERROR, self.log)
		except Exception:
			self.stop()
			raise

	def ds(self):
		"""The records for the parent zone."""
		return run(PROGRAMS / "keymgr", "-c", self.configuration, self.zone.name, "ds", cwd=self.directory).splitlines()

	def key_file(self, program):
		"""The key for updates, as this program reads it."""
		file = self.directory / f"{program}.key"
		file.touch(0o600)
		file.write_text(KEY_FILES[program].format(key=KEY, secret=self.secret))
		return file

	def update(self, *lines):
		"""Changes the zone like its administrator: lines of nsupdate(1), "add ..." and "delete ..."."""
		script = "\n".join([f"server {self.address}", *lines, "send", ""])
		done = subprocess.run(["nsupdate", "-k", self.key_file("nsupdate")], input=script, stdout=subprocess.PIPE,
			stderr=subprocess.STDOUT, text=True, check=False)
		if done.returncode:
			raise RuntimeError(f"nsupdate: {done.stdout}")

	def kill(self):
		"""Ends it like a crash."""
		self.process.kill()
		self.process.wait()

	def stop(self):
		end(self.process)
