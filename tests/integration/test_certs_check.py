"""prosodyctl mod_certs check: DNS, the served certificates, and whether they agree."""
import json
import re
import shutil
import socket
import threading

import bed
import suite
from certsite import Resolver, bad, on_terminal, shut, tool
from lab import Lab
from nameserver import Nsd
from zones import Zone

SERVICES = ["xmpp-client", "xmpp-server", "xmpps-client", "xmpps-server"]
OK, ERRORS, WARNINGS = 0, 1, 3
SERVER, FIRST_NAME_SERVER, SECOND_NAME_SERVER, NOBODY = 10, 20, 21, 253
DNS_PORT = 53
WRONG = "00" * 32


class Site(bed.Prosody):
	"""A Prosody with its listeners on IPv4 and IPv6, and its domains in a DNSSEC laboratory.

	host() adds a domain, go() signs the zones and starts all; `ports` belong to SERVICES in order."""

	def __init__(self, version):
		self.lab = Lab(bed.BUILD / "lab")
		super().__init__(version, host="good.lab", start=False)
		self.modules, self.more_hosts, self.extra = ["saslauth", "tls", "s2s", "admin_shell"], [], []
		self.address = self.lab.address(SERVER)
		self.places = [self.port, self.s2s_port, self.http_port, self.component_port]
		self.options = {
			"modules_disabled": [], "http_ports": [], "component_ports": [], "unbound": self.lab.unbound(),
			"ssl": {"cafile": self.lab.public.file}, "use_ipv6": True,
			"interfaces": [self.address, "::1"],
			"c2s_direct_tls_ports": [self.http_port], "s2s_direct_tls_ports": [self.component_port]}

	def _config(self):
		return super()._config() + "".join(f"VirtualHost {bed.lua(host)}\n" for host in self.more_hosts)

	# --- domains ---

	def install(self, host, certificate):
		"""Where Prosody finds it for this host."""
		shutil.copy(certificate.file, self.directory / f"certs/{host}.crt")
		shutil.copy(certificate.key, self.directory / f"certs/{host}.key")

	def issue(self, host, names=None, issuer=None, name=None, **settings):
		return (issuer or self.lab.intermediate).issue(name or host, names or [f"DNS:{host}"], **settings)

	def serve(self, host, certificate):
		"""Adds this host to Prosody, with this certificate."""
		self.install(host, certificate)
		if host not in (self.host, *self.more_hosts):
			self.more_hosts.append(host)

	def publish(self, host, tlsa=(), zone=None, services=SERVICES):
		"""SRV records of every service, the target's addresses, and TLSA records at every port."""
		zone = zone or self.lab.zone("lab")
		own = (host + ".").removesuffix(zone.name).rstrip(".")
		target = f"xmpp.{own}".rstrip(".")
		for service, port in zip(services, self.places):
			zone.add(f"_{service}._tcp.{own}".rstrip("."), "SRV", f"0 5 {port} xmpp.{host}.")
			for record in tlsa:
				zone.add(f"_{port}._tcp.{target}", "TLSA", record)
		zone.add(target, "A", self.address)
		zone.add(target, "AAAA", "::1")

	def child(self, name, servers, valid=None):
		"""A zone below lab. with these name servers, {label: number of its address}, to which lab. delegates it."""
		zone = Zone(f"{name}.lab.", f"{next(iter(servers))}.{name}.lab.", valid)
		for label, number in servers.items():
			for each in (zone, self.lab.zone("lab")):
				each.records.append(f"{label}.{name}.lab. 60 IN A {self.lab.address(number)}")
				each.records.append(f"{name}.lab. 60 IN NS {label}.{name}.lab.")
		return zone

	def serve_zones(self, zones):
		"""Separate name servers: {number of the address: [zones]}; before go(), which publishes the keys."""
		for number, listed in zones.items():
			directory = self.lab.directory / f"server-{number}"
			directory.mkdir(exist_ok=True)
			for zone in listed:
				self.lab.zone("lab").records += zone.write(directory)
			self.extra.append(Nsd(directory, f"nsd-{number}", self.lab.address(number), listed))

	def good(self, host="good.lab", tlsa=((3, 1, 1),), **settings):
		"""A domain with a good certificate and these TLSA records."""
		certificate = self.issue(host)
		self.serve(host, certificate)
		self.publish(host, [certificate.tlsa(*each) for each in tlsa], **settings)
		return certificate

	def go(self):
		self.lab.start()
		if not self.process:
			self.start()
		return self

	# --- running it ---

	def finish(self):
		if self.process:
			super().finish()

	def log(self):
		return super().log() if self.process else ""

	def discard(self):
		super().discard()
		while self.extra:
			self.extra.pop().stop()
		self.lab.stop()


