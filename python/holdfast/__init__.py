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
does as its policy says: WAIT, NOWAIT, deadline(seconds), DETACH or deadline_detach(seconds).

A Pin and a Lease are buffers: memoryview(pin), numpy.frombuffer(pin, dtype), numpy.from_dlpack(pin).
They are read-only unless they were made with WRITE. While a view is alive, release() raises
BufferError: let go of the view first (`del array`, or `with memoryview(pin) as view`).

Units: offsets and lengths are bytes; times are nanoseconds of time.monotonic_ns(), and policies take
seconds.

Errors: OSError with the errno of the library and its sentence, which says what is wrong and what to
do; so FileNotFoundError, FileExistsError, TimeoutError and their like. ValueError: the object is
closed. A signal ends a wait: KeyboardInterrupt, or what its Python handler raises, else
InterruptedError. Nothing has changed then, and the call may be made again.

Threads: every object may be used by several threads. A call that may wait lets other threads run.
A close() while another thread is in a call on the object raises OSError EBUSY.

Fork: objects belong to the process that made them; in a child every call on them raises
ChildProcessError. Open the pool again there. Use multiprocessing's method "spawn" or "forkserver".
"""

from ._holdfast import *  # noqa: F403
from ._holdfast import __version__, Pool
from ._recalls import recalls

open = Pool

__all__ = [name for name in globals() if not name.startswith("_")]
