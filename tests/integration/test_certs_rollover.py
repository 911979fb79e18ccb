"""prosodyctl mod_certs rollover: a certificate is replaced, and peers with DANE accept it at any time."""
import json
import re
import time

from test_certs_check import FIRST_NAME_SERVER, OK, SECOND_NAME_SERVER, SERVERS, behaviour, check
from certsite import bad, tool
from authority import SERVER, openssl
from suite import every_version


def rollover(site, certificate, *words, status, subject="good.lab"):
	output = tool(site, "rollover", subject, "--new", certificate.file, *words, "--json")
	assert output.status == status, output
	return json.loads(output.out)


def records(found, which):
	"""{name: {"usage selector match data"}}"""
	names = {}
	for each in found[which]:
		names.setdefault(each["name"], set()).add(f"{each['usage']} {each['selector']} {each['match']} {each['data']}")
	return names


def republish(site, *tlsa):
	"""The zone with these TLSA records instead."""
	zone = site.lab.zone("lab")
	zone.records = [record for record in zone.records if " TLSA " not in record]
	for port in site.places:
		zone.add(f"_{port}._tcp.xmpp.good", "TLSA", *tlsa)
	site.lab.start()


def everywhere(site, *tlsa):
	return {f"_{port}._tcp.xmpp.good.lab": set(tlsa) for port in site.places}


def note_of(site):
	return next((site.directory / "data/mod_certs").glob("rollover-*.json"))


def let_time_pass(site, seconds):
	"""Moves the times of the observed records back."""
	note = json.loads(note_of(site).read_text())
	for spot in note["spots"].values():
		spot["seen"] = {record: max(0, since - seconds) for record, since in spot["seen"].items()}
	note_of(site).write_text(json.dumps(note))


def switch(site, certificate):
	site.install("good.lab", certificate)
	site.kill()
	site.start()


@every_version
@behaviour("rollover goes step by step: add, wait twice the TTL, switch, remove, done")
def rollover_goes_step_by_step(site):
	old = site.good()
	new = site.issue("good.lab", name="new")
	site.go()
	was, will = old.tlsa(3, 1, 1), new.tlsa(3, 1, 1)
	for _ in range(2):  # queries do not change the state
		found = rollover(site, new, status=1)
		assert (found["step"], found["safe"]) == ("add", False) and not found["problems"], found
		assert records(found, "add") == everywhere(site, will), found
		assert records(found, "remove") == everywhere(site, was), found
		assert {each["ttl"] for each in found["add"]} == {60}, found
	republish(site, was, will)
	before = time.time()
	found = rollover(site, new, status=1)
	assert found["step"] == "wait" and not found["add"] and not found["problems"], found
	assert int(before) + 120 <= found["until"] <= time.time() + 120, found
	assert rollover(site, new, status=1)["until"] == found["until"]
	let_time_pass(site, 100)
	assert rollover(site, new, status=1)["until"] == found["until"] - 100
	let_time_pass(site, 21)
	found = rollover(site, new, status=0)
	assert (found["step"], found["safe"]) == ("switch", True), found
	assert {each["serves"] for each in found["listeners"]} == {"old"} and len(found["listeners"]) == 8, found
	switch(site, new)
	found = rollover(site, new, status=0)
	assert found["step"] == "remove" and records(found, "remove") == everywhere(site, was), found
	assert {each["serves"] for each in found["listeners"]} == {"new"}, found
	republish(site, will)
	found = rollover(site, new, status=0)
	assert found["step"] == "done" and not found["remove"] and not found["warnings"], found
	assert check(site, status=OK).rows_of("DANE")


@behaviour("rollover prints the plan, with the records in the format of a zone file")
def the_plan_shows_zone_file_records(site):
	old = site.good()
	new = site.issue("good.lab", name="new")
	site.go()
	output = tool(site, "rollover", "good.lab", "--new", new.file)
	assert output.status == 1 and not output.err, output
	for certificate in (old, new):
		record = certificate.tlsa(3, 1, 1)
		assert all(f"_{port}._tcp.xmpp.good.lab. 60 IN TLSA {record}" in output.out for port in site.places), output
	assert re.search(r"1 now +publish.*2 then +wait.*120 seconds.*3 then +install.*4 then +remove", output.out, re.S), output
	assert "must not be switched yet" in output.out, output
	republish(site, old.tlsa(3, 1, 1), new.tlsa(3, 1, 1))
	assert re.search(r"1 done.*2 now +wait.*\n +until \d{4}-\d\d-\d\d .*3 then", tool(site, "rollover", "good.lab", "--new",
		new.file).out, re.S)


