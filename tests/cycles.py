#!/usr/bin/env python3
"""cycles.py   prints each circle of C files in modules/ that call one another; there must be none.

A file calls another one if it names a function, not static, that the other one defines."""
import pathlib
import re
import sys

COMMENT_OR_STRING = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\])*"', re.DOTALL)
DEFINITION = re.compile(r"^(?!static\b|typedef\b)[a-z][\w \t*]*?\**\b((?:pn|luaopen)_\w+)\([^;{}]*\)\s*\{", re.MULTILINE)
NAME = re.compile(r"\bpn_\w+\b")


def read(root):
	texts = {str(path.relative_to(root)): COMMENT_OR_STRING.sub("", path.read_text())
		for path in sorted(root.glob("modules/*/*.c"))}
	owner = {name: path for path, text in texts.items() for name in DEFINITION.findall(text)}
	return {path: sorted({owner[name] for name in NAME.findall(text) if name in owner} - {path})
		for path, text in texts.items()}


def circles(calls):
	"""Those of Tarjan's components that have more than one file."""
	index, low, stack, found = {}, {}, [], []

	def visit(path):
		index[path] = low[path] = len(index)
		stack.append(path)
		for other in calls[path]:
			if other not in index:
				visit(other)
			if other in stack:
				low[path] = min(low[path], low[other])
		if low[path] == index[path]:
			at = stack.index(path)
			component = stack[at:]
			del stack[at:]
			if len(component) > 1:
				found.append(sorted(component))

	for path in calls:
		if path not in index:
			visit(path)
	return found


def main():
	calls = read(pathlib.Path(__file__).resolve().parents[1])
	found = circles(calls)
	for component in found:
		print(f"these files call one another in a circle: {', '.join(component)}")
	return 1 if found else 0


if __name__ == "__main__":
	sys.exit(main())
