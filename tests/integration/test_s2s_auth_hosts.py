"""Authentication between servers on every host: hosts that are activated later, handlers after a reload or unload of
the module, an excluded host, and streams to servers that were not looked up in DNS."""
import pathlib
import re
import sys
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lab"))

import bed  # noqa: E402
from peers import MISMATCH, PORT  # noqa: E402
from play import domain, established, on_bed, opened  # noqa: E402
from raw import Target, peer_stream, read_until  # noqa: E402
from servers import Server, tls  # noqa: E402

MATCHING, MISMATCHING, PLAIN = "hosts-matching.lab", "hosts-mismatching.lab", "hosts-plain.lab"
LATER, LEFT_OUT = "later.strict.lab", "left-out.strict.lab"
ONION = "hidden.onion"
ADDRESS = 31  # the last number of the address of a server that is known only by its address
REFUSAL = "DNS records have not been looked up"
DIALBACK = "<stream:features><dialback xmlns='urn:xmpp:features:dialback'/></stream:features>"


@domain("hosts-matching")
def _(peer):
	peer.shows()
	peer.target(tlsa=[(3, 1, 1)])


@domain("hosts-mismatching")
def _(peer):
	peer.shows(peer.lab.intermediate)
	peer.target(tlsa=[MISMATCH[3]])


@domain("hosts-plain")
def _(peer):
	peer.shows()
	peer.srv(peer.name("plain"))
	peer.add("plain", "A", peer.lab.address(ADDRESS))


def activate(subject, servers, name, **options):
	"""Makes a component of the running server."""
	certificate = servers.lab.intermediate.issue(name, [f"DNS:{name}"])
	section = {"component_module": "test_component", **tls(certificate, servers.lab), **options}
	for option, value in section.items():
		subject.lua(f'require "core.configmanager".set({bed.lua(name)}, {bed.lua(option)}, {bed.lua(value)})')
	assert subject.lua(f'return require "core.hostmanager".activate({bed.lua(name)})') == "true"


def deactivate(subject, name):
	assert subject.lua(f'return require "core.hostmanager".deactivate({bed.lua(name)})') == "true"


def modulemanager(subject, function):
	result = subject.lua(f'return tostring(require "core.modulemanager".{function}("*", "s2s_auth_native"))')
	assert result != "nil", (function, result)


def handlers(subject):
	"""The number of handlers of this module on every host and globally, by event."""
	return subject.lua("""
		local count = 0;
		local function add(events)
			for _, name in ipairs { "s2s-check-certificate", "s2sout-created", "s2sout-pre-connect", "s2s-authenticated",
					"s2sout-authenticate-legacy", "stanza/http://etherx.jabber.org/streams:features", "host-activated",
					"stanza/jabber:server:dialback:result", "stanza/jabber:server:dialback:verify", "host-deactivated" } do
				for _, handler in ipairs(events.get_handlers(name) or {}) do
					if debug.getinfo(handler, "S").source:find("s2s_auth_native", 1, true) then count = count + 1; end
				end
			end
		end
		add(prosody.events);
		for _, host in pairs(prosody.hosts) do add(host.events); end
		return count;""")


def assert_protected(servers, subject, here):
	"""Streams of a host are checked, once, in both directions."""
	for opener, direction, ours, theirs in ((subject, "outgoing", here, MATCHING), (servers.peer, "incoming", MATCHING, here)):
		mark = len(subject.log())
		established(opener, ours, theirs)
		assert len(re.findall(rf"peer {MATCHING} \({direction}\): proof dane-ee", subject.log()[mark:])) == 1
		servers.forget(MATCHING)
	assert not opened(subject, here, MISMATCHING)["established"]
	servers.forget(MISMATCHING)


@on_bed("hosts: a component that is activated later is protected, also when it is activated again")
def a_late_component_is_protected(servers):
	subject = servers.judging = servers.subject("strict", True)
	before = handlers(subject)
	for _ in range(2):
		activate(subject, servers, LATER)
		established(subject, LATER, MATCHING)
		assert subject.audit("outgoing", MATCHING)["proof"] == "dane-ee"
		assert not opened(subject, LATER, MISMATCHING)["established"]
		with peer_stream(subject, servers.lab.public, f"from='{MISMATCHING}'", servers.peers[MISMATCHING].certificate, LATER) as stream:
			assert "<not-authorized" in read_until(stream, "</stream:(features|error)>")
		for each in (MATCHING, MISMATCHING):
			servers.forget(each)
		deactivate(subject, LATER)
	assert handlers(subject) == before


