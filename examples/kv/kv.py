# SPDX-License-Identifier: MIT
"""A cache of key-value blocks for inference: several processes share what they computed for prefixes.

usage: kv.py [REQUESTS [BLOCK_KIB [CAPACITY_MIB]]]

A worker looks for all blocks of a request in one call. It reads those of the longest prefix in place. The rest it
computes, and puts in place. A block's words follow from its key here, so each that is read is checked. One worker is
killed on the way. The cache is smaller than what is put into it.
"""

import errno
import os
import shutil
import subprocess
import sys
import tempfile

import numpy

import holdfast

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import arrivals  # noqa: E402
from keys import prefix_keys  # noqa: E402

WORKERS = 3


class Blocks:
    def __init__(self, pool, block_bytes, capacity):
        self.cache = holdfast.Cache(pool, "/kv", capacity)
        self.block_bytes = block_bytes

    def prefix(self, keys):
        """The blocks of the longest prefix that is there, each held and as arrays in place."""
        got = self.cache.get_many(keys, prefix=True)
        return [self._arrays(one) for one in got if one is not None]

    def put(self, key, compute):
        """False: readers and puts hold all the memory, so it stays out of the cache."""
        try:
            with self.cache.put_begin(key, self.block_bytes) as put:
                compute(key, self._arrays(put))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            return False
        return True

    @staticmethod
    def _arrays(held):
        # Mostly one. A block lies in several pieces when the pool has no room for one.
        return [numpy.frombuffer(piece, numpy.uint64) for piece in held.pieces()]


def words(key, arrays):
    """What a model would compute."""
    first = int.from_bytes(key[:6], "little")
    for array in arrays:
        yield array, numpy.arange(first, first + len(array), dtype=numpy.uint64)
        first += len(array)


def compute(key, arrays):
    for array, content in words(key, arrays):
        array[:] = content


def whole(key, arrays):
    return all((array == content).all() for array, content in words(key, arrays))


def work(path, worker, count, block_bytes, capacity):
    hits = computed = wrong = 0
    with holdfast.Pool(path) as pool:
        blocks = Blocks(pool, block_bytes, capacity)
        for number, (_, ids) in enumerate(arrivals.requests(count)):
            if number % WORKERS != worker:
                continue
            keys = prefix_keys(ids)
            found = blocks.prefix(keys)
            wrong += sum(not whole(key, arrays) for key, arrays in zip(keys, found))
            hits += len(found)
            for key in keys[len(found) :]:
                blocks.put(key, compute)
                computed += 1
            del found  # lets the blocks go
            if number == worker:
                print("begun", flush=True)
        blocks.cache.close()
    print(hits, computed, wrong)


def start(*arguments):
    command = [sys.executable, __file__, "work", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def run(path, count, block_bytes, capacity):
    holdfast.create(path, capacity * 3 // 2 // holdfast.HUGE_BYTES * holdfast.HUGE_BYTES + (16 << 20))
    with holdfast.Pool(path) as pool, holdfast.Cache(pool, "/kv", capacity) as cache:
        workers = [start(path, i, count, block_bytes, capacity) for i in range(WORKERS)]
        try:
            for worker in workers:
                worker.stdout.readline()
            workers[0].kill()
            results = [worker.communicate()[0].split() for worker in workers[1:]]
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()
        hits, computed, wrong = (sum(map(int, column)) for column in zip(*results))
        wrong += sum(not whole(key, Blocks._arrays(cache.get(key))) for key in cache)
        stats = cache.stats()
    print(f"{hits} blocks were there, {computed} were computed, {stats['evictions']} evicted: {wrong} wrong")
    return wrong == 0 and hits > 0 and all(worker.returncode == 0 for worker in workers[1:])


def main():
    given = [int(text) for text in sys.argv[1:]]
    count, kib, mib = given + [120, 64, 32][len(given) :]
    folder = tempfile.mkdtemp(dir="/dev/shm")
    try:
        sys.exit(not run(os.path.join(folder, "pool"), count, kib << 10, mib << 20))
    finally:
        shutil.rmtree(folder)


if sys.argv[1:2] == ["work"]:
    work(sys.argv[2], *map(int, sys.argv[3:]))
else:
    main()
