from same import same

@same("messages: basic")
def _(alice, bob, bob_bosh, bob_websocket, bob_tls, bob_sm, other_carol, other_dave_starttls, far_eve, link):
	bob.online()
	bob_bosh.online()
	bob_websocket.online()
	for to in (bob, bob_bosh, bob_websocket, bob_tls, bob_sm, other_carol, other_dave_starttls, far_eve, link):
		alice.says(to.jid, "hello")
		if to is not link:
			to.says(alice.jid, "hello")
	link.sends(f"<message from='x@{link.jid}' to='{alice.jid}'><body>hi</body></message>")
