"""A Prosody in the DNSSEC laboratory whose certificates are renewed: prosodyctl mod_certs renew publishes records with a program
that asks the test to change the zone."""
import base64
import hashlib
import json
import re
import socket
import ssl
import subprocess
import threading
import time

import bed
import suite
import test_certs_check
from certsite import shut, tool

HOST = "good.lab"
TTL = 60
# Timeout of the laboratory for servers that never answer. Here all answer, but late on a busy machine.
IMPATIENT = ["unknown-server-time-limit:", "infra-cache-min-rtt:", "infra-cache-max-rtt:", "outbound-msg-retry:"]
TIME_LIMIT = suite.tries(300, 2000)  # each call examines all name servers and listeners, several times
COMMAND = """\
#!/usr/bin/python3
import socket, sys
conn = socket.socket(socket.AF_UNIX)
conn.connect({path!r})
conn.sendall(sys.stdin.buffer.read())
conn.shutdown(socket.SHUT_WR)
answer = b""
while data := conn.recv(4096):
	answer += data
status, text = answer.decode().split(" ", 1)
print(text)
sys.exit(int(status))
"""


class Publisher(threading.Thread):
	"""Answers the program of certs_dns_command. `handle` gets the lines, and returns status and text."""

	def __init__(self, directory, handle):
		super().__init__(daemon=True)
		self.path, self.handle, self.requests = directory / "publisher", handle, []
		self.command = directory / "publish"
		self.command.write_text(COMMAND.format(path=str(self.path)))
		self.command.chmod(0o755)
		self.socket = socket.socket(socket.AF_UNIX)
		self.socket.bind(str(self.path))
		self.socket.listen()
		self.start()

	def run(self):
		while True:
			try:
				conn, _ = self.socket.accept()
			except OSError:  # it has been shut down
				return
			with conn:
				self._answer(conn)

	def _answer(self, conn):
		request = b""
		while data := conn.recv(4096):
			request += data
		lines = request.decode().splitlines()
		self.requests.append(lines)
		status, text = self.handle(lines)
		try:
			conn.sendall(f"{status} {text}".encode())
		except OSError:  # the program has been killed
			pass

	def stop(self):
		shut(self.socket)
		self.join()
		self.socket.close()


