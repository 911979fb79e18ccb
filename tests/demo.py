#!/usr/bin/python3
"""demo.py   shows stream management and the archive on a real server with real clients

Ends by itself if ONCE is set, with status 1 if a message is lost, duplicated or out of order;
otherwise the server runs until Ctrl-C.
"""
import os
import pathlib
import shlex
import signal
import socket
import subprocess
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "integration"))

import bed  # noqa: E402
import mam  # noqa: E402
from programs import Program  # noqa: E402
from proxy import Proxy  # noqa: E402

HOST = "localhost"
BEFORE, FROZEN, AWAY, AFTER, ANSWERS = 100, 200, 700, 100, 50
MISSED, PAGE, SHOWN = 1000, 50, 3
COLOURS = sys.stdout.isatty() and "NO_COLOR" not in os.environ
BOLD, RED, GREEN = 1, 31, 32


def paint(colour, text):
	return f"\033[{colour}m{text}\033[0m" if COLOURS else text


def say(text="", figures=""):
	print(f"  {text:<62}{figures}".rstrip(), flush=True)


def is_free(port):
	with socket.socket() as probe:
		probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
		try:
			probe.bind(("127.0.0.1", port))
			return True
		except OSError:
			return False


def start_server():
	server = bed.Prosody(bed.VERSIONS[-1], modules=["mam"], options={"storage": "native"}, host=HOST, start=False)
	server.port = 5222 if is_free(5222) else server.port
	server.http_port = 5280 if is_free(5280) else server.http_port
	server.start()
	for user in ("alice", "bob", "carol", "you"):
		server.lua(f"return require 'core.usermanager'.create_user('{user}', '{bed.PASSWORD}', '{HOST}')")
	return server


class Story:
	def __init__(self, server, proxy, alice, bob):
		self.server, self.proxy, self.alice, self.bob = server, proxy, alice, bob
		self.to_alice, self.to_bob = [], []

	def write(self, sender, to, log, count):
		bodies = [f"message {n}" for n in range(len(log), len(log) + count)]
		log += bodies
		sender.send(to.jid, *bodies)

	def bob_writes(self, count):
		self.write(self.bob, self.alice, self.to_alice, count)

	def alice_writes(self, count):
		self.write(self.alice, self.bob, self.to_bob, count)

	def queue(self, method):
		return int(float(self.server.session(self.alice, f"s.outgoing_stanza_queue:{method}()")))

	def wait_queued(self, count):
		bed.wait_for(lambda: self.queue("count_unacked") == count, f"{count} stanzas queued for alice")

	def figures(self):
		stanzas, held = self.queue("count_unacked"), self.queue("bytes")
		received = len(self.alice.seen["received"])
		return f"{stanzas:>5} stanzas {held:>8,} bytes   {received:>5} messages"

	def tell(self):
		say("", paint(BOLD, f"{'queued for alice':>28}   {'alice has':>14}"))
		self.bob_writes(BEFORE)
		self.alice.expect("received", len(self.to_alice))
		self.wait_queued(0)
		say(f"bob sends {BEFORE} messages, alice acknowledges", self.figures())

		self.proxy.freeze()
		say("alice's network drops all packets, without notice")
		self.bob_writes(FROZEN)
		self.alice_writes(ANSWERS)
		self.wait_queued(FROZEN)
		say(f"bob sends {FROZEN} messages, alice {ANSWERS}: all are lost in transit", self.figures())

		self.proxy.kill()
		self.server.wait_hibernating(self.alice)
		self.alice.expect("disconnected")
		say("alice's connection is cut; her session hibernates", self.figures())
		self.bob_writes(AWAY)
		self.wait_queued(FROZEN + AWAY)
		say(f"bob sends {AWAY} messages", self.figures())

		began = time.monotonic()
		self.alice.resume()
		resumed = time.monotonic()
		self.alice.expect("received", len(self.to_alice))
		complete = time.monotonic()
		self.wait_queued(0)
		say("alice connects again and resumes", self.figures())
		say("    connecting, authenticating and resuming took", f"{1000 * (resumed - began):>5.0f} ms")
		say(f"    the {FROZEN + AWAY} queued stanzas arrived after another", f"{1000 * (complete - resumed):>5.0f} ms")

		self.bob_writes(AFTER)
		self.alice_writes(ANSWERS)
		self.bob.expect("received", len(self.to_bob))
		self.alice.expect("received", len(self.to_alice))
		self.wait_queued(0)
		say(f"bob sends {AFTER} more messages, alice {ANSWERS}", self.figures())

	def verdict(self):
		"""Prints it; returns whether all went well."""
		say()
		ways = [("bob to alice", self.to_alice, self.alice), ("alice to bob", self.to_bob, self.bob)]
		return all([judge(title, sent, client.seen["received"]) for title, sent, client in ways])


