"""Answers of a webchat's web server, also behind nginx."""
import http.client
import json
import re
from xml.etree import ElementTree

import bed
import nginx
import xmpp
from webchatsite import GUESTS, OTHER_ROOMS, ROOMS, SUPPORT, behaviour, enter

GUIDE = (bed.PROJECT / "docs/WEBCHAT.md").read_text()
TYPES = {"": "text/html; charset=utf-8", "app.js": "text/javascript; charset=utf-8", "style.css": "text/css; charset=utf-8",
	"config.json": "application/json", "converse/converse.min.js": "text/javascript; charset=utf-8",
	"converse/converse.min.css": "text/css; charset=utf-8", "converse/curve25519_compiled.wasm": "application/wasm",
	"converse/webfonts/muli.ttf": "font/ttf", "converse/sounds/msg_received.ogg": "audio/ogg",
	"converse/emoji.json": "application/json"}
XRD = "{http://docs.oasis-open.org/ns/xri/xrd-1.0}"


def get(port, path, **headers):
	"""A response, with the whole body in .body."""
	connection = http.client.HTTPConnection("127.0.0.1", port, timeout=xmpp.READ_TIMEOUT)
	connection.request("GET", path, headers={"Host": "localhost", **{k.replace("_", "-"): v for k, v in headers.items()}})
	response = connection.getresponse()
	response.body = response.read()
	connection.close()
	return response


def config(server):
	return json.loads(get(server.http_port, "/chat/config.json").body)


@behaviour("its files have their types, and the page a strict policy")
def files(server):
	for name, kind in TYPES.items():
		response = get(server.http_port, "/chat/" + name)
		assert (response.status, response.getheader("Content-Type")) == (200, kind), (name, response.headers.items())
		assert response.getheader("X-Content-Type-Options") == "nosniff"
		assert response.getheader("Referrer-Policy") == "no-referrer"
		policy = dict(part.split(" ", 1) for part in response.getheader("Content-Security-Policy").split("; "))
		assert policy["script-src"] == "'self' 'wasm-unsafe-eval'" and policy["default-src"] == "'none'"
		assert policy["frame-ancestors"] == policy["connect-src"] == "'self'"


@behaviour("the page does not contain inline scripts")
def no_inline(server):
	page = get(server.http_port, "/chat/").body.decode()
	assert re.findall(r"<script[^>]*>", page) == ['<script type="module" src="app.js">']
	assert not re.search(r"\son\w+=|javascript:|https?://", page)


@behaviour("an unchanged file is not sent again")
def etag(server):
	first = get(server.http_port, "/chat/app.js")
	assert first.getheader("Cache-Control") == "no-cache"
	again = get(server.http_port, "/chat/app.js", If_None_Match=first.getheader("ETag"))
	assert (again.status, again.body) == (304, b"")


@behaviour("only its files are served")
def traversal(server):
	for path in ("../mod_webchat.lua", "..%2fmod_webchat.lua", "%2e%2e/mod_webchat.lua", "converse/../../mod_webchat.lua",
			"converse/..%2f..%2fmod_webchat.lua", "converse/../get.sh", "/etc/passwd", "converse//etc/passwd",
			"..%00/mod_webchat.lua", "mod_webchat.lua", "custom.css", "page/app.js", "converse/", "converse"):
		response = get(server.http_port, "/chat/" + path)
		assert response.status in (400, 403, 404), (path, response.status)
		assert b"module:" not in response.body and b"root:" not in response.body, path


@behaviour("the configuration has all fields that the page needs")
def configuration(server):
	assert get(server.http_port, "/chat").getheader("Location") == "/chat/"
	assert config(server) == {"title": "Chat", "host": GUESTS, "room": SUPPORT, "roomHosts": [OTHER_ROOMS, ROOMS],
		"websocket": "../xmpp-websocket", "bosh": "../http-bind", "stylesheet": False, "converse": True}


@behaviour("options change the page", guests={"webchat_title": "Help <desk>", "webchat_room_hosts": [ROOMS],
	"webchat_default_room": f"Welcome@{ROOMS}", "webchat_stylesheet": bed.PROJECT / "lua/mod_webchat/page/style.css",
	"http_paths": {"webchat": "/help/desk", "websocket": "/help/ws"}})
def options(server):
	answer = get(server.http_port, "/help/desk/config.json")
	assert json.loads(answer.body) == {"title": "Help <desk>", "host": GUESTS, "room": f"welcome@{ROOMS}",
		"roomHosts": [ROOMS], "websocket": "../ws", "bosh": "../../http-bind", "stylesheet": True, "converse": True}
	assert get(server.http_port, "/help/desk/custom.css").body == get(server.http_port, "/help/desk/style.css").body


@behaviour("an empty list of hosts is a list", guests={"webchat_room_hosts": ["elsewhere.test"]})
def no_hosts(server):
	assert config(server)["roomHosts"] == []


@behaviour("it names the command that downloads a missing Converse.js", guests={"webchat_converse_path": "/nonexistent"})
def no_converse(server):
	server.expect_log("Cannot find converse.min.js: run sh .* It is not in /nonexistent")
	assert config(server)["converse"] is False
	assert get(server.http_port, "/chat/converse/converse.min.js").status == 404


