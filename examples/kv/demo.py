# SPDX-License-Identifier: MIT
"""A cache of key-value blocks under fire: no block is ever wrong, and with leases that time out some are.

usage: demo.py [--capacity MIB] [--kib K,K,K] [--kills N] [--seed N] [--without | --leases MS]

Eight processes share a cache of a tenth of what they put. What is evicted goes to a file on a disk, and comes back.
Four processes produce: they look for the longest prefix of a request, and compute the rest in place. Each of the others
consumes what one of them has produced. Each page has the stamp of its block, its number and a checksum. They are looked
at when a block was got, and again before it is released. Processes are killed, or stopped for a while, all the time.
arrivals.py has the requests, and says where their shape is from. Here they are of three models, whose blocks have K KiB.

Then the same runs with a build of the library that is not safe: a lease ends after MS milliseconds (1). Memory of a
block that was evicted is used again then, whatever reads it. So is memory that somebody fills. --without leaves that
out.
"""

import argparse
import asyncio
import errno
import mmap
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import numpy

import holdfast

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import arrivals  # noqa: E402
from keys import prefix_keys  # noqa: E402

PAIRS = 4  # of a producer and its consumer
BATCH = 8  # blocks that are held at once
WORDS = 4096 // 8
COUNTS = "done got wrong expired fetched computed full lost".split()
LAB = "libholdfast-cache-lab.so"


def model_of(blocks):
    """All turns of a conversation are of one model."""
    return blocks[min(1, len(blocks) - 1)] % 3


class Trace:
    """As many requests as put ten times what the cache holds."""

    def __init__(self, capacity, sizes, seed):
        self.requests, seen, total = [], set(), 0
        for _, blocks in arrivals.requests(1 << 20, seed):
            model = model_of(blocks)
            keys = prefix_keys(blocks)
            self.requests.append((model, keys))
            total += sizes[model] * sum((model, key) not in seen for key in keys)
            seen.update((model, key) for key in keys)
            if total >= 10 * capacity:
                break
        self.bytes = total


# --- what a block has ---


def stamp_of(key):
    return numpy.frombuffer(key[:8], numpy.uint64)[0]


def pages_of(held):
    """Arrays in place, with a row for each page; a block lies in several pieces when there is no room for one."""
    first = 0
    for piece in held.pieces():
        rows = numpy.frombuffer(piece, numpy.uint64).reshape(-1, WORDS)
        yield numpy.arange(first, first + len(rows), dtype=numpy.uint64), rows
        first += len(rows)


def fill(key, held):
    for numbers, rows in pages_of(held):
        rows[:, 0] = stamp_of(key)
        rows[:, 1] = numbers
        rows[:, 3:] = stamp_of(key) + numbers[:, None] + numpy.arange(WORDS - 3, dtype=numpy.uint64)
        rows[:, 2] = rows[:, 3:].sum(axis=1)


def is_whole(key, held):
    return all(
        (rows[:, 0] == stamp_of(key)).all()
        and (rows[:, 1] == numbers).all()
        and (rows[:, 2] == rows[:, 3:].sum(axis=1)).all()
        for numbers, rows in pages_of(held)
    )


# --- a process ---


class Board:
    """Counts of all processes, in memory that they share. Those of a process that is killed stay."""

    def __init__(self, path):
        with open(path, "r+b") as file:
            words = numpy.frombuffer(mmap.mmap(file.fileno(), 0), numpy.int64)
        self.counts = words.reshape(2 * PAIRS, len(COUNTS))

    @staticmethod
    def make(path):
        with open(path, "wb") as file:
            file.write(bytes(8 * 2 * PAIRS * len(COUNTS)))

    def add(self, worker, what, more=1):
        self.counts[worker, COUNTS.index(what)] += more

    def of(self, worker, what):
        return int(self.counts[worker, COUNTS.index(what)])

    def sum(self, what):
        return int(self.counts[:, COUNTS.index(what)].sum())