@behaviour("rollover restarts the wait after a record was missing, and for another certificate")
def waiting_starts_again_for_a_lost_record(site):
	old = site.good()
	new, other = (site.issue("good.lab", name=name) for name in ("new", "other"))
	site.go()
	both = old.tlsa(3, 1, 1), new.tlsa(3, 1, 1)
	republish(site, *both)
	first = rollover(site, new, status=1)["until"]
	let_time_pass(site, 200)
	assert rollover(site, new, status=0)["step"] == "switch"
	republish(site, both[0])
	assert rollover(site, new, status=1)["step"] == "add"
	republish(site, *both)
	assert rollover(site, new, status=1)["until"] >= first
	republish(site, *both, other.tlsa(3, 1, 1))
	let_time_pass(site, 200)
	assert rollover(site, other, status=1)["step"] == "wait"


@behaviour("rollover does not call the switch safe while a published combination would not match")
def an_unmatched_combination_is_unsafe(site):
	old = site.good(tlsa=[(3, 1, 1), (3, 0, 2), (2, 0, 1)])
	new = site.issue("good.lab", name="new")
	site.go()
	authority, unknown = site.lab.intermediate.tlsa(2, 0, 1), "3 1 9 abcd"
	republish(site, old.tlsa(3, 1, 1), new.tlsa(3, 1, 1), old.tlsa(3, 0, 2), authority, unknown)
	found = rollover(site, new, status=1)
	assert not found["problems"] and found["step"] == "add" and records(found, "add") == everywhere(site, new.tlsa(3, 0, 2)), found
	private = site.issue("good.lab", issuer=site.lab.private, name="elsewhere", chain=[])
	found = rollover(site, private, status=1)
	assert any("no 2 0 1 record matches the new chain" in problem for problem in found["problems"]), found


@behaviour("rollover warns of a new chain that is valid only by DANE, and still calls the switch safe")
def a_chain_untrusted_without_dane_is_a_warning(site):
	site.good(tlsa=[])
	new = site.issue("good.lab", name="new", chain=[])
	site.go()
	found = rollover(site, new, status=0)
	assert found["safe"] and re.search("peers without DANE do not accept .*issuer", " ".join(found["warnings"])), found


@behaviour("rollover with the same key needs neither a new record nor a wait")
def the_same_key_needs_no_waiting(site):
	old, issuer = site.good(), site.lab.intermediate
	extensions, again = (site.directory / name for name in ("extensions", "again.pem"))
	extensions.write_text(SERVER.format(purpose="serverAuth").replace("@names", "DNS:good.lab"))
	again.write_bytes(openssl("x509", "-req", "-in", old.request, "-CA", issuer.alone, "-CAkey", issuer.key, "-days", 90,
		"-extfile", extensions) + issuer.alone.read_bytes())
	site.go()
	output = tool(site, "rollover", "good.lab", "--new", again, "--json")
	found = json.loads(output.out)
	assert output.status == 0 and found["step"] == "switch" and not found["add"] + found["remove"], output


@behaviour("rollover detects a new certificate that was installed too early, and old records that were removed")
def early_switch_and_lost_records_are_seen(site):
	old = site.good()
	new = site.issue("good.lab", name="new")
	site.go()
	switch(site, new)
	found = rollover(site, new, status=1)
	assert found["step"] == "add" and any("publish them now, or restore the old certificate" in text for text in found["problems"]), found
	switch(site, old)
	republish(site, new.tlsa(3, 1, 1))
	found = rollover(site, new, status=1)
	assert found["step"] == "wait" and any("does not match the 3 1 1 record" in text for text in found["warnings"]), found


def on_two_servers(site, *tlsa):
	"""good.lab as a zone of its own, with these TLSA records on its first and on its second name server."""
	zones = {}
	for number, records_there in zip((FIRST_NAME_SERVER, SECOND_NAME_SERVER), tlsa):
		zone = site.child("good", SERVERS)
		site.publish("good.lab", records_there, zone=zone)
		zones[number] = [zone]
	site.serve_zones(zones)


@behaviour("rollover waits for every name server")
def every_name_server_is_awaited(site):
	old, new = (site.issue("good.lab", name=name) for name in ("old", "new"))
	site.serve("good.lab", old)
	both = old.tlsa(3, 1, 1), new.tlsa(3, 1, 1)
	on_two_servers(site, both, both[:1])
	site.go()
	found = rollover(site, new, status=1)
	assert found["step"] == "add" and records(found, "add") == everywhere(site, both[1]), found
	assert not any(both[1] in spot["seen"] for spot in json.loads(note_of(site).read_text())["spots"].values())


