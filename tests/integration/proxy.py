"""A loopback TCP proxy that loses connections like a mobile network.

It passes bytes both ways, swallows them (freeze: both ends believe the connection is fine), or
resets both ends (kill). Every new connection begins in the state "pass".
"""
import selectors
import socket
import threading

from xmpp import reset


class Proxy:
	def __init__(self, to_port):
		self.to_port = to_port
		self.listener = socket.create_server(("127.0.0.1", 0))
		self.port = self.listener.getsockname()[1]
		self.lock = threading.Lock()
		self.links = []
		self.wake_in, self.wake_out = socket.socketpair()
		self.selector = selectors.DefaultSelector()
		self.selector.register(self.listener, selectors.EVENT_READ, self._accept)
		self.selector.register(self.wake_out, selectors.EVENT_READ, self._stop)
		self.running = True
		self.thread = threading.Thread(target=self._run, daemon=True)
		self.thread.start()

	def freeze(self):
		"""From now on the bytes of the present connections vanish, both ways."""
		with self.lock:
			for link in self.links:
				link.frozen = True

	def kill(self):
		"""Reset both ends of every connection."""
		with self.lock:
			links, self.links = self.links, []
			for link in links:
				link.kill(self.selector)

	def stop(self):
		self.wake_in.send(b"x")
		self.thread.join()
		self.kill()
		for sock in (self.listener, self.wake_in, self.wake_out):
			sock.close()
		self.selector.close()

	def __enter__(self):
		return self

	def __exit__(self, *_):
		self.stop()

	def _run(self):
		while self.running:
			for key, _ in self.selector.select():
				with self.lock:
					key.data(key.fileobj)

	def _stop(self, _):
		self.running = False

	def _accept(self, listener):
		client, _ = listener.accept()
		try:
			server = socket.create_connection(("127.0.0.1", self.to_port))
		except OSError:
			reset(client)
			return
		link = _Link(client, server)
		self.links.append(link)
		for sock in (client, server):
			sock.settimeout(5)  # an end that stopped reading is disconnected, and does not block the others
			sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
			self.selector.register(sock, selectors.EVENT_READ, lambda s, link=link: self._pass(link, s))

	def _pass(self, link, sock):
		"""Move received bytes; the end or reset of one side ends both."""
		if link not in self.links:
			return
		try:
			data = sock.recv(65536)
			if data and not link.frozen:
				link.other(sock).sendall(data)
		except OSError:
			data = b""
		if not data:
			self.links.remove(link)
			link.close(self.selector)


class _Link:
	def __init__(self, client, server):
		self.client, self.server, self.frozen = client, server, False

	def other(self, sock):
		return self.server if sock is self.client else self.client

	def close(self, selector):
		for sock in (self.client, self.server):
			selector.unregister(sock)
			sock.close()

	def kill(self, selector):
		for sock in (self.client, self.server):
			selector.unregister(sock)
			reset(sock)
