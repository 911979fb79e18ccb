"""Counters of the proofs of other servers, in mod_native and in metrics."""
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lab"))

from play import established, on_bed, opened  # noqa: E402
from test_s2s_auth_operation import MISMATCHING, VALID  # noqa: E402

FIGURES = """
	local modulemanager, counted = require "core.modulemanager", {};
	for _, figure in ipairs(modulemanager.get_items("native-status", "*")[1].figures()) do
		for _, row in ipairs(figure.rows or {}) do
			counted[figure.name.." "..row[1].." incoming"], counted[figure.name.." "..row[1].." outgoing"] = row[2], row[3];
		end
	end
	return require "util.json".encode(counted)"""


def counted(server):
	return json.loads(server.lua(FIGURES))


def growth(server, action):
	"""The changes of the counters during an action."""
	before = counted(server)
	action()
	return {name: count - before[name] for name, count in counted(server).items() if count != before[name]}


@on_bed("proofs and refusals are counted, on the way out and on the way in")
def proofs_and_refusals_are_counted(servers):
	subject = servers.subject("strict", True)
	try:
		assert growth(subject, lambda: established(subject, subject.domain, VALID)) == {"proofs pkix outgoing": 1}
		assert growth(subject, lambda: opened(subject, subject.domain, MISMATCHING)) == {
			"proofs none outgoing": 1, "refused mismatch outgoing": 1}
		assert growth(subject, lambda: established(servers.peer, VALID, subject.domain)) == {"proofs pkix incoming": 1}
		assert growth(subject, lambda: opened(servers.peer, MISMATCHING, subject.domain)) == {
			"proofs none incoming": 1, "refused mismatch incoming": 1}
	finally:
		servers.forget(VALID)
		servers.forget(MISMATCHING)
