"""Scenarios as tests: a peer is configured, and every subject authenticates it in both directions, for its virtual host and
its component.

	@scenario("DANE-EE matches, names are unrelated", dane=by("dane-ee"), off=UNPROVEN)
	def _(peer):
		peer.shows(peer.lab.private, names=["DNS:elsewhere.example"])
		peer.target(tlsa=[(3, 1, 1)])

peers.Scenario lists the keywords. All scenarios of a version share one bed, which starts slowly.
"""
import functools
import multiprocessing.util
import re
import signal

import bed
import suite
from peers import MISMATCH, OTHER_PORT, REFUSED, Scenario, UNPROVEN, by, scenarios  # noqa: F401
from servers import Bed, POLICIES

OUTCOME_TIMEOUT = 20
BED_TIME_LIMIT = 120  # it is created once, and not within the time of the first test
USAGES = {"pkix-ta": 0, "pkix-ee": 1, "dane-ta": 2, "dane-ee": 3}
PROVEN_BY_DANE = {"dane-ee", "dane-ta"}


def add(title, function, version):
	"""A test, which shares the bed with all others of its version."""
	suite.tests.append(suite.Test(f"s2s_auth: {title}", function, version, functools.partial(bed_of, version),
		together=f"s2s_auth {version}"))


def scenario(title, **settings):
	def register(set_up):
		played = Scenario(title, set_up, **settings)
		scenarios.append(played)
		for version in bed.VERSIONS:
			for direction in ("outgoing", "incoming"):
				add(f"{title}, {direction}", functools.partial(play, played=played, direction=direction), version)
		return set_up
	return register


def domain(label, zone="lab"):
	"""A peer only for on_bed(), without a scenario."""
	def register(set_up):
		scenarios.append(Scenario(None, set_up, dane=None, off=None, zone=zone, label=label))
		return set_up
	return register


def on_bed(title, versions=bed.VERSIONS):
	"""A test with the bed as its argument, without a scenario."""
	def register(function):
		for version in set(versions) & set(bed.VERSIONS):
			add(title, function, version)
		return function
	return register


class Shared:
	"""The bed of this process; only one, so that few servers run at a time."""
	bed = key = None


def bed_of(version, stock):
	if Shared.key != (version, stock):
		close_bed()
		multiprocessing.util.Finalize(Shared, close_bed, exitpriority=0)  # at the end of the process
		signal.alarm(BED_TIME_LIMIT)
		Shared.bed, Shared.key = Bed(version, stock), (version, stock)
		signal.alarm(suite.TIME_LIMIT)
	return Shared.bed


def close_bed():
	if Shared.bed:
		Shared.bed.stop()
	Shared.bed = Shared.key = None


def established(server, here, there):
	"""Opens a stream and waits until it is established."""
	outcome = opened(server, here, there)
	assert outcome["established"], outcome


def opened(server, here, there):
	"""Opens a stream; returns the result."""
	server.streams("open", here, there)
	return bed.wait_for(lambda: server.outcome("outgoing", here, there), f"the stream to {there} begins or ends",
		OUTCOME_TIMEOUT)


def play(servers, played, direction):
	"""Opens a stream between the peer and each subject's host and component, and compares the results."""
	try:
		for subject in servers.subjects:
			for here in subject.domains:
				if direction == "outgoing":
					subject.streams("open", here, played.domain)
				else:
					servers.peer.streams("open", played.domain, here)
		verdicts = {(subject.policy, subject.dane): [judge(servers, subject, here, played, direction) for here in subject.domains]
			for subject in servers.subjects}
	finally:
		servers.forget(played.domain)
	if not servers.stock:
		keep_invariant(played, verdicts)


def judge(servers, subject, here, played, direction):
	"""The result of the stream is the expected one; returns the proof, or "refused"."""
	servers.judging = subject
	outcome = bed.wait_for(lambda: subject.outcome(direction, here, played.domain),
		f"the {direction} stream of {here} with {played.domain} begins or ends", OUTCOME_TIMEOUT)
	audit = None
	if outcome["established"] and outcome["secure"] and not servers.stock:
		audit = bed.wait_for(lambda: subject.audit(direction, played.domain, outcome["id"]), f"a log line of {here}")
	found, expected = verdict(outcome, audit), played.expected[direction, subject.dane]
	if expected and servers.stock:
		assert (found == "refused") == (expected[subject.policy] == "refused"), (here, outcome)
	elif expected:
		assert found == expected[subject.policy], (here, found, outcome)
	if audit:
		check_audit(servers, subject, played, direction, audit)
	elif found == "refused" and subject.dane and not servers.stock:
		why = reason(servers, here, played, direction, outcome)
		assert re.search(played.says.get(direction, ""), why), why
	return found


def verdict(outcome, audit):
	"""The proof in the log, or "refused". A stock server only logs that there is one."""
	if not outcome["established"]:
		return "refused"
	if audit:
		return audit["proof"]
	return "valid" if outcome.get("chain") == outcome.get("identity") == "valid" else "none"


def check_audit(servers, subject, played, direction, audit):
	"""The log line names the peer's key, the state of DNS, and the record that matches."""
	assert audit["key"] == servers.keys[played.domain], audit
	assert audit["state"] == (played.states[direction] if subject.dane else "off"), audit
	if audit["proof"] in USAGES:
		assert audit["record"].startswith(f"{USAGES[audit['proof']]} "), audit
	else:
		assert audit["record"] == "none", audit


def reason(servers, here, played, direction, outcome):
	"""The reason for the refusal: the error to the peer, or in the subject's log if there was no stream."""
	if direction == "incoming":
		outcome = bed.wait_for(lambda: servers.peer.outcome("outgoing", played.domain, here), "the peer is told")
	return outcome.get("reason") or ""


def keep_invariant(played, verdicts):
	"""DANE accepts a peer that the policy alone refuses only if a secure record matches."""
	for policy in POLICIES:
		for dane, off in zip(verdicts[policy, True], verdicts[policy, False]):
			if off == "refused" and dane != "refused":
				assert dane in PROVEN_BY_DANE or played.named_by_srv or played.completed, (policy, dane, off)
