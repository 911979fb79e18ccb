"""prosodyctl mod_certs rollover beside others: a file is replaced, and records that others need stay."""
import os
import re
import shutil

import bed
from authority import openssl
from certsite import bad, tool
from suite import every_version
from test_certs_check import behaviour
from test_certs_rollover import let_time_pass, note_of, records, rollover, switch

OTHER_MACHINE = 11
HOUR = 3600


def add_host(site, name, certificate=None, component=True):
	"""A component, or a host, at good.lab's port for servers; with a certificate of its own, or without."""
	if certificate:
		site.install(name, certificate)
	if component:
		site.components[name] = "muc"
	else:
		site.more_hosts.append(name)
	label = name.removesuffix(".lab")
	site.lab.zone("lab").add(f"_xmpp-server._tcp.{label}", "SRV", f"0 5 {site.s2s_port} xmpp.good.lab.")
	site.lab.zone("lab").add(f"_xmpp-client._tcp.{label}", "SRV", "0 0 0 .")


def servers_only(site, certificate, addresses):
	"""good.lab for servers with STARTTLS alone, at these addresses."""
	zone = site.lab.zone("lab")
	site.serve("good.lab", certificate)
	zone.add("_xmpp-client._tcp.good", "SRV", "0 0 0 .")
	zone.add("_xmpp-server._tcp.good", "SRV", f"0 5 {site.s2s_port} xmpp.good.lab.")
	for address in addresses:
		zone.add("xmpp.good", "A", address)


def publish(site, *tlsa, ttl=60, port=None):
	"""Sets the TLSA records of the port for servers."""
	zone, name = site.lab.zone("lab"), f"_{port or site.s2s_port}._tcp.xmpp.good.lab."
	zone.records = [record for record in zone.records if not record.startswith(f"{name} ")]
	zone.records += [f"{name} {ttl} IN TLSA {record}" for record in tlsa]
	site.lab.start()


def for_servers(site, *tlsa):
	return {f"_{site.s2s_port}._tcp.xmpp.good.lab": set(tlsa)} if tlsa else {}


def end_waiting(site, new, *words):
	"""Lets the new records be old."""
	rollover(site, new, *words, status=1)
	let_time_pass(site, 3 * HOUR)


def has(texts, pattern):
	return any(re.search(pattern, text) for text in texts)


class OtherMachine(bed.Prosody):
	"""Another Prosody for good.lab's servers, at an address of its own."""

	def __init__(self, site, certificate):
		super().__init__(site.version, host="good.lab", start=False, s2s_port=site.ports[3])
		self.address = site.lab.address(OTHER_MACHINE)
		self.modules = ["saslauth", "tls", "s2s", "admin_shell"]
		self.options = {"modules_disabled": [], "http_ports": [], "component_ports": [], "c2s_ports": [],
			"interfaces": [self.address], "unbound": site.lab.unbound()}
		self.give(certificate)
		site.extra.append(self)

	def give(self, certificate):
		shutil.copy(certificate.file, self.directory / "certs/good.lab.crt")
		shutil.copy(certificate.key, self.directory / "certs/good.lab.key")

	def stop(self):
		"""At the end of a test, in any state."""
		self.discard()


# --- records that others need ---

@every_version
@behaviour("replacing leaves the record of a component with a certificate of its own, and ends")
def a_component_record_stays(site):
	old, rooms, new = site.issue("good.lab", name="old"), site.issue("rooms.good.lab"), site.issue("good.lab", name="new")
	servers_only(site, old, [site.address])
	add_host(site, "rooms.good.lab", rooms)
	was, own, will = (each.tlsa(3, 1, 1) for each in (old, rooms, new))
	site.go()
	publish(site, was, own, will)
	end_waiting(site, new)
	found = rollover(site, new, status=0)
	assert found["step"] == "switch" and records(found, "remove") == for_servers(site, was), found
	assert {each["host"] for each in found["listeners"]} == {"good.lab"} and not found["unknown"], found
	switch(site, new)
	found = rollover(site, new, status=0)
	assert found["step"] == "remove" and records(found, "remove") == for_servers(site, was), found
	publish(site, own, will)
	found = rollover(site, new, status=0)
	assert found["step"] == "done" and not found["unknown"], found