class Worker:
    def __init__(self, folder, number, trace, sizes):
        self.number, self.trace, self.sizes = number, trace, sizes
        self.board = Board(os.path.join(folder, "board"))
        self.cache = holdfast.Cache(holdfast.Pool(os.path.join(folder, "pool")), "/kv")

    def failed(self, error):
        """All memory is held, or the lock's owner is stopped: it stays out. With leases, another may have the memory."""
        if error.errno not in (errno.ENOSPC, errno.EBUSY, errno.EUCLEAN):
            raise error
        self.board.add(self.number, "lost" if error.errno == errno.EUCLEAN else "full")

    async def prefix(self, model, keys):
        """The blocks of the longest prefix in memory or on the disk, which are all on their way at once."""
        got = self.cache.get_many(keys, space=model)
        where = self.cache.exists_many(keys, space=model)
        away = [i for i, one in enumerate(got) if one is None and where[i] == holdfast.ON_DISK]
        came = await asyncio.gather(
            *(holdfast.fetch(self.cache, keys[i], space=model) for i in away), return_exceptions=True
        )
        for i, one in zip(away, came):
            if isinstance(one, holdfast.Cached):
                got[i] = one
                self.board.add(self.number, "fetched")
            elif one is not None:
                self.failed(one)
        return got[: got.index(None)] if None in got else got

    async def read(self, model, keys):
        """How many blocks of the prefix were there. Each is looked at twice while it is held."""
        held = await self.prefix(model, keys)
        whole = [is_whole(key, one) for key, one in zip(keys, held)]
        await asyncio.sleep(0.003)  # as a copy to a device takes
        again = [is_whole(key, one) for key, one in zip(keys, held)]
        self.board.add(self.number, "got", len(held))
        self.board.add(self.number, "wrong", whole.count(False))
        self.board.add(self.number, "expired", sum(was and not now for was, now in zip(whole, again)))
        return len(held)

    def compute(self, model, key):
        try:
            with self.cache.put_begin(key, self.sizes[model], space=model) as put:
                fill(key, put)
        except OSError as error:
            self.failed(error)
        else:
            self.board.add(self.number, "computed")

    async def serve(self, model, keys):
        for first in range(0, len(keys), BATCH):
            batch = keys[first : first + BATCH]
            there = await self.read(model, batch)
            if self.number < PAIRS:
                for key in batch[there:]:
                    self.compute(model, key)

    async def run(self):
        requests = self.trace.requests[self.number % PAIRS :: PAIRS]
        for done in range(self.board.of(self.number, "done"), len(requests)):
            while self.number >= PAIRS and self.board.of(self.number - PAIRS, "done") <= done:
                await asyncio.sleep(0.001)
            await self.serve(*requests[done])
            self.board.add(self.number, "done")


# --- all of them ---


def environment(lease_ms):
    if not lease_ms:
        return dict(os.environ)
    lab = os.path.join(os.environ["HOLDFAST_BUILD"], "cache", LAB)
    loaded = ":".join(filter(None, (os.environ.get("LD_PRELOAD"), lab)))
    return dict(os.environ, LD_PRELOAD=loaded, HOLDFAST_LAB_LEASE_MS=str(lease_ms))


