# SPDX-License-Identifier: MIT
"""Fetches of a cache's second tier on asyncio."""

import asyncio
import itertools

_tags = itertools.count(1)
_waiting = {}  # by id(cache), for each cache that is waited for


class _Fetches:
    """The futures of one event loop that wait for objects of one cache."""

    def __init__(self, cache, loop):
        self.cache, self.loop, self.fd = cache, loop, cache.fetch_fd()
        self.futures = {}
        self.full = []  # futures of those that wait for others to end
        loop.add_reader(self.fd, self.take)
        cache._before_close(self.closed)
        _waiting[id(cache)] = self

    def take(self):
        while (ended := self.cache.fetch_next()) is not None:
            tag, what = ended
            future = self.futures.pop(tag, None)
            if future is None or future.done():
                continue  # cancelled: the object is released
            if isinstance(what, OSError):
                future.set_exception(what)
            else:
                future.set_result(what)
        for future in self.full:
            if not future.done():
                future.set_result(None)
        self.full.clear()
        if not self.futures:
            self.end()

    def end(self):
        if not self.loop.is_closed():
            self.loop.remove_reader(self.fd)
        self.cache._before_close(None)
        del _waiting[id(self.cache)]

    def closed(self):
        self.end()
        for future in [*self.futures.values(), *self.full]:
            if not future.done() and not self.loop.is_closed():
                future.set_exception(ValueError("the cache was closed"))

    async def wait(self, tag):
        future = self.futures[tag] = self.loop.create_future()
        return await future

    async def wait_for_room(self):
        self.full.append(self.loop.create_future())
        await self.full[-1]


def _fetches(cache, loop):
    fetches = _waiting.get(id(cache))
    if fetches is not None and fetches.loop.is_closed():
        fetches.end()
        fetches = None
    if fetches is not None and fetches.loop is not loop:
        raise RuntimeError("another event loop fetches from this cache")
    return fetches


async def fetch(cache, key, *, space=0):
    """Cache.fetch() that lets the event loop go on while the disk is read.

        got = await holdfast.fetch(cache, key)      # None: it is neither in memory nor on the disk

    Many may be awaited at once; of one key they wait for one read. A task that is cancelled leaves
    the read to go on, and holds nothing. Close the cache in the loop's thread: what waits gets
    ValueError. One event loop at a time for each Cache.
    """
    loop = asyncio.get_running_loop()
    while True:
        fetches, tag = _fetches(cache, loop), next(_tags)
        try:
            got = cache.fetch_begin(key, tag, space=space)
        except BlockingIOError:
            if fetches is None:
                raise
            await fetches.wait_for_room()
            continue
        if got is not True:
            return got
        return await (fetches or _Fetches(cache, loop)).wait(tag)