@behaviour("a missing stylesheet is logged, and left out", guests={"webchat_stylesheet": "/nonexistent/a.css"})
def no_stylesheet(server):
	server.expect_log("webchat_stylesheet: /nonexistent/a.css: No such file or directory")
	assert config(server)["stylesheet"] is False


@behaviour("a stylesheet that is not a file is logged, and left out", guests={"webchat_stylesheet": "/usr/share"})
def no_file(server):
	server.expect_log("webchat_stylesheet: /usr/share: not a regular file")
	assert config(server)["stylesheet"] is False


@behaviour("rooms that visitors cannot enter are logged", guests={
	"webchat_default_room": f"help@{OTHER_ROOMS}", "webchat_room_hosts": [ROOMS, "rooms.nowhere.test"]})
def closed_rooms(server):
	server.expect_log(f"webchat_default_room is on a host that visitors may not enter: add {OTHER_ROOMS} to webchat_room_hosts")
	server.expect_log("webchat_room_hosts: not a MUC component of this server: rooms.nowhere.test")


def folder_of_ones_own():
	"""The files of Converse.js that the server needs."""
	folder = bed.BUILD / "bed/converse"
	folder.mkdir(parents=True, exist_ok=True)
	for name in ("converse.min.js", "own.css"):
		(folder / name).touch()
	return folder


@behaviour("Converse.js is served from the configured directory", guests={"webchat_converse_path": folder_of_ones_own()})
def other_converse(server):
	assert config(server)["converse"] is True
	assert get(server.http_port, "/chat/converse/own.css").status == 200


@behaviour("an invalid default room is an error", guests={"webchat_default_room": "support"})
def bad_room(server):
	server.expect_log('webchat_default_room = "support" must be the address of a room, room@host')
	assert "room" not in config(server)


@behaviour("a default room that does not exist is logged", guests={"webchat_default_room": f"missing@{ROOMS}"})
def missing_room(server):
	server.expect_log(rf'webchat_default_room does not exist.*muc:create\("missing@{ROOMS}", {{ persistent = true }}\)')
	server.shell("muc:create('missing@" + ROOMS + "', { persistent = true })")
	enter(server.visitor(), "visitor", f"missing@{ROOMS}")


@behaviour("host-meta lists the connections and the page", guests={"http_external_url": "https://chat.example/x/"})
def host_meta(server):
	links = {"urn:xmpp:alt-connections:websocket": "wss://chat.example/x/xmpp-websocket",
		"urn:xmpp:alt-connections:xbosh": "https://chat.example/x/http-bind", "alternate": "https://chat.example/x/chat/"}
	answer = get(server.http_port, "/.well-known/host-meta")
	assert answer.getheader("Content-Type") == "application/xrd+xml" and answer.getheader("Access-Control-Allow-Origin") == "*"
	assert {link.get("rel"): link.get("href") for link in ElementTree.fromstring(answer.body).iter(f"{XRD}Link")} == links
	answer = json.loads(get(server.http_port, "/.well-known/host-meta.json").body)
	assert {link["rel"]: link["href"] for link in answer["links"]} == links
	server.shell("module", "reload", "webchat", GUESTS)
	assert get(server.http_port, "/.well-known/host-meta").status == 200


WEBSOCKET_LOCATION = re.compile(r"location = /xmpp-websocket {.*?\n}\n", re.DOTALL)


class Nginx(nginx.Nginx):
	"""With the locations that docs/WEBCHAT.md shows."""

	def __init__(self, server, websocket=True):
		port = nginx.port()
		locations = re.search(r"```nginx\n(.*?)```", GUIDE, re.DOTALL)[1]
		assert "127.0.0.1:5280" in locations and WEBSOCKET_LOCATION.search(locations)
		if not websocket:
			locations = WEBSOCKET_LOCATION.sub("", locations)
		locations = locations.replace("5280", str(server.http_port))
		super().__init__(server, f"server {{ listen 127.0.0.1:{port};\n{locations} }}", port)


BEHIND = {"http_paths": {"webchat": "/support"}, "webchat_sessions_per_address": 1}


@behaviour("it works under a path behind nginx, as in docs/WEBCHAT.md", guests=BEHIND)
def behind_nginx(server):
	with Nginx(server) as port:
		assert get(port, "/support/").body == get(server.http_port, "/support/").body
		assert get(port, "/support").getheader("Location").endswith("/support/")
		settings = json.loads(get(port, "/support/config.json").body)
		assert (settings["websocket"], settings["bosh"]) == ("../xmpp-websocket", "../http-bind")
		for transport in ("websocket", "bosh"):
			visitor = server.stranger(transport, port=port)
			visitor.authenticate()
			enter(visitor.bind(), transport)
			assert server.session(visitor, "s.ip") == "127.0.0.1"
			visitor.transport.close()
			server.wait_gone(visitor)


@behaviour("behind nginx, networks are distinguished", guests={**BEHIND, "trusted_proxies": ["127.0.0.1"]},
	options={"trusted_proxies": ["127.0.0.1"]})
def addresses_behind_nginx(server):
	with Nginx(server) as port:
		visitor = server.stranger("websocket", port=port, forwarded_for="192.0.2.9")  # which nginx does not believe
		visitor.authenticate()
		visitor.bind()
		assert server.session(visitor, "s.ip") == "127.0.0.1"
		assert server.stranger("websocket", port=port).ask_in().name == "failure"
