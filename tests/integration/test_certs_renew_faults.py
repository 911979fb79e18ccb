"""prosodyctl mod_certs renew with errors: in its input, in DNS, in files, and with simultaneous calls."""
import json
import os
import subprocess
import threading

from certsite import TOOL, bad, tool
from renewsite import HOST, behaviour, fingerprint
from suite import every_version

NOBODY = 65534


@behaviour("unusable input is rejected before the first step, and the text says why")
def unusable_input_is_refused(site):
	site.go()
	new, other = (site.issue(HOST, name=name) for name in ("new", "other"))
	wrong = site.issue(HOST, names=["DNS:elsewhere.lab"], name="wrong")
	expired, early = site.issue(HOST, name="expired", days=(-9, -1)), site.issue(HOST, name="early", days=(2, 9))
	unknown = site.issue(HOST, issuer=site.lab.private, name="unknown", chain=[])
	locked = site.directory / "locked.key"
	subprocess.run(["openssl", "pkey", "-in", new.key, "-aes128", "-passout", "pass:secret", "-out", locked], check=True)
	before = site.everything()
	for certificate, key, says in ((new.file, other.key, "private key does not belong to the first certificate"),
			(wrong.file, wrong.key, f"not valid for clients of {HOST}; .*not valid for servers of {HOST}"),
			(unknown.file, unknown.key, "clients trust the old certificate, but not the new one: .*issuer"),
			(expired.file, expired.key, "has expired"), (early.file, early.key, "not valid yet"),
			(new.file, locked, "key is missing or cannot be read"), (new.key, new.key, "certificate is missing or cannot be read"),
			(site.file(), site.file(".key"), "Prosody uses this file"), ("/nothing.pem", new.key, "No such file"),
			(new.file, new.file, "no private key in the file of --key")):
		bad(site, "renew", HOST, "--new", certificate, "--key", key, says=says)
	for words, says in ((["--new", new.file], "need a HOST or FILE"), ([HOST, "--key", new.key], "--key needs --new"),
			([HOST, "--new", "-", "--key", "-"], "--key must be a file"), (["elsewhere.lab"], "neither a configured host"), ([HOST, HOST], "too many")):
		bad(site, "renew", *words, status=2, says=says)
	assert site.everything() == before and site.served() == {fingerprint(site.old.file.read_text())}


@behaviour("a failed publication says why, does not change anything else, and is retried by the next call")
def failed_publishing_is_retried(site):
	new = site.issue(HOST, name="new")
	site.publisher.handle = lambda lines: (3, "the zone is locked\n\x1b[31mby somebody")
	site.go()
	for words in ([HOST, "--new", new.file, "--key", new.key], []):
		output = tool(site, "renew", *words)
		assert output.status == 1 and "cannot publish 4 records" in output.out, output
		assert "failed with status 3: the zone is locked; \\x1b[31mby somebody" in output.err, output
	assert site.published() == {site.old.tlsa(3, 1, 1)} and site.files() == fingerprint(site.old.file.read_text())
	site.publisher.handle = site.apply
	assert site.renew()["step"] == "wait"


@behaviour("a program that does not exit is killed, and one that cannot be run is reported")
def hanging_and_missing_programs_are_reported(site):
	new = site.issue(HOST, name="new")
	site.options["certs_dns_timeout"] = 1
	forever = site.directory / "forever"
	forever.write_text("#!/bin/sh\necho begun\nexec sleep 1000\n")
	forever.chmod(0o755)
	site.options["certs_dns_command"] = forever
	site.go()
	found = site.hand_in(new, status=1)
	assert "did not end within 1 second: begun" in found["problems"][0], found
	site.options["certs_dns_command"] = "/nonexistent/publish"
	site.rewrite_config()
	assert "/nonexistent/publish" in site.renew(status=1)["problems"][0]
	site.options["certs_dns_command"] = {"a": 1}
	site.rewrite_config()
	assert "certs_dns_command is the path of a program" in site.renew(status=1)["problems"][0]


@behaviour("records that do not appear in DNS are waited for, and reported after an hour")
def records_that_never_appear_are_reported(site):
	new = site.issue(HOST, name="new")
	site.publisher.handle = lambda lines: (0, "taken")
	site.go()
	found = site.hand_in(new)
	assert found["step"] == "publish" and "until all name servers have" in found["text"], found
	assert site.renew()["step"] == "publish"
	site.pass_time(3700)
	found = site.renew(status=1)
	assert found["step"] == "publish" and "name servers do not have the change after 6" in found["problems"][0], found
	assert site.files() == fingerprint(site.old.file.read_text())
	site.publisher.handle = site.apply
	assert site.renew()["step"] == "wait"


