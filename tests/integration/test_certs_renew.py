"""prosodyctl mod_certs renew: from a new certificate to the one that is served, through DNS."""
from renewsite import HOST, behaviour, fingerprint


@behaviour("a new certificate goes all the way: published, waited for, installed, served, and the old records removed")
def test(site):
	new = site.issue(HOST, name="new")
	site.go()
	was, will = site.old.tlsa(3, 1, 1), new.tlsa(3, 1, 1)
	found = site.hand_in(new)
	assert found["step"] == "wait" and not found["problems"], found
	assert site.published() == {was, will}
	assert site.files() == fingerprint(site.old.file.read_text())
	assert site.renew()["until"] == found["until"]
	site.pass_time(60)
	assert site.renew()["step"] == "wait"
	site.pass_time(61)
	found = site.renew()
	assert found["step"] == "done" and not found["problems"], found
	assert site.published() == {will}
	assert site.served() == {site.files()} == {fingerprint(new.file.read_text())}