@behaviour("replacing leaves the record of another machine with another certificate, and does not wait for the machine")
def a_record_of_another_machine_stays(site):
	old, other, new = (site.issue("good.lab", name=name) for name in ("old", "other", "new"))
	servers_only(site, old, [site.address, site.lab.address(OTHER_MACHINE)])
	machine = OtherMachine(site, other)
	was, own, will = (each.tlsa(3, 1, 1) for each in (old, other, new))
	site.go()
	machine.start()
	publish(site, was, own, will)
	end_waiting(site, new)
	switch(site, new)
	found = rollover(site, new, status=0)
	assert found["step"] == "remove" and records(found, "remove") == for_servers(site, was) and not found["unknown"], found
	assert {each["name"].split(":")[0]: each["serves"] for each in found["listeners"]} == {
		site.address: "new", machine.address: "another"}, found
	assert f"{machine.address}:{site.s2s_port} xmpp-server: serves another certificate" in tool(site, "rollover", "good.lab",
		"--new", old.file).out


@behaviour("replacing ends only after every machine with the old certificate has been switched")
def every_machine_has_to_switch_first(site):
	old, new = (site.issue("good.lab", name=name) for name in ("old", "new"))
	servers_only(site, old, [site.address, site.lab.address(OTHER_MACHINE)])
	machine = OtherMachine(site, old)
	site.go()
	machine.start()
	publish(site, old.tlsa(3, 1, 1), new.tlsa(3, 1, 1))
	end_waiting(site, new)
	switch(site, new)
	found = rollover(site, new, status=0)
	assert found["step"] == "switch" and sorted(each["serves"] for each in found["listeners"]) == ["new", "old"], found
	machine.kill()
	found = rollover(site, new, status=0)
	assert found["step"] == "switch" and sorted(each["serves"] for each in found["listeners"]) == ["new", "unknown"], found
	machine.give(new)
	machine.start()
	assert rollover(site, new, status=0)["step"] == "remove"


@behaviour("replacing ignores a target that other machines serve with their own certificates")
def targets_of_other_machines_are_ignored(site):
	old, other, new = (site.issue("good.lab", name=name) for name in ("old", "other", "new"))
	servers_only(site, old, [site.address])
	machine = OtherMachine(site, other)
	zone = site.lab.zone("lab")
	zone.add("_xmpp-server._tcp.good", "SRV", f"9 5 {site.s2s_port} backup.good.lab.")
	zone.add("backup.good", "A", machine.address)
	zone.add(f"_{site.s2s_port}._tcp.backup.good", "TLSA", other.tlsa(3, 1, 1))
	site.go()
	machine.start()
	publish(site, old.tlsa(3, 1, 1))
	found = rollover(site, new, status=1)
	assert records(found, "add") == for_servers(site, new.tlsa(3, 1, 1)) and not found["unknown"], found


@behaviour("replacing leaves records that match nothing known, such as those of other intermediates of the authority")
def unmatched_records_stay(site):
	old, new = (site.issue("good.lab", name=name) for name in ("old", "new"))
	servers_only(site, old, [site.address])
	site.go()
	was, will, mine, others = old.tlsa(3, 1, 1), new.tlsa(3, 1, 1), site.lab.intermediate.tlsa(2, 1, 1), site.lab.for_lab.tlsa(2, 1, 1)
	publish(site, was, will, mine, others)
	found = rollover(site, new, status=1)
	assert records(found, "remove") == for_servers(site, was) and records(found, "unknown") == for_servers(site, others), found
	text = tool(site, "rollover", "good.lab", "--new", new.file).out
	assert re.search(rf"and stay:\n.*2 1 1 {others.split()[3]}", text), text


@behaviour("replacing leaves the records of spare certificates, keys and requests that --keep names")
def kept_names_protect_spare_records(site):
	old = site.issue("good.lab", name="old")
	new = site.issue("good.lab", issuer=site.lab.for_lab, name="new")
	spares = [site.issue("good.lab", name=f"spare{number}") for number in range(3)]
	public = site.directory / "public.pem"
	public.write_bytes(openssl("pkey", "-in", spares[1].key, "-pubout"))
	servers_only(site, old, [site.address])
	site.go()
	was, will, mine = old.tlsa(3, 1, 1), new.tlsa(3, 1, 1), site.lab.intermediate.tlsa(2, 1, 1)
	spare = [each.tlsa(3, 1, number) for number, each in enumerate(spares)]
	publish(site, was, will, mine, site.lab.for_lab.tlsa(2, 1, 1), *spare, new.tlsa(3, 1, 0), new.tlsa(3, 1, 2))
	found = rollover(site, new, status=1)
	assert records(found, "remove") == for_servers(site, was, mine), found
	assert records(found, "unknown") == for_servers(site, *spare), found
	found = rollover(site, new, "--keep", spares[0].file, f"--keep={public}", "--keep", spares[2].request, status=1)
	assert records(found, "remove") == for_servers(site, was) and not found["unknown"], found
	bad(site, "rollover", "good.lab", "--new", new.file, "--keep", "/nonexistent", says="No such file")


