#!/usr/bin/python3
"""status.py   draws docs/images/status.svg: what `prosodyctl mod_native status` prints on a terminal

Runs a server for somewhat more than a minute while its users write to each other. Needs user namespaces.
"""
import html
import pathlib
import random
import re
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))

import bed  # noqa: E402
from mam import Entry, fill  # noqa: E402
from nativesite import TOOL  # noqa: E402
from steps import cut, say  # noqa: E402

PICTURE = bed.PROJECT / "docs/images/status.svg"
DOMAIN = "example.org"
USERS = ["alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan", "judy", "karl", "lena", "mia", "nils"]
AWAY = {"carol": 9, "ivan": 5, "lena": 3, "bob": 1}  # their phones lose the network; relative numbers of messages to them
ARCHIVED, INTERVAL = 700, 9000  # messages of each user before, and seconds between two of them
DURATION, PAUSE = 75, 0.2  # seconds that the users write, and between two messages

# In a mount namespace, so that the store has the path it has with Debian's package: /var/lib is a directory of the test bed.
AT_VAR_LIB = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", 'mount --bind "$0" /var/lib && exec "$@"']

COLUMN, LINE, LEFT, TOP = 8.43, 19, 18, 57  # pixels; the widest of the usual fonts needs such a column
SVG = """<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}">
<style>
	text {{ font: 14px ui-monospace, Menlo, "DejaVu Sans Mono", "Liberation Mono", monospace; fill: #ccd2dc }}
	.s1 {{ font-weight: bold; fill: #fff }} .s2 {{ fill: #8b93a1 }}
	.s31 {{ fill: #f27a7a }} .s32 {{ fill: #8fce7f }} .s33 {{ fill: #e8c069 }}
</style>
<rect width="{width}" height="{height}" rx="9" fill="#2a2f3a"/>
<path d="M1 31h{inner}v{below}a8 8 0 0 1-8 8H9a8 8 0 0 1-8-8z" fill="#1b1f27"/>
<g fill="#565e6d"><circle cx="19" cy="16" r="6"/><circle cx="38" cy="16" r="6"/><circle cx="57" cy="16" r="6"/></g>
{lines}
</svg>
"""


def start_server():
	server = bed.Prosody(bed.VERSIONS[-1], modules=["mam", "native"], host=DOMAIN, start=False,
		options={"storage": "native", "data_path": "/var/lib/prosody"})
	(server.directory / "prosody").mkdir()
	server.run_by = [*AT_VAR_LIB, server.directory]
	return server.start()


def log_in(server):
	"""Each user has a phone, every second one a laptop too. Returns the clients by user and device."""
	clients = {}
	for number, user in enumerate(USERS):
		made = f"return tostring(require 'core.usermanager'.create_user('{user}', '{bed.PASSWORD}', '{DOMAIN}'))"
		assert server.lua(made) == "true"
		for device in ("phone", "laptop")[:1 + number % 2]:
			clients[user, device] = server.authenticated(user).bind(device)
			clients[user, device].enable()
	return clients


def fill_archives(server):
	first = int(time.time()) - ARCHIVED * INTERVAL
	for user, friend in zip(USERS, USERS[1:] + USERS[:1]):
		fill(server, user, [Entry(f"This is message {n} from {friend}, and it is as long as most.", first + n * INTERVAL,
			f"{friend}@{DOMAIN}") for n in range(ARCHIVED)])


def write_messages(phones, writer):
	"""Phones that have a network acknowledge all messages but the last two."""
	end, draw = time.monotonic() + DURATION, random.Random(1)
	while time.monotonic() < end:
		user, = draw.choices(USERS, [AWAY.get(name, 2) for name in USERS])
		say(writer, phones[user], "word " * draw.randrange(1, 40))
		writer.ack()
		if user not in AWAY:
			phones[user].message()
			phones[user].ack()
		time.sleep(PAUSE)
	say(writer, phones["mia"], "Are you coming tonight?", "We begin at eight.")


def print_status():
	"""The output of the command for a server that is in use."""
	with start_server() as server:
		clients = log_in(server)
		fill_archives(server)
		phones = {user: client for (user, device), client in clients.items() if device == "phone"}
		for user in AWAY:
			cut(server, phones[user])
		write_messages(phones, clients["dave", "laptop"])
		return TOOL.on_terminal(server, "status", environment={"NO_COLOR": ""})


def styled(line):
	"""A line with the escape sequences of terminal.lib.lua as elements."""
	return re.sub(r"\x1b\[(\d+)m", lambda code: "</tspan>" if code[1] == "0" else f'<tspan class="s{code[1]}">', html.escape(line))


def as_svg(lines):
	columns = max(len(re.sub(r"\x1b\[\d+m", "", line)) for line in lines)
	width, height = round(columns * COLUMN) + 2 * LEFT, TOP + len(lines) * LINE
	texts = [f'<text x="{LEFT}" y="{TOP + number * LINE}" xml:space="preserve">{styled(line)}</text>'
		for number, line in enumerate(lines) if line]
	return SVG.format(width=width, height=height, inner=width - 2, below=height - 40, lines="\n".join(texts))


if __name__ == "__main__":
	PICTURE.write_text(as_svg(["$ prosodyctl mod_native status", *print_status().splitlines()]))
	print(PICTURE)