def behaviour(name, once=True):
	return suite.on_versions(f"certificate check: {name}", lambda version, _: Site(version), once=once)


class Report:
	"""The findings of check."""

	def __init__(self, output):
		found = json.loads(output.out)
		self.state, self.rows, self.output = found["state"], found["checks"], output

	def rows_of(self, check, subject="", host=None):
		return [row for row in self.rows if row["check"] == check and subject in row["subject"]
			and (host is None or row["host"] == host)]

	def expect(self, state, check, subject="", text="", host=None):
		"""There are such rows, all have this state, and one has this text."""
		rows = self.rows_of(check, subject, host)
		assert rows and {row["state"] for row in rows} == {state}, (check, subject, state, rows, self)
		assert any(re.search(text, row["text"]) for row in rows), (text, rows)
		return rows

	def __repr__(self):
		return "\n".join(" | ".join(map(str, row.values())) for row in self.rows)


def check(site, *words, status):
	output = tool(site, "check", *words, "--json")
	assert output.status == status and "libunbound" not in output.err, output
	return Report(output)


# --- no problems ---

@suite.every_version
@behaviour("without problems every row is ok, and the status is 0")
def all_rows_are_ok(site):
	site.good()
	site.lab.zone("lab").add("good", "CAA", '0 issue "ca.example"')
	site.go()
	report = check(site, status=OK)
	assert report.state == "ok" and {row["state"] for row in report.rows} == {"ok"}, report
	report.expect("ok", "trust anchor", text=re.escape(str(site.lab.trust_anchor)))
	report.expect("ok", "validation", ".", "^name servers of the root; secure, signed for (29|30)")
	for service, port in zip(SERVICES, site.places):
		report.expect("ok", "SRV", f"_{service}._tcp.good.lab", rf"xmpp\.good\.lab:{port} .*; secure, signed for (29|30)\.\d more days")
		report.expect("ok", "TLSA", f"_{port}._tcp.xmpp.good.lab", "^3 1 1; secure")
		for kind, name in (("SRV", f"_{service}._tcp.good.lab"), ("TLSA", f"_{port}._tcp.xmpp.good.lab")):
			report.expect("ok", "name server", f"{kind} {name}", "^1 of lab, identical$")
		for address in (site.address, "[::1]"):
			direct = ", direct TLS" if service.startswith("xmpps") else ""
			listener = f"{address}:{port} {service.replace('xmpps', 'xmpp')}{direct}"
			report.expect("ok", "listener", listener, "certificate [0-9a-f]{16}$")
			report.expect("ok", "DANE", listener, "^3 1 1 matches$")
	report.expect("ok", "A", "xmpp.good.lab", f"^{re.escape(site.address)}; secure")
	report.expect("ok", "AAAA", "xmpp.good.lab", "^::1; secure")
	for service in ("xmpp-client", "xmpp-server"):
		report.expect("ok", "chain", service, "^valid$")
		report.expect("ok", "names", service, "^DNS-ID good.lab$")
		report.expect("ok", "expiry", service, r"^in 29\.9 days$|^in 30\.0 days$")
	report.expect("ok", "CAA", "good.lab", '^issue "ca.example"; issued by CN=.*intermediate; secure')
	assert len(report.rows) == 2 + 1 + 4 * 4 + 4 * 2 * 2 + 2 + 2 * 3 + 1, report
	text = tool(site, "check").out
	assert f"{len(report.rows)} ok, 0 warnings, 0 errors" in text and "\ngood.lab\n" in text, text


