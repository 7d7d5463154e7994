# SPDX-License-Identifier: MIT
"""Recalls on asyncio."""

import asyncio


async def recalls(pool):
    """Yields a Recall for each lease without a function that a layout change asks for.

        async for recall in holdfast.recalls(pool):
            stop_using(recall.lease)
            recall.lease.release()

    It ends when its task is cancelled. One at a time for each pool and event loop.
    """
    loop = asyncio.get_running_loop()
    fd = pool.recall_fd()
    readable = asyncio.Event()
    loop.add_reader(fd, readable.set)
    try:
        while True:
            readable.clear()
            while (recall := pool.next_recall()) is not None:
                yield recall
            await readable.wait()
    finally:
        loop.remove_reader(fd)
