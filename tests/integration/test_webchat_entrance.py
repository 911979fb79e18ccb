"""A visitor who cannot enter returns to the form, with a reason and a remedy."""
import bed
from browser import WAIT, Browser
from proxy import Proxy
from suite import every_version
from test_webchat_browser import COMPOSER, agent_in, come_in, comes, in_browser, leaves, occupants, page, said
from test_webchat_page import BEHIND, Nginx
from webchatsite import GUESTS, ROOMS, SUPPORT

KEPT = "sessionStorage.getItem('webchat-name')"
CLUB = f"club@{ROOMS}"

# Refused nicknames, and the text that the visitor reads
REFUSED = {"agent": "has this name or one that looks like it", "\u0430gent": "has this name or one that looks like it",
	"\u05d3\u05d5\u05d3 ben": "languages that are written in one direction", "B\u2800n": "invisible character", "\u0411en": "mixes alphabets",
	"Be\u0301\u0301\u0301\u0301\u0301n": "too many accents"}
EMOJI = "\U0001f600"  # the driver types no such character
FINE = {"\u05d3\u05d5\u05d3": "\u05d3\u05d5\u05d3", "  Ann   Bell ": "Ann Bell", "A\u200bnn\u2066": "Ann", "\u2665\ufe0f": "\u2665"}


def room(server, code, jid=SUPPORT):
	"""Run Lua about a room."""
	return server.lua(f"local room = prosody.hosts[{bed.lua(ROOMS)}].modules.muc.get_room_from_jid({bed.lua(jid)}); {code}")


def ask_in(browser, name):
	"""Send the form with this name."""
	browser.wait("#name")
	browser.driver.execute_script("""
		document.getElementById("name").value = arguments[0];
		document.getElementById("reason").textContent = "";  // a new one is waited for""", name)
	browser.wait("#form button").click()


def is_kept_out(browser, reason):
	"""The form is shown with a reason; the name is not kept, so that a reload shows the form without a reason."""
	browser.wait_text("#notice", reason)
	assert browser.wait("#form") and browser.run(KEPT) is None
	assert not browser.texts("#conversejs .chatroom"), "the room is out of sight"


@in_browser("a name that is refused leads back to the form, with a reason")
def names(server):
	agent = agent_in(server)
	with Browser() as browser:
		browser.driver.get(page(server))
		for name, reason in {**REFUSED, EMOJI: "a character that the server does not support, such as most emoji"}.items():
			ask_in(browser, name)
			is_kept_out(browser, reason)
			assert browser.run("document.getElementById('name').value") == ""
		browser.driver.refresh()
		browser.wait("#name")
		assert not browser.texts("#notice")
		ask_in(browser, "Ann")
		comes(agent, "Ann")
		browser.wait(COMPOSER)
		assert occupants(server) == ["Ann", "agent"]


@in_browser("names of other languages, and with characters that cannot be seen, work", guests={"webchat_logins_per_minute": 100})
def languages(server):
	agent = agent_in(server)
	with Browser() as browser:
		for typed, shown in FINE.items():
			browser.driver.get(page(server))
			ask_in(browser, typed)
			comes(agent, shown)
			browser.wait(COMPOSER)
			browser.close_tab()
			leaves(agent, shown)


@in_browser("a name that is refused in the room leaves the visitor there, and the room says why")
def renamed(server):
	agent = agent_in(server)
	with Browser() as browser:
		come_in(browser, page(server))
		comes(agent, "Ann")
		browser.type(COMPOSER, "/nick agent")
		browser.wait_text("converse-chat-message", "Somebody in the room has this name")
		assert browser.texts(COMPOSER) and occupants(server) == ["Ann", "agent"]


@every_version
@in_browser("a room with a password asks for it, again if it is wrong, and not after a reload")
def password(server):
	agent = agent_in(server)
	room(server, "room:set_password('sesame')")
	with Browser() as browser:
		browser.driver.get(page(server))
		browser.type("#name", "Ann")
		browser.wait_text("#notice", "This room needs a password")
		assert browser.run("document.getElementById('name').value") == "Ann"
		browser.type("#password", "open")
		browser.wait_text("#notice", "The password is wrong")
		browser.type("#password", "sesame")
		comes(agent, "Ann")
		browser.wait(COMPOSER)
		browser.driver.refresh()
		leaves(agent, "Ann")
		comes(agent, "Ann")


def elsewhere(what, code, reason):
	@in_browser(f"a room that {what} leads back to the form, and to the default room")
	def leads(server):
		server.make_room(CLUB)
		room(server, code, CLUB)
		agent = agent_in(server)
		with Browser() as browser:
			browser.driver.get(f"{page(server)}#{CLUB}")
			ask_in(browser, "Ann")
			is_kept_out(browser, reason)
			assert browser.texts("#other") == [SUPPORT]
			browser.wait("#other").click()
			bed.wait_for(lambda: browser.texts("#room") == [SUPPORT], "the form of the default room")
			ask_in(browser, "Ann")
			comes(agent, "Ann")


