"""An environment for an operator's commands as written in a README: wrappers of certbot, dehydrated, lego, uacme, prosodyctl and
nsupdate precede the system's programs, and add options of the laboratory: its ACME server, directories and clock.

	workplace = Workplace(directory, {"example.org": "good.lab"})
	workplace.acme(server)
	workplace.run("certbot certonly -d example.org")
"""
import os
import pathlib
import shutil
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
UNPACKED = ROOT / "build/certbot/usr/bin"
TIMEOUT = 35
CHALLENGES = ".well-known/acme-challenge"
DEHYDRATED = """\
CA="{acme.url}"
BASEDIR={here}/dehydrated
WELLKNOWN={acme.webroot}/{challenges}
CURL_OPTS="--noproxy '*' --cacert {acme.trust}"
HOOK={here}/dehydrated/hook
KEY_ALGO=secp384r1
ACCOUNT_KEY_ALGO=secp384r1
"""
# Further options of each client. uacme's libcurl trusts only the system's authorities
WRAPPERS = {
	"certbot": """
export REQUESTS_CA_BUNDLE={acme.trust} NO_PROXY='*'
exec {program} "$@" -n --agree-tos --register-unsafely-without-email --webroot -w {acme.webroot} --server {acme.url} \\
	--config-dir {here}/letsencrypt --work-dir {here}/certbot --logs-dir {here}/certbot""",
	"dehydrated": """
exec {program} -f {here}/dehydrated/config "$@" """,
	"lego": """
export LEGO_CA_CERTIFICATES={acme.trust} NO_PROXY='*'
exec {program} --accept-tos --server {acme.url} --email operator@example.org --path {here}/lego \\
	--http --http.webroot {acme.webroot} "$@" """,
	"uacme": """
export UACME_CHALLENGE_PATH={acme.webroot}/{challenges} NO_PROXY='*' LD_PRELOAD={trust} TRUST={acme.trust}
exec {program} -y -c {here}/uacme -a {acme.url} "$@" """,
}


def build_trust():
	"""A library that makes a program trust other authorities than the system's: see trust.c. Built once for all tests."""
	library = ROOT / "build/lab/trust.so"
	if not library.exists():
		part = library.with_name(f"trust.{os.getpid()}.so")
		subprocess.run(["cc", "-shared", "-fPIC", "-D_GNU_SOURCE", "-o", part, ROOT / "tests/lab/trust.c", "-ldl"], check=True)
		part.rename(library)
	return library


class Workplace:
	"""Replaces `names` in commands and files, and also the directories of the system."""

	def __init__(self, directory, names):
		self.here, self.bin = directory, directory / "bin"
		self.bin.mkdir(parents=True)
		self.replaced = {**names, "/etc/letsencrypt": f"{directory}/letsencrypt", "/etc/ssl/uacme": f"{directory}/uacme",
			"/etc/dehydrated": f"{directory}/dehydrated", "/usr/local/sbin": f"{directory}/sbin", "/var/lib/prosody": f"{directory}/../data",
			"/etc/prosody/certs": f"{directory}/../certs"}

	def acme(self, server):
		"""Configures the clients for this ACME server."""
		(server.webroot / CHALLENGES).mkdir(parents=True)
		(self.here / "dehydrated").mkdir()
		(self.here / "dehydrated/config").write_text(DEHYDRATED.format(acme=server, here=self.here, challenges=CHALLENGES))
		for name, script in WRAPPERS.items():
			program = UNPACKED / name if (UNPACKED / name).exists() else shutil.which(name)
			self.wrap(name, script.format(acme=server, here=self.here, program=program, challenges=CHALLENGES,
				trust=build_trust()))

	def wrap(self, name, script):
		"""A program of this name, found before the system's."""
		self._write(self.bin / name, "#!/bin/sh\n" + script + "\n")

	def install(self, path, text):
		"""A script of the operator's, at its place in the system."""
		file = pathlib.Path(self.translated(path))
		file.parent.mkdir(parents=True, exist_ok=True)
		self._write(file, self.translated(text))

	@staticmethod
	def _write(file, text):
		file.write_text(text)
		file.chmod(0o755)

	def translated(self, text):
		for name, ours in self.replaced.items():
			text = text.replace(name, ours)
		return text

	def start(self, script, stdout=subprocess.PIPE):
		"""Runs a script of the shell; returns the process, which leads a group of its own."""
		return subprocess.Popen(["sh", "-ec", self.translated(script)], stdin=subprocess.DEVNULL, stdout=stdout,
			stderr=subprocess.STDOUT, text=True, cwd=self.here, start_new_session=True,
			env={**os.environ, "PATH": f"{self.bin}:{os.environ['PATH']}"})

	def run(self, script, status=0):
		"""Returns the script's output."""
		process = self.start(script)
		try:
			printed, _ = process.communicate(timeout=TIMEOUT)
		except BaseException:
			process.kill()
			process.wait()
			raise
		assert process.returncode == status, f"{script}\nstatus {process.returncode}\n{printed}"
		return printed