@behaviour("the summary uses singular and plural")
def summary_counts_one_warning_and_one_error(site):
	site.good(tlsa=[])
	site.lab.zone("lab").add("good", "CAA", '0 issue "ca.example"')
	site.lab.zone("lab").break_signature("good", "CAA")
	site.go()
	assert tool(site, "check").out.endswith(" ok, 0 warnings, 1 error\n")
	site.options["unbound"].pop("trustfile")
	site.rewrite_config()
	assert tool(site, "check").out.endswith(" ok, 1 warning, 0 errors\n")


@behaviour("a domain in Unicode is looked up and compared in A-labels")
def a_unicode_domain_is_checked_in_a_labels(site):
	site.good("xn--mller-kva.lab", services=SERVICES[:2])  # with direct TLS Prosody does not recognize this name
	site.more_hosts[:] = ["müller.lab"]
	site.go()
	report = check(site, "müller.lab", status=OK)
	report.expect("ok", "SRV", "_xmpp-server._tcp.xn--mller-kva.lab", host="müller.lab")
	report.expect("ok", "names", "xmpp-server", "DNS-ID xn--mller-kva.lab", host="müller.lab")


# --- usage ---

@suite.every_version
@behaviour("invalid arguments are rejected, and a host of another server can be checked")
def bad_arguments_are_refused(site):
	site.good("other.lab")
	site.lab.start()
	site.rewrite_config()
	bad(site, "check", "--days", "soon", status=2, says="--days")
	report = check(site, "other.lab", status=ERRORS)
	assert {row["host"] for row in report.rows} == {"resolver", "other.lab"}, report
	report.expect("ok", "SRV", "_xmpp-server._tcp.other.lab")
	report.expect("error", "listener", site.address, "refused")


@behaviour("rows have the colour of their state on a terminal")
def a_terminal_shows_colours(site):
	site.good()
	site.options["unbound"].pop("trustfile")
	site.lab.start()
	site.rewrite_config()
	text = on_terminal(site, "check", environment={"NO_COLOR": ""})
	for colour, state, check_name in ((32, "ok", "SRV"), (33, "warning", "TLSA"), (31, "error", "listener")):
		assert re.search(rf"\x1b\[{colour}m{state} *\x1b\[0m  {check_name} ", text), text


# --- trust ---

@suite.every_version
@behaviour("without a trust anchor all answers are insecure, and the option to add is shown")
def without_a_trust_anchor_nothing_is_secure(site):
	site.good()
	site.options["unbound"].pop("trustfile")
	site.go()
	report = check(site, status=WARNINGS)
	report.expect("warning", "trust anchor", text=r'install dns-root-data and add: unbound = { trustfile = "/usr/share/dns/root.key" }')
	report.expect("ok", "SRV", text="; insecure")
	report.expect("warning", "TLSA", text="^3 1 1; without effect: the TLSA record is insecure$")
	assert not report.rows_of("DANE"), report
	site.options["unbound"]["trusted"] = site.lab.trust_anchor.read_text().splitlines()
	site.rewrite_config()
	check(site, status=OK).expect("ok", "trust anchor", text="trusted")


@suite.every_version
@behaviour("a missing trust anchor file is reported")
def a_missing_anchor_file_is_reported(site):
	site.good()
	site.options["unbound"]["trustfile"] = "/nonexistent/root.key"
	site.go()
	report = check(site, status=ERRORS)
	report.expect("warning", "trust anchor", text="/nonexistent/root.key: No such file")
	assert not report.rows_of("validation"), report
	report.expect("error", "SRV", text="no answer: the DNS resolver does not work; check the option unbound")


