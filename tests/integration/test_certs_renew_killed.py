"""prosodyctl mod_certs renew, killed at any moment: peers never refuse the certificate, and the next call continues."""
import os
import random
import signal
import subprocess
import threading

import suite
from certsite import TOOL, tool
from renewsite import HOST, behaviour, fingerprint

KILLS = suite.tries(4, 40)  # in each part of the renewal
LONGEST = 4  # seconds after which one call is killed at the latest


def killed(site, rng, *words):
	"""One call, killed with its child processes, unless it ends before."""
	process = subprocess.Popen(TOOL.command(site, "renew", *words), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
		stderr=subprocess.DEVNULL, start_new_session=True)
	try:
		process.wait(rng.uniform(0, LONGEST))
	except subprocess.TimeoutExpired:
		os.killpg(process.pid, signal.SIGKILL)
	process.wait()


def assert_sound(site):
	"""The files match, and the peers accept the certificate, also of a server that starts now."""
	site.files()
	site.assert_peers()


@behaviour("killed at random moments, it never leaves a certificate that peers refuse, and finishes nevertheless")
def random_kills_never_break_a_peer(site):
	site.go()
	new, rng = site.issue(HOST, name="new"), random.Random(suite.SEED)
	words = [HOST, "--new", new.file, "--key", new.key]
	for _ in range(KILLS):
		killed(site, rng, *words)
		assert_sound(site)
	assert site.hand_in(new)["step"] == "wait"
	site.pass_time(200)
	for _ in range(KILLS):
		killed(site, rng)
		assert_sound(site)
	site.kill()
	site.start()
	assert_sound(site)
	output = tool(site, "renew")
	assert output.status == 0, output
	assert site.published() == {new.tlsa(3, 1, 1)} and site.served() == {site.files()} == {fingerprint(new.file.read_text())}
	assert sorted(path.name for path in (site.directory / "certs").iterdir()) == [f"{HOST}.crt", f"{HOST}.key"]
	assert not list(site.slot.glob("*.part")) and not (site.slot / "new.pem").exists()


@behaviour("killed while it publishes or removes records, it does so again")
def a_kill_while_publishing_is_repaired(site):
	site.go()
	new = site.issue(HOST, name="new")
	for words, step in (([HOST, "--new", new.file, "--key", new.key], "wait"), ([], "done")):
		for take in (lambda lines: None, site.apply):  # killed before DNS has changed, and after that
			kill_while_publishing(site, words, take)
		found = site.renew() if step == "wait" else None
		assert not found or found["step"] == step, found
		site.pass_time(200)
	assert site.renew(HOST)["step"] == "done" and site.published() == {new.tlsa(3, 1, 1)}
	assert site.served() == {fingerprint(new.file.read_text())}


def kill_while_publishing(site, words, take):
	entered, leave = threading.Event(), threading.Event()

	def handle(lines):
		take(lines)
		entered.set()
		leave.wait(60)
		return 0, "too late"
	site.publisher.handle = handle
	process = subprocess.Popen(TOOL.command(site, "renew", *words), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
		stderr=subprocess.DEVNULL, start_new_session=True)
	while process.poll() is None and not entered.wait(0.05):
		pass
	if process.poll() is None:
		os.killpg(process.pid, signal.SIGKILL)
	process.wait()
	leave.set()
	site.publisher.handle = site.apply
	assert_sound(site)
