"""XEP-0198, 3: stream feature and enabling."""
import bed
import xmpp
from steps import EVERY_TRANSPORT
from suite import behaviour
from xmpp import SM2, SM3, failure


@behaviour("features: sm:2 and sm:3 are offered, and not called optional", over=EVERY_TRANSPORT)
def sm2_and_sm3_are_offered(server, transport):
	client = server.authenticated(server.account("alice"), transport)
	offers = client.features.all("sm")
	assert sorted(offer.xmlns for offer in offers) == [SM2, SM3], offers
	assert not any(offer.children for offer in offers), offers


@behaviour("features: stream management is not offered before authentication", over=EVERY_TRANSPORT)
def nothing_is_offered_before_authentication(server, transport):
	client = server.connect(server.account("alice"), transport)
	client.open()
	assert not client.features.all("sm")


@behaviour("enable: before authentication it fails with unexpected-request", over=EVERY_TRANSPORT)
def enable_before_authentication_fails(server, transport):
	client = server.connect(server.account("alice"), transport)
	client.open()
	client.send(f"<enable xmlns='{SM3}' resume='true'/>")
	failed = client.next()
	assert failed.name == "failed" and failed.xmlns == SM3
	assert failure(failed) == "unexpected-request", failed
	client.authenticate()
	client.bind().enable()


@behaviour("enable: before bind it fails with unexpected-request", over=EVERY_TRANSPORT)
def enable_before_bind_fails(server, transport):
	client = server.authenticated(server.account("alice"), transport)
	client.send(f"<enable xmlns='{SM3}' resume='true'/>")
	failed = client.next()
	assert failure(failed) == "unexpected-request", failed
	client.bind().enable()
	client.ping()


@behaviour("enable: a second time it fails and the first stays in force", over=EVERY_TRANSPORT)
def a_second_enable_fails(server, transport):
	alice, bob = server.login("alice", transport), server.login("bob")
	alice.enable()
	alice.send(f"<enable xmlns='{SM3}' resume='true'/>")
	failed = alice.next()
	assert failure(failed) == "unexpected-request", failed
	bob.chat(alice, "still counted")
	assert alice.message().body == "still counted"
	alice.ping()
	assert alice.handled() == 1
	alice.cut()
	server.wait_hibernating(alice)
	server.resume(alice)


@behaviour("enable: the condition is a direct child of <failed/>, without a wrapper in either namespace")
def the_condition_is_a_direct_child(server):
	for sm in (SM2, SM3):
		client = server.authenticated(server.account("alice"))
		client.send(f"<enable xmlns='{sm}'/>")
		failed = client.next()
		assert failed.name == "failed" and failed.xmlns == sm
		assert [c.name for c in failed.children if c.name != "text"] == ["unexpected-request"], failed
		assert failed.children[0].xmlns == xmpp.STANZA_ERRORS


@behaviour("enable: answered with resume, an id and the server's max", over=EVERY_TRANSPORT)
def enabled_has_id_and_max(server, transport):
	enabled = server.login("alice", transport).enable()
	assert enabled["resume"] == "true"
	assert enabled["max"] == "600"
	assert 10 <= len(enabled["id"]) <= 4000


@behaviour("enable: resume='1' requests resumption, too, resume='false' and '0' do not")
def boolean_forms_of_resume(server):
	for value, wanted in (("1", True), ("false", False), ("0", False)):
		client = server.login("alice")
		client.send(f"<enable xmlns='{SM3}' resume='{value}'/>")
		enabled = client.next()
		assert enabled.name == "enabled"
		assert (enabled["resume"], enabled["id"] is not None) == (("true", True) if wanted else (None, False))


@behaviour("enable: without resumption there is no id, and a cut ends the session at once")
def without_resumption_a_cut_ends_the_session(server):
	alice, bob = server.login("alice"), server.login("bob")
	enabled = alice.enable(resume=False)
	assert enabled["id"] is None and enabled["resume"] is None and enabled["max"] is None
	alice.send(f"<presence to='{bob.jid}'/>")
	assert bob.stanza()["type"] is None
	alice.cut()
	assert bob.stanza()["type"] == "unavailable"


@behaviour("enable: a smaller max of the client is honoured")
def a_smaller_max_is_honoured(server):
	alice = server.login("alice")
	assert alice.enable(max=1)["max"] == "1"
	alice.cut()
	server.wait_hibernating(alice)
	server.wait_gone(alice)


@behaviour("enable: a client's max cannot exceed the server's", options={"smacks_hibernation_time": 1})
def a_larger_max_is_capped(server):
	alice = server.login("alice")
	assert alice.enable(max=3600)["max"] == "1"
	alice.cut()
	server.wait_hibernating(alice)
	server.wait_gone(alice)


@behaviour("enable: a max that is not a positive integer is ignored")
def an_invalid_max_is_ignored(server):
	for nonsense in ("0", "-1", "1.5", "", "soon", "0x10", "1e1", "99999999999999999999", "nan"):
		enabled = server.login("alice").enable(max=nonsense)
		assert enabled["max"] == "600", (nonsense, enabled)


@behaviour("enable: ids of successive and of simultaneous sessions differ")
def ids_are_unique(server):
	first = server.login("alice")
	clients = [first] + [server.again(first) for _ in range(9)]
	ids = [client.enable()["id"] for client in clients]
	for client in clients:
		client.close()
	clients = [server.again(first) for _ in range(10)]
	ids += [client.enable()["id"] for client in clients]
	assert len(set(ids)) == 20, ids


@behaviour("enable: in an unknown namespace it is not answered with <enabled/>")
def a_foreign_namespace_is_not_answered(server):
	client = server.login("alice")
	client.send("<enable xmlns='urn:xmpp:sm:1' resume='true'/>")
	try:
		client.ping()
	except (xmpp.Closed, AssertionError):
		pass
	assert server.session(client, "s and s.smacks or nil") == "nil"


@behaviour("sm:2: the whole exchange happens in the namespace the client chose", over=EVERY_TRANSPORT)
def sm2_is_answered_in_sm2(server, transport):
	alice, bob = server.login("alice", transport), server.login("bob")
	alice.enable(sm=SM2)
	bob.chat(alice, "one")
	assert alice.message().body == "one"
	assert alice.handled() == 0
	assert alice.until("r").xmlns == SM2
	alice.ack()
	alice.handled()
	alice.cut()
	server.wait_hibernating(alice)
	bob.chat(alice, "two")
	bob.ping()
	alice = server.resume(alice)
	assert alice.resumed.xmlns == SM2
	assert alice.message().body == "two"


@behaviour("enable: after the legacy session iq and after presence, as well as right after bind")
def enable_may_come_late(server):
	alice = server.login("alice")
	alice.ask("<session xmlns='urn:ietf:params:xml:ns:xmpp-session'/>", "set")
	alice.enable()
	assert alice.handled() == 0
	late = server.login("bob").available()
	late.enable()
	late.send("<presence><show>away</show></presence>")
	assert late.handled() == 1


@behaviour("enable: a component stream gets an error",
	components={"component.prosody.test": {"component_secret": bed.PASSWORD}})
def components_have_no_stream_management(server):
	component = bed.Component(server, "component.prosody.test")
	component.send(f"<enable xmlns='{SM3}' resume='true'/>")
	failed = component.next()
	assert failed.name == "failed" and failure(failed), failed
	alice = server.login("alice")
	alice.chat("component.prosody.test", "still there")
	assert component.next().body == "still there"
