# SPDX-License-Identifier: MIT
"""Holdfast: files in memory, pinned and used in place.

    import os, holdfast

    holdfast.create("/dev/shm/pool", 64 << 20)
    with holdfast.Pool("/dev/shm/pool") as pool:
        with pool.open("/numbers", os.O_RDWR | os.O_CREAT) as file:
            file.write(b"hello, world")
            with file.pin(0, 12) as pin:        # the memory itself, not a copy
                with memoryview(pin) as view:
                    print(bytes(view))

While a range is pinned, its blocks are not reused, moved or given to another file, whatever any
process does to the file. A call that would take them (truncate, punch, move, unlink ...) waits, or
does as its policy says:

    WAIT                      waits as long as it takes; policy=None is this, unless create() says else
    NOWAIT                    raises OSError EBUSY when somebody holds it
    deadline(seconds)         waits so long, then raises TimeoutError
    DETACH                    changes the file at once; what is held stays with its holders
    deadline_detach(seconds)  waits so long, then does as DETACH

A Pin and a Lease are buffers: memoryview(pin), numpy.frombuffer(pin, dtype), numpy.from_dlpack(pin).
They are read-only unless they were made with WRITE.

How long it holds: until release(), the end of its `with`, or the end of the object. A view keeps the
object alive, so an array holds what it lies on:

    array = numpy.frombuffer(file.pin(0, len), dtype)   # held until the last array on it has gone

While a view is alive, release() raises BufferError: release the view first (`del array`, or `with
memoryview(pin) as view`). numpy.ndarray(shape, dtype, buffer=pin) is not such a view: NumPy keeps
the pin alive, but release() does not see the array. So take frombuffer() or from_dlpack(). The file
may be closed before. Pool.close() raises OSError EBUSY while something is held. A process that
ends, or is killed, holds nothing any more. Memory that it had given to a device (IO_URING, RDMA,
GPU) is used again only after the pool's quarantine.

An array in one piece: a range may lie in several places of the pool. Then memoryview(pin) raises
BufferError, and pin.pieces() has a buffer for each place. To get one place, give the file its blocks
by one allocate(0, size) before anything is written. Small files get one place if the pool has a
free run of so many blocks near its start. From 256 KiB on, each 2 MiB gets a free run of 2 MiB, and
runs that follow one another are one place. extents() tells where a file lies. move(0, size) joins
what lies in pieces, where there is such a run. read() copies from any number of places.

Publishing: others should see a whole file or none. Fill a file with a name of its own, then rename()
it over the name that others open. They go on with the old one as long as they hold it. Or put it
in place, which copies nothing:

    with pool.open("/", os.O_TMPFILE | os.O_RDWR) as file:
        put = file.put_begin(0, 4096)
        with memoryview(put) as view:
            source.readinto(view)
        put.commit(path="/name")                # before it, nobody sees a byte

An array's dtype and shape best go into the same file, into a block (BLOCK_BYTES) before the data.

A cache: Cache keeps objects under keys for any number of processes, and evicts when it is full.

    with holdfast.Cache(pool, "/cache", 1 << 30) as cache:
        cache.put("key", array)                     # by copy
        with cache.put_begin("other", 4096) as put:  # in place; an exception aborts it
            numpy.frombuffer(put, dtype)[:] = 1
        got = cache.get("key")                      # None: it is not there
        array = numpy.frombuffer(got, dtype)        # in place, held like a pin

An object of up to 2 MiB lies in one piece while the cache has room. In a full one, those of mixed
sizes may lie in several: frombuffer() then raises BufferError, and b"".join(got.pieces()) is a copy
to use instead. Cache(..., high=capacity * 3 // 4) leaves room, so that it hardly happens.

What is held leaves the cache like the rest, and its bytes stay. So there are no time-outs. With
Cache(..., tier="/dir", tier_size=...) what is evicted goes to a file on a disk. cache.fetch(key)
brings it back, and so does `await holdfast.fetch(cache, key)`.

Paths: str, bytes or os.PathLike, in the pool: "/a/b", and "a/b" is the same. Only create(), Pool()
and check() take a path of the system.

Units: offsets and lengths are bytes; times are nanoseconds of time.monotonic_ns(), and policies take
seconds.

Errors: OSError with the errno of the library and its sentence, which says what is wrong and what to
do. So there are FileNotFoundError, FileExistsError, TimeoutError and their like. Any call that
needs blocks raises OSError ENOSPC when the pool is full: free a file and call again. EDEADLK: the
thread would wait for a pin of its own. ValueError: the object is closed. OverflowError: a number is
negative or too large: it has 64 bits, and those of flags, modes and counts have 32. A signal ends a
wait: KeyboardInterrupt, or what its Python handler raises, else InterruptedError. Nothing has
changed then, and the call may be made again.

Threads: every object may be used by several threads. A call that may wait lets other threads run.
A close() while another thread is in a call on the object raises OSError EBUSY.

Processes: each opens the pool by its path. Any of them may call create(); the others get
FileExistsError, and may open the pool at once. A pin gives no exclusion: several processes may write
to the same range, and order that by means of their own.

Fork: objects belong to the process that made them; in a child every call on them raises
ChildProcessError. Open the pool again there. Use multiprocessing's method "spawn" or "forkserver".

holdfast.open is another name of Pool.
"""

from ._holdfast import *  # noqa: F403
from ._holdfast import __version__, Pool
from ._fetches import fetch
from ._recalls import recalls

open = Pool


def _is_record(thing):
    return isinstance(thing, type) and issubclass(thing, tuple)


# Records have nothing but fields, which are listed here. As classes, each would be a page of the methods of tuples.
def _records():
    yield "\nRecords: named tuples that calls return.\n"
    for name, thing in sorted(globals().items()):
        if _is_record(thing):
            yield f"\n    {name}: {thing.__doc__}\n"
            for field in thing.__match_args__:
                yield f"        {field:19} {getattr(thing, field).__doc__}\n"


if __doc__:  # not under -OO
    __doc__ += "".join(_records())
__all__ = [
    name
    for name, thing in globals().items()
    if not name.startswith("_") and name != "open" and not _is_record(thing)
]
