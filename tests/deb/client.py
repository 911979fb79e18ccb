#!/usr/bin/python3
"""client.py exchange|archive PORT   two clients of localhost use a server on that port

	exchange   bob's connection is cut, alice sends more messages, and bob resumes
	archive    bob reads these messages from the archive
"""
import pathlib
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "integration"))

import mam  # noqa: E402
import xmpp  # noqa: E402

HOST, PASSWORD = "localhost", "secret"
WRITTEN = ["before the cut", "lost on its way", "after the cut"]


def client(user, port):
	return xmpp.Client(xmpp.Tcp(port), user, PASSWORD, HOST)


def exchange(port):
	alice, bob = client("alice", port).login(), client("bob", port).login("phone")
	bob.enable()
	bob.available()
	alice.chat(bob, WRITTEN[0])
	assert bob.message().body == WRITTEN[0]
	bob.ack()
	alice.chat(bob, WRITTEN[1])
	alice.ping()
	bob.cut()
	alice.chat(bob, WRITTEN[2])
	alice.ping()
	back = client("bob", port)
	back.open()
	back.authenticate()
	back.resume(bob)
	bodies = back.bodies(2)
	assert bodies == WRITTEN[1:], f"expected the rest of {WRITTEN}, got {bodies}"
	back.close()
	alice.close()


def archive(port):
	bob = client("bob", port).login()
	page = mam.query(bob, max=10)
	assert page.bodies == WRITTEN and page.complete, f"expected {WRITTEN}, got {page}"
	bob.close()


if __name__ == "__main__":
	{"exchange": exchange, "archive": archive}[sys.argv[1]](int(sys.argv[2]))
