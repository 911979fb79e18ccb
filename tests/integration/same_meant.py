"""Differences between stock Prosody and our modules that are meant. Every other one fails a test.

A row: the module of ours that causes it; scenes and participants, as regular expressions; a regular expression of the entries that
stock Prosody shows, which are joined by line feeds, and its replacement, which ours shows; and the sentence of a README that tells it.
"""
import collections
import re

Row = collections.namedtuple("Row", "module scene who stock ours readme sentence")

ROWS = [
	Row("smacks", ".", ".", "(sm:[23]\\}sm>)<optional></>", "\\1", "lua/mod_smacks/README.md", ""),
]


def is_meant(modules, scene, who, stock, ours):
	"""Whether rows cover this difference."""
	text = "\n".join(stock)
	for row in ROWS:
		if row.module in modules and re.search(row.scene, scene) and re.search(row.who, who):
			text = re.sub(row.stock, row.ours, text)
	return text == "\n".join(ours)
