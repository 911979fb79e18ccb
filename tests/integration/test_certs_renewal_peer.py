"""The promise of prosodyctl mod_certs renew: whatever is killed, and whenever, no peer with DANE is ever refused."""
import contextlib
import os
import random
import signal
import subprocess

from renewalsite import HOST, TTL, behaviour, leaf_of, tlsa_of

ROLLOVERS = 3
LONGEST_RUN = 0.6  # seconds until a command is killed, at most; one that has ended by then is not
PATIENCE = 30  # seconds for one that is not to be killed
CALLS = 60  # of cron, in one rollover; it takes about ten


class Fate:
	"""Replaces certificates, and kills at random. Everything comes from `seed`, but for how fast the machine is."""

	def __init__(self, site, peer, seed):
		self.site, self.peer, self.random = site, peer, random.Random(seed)
		self.orphans = []

	def run(self, script):
		"""Runs a command while another program may be down; it may be killed, alone or with all that it has started. Returns
		whether it has ended well."""
		with self.random.choice([contextlib.nullcontext, contextlib.nullcontext, self._without_prosody, self._without_names])():
			process = self.site.workplace.start(script, stdout=subprocess.DEVNULL)
			try:
				process.wait(self.random.choice([PATIENCE, self.random.uniform(0, LONGEST_RUN)]))
			except subprocess.TimeoutExpired:
				self._kill(process)
			return process.returncode == 0

	def _kill(self, process):
		"""What it has started may go on, until the next one is killed."""
		if self.orphans:
			with contextlib.suppress(ProcessLookupError):
				os.killpg(self.orphans.pop(), signal.SIGKILL)
		self.random.choice([os.kill, os.killpg])(process.pid, signal.SIGKILL)
		self.orphans.append(process.pid)
		process.wait()

	@contextlib.contextmanager
	def _without_prosody(self):
		self.site.kill()
		if self.random.random() < 0.5:
			self.site.start()
			yield
		else:
			yield
			self.site.start()

	@contextlib.contextmanager
	def _without_names(self):
		self.site.name_server.kill()
		if self.random.random() < 0.5:
			self.site.name_server.start()
			yield
		else:
			yield
			self.site.name_server.start()

	def replace(self, number):
		"""A renewal, from the client's hook until nothing is left to do."""
		chain, key = self._issue(number)
		while not self.run(f"cat {chain} {key} | prosodyctl mod_certs renew example.org --new -"):
			pass
		for _ in range(CALLS):
			self.site.clock.advance(self.random.choice([0, 60, TTL // 2, TTL, 3 * TTL]))
			self.run("prosodyctl mod_certs renew")
			if self._is_done(chain.read_text()):
				return
		raise AssertionError(f"not done after {CALLS} calls: {self.site.run('prosodyctl mod_certs renew')}")

	def _issue(self, number):
		"""A chain and its key, of a key of its own or of the next key; that one alone knows mod_certs."""
		certificate = self.site.issue(HOST, name=f"new-{number}")
		return certificate.file, certificate.key

	def _is_done(self, new):
		return self.site.published() == [{tlsa_of(new)}] * len(self.site.places) and \
			set(self.site.served().values()) == {leaf_of(new)}


def go(site):
	site.go()
	peer = site.peer()
	peer.look()
	return peer


@behaviour("no peer is refused at any time, while prosodyctl, Prosody and the name server are killed at random")
def test(site):
	peer, seed = go(site), int(os.environ.get("SEED", random.randrange(2**32)))
	fate = Fate(site, peer, seed)
	try:
		with peer:
			for number in range(ROLLOVERS):
				fate.replace(number)
		assert not peer.refusals, peer.refusals[:5]
	except Exception as error:
		raise AssertionError(f"SEED={seed} does this again") from error


@behaviour("a peer is refused where a hook switches at once, and so the one above has eyes to see")
def test(site):
	peer, new = go(site), site.issue(HOST, name="new")
	assert peer.looks == len(site.places) and not peer.refusals
	site.name_server.update(*(f"update add _{port}._tcp.xmpp.{HOST} {TTL} IN TLSA {new.tlsa(3, 1, 1)}" for port in site.places))
	peer.look()
	site.install(HOST, new)
	site.kill()
	site.start()
	peer.look()
	assert len(peer.refusals) == len(site.places), peer.refusals
	site.clock.advance(TTL + 60)
	peer.refusals.clear()
	peer.look()
	assert not peer.refusals, peer.refusals
