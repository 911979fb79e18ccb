"""Tabs of a browser: a tab that was killed returns as the same visitor, a duplicate is another one."""
import bed
from browser import Browser
from test_webchat_browser import COMPOSER, agent_in, come_in, comes, in_browser, leaves, occupants, page, said
from test_webchat_page import BEHIND, Nginx

NAME, SESSION = "sessionStorage.getItem('webchat-name')", "sessionStorage.getItem('webchat-session')"


def dies_and_comes_back(server, agent, browser, url):
	come_in(browser, url)
	comes(agent, "Ann")
	bed.wait_for(lambda: browser.run(SESSION), "the session's id is kept")
	for body in ("me again", "and again"):
		session = browser.run(SESSION)
		browser.kill_pages()
		assert occupants(server) == ["Ann", "agent"]
		browser.driver.refresh()
		leaves(agent, "Ann")
		comes(agent, "Ann")
		browser.wait(COMPOSER)
		assert occupants(server) == ["Ann", "agent"]
		browser.type(COMPOSER, body)
		assert said(agent) == body
		bed.wait_for(lambda: browser.run(SESSION) != session, "the new session's id is kept")


@in_browser("a tab that was killed returns as the same visitor")
def killed(server):
	with Browser() as browser:
		dies_and_comes_back(server, agent_in(server), browser, page(server))


@in_browser("a tab that was killed returns over BOSH, too", guests={**BEHIND, "webchat_sessions_per_address": 2},
	options={"bosh_max_inactivity": 60})
def killed_bosh(server):
	with Nginx(server, websocket=False) as port, Browser() as browser:
		dies_and_comes_back(server, agent_in(server), browser, page(server, port, "/support/"))


def duplicate(browser):
	"""Duplicates a tab as browsers do: the new one gets a copy of the storage."""
	first = browser.driver.current_window_handle
	browser.driver.execute_script("window.open(location.href, '_blank')")
	second = next(handle for handle in browser.driver.window_handles if handle != first)
	browser.driver.switch_to.window(second)
	return first, second


@in_browser("a duplicated tab is another visitor, and each keeps its name")
def duplicated(server):
	agent = agent_in(server)
	with Browser() as browser:
		come_in(browser, page(server))
		comes(agent, "Ann")
		first, second = duplicate(browser)
		browser.wait_text("#notice", "Another tab of this chat is open, as Ann. Choose another name for this one.")
		assert browser.run(NAME) is None and browser.run(SESSION) is None
		browser.type("#name", "Ben")
		comes(agent, "Ben")
		browser.wait(COMPOSER)
		assert occupants(server) == ["Ann", "Ben", "agent"]
		for tab, name in ((first, "Ann"), (second, "Ben"), (first, "Ann")):
			browser.driver.switch_to.window(tab)
			browser.driver.refresh()
			leaves(agent, name)
			comes(agent, name)
			browser.wait(COMPOSER)
			assert browser.run(NAME) == name
		browser.type(COMPOSER, "still Ann")
		assert said(agent) == "still Ann"
		assert occupants(server) == ["Ann", "Ben", "agent"]


@in_browser("a tab and its duplicate that were killed return, each as itself")
def killed_duplicates(server):
	agent = agent_in(server)
	with Browser() as browser:
		come_in(browser, page(server))
		comes(agent, "Ann")
		first, second = duplicate(browser)
		browser.type("#name", "Ben")
		bed.wait_for(lambda: browser.run(SESSION), "the session's id is kept")
		browser.kill_pages()
		for tab, name in ((second, "Ben"), (first, "Ann")):
			browser.driver.switch_to.window(tab)
			browser.driver.refresh()
			browser.type(COMPOSER, f"I am {name}")
			assert said(agent) == f"I am {name}"
			assert browser.run(NAME) == name
		assert occupants(server) == ["Ann", "Ben", "agent"]


@in_browser("a duplicate of a tab at the form is not a visitor yet")
def duplicated_form(server):
	with Browser() as browser:
		browser.driver.get(page(server))
		browser.wait("#name")
		duplicate(browser)
		browser.type("#name", "Ann")
		browser.wait(COMPOSER)
		assert occupants(server) == ["Ann"]