class Storm:
    def __init__(self, folder, options, lease_ms):
        self.folder, self.options, self.environment = folder, options, environment(lease_ms)
        self.dice = random.Random(options.seed)
        self.killed = self.stopped = 0
        self.board = Board(os.path.join(folder, "board"))
        self.workers = [self.start(number) for number in range(2 * PAIRS)]

    def start(self, number):
        arguments = [f"--folder={self.folder}", f"--worker={number}", *sys.argv[1:]]
        return subprocess.Popen([sys.executable, __file__, *arguments], env=self.environment)

    def strike(self):
        """Kills one, or stops one for a while."""
        number = self.dice.randrange(2 * PAIRS)
        worker = self.workers[number]
        if worker.poll() is not None:
            return
        if self.dice.random() < 0.5:
            worker.send_signal(signal.SIGSTOP)
            time.sleep(self.dice.uniform(0.01, 0.1))
            worker.send_signal(signal.SIGCONT)
            self.stopped += 1
        else:
            worker.kill()
            worker.wait()
            self.workers[number] = self.start(number)
            self.killed += 1

    def run(self, count):
        """Strikes come evenly over the work, of which there are `count` requests for each kind of process."""
        for strike in range(1, 2 * self.options.kills + 1):
            while self.board.sum("done") < 2 * count * strike // (2 * self.options.kills + 1):
                if any(worker.poll() for worker in self.workers):
                    return False
                time.sleep(0.005)
            self.strike()
        return all(worker.wait() == 0 for worker in self.workers)

    def end(self):
        for worker in self.workers:
            worker.kill()
            worker.wait()


def show(storm, name, stats, tier):
    def of(what):
        return storm.board.sum(what)

    print(
        f"{name}: {of('computed')} blocks put, {of('got')} got, {of('fetched')} of them from the disk;"
        f" {stats['evictions']} evicted, {tier['demoted']} written to the disk, {tier['skipped']} not;"
        f" {storm.killed} processes killed, {storm.stopped} stopped:"
        f" {of('wrong')} wrong, {of('expired')} changed while they were read",
        flush=True,
    )


def storm_once(options, trace, lease_ms):
    """(the run was whole, blocks that were wrong or changed)"""
    folder = tempfile.mkdtemp(prefix="holdfast-kv-", dir="/dev/shm")
    disk = tempfile.mkdtemp(prefix="holdfast-kv-")
    storm = None
    try:
        path = os.path.join(folder, "pool")
        holdfast.create(path, 2 * options.capacity + (32 << 20))
        Board.make(os.path.join(folder, "board"))
        with holdfast.Pool(path) as pool:
            cache = holdfast.Cache(
                pool, "/kv", options.capacity, tier=disk, tier_size=3 * options.capacity
            )
            with cache:
                if cache.tier_stats()["fault"]:
                    print("no second tier:", cache.tier_stats()["fault"])
                storm = Storm(folder, options, lease_ms)
                ended = storm.run(len(trace.requests))
                show(storm, f"leases of {lease_ms} ms" if lease_ms else "pins", cache.stats(), cache.tier_stats())
        ended = ended and (lease_ms or not holdfast.check(path).problems)
        return ended, storm.board.sum("wrong") + storm.board.sum("expired")
    finally:
        if storm:
            storm.end()
        shutil.rmtree(folder)
        shutil.rmtree(disk)


def sizes_of(text):
    return [int(one) << 10 for one in text.split(",")]


def read_options():
    parser = argparse.ArgumentParser(usage=__doc__.split("\n\n")[1][7:])
    parser.add_argument("--capacity", type=lambda text: int(text) << 20, default=128 << 20)
    parser.add_argument("--kib", type=sizes_of, default=sizes_of("64,256,2048"))
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--seed", type=int, default=int(os.environ.get("HF_SEED") or 20260101))
    parser.add_argument("--leases", type=int, default=1)
    parser.add_argument("--without", action="store_true")
    parser.add_argument("--folder")
    parser.add_argument("--worker", type=int)
    return parser.parse_args()


def main():
    options = read_options()
    trace = Trace(options.capacity, options.kib, options.seed)
    if options.worker is not None:
        asyncio.run(Worker(options.folder, options.worker, trace, options.kib).run())
        return
    print(f"{len(trace.requests)} requests, {trace.bytes >> 20} MiB of blocks, a cache of {options.capacity >> 20} MiB")
    whole, wrong = storm_once(options, trace, 0)
    if not whole or wrong:
        sys.exit("FAILED: with pins no block may be wrong, and all processes end")
    if options.without:
        return
    if not any(storm_once(options, trace, options.leases)[1] for _ in range(5)):
        sys.exit("FAILED: with leases that time out, some block is wrong")


if __name__ == "__main__":
    main()
