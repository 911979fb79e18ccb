#!/usr/bin/python3
"""webchat.py   takes docs/images/webchat.png: a visitor and an agent in the room of a support desk, in Chromium

Needs the packages of `tests/setup browser`.
"""
import pathlib
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))

import bed  # noqa: E402
from browser import Browser  # noqa: E402
from webchatsite import GUESTS, SUPPORT, Webchat, enter  # noqa: E402

PICTURE = bed.PROJECT / "docs/images/webchat.png"
MAX_SIZE = 150 * 1024  # bytes
WINDOW = (860, 520)
COMPOSER, MESSAGE = ".chat-textarea", ".chat-msg__text"
TALK = [("Visitor", "Hello! I have moved my domain to a new server, and mail to it comes back."),
	("Support", "Hello, and welcome. Does the domain still point to the old server?"),
	("Visitor", "It does, I think. Where do I change that?"),
	("Support", "Under Domains, Name server. I have opened the form for you: it takes effect within an hour."),
	("Visitor", "Thank you, that was quick!")]


def talk(browser, agent):
	for name, text in TALK:
		if name == "Support":
			agent.chat(SUPPORT, text, "groupchat")
		else:
			browser.type(COMPOSER, text)
		browser.wait_text(MESSAGE, text)


def take():
	with Webchat(bed.VERSIONS[-1], guests={"webchat_title": "Example support"}) as server, Browser(WINDOW) as browser:
		agent = server.login("agent")
		server.shell("webchat", "agent", GUESTS, SUPPORT, agent.bare_jid)
		enter(agent, "Support")
		browser.driver.get(f"http://localhost:{server.http_port}/chat/")
		browser.type("#name", "Visitor")
		browser.wait(COMPOSER)
		talk(browser, agent)
		browser.driver.execute_async_script("document.fonts.ready.then(arguments[0])")
		PICTURE.parent.mkdir(exist_ok=True)
		browser.driver.save_screenshot(str(PICTURE))


if __name__ == "__main__":
	take()
	if PICTURE.stat().st_size > MAX_SIZE:
		sys.exit(f"{PICTURE} is larger than {MAX_SIZE} bytes")
	print(PICTURE)