@on_bed("hosts: a reloaded module has its handlers once, and an unloaded one does not have any")
def a_reload_registers_handlers_once(servers):
	subject = servers.judging = servers.subject("strict", True)
	loaded = handlers(subject)
	assert int(loaded) > len(subject.domains)
	for _ in range(2):
		modulemanager(subject, "reload")
		assert handlers(subject) == loaded
	for here in subject.domains:
		assert_protected(servers, subject, here)
	modulemanager(subject, "unload")
	try:
		assert handlers(subject) == "0"
		mark = len(subject.log())
		opened(subject, subject.component, MATCHING)
		assert f"peer {MATCHING}" not in subject.log()[mark:]
	finally:
		servers.forget(MATCHING)
		modulemanager(subject, "load")
	assert handlers(subject) == loaded
	for here in subject.domains:
		assert_protected(servers, subject, here)


@on_bed("hosts: a host that was activated without an event is protected, too")
def a_host_without_an_event_is_protected(servers):
	subject = servers.judging = servers.subject("lax", True)
	names = ("host-activated", "host-deactivated")
	attached = [subject.lua(f"""
		for _, handler in ipairs(prosody.events.get_handlers("{name}")) do
			if debug.getinfo(handler, "S").source:find("s2s_auth_native", 1, true) then
				prosody.events.remove_handler("{name}", handler);
				return "removed";
			end
		end""") for name in names]
	assert attached == ["removed", "removed"]
	try:
		activate(subject, servers, LATER)
		outcome = opened(subject, LATER, MATCHING)  # its resolver is not distinguished from Prosody's
		assert not outcome["established"] and REFUSAL in outcome["reason"], outcome
		servers.forget(MATCHING)
		established(subject, LATER, MATCHING)
		assert subject.audit("outgoing", MATCHING)["proof"] == "dane-ee"
	finally:
		servers.forget(MATCHING)
		deactivate(subject, LATER)
		modulemanager(subject, "reload")


@on_bed("hosts: if the module is enabled only for a component, the virtual host is protected as well")
def a_component_protects_its_virtual_host(servers):
	here, component = "own.lab", "own-component.lab"
	certificate = servers.lab.intermediate.issue(here, [f"DNS:{here}", f"DNS:{component}"])
	ours = {} if servers.stock else {"modules_enabled": ["s2s_auth_native"]}
	server = Server(servers.lab, servers.peer.version, servers.lab.address(ADDRESS + 1), {here: tls(certificate, servers.lab)},
		{"s2s_secure_auth": False}, stock=servers.stock, components={component: {**tls(certificate, servers.lab), **ours}})
	try:
		server.start()
		for domain_of_ours in (here, component):
			established(server, domain_of_ours, MATCHING)
			assert not opened(server, domain_of_ours, MISMATCHING)["established"]
		server.assert_no_traceback()
	finally:
		server.discard()


@on_bed("hosts: a host whose modules_disabled names the module is left to Prosody, and the log says so")
def modules_disabled_leaves_a_host_to_prosody(servers):
	subject = servers.judging = servers.subject("lax", True)
	activate(subject, servers, LEFT_OUT, modules_disabled=["s2s_auth_native"])
	try:
		subject.expect_log(rf"\tinfo\tNot protecting {LEFT_OUT}: modules_disabled of this host names the module")
		established(subject, LEFT_OUT, MISMATCHING)
		assert subject.audit("outgoing", MISMATCHING) is None
		assert not opened(subject, subject.component, MISMATCHING)["established"]
	finally:
		servers.forget(MISMATCHING)
		deactivate(subject, LEFT_OUT)


# --- Streams to servers that were not looked up ---

# Another module's resolver instead of this one's
REPLACE = {
	"0.12": """
		local service = require "net.resolvers.service";
		test_theirs, service.new = service.new, test_resolver;""",
	"13.0": """
		function test_theirs(event) event.resolver = test_resolver(); end
		for _, host in pairs(prosody.hosts) do host.events.add_handler("s2sout-pre-connect", test_theirs, -1000); end"""}
RESTORE = {
	"0.12": 'require "net.resolvers.service".new = test_theirs;',
	"13.0": 'for _, host in pairs(prosody.hosts) do host.events.remove_handler("s2sout-pre-connect", test_theirs); end'}