@behaviour("a resolver that strips signatures is reported")
def a_resolver_without_signatures_is_reported(site):
	site.good()
	site.go()
	resolver = Resolver(site.lab.address(NOBODY), DNS_PORT)
	resolv_conf = site.directory / "resolv.conf"
	resolv_conf.write_text(f"nameserver {site.lab.address(NOBODY)}\n")
	try:
		site.options["unbound"].update(resolvconf=resolv_conf)
		site.options["unbound"]["options"].pop("root-hints:")
		site.rewrite_config()
		report = check(site, status=ERRORS)
		report.expect("error", "validation", ".", "^bogus: .*no DNSKEY.*; unbound = { resolvconf = false }")
	finally:
		resolver.stop()


# --- DNSSEC ---

@behaviour("the state of DNSSEC is reported, and the reason why an answer is bogus")
def the_cause_of_a_bogus_answer_is_reported(site):
	site.good()
	site.good("bogus.lab")
	site.publish("target.lab", ["3 1 1 " + WRONG])
	site.publish("expired.lab", zone=site.lab.zone("expired.lab"))
	site.publish("insecure.lab", ["3 1 1 " + WRONG], zone=site.lab.zone("insecure.lab"))
	site.serve("insecure.lab", site.issue("insecure.lab"))
	zone = site.lab.zone("lab")
	zone.break_signature("_xmpp-server._tcp.bogus", "SRV")
	zone.break_signature(f"_{site.port}._tcp.xmpp.target", "TLSA")
	zone.break_signature("xmpp.target", "A")
	zone.add("_xmpp-server._tcp.loose", "SRV", f"0 5 {site.s2s_port} www.loose.lab.")
	zone.add("www.loose", "CNAME", "xmpp.insecure.lab.")
	zone.add(f"_{site.s2s_port}._tcp.www.loose", "TLSA", "3 1 1 " + WRONG)
	site.go()
	report = check(site, "bogus.lab", "expired.lab", "target.lab", "insecure.lab", "loose.lab", "servfail.lab", status=ERRORS)
	report.expect("error", "SRV", "_xmpp-server._tcp.bogus.lab", "^bogus: .*signature (verification|crypto) failed")
	report.expect("ok", "SRV", "_xmpp-client._tcp.bogus.lab")
	report.expect("error", "SRV", "_xmpp-server._tcp.expired.lab", "^bogus: .*signature expired")
	report.expect("error", "TLSA", f"_{site.port}._tcp.xmpp.target.lab", "^bogus: .*signature (verification|crypto) failed")
	report.expect("error", "A", "xmpp.target.lab", "^bogus: ")
	assert not report.rows_of("listener", site.address, host="target.lab"), report
	assert report.rows_of("listener", "[::1]", host="target.lab"), report
	report.expect("warning", "TLSA", "www.loose.lab", "^3 1 1; without effect: the address is insecure$")
	report.expect("ok", "SRV", "insecure.lab", "; insecure$")
	report.expect("warning", "TLSA", "insecure.lab", "without effect: the TLSA record is insecure")
	report.expect("error", "SRV", "servfail.lab", "^no answer: SERVFAIL$")
	report.expect("error", "CAA", "servfail.lab", "^no answer: SERVFAIL$")
	assert not report.rows_of("DANE", host="insecure.lab"), report


@behaviour("signatures that end within three days are a warning")
def signatures_about_to_expire_are_a_warning(site):
	zone = site.child("soon", {"ns": FIRST_NAME_SERVER}, valid=(-1, 2))
	site.good("soon.lab", zone=zone)
	site.serve_zones({FIRST_NAME_SERVER: [zone]})
	site.go()
	report = check(site, "soon.lab", status=WARNINGS)
	report.expect("warning", "SRV", text=r"secure, signed for (1\.9|2\.0) more days")
	report.expect("warning", "TLSA", text=r"^3 1 1; secure, signed for (1\.9|2\.0) more days")
	report.expect("ok", "DANE", text="^3 1 1 matches$")


# --- services ---