@behaviour("updates go to nsupdate in the form that it reads, one message for each zone, signed with the key")
def nsupdate_gets_one_signed_message_per_zone(site):
	new = site.issue(HOST, name="new")
	program, seen = site.directory / "nsupdate", site.directory / "seen"
	program.write_text(f'#!/bin/sh\n{{ printf "<%s>" "$@"; echo; cat; echo; }} >>"{seen}"\necho "update failed: REFUSED" >&2\nexit 2\n')
	program.chmod(0o755)
	del site.options["certs_dns_command"]
	site.options["certs_dns_update"] = {"server": "192.0.2.53", "port": 5353, "key": "/it's/tsig.key", "program": program}
	site.go()
	found = site.hand_in(new, status=1)
	assert f"{program} failed with status 2: update failed: REFUSED" in found["problems"][0], found
	head, *lines = seen.read_text().splitlines()
	assert head == "<-k></it's/tsig.key>" and lines[:2] == ["server 192.0.2.53 5353", "zone lab."] and lines[-2:] == ["send", ""]
	assert sorted(lines[2:-2]) == sorted(f"update add _{port}._tcp.xmpp.{HOST}. 60 TLSA {new.tlsa(3, 1, 1)}" for port in site.places)
	for changes, says in (({"server": "a b"}, "server is the address"), ({"port": "x"}, "port is a number"),
			({"zone": "a\nb"}, "zone is a domain"), ({"key": 1}, "key is the path"), ({"program": "none"}, "none is not installed")):
		site.options["certs_dns_update"] = {"server": "192.0.2.53", "program": program, **changes}
		site.rewrite_config()
		assert says in site.renew(status=1)["problems"][0]


@every_version
@behaviour("of two simultaneous calls the second says so and succeeds, and its certificate is not lost")
def a_concurrent_call_loses_nothing(site):
	first, second = (site.issue(HOST, name=name) for name in ("first", "second"))
	entered, leave = threading.Event(), threading.Event()

	def slowly(lines):
		entered.set()
		assert leave.wait(60)
		return site.apply(lines)
	site.publisher.handle = slowly
	site.go()
	outputs = []
	call = threading.Thread(target=lambda: outputs.append(tool(site, "renew", HOST, "--new", first.file, "--key", first.key)))
	call.start()
	assert entered.wait(60)
	cron, hook = tool(site, "renew"), tool(site, "renew", HOST, "--new", second.file, "--key", second.key)
	busy = tool(site, "renew", "--json")
	leave.set()
	call.join()
	assert cron.status == 0 and cron.out == "another renew is running; the next call continues\n", cron
	assert hook.status == 0 and hook.out == f"{HOST}.crt: accepted, but another renew is running; the next call continues\n", hook
	assert busy.status == 0 and json.loads(busy.out) == {"renewals": [], "busy": True}, busy
	assert outputs[0].status == 0 and not (site.slot / "incoming.pem").exists(), outputs
	site.publisher.handle = site.apply
	assert site.renew()["step"] == "wait"
	site.pass_time(200)
	found = site.renew()
	assert found["step"] == "done", found
	assert site.files() == fingerprint(second.file.read_text()) and site.published() == {second.tlsa(3, 1, 1)}


@behaviour("a directory that cannot be written is named, and nothing is changed")
def a_read_only_directory_is_reported(site):
	new = site.issue(HOST, name="new")
	site.go()
	site.hand_in(new)
	site.pass_time(200)
	as_nobody = [] if os.geteuid() else ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
	for path in (site.directory, site.lab.directory):
		path.chmod(0o755)
	if as_nobody:
		subprocess.run(["chown", "-R", str(NOBODY), site.directory / "data"], check=True)
	os.chmod(site.directory / "certs", 0o555)
	os.chmod(site.file(".key"), 0o644)
	before = site.served(), site.files()
	done = subprocess.run([*as_nobody, *map(str, TOOL.command(site, "renew"))], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
		stderr=subprocess.PIPE, text=True, timeout=60, check=False)
	assert done.returncode == 1 and "cannot install" in done.stdout, done
	assert f"certs/.{HOST}.crt.switch: Permission denied; prosodyctl works as the user" in done.stderr, done
	os.chmod(site.directory / "certs", 0o755)
	assert (site.served(), site.files()) == before and site.published() == {site.old.tlsa(3, 1, 1), new.tlsa(3, 1, 1)}
	assert site.renew()["step"] == "done"


@behaviour("a certificate that is superseded by another one does not leave records behind")
def an_overtaken_certificate_leaves_no_record(site):
	first, second = (site.issue(HOST, name=name) for name in ("first", "second"))
	site.go()
	assert site.hand_in(first)["step"] == "wait"
	assert site.hand_in(second)["step"] == "wait"
	assert site.published() == {each.tlsa(3, 1, 1) for each in (site.old, first, second)}
	site.pass_time(200)
	found = site.renew()
	assert found["step"] == "done" and site.published() == {second.tlsa(3, 1, 1)}, (found, site.published())


@behaviour("an unreadable file in renew's directory is reported")
def unreadable_state_is_reported(site):
	new = site.issue(HOST, name="new")
	site.go()
	site.hand_in(new)
	(site.slot / "state.json").write_text("{ nothing")
	assert site.renew()["step"] == "wait"
	(site.slot / "new.pem").write_text("nothing")
	found = site.renew(status=1)
	assert found["text"] == "unusable certificate" and found["problems"], found
	assert site.hand_in(new)["step"] == "wait"
