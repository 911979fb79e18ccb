#!/usr/bin/env python3
"""links.py   prints broken links between the Markdown files, and each file or function in docs/ARCHITECTURE.md that
does not exist; exits with status 1 if there are any"""
import pathlib
import re
import subprocess
import sys

ARCHITECTURE = pathlib.Path("docs/ARCHITECTURE.md")
CODE_BLOCK = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")
FILES = re.compile(r"\b((?:include|lua|modules|tests)/(?:[\w-]+/)*)(\w[\w.]*\w(?:, \w+\.c)*)") # modules/db/txn.c, room.c
FUNCTION = re.compile(r"\b(pn_\w+)\(\)")


def prose(path):
	return CODE_BLOCK.sub("", path.read_text())


def anchors(path):
	"""As GitHub makes them of headings."""
	return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in HEADING.findall(prose(path))]


def broken_links(path):
	for link in LINK.findall(prose(path)):
		name, _, anchor = link.partition("#")
		target = path.parent / name if name else path
		if not re.match(r"\w+:", link) and (not target.exists() or anchor and anchor not in anchors(target)):
			yield f"{path}: broken link: {link}"


def missing_code(text):
	for folder, names in FILES.findall(text):
		for name in names.split(", "):
			if not pathlib.Path(folder, name).exists():
				yield f"{ARCHITECTURE}: missing file: {folder}{name}"
	code = "".join(path.read_text() for path in pathlib.Path("modules").glob("*/*.c"))
	for name in FUNCTION.findall(text):
		if not re.search(rf"^\w.*\b{name}\(", code, re.MULTILINE):
			yield f"{ARCHITECTURE}: missing function: {name}()"


def main():
	listed = subprocess.check_output(["git", "ls-files", "-co", "--exclude-standard", "*.md"], text=True)
	faults = [fault for path in map(pathlib.Path, listed.split()) for fault in broken_links(path)]
	faults += missing_code(ARCHITECTURE.read_text())
	print(*faults, sep="\n")
	return 1 if faults else 0


if __name__ == "__main__":
	sys.exit(main())