@behaviour("missing services, aliases, missing addresses and closed ports are reported")
def missing_services_and_addresses_are_reported(site):
	site.good()
	zone = site.lab.zone("lab")
	for service in ("_xmpp-client", "_xmpps-client"):
		zone.add(f"{service}._tcp.none", "SRV", "0 0 0 .")
	zone.add("_xmpp-client._tcp.alias", "SRV", f"0 5 {site.port} www.alias.lab.")
	zone.add("www.alias", "CNAME", "xmpp.good.lab.")
	zone.add("_xmpp-client._tcp.lost", "SRV", f"0 5 {site.port} nowhere.lost.lab.")
	zone.add("implied", "A", site.lab.address(NOBODY))
	for host in ("none", "alias", "lost"):
		zone.add(f"_xmpp-server._tcp.{host}", "SRV", f"0 5 {site.s2s_port} xmpp.good.lab.")
	site.go()
	report = check(site, "none.lab", "alias.lab", "lost.lab", "implied.lab", status=ERRORS)
	report.expect("warning", "SRV", "_xmpp-client._tcp.none.lab", "does not have this service")
	report.expect("ok", "SRV", "_xmpps-client._tcp.none.lab", "not offered; secure")
	report.expect("warning", "CNAME", "www.alias.lab", "alias of xmpp.good.lab: .*RFC 2782")
	report.expect("error", "A", "nowhere.lost.lab", "no address")
	report.expect("ok", "SRV", "_xmpp-server._tcp.implied.lab", r"^no record, default implied\.lab:5269 .*; secure")
	report.expect("ok", "SRV", "_xmpps-server._tcp.implied.lab", "^no record, not offered; secure")
	report.expect("error", "listener", f"{site.lab.address(NOBODY)}:5269", "refused")


class Patient:
	"""Listens at these ports of an address, and closes all connections when each port has one."""

	def __init__(self, address, ports):
		self.sockets = [socket.create_server((address, port)) for port in ports]
		self.thread = threading.Thread(target=self._serve, daemon=True)
		self.thread.start()

	def _serve(self):
		conns = []
		try:
			for sock in self.sockets:
				conns.append(sock.accept()[0])
		except OSError:  # the sockets have been shut down
			pass
		for conn in conns:
			conn.close()

	def stop(self):
		for sock in self.sockets:
			shut(sock)
		self.thread.join()
		for sock in self.sockets:
			sock.close()


@suite.every_version
@behaviour("listeners of all hosts are probed at the same time")
def listeners_are_asked_in_parallel(site):
	address, zone, ports = site.lab.address(NOBODY), site.lab.zone("lab"), range(5000, 5010)
	zone.add("all", "A", address)
	for port in ports:
		zone.add(f"_xmpp-{('client', 'server')[port % 2]}._tcp.host{port // 2}", "SRV", f"0 5 {port} all.lab.")
	site.extra.append(Patient(address, ports))
	site.go()
	report = check(site, *(f"host{port // 2}.lab" for port in ports[::2]), status=ERRORS)
	rows = [row for row in report.rows_of("listener") if row["text"].endswith("closed")]
	assert len(rows) == len(ports), report


@behaviour("CAA records are those of the nearest domain, and are shown beside the issuer of the served certificate")
def caa_records_come_from_the_nearest_domain(site):
	site.good("a.good.lab")
	site.good("plain.lab")
	zone = site.lab.zone("lab")
	zone.add("good", "CAA", '0 issue "ca.example; account=1"', '0 iodef "mailto:a@b.example"')
	zone.add("", "CAA", '0 issue ";"')
	site.go()
	report = check(site, "a.good.lab", "plain.lab", "nowhere.good.lab", status=ERRORS)
	rows = report.expect("ok", "CAA", "good.lab", 'issue "ca.example; account=1".*; issued by CN=.*intermediate;', host="a.good.lab")
	assert len(rows) == 1, rows
	report.expect("warning", "CAA", "lab", 'no authority may issue.*issue ";"', host="plain.lab")
	assert "issued by" not in report.expect("ok", "CAA", "good.lab", host="nowhere.good.lab")[0]["text"]


