"""Real XMPP clients as programs: clients/ has one for each library, with a common protocol.

A program is started with PORT HOST USER PASSWORD, reads commands from its standard input, a line
each, and ends with it:

	connect             log in; repeated, resume the session
	send JID BODY       a message of type "chat"

and prints what happens, a line each:

	bound JID           a new session, with stream management and resumption enabled
	resumed             the session goes on
	disconnected        the connection is gone
	sent BODY           the library has noted a message and written it to its connection
	received BODY
	acked H             the server has handled H of its stanzas
"""
import collections
import os
import subprocess
import threading

import bed
import xmpp
from bed import BUILD, PROJECT

SOURCES = PROJECT / "tests/integration/clients"
INSTALLED = BUILD / "clients"
ENVIRONMENT = {"NODE_PACKAGES": str(INSTALLED / "node_modules"), "PYTHONPATH": str(BUILD / "slixmpp"),
	"PYTHONDONTWRITEBYTECODE": "1", "PYTHONUTF8": "1"}
LINES_OF_A_REPORT = 20


def compiled(library):
	"""The program clients/LIBRARY.c, rebuilt if its source is newer."""
	source, program = SOURCES / f"{library}.c", INSTALLED / library
	if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
		INSTALLED.mkdir(parents=True, exist_ok=True)
		new = program.with_suffix(f".{os.getpid()}")  # another run may be executing the old one
		subprocess.run([os.environ.get("CC", "gcc"), "-std=c11", "-D_POSIX_C_SOURCE=200809L", "-Wall", "-Wextra",
			"-Wconversion", "-Werror", "-O1", "-o", new, source, "-l" + library.removeprefix("lib")], check=True)
		new.rename(program)
	return program


# The command of each library
COMMANDS = {
	"@xmpp/client over TCP": lambda: ["node", SOURCES / "xmpp_client.mjs", "tcp"],
	"@xmpp/client over WebSocket": lambda: ["node", SOURCES / "xmpp_client.mjs", "websocket"],
	"libstrophe": lambda: [compiled("libstrophe")],
	"slixmpp": lambda: ["/usr/bin/python3", SOURCES / "slixmpp_client.py"],
}


class Program:
	"""A running program. Its output is in .seen: the rests of its lines by their first word."""

	def __init__(self, library, port, host, user):
		self.seen, self.lines = collections.defaultdict(list), []
		self.process = subprocess.Popen([*COMMANDS[library](), str(port), host, user, bed.PASSWORD],
			env={**os.environ, **ENVIRONMENT}, preexec_fn=bed.end_with_parent, encoding="utf-8", bufsize=1,
			stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
		self.changed = threading.Condition()
		self.thread = threading.Thread(target=self._read, daemon=True)
		self.thread.start()

	def _read(self):
		for line in self.process.stdout:
			word, _, rest = line.rstrip("\n").partition(" ")
			with self.changed:
				self.lines.append(line)
				self.seen[word].append(rest)
				self.changed.notify_all()

	def command(self, *words):
		self.process.stdin.write(" ".join(words) + "\n")

	def wait(self, condition, what, timeout=xmpp.READ_TIMEOUT):
		"""Wait until condition(seen) is true; returns its value."""
		with self.changed:
			if self.changed.wait_for(lambda: condition(self.seen), timeout):
				return condition(self.seen)
			printed = "".join(self.lines[-LINES_OF_A_REPORT:])
		raise xmpp.Timeout(f"waited {timeout} s in vain: {what}; the client printed:\n{printed}")

	def expect(self, word, count=1):
		"""Wait until `count` lines have begun with this word; returns the rest of the last one."""
		return self.wait(lambda seen: len(seen[word]) >= count and seen[word], f"{word} {count} times")[count - 1]

	# --- commands, done when they return ---

	def connect(self):
		"""Log in; from then on .jid is the full JID."""
		self.command("connect")
		self.jid = self.expect("bound")

	def resume(self):
		done = len(self.seen["resumed"])
		self.command("connect")
		self.expect("resumed", done + 1)

	def send(self, to, *bodies):
		done = len(self.seen["sent"])
		for body in bodies:
			self.command("send", to, body)
		self.expect("sent", done + len(bodies))

	def stop(self):
		self.process.kill()
		self.process.wait()
		self.process.stdin.close()
		self.thread.join()
		self.process.stdout.close()

	def __enter__(self):
		return self

	def __exit__(self, *_):
		self.stop()
