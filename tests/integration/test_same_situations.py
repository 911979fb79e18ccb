"""All situations of test_situations_*.py, without cuts, on stock Prosody and on ours."""
import importlib
import pathlib

import same
import situations

for path in sorted(pathlib.Path(__file__).parent.glob("test_situations_*.py")):
	importlib.import_module(path.stem)
for name, function, versions in situations.situations:
	same.register(name, function, situations.cast_of(function), versions, situation=True)