@behaviour("CAA records that forbid all issuers are a warning only for a certificate of a trusted authority")
def caa_that_forbids_all_issuers_is_a_warning(site):
	zone = site.lab.zone("lab")
	wildcards = {"shut.lab": ['0 issue ";"'], "wild.lab": ['0 issue "ca.example"', '0 issuewild ";"'],
		"tame.lab": ['0 issue ";"', '0 issuewild "ca.example"']}
	for domain, records in wildcards.items():
		zone.add(domain.split(".")[0], "CAA", *records)
		for host, name in ((domain, domain), (f"a.{domain}", f"*.{domain}")):
			site.serve(host, certificate := site.issue(host, [f"DNS:{name}"]))
			site.publish(host, [certificate.tlsa(3, 1, 1)])
	for name, issue in (("own", lambda host: site.lab.self_signed(host, [f"DNS:{host}"])),
			("old", lambda host: site.issue(host, days=(-9, -2)))):
		zone.add(name, "CAA", '0 issue ";"')
		site.serve(f"{name}.lab", certificate := issue(f"{name}.lab"))
		site.publish(f"{name}.lab", [certificate.tlsa(3, 1, 1)])
	site.go()
	report = check(site, *wildcards, *(f"a.{domain}" for domain in wildcards), "own.lab", "old.lab", status=WARNINGS)
	for host, state in (("shut.lab", "warning"), ("a.shut.lab", "warning"), ("wild.lab", "ok"), ("a.wild.lab", "warning"),
			("tame.lab", "warning"), ("a.tame.lab", "ok"), ("own.lab", "ok"), ("old.lab", "warning")):
		text = "CN=.*intermediate cannot be renewed" if state == "warning" else "issued by (itself|CN=.*intermediate); secure"
		report.expect(state, "CAA", host.removeprefix("a."), text, host=host)


# --- certificates and TLSA records ---

@suite.every_version
@behaviour("each published combination has to match what every listener serves")
def each_combination_matches_every_listener(site):
	certificate = site.good()
	site.lab.zone("lab").add(f"_{site.port}._tcp.xmpp.good", "TLSA", f"3 1 2 {WRONG * 2}")
	issued = site.issue("wrong.lab")
	site.serve("wrong.lab", issued)
	site.publish("wrong.lab", ["3 1 1 " + WRONG])
	site.serve("foreign.lab", site.issue("foreign.lab", ["DNS:elsewhere.lab"]))
	site.publish("foreign.lab", [site.lab.intermediate.tlsa(2, 0, 1)])
	site.serve("useless.lab", site.issue("useless.lab"))
	site.publish("useless.lab", ["3 1 9 " + WRONG, "3 1 1 abcd"])
	site.serve("many.lab", issued := site.issue("many.lab"))
	others = [f"3 1 1 {number:064x}" for number in range(50)]  # more than fits into UDP
	site.publish("many.lab", [*others, issued.tlsa(3, 1, 1), site.lab.intermediate.tlsa(2, 0, 1), issued.tlsa(1, 1, 2)])
	site.go()
	report = check(site, "good.lab", "wrong.lab", "foreign.lab", "useless.lab", "many.lab", status=ERRORS)
	report.expect("error", "DANE", f"{site.address}:{site.port} xmpp-client", "^3 1 1 matches, 3 1 2 does not match", host="good.lab")
	report.expect("ok", "DANE", f":{site.s2s_port} xmpp-server", "^3 1 1 matches$", host="good.lab")
	report.expect("error", "DANE", text="^3 1 1 does not match", host="wrong.lab")
	report.expect("error", "DANE", text="^2 0 1 matches, but peers refuse the chain: no name matches", host="foreign.lab")
	report.expect("warning", "TLSA", text=r"3 1 1 \(unusable\), 3 1 9 \(unusable\); without effect", host="useless.lab")
	assert not report.rows_of("DANE", host="useless.lab"), report
	report.expect("ok", "TLSA", text=r"^1 1 2, 2 0 1, 3 1 1 \(51 records\); secure", host="many.lab")
	report.expect("ok", "DANE", text="^1 1 2 matches, 2 0 1 matches, 3 1 1 matches$", host="many.lab")
	report.expect("ok", "name server", "TLSA", "^1 of lab, identical$", host="many.lab")
	assert certificate.tlsa(3, 1, 1)


