"""The guarantee of prosodyctl mod_certs renew: no peer with DANE is ever refused, with any process killed at any time."""
import contextlib
import os
import random
import signal
import ssl
import subprocess
import time

import suite
from dynamicsite import HOST, TTL, behaviour, leaf_of, tlsa_of
from suite import every_version

ROLLOVERS = suite.tries(2, 20)
EXCHANGE = 0.02  # seconds; more than replacing two files takes
PATIENCE = 60  # seconds for a command that is not to be killed
CALLS = 60  # of cron, in one rollover; it takes about ten
TIME_LIMIT = suite.tries(300, 2000)  # seconds; it takes 20 on an idle machine
# Prosody reads the two files one after the other when it starts. If they are replaced in between, it has no TLS until it reads them again
UNLUCKY = "\terror\t.*private key does not match public key"
PAUSES = [0, 60, TTL - 60, TTL, 2 * TTL + 60]  # between two calls of cron, by the clock


class Fate:
	"""Replaces certificates, and kills at random. All choices come from `seed`; timing depends on the machine."""

	def __init__(self, site, peer, seed):
		self.site, self.peer, self.random = site, peer, random.Random(seed)
		self.orphans, self.usual = [], 1

	def run(self, script):
		"""Runs a command while another program may be down; it may be killed, alone or with its child processes. Returns
		whether it succeeded."""
		with self.random.choice([contextlib.nullcontext, contextlib.nullcontext, self._without_prosody, self._without_names])():
			process = self.site.workplace.start(script, stdout=subprocess.DEVNULL)
			self.random.choice([self._wait, self._wait, self._wait_for_chance, self._wait_for_exchange])(process)
			if process.poll() is None:
				self._kill(process)
			return process.returncode == 0

	def _wait(self, process):
		began = time.monotonic()
		process.wait(PATIENCE)
		self.usual = time.monotonic() - began

	def _wait_for_chance(self, process):
		"""Waits for a random part of the time that the last one took."""
		with contextlib.suppress(subprocess.TimeoutExpired):
			process.wait(self.random.uniform(0, self.usual))

	def _wait_for_exchange(self, process):
		"""Waits until it is about to replace the files, is doing so, or has done so, if it does."""
		while process.poll() is None:
			if self.site.exchange().exists():
				time.sleep(self.random.uniform(0, EXCHANGE))
				return
			time.sleep(0.001)

	def _kill(self, process):
		"""Its child processes may go on until the next one is killed."""
		self.end()
		self.random.choice([os.kill, os.killpg])(process.pid, signal.SIGKILL)
		self.orphans.append(process.pid)
		process.wait()

	def end(self):
		"""Kills the child processes that a killed command has left."""
		while self.orphans:
			with contextlib.suppress(ProcessLookupError):
				os.killpg(self.orphans.pop(), signal.SIGKILL)

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
		"""A renewal, from the client's hook to the last step; another one may come before its end."""
		chain = self._hand_in(f"new-{number}")
		if self.random.random() < 0.3:
			self._cron(self.random.randrange(6))
			chain = self._hand_in(f"further-{number}")
		for _ in range(CALLS):
			self._cron()
			if self._is_done(chain):
				return
		raise AssertionError(f"not done after {CALLS} calls: {self.site.run('prosodyctl mod_certs renew')}")

	def _hand_in(self, name):
		files = self.random.choice([self._own_key, self._next_key])(name)
		self._until_it_works(f"cat {' '.join(map(str, files))} | prosodyctl mod_certs renew example.org --new -")
		return files[0].read_text()

	def _cron(self, times=1):
		for _ in range(times):
			self.site.clock.advance(self.random.choice(PAUSES))
			self.run("prosodyctl mod_certs renew")

	def _until_it_works(self, script):
		while not self.run(script):
			pass

	def _own_key(self, name):
		"""As an ACME client does by default."""
		certificate = self.site.issue(HOST, name=name)
		return [certificate.file, certificate.key]

	def _next_key(self, name):
		"""For the pending request; cron may not have published that key yet."""
		command = "prosodyctl mod_certs renew example.org --request"
		self._until_it_works(command)
		self._cron(self.random.randrange(3))
		while not (request := self.site.request()):  # the killed command was creating another one
			self._until_it_works(command)
		return [self.site.sign(request, name)]

	def _is_done(self, new):
		"""It is served everywhere, and only its record and that of the next key are published."""
		wanted = {tlsa_of(new)} | self.site.next_records()
		try:
			served = set(self.site.served().values())
		except (ConnectionError, ssl.SSLError):  # it is UNLUCKY
			return False
		return served == {leaf_of(new)} and self.site.published() == [wanted] * len(self.site.places)


def go(site):
	site.go()
	peer = site.peer()
	peer.look()
	return peer


@every_version
@behaviour("no peer is refused at any time, while prosodyctl, Prosody and the name server are killed at random",
	time_limit=TIME_LIMIT)
def no_peer_is_ever_refused(site):
	peer = go(site)
	fate = Fate(site, peer, suite.SEED)
	site.announced.append(UNLUCKY)
	try:
		with peer:
			for number in range(ROLLOVERS):
				fate.replace(number)
		assert not peer.refusals, peer.refusals[:5]
		site.assert_accepted()
	finally:
		fate.end()


@behaviour("control: a peer is refused if a hook switches at once")
def an_immediate_switch_refuses_a_peer(site):
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
