"""The webchat in a real browser, with a real XMPP client in the same room."""
from urllib.parse import quote

import bed
from browser import DESKTOP, PHONE, WAIT, Browser
from proxy import Proxy
from suite import every_version
from test_webchat_page import BEHIND, Nginx
import webchatsite
from webchatsite import GUESTS, ROOMS, SUPPORT, enter

TIME_LIMIT = 90  # seconds: one or two browsers start, and load some megabytes
COMPOSER, MESSAGE, PARTICIPANT = ".chat-textarea", ".chat-msg__text", ".occupant-list .occupant-nick"
HOSTILE = ["<img src=x onerror=alert(1)>@" + ROOMS, "javascript:alert(1)", '"><script>alert(1)</script>',
	"converse/room?jid=evil@elsewhere.test", "evil@elsewhere.test", f"{SUPPORT}/nick", "%00", "%zz", "a b@" + ROOMS]

# An expression of each visitor's session
SESSIONS = f"""
	local values = {{{{}}}};
	for _, user in pairs(prosody.hosts["{GUESTS}"].sessions) do
		for _, s in pairs(user.sessions) do table.insert(values, tostring(({{}}) and true)); end
	end
	return table.concat(values, " ")"""


def in_browser(name, once=True, **settings):
	return webchatsite.behaviour(f"browser: {name}", once=once, time_limit=TIME_LIMIT, **settings)


def page(server, port=None, path="/chat/"):
	return f"http://localhost:{port or server.http_port}{path}"


def come_in(browser, url, name="Ann"):
	"""Open the page, type a name, and wait until the room is there."""
	browser.driver.get(url)
	browser.type("#name", name)
	browser.wait(COMPOSER)
	return browser


def agent_in(server, room=SUPPORT):
	return enter(server.login("agent"), "agent", room)


def seen(agent, name, room=SUPPORT):
	"""The type of the next presence, which must be this occupant's."""
	presence = agent.until("presence")
	assert presence["from"] == f"{room}/{name}", presence
	return presence["type"]


def comes(agent, name, room=SUPPORT):
	assert seen(agent, name, room) is None


def leaves(agent, name):
	"""Wait until the occupant leaves; the client's presence before does not matter."""
	while seen(agent, name) != "unavailable":
		pass


def said(agent):
	"""The next body that the agent reads; chat states have none."""
	while (message := agent.until("message")).body is None:
		pass
	return message.body


def occupants(server, room=SUPPORT):
	return sorted(server.lua(f"""
		local names = {{}};
		for nick in prosody.hosts[{bed.lua(ROOMS)}].modules.muc.get_room_from_jid({bed.lua(room)}):each_occupant() do
			table.insert(names, (nick:match("/(.*)")));
		end
		return table.concat(names, "|")""").split("|"))


@every_version
@in_browser("a visitor types a name, and talks with a user", guests={"webchat_title": "Example support"})
def talk(server):
	agent = agent_in(server)
	with Browser() as browser:
		browser.driver.get(page(server))
		browser.wait("#name")
		assert browser.texts("#title") == ["Example support"] and browser.texts("#room") == [SUPPORT]
		come_in(browser, page(server))
		comes(agent, "Ann")
		agent.chat(SUPPORT, "Hello, how can I help you?", "groupchat")
		assert said(agent) == "Hello, how can I help you?"
		browser.wait_text(MESSAGE, "Hello, how can I help you?")
		browser.type(COMPOSER, "My printer is on fire <b>!</b>")
		assert said(agent) == "My printer is on fire <b>!</b>"
		browser.wait_text(MESSAGE, "My printer is on fire <b>!</b>")
		browser.wait_text(PARTICIPANT, "agent")
		assert not [line for line in browser.console() if "Content Security Policy" in line]
		other = [url for url in browser.requests() if f"//localhost:{server.http_port}/" not in url]
		assert not other, other


