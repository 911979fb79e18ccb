"""All situations of test_situations_*.py, without cuts, on stock Prosody and on ours; a sample of them is watched by a module."""
import importlib
import pathlib

import same
import situations
import suite

STEP = suite.tries(4, 1)

for path in sorted(pathlib.Path(__file__).parent.glob("test_situations_*.py")):
	importlib.import_module(path.stem)
for number, (name, function, versions) in enumerate(situations.situations):
	same.register(name, function, situations.cast_of(function), versions, situation=True, watch=(number + suite.SEED) % STEP == 0)
