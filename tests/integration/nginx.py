"""nginx in front of a server, on loopback."""
import pathlib
import subprocess

import bed
import xmpp

PROGRAM = bed.BUILD / "nginx/usr/sbin/nginx"


def port():
	"""A port for nginx, which cannot reuse a bound address: it is free, but not reserved."""
	found = bed.Port()
	found.socket.close()
	return found.number


class Nginx:
	"""Debian's nginx with these server blocks, one of which listens on the port, for as long as the block lasts."""

	def __init__(self, server, blocks, listens_on):
		self.port = listens_on
		self.directory = pathlib.Path(server.directory) / "nginx"
		self.directory.mkdir()
		temporary = "".join(f"{kind}_temp_path {self.directory}/{kind};\n" for kind in
			("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
		(self.directory / "nginx.conf").write_text(f"""
			daemon off; master_process off; pid {self.directory}/pid; error_log {self.directory}/errors;
			events {{}}
			http {{
				access_log off;
				{temporary}
				{blocks}
			}}""")

	def __enter__(self):
		self.process = subprocess.Popen([PROGRAM, "-p", self.directory, "-c", self.directory / "nginx.conf",
			"-e", self.directory / "errors"], preexec_fn=bed.end_with_parent, stdin=subprocess.DEVNULL)
		bed.wait_for(self._listens, "nginx listens")
		return self.port

	def _listens(self):
		assert self.process.poll() is None, (self.directory / "errors").read_text()
		try:
			xmpp.connect(self.port).close()
			return True
		except ConnectionRefusedError:
			return False

	def __exit__(self, *_):
		self.process.terminate()
		self.process.wait()