def judge(title, sent, received):
	lost = len(set(sent) - set(received))
	doubled = len(received) - len(set(received))
	in_order = list(dict.fromkeys(received)) == [body for body in sent if body in set(received)]
	well = received == sent
	text = f"{len(sent)} sent, {len(received)} received, {lost} lost, {doubled} duplicated, "
	print(paint(GREEN if well else RED, f"  {title:<16}{text}{'in order' if in_order else 'out of order'}"))
	return well


def tell_story(server):
	with Proxy(server.port) as proxy:
		with Program("libstrophe", proxy.port, HOST, "alice") as alice:
			with Program("libstrophe", server.port, HOST, "bob") as bob:
				alice.connect()
				bob.connect()
				story = Story(server, proxy, alice, bob)
				try:
					story.tell()
				except bed.xmpp.Timeout:
					story.verdict()
					raise
				return story.verdict()


def login(server, user):
	return server.authenticated(user).bind("demo")


def time_in_store(server, query):
	"""Microseconds of the storage driver for a query, with its iterator run to the end."""
	return float(server.lua(f"""
		local archive = require "core.storagemanager".open("{HOST}", "archive", "archive");
		local clock, rounds = os.clock, 200;
		local began = clock();
		for _ = 1, rounds do
			for id in archive:find("carol", {query}) do end
		end
		return tostring((clock() - began) / rounds * 1e6)"""))


def read_archive(carol):
	"""Reads carol's missed messages page by page; prints the first few pages and the last."""
	bodies, last, number = [], None, 0
	while True:
		began = time.monotonic()
		page = mam.query(carol, max=PAGE, after=last)
		took = 1000 * (time.monotonic() - began)
		number, last, bodies = number + 1, page.last, bodies + page.bodies
		if number <= SHOWN or page.complete:
			told = f"page {number:>2}: {page.bodies[0]} ... {page.bodies[-1]}, of {page.count} in all"
			say(f"    {told}", f"{took:>5.1f} ms")
		elif number == SHOWN + 1:
			say("    ...")
		if page.complete:
			return bodies


def tell_archive_story(server):
	"""Carol is offline, and the server is killed. Returns whether all her messages are in the archive."""
	sent = [f"message {n}" for n in range(MISSED)]
	say()
	bob = login(server, "bob")
	for body in sent:
		bob.chat(f"carol@{HOST}", body)
	bed.wait_for(lambda: count_archived(server) == MISSED, "all messages are in carol's archive")
	say(f"carol is offline; bob sends {MISSED} messages")
	server.kill()
	server.close_clients()
	server.start()
	say("the server is killed, and restarted")
	carol = login(server, "carol")
	say(f"carol connects, and reads the missed messages in pages of {PAGE}")
	received = read_archive(carol)
	say(f"    time in the store for the last page of {PAGE}, with its count",
		f"{time_in_store(server, f'{{ reverse = true, limit = {PAGE}, total = true }}'):>5.0f} us")
	say("    time to count the messages with bob in a time range",
		f"{time_in_store(server, f'{{ with = [[bob@{HOST}]], start = 1, total = true, limit = 0 }}'):>5.1f} us")
	say()
	return judge("carol's archive", sent, received)


def count_archived(server):
	"""The number of messages in carol's archive."""
	return int(server.lua(f"""
		local _, total = require "core.storagemanager".open("{HOST}", "archive", "archive"):find("carol",
			{{ limit = 0, total = true }});
		return tostring(total)"""))


def invite(server):
	shell = [f"build/prosody-{server.version}/prosodyctl", "--config",
		str(server.config.relative_to(bed.PROJECT)), "shell"]
	print(f"""
The server keeps running. Connect a client of your own, without TLS:
  account     you@{HOST}, password {bed.PASSWORD}   (alice and bob have the same password)
  TCP         127.0.0.1, port {server.port}
  WebSocket   ws://127.0.0.1:{server.http_port}/xmpp-websocket
  log         {server.logfile.relative_to(bed.PROJECT)}
  shell       {shlex.join(shell)}
Ctrl-C ends it.""", flush=True)


def interrupt(*_):
	raise KeyboardInterrupt


def main():
	if not bed.VERSIONS:
		sys.exit("demo: no Prosody below build/: run tests/setup prosody")
	for number in (signal.SIGINT, signal.SIGTERM):
		signal.signal(number, interrupt)
	server = start_server()
	try:
		print(f"Prosody {server.lua('return prosody.version')} with lua/mod_smacks and lua/mod_storage_native on 127.0.0.1:{server.port};"
			" clients: libstrophe, alice's through a proxy\n", flush=True)
		if not (tell_story(server) and tell_archive_story(server)):
			return 1
		server.assert_no_traceback()
		if os.environ.get("ONCE"):
			server.stop()
			return 0
		invite(server)
		server.process.wait()
		sys.exit("demo: the server has exited")
	finally:
		server.discard()


if __name__ == "__main__":
	try:
		sys.exit(main())
	except KeyboardInterrupt:
		print("\nstopped")
	except (AssertionError, OSError, RuntimeError, subprocess.SubprocessError, bed.xmpp.Timeout,
			bed.xmpp.Closed) as error:
		sys.exit(f"demo: failed: {error}")
