"""prosodyctl mod_certs check: why an answer is insecure."""
from suite import every_version
from test_certs_check import FIRST_NAME_SERVER, SERVICES, behaviour
from test_certs_installed import look


# This does not need a listener.

def delegate(site, name, valid=(-1, 30), ds=None):
	"""A zone below lab., of a name server of its own: with its DS record, or with these, "" for none."""
	zone = site.child(name, {"ns": FIRST_NAME_SERVER}, valid)
	site.good(f"{name}.lab", zone=zone, services=SERVICES[:1])
	site.serve_zones({FIRST_NAME_SERVER: [zone]})
	if ds is not None:
		lab = site.lab.zone("lab")
		lab.records = [record for record in lab.records if not record.startswith(f"{name}.lab.") or " DS " not in record.replace("\t", " ")]
		if ds:
			lab.add(name, "DS", ds)
	return f"{name}.lab"


def expect_cause(report, state, host, zone, text):
	rows = [row for row in report.rows if row["host"] == host and row["check"] == "DNSSEC"]
	assert [(row["state"], row["subject"]) for row in rows] == [(state, zone)], (rows, report)
	report.expect(state, "DNSSEC", zone, text, host=host)
	report.expect("warning", "TLSA", f"._tcp.xmpp.{host}", "without effect: the TLSA record is insecure", host=host)


@behaviour("insecure: a missing trust anchor is the cause")
def no_trust_anchor(site):
	site.good(services=SERVICES[:1])
	del site.options["unbound"]["trustfile"]
	site.lab.start()
	site.rewrite_config()
	expect_cause(look(site), "ok", "good.lab", ".", "insecure: no trust anchor is configured")


@behaviour("insecure: a trust anchor for another zone is the cause")
def an_anchor_for_another_zone(site):
	site.good(services=SERVICES[:1])
	site.lab.start()
	key = next(line for line in site.lab.zone("lab").file.read_text().splitlines() if " DNSKEY " in line.replace("\t", " "))
	del site.options["unbound"]["trustfile"]
	site.options["unbound"]["trusted"] = "elsewhere." + key[key.index("lab.") + 4:]
	site.rewrite_config()
	report = look(site, "good.lab")
	expect_cause(report, "warning", "good.lab", ".", "the trust anchor does not cover this name")


@behaviour("insecure: an unsigned zone is named with its parent")
def an_unsigned_zone(site):
	host = delegate(site, "plain", valid=None)
	site.lab.start()
	site.rewrite_config()
	expect_cause(look(site, host), "ok", host, host,
		"^insecure: the zone plain.lab is not signed: its parent lab has no DS record for it, and it has no DNSKEY record$")


@behaviour("insecure: a signed zone without a DS record in its parent")
def a_signed_zone_without_ds(site):
	host = delegate(site, "island", ds="")
	site.lab.start()
	site.rewrite_config()
	expect_cause(look(site, host), "warning", host, host,
		"^insecure: the zone island.lab is signed, but its parent lab has no DS record for it: send the DS record to the registrar, or to the operator of lab")


@behaviour("insecure: algorithms and digests that the resolver does not support are named")
def unknown_algorithms_and_digests(site):
	host = delegate(site, "odd", ds="12345 250 2 " + "ab" * 32)
	site.lab.start()
	site.rewrite_config()
	expect_cause(look(site, host), "warning", host, host, "the resolver does not support any DS record of the zone odd.lab .key 12345: "
		"unknown algorithm 250, digest SHA-256.$")


@behaviour("insecure: a single digest that the resolver does not support is named")
def an_unknown_digest(site):
	host = delegate(site, "digest", ds="12345 13 250 " + "ab" * 32)
	site.lab.start()
	site.rewrite_config()
	expect_cause(look(site, host), "warning", host, host, "key 12345: algorithm ECDSAP256SHA256, unknown digest 250")


@behaviour("insecure: an alias is insecure because of its target, and each cause is reported once")
def an_alias_into_an_insecure_zone(site):
	site.publish("insecure.lab", zone=site.lab.zone("insecure.lab"))
	zone = site.lab.zone("lab")
	zone.add("_xmpp-server._tcp.good", "SRV", f"0 5 {site.s2s_port} www.good.lab.")
	zone.add("www.good", "CNAME", "xmpp.insecure.lab.")
	site.serve("good.lab", site.issue("good.lab"))
	site.lab.start()
	site.rewrite_config()
	report = look(site, "good.lab")
	rows = report.expect("ok", "DNSSEC", "insecure.lab", "the zone insecure.lab is not signed")
	assert len(rows) == 1, report


@every_version
@behaviour("insecure: an option of the resolver that disables validation is named")
def an_option_that_disables_validation(site):
	site.good(services=SERVICES[:1])
	site.options["unbound"]["options"]["domain-insecure:"] = "good.lab"
	site.lab.start()
	site.rewrite_config()
	expect_cause(look(site), "warning", "good.lab", "good.lab", "the option unbound excludes the zone from validation")


@behaviour("insecure: a secure answer does not have a cause")
def secure_answers_have_no_cause(site):
	host = delegate(site, "fine")
	site.lab.start()
	site.rewrite_config()
	assert not look(site, host).rows_of("DNSSEC")