def replaced(servers, subject, address, function):
	"""Calls the function while the subject finds every server at this address, by another module."""
	subject.lua(f"""
		setmetatable(_G, nil); -- which would let no test add a name
		function test_resolver() return require "net.resolvers.basic".new("{address}", {PORT}, "tcp", {{}}); end
		{REPLACE[servers.peer.version]}""")
	try:
		function()
	finally:
		subject.lua(f"{RESTORE[servers.peer.version]} test_resolver, test_theirs = nil, nil;")


@on_bed("hosts: a stream to a server that another module has found is refused, with an error to both sides")
def a_server_found_by_another_module_is_refused(servers):
	def refused():
		for here in subject.domains:
			outcome = opened(subject, here, MATCHING)
			assert not outcome["established"] and REFUSAL in outcome["reason"], outcome
			subject.expect_log(rf"\twarn\tRefusing {MATCHING}: its {REFUSAL}: another module")
			bed.wait_for(lambda: f"Your server&apos;s {REFUSAL}" in servers.peer.log()[servers.peer.mark:]
				or f"Your server's {REFUSAL}" in servers.peer.log()[servers.peer.mark:], "the peer is told")
			servers.forget(MATCHING)
			servers.finish()

	for policy in ("strict", "lax"):
		subject = servers.judging = servers.subject(policy, True)
		replaced(servers, subject, servers.peer.address, refused)
		established(subject, subject.component, MATCHING)
		servers.forget(MATCHING)


@on_bed("hosts: without DANE a stream to a server that another module has found is verified like any other")
def without_dane_such_a_server_is_judged_as_usual(servers):
	subject = servers.judging = servers.subject("lax", False)
	replaced(servers, subject, servers.peer.address, lambda: established(subject, subject.component, MATCHING))
	servers.forget(MATCHING)


@on_bed("hosts: an unencrypted stream to a server that another module has found is refused before dialback")
def unencrypted_such_a_server_is_refused(servers):
	def refused():
		with Target(address, DIALBACK) as target:
			outcome = opened(subject, subject.component, PLAIN)
		assert not outcome["established"] and REFUSAL in outcome["reason"], outcome
		assert "<db:result" not in target.heard, target.heard

	subject, address = servers.subject("lax", True), servers.lab.address(ADDRESS)
	servers.judging = subject
	replaced(servers, subject, address, refused)
	servers.forget(PLAIN)


@on_bed("hosts: a server in Tor, which only another module can find, may use dialback where the policy is lax")
def an_onion_server_may_use_dialback(servers):
	def has_dialback():
		with Target(address, DIALBACK + "</stream:stream>") as target:
			subject.streams("open", subject.component, ONION)
			heard = bed.wait_for(lambda: target.heard, "the stream ends")
		assert "<db:result" in heard, heard

	subject, address = servers.subject("lax", True), servers.lab.address(ADDRESS)
	servers.judging = subject
	replaced(servers, subject, address, has_dialback)
	servers.forget(ONION)


@on_bed("hosts: a stream to an address does not look up records, and may use dialback where the policy is lax")
def an_address_may_use_dialback(servers):
	subject = servers.judging = servers.subject("lax", True)
	address = servers.lab.address(ADDRESS)
	for here in subject.domains:
		with Target(address, DIALBACK + "</stream:stream>") as target:
			subject.streams("open", here, address)
			heard = bed.wait_for(lambda target=target: target.heard, "the stream ends")
		assert "<db:result" in heard, heard
		servers.forget(address)


@on_bed("hosts: a stream that is older than the module is left alone once it is authenticated, and refused before")
def an_older_stream_is_left_alone(servers):
	subject = servers.judging = servers.subject("lax", True)
	here = subject.component
	modulemanager(subject, "unload")
	try:
		established(subject, here, MATCHING)
		go = threading.Event()
		with Target(servers.lab.address(ADDRESS), DIALBACK, go=go) as target:
			subject.streams("open", here, PLAIN)
			bed.wait_for(target.reached.is_set, "the stream begins")
			modulemanager(subject, "load")
			go.set()
			subject.expect_log(rf"\twarn\tRefusing {PLAIN}: its {REFUSAL}: [^\n]*older than this module")
		assert "<db:result" not in target.heard, target.heard
		assert subject.outcome("outgoing", here, MATCHING)["established"]
		assert subject.lua(f"return prosody.hosts['{here}'].s2sout['{MATCHING}'].type") == "s2sout"
	finally:
		if subject.lua('return require "core.modulemanager".is_loaded("*", "s2s_auth_native")') != "true":
			modulemanager(subject, "load")
		for each in (MATCHING, PLAIN):
			servers.forget(each)
