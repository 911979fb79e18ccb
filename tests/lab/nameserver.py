"""The name servers of the laboratory, each on an address of 127.A.B.0/24: NSD with the zones, one
that answers SERVFAIL, and one that never answers. Their port is 53, which only root or a
user with the capability may bind: libunbound uses no other port for delegations."""
import ctypes
import errno
import os
import pathlib
import random
import signal
import socket
import struct
import subprocess
import threading
import time

UNPACKED_NSD = pathlib.Path(__file__).resolve().parents[2] / "build/nsd/usr/sbin/nsd"
NSD = UNPACKED_NSD if UNPACKED_NSD.exists() else "/usr/sbin/nsd"
DNS_PORT = 53
START_TIMEOUT = 10
SERVFAIL, REFUSED, SOA = 2, 5, 6

CONFIGURATION = """\
server:
	ip-address: {address}
	port: 53
	server-count: 1
	username: ""
	zonesdir: "{directory}"
	pidfile: "{directory}/{name}.pid"
	zonelistfile: "{directory}/{name}.zones"
	xfrdfile: ""
	xfrdir: "{directory}"
	logfile: "{directory}/{name}.log"
	database: ""
	rrl-ratelimit: 0
remote-control:
	control-enable: no
"""
ZONE = """\
zone:
	name: "{name}"
	zonefile: "{file}"
"""


class Network:
	"""127.A.B.0/24, for one run alone: A and B are random, and the last address's DNS port is reserved.
	Questions to it never get an answer."""

	def __init__(self):
		while True:
			self.prefix = f"127.{random.randrange(64, 192)}.{random.randrange(256)}"
			self.silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
			try:
				self.silent.bind((self.address(254), DNS_PORT))
				return
			except OSError as error:
				self.silent.close()
				if error.errno != errno.EADDRINUSE:
					raise

	def address(self, number):
		return f"{self.prefix}.{number}"

	def close(self):
		self.silent.close()


class Failing:
	"""Answers every question with SERVFAIL."""

	def __init__(self, address):
		self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
		self.socket.bind((address, DNS_PORT))
		self.thread = threading.Thread(target=self._serve, daemon=True)
		self.thread.start()

	def _serve(self):
		while True:
			query, sender = self.socket.recvfrom(4096)
			if not sender:  # the socket has been shut down
				return
			self.socket.sendto(refusal(query), sender)

	def stop(self):
		try:
			self.socket.shutdown(socket.SHUT_RDWR)
		except OSError:  # it has no peer, which is reported after the shutdown
			pass
		self.thread.join()
		self.socket.close()


def refusal(query):
	"""The question, sent back with QR and RCODE set, without its additional records."""
	end = 12
	while query[end]:
		end += query[end] + 1
	end += 5
	flags = struct.unpack("!H", query[2:4])[0] | 0x8000 | SERVFAIL
	return query[:2] + struct.pack("!5H", flags, 1, 0, 0, 0) + query[12:end]


class Nsd:
	"""NSD with signed and unsigned zones. There is no control socket."""

	def __init__(self, directory, name, address, zones):
		self.address = address
		self.log = directory / f"{name}.log"
		configuration = directory / f"{name}.conf"
		configuration.write_text(CONFIGURATION.format(address=address, directory=directory, name=name)
			+ "".join(ZONE.format(name=zone.name, file=zone.file) for zone in zones))
		self.process = launch([NSD, "-d", "-c", configuration], directory)
		try:
			wait_for_answer(self.process, address, ".", REFUSED, self.log)
		except Exception:
			self.stop()
			raise

	def stop(self):
		end(self.process)


def launch(command, directory, log=subprocess.DEVNULL):
	"""Starts a name server. It runs as the caller; as root it keeps only the capability
	to bind its port."""
	if os.geteuid() == 0:
		only = "-all,+net_bind_service"
		command = ["setpriv", f"--bounding-set={only}", f"--inh-caps={only}", *command]
	return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=directory,
		preexec_fn=end_with_parent)


def wait_for_answer(process, address, zone, worst, log):
	"""Waits until the server answers a query for a zone's SOA record with a code up to `worst`."""
	question = labels(zone) + struct.pack("!2H", SOA, 1)
	deadline = time.monotonic() + START_TIMEOUT
	with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
		client.connect((address, DNS_PORT))
		client.settimeout(0.05)
		while time.monotonic() < deadline and process.poll() is None:
			try:
				client.send(struct.pack("!6H", 1, 0, 1, 0, 0, 0) + question)
				if client.recv(4096)[3] & 0x0f <= worst:
					return
				time.sleep(0.01)
			except ConnectionRefusedError:
				time.sleep(0.01)
			except TimeoutError:
				pass
	raise RuntimeError(f"the name server at {address} does not answer:\n" + (log.read_text() if log.exists() else ""))


def labels(name):
	"""A domain name on the wire."""
	return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".") if label) + b"\0"


def end(process):
	if process.poll() is None:
		process.terminate()
		process.wait(START_TIMEOUT)


def end_with_parent():
	"""Asks the kernel to end this process with the one that started it: NSD's helpers follow it."""
	pr_set_pdeathsig = 1
	ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)
