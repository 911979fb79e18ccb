"""prosodyctl mod_NAME as an operator runs it: by a script, or at a terminal."""
import os
import pty
import re
import subprocess
import threading

import bed

TIMEOUT = 35


class Output:
	"""The status and the output of a command."""

	def __init__(self, status, out, err):
		self.status, self.out, self.err = status, out, err

	def __repr__(self):
		return f"<status {self.status}\n{self.out}--- errors\n{self.err}>"


class Tool:
	"""The commands of one module. `server` is a bed.Prosody; it need not run."""

	def __init__(self, module):
		self.module = module

	def command(self, server, *words):
		"""For subprocess."""
		launcher = bed.PROSODIES / f"prosody-{server.version}/prosodyctl"
		return [launcher, "--config", server.config, self.module, *words]

	def run(self, server, *words, **settings):
		"""Runs it without a terminal. It may fail, but not crash."""
		done = subprocess.run(self.command(server, *words), timeout=TIMEOUT, stdin=subprocess.DEVNULL,
			stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False, **settings)
		output = Output(done.returncode, done.stdout, done.stderr)
		assert "traceback" not in (output.out + output.err).lower(), output
		assert "\x1b" not in output.out + output.err, output
		return output

	def good(self, server, *words, **settings):
		"""The output of a command that must not fail."""
		output = self.run(server, *words, **settings)
		assert output.status == 0, output
		return output.out

	def bad(self, server, *words, status=1, says="", **settings):
		"""Runs a command that must fail, and say why."""
		output = self.run(server, *words, **settings)
		assert output.status == status, output
		assert re.search(says, output.err), (says, output)
		return output

	def on_terminal(self, server, *words, environment=None):
		"""The output if both outputs are a terminal."""
		master, slave = pty.openpty()
		process = subprocess.Popen(self.command(server, *words), stdin=subprocess.DEVNULL, stdout=slave, stderr=slave,
			preexec_fn=bed.end_with_parent, env={**os.environ, **(environment or {})})
		os.close(slave)
		text = []
		reader = threading.Thread(target=_read, args=(master, text))
		reader.start()
		process.wait(TIMEOUT)
		reader.join()
		os.close(master)
		return b"".join(text).decode()


def _read(master, text):
	try:
		while data := os.read(master, 65536):
			text.append(data)
	except OSError:  # the other side is closed
		pass