@behaviour("replacing keeps the old records while it is unknown whether another host needs them")
def records_stay_while_another_host_is_unknown(site):
	old, other, new = site.issue("good.lab", name="old"), site.issue("other.lab"), site.issue("good.lab", name="new")
	servers_only(site, old, [site.address])
	site.go()
	publish(site, old.tlsa(3, 1, 1), new.tlsa(3, 1, 1))
	end_waiting(site, new)
	switch(site, new)
	add_host(site, "other.lab", other, component=False)
	site.rewrite_config()  # the server does not know it yet
	site.lab.start()
	output = bad(site, "rollover", "good.lab", "--new", new.file, says="for other.lab: cannot check whether it needs records")
	assert "the old records must stay for now" in output.out, output
	site.kill()
	site.start()
	assert rollover(site, new, status=0)["step"] == "remove"


@behaviour("replacing keeps records that match the certificate of a host whose services are not in DNS")
def an_undiscoverable_host_keeps_its_records(site):
	old, other = site.issue("good.lab", name="old"), site.issue("other.lab")
	new = site.issue("good.lab", issuer=site.lab.for_lab, name="new")
	servers_only(site, old, [site.address])
	add_host(site, "other.lab", other, component=False)
	site.lab.zone("lab").break_signature("_xmpp-server._tcp.other", "SRV")
	site.go()
	was, mine = old.tlsa(3, 1, 1), site.lab.intermediate.tlsa(2, 1, 1)
	publish(site, was, mine, new.tlsa(3, 1, 1), site.lab.for_lab.tlsa(2, 1, 1))
	found = rollover(site, new, status=1)
	assert records(found, "remove") == for_servers(site, was) and not found["problems"], found


# --- uses of the file ---

@behaviour("replacing is not safe while a component that uses the file is not in the new certificate")
def a_host_missing_from_the_new_certificate_is_unsafe(site):
	both = ["DNS:good.lab", "DNS:rooms.good.lab"]
	old, new = site.issue("good.lab", both, name="old"), site.issue("good.lab", name="new")
	servers_only(site, old, [site.address])
	add_host(site, "rooms.good.lab")
	site.go()
	file, link = site.directory / "certs/good.lab.crt", site.directory / "link.pem"
	link.symlink_to(file)
	for name in ("good.lab", "rooms.good.lab", link):
		found = rollover(site, new, status=1, subject=name)
		assert found["step"] == "switch" and not found["safe"] and found["file"] == str(file), found
		assert found["problems"] == ["the new certificate does not name rooms.good.lab for xmpp-server"], found
		assert found["hosts"] == ["good.lab", "rooms.good.lab"], found
		assert {each["host"] for each in found["listeners"]} == {"good.lab", "rooms.good.lab"}, found
	assert rollover(site, site.issue("good.lab", both, name="better"), status=0)["safe"]


@behaviour("replacing is not blocked by a component that neither DNS nor the old certificate has")
def a_component_without_dns_does_not_block(site):
	old, new = (site.issue("good.lab", name=name) for name in ("old", "new"))
	servers_only(site, old, [site.address])
	site.components["internal.good.lab"] = "muc"
	site.go()
	found = rollover(site, new, status=0)
	assert found["safe"] and found["hosts"] == ["good.lab", "internal.good.lab"], found
	assert has(found["warnings"], "does not name internal.good.lab for xmpp-server; neither does the old one"), found
	assert {each["host"] for each in found["listeners"]} == {"good.lab"}, found


@behaviour("replacing remembers a host that the overwritten file no longer names")
def hosts_of_an_overwritten_file_are_remembered(site):
	old = site.issue("good.lab", ["DNS:good.lab", "DNS:other.lab"], name="old")
	new = site.issue("good.lab", name="new")
	servers_only(site, old, [site.address])
	add_host(site, "other.lab", component=False)
	site.go()
	for _ in range(2):
		found = rollover(site, new, status=1)
		assert has(found["problems"], "does not name other.lab for xmpp-server") and "other.lab" in found["hosts"], found
		switch(site, new)