@behaviour("TLSA records behind an alias are found where they are")
def tlsa_behind_an_alias_is_found(site):
	certificate = site.good(tlsa=[])
	zone = site.lab.zone("lab")
	zone.add("tlsa.good", "TLSA", certificate.tlsa(3, 1, 1))
	zone.add(f"_{site.s2s_port}._tcp.xmpp.good", "CNAME", "tlsa.good.lab.")
	site.go()
	report = check(site, status=OK)
	report.expect("ok", "TLSA", f"_{site.s2s_port}._tcp.xmpp.good.lab", "^3 1 1, through the alias tlsa.good.lab; secure")
	report.expect("ok", "DANE", "xmpp-server", "^3 1 1 matches$")
	report.expect("ok", "name server", f"TLSA _{site.s2s_port}._tcp.xmpp.good.lab", "^1 of lab, identical$")


@behaviour("names, chain and dates are verified; if DANE proves the certificate, their errors are warnings")
def dane_turns_pkix_faults_into_warnings(site):
	faults = {
		"name": lambda host: site.issue(host, ["DNS:elsewhere.lab", f"SRV:_xmpp-client.{host}"]),
		"chain": lambda host: site.issue(host, issuer=site.lab.private),
		"old": lambda host: site.issue(host, days=(-9, -2)),
		"early": lambda host: site.issue(host, days=(3, 9)),
	}
	for name, make in faults.items():
		for host in (f"{name}.lab", f"{name}-dane.lab"):
			certificate = make(host)
			site.serve(host, certificate)
			site.publish(host, [certificate.tlsa(3, 1, 1)] if "dane" in host else [])
	site.go()
	report = check(site, *(f"{name}{way}.lab" for name in faults for way in ("", "-dane")), status=ERRORS)
	for way, state in (("", "error"), ("-dane", "warning")):
		report.expect(state, "names", "xmpp-server", r"no name matches name.*\.lab.*DNS-ID elsewhere.lab: .*SRV-ID", host=f"name{way}.lab")
		report.expect("ok", "names", "xmpp-client", "^SRV-ID _xmpp-client", host=f"name{way}.lab")
		report.expect(state, "chain", host=f"chain{way}.lab", text="self-signed|unable to get")
		report.expect(state, "expiry", host=f"old{way}.lab", text=r"^expired 2\.0 days ago|^expired 1\.9")
		report.expect(state, "expiry", host=f"early{way}.lab", text=r"^not valid for (2\.9|3\.0) more days")
	for name in faults:
		assert not report.rows_of("DANE", host=f"{name}.lab"), report
		report.expect("ok", "DANE", text="^3 1 1 matches$", host=f"{name}-dane.lab")


@behaviour("a certificate that expires within --days is a warning")
def near_expiry_is_a_warning(site):
	certificate = site.issue("good.lab", days=(-1, 10))
	site.serve("good.lab", certificate)
	site.publish("good.lab")
	site.go()
	check(site, status=WARNINGS).expect("warning", "expiry", text=r"^in (9\.9|10\.0) days")
	check(site, "--days", "9", status=OK).expect("ok", "expiry", text=r"^in (9\.9|10\.0) days")


@behaviour("a listener with another certificate than the rest is found")
def a_differing_listener_is_found(site):
	site.good()
	other = site.issue("good.lab", name="other")
	site.options["c2s_direct_tls_ssl"] = {"certificate": other.file, "key": other.key}
	site.go()
	report = check(site, status=ERRORS)
	assert len({row["text"] for row in report.rows_of("listener")}) == 2, report
	report.expect("error", "DANE", "xmpp-client, direct TLS", "^3 1 1 does not match")
	report.expect("ok", "DANE", f":{site.port} xmpp-client", "^3 1 1 matches$")
	report.expect("ok", "DANE", "xmpp-server", "^3 1 1 matches$")


# --- name servers ---

