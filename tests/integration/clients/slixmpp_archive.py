#!/usr/bin/python3
"""slixmpp_archive.py PORT HOST USER PASSWORD forth|back MAX

Reads the account's archive with slixmpp, MAX messages a page, and prints `message ID BODY` for each."""
import asyncio
import sys

import slixmpp


class Reader(slixmpp.ClientXMPP):
	def __init__(self, jid, password):
		super().__init__(jid, password, plugin_config={"feature_mechanisms": {"unencrypted_scram": True}})
		self.enable_direct_tls = self.enable_starttls = False
		self.enable_plaintext = True
		self.register_plugin("xep_0313")

	async def read(self, reverse, amount):
		async for message in self["xep_0313"].iterate(reverse=reverse, rsm={"max": amount}):
			result = message["mam_result"]
			print("message", result["id"], result["forwarded"]["stanza"]["body"])


async def main(port, host, user, password, direction, amount):
	reader = Reader(f"{user}@{host}", password)
	reader.connect("127.0.0.1", int(port))
	await reader.wait_until("session_start", 10)
	await reader.read(direction == "back", int(amount))
	reader.abort()


asyncio.run(main(*sys.argv[1:]))
