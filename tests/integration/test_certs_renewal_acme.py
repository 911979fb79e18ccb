"""prosodyctl mod_certs renew as the deploy hook of ACME clients, each as the README says."""
import re

from renewalsite import HOST, TTL, behaviour, from_readme, leaf_of, tlsa_of

GOES_ON = "prosodyctl mod_certs renew"


def settle(site):
	"""Cron runs it a few times, at the same moment."""
	return [site.run(GOES_ON) for _ in range(3)]


def replaced_step_by_step(site, renewal, chain):
	"""The client's command ends with a new certificate in the file `chain`; what comes of it."""
	old, was = site.served(), site.published()
	site.run(renewal)
	new = (site.workplace.here / chain).read_text()
	records = [before | {tlsa_of(new)} for before in was]
	assert tlsa_of(new) not in was[0] and site.published() == records, (was, site.published())
	for _ in range(2):  # the wait: twice the TTL
		settle(site)
		assert site.served() == old and site.published() == records
		site.clock.advance(TTL - 1)
	site.clock.advance(120)
	settle(site)
	assert_replaced(site, new)


def assert_replaced(site, new, removed=True):
	"""It is served everywhere, and accepted by openssl's own DANE; the records of the old one are gone."""
	assert set(site.served().values()) == {leaf_of(new)}
	assert re.sub(r"\s", "", site.installed()) == re.sub(r"\s", "", new)
	if removed:
		assert site.published() == [{tlsa_of(new)}] * len(site.places), site.published()
	site.assert_accepted()


@behaviour("certbot, by a deploy hook")
def test(site):
	site.with_authority().go()
	site.run("certbot certonly -d example.org --key-type ecdsa")
	site.workplace.install("/etc/letsencrypt/renewal-hooks/deploy/prosody", from_readme("# /etc/letsencrypt/renewal-hooks/deploy/prosody"))
	for _ in range(2):
		replaced_step_by_step(site, "certbot renew --force-renewal --no-random-sleep-on-renew", f"letsencrypt/live/{HOST}/fullchain.pem")


@behaviour("certbot that keeps its key: the certificate is replaced at once, and no record changes")
def test(site):
	site.with_authority().go()
	site.workplace.install("/etc/letsencrypt/renewal-hooks/deploy/prosody", from_readme("# /etc/letsencrypt/renewal-hooks/deploy/prosody"))
	site.run("certbot certonly -d example.org --reuse-key")
	replaced_step_by_step(site, "certbot renew --force-renewal --no-random-sleep-on-renew", f"letsencrypt/live/{HOST}/fullchain.pem")