class Shouting:
	"""A name server with the data of another, and one name in upper case; NSD converts all names to lower case."""

	def __init__(self, address, source, name, shouted):
		self.source, self.name, self.shouted = source, self.wire(name), self.wire(shouted)
		self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
		self.socket.bind((address, DNS_PORT))
		self.thread = threading.Thread(target=self._serve, daemon=True)
		self.thread.start()

	@staticmethod
	def wire(name):
		return b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))

	def _serve(self):
		while True:
			query, sender = self.socket.recvfrom(4096)
			if not sender:  # the socket has been shut down
				return
			with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
				client.sendto(query, (self.source, DNS_PORT))
				answer = client.recv(4096)
			self.socket.sendto(answer.replace(self.name, self.shouted), sender)

	def stop(self):
		shut(self.socket)
		self.thread.join()
		self.socket.close()


SERVERS = {"one": FIRST_NAME_SERVER, "two": SECOND_NAME_SERVER}


@behaviour("name servers that differ are an error, those that agree are not")
def differing_name_servers_are_an_error(site):
	site.good()
	zones = {FIRST_NAME_SERVER: [], SECOND_NAME_SERVER: []}
	for name, targets in (("differ", ("xmpp.good.lab.", "xmpp.elsewhere.lab.")), ("same", ("xmpp.good.lab.",) * 2)):
		for number, target in zip(zones, targets):
			zone = site.child(name, SERVERS)
			zone.add("_xmpp-server._tcp", "SRV", f"0 5 {site.s2s_port} {target}", f"9 5 {site.s2s_port} good.lab.")
			zones[number].append(zone)
	site.serve_zones(zones)
	site.go()
	report = check(site, "differ.lab", "same.lab", status=ERRORS)
	report.expect("error", "name server", "SRV _xmpp-server._tcp.differ.lab",
		r"^name servers differ; one.differ.lab \(.*\): 0 5 \d+ xmpp.good.lab; two.differ.lab \(.*\): 0 5 \d+ xmpp.elsewhere.lab$")
	report.expect("ok", "name server", "SRV _xmpp-server._tcp.same.lab", "^2 of same.lab, identical$")
	report.expect("warning", "TLSA", f"_{site.s2s_port}._tcp.xmpp.good.lab", "^3 1 1; without effect: the SRV record is insecure$")


@behaviour("name servers that differ only in letter case are a warning that says so")
def differing_letter_case_is_a_warning(site):
	site.good()
	zone = site.child("case", SERVERS)
	zone.add("_xmpp-server._tcp", "SRV", f"0 5 {site.s2s_port} xmpp.good.lab.")
	site.serve_zones({FIRST_NAME_SERVER: [zone]})
	first, second = site.lab.address(FIRST_NAME_SERVER), site.lab.address(SECOND_NAME_SERVER)
	site.extra.append(Shouting(second, first, "xmpp.good.lab", "XMPP.Good.lab"))
	site.go()
	report = check(site, "case.lab", status=ERRORS)
	report.expect("warning", "name server", "SRV _xmpp-server._tcp.case.lab",
		rf"^name servers differ in letter case only; one.case.lab \({first}\): 0 5 \d+ xmpp.good.lab; "
		rf"two.case.lab \({second}\): 0 5 \d+ XMPP.Good.lab$")


@behaviour("a name server that does not answer, or does not know the zone, is reported")
def a_lame_name_server_is_reported(site):
	site.good()
	zone = site.child("mute", {"ns": FIRST_NAME_SERVER})
	zone.add("", "NS", "silent.", "failing.", "nowhere.lab.")
	zone.add("_xmpp-server._tcp", "SRV", f"0 5 {site.s2s_port} xmpp.good.lab.")
	site.serve_zones({FIRST_NAME_SERVER: [zone]})
	site.go()
	report = check(site, "mute.lab", status=ERRORS)
	rows = report.rows_of("name server", "SRV _xmpp-server._tcp.mute.lab")
	assert any(row["state"] == "warning" and re.match("silent .*does not answer$", row["text"]) for row in rows), rows
	assert any(row["state"] == "warning" and row["text"] == "nowhere.lab (no address) does not answer" for row in rows), rows
	assert any(row["state"] == "error" and "failing (" in row["text"] and "SERVFAIL" in row["text"] for row in rows), rows