ANSWER = """module:context(room.host or 'rooms.prosody.test'):hook("muc-occupant-pre-join", function (event)
	if event.room ~= room then return; end
	event.origin.send(require "util.stanza".error_reply(event.stanza, "wait", "%s"));
	return true;
end);"""
elsewhere("is for members only", "room:set_members_only(true)", "This room is for members only")
elsewhere("is not there", "room:destroy(); room:set_persistent(false); room:save(true)", "There is no such room")
elsewhere("is full", f"local module = require 'core.modulemanager'.get_module('{ROOMS}', 'muc').module; "
	+ ANSWER % "service-unavailable", "full, or closed")


@every_version
@in_browser("a visitor who is banned while in the room gets the reason, and again after trying",
	guests={**BEHIND, "webchat_sessions_per_address": 9})
def banned(server):
	agent = agent_in(server)
	with Nginx(server) as port, Browser() as browser:
		come_in(browser, page(server, port, "/support/"))
		comes(agent, "Ann")
		room(server, f"for _, o in room:each_occupant() do if o.nick:match('/Ann$') then "
			"room:set_affiliation(true, o.bare_jid, 'outcast', 'for swearing'); end end")
		is_kept_out(browser, "You have been banned from this room. Reason: for swearing")
		ask_in(browser, "Ann")
		is_kept_out(browser, "You are barred from this room until")


@in_browser("a visitor who is kicked gets the reason, and may return")
def kicked(server):
	agent = agent_in(server)
	with Browser() as browser:
		come_in(browser, page(server))
		comes(agent, "Ann")
		room(server, f"room:set_role(true, '{SUPPORT}/Ann', nil, 'calm down')")
		is_kept_out(browser, "You have been removed from this room. Reason: calm down")
		ask_in(browser, "Ann")
		browser.wait(COMPOSER)
		assert occupants(server) == ["Ann", "agent"]


@in_browser("a visitor in a room that is destroyed gets the reason, and again after trying")
def destroyed(server):
	with Browser() as browser:
		come_in(browser, page(server))
		room(server, "room:destroy(nil, 'moved out')")
		is_kept_out(browser, "This room has been closed")
		ask_in(browser, "Ben")
		browser.wait_text("#reason", "moved out")
		assert browser.run("document.getElementById('name').value") == "Ben"


@in_browser("if the server is down the page says so, and enters when it is back")
def away(server):
	proxy, closed = Proxy(server.http_port), bed.Port()
	try:
		with Browser() as browser:
			browser.driver.get(page(server, proxy.port))
			browser.wait("#name")
			proxy.to_port = closed.number
			proxy.kill()
			ask_in(browser, "Ann")
			is_kept_out(browser, "The chat cannot be")
			ask_in(browser, "Ben")
			is_kept_out(browser, "The chat cannot be reached")
			assert browser.run("document.getElementById('name').value") == "Ben"
			proxy.to_port = server.http_port
			ask_in(browser, "Ann")
			browser.wait(COMPOSER)
			assert occupants(server) == ["Ann"]
	finally:
		proxy.stop()


@in_browser("while the connection is lost the page says so, and the visitor returns after it")
def lost(server):
	agent, proxy, closed = agent_in(server), Proxy(server.http_port), bed.Port()
	try:
		with Browser() as browser:
			come_in(browser, page(server, proxy.port))
			comes(agent, "Ann")
			bed.wait_for(lambda: browser.run("sessionStorage.getItem('webchat-session')"), "it can resume")
			proxy.to_port = closed.number
			proxy.kill()
			browser.wait_text("#lost", "The connection is lost")
			proxy.to_port = server.http_port
			bed.wait_for(lambda: not browser.texts("#lost"), "the connection is back", WAIT)
			browser.type(COMPOSER, "here again")
			assert said(agent) == "here again"
			assert occupants(server) == ["Ann", "agent"]
	finally:
		proxy.stop()


@in_browser("a page that cannot ask the server offers to try again")
def no_configuration(server):
	with Browser() as browser:
		browser.cdp("Network.enable")
		browser.cdp("Network.setBlockedURLs", urls=["*config.json"])
		browser.driver.get(page(server))
		browser.wait_text("#notice", "The chat cannot be reached")
		browser.cdp("Network.setBlockedURLs", urls=[])
		browser.wait("#again").click()
		browser.type("#name", "Ann")
		browser.wait(COMPOSER)


@in_browser("a visitor who is in the chat when it is closed returns to the form, with the reason")
def closed(server):
	agent = agent_in(server)
	with Browser() as browser:
		come_in(browser, page(server))
		comes(agent, "Ann")
		server.shell("module", "unload", "webchat", GUESTS)
		is_kept_out(browser, "The chat is closed")
		server.shell("module", "load", "webchat", GUESTS)
		ask_in(browser, "Ann")
		browser.wait(COMPOSER)
