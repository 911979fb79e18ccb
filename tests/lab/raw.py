"""Streams between servers, spoken byte for byte."""
import contextlib
import re
import socket
import ssl
import threading

import xmpp
from peers import DIRECT_PORT, PORT

STREAM = ("<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' "
	"xmlns:db='jabber:server:dialback' version='1.0' {}>")
STARTTLS = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
PROCEED = "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
HEADER = STREAM.format("id='raw'")
OPENED = "<stream:stream[^>]*>"


def read_until(connection, pattern):
	"""Reads until the text matches; returns it."""
	received = b""
	while not re.search(pattern, received.decode()):
		data = connection.recv(65536)
		assert data, received
		received += data
	return received.decode()


@contextlib.contextmanager
def peer_stream(subject, authority, origin, certificate=None, to=None):
	"""A stream to a server of the laboratory, encrypted, with a peer's certificate or none; `origin` is its
	"from" attribute, or nothing, `to` another of the server's hosts. Gives the connection, on which the second header
	has been sent."""
	context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
	context.load_verify_locations(authority.file)
	if certificate:
		context.load_cert_chain(certificate.file, certificate.key)
	to = to or subject.domain
	header = STREAM.format(f"{origin} to='{to}'").encode()
	with socket.create_connection((subject.address, PORT), timeout=xmpp.READ_TIMEOUT) as plain:
		plain.sendall(header)
		read_until(plain, "</stream:features>")
		plain.sendall(STARTTLS.encode())
		read_until(plain, "<proceed[^>]*>")
		with context.wrap_socket(plain, server_hostname=to) as encrypted:
			encrypted.sendall(header)
			yield encrypted


@contextlib.contextmanager
def direct_stream(server, origin, certificate):
	"""The same with direct TLS, with any certificate of the server."""
	context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
	context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
	context.load_cert_chain(certificate.file, certificate.key)
	with socket.create_connection((server.address, DIRECT_PORT), timeout=xmpp.READ_TIMEOUT) as plain, \
			context.wrap_socket(plain) as encrypted:
		encrypted.sendall(STREAM.format(f"{origin} to='{next(iter(server.hosts))}'").encode())
		yield encrypted


class Target:
	"""A server at `address` that has one stream: it encrypts, if it has a certificate, and answers the
	header that comes then with one of its own and `burst` behind it, all at once. `heard` is what comes
	from that header on, until the other side ends the connection, or this one, which `hangs_up` at once.
	`reached` tells that the header has come, and the answer waits for the event `go`."""

	def __init__(self, address, burst, certificate=None, hangs_up=False, go=None):
		self.burst, self.certificate, self.hangs_up, self.go = burst, certificate, hangs_up, go
		self.heard, self.reached = None, threading.Event()
		self.listener = socket.create_server((address, PORT))
		self.listener.settimeout(xmpp.READ_TIMEOUT)
		self.thread = threading.Thread(target=self._serve, daemon=True)
		self.thread.start()

	def _serve(self):
		try:
			connection, _ = self.listener.accept()
		except OSError:  # no connection came; tests of .heard notice this
			return
		with connection:
			connection.settimeout(xmpp.READ_TIMEOUT)
			if self.certificate:
				connection = self._encrypt(connection)
			heard = read_until(connection, OPENED)
			self.reached.set()
			if self.go:
				self.go.wait(xmpp.READ_TIMEOUT)
			connection.sendall((HEADER + self.burst).encode())
			self.heard = heard if self.hangs_up else heard + read_rest(connection)
			connection.close()

	def _encrypt(self, plain):
		context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
		context.load_cert_chain(self.certificate.file, self.certificate.key)
		read_until(plain, OPENED)
		plain.sendall(f"{HEADER}<stream:features>{STARTTLS}</stream:features>".encode())
		read_until(plain, "<starttls[^>]*>")
		plain.sendall(PROCEED.encode())
		return context.wrap_socket(plain, server_side=True)

	def __enter__(self):
		return self

	def __exit__(self, *_):
		self.thread.join()
		self.listener.close()


def read_rest(connection):
	"""The input until the other side closes the connection."""
	received = b""
	try:
		while data := connection.recv(65536):
			received += data
	except OSError:
		pass
	return received.decode()
