"""Bytes that processes write to files, counted by written.c, and read from the disk."""
import mmap
import os
import pathlib
import sys

import compiled


class Counter:
	"""Counts what the processes write that have its environment."""

	def __init__(self, path):
		self.path = pathlib.Path(path)
		self.path.write_bytes(bytes(8))
		self.path.chmod(0o666)  # also for a process of another user
		with open(self.path, "r+b") as file:
			self.memory = mmap.mmap(file.fileno(), 8)

	def variables(self):
		return {"LD_PRELOAD": str(compiled.WRITTEN), "BENCH_WRITTEN": str(self.path)}

	def environment(self):
		return {**os.environ, **self.variables()}

	def bytes(self):
		return int.from_bytes(self.memory[:8], sys.byteorder)

	def close(self):
		self.memory.close()


def bytes_read(pid):
	"""Bytes that a process has read from the disk, also by mapped files."""
	for line in pathlib.Path(f"/proc/{pid}/io").read_text().splitlines():
		if line.startswith("read_bytes:"):
			return int(line.split()[1])
	return 0


def drop_cached(directory):
	"""Removes the files of a directory from the kernel's cache. No process may have them mapped."""
	for parent, _, names in os.walk(directory):
		for name in names:
			path = os.path.join(parent, name)
			if not os.path.isfile(path):
				continue
			file = os.open(path, os.O_RDONLY)
			os.fdatasync(file)  # changed pages stay in the cache
			os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
			os.close(file)
