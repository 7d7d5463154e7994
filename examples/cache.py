# SPDX-License-Identifier: MIT
"""A cache of numpy arrays for several processes: what get() returns lies in the pool, and is not copied."""

import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile

import numpy

import holdfast

DATA = holdfast.BLOCK_BYTES  # dtype and shape are in the block before


class Cache:
    """An array is a file. The oldest that nobody holds makes room for a new one."""

    def __init__(self, path, pool_bytes=16 << 20):
        try:
            holdfast.create(path, pool_bytes)
        except FileExistsError:
            pass  # by another process
        self.pool = holdfast.Pool(path)

    def put(self, key, array):
        """Others see the whole array, or the one that was there before."""
        name = f"new-{os.getpid()}"
        with self.pool.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC) as file:
            self._make_room(file, DATA + array.nbytes)
            file.write(json.dumps([array.dtype.str, array.shape]).encode().ljust(DATA))
            file.write(numpy.ascontiguousarray(array), DATA)
        self.pool.rename(name, key)

    def get(self, key):
        """Read-only, and held until the last view of it has gone; None: it is not there."""
        try:
            file = self.pool.open(key)
        except FileNotFoundError:
            return None
        with file:
            dtype, shape = json.loads(file.read(DATA))
            size = file.stat().st_size - DATA
            pin = file.pin(DATA, size)
            if len(pin.pieces()) == 1:
                return numpy.frombuffer(pin, dtype).reshape(shape)
            return numpy.frombuffer(file.read(size, DATA), dtype).reshape(shape)  # a copy

    def _make_room(self, file, size):
        while True:
            try:
                return file.allocate(0, size)  # all at once, so that it lies in one piece
            except OSError as error:
                if error.errno != errno.ENOSPC or not self._evict():
                    raise

    def _evict(self):
        with self.pool.opendir("/") as entries:
            names = [entry.name for entry in entries if not entry.name.startswith("new-")]
        for name in sorted(names, key=lambda name: self.pool.stat(name).st_mtime_ns):
            try:
                self.pool.unlink(name, holdfast.NOWAIT)
                return True
            except OSError as error:
                if error.errno != errno.EBUSY:  # somebody holds it
                    raise
        return False


def child(path):
    array = Cache(path).get("first")
    print("child: first, read-only", not array.flags.writeable, "sum", int(array.sum()))


def main():
    folder = tempfile.mkdtemp(dir="/dev/shm")
    path = os.path.join(folder, "pool")
    try:
        cache = Cache(path)
        big = numpy.ones((1024, 512))  # 4 MiB
        cache.put("first", big)
        first = cache.get("first")
        subprocess.run([sys.executable, __file__, path], check=True)
        for number in range(8):
            cache.put(f"array-{number}", big * number)
        kept = [number for number in range(8) if cache.get(f"array-{number}") is not None]
        print("kept:", *kept, "and first, which is held:", int(first.sum()))
        del first
        cache.pool.close()
    finally:
        shutil.rmtree(folder)


if len(sys.argv) == 2:
    child(sys.argv[1])
else:
    main()
