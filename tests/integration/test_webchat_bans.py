"""The networks and visitors that a ban applies to."""
import re
import subprocess

import bed
import xmpp
from test_webchat_limits import HERE, THERE, administer, moderator, removed, turned_away
from webchatsite import GUESTS, MUC, SUPPORT, behaviour, condition, enter, join

ELSEWHERE = "127.0.0.4"
FAIL2BAN = bed.BUILD / "fail2ban"
FILTER = bed.PROJECT / "examples/fail2ban/filter.d/prosody-webchat.conf"


def ban(agent, visitor, affiliation="outcast"):
	administer(agent, f"jid='{visitor.jid.partition('/')[0]}' affiliation='{affiliation}'")


def come(server, address=None, forwarded_for=None, transport="websocket"):
	"""A visitor over HTTP, from a proxy on loopback that may forward an address."""
	visitor = server.stranger(transport, address, forwarded_for)
	visitor.authenticate()
	return visitor.bind().available()


def roam(server, visitor, address):
	"""The visitor's connection is cut, and the session resumed from another address."""
	visitor.cut()
	server.wait_hibernating(visitor)
	again = server.stranger(address=address)
	again.authenticate()
	again.resume(visitor)
	return again


# --- identity ---

@behaviour("a failed resumption does not change a visitor's identity", beside_stock=True)
def name_stays(server):
	agent, visitor = moderator(server), server.in_room("visitor", address=HERE)
	agent.until("presence")
	visitor.enable()
	visitor.cut()
	server.wait_hibernating(visitor)
	other = server.stranger(address=THERE)
	other.authenticate()
	other.send(f"<resume xmlns='{visitor.sm}' previd='{visitor.id}' h='4000000'/>")
	answers = []
	try:
		answers.append(other.next())
		other.bind()
	except xmpp.Closed:
		pass  # Prosody's own of 0.12 gives up both sessions
	assert not any(answer.name == "resumed" for answer in answers), answers
	assert other.jid is None or other.jid.partition("/")[0] != visitor.jid.partition("/")[0]
	ban(agent, visitor)
	assert condition(join(server.visitor(address=HERE), "again"))[0] == "forbidden"
	enter(server.visitor(address=THERE), "bystander")
	if other.jid:
		other.ping()


@behaviour("a visitor who fails to resume a session may try another", beside_stock=True)
def second_try(server):
	visitor, other = server.visitor(), server.stranger()
	visitor.enable()
	visitor.cut()
	server.wait_hibernating(visitor)
	other.authenticate()
	ident, visitor.id = visitor.id, "nonsense"
	assert xmpp.failure(other.try_resume(visitor, 0)) == "item-not-found"
	visitor.id = ident
	other.resume(visitor)


# --- networks ---

@behaviour("a ban bars every network from which the visitor has connected", beside_stock=True)
def every_network(server):
	agent, visitor = moderator(server), server.in_room("visitor", address=HERE)
	visitor.enable()
	again = roam(server, visitor, THERE)
	ban(agent, again)
	assert "301" in removed(again)
	for address in (HERE, THERE):
		assert condition(join(server.visitor(address=address), "again"))[0] == "forbidden", address
	enter(server.visitor(address=ELSEWHERE), "bystander")
	for address in (HERE, THERE):
		server.expect_log(rf"Barred {address} from {SUPPORT} for 86400 s")
	ban(agent, again, "none")
	for address in (HERE, THERE):
		enter(server.visitor(address=address), f"from {address}")


@behaviour("an admin bars every network of a visitor, and lifts the bars")
def admins_bar(server):
	visitor = server.visitor(address=HERE)
	visitor.enable()
	again = roam(server, visitor, THERE)
	told = server.shell("webchat", "bar", GUESTS, again.jid)
	assert again.transport.wait_for_end()
	for address in (HERE, THERE):
		assert f"{address} is barred" in told
		assert turned_away(server.stranger(address=address))
	told = server.shell("webchat", "lift", GUESTS, again.jid)
	for address in (HERE, THERE):
		assert f"{address} is not barred from the webchat any more" in told
		server.visitor(address=address)


@behaviour("networks of present and former visitors are known after a reload")
def reloaded(server):
	agent, left = moderator(server), server.visitor(address=ELSEWHERE)
	visitor = server.in_room("visitor", address=HERE)
	visitor.enable()
	again = roam(server, visitor, THERE)
	left.close()
	server.shell("module", "reload", "webchat", GUESTS)
	ban(agent, again)
	ban(agent, left)
	for address in (HERE, THERE, ELSEWHERE):
		assert condition(join(server.visitor(address=address), "again"))[0] == "forbidden", address


@behaviour("a longer bar outlives a shorter one, of any origin", guests={"webchat_bar_time": 50})
def longer(server):
	agent, visitor = moderator(server), server.in_room("visitor", address=HERE)
	server.shell("webchat", "bar", GUESTS, HERE, SUPPORT, "9000")
	server.shell("webchat", "bar", GUESTS, HERE, "8000")
	ends = server.shell("webchat", "list", GUESTS)
	assert ends.count(HERE) == 2
	ban(agent, visitor)
	server.shell("webchat", "bar", GUESTS, HERE, SUPPORT, "60")
	server.shell("webchat", "bar", GUESTS, HERE, "60")
	server.shell("module", "reload", "webchat", GUESTS)
	assert server.shell("webchat", "list", GUESTS) == ends
	ban(agent, visitor, "none")
	assert server.shell("webchat", "list", GUESTS) == ends