@behaviour("rollover is not safe while a name server does not answer, and does not restart")
def a_silent_name_server_makes_it_unsafe(site):
	old, new = (site.issue("good.lab", name=name) for name in ("old", "new"))
	site.serve("good.lab", old)
	both = old.tlsa(3, 1, 1), new.tlsa(3, 1, 1)
	on_two_servers(site, both, both)
	site.go()
	assert rollover(site, new, status=1)["step"] == "wait"
	let_time_pass(site, 200)
	note = json.loads(note_of(site).read_text())
	site.extra.pop().stop()
	found = rollover(site, new, status=1)
	assert any("two.good.lab (" in text and "no authoritative answer" in text for text in found["problems"]), found
	assert json.loads(note_of(site).read_text()) == note


@behaviour("rollover does not start the wait while a name server does not answer")
def a_silent_name_server_delays_the_start(site):
	old, new = (site.issue("good.lab", name=name) for name in ("old", "new"))
	site.serve("good.lab", old)
	both = old.tlsa(3, 1, 1), new.tlsa(3, 1, 1)
	on_two_servers(site, both, both)
	site.go()
	site.extra.pop().stop()
	assert rollover(site, new, status=1)["step"] == "wait"
	assert not any(both[1] in spot["seen"] for spot in json.loads(note_of(site).read_text())["spots"].values())


@behaviour("rollover does not call the switch safe while the served certificate is unknown")
def an_unknown_served_certificate_is_unsafe(site):
	old = site.good()
	new = site.issue("good.lab", name="new")
	site.lab.zone("lab").break_signature("xmpp.good", "AAAA")
	site.go()
	republish(site, old.tlsa(3, 1, 1), new.tlsa(3, 1, 1))
	assert rollover(site, new, status=1)["step"] == "wait"
	let_time_pass(site, 200)
	found = rollover(site, new, status=1)
	assert not found["safe"] and any("xmpp.good.lab AAAA: bogus" in text for text in found["problems"]), found


@behaviour("rollover waits if a target does not have an address, and does not call the switch safe")
def a_target_without_address_is_unsafe(site):
	old = site.good()
	new = site.issue("good.lab", name="new")
	zone = site.lab.zone("lab")
	zone.records = [record for record in zone.records if not re.match(r"xmpp\.good\S* .* (A|AAAA) ", record)]
	site.go()
	republish(site, old.tlsa(3, 1, 1), new.tlsa(3, 1, 1))
	found = rollover(site, new, status=1)
	assert found["step"] == "wait" and not found["listeners"], found
	assert any("xmpp.good.lab has no known address" in text for text in found["problems"]), found


@behaviour("rollover names records behind an alias by their own names")
def records_behind_an_alias_are_shown_there(site):
	old = site.good(tlsa=[])
	new = site.issue("good.lab", name="new")
	zone = site.lab.zone("lab")
	zone.add("tlsa.good", "TLSA", old.tlsa(3, 1, 1))
	zone.add(f"_{site.s2s_port}._tcp.xmpp.good", "CNAME", "tlsa.good.lab.")
	site.go()
	found = rollover(site, new, status=1)
	assert records(found, "add") == {"tlsa.good.lab": {new.tlsa(3, 1, 1)}} and not found["problems"], found


@behaviour("rollover does not wait without TLSA records, and still verifies the new certificate")
def without_tlsa_nothing_is_awaited(site):
	site.good(tlsa=[])
	site.go()
	found = rollover(site, site.issue("good.lab", name="new"), status=0)
	assert found["step"] == "switch" and not found["add"], found
	for name, settings, text in (("old", {"days": (-9, -1)}, "has expired"), ("early", {"days": (1, 9)}, "not valid yet"),
			("foreign", {"names": ["DNS:elsewhere.lab"]}, "does not name good.lab for xmpp-server")):
		found = rollover(site, site.issue("good.lab", name=name, **settings), status=1)
		assert any(text in problem for problem in found["problems"]), found
	bad(site, "rollover", "elsewhere.lab", "--new", "/dev/null", status=2, says="neither a configured host nor a file")
	bad(site, "rollover", "good.lab", "--new", "/nonexistent", says="No such file")


@behaviour("rollover never says at the same time to install a certificate and not to switch")
def the_verdict_never_contradicts_itself(site):
	site.good(tlsa=[])
	site.go()
	good_one, foreign = site.issue("good.lab", name="new"), site.issue("good.lab", ["DNS:elsewhere.lab"], name="foreign")
	text = tool(site, "rollover", "good.lab", "--new", good_one.file).out
	assert "  3 now   install the new certificate, then prosodyctl reload\n" in text, text
	output = bad(site, "rollover", "good.lab", "--new", foreign.file, says="does not name good.lab for xmpp-server")
	assert "must not be switched yet" in output.out and " now " not in output.out, output
	assert "  3 then  install the new certificate" in output.out, output
