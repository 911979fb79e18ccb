"""The appearance of the room, also on small screens."""
import http.server
import threading

import bed
from browser import Browser
from test_webchat_browser import COMPOSER, MESSAGE, PARTICIPANT, agent_in, come_in, comes, in_browser, leaves, page, said
from test_webchat_desk import approve, moderated, next_form
from webchatsite import ROOMS, SUPPORT, enter

TITLE = "Example support"
HEADING, COUNT, SEND = ".chatbox-title__text", ".occupants-heading", ".send-button"
SMALL = (320, 300)  # a phone whose keyboard is open

# The rectangle of the first element that a selector matches
BOX = "document.querySelector({!r}).getBoundingClientRect().toJSON()"


def box(browser, selector):
	return browser.run(BOX.format(selector))


@in_browser("the heading is the title, with the room's name where it is another one", guests={"webchat_title": TITLE})
def heading(server):
	club = server.make_room(f"club@{ROOMS}")
	with Browser() as browser:
		browser.driver.get(page(server))
		browser.wait_text("#title", TITLE)
		come_in(browser, page(server))
		browser.wait_text(HEADING, TITLE)
		assert browser.texts(HEADING) == [TITLE] and browser.driver.title.endswith(TITLE)
		browser.close_tab()
		come_in(browser, f"{page(server)}#{club}")
		browser.wait_text(HEADING, f"{TITLE}: club")


def shows(browser, *names):
	bed.wait_for(lambda: sorted(browser.texts(PARTICIPANT)) == sorted(names), f"participants {names}")
	assert browser.texts(COUNT)[0].split()[0] == str(len(names)), browser.texts(COUNT)


@in_browser("the participants are the occupants of the room, and so is their number")
def participants(server):
	agent, owner = agent_in(server), server.login("owner")
	server.lua(f"prosody.hosts['{ROOMS}'].modules.muc.get_room_from_jid('{SUPPORT}'):set_affiliation(true, '{owner.bare_jid}', 'owner')")
	past = [server.in_room(name) for name in ("Past", "Perfect")]
	for visitor in past:
		visitor.chat(SUPPORT, f"I am {visitor.user}", "groupchat")
		assert said(agent)
		visitor.transport.close()
		server.wait_gone(visitor)
	with Browser() as browser:
		come_in(browser, page(server))
		browser.wait_text(MESSAGE, f"I am {past[0].user}")
		shows(browser, "agent", "Ann")
		enter(owner, "owner")
		shows(browser, "agent", "Ann", "owner")
		owner.chat(SUPPORT, "I own this", "groupchat")
		browser.wait_text(MESSAGE, "I own this")
		owner.send(f"<presence type='unavailable' to='{SUPPORT}/owner'/>")
		shows(browser, "agent", "Ann")
		enter(owner, "boss")
		shows(browser, "agent", "Ann", "boss")
		other = server.in_room("Ben")
		shows(browser, "agent", "Ann", "Ben", "boss")
		other.transport.close()
		shows(browser, "agent", "Ann", "boss")
		browser.driver.refresh()
		browser.wait(COMPOSER)
		shows(browser, "agent", "Ann", "boss")


def roomy(size):
	@in_browser(f"on {size[0]} by {size[1]} pixels there is room to talk, and the button to send is beside the text",
		guests={"webchat_title": TITLE})
	def talk(server):
		agent = agent_in(server)
		with Browser(size) as browser:
			browser.driver.get(page(server))
			for selector in ("#name", "#form button"):
				browser.wait(selector)
				assert 0 <= box(browser, selector)["top"] and box(browser, selector)["bottom"] <= size[1], selector
			come_in(browser, page(server))
			comes(agent, "Ann")
			text, button = box(browser, COMPOSER), box(browser, SEND)
			assert button["left"] >= text["right"] and button["right"] <= size[0], (text, button)
			assert button["top"] < text["bottom"] and text["top"] < button["bottom"] <= size[1], (text, button)
			assert text["width"] >= size[0] / 2, text
			assert box(browser, ".chat-content__messages")["height"] >= size[1] / 3
			browser.wait(COMPOSER).send_keys("a long sentence " * 12)
			assert box(browser, SEND)["bottom"] <= size[1]
			assert box(browser, ".chat-content__messages")["height"] >= size[1] / 4
			browser.wait(SEND).click()
			assert said(agent) == ("a long sentence " * 12).strip()
			browser.wait_text(MESSAGE, "a long sentence")
			assert browser.run("document.scrollingElement.scrollWidth <= innerWidth")
			assert browser.run("document.scrollingElement.scrollHeight <= innerHeight")
			if size == SMALL:  # too small for the picker; the keyboard has emoji
				assert not browser.texts("converse-emoji-dropdown")
				return
			browser.wait("converse-emoji-dropdown button").click()
			browser.wait("converse-emoji-picker .emoji-picker")
			picker = box(browser, "converse-emoji-picker")
			browser.screenshot(f"{server.version}-emoji-{size[0]}x{size[1]}")
			assert picker["left"] >= 0 and picker["right"] <= size[0] and picker["top"] >= 0, picker


for each in (SMALL, (320, 568), (390, 844), (1280, 800)):
	roomy(each)


@in_browser("a visitor requests voice with a button, and writes when an agent has granted it")
def voice(server):
	agent = moderated(server)
	with Browser() as browser:
		browser.driver.get(page(server))
		browser.type("#name", "Ann")
		browser.wait(".voice button").click()
		browser.wait_text(".voice", "You have asked to speak")
		approve(agent, next_form(agent))
		browser.type(COMPOSER, "thank you")
		assert said(agent) == "thank you"


class Embedding(http.server.BaseHTTPRequestHandler):
	"""A page of a web site with a frame."""

	def do_GET(self):  # pylint: disable=invalid-name
		body = f"<!doctype html><title>Site</title><iframe src='{self.server.framed}' width=400 height=500></iframe>".encode()
		self.send_response(200)
		self.send_header("Content-Type", "text/html")
		self.end_headers()
		self.wfile.write(body)

	def log_message(self, *_):  # pylint: disable=arguments-differ
		pass


def framed(name, works, **guests):
	@in_browser(name, guests=guests)
	def shown(server):
		site = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Embedding)
		site.framed = page(server)
		threading.Thread(target=site.serve_forever, daemon=True).start()
		try:
			with Browser() as browser:
				browser.driver.get(f"http://127.0.0.1:{site.server_port}/")
				if not works:
					bed.wait_for(lambda: any("frame-ancestors" in line for line in browser.console()), "the frame is refused")
					return
				browser.driver.switch_to.frame(browser.wait("iframe"))
				browser.type("#name", "Ann")
				browser.wait(COMPOSER)
		finally:
			site.shutdown()
			site.server_close()


framed("in a frame of a site that is named the chat works", True, webchat_frame_ancestors=["http://127.0.0.1:*"])
framed("in a frame of another site the browser shows no chat", False, webchat_frame_ancestors=["http://127.0.0.2:*"])