@behaviour("replacing requires records of a host that only the new certificate names, if Prosody may use it there")
def newly_named_hosts_need_records(site):
	old, other = site.issue("good.lab", name="old"), site.issue("other.lab")
	new = site.issue("good.lab", ["DNS:good.lab", "DNS:other.lab"], name="new")
	servers_only(site, old, [site.address])
	add_host(site, "other.lab", other, component=False)
	zone = site.lab.zone("lab")
	zone.add("xmpp.other", "A", site.address)
	zone.records = [record.replace("xmpp.good.lab.", "xmpp.other.lab.") if "tcp.other" in record else record
		for record in zone.records]
	zone.add(f"_{site.s2s_port}._tcp.xmpp.other", "TLSA", other.tlsa(3, 1, 1))
	site.go()
	found = rollover(site, new, status=1)
	assert records(found, "add") == {f"_{site.s2s_port}._tcp.xmpp.other.lab": {new.tlsa(3, 1, 1)}}, found
	assert not found["remove"] and has(found["warnings"], "also names other.lab"), found


@every_version
@behaviour("replacing ignores a port with its own certificate, and a host with several certificates must name one")
def a_port_with_its_own_certificate_is_left_out(site):
	old = site.good(tlsa=[])
	new, other = site.issue("good.lab", name="new"), site.issue("good.lab", name="other")
	site.options["c2s_direct_tls_ssl"] = {"certificate": other.file, "key": other.key}
	site.go()
	file = site.directory / "certs/good.lab.crt"
	output = bad(site, "rollover", "good.lab", "--new", new.file, says="good.lab has several certificates")
	assert f"{file} (clients, STARTTLS; servers, STARTTLS; servers, direct TLS on port {site.component_port})" in output.err, output
	assert f"{other.file} (clients, direct TLS on port {site.http_port})" in output.err, output
	publish(site, old.tlsa(3, 1, 1), new.tlsa(3, 1, 1))
	publish(site, other.tlsa(3, 1, 1), port=site.http_port)
	assert rollover(site, new, status=1, subject=file)["step"] == "wait"
	let_time_pass(site, HOUR)
	switch(site, new)
	found = rollover(site, new, status=0, subject=file)
	assert found["step"] == "remove" and {each["serves"] for each in found["listeners"]} == {"new"}, found
	assert records(found, "remove") == for_servers(site, old.tlsa(3, 1, 1)) and len(found["listeners"]) == 6, found
	bad(site, "rollover", new.file, "--new", new.file, says="Prosody does not use this file")


@behaviour("replacing one of two certificates with keys of different types leaves the other one")
def the_other_key_type_stays(site):
	old, rsa, new = site.issue("good.lab", name="old"), site.issue("good.lab", name="rsa", rsa=True), site.issue("good.lab", name="new")
	servers_only(site, old, [site.address])
	place = site.directory / "old.crt"

	def give(certificate):
		shutil.copy(certificate.file, place)
		shutil.copy(certificate.key, place.with_suffix(".key"))

	give(old)
	site.options["ssl"]["certificates"] = [{"certificate": place, "key": place.with_suffix(".key")},
		{"certificate": rsa.file, "key": rsa.key}]
	site.go()
	bad(site, "rollover", "good.lab", "--new", new.file, says="several certificates")
	publish(site, *(each.tlsa(3, 1, 1) for each in (old, rsa, new)))
	rollover(site, new, status=1, subject=place)
	let_time_pass(site, HOUR)
	give(new)
	site.kill()
	site.start()
	found = rollover(site, new, status=0, subject=place)
	assert found["step"] == "remove" and records(found, "remove") == for_servers(site, old.tlsa(3, 1, 1)), found
	assert sorted(each["serves"] for each in found["listeners"]) == ["another", "new"], found


# --- keys ---

def key_problem(site, new, *words):
	found = rollover(site, new, *words, status=1)
	assert found["step"] == "switch" and len(found["problems"]) == 1, found
	return found["problems"][0]