class Site(test_certs_check.Site):
	"""good.lab is published and served; `old` is its certificate. pass_time() simulates the passing of time; `history` has the TLSA
	records with their times, because peers may have those of the last TTL seconds in their caches."""

	def __init__(self, version):
		super().__init__(version)
		self.web = bed.Port()
		self.modules += ["http", "bosh"]
		self.options["https_ports"] = [self.web.number]
		self.options["https_interfaces"] = [self.address]
		self.publisher = Publisher(self.directory, self.apply)
		self.options["certs_dns_command"] = self.publisher.command
		for option in IMPATIENT:
			del self.options["unbound"]["options"][option]
		self.old = self.good()
		self.passed, self.history = 0, []

	def go(self):
		super().go()
		self.history = [(0, self.published())]
		return self

	def discard(self):
		self.publisher.stop()
		self.web.socket.close()
		super().discard()

	# --- DNS ---

	def apply(self, lines):
		"""Adds and deletes TLSA records of the zone, on request."""
		zone = self.lab.zone("lab")
		for line in lines:
			action, name, ttl, kind, data = line.split(" ", 4)
			assert action in ("add", "delete") and kind == "TLSA" and int(ttl) == TTL and name.endswith(".lab."), line
			record = f"{name} {TTL} IN TLSA {data}"
			if record in zone.records:
				zone.records.remove(record)
			if action == "add":
				zone.records.append(record)
		self.change_dns()
		return 0, "done"

	def change_dns(self):
		self.lab.change_lab()
		self.history.append((self.now(), self.published()))

	def republish(self, *tlsa):
		"""Replaces the records, as an operator does."""
		zone = self.lab.zone("lab")
		zone.records = [record for record in zone.records if " TLSA " not in record]
		for port in self.places:
			zone.add(f"_{port}._tcp.xmpp.good", "TLSA", *tlsa)
		self.change_dns()

	def published(self):
		"""The TLSA records, {"3 1 1 ..."}, which are the same at every port."""
		found = {}
		for record in self.lab.zone("lab").records:
			name, _, _, kind, data = record.split(" ", 4)
			if kind == "TLSA":
				found.setdefault(name, set()).add(data)
		assert set(found) == {f"_{port}._tcp.xmpp.{HOST}." for port in self.places}, found
		first = next(iter(found.values()))
		assert all(each == first for each in found.values()), found
		return first

	# --- files ---

	def file(self, suffix=".crt", host=HOST):
		return self.directory / f"certs/{host}{suffix}"

	def files(self):
		"""SHA-256 of Prosody's certificate. The key must match it."""
		certificate, key = self.file(), self.file(".key")
		public = [subprocess.run(["openssl", *words], check=True, stdout=subprocess.PIPE).stdout
			for words in (["x509", "-in", certificate, "-noout", "-pubkey"], ["pkey", "-in", key, "-pubout"])]
		assert public[0] == public[1], "certificate and key do not belong together"
		return fingerprint(certificate.read_text())

	@property
	def slot(self):
		return self.directory / "data/mod_certs/renew" / f"{HOST}.crt"

	def now(self):
		return time.time() + self.passed

	def pass_time(self, seconds):
		"""Moves the times of observations back."""
		self.passed += seconds
		for path in [*(self.directory / "data/mod_certs").glob("rollover-*.json"), self.slot / "state.json"]:
			if path.exists():
				path.write_text(json.dumps(earlier(json.loads(path.read_text()), seconds)))

	# --- served certificates ---

	def chains(self):
		"""The certificate of each port, with STARTTLS, direct TLS and HTTPS, as PEM."""
		found = {self.port: starttls(self.address, self.port, "xmpp"),
			self.s2s_port: starttls(self.address, self.s2s_port, "xmpp-server")}
		return {**found, **{port: direct(self.address, port) for port in (self.http_port, self.component_port, self.web.number)}}

	def served(self):
		"""SHA-256 of the certificates that are served."""
		return set(map(fingerprint, self.chains().values()))

	def served_records(self):
		"""The record 3 1 1 of each port's certificate."""
		chains = self.chains()
		records = {pem: record_of(pem) for pem in map(leaf, chains.values())}
		return {port: records[leaf(pem)] for port, pem in chains.items()}

	def cached(self):
		"""The sets of records that peers may have now."""
		begins = [begin for begin, _ in self.history]
		return [records for (_, records), end in zip(self.history, [*begins[1:], float("inf")]) if end > self.now() - TTL]

	def assert_peers(self):
		"""A peer that connects now, with any TLSA records in its cache, accepts the certificate."""
		for port, record in self.served_records().items():
			for records in self.cached():
				assert record in records, (port, record, records, self.history)

	def everything(self):
		"""The state that a dry run must not change: every file with its inode, content and times, and DNS."""
		paths = sorted(path for name in ("certs", "data") for path in (self.directory / name).rglob("*"))
		seen = [(str(path), path.lstat().st_ino, path.lstat().st_mtime_ns, path.lstat().st_mode,
			path.read_bytes() if path.is_file() else None) for path in paths]
		return seen, sorted(self.lab.zone("lab").records)

	def renew(self, *words, status=0, **settings):
		"""The only report of renew WORDS --json."""
		output = tool(self, "renew", *words, "--json", **settings)
		assert output.status == status, output
		if self.process.poll() is None:
			self.assert_peers()
		found = json.loads(output.out)["renewals"]
		assert len(found) == 1, output
		return found[0]

	def hand_in(self, certificate, *words, status=0):
		return self.renew(HOST, "--new", certificate.file, "--key", certificate.key, *words, status=status)


def earlier(value, seconds, is_time=False):
	"""JSON with the times of observations and requests moved back."""
	if isinstance(value, dict):
		return {key: earlier(each, seconds, key in ("since", "seen", "sent") or is_time) for key, each in value.items()}
	return max(0, value - seconds) if is_time and isinstance(value, int) else value


def leaf(pem):
	return re.search("-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", pem, re.S)[0]


def fingerprint(pem):
	return hashlib.sha256(ssl.PEM_cert_to_DER_cert(leaf(pem))).hexdigest()


def record_of(pem):
	public = subprocess.run(["openssl", "x509", "-noout", "-pubkey"], input=pem.encode(), stdout=subprocess.PIPE, check=True).stdout
	return "3 1 1 " + hashlib.sha256(base64.b64decode(public.decode().split("-----")[2])).hexdigest()


def starttls(address, port, kind):
	done = subprocess.run(["openssl", "s_client", "-connect", f"{address}:{port}", "-starttls", kind, "-xmpphost", HOST,
		"-servername", HOST], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, timeout=20,
		check=False)
	return done.stdout


def direct(address, port):
	context = ssl.create_default_context()
	context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
	with socket.create_connection((address, port), timeout=20) as conn:
		with context.wrap_socket(conn, server_hostname=HOST) as secure:
			return ssl.DER_cert_to_PEM_cert(secure.getpeercert(True))


def behaviour(name, once=True):
	return suite.on_versions(f"certificate renewal: {name}", lambda version, _: Site(version), once=once, time_limit=TIME_LIMIT)
