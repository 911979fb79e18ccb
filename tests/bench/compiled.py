"""The compiled programs of the benchmarks."""
import subprocess
import sys

from server import bed

DIRECTORY = bed.BUILD / "release/tests/bench"
CORE, LOAD, RELAY, WRITTEN = (DIRECTORY / name for name in ("core", "load", "relay", "written.so"))


def build():
	"""Compile those that are older than their sources."""
	names = [program.relative_to(bed.PROJECT) for program in (CORE, LOAD, RELAY, WRITTEN)]
	subprocess.run(["make", "-s", "-C", bed.PROJECT, *names], check=True, stdout=sys.stderr)