@in_browser("the address of the page selects the room")
def named_room(server):
	for n, form in enumerate(("#{}", "?room={}")):
		room = server.make_room(f"büro {n}@{ROOMS}".replace(" ", "\\20"))
		agent = agent_in(server, room)
		with Browser() as browser:
			come_in(browser, page(server) + form.format(quote(room)), "")
			presence = agent.until("presence")
			assert presence["from"].startswith(f"{room}/Guest-"), presence
			assert occupants(server, SUPPORT) == [""]


@in_browser("a hostile address has no effect")
def hostile(server):
	agent = agent_in(server)
	with Browser() as browser:
		for suffix in ["#" + text for text in HOSTILE] + ["?room=" + quote(text, safe="") for text in HOSTILE[:2]]:
			browser.driver.get("about:blank")
			browser.driver.get(page(server) + suffix)
			browser.wait_text("#notice", "There is no such room here")
			assert browser.texts("#room") == [SUPPORT], suffix
			assert browser.run("document.querySelectorAll('img, script:not([src])').length") == 0
		browser.type("#name", "<i>Eve</i>")
		browser.wait(COMPOSER)
		comes(agent, "<i>Eve</i>")
		assert browser.run("location.hash") == ""


@in_browser("a reloaded page returns with the same name, and does not leave a second occupant")
def reload(server):
	agent = agent_in(server)
	with Browser() as browser:
		come_in(browser, page(server))
		comes(agent, "Ann")
		browser.driver.refresh()
		leaves(agent, "Ann")
		comes(agent, "Ann")
		browser.wait(COMPOSER)
		assert occupants(server) == ["Ann", "agent"]
		browser.type(COMPOSER, "me again")
		assert said(agent) == "me again"
		kept = browser.run("Object.keys(sessionStorage).filter((key) => key.includes('converse.xmppstatus')).length")
		assert kept == 1, kept


@in_browser("a visitor reads the history of the room, also after a reload")
def history(server):
	agent = agent_in(server)
	agent.chat(SUPPORT, "Closed until nine", "groupchat")
	assert said(agent) == "Closed until nine"
	with Browser() as browser:
		come_in(browser, page(server))
		browser.wait_text(MESSAGE, "Closed until nine")
		browser.type(COMPOSER, "I see")
		assert said(agent) == "I see"
		browser.driver.refresh()
		browser.wait_text(MESSAGE, "Closed until nine")
		browser.wait_text(MESSAGE, "I see")


@in_browser("a closed tab leaves the room at once")
def closed(server):
	agent = agent_in(server)
	with Browser() as browser:
		come_in(browser, page(server))
		comes(agent, "Ann")
		browser.close_tab()
		leaves(agent, "Ann")
		assert occupants(server) == ["agent"]


@every_version
@in_browser("a connection that is cut repeatedly is resumed")
def resumption(server):
	agent, proxy = agent_in(server), Proxy(server.http_port)
	try:
		with Browser() as browser:
			come_in(browser, page(server, proxy.port))
			comes(agent, "Ann")
			for n, body in enumerate(("first", "second"), 1):
				bed.wait_for(lambda: "true" in server.lua(SESSIONS.format("s.smacks and not s.hibernating")), "it can resume")
				proxy.kill()
				server.expect_log(f"(?s)(session hibernates.*){{{n}}}")
				agent.chat(SUPPORT, body, "groupchat")
				browser.wait_text(MESSAGE, body)
				assert said(agent) == body
				browser.type(COMPOSER, f"{body}, heard")
				assert said(agent) == f"{body}, heard"
			assert not any(e["type"] == "unavailable" for e in agent.unread)
			assert occupants(server) == ["Ann", "agent"]
	finally:
		proxy.stop()


def outlast(server, agent, port, path="/chat/"):
	"""Ann is present; the network is disabled until her session has ended."""
	proxy = Proxy(port)
	try:
		with Browser() as browser:
			come_in(browser, page(server, proxy.port, path))
			comes(agent, "Ann")
			browser.online(False)
			# A pending request is sent again, once
			bed.wait_for(lambda: proxy.kill() or occupants(server) == ["agent"], "Ann's session ends")
			leaves(agent, "Ann")
			browser.online(True)
			bed.wait_for(lambda: "Ann" in occupants(server), "Ann is back", WAIT)
			comes(agent, "Ann")
			browser.wait(COMPOSER)
			assert occupants(server) == ["Ann", "agent"]
	finally:
		proxy.stop()


