"""The web server of the laboratory: HTTPS at the usual port of one address, as each of several hosts."""
import http.server
import socket
import ssl
import threading

HTTPS_PORT = 443
READ_TIMEOUT = 5


class Site:
	"""A host: its certificate, and its documents, {path: text}, which may change at any time."""

	def __init__(self, certificate, documents):
		self.documents = documents
		self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
		self.context.load_cert_chain(certificate.file, certificate.key)


class Handler(http.server.BaseHTTPRequestHandler):
	timeout = READ_TIMEOUT

	def do_GET(self):  # pylint: disable=invalid-name
		site = self.server.sites.get(self.headers["Host"])
		document = site and site.documents.get(self.path)
		if document is None:
			self.send_error(404)
			return
		body = document.encode()
		self.send_response(200)
		self.send_header("Content-Length", str(len(body)))  # without a length Prosody processes a response as it comes, maybe in parts
		self.end_headers()
		self.wfile.write(body)

	def log_message(self, *_):  # it would write to standard error
		pass


class Website(http.server.ThreadingHTTPServer):
	"""Serves `sites`, {host: Site}. A client with another name is refused."""
	daemon_threads = True

	def __init__(self, address, sites):
		self.sites = sites
		self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
		self.context.sni_callback = self._choose
		super().__init__((address, HTTPS_PORT), Handler)
		self.thread = threading.Thread(target=self.serve_forever, daemon=True)
		self.thread.start()

	def _choose(self, connection, name, _):
		if name not in self.sites:
			return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
		connection.context = self.sites[name].context
		return None

	def get_request(self):
		"""The handshake is done in the connection's own thread."""
		connection, client = super().get_request()
		return self.context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), client

	def handle_error(self, request, client_address):
		"""A client that refuses the certificate disconnects, which is not an error."""

	def stop(self):
		self.shutdown()
		self.thread.join()
		self.server_close()


class Silent:
	"""A web server that accepts connections, and does not answer."""

	def __init__(self, address):
		self.socket = socket.create_server((address, HTTPS_PORT))

	def stop(self):
		self.socket.close()