@behaviour("IPv6 visitors of one subscriber are one network", guests={"webchat_sessions_per_address": 1})
def ipv6(server):
	come(server, forwarded_for="2001:db8:1:200::1")
	assert server.stranger("websocket", forwarded_for="2001:db8:1:2ff:3::1").ask_in().name == "failure"
	come(server, forwarded_for="2001:db8:1:300::1")
	assert "2001:db8:1:200::/56 is barred" in server.shell("webchat", "bar", GUESTS, "2001:db8:1:2ff:3::1")
	assert "barred" in turned_away(server.stranger("websocket", forwarded_for="2001:db8:1:201::1"))


for prefix, other in ((64, "2001:db8:1:201::1"), (129, "2001:db8:1:300::1")):
	@behaviour(f"the IPv6 prefix is an option: {prefix}", guests={"webchat_sessions_per_address": 1, "webchat_ipv6_prefix": prefix})
	def ipv6_prefix(server, other=other, prefix=prefix):
		if prefix > 128:
			server.expect_log("Invalid option value: webchat_ipv6_prefix = 129 must be an integer from 1 to 128")
		come(server, forwarded_for="2001:db8:1:200::1")
		come(server, forwarded_for=other)
		assert server.stranger("websocket", forwarded_for="2001:db8:1:200:5::1").ask_in().name == "failure"


# --- proxies ---

for transport in ("websocket", "bosh"):
	@behaviour(f"a proxy that does not forward addresses is not barred with a visitor, over {transport}",
		options={"bosh_max_inactivity": 60})
	def silent_proxy(server, transport=transport):
		agent, visitor = moderator(server), enter(come(server, transport=transport), "visitor")
		ban(agent, visitor)
		server.expect_log(r"Ban bars no network: .*trusted_proxies\. Banned .*, connected from proxy 127\.0\.0\.1")
		assert "301" in removed(visitor)
		enter(come(server, transport=transport), "bystander")
		server.expect_log(r"Addresses not forwarded: .*: proxy 127\.0\.0\.1")
		assert "Nobody is barred" in server.shell("webchat", "list", GUESTS)
		told = server.shell("webchat", "list", GUESTS)
		assert "2 visitors from proxy 127.0.0.1" in told, told
		for address in (visitor.jid, "127.0.0.1"):
			try:
				told = server.shell("webchat", "bar", GUESTS, address)
			except RuntimeError as error:
				told = str(error)
			assert "trusted_proxies" in told, told


@behaviour("behind a proxy that does not forward addresses limits of a network do not apply",
	guests={"webchat_sessions_per_address": 1, "webchat_logins_per_minute": 1, "webchat_message_burst": 2, "webchat_messages_per_minute": 1,
		"webchat_rooms_per_address": 1, "webchat_max_visitors": 4})
def silent_proxy_limits(server):
	for n in range(4):
		enter(come(server), f"visitor{n}")
	assert "full" in turned_away(server.stranger("websocket"))
	assert server.log().count("Addresses not forwarded") == 1


@behaviour("visitors behind a proxy that forwards addresses are in different networks", guests={"webchat_sessions_per_address": 1})
def telling_proxy(server):
	agent, visitor = moderator(server), enter(come(server, forwarded_for="192.0.2.1"), "visitor")
	ban(agent, visitor)
	assert "301" in removed(visitor)
	enter(come(server, forwarded_for="192.0.2.2"), "bystander")
	visitor.close()
	assert condition(join(come(server, forwarded_for="192.0.2.1"), "again"))[0] == "forbidden"
	assert "Addresses not forwarded" not in server.log()


# --- for fail2ban ---

def found(server, mode):
	"""The networks that fail2ban finds in the server's log."""
	done = subprocess.run(["python3", FAIL2BAN / "usr/bin/fail2ban-regex", "-c", FAIL2BAN / "etc/fail2ban", "-o", "ip",
		server.logfile, f"{FILTER}[mode={mode}]"], env={"PYTHONPATH": str(FAIL2BAN / "usr/lib/python3/dist-packages")},
		stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=30)
	assert done.returncode == 0, done.stdout
	return done.stdout.split()


@behaviour("fail2ban finds addresses that are barred, and that are refused repeatedly", guests={"webchat_refusals_per_minute": 5})
def fail2ban(server):
	agent, visitor = moderator(server), enter(come(server, forwarded_for="192.0.2.1"), "visitor")
	distant = enter(come(server, forwarded_for="2001:db8:1:200::1"), "distant")
	noisy, behind_proxy = server.visitor(address=HERE), enter(come(server), "behind proxy")
	for n in range(6):
		for client in (noisy, behind_proxy):
			client.send(f"<message to='Barred\\20192.0.2.9@{GUESTS}'/>", f"<presence to='{SUPPORT}/Abuse by 192.0.2.9: refused'"
				" type='subscribe'/>")
	for client in (noisy, behind_proxy):
		client.transport.wait_for_end()
	ban(agent, visitor)
	server.shell("webchat", "bar", GUESTS, "2001:db8:1:2ff::5")
	assert distant.transport.wait_for_end()
	server.shell("webchat", "bar", GUESTS, "192.0.2.3", SUPPORT)
	assert found(server, "normal") == [HERE, "2001:db8:1:200::/56"]
	assert found(server, "rooms") == [HERE, "192.0.2.1", "2001:db8:1:200::/56", "192.0.2.3"]


@behaviour("docs/WEBCHAT.md shows the log lines that fail2ban reads")
def documented_lines(server):
	guide = (bed.PROJECT / "docs/WEBCHAT.md").read_text()
	shown = re.search(r"```log\n(.*?)```", guide, re.DOTALL)[1]
	server.logfile.write_text(shown)
	assert found(server, "rooms") == ["192.0.2.7", "192.0.2.7", "2001:db8:1:200::/56"]
