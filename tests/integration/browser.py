"""Headless Chromium, driven with Selenium: python3-selenium, chromium and chromium-driver of Debian.

It resolves only localhost, and so cannot reach other hosts.
"""
import json
import os
import pathlib
import shutil
import signal
import tempfile

from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

import bed

FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
	"--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
	"--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1 , EXCLUDE localhost"]
PHONE, DESKTOP = (390, 844), (1280, 800)
SCREENSHOTS = bed.BUILD / "webchat/screenshots"
WAIT = 15  # seconds: a browser starts slowly


class Browser:
	"""One browser with a profile of its own."""

	def __init__(self, size=DESKTOP, dark=False):
		self.profile = tempfile.mkdtemp(prefix="chromium-", dir=bed.BUILD / "bed")
		options = Options()
		options.binary_location = "/usr/bin/chromium"
		for flag in [*FLAGS, f"--user-data-dir={self.profile}"]:
			options.add_argument(flag)
		options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
		options.set_capability("unhandledPromptBehavior", "ignore")  # a dialog stays open, and fails the next command
		self.driver = webdriver.Chrome(service=Service("/usr/bin/chromedriver"), options=options)
		self.cdp("Emulation.setDeviceMetricsOverride", width=size[0], height=size[1], deviceScaleFactor=1,
			mobile=size is PHONE)
		self.drivers = [self.driver]
		if dark:
			self.cdp("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])

	def cdp(self, command, **parameters):
		"""A command of the DevTools protocol."""
		return self.driver.execute_cdp_cmd(command, parameters)

	def run(self, script):
		"""The value of a JavaScript expression."""
		return self.driver.execute_script(f"return {script}")

	def texts(self, selector):
		"""The texts of all visible elements that match a CSS selector."""
		try:
			return [e.text for e in self.driver.find_elements(By.CSS_SELECTOR, selector) if e.is_displayed()]
		except StaleElementReferenceException:  # the page has changed meanwhile
			return []

	def wait(self, selector):
		"""The first element that matches a selector, when it is visible."""
		def seen():
			try:
				return next((e for e in self.driver.find_elements(By.CSS_SELECTOR, selector) if e.is_displayed()), None)
			except StaleElementReferenceException:
				return None
		return bed.wait_for(seen, f"{selector} can be seen", WAIT)

	def wait_text(self, selector, text):
		"""Wait until one of the elements has this text."""
		bed.wait_for(lambda: any(text in each for each in self.texts(selector)), f"{selector} says {text!r}", WAIT)

	def type(self, selector, text):
		self.wait(selector).send_keys(text, Keys.ENTER)

	def screenshot(self, name):
		SCREENSHOTS.mkdir(parents=True, exist_ok=True)
		self.driver.save_screenshot(str(SCREENSHOTS / f"{name}.png"))

	def console(self):
		"""Console output of the pages since the last call."""
		return [entry["message"] for entry in self.driver.get_log("browser")]

	def requests(self):
		"""The URLs of all requests, of WebSockets too, since the last call."""
		events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
		urls = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
		urls += [e["params"]["url"] for e in events if e["method"] == "Network.webSocketCreated"]
		return [url for url in urls if not url.startswith(("data:", "chrome:", "chrome-", "blob:"))]

	def close_tab(self):
		"""Close the page, and not the browser with it."""
		page = self.driver.current_window_handle
		self.driver.switch_to.new_window("tab")
		other = self.driver.current_window_handle
		self.driver.switch_to.window(page)
		self.driver.close()
		self.driver.switch_to.window(other)

	def kill_pages(self):
		"""Kill the processes of all pages, as a system does that runs out of memory, without an event in the pages. The tabs stay, and can be
		reloaded; not by their driver, for which they have crashed, but by another driver of the same browser."""
		for process in pathlib.Path("/proc").glob("[0-9]*"):
			try:
				command = (process / "cmdline").read_text()
			except OSError:  # it has ended
				continue
			if "--type=renderer" in command and f"--user-data-dir={self.profile}" in command:
				os.kill(int(process.name), signal.SIGKILL)
		options = Options()
		options.debugger_address = self.driver.capabilities["goog:chromeOptions"]["debuggerAddress"]
		self.driver = webdriver.Chrome(service=Service("/usr/bin/chromedriver"), options=options)
		self.drivers.append(self.driver)

	def online(self, is_online):
		"""Disable the network, or enable it again."""
		speed = -1 if is_online else 0
		self.cdp("Network.enable")
		self.cdp("Network.emulateNetworkConditions", offline=not is_online, latency=0, downloadThroughput=speed,
			uploadThroughput=speed)

	def close(self):
		for driver in reversed(self.drivers):
			driver.quit()
		shutil.rmtree(self.profile, ignore_errors=True)

	def __enter__(self):
		return self

	def __exit__(self, *_):
		self.close()
