#!/usr/bin/python3
"""slixmpp_archive.py PORT HOST USER PASSWORD MAX

Reads the account's archive with slixmpp, MAX messages a page, from its beginning and then from its end.
Prints `forth ID BODY` and `back ID BODY` for each message."""
import asyncio
import sys

import slixmpp


class Reader(slixmpp.ClientXMPP):
	def __init__(self, jid, password):
		super().__init__(jid, password, plugin_config={"feature_mechanisms": {"unencrypted_scram": True}})
		self.enable_direct_tls = self.enable_starttls = False
		self.enable_plaintext = True
		self.register_plugin("xep_0313")

	async def read(self, direction, amount):
		async for message in self["xep_0313"].iterate(reverse=direction == "back", rsm={"max": amount}):
			result = message["mam_result"]
			print(direction, result["id"], result["forwarded"]["stanza"]["body"])


async def main(port, host, user, password, amount):
	reader = Reader(f"{user}@{host}", password)
	reader.connect("127.0.0.1", int(port))
	await reader.wait_until("session_start", 10)
	for direction in ("forth", "back"):
		await reader.read(direction, int(amount))
	reader.abort()


asyncio.run(main(*sys.argv[1:]))
