"""An ACME server (RFC 8555): Pebble, which validates by HTTP (http-01), and the web server for its challenges. Clients use
Pebble like any other authority.

	server = Acme(lab, number_of_its_address, resolver)
	server.url, server.trust  # for clients: its URL, and the authority of its own certificate
	server.webroot  # the directory for answers to its challenges
	server.root  # the issuing authority, a new one after each start
"""
import functools
import http.server
import json
import shutil
import socket
import ssl
import subprocess
import threading
import time
import urllib.request

from nameserver import end, end_with_parent

PORT, MANAGEMENT_PORT, HTTP_PORT, UNUSED_PORT = 14000, 15000, 80, 5001
START_TIMEOUT = 60  # it generates RSA keys first
PEBBLE = shutil.which("pebble") or "/usr/bin/pebble"
# No pauses before validations, no random rejections of nonces, and no authorization without a validation
ENVIRONMENT = {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0", "PEBBLE_AUTHZREUSE": "0", "GOMAXPROCS": "2"}


class Acme:
	"""Pebble on an address of the laboratory, with the name server at `resolver`; web_address is the address of the web root's
	port 80, and of the domains."""

	def __init__(self, lab, number, resolver):
		self.address, self.web_address = lab.address(number), lab.web_address
		self.directory = lab.directory / f"acme-{self.address}"
		self.webroot = self.directory / "webroot"
		self.webroot.mkdir(parents=True)
		self.trust = lab.public.file
		self.url = f"https://{self.address}:{PORT}/dir"
		self.context = ssl.create_default_context(cafile=str(self.trust))
		self._start(lab.public.issue("acme", [f"IP:{self.address}"]), resolver)
		self.web = Webroot((self.web_address, HTTP_PORT), functools.partial(Quiet, directory=str(self.webroot)))
		self.root = self.directory / "root.pem"
		self.root.write_text(self._managed("roots/0"))

	def _start(self, certificate, resolver):
		configuration = self.directory / "pebble.json"
		configuration.write_text(json.dumps({"pebble": {
			"listenAddress": f"{self.address}:{PORT}",
			"managementListenAddress": f"{self.address}:{MANAGEMENT_PORT}",
			"certificate": str(certificate.file), "privateKey": str(certificate.key),
			"httpPort": HTTP_PORT, "tlsPort": UNUSED_PORT, "ocspResponderURL": ""}}))
		self.log = self.directory / "log"
		with open(self.log, "ab") as log:
			self.process = subprocess.Popen([PEBBLE, "-config", configuration, "-dnsserver", f"{resolver}:53"],
				stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.directory, env=ENVIRONMENT,
				preexec_fn=end_with_parent)
		try:
			self._wait()
		except Exception:
			end(self.process)
			raise

	def _wait(self):
		deadline = time.monotonic() + START_TIMEOUT
		while time.monotonic() < deadline and self.process.poll() is None:
			try:
				self._managed("roots/0")
				socket.create_connection((self.address, PORT)).close()
				return
			except OSError:
				time.sleep(0.02)
		raise RuntimeError("Pebble does not answer:\n" + self.log.read_text())

	def _managed(self, path):
		url = f"https://{self.address}:{MANAGEMENT_PORT}/{path}"
		with urllib.request.build_opener(urllib.request.ProxyHandler({}),
				urllib.request.HTTPSHandler(context=self.context)).open(url, timeout=START_TIMEOUT) as answer:
			return answer.read().decode()

	def stop(self):
		self.web.stop()
		end(self.process)


class Webroot(http.server.ThreadingHTTPServer):
	daemon_threads = True

	def __init__(self, address, handler):
		super().__init__(address, handler)
		self.thread = threading.Thread(target=self.serve_forever, daemon=True)
		self.thread.start()

	def stop(self):
		self.shutdown()
		self.thread.join()
		self.server_close()


class Quiet(http.server.SimpleHTTPRequestHandler):
	"""Serves files, without logging."""

	def log_message(self, *_):
		pass