@behaviour("replacing is not safe with a key that does not match the new certificate")
def a_foreign_key_is_unsafe(site):
	old, new = (site.issue("good.lab", name=name) for name in ("old", "new"))
	servers_only(site, old, [site.address])
	site.go()
	assert has(rollover(site, new, status=0)["warnings"], "give it with --key")
	found = rollover(site, new, "--key", new.key, status=0)
	assert found["safe"] and not found["warnings"], found
	assert key_problem(site, new, "--key", old.key) == f"the key {old.key} does not belong to the certificate {new.file}"
	assert f"the key {new.file} is not a private key" in key_problem(site, new, "--key", new.file)
	assert "/nonexistent" in key_problem(site, new, "--key", "/nonexistent")
	fullchain, privkey = site.directory / "fullchain.pem", site.directory / "privkey.pem"
	shutil.copy(new.file, fullchain)
	shutil.copy(old.key, privkey)
	output = tool(site, "rollover", "good.lab", "--new", fullchain)
	assert output.status == 1 and f"error: the key {privkey} does not belong to the certificate {fullchain}\n" in output.err, output
	shutil.copy(new.key, privkey)
	assert tool(site, "rollover", "good.lab", "--new", fullchain).status == 0


@every_version
@behaviour("replacing opens an encrypted key with Prosody's own password")
def an_encrypted_key_is_opened(site):
	old, new = (site.issue("good.lab", name=name) for name in ("old", "new"))
	servers_only(site, old, [site.address])
	site.lab.start()
	place, key = site.directory / "certs/good.lab.key", site.directory / "encrypted.key"
	for plain, encrypted in ((old.key, place), (new.key, key)):
		encrypted.write_bytes(openssl("pkey", "-in", plain, "-aes128", "-passout", "pass:secret"))
	site.rewrite_config()
	for path in (place, key):
		assert has(rollover(site, new, "--key", key, status=1)["problems"], f"^the key {path} is encrypted, and the password"), path
	site.options["ssl"]["password"] = "secret"
	site.rewrite_config()
	assert not has(rollover(site, new, "--key", key, status=0)["problems"], "the key")
	assert has(rollover(site, old, "--key", key, status=1)["problems"], f"^the key {key} does not belong")


@behaviour("replacing is not safe while one file of Prosody's pair is old and the other one new")
def a_half_replaced_pair_is_unsafe(site):
	old, new = (site.issue("good.lab", name=name) for name in ("old", "new"))
	servers_only(site, old, [site.address])
	site.go()
	certificate, key = (site.directory / f"certs/good.lab.{suffix}" for suffix in ("crt", "key"))
	shutil.copy(new.key, key)
	assert re.search(f"^the key {key} does not belong to the certificate {certificate}, which is still the old one: restore the old key",
		key_problem(site, new))
	shutil.copy(old.key, key)
	rollover(site, new, status=0)
	shutil.copy(new.file, certificate)
	assert re.search(f"^the key {key} does not belong to the certificate {certificate}, which is the new one already: install its key",
		key_problem(site, new))
	shutil.copy(new.key, key)
	found = rollover(site, new, status=0)
	assert found["step"] == "switch" and found["safe"], found


@every_version
@behaviour("replacing is not safe with a key that Prosody cannot read")
def an_unreadable_key_is_unsafe(site):
	old, new = (site.issue("good.lab", name=name) for name in ("old", "new"))
	servers_only(site, old, [site.address])
	site.directory.chmod(0o755)
	site.options.update(run_as_root=False, prosody_user="nobody", prosody_group="nogroup")
	site.rewrite_config()
	certificate, key = site.directory / "new.crt", site.directory / "new.key"
	shutil.copy(new.file, certificate)
	shutil.copy(new.key, key)
	(site.directory / "certs").chmod(0o755)
	(site.directory / "certs/good.lab.key").chmod(0o644)
	key.chmod(0o600 if os.geteuid() == 0 else 0)  # only root can switch to a user without access
	output = tool(site, "rollover", "good.lab", "--new", certificate)
	assert output.status == 1 and re.search(f"cannot read the key {key} of the certificate {certificate}: .*user cannot read",
		output.err), output
	key.chmod(0o644)
	assert "cannot read" not in tool(site, "rollover", "good.lab", "--new", certificate).err


# --- the new certificate, too early ---

