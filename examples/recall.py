# SPDX-License-Identifier: MIT
"""A server that keeps a lease for long, and releases it when another process wants to change the file."""

import asyncio
import os

import holdfast


async def serve(pool, file):
    lease = file.lease(0, 1 << 20, holdfast.IO_URING)
    async for recall in holdfast.recalls(pool):
        print(f"asked for bytes {recall.off} to {recall.off + recall.len}")
        lease.release()  # here a device would be stopped first
        return


async def main():
    with holdfast.Pool.anonymous(64 << 20) as pool:
        with pool.open("/served", os.O_RDWR | os.O_CREAT) as file:
            file.allocate(0, 1 << 20)
            server = asyncio.create_task(serve(pool, file))
            await asyncio.sleep(0)  # it has its lease now
            await asyncio.to_thread(file.truncate, 4096, holdfast.deadline(60))
            await server
            print("size:", file.stat().st_size)


asyncio.run(main())
