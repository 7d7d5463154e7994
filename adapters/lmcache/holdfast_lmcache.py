# SPDX-License-Identifier: MIT
"""A cache of Holdfast as a native plugin of LMCache, below its memory (an "L2 adapter" of type native_plugin).

LMCache gives keys and memory, and polls a descriptor for what has ended. Threads of this class copy to and from the
cache, which all LMCache servers and other processes of the machine share. README.md has the configuration.
"""

import concurrent.futures
import errno
import hashlib
import os
import threading

import numpy

import holdfast

KEY_MAX = 512  # bytes of a key in a cache


def _key(text):
    name = text.encode()
    return name if len(name) <= KEY_MAX else hashlib.blake2b(name).digest()


def _bytes(view):
    return numpy.frombuffer(view, numpy.uint8)


class Connector:
    def __init__(self, pool, cache="/lmcache", capacity=0, tier=None, tier_size=0, policy="s3fifo", workers=4):
        """pool: its path. capacity, tier_size: in bytes; the cache is made with these if it is not there."""
        self._pool = holdfast.Pool(pool)
        self._cache = holdfast.Cache(
            self._pool, cache, capacity, policy=policy, tier=tier, tier_size=tier_size
        )
        self._threads = concurrent.futures.ThreadPoolExecutor(workers, "holdfast-lmcache")
        self._event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._mutex = threading.Lock()
        self._last = 0
        self._ended = []  # (number, ok, error, whether for each key or None)
        self._closed = False

    # --- what LMCache calls ---

    def event_fd(self):
        """Readable while drain_completions() has something to tell."""
        return self._event

    def submit_batch_get(self, keys, memoryviews):
        return self._submit(self._get, keys, memoryviews)

    def submit_batch_set(self, keys, memoryviews):
        return self._submit(self._set, keys, memoryviews)

    def submit_batch_exists(self, keys):
        return self._submit(self._exists, keys)

    def submit_batch_delete(self, keys):
        return self._submit(self._delete, keys)

    def drain_completions(self):
        with self._mutex:
            ended, self._ended = self._ended, []
            try:
                os.eventfd_read(self._event)
            except BlockingIOError:
                pass
        return ended

    def close(self):
        """Waits for what threads are in, and gives up what they have not begun."""
        with self._mutex:
            if self._closed:
                return
            self._closed = True
        self._threads.shutdown(wait=True, cancel_futures=True)
        os.close(self._event)
        self._cache.close()
        self._pool.close()

    # --- its threads ---

    def _submit(self, work, keys, *views):
        names = [_key(key) for key in keys]
        with self._mutex:
            if self._closed:
                raise ValueError("the connector is closed")
            self._last += 1
            self._threads.submit(self._run, self._last, work, names, *views)
            return self._last

    def _run(self, number, work, *arguments):
        try:
            ended = (number, True, "", work(*arguments))
        except Exception as error:
            ended = (number, False, str(error), None)
        with self._mutex:
            self._ended.append(ended)
            os.eventfd_write(self._event, 1)

    def _get(self, keys, views):
        return [self._get_one(key, view) for key, view in zip(keys, views, strict=True)]

    def _get_one(self, key, view):
        """False: it is in neither tier, or has another size, or there is no memory to bring it back now."""
        try:
            got = self._cache.fetch(key)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EBUSY):
                raise
            return False
        if got is None or len(got) != len(view):
            return False
        out, at = _bytes(view), 0
        for piece in got.pieces():
            part = _bytes(piece)
            out[at : at + len(part)] = part
            at += len(part)
        return True

    def _set(self, keys, views):
        for key, view in zip(keys, views, strict=True):
            with self._cache.put_begin(key, len(view)) as put:
                part, at = _bytes(view), 0
                for piece in put.pieces():
                    into = _bytes(piece)
                    into[:] = part[at : at + len(into)]
                    at += len(into)
                del into, piece

    def _exists(self, keys):
        return [where != 0 for where in self._cache.exists_many(keys)]

    def _delete(self, keys):
        return [self._cache.remove(key) for key in keys]
