"""Steps of many tests."""
import time

import bed
import xmpp

EVERY_TRANSPORT = ("tcp", "websocket", "bosh")
LAST = 2**32 - 1


def counters(server, client):
	"""The server's outgoing counters: (acknowledged, unacknowledged)."""
	queue = "s.outgoing_stanza_queue"
	text = server.session(client, f"{queue}:count_acked() .. ' ' .. {queue}:count_unacked()")
	return tuple(int(float(n)) for n in text.split())


def stream_error(client):
	"""Read to the end of the stream; returns the stream error."""
	ended = client.transport.wait_for_end()
	errors = [e for e in ended if e.name == "error" and e.xmlns == xmpp.STREAMS]
	assert len(errors) == 1, ended
	return errors[0]


def start_at(server, client, h):
	"""Let both counters of a session with nothing unacknowledged begin near their end."""
	server.lua(f"local s = prosody.full_sessions[{bed.lua(client.jid)}]; "
		f"s.handled_stanza_count = {h}; s.outgoing_stanza_queue:start_at({h})")
	client.h = h


def pair(server, transport="tcp"):
	"""Alice with stream management, and bob without."""
	alice, bob = server.login("alice", transport), server.login("bob")
	alice.enable()
	return alice, bob


def cut(server, client):
	client.cut()
	server.wait_hibernating(client)


def say(sender, to, *bodies):
	"""Sends messages, and returns when the server has handled them."""
	for body in bodies:
		sender.chat(to, str(body))
	sender.ping()


def stamp(moment):
	return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))


def next_second():
	"""Stamps count whole seconds: wait for the clock to show another one."""
	now = int(time.time())
	bed.wait_for(lambda: int(time.time()) > now, "the next second")


def pending_offline(server, user):
	"""The bodies in a user's offline storage, oldest first."""
	code = f"""
		local store = require "core.storagemanager".open({bed.lua(server.host)}, "offline", "archive");
		local bodies = {{}};
		for _, stanza in assert(store:find({bed.lua(user)})) do
			table.insert(bodies, stanza:get_child_text("body"));
		end
		return table.concat(bodies, " ")"""
	return server.lua(code).split()


def wait_offline(server, user, bodies):
	"""Wait until offline storage has exactly these."""
	bed.wait_for(lambda: pending_offline(server, user) == bodies, f"offline storage holds {bodies}")
