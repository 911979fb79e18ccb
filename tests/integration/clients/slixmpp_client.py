#!/usr/bin/python3
"""slixmpp_client.py PORT HOST USER PASSWORD     slixmpp; see programs.py for its input and output"""
import asyncio
import sys

import slixmpp


def tell(*words):
	print(*words, flush=True)


class Client(slixmpp.ClientXMPP):
	def __init__(self, port, jid, password):
		super().__init__(jid, password, plugin_config={"feature_mechanisms": {"unencrypted_scram": True}})
		self.port = port
		self.enable_direct_tls = self.enable_starttls = False
		self.enable_plaintext = True
		self.register_plugin("xep_0198")
		self.add_event_handler("sm_enabled", lambda _: tell("bound", self.boundjid.full))
		self.add_event_handler("session_resumed", lambda _: tell("resumed"))
		self.add_event_handler("disconnected", lambda _: tell("disconnected"))
		self.add_event_handler("stanza_acked", self.tell_acked)
		self.add_event_handler("message", lambda message: tell("received", message["body"]))
		self.add_filter("out_sync", self.note_sent)

	def tell_acked(self, _):
		management = self["xep_0198"]
		tell("acked", management.seq - len(management.unacked_queue))

	def note_sent(self, stanza):
		"""Stanzas that come here are already kept for a resumption, and are written next."""
		if isinstance(stanza, slixmpp.Message):
			self.loop.call_soon(self.tell_sent, stanza["body"])
		return stanza

	def tell_sent(self, body):
		tell("sent", body)
		if self.transport:
			self["xep_0198"].request_ack()

	def obey(self, line):
		command, *words = line.rstrip("\n").split(" ", 2)
		if command == "connect":
			self.connect("127.0.0.1", self.port)
		else:
			self.send_message(mto=words[0], mbody=words[1], mtype="chat")


async def main(port, host, user, password):
	client = Client(int(port), f"{user}@{host}", password)
	commands = asyncio.StreamReader()
	await asyncio.get_running_loop().connect_read_pipe(
		lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
	while line := await commands.readline():
		client.obey(line.decode())


asyncio.run(main(*sys.argv[1:]))