@every_version
@in_browser("a visitor whose session has expired returns with the same name",
	guests={"webchat_hibernation_time": 1})
def expired(server):
	outlast(server, agent_in(server), server.http_port)


@in_browser("a visitor whose BOSH session has expired returns with the same name", guests=BEHIND)
def expired_bosh(server):
	with Nginx(server, websocket=False) as port:
		outlast(server, agent_in(server), port, "/support/")


@every_version
@in_browser("BOSH works if WebSocket is blocked", guests=BEHIND)
def bosh(server):
	agent = agent_in(server)
	with Nginx(server, websocket=False) as port, Browser() as browser:
		come_in(browser, page(server, port, "/support/"))
		comes(agent, "Ann")
		assert server.lua(SESSIONS.format("s.bosh_version")) == "true"
		browser.type(COMPOSER, "over BOSH")
		assert said(agent) == "over BOSH"
		agent.chat(SUPPORT, "heard", "groupchat")
		browser.wait_text(MESSAGE, "heard")
		browser.close_tab()
		leaves(agent, "Ann")


@in_browser("two visitors see each other, and cannot have the same name")
def two(server):
	with Browser() as one, Browser() as two_:
		come_in(one, page(server), "Ann")
		two_.driver.get(page(server))
		two_.type("#name", "Ann")
		two_.wait_text("#notice", "Somebody in the room has this name or one that looks like it: choose another one")
		two_.type("#name", "Ben")
		two_.wait(COMPOSER)
		one.type(COMPOSER, "hello Ben")
		two_.wait_text(MESSAGE, "hello Ben")
		two_.type(COMPOSER, "hello Ann")
		one.wait_text(MESSAGE, "hello Ann")
		assert occupants(server) == ["Ann", "Ben"]


@in_browser("a visitor who may not enter gets the reason", guests={"webchat_logins_per_minute": 1})
def refused(server):
	server.visitor()
	with Browser() as browser:
		browser.driver.get(page(server))
		browser.type("#name", "Ann")
		browser.wait_text("#notice", "Too many logins from your network: wait a minute")


@in_browser("a visitor who writes too much gets the reason", guests={"webchat_messages_per_minute": 1, "webchat_message_burst": 4})
def too_much(server):
	with Browser() as browser:
		come_in(browser, page(server))
		for n in range(8):
			browser.type(COMPOSER, f"message {n}")
		browser.wait_text(".chat-msg__error, .chat-error, converse-chat-message", "You are sending too much")


def look(name, size, dark):
	@in_browser(f"nothing is too wide on a {name}", guests={"webchat_title": "Example support"})
	def fits(server):
		def shown(what):
			browser.screenshot(f"{server.version}-{what}-{name}")
			assert browser.run("document.scrollingElement.scrollWidth <= innerWidth"), what
		agent = agent_in(server)
		with Browser(size, dark) as browser:
			browser.driver.get(page(server))
			browser.wait("#name")
			shown("entrance")
			come_in(browser, page(server))
			comes(agent, "Ann")
			agent.chat(SUPPORT, "Hello, how can I help you?", "groupchat")
			browser.wait_text(MESSAGE, "Hello, how can I help you?")
			browser.type(COMPOSER, "My printer is on fire, and the manual says nothing about water")
			browser.wait_text(MESSAGE, "nothing about water")
			shown("room")


look("phone", PHONE, False)
look("phone-dark", PHONE, True)
look("desktop", DESKTOP, False)
look("desktop-dark", DESKTOP, True)


@in_browser("it works under a path behind nginx", guests=BEHIND)
def nginx(server):
	agent = agent_in(server)
	with Nginx(server) as port, Browser() as browser:
		come_in(browser, page(server, port, "/support/"))
		comes(agent, "Ann")
		assert server.lua(SESSIONS.format("s.websocket_request")) == "true"
		browser.type(COMPOSER, "through nginx")
		assert said(agent) == "through nginx"
