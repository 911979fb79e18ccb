"""prosodyctl mod_certs renew with ACME clients, each set up as in the manual."""
import pathlib
import re
import shutil

from dynamicsite import HOST, TTL, USER, behaviour, from_manual, leaf_of, tlsa_of
from suite import every_version

CERTBOT_HOOK, DEHYDRATED_HOOK = "/etc/letsencrypt/renewal-hooks/deploy/prosody", "/etc/dehydrated/hook"
LEGO_HOOK, LEGO_NEXT_HOOK = "/usr/local/sbin/prosody-certificate", "/usr/local/sbin/prosody-next-certificate"
CERTBOT_AGAIN = "certbot renew --force-renewal --no-random-sleep-on-renew"
LEGO_AGAIN = f"lego -d example.org renew --days 10000 --no-random-sleep --renew-hook {LEGO_HOOK}"
LEGO_CHAIN, CERTBOT_CHAIN = f"lego/certificates/{HOST}.crt", f"letsencrypt/live/{HOST}/fullchain.pem"
TIME_LIMIT = 300  # seconds; a test takes 10 on an idle machine


def ready(site, *hooks):
	site.with_authority().go()
	for hook in hooks:
		site.workplace.install(hook, from_manual(f"# {hook}"))


def goes_on(site):
	"""Cron, which would mail any output: it is empty without problems."""
	assert site.run(from_manual("# /etc/cron.d/prosody-certificates").partition(" root ")[2]) == ""


def text_of(site, chain):
	return pathlib.Path(site.workplace.here / chain).read_text()


def replaced_step_by_step(site, renewal, chain):
	"""Runs a client's command that leaves a new certificate, with another key, in the file `chain`, and all later steps."""
	old, was = site.served(), site.published()
	site.run(renewal)
	new = text_of(site, chain)
	both = [records | {tlsa_of(new)} for records in was]
	assert tlsa_of(new) not in was[0], was
	for pause in (TTL, TTL + 60):  # until twice the TTL is over
		goes_on(site)
		assert site.served() == old and site.published() == both, site.published()
		site.clock.advance(pause)
	goes_on(site)
	assert_replaced(site, new, {tlsa_of(new)})


def replaced_at_once(site, renewal, chain):
	"""The same if the records of the key were published long before."""
	was = site.served()
	site.run(renewal)
	new = text_of(site, chain)
	assert leaf_of(new) not in was.values()
	assert_replaced(site, new, {tlsa_of(new)} | site.next_records())


def replaced_for_the_next_key(site, renewal, chain, times=1):
	"""A certificate for the pending request."""
	site.run("prosodyctl mod_certs renew example.org --request")
	for _ in range(times):
		assert site.next_records() < site.published()[0]
		site.clock.advance(2 * TTL + 60)
		goes_on(site)
		key = site.next_records()
		replaced_at_once(site, renewal, chain)
		assert tlsa_of(site.installed()) in key and site.next_records() != key


def assert_replaced(site, new, records):
	"""It is served everywhere, and accepted by openssl's own DANE; the records are exactly these."""
	assert set(site.served().values()) == {leaf_of(new)}
	assert chain_of(site.installed()) == chain_of(new)
	assert site.published() == [records] * len(site.places), (records, site.published())
	site.assert_accepted()


def chain_of(text):
	"""Its certificates, without text between them."""
	return re.findall("-----BEGIN CERTIFICATE-----[^-]*", text)


@every_version
@behaviour("certbot with a deploy hook, with a new key and with the same", time_limit=TIME_LIMIT)
def certbot_renews_with_a_new_and_the_same_key(site):
	ready(site, CERTBOT_HOOK)
	site.run("certbot certonly -d example.org")
	replaced_step_by_step(site, CERTBOT_AGAIN, CERTBOT_CHAIN)
	replaced_at_once(site, CERTBOT_AGAIN + " --reuse-key", CERTBOT_CHAIN)


@behaviour("certbot, for the next key", time_limit=TIME_LIMIT)
def certbot_uses_the_next_key(site):
	ready(site)
	request = from_manual("# certbot, for the next key").replace("$(mktemp -d)", "new; rm -rf $new; mkdir $new")
	is_time = from_manual("# is it time?")
	site.run(is_time, status=1)
	replaced_for_the_next_key(site, request, "new/fullchain.pem")
	site.run(is_time)


