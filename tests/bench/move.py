"""Moving archives between SQLite and the database with prosodyctl, as a whole: messages a second."""
import json
import subprocess
import time

from corpus import MANY, ONE, SHAPES, Corpus
from samples import Samples
from scale import SQLite
from server import bed
from tables import Table

IMPORT, EXPORT = "import --from sql", "export --to sql"
MOVED = {IMPORT: 20_000, EXPORT: 5_000}  # messages, and a fifth more in the archive "late"
MOVED_QUICKLY = {IMPORT: 5_000, EXPORT: 1_000}
TARGETS = {(IMPORT, ONE): 20_000, (IMPORT, MANY): 10_000, (EXPORT, ONE): 5_000, (EXPORT, MANY): 5_000}


class Mover(SQLite):
	"""A stopped server with archives in SQLite, and prosodyctl beside it."""

	def stop_serving(self):
		self.settle()
		self.kill()
		self.options.update({"storage": "native", "plugin_paths": [self.plugins, *self.options["plugin_paths"]]})
		self.rewrite_config()

	def exchange(self):
		"""The archives are in the database, and SQLite has none."""
		data = self.directory / "data"
		(data / "prosody.sqlite").unlink()
		self.archive.fill_native(data / "native")

	def finish(self):
		self.assert_no_traceback()

	def prosodyctl(self, *words):
		"""A finished command of the module, and the seconds that it took."""
		launcher = bed.PROSODIES / f"prosody-{self.version}/prosodyctl"
		began = time.monotonic()
		done = subprocess.run([launcher, "--config", self.config, "mod_storage_native", *words], check=False,
			stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
		return done, time.monotonic() - began

	def move(self, command):
		"""Messages a second."""
		_, starting = self.prosodyctl("stat")  # fails without a database, in the same time
		done, taken = self.prosodyctl(*command.split(), self.host, "archive", "--json")
		if done.returncode != 0:
			raise RuntimeError(f"{command}: {done.stdout}{done.stderr}")
		moved = sum(count["target"] for count in json.loads(done.stdout)["counts"])
		if moved != self.archive.messages:
			raise RuntimeError(f"{command} has moved {moved} messages of {self.archive.messages}")
		return moved / max(taken - starting, 1e-3)


def move(_version, rounds, moved):
	samples = Samples()
	for shape in SHAPES:
		for command, size in moved.items():
			for _ in samples.rounds(rounds, most=1):
				with Mover(Corpus(shape, size)) as mover:
					mover.stop_serving()
					if command == EXPORT:
						mover.exchange()
					samples.add((command, shape), "native", mover.move(command))
	return samples


def move_tables(results, targets):
	table = Table("Moving archives", "Messages a second, from and to SQLite, with `prosodyctl mod_storage_native`; without the "
		"time that it takes to start.", "Prosody", "", *SHAPES.values())
	for version, samples in results.items():
		for command in MOVED:
			rates = {shape: samples.median((command, shape), "native") for shape in SHAPES}
			table.add(version, command, *rates.values())
			for shape, rate in rates.items():
				targets.add_least(version, f"{command}, messages a second: {SHAPES[shape]}", rate, TARGETS[command, shape])
	return [table]
