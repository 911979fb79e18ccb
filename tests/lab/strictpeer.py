"""A peer with DANE that is as strict as RFC 7671 allows, and caches as long: it may have looked up the TLSA records at any
moment, and keeps them for the whole TTL. So a server must match, at every moment, all the record sets that were published
within the TTL before.

	peer = StrictPeer(lab.address(30), "_{}._tcp.xmpp.good.lab", server.address, [Listener(5222, "client"), ...], "good.lab", clock)
	with peer:  # checks records and listeners repeatedly
		...
	assert not peer.refusals
"""
import base64
import hashlib
import re
import select
import socket
import ssl
import struct
import threading

from authority import openssl
from nameserver import DNS_PORT, labels

TLSA, TLSA_DATA = 52, 3  # the type, and the offset of a record's data
DANE_EE, PUBLIC_KEY, SHA256 = 3, 1, 1
READ_TIMEOUT, PAUSE = 10, 0.05
STREAM = ("<?xml version='1.0'?><stream:stream xmlns='jabber:{}' xmlns:stream='http://etherx.jabber.org/streams' to='{}' version='1.0'>")
STARTTLS = b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"


class Listener:
	"""A port; `stream` is "client" or "server" for STARTTLS, None for direct TLS."""

	def __init__(self, port, stream=None):
		self.port, self.stream = port, stream

	def certificate(self, address, domain):
		"""The certificate that is served for a domain, DER; a ConnectionError or an ssl.SSLError
		without a server."""
		context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
		context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
		with socket.create_connection((address, self.port), timeout=READ_TIMEOUT) as plain:
			if self.stream:
				plain.sendall(STREAM.format(self.stream, domain).encode())
				read_until(plain, b"</stream:features>")
				plain.sendall(STARTTLS)
				read_until(plain, b"<proceed[^>]*>")
			with context.wrap_socket(plain, server_hostname=domain) as encrypted:
				return encrypted.getpeercert(binary_form=True)


def read_until(connection, pattern):
	received = b""
	while not re.search(pattern, received):
		data = connection.recv(65536)
		if not data:
			raise ConnectionError("closed while it was read")
		received += data


class StrictPeer:
	"""`refusals` are texts; `looks` counts the comparisons of a certificate with a set of records. While the clock is set
	forward nothing is missed: what was got before counts from when it was asked for."""

	def __init__(self, name_server, owner, address, listeners, domain, clock):
		self.name_server, self.owner, self.address = name_server, owner, address
		self.listeners, self.domain, self.clock = listeners, domain, clock
		self.cache = {listener: {} for listener in listeners}  # a set of records -> when its TTL ends, by the clock
		self.keys = {}
		self.refusals, self.looks = [], 0
		self.ending = threading.Event()

	def look(self):
		"""Queries the name server, and connects to each port once."""
		for listener in self.listeners:
			self._ask(listener)
			self._connect(listener)

	def _ask(self, listener):
		asked = self.clock.now()
		try:
			records, ttl = ask_tlsa(self.name_server, self.owner.format(listener.port))
		except ConnectionError:  # it is down: the peer uses its cache
			return
		self.cache[listener][records] = asked + ttl

	def _connect(self, listener):
		try:
			key = self._key(listener.certificate(self.address, self.domain))
		except (ConnectionError, ssl.SSLError):  # it is down
			return
		for records, end in list(self.cache[listener].items()):
			if end < self.clock.now():
				del self.cache[listener][records]
				continue
			self.looks += 1
			if (DANE_EE, PUBLIC_KEY, SHA256, key) not in records:
				self.refusals.append(f"port {listener.port}: key {key.hex()[:16]} and the records "
					f"{sorted(record[3].hex()[:16] for record in records)}")

	def _key(self, certificate):
		if certificate not in self.keys:
			self.keys[certificate] = key_digest(certificate)
		return self.keys[certificate]

	def __enter__(self):
		self.thread = threading.Thread(target=self._look_on, daemon=True)
		self.thread.start()
		return self

	def _look_on(self):
		try:
			while not self.ending.is_set():
				self.look()
				self.ending.wait(PAUSE)
		except Exception as error:  # pylint: disable=broad-except
			self.refusals.append(f"the peer has come to an end: {error!r}")

	def __exit__(self, *_):
		self.ending.set()
		self.thread.join()


def key_digest(certificate):
	"""The SHA-256 of the public key of a certificate, DER, extracted by openssl."""
	text = openssl("x509", "-pubkey", "-noout", data=ssl.DER_cert_to_PEM_cert(certificate)).decode()
	return hashlib.sha256(base64.b64decode(text.split("-----")[2])).digest()


def ask_tlsa(server, name):
	"""The TLSA records of a name, {(usage, selector, matching type, data)}, and the TTL of the set; a ConnectionError if
	the server does not answer."""
	with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
		client.connect((server, DNS_PORT))
		question = labels(name) + struct.pack("!2H", TLSA, 1)
		client.send(struct.pack("!6H", 1, 0, 1, 0, 0, 0) + question)
		if not select.select([client], [], [], READ_TIMEOUT)[0]:
			raise ConnectionError("no answer")
		answer = client.recv(4096)
	count, at = struct.unpack("!H", answer[6:8])[0], 12 + len(question)
	records, ttls = set(), [0]
	for _ in range(count):
		kind, _, ttl, length = struct.unpack("!2HIH", answer[at + 2:at + 12])  # the owner is a pointer to the question
		data, at = answer[at + 12:at + 12 + length], at + 12 + length
		if kind == TLSA:
			records.add((*data[:TLSA_DATA], data[TLSA_DATA:]))
			ttls.append(ttl)
	return frozenset(records), max(ttls)