@behaviour("dehydrated, by knsupdate", program="knsupdate", time_limit=TIME_LIMIT)
def dehydrated_renews_by_knsupdate(site):
	ready(site, DEHYDRATED_HOOK)
	site.run("dehydrated --register --accept-terms")
	for again in ("", "--force"):
		replaced_step_by_step(site, f"dehydrated --cron -d example.org {again}", f"dehydrated/certs/{HOST}/fullchain.pem")


@behaviour("dehydrated, for the next key", program="knsupdate", time_limit=TIME_LIMIT)
def dehydrated_uses_the_next_key(site):
	ready(site, DEHYDRATED_HOOK)
	site.run("dehydrated --register --accept-terms")
	script = from_manual("# dehydrated, for the next key").replace("|", "| tee chain.pem |")
	replaced_for_the_next_key(site, script, "chain.pem")


@behaviour("lego", time_limit=TIME_LIMIT)
def lego_renews(site):
	ready(site, LEGO_HOOK)
	replaced_step_by_step(site, f"lego -d example.org run --run-hook {LEGO_HOOK}", LEGO_CHAIN)
	replaced_step_by_step(site, LEGO_AGAIN, LEGO_CHAIN)


@behaviour("lego, for the next key", program="knsupdate", time_limit=TIME_LIMIT)
def lego_uses_the_next_key(site):
	ready(site, LEGO_NEXT_HOOK)
	replaced_for_the_next_key(site, from_manual("# lego, for the next key"), LEGO_CHAIN, times=2)


@behaviour("uacme, with the same key", program="knsupdate", time_limit=TIME_LIMIT)
def uacme_renews_with_its_key(site):
	ready(site)
	site.run("uacme new operator@example.org")
	script = from_manual("# uacme, from cron")
	replaced_step_by_step(site, script, f"uacme/{HOST}/cert.pem")
	site.run(script, status=1)  # it is not time yet
	replaced_at_once(site, script.replace("issue", "--force issue"), f"uacme/{HOST}/cert.pem")


@behaviour("uacme, for the next key", time_limit=TIME_LIMIT)
def uacme_uses_the_next_key(site):
	ready(site)
	site.run("uacme new operator@example.org")
	script = from_manual("# uacme, for the next key").replace("issue", "--force issue")
	replaced_for_the_next_key(site, script, "uacme/next-cert.pem", times=2)


@behaviour("root's hook submits files that Prosody's user must not read, and Prosody's user does the rest", time_limit=TIME_LIMIT)
def the_hook_of_root_hands_over_to_prosody(site):
	site.as_user_without_rights().go()
	certificate = site.issue(HOST, name="new")
	certificate.key.chmod(0o600)
	bare = f"prosodyctl mod_certs renew example.org --new {certificate.file} --key {certificate.key}"
	assert "ermission denied" in site.run(bare, status=1)
	site.run(f"cat {certificate.file} {certificate.key} | prosodyctl mod_certs renew example.org --new -")
	site.clock.advance(2 * TTL + 60)
	goes_on(site)
	assert_replaced(site, certificate.file.read_text(), {certificate.tlsa(3, 1, 1)})
	for suffix, mode in ((".crt", 0o644), (".key", 0o600)):
		file = site.directory / f"certs/{HOST}{suffix}"
		assert file.owner() == USER and file.stat().st_mode & 0o777 == mode, file.stat()


@every_version
@behaviour("prosodyctl --root reads the client's files, and writes where Prosody's user may not", time_limit=TIME_LIMIT)
def the_root_option_reads_client_files(site):
	site.as_user_without_rights()
	(site.directory / "certs").chmod(0o755)
	shutil.chown(site.directory / "certs", "root", "root")
	site.go()
	certificate = site.issue(HOST, name="new")
	certificate.key.chmod(0o600)
	site.run(f"prosodyctl --root mod_certs renew example.org --new {certificate.file} --key {certificate.key}")
	site.clock.advance(2 * TTL + 60)
	assert "ermission denied" in site.run("prosodyctl mod_certs renew", status=1)
	site.run("prosodyctl --root mod_certs renew")
	assert_replaced(site, certificate.file.read_text(), {certificate.tlsa(3, 1, 1)})
	assert (site.directory / f"certs/{HOST}.key").owner() == USER


@behaviour("the name server settings in the manual equal the laboratory's, and BIND accepts them")
def the_manuals_name_server_settings_work(site):
	lines = from_manual("# knot.conf").splitlines()[1:]
	assert "\n".join(lines) in site.name_server.configuration.read_text()
	named = site.directory / "named.conf"
	named.write_text('key "prosody" { algorithm hmac-sha256; secret "AAAA"; };\n' + from_manual("# named.conf"))
	site.run(f"named-checkconf {named}")
