"""Verifying a peer's certificate, compared with a TLS handshake and with Prosody's util.x509."""
import pathlib
import subprocess
import tempfile

from samples import Samples
from server import HERE, bed
from tables import Table, micro, verdict, write

COLUMNS = ("handshake", "leaf", "anchor", "identity", "stock identity")
SHARE_OF_HANDSHAKE = 0.05

AUTHORITY = ["basicConstraints=critical,CA:true"]
LEAF = ["subjectAltName=DNS:peer.example,otherName:1.3.6.1.5.5.7.8.7;IA5:_xmpp-server.peer.example"]


def issue(directory, name, extensions, issuer=None):
	"""An RSA 2048 key and certificate, as most servers have."""
	command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-days", "3",
		"-keyout", f"{name}.key", "-out", f"{name}.pem"]
	for extension in extensions:
		command += ["-addext", extension]
	if issuer is None:
		subprocess.run(command, cwd=directory, check=True, stderr=subprocess.DEVNULL)
		return
	(directory / "extensions").write_text("\n".join(extensions) + "\n")
	subprocess.run(["openssl", "req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}",
		"-keyout", f"{name}.key", "-out", f"{name}.csr"], cwd=directory, check=True, stderr=subprocess.DEVNULL)
	subprocess.run(["openssl", "x509", "-req", "-in", f"{name}.csr", "-CA", f"{issuer}.pem", "-CAkey", f"{issuer}.key",
		"-CAcreateserial", "-days", "3", "-extfile", "extensions", "-out", f"{name}.pem"],
		cwd=directory, check=True, stderr=subprocess.DEVNULL)


def make_chain(directory):
	issue(directory, "root", [])
	issue(directory, "intermediate", AUTHORITY, "root")
	issue(directory, "leaf", LEAF, "intermediate")
	chain = [(directory / f"{name}.pem").read_text() for name in ("leaf", "intermediate", "root")]
	(directory / "chain.pem").write_text("".join(chain))
	(directory / "ca.pem").write_text(chain[2])
	(directory / "leaf.key").rename(directory / "key.pem")


def certs(version, rounds):
	"""Seconds of CPU per handshake, verification, and comparison of names."""
	samples = Samples()
	with tempfile.TemporaryDirectory(dir=bed.BUILD) as name:
		directory = pathlib.Path(name)
		make_chain(directory)
		library = bed.PROSODIES / f"prosody-{version}/root/usr/lib/prosody"
		for _ in samples.rounds(rounds):
			done = subprocess.run(["lua5.4", HERE / "certs.lua", bed.PROJECT / "lua", library, directory],
				check=True, stdout=subprocess.PIPE, text=True)
			for column, seconds in zip(COLUMNS, done.stdout.split()):
				samples.add("peer", column, float(seconds))
	return samples


def certs_table(results):
	table = Table("Verifying a peer",
		"CPU: the server's part of a TLS handshake in which both sides show a chain of three (RSA 2048); one "
		"verification of that chain with four TLSA records, the matching one of which is of the leaf (usage 3) "
		"or of the root (usage 2, a chain has to be built); the comparison of its names with one domain. "
		"Target: a verification costs at most 5 % of a handshake.",
		"Prosody", "handshake, us", "leaf matches, us", "of a handshake", "root matches, us", "of a handshake",
		"names, us", "stock, us", "names / stock")
	for version, samples in results.items():
		shares = {column: samples.ratio("peer", column, "handshake") for column in ("leaf", "anchor")}
		micros = {column: micro(samples.median("peer", column)) for column in COLUMNS}
		table.add(version, micros["handshake"], micros["leaf"], shares["leaf"], micros["anchor"], shares["anchor"],
			micros["identity"], micros["stock identity"], samples.ratio("peer", "identity", "stock identity"))
		for column, share in shares.items():
			table.text += f" {version}, {column}: {write(share)}, {verdict(share <= SHARE_OF_HANDSHAKE)}."
	return [table]