@every_version
@behaviour("replacing is not safe if Prosody would load the new certificate at the next reload")
def a_certificate_in_place_too_early_is_unsafe(site):
	old, new = (site.issue("good.lab", name=name) for name in ("old", "new"))
	servers_only(site, old, [site.address])
	site.go()
	publish(site, old.tlsa(3, 1, 1))
	other_name = site.directory / "certs/renewed.crt"
	site.install("renewed", new)
	found = rollover(site, new, status=1)
	assert found["step"] == "add" and has(found["problems"], f"^{other_name}: Prosody may select this file for good.lab"), found
	assert found["file"] == str(site.directory / "certs/good.lab.crt"), found
	other_name.unlink()
	assert not rollover(site, new, status=1)["problems"]
	site.install("good.lab", new)
	found = rollover(site, new, status=1)
	assert found["step"] == "add" and has(found["problems"], "good.lab.crt has the new certificate already"), found
	assert {each["serves"] for each in found["listeners"]} == {"old"} and not found["unknown"], found
	assert records(found, "remove") == for_servers(site, old.tlsa(3, 1, 1)), found


@behaviour("replacing takes the served certificate for the old one if the file was overwritten before")
def the_served_certificate_counts_as_old(site):
	old, new = (site.issue("good.lab", name=name) for name in ("old", "new"))
	servers_only(site, old, [site.address])
	site.go()
	publish(site, old.tlsa(3, 1, 1), new.tlsa(3, 1, 1))
	site.install("good.lab", new)
	found = rollover(site, new, status=1)
	assert found["step"] == "wait" and has(found["problems"], "has the new certificate already"), found
	assert records(found, "remove") == for_servers(site, old.tlsa(3, 1, 1)), found
	let_time_pass(site, HOUR)
	switch(site, new)
	for other in (new, site.issue("good.lab", name="other"), new):  # an examination of another one does not lose state
		found = rollover(site, other, status=0 if other is new else 1)
	assert found["step"] == "remove", found
	note_of(site).unlink()
	found = rollover(site, new, status=0)
	assert found["step"] == "done" and records(found, "unknown") == for_servers(site, old.tlsa(3, 1, 1)), found
	assert has(found["warnings"], "was replaced before the first call"), found


@behaviour("replacing reports that the new certificate is served before the wait is over")
def an_early_switch_is_reported(site):
	old, new = (site.issue("good.lab", name=name) for name in ("old", "new"))
	servers_only(site, old, [site.address])
	site.go()
	publish(site, old.tlsa(3, 1, 1), new.tlsa(3, 1, 1))
	rollover(site, new, status=1)
	switch(site, new)
	found = rollover(site, new, status=1)
	assert found["step"] == "wait" and has(found["problems"], "serves the new certificate, but caches may not have its records yet"), found
	let_time_pass(site, HOUR)
	assert rollover(site, new, status=0)["step"] == "remove"


@behaviour("replacing does not wait for a record that was seen long before the new certificate")
def a_record_seen_long_ago_needs_no_waiting(site):
	old, new, other = (site.issue("good.lab", name=name) for name in ("old", "new", "other"))
	servers_only(site, old, [site.address])
	site.go()
	publish(site, old.tlsa(3, 1, 1), new.tlsa(3, 1, 1))
	end_waiting(site, other)
	assert rollover(site, new, status=0)["step"] == "switch"


# --- dates ---

@behaviour("replacing reports an old and a new certificate that expire before the wait is over")
def certificates_that_expire_too_soon_are_reported(site):
	old = site.issue("good.lab", name="old", days=(-1, 1 / 24))
	servers_only(site, old, [site.address])
	site.go()
	publish(site, old.tlsa(3, 1, 1), ttl=2 * HOUR)
	new, brief = site.issue("good.lab", name="new"), site.issue("good.lab", name="brief", days=(-1, 1 / 24))
	found = rollover(site, new, status=1)
	assert has(found["warnings"], r"the old certificate expires on \S+ \S+ UTC, before the end of the wait") and not found["problems"], found
	found = rollover(site, brief, status=1)
	assert has(found["problems"], r"the new certificate expires on \S+ \S+ UTC, before the end of the wait"), found
	publish(site, old.tlsa(3, 1, 1), new.tlsa(3, 1, 1), ttl=2 * HOUR)
	assert has(rollover(site, new, status=1)["warnings"], "the old certificate expires on")
	let_time_pass(site, 5 * HOUR)
	assert not has(rollover(site, new, status=0)["warnings"], "the old certificate expires on")
