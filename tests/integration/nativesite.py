"""Shared by the tests of prosodyctl mod_native check: a server, its findings."""
import functools
import json
import os
import re
import resource
import subprocess

import bed
import suite
from terminal import Tool

OK, ERRORS, USAGE, WARNINGS = 0, 1, 2, 3
ENOUGH_FILES, FEW_FILES = 8192, 1024
TOOL = Tool("mod_native")
behaviour = functools.partial(suite.behaviour, once=True)


def site(options=None, modules=("native",), **settings):
	"""A server without problems, except for the given changes."""
	return {"modules": list(modules), "options": {"storage": "native", **(options or {})}, **settings}


def check(server, status, **settings):
	"""The report of check --json, with this status, or any if it is None."""
	output = TOOL.run(server, "check", "--json", **settings)
	assert status in (output.status, None) and not output.err, output
	return json.loads(output.out.splitlines()[-1])  # Prosody itself reports a missing library first


def allow_files(server, count):
	_, most = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
	resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (count, most))


def findings(server, status, **settings):
	"""{(severity, about): finding}, without the number of open files."""
	if server.process.poll() is None:
		allow_files(server, ENOUGH_FILES)
	return {(f["severity"], f["about"]): f for f in check(server, status, **settings)["findings"]}


def configure(server, modules=None, **options):
	"""Change the configuration, not the running server."""
	server.options.update(options)
	server.modules = modules or server.modules
	server.rewrite_config()


def with_slow_syncs(server, milliseconds, files):
	"""Start it on a disk that takes so much longer for each sync of files with this text in their paths."""
	library = server.directory / "slow_sync.so"
	subprocess.run([os.environ.get("CC", "gcc"), "-shared", "-fPIC", "-o", library, bed.PROJECT / "tests/integration/slow_sync.c"],
		check=True)
	server.run_by = ["env", f"LD_PRELOAD={library}", f"SLOW_SYNC={milliseconds}", f"SLOW_FILE={files}"]
	server.start()


def expect(server, severity, about, what="", line="", count=1, **settings):
	"""The number of findings, one of which is this."""
	found = findings(server, {"error": ERRORS, "warning": WARNINGS, "advice": OK}[severity], **settings)
	assert len(found) == count, found
	finding = found[severity, about]
	assert re.search(what, finding["what"]) and re.search(line, finding.get("line", "")), finding
	assert finding["why"], finding
	return finding
