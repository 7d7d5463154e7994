# SPDX-License-Identifier: MIT
"""A file that cannot lose its memory while it is pinned."""

import os

import holdfast

with holdfast.Pool.anonymous(64 << 20) as pool:
    with pool.open("/greeting", os.O_RDWR | os.O_CREAT) as file:
        file.write(b"hello, world\n")
        with file.pin(0, 13) as pin:
            try:
                file.truncate(0, holdfast.NOWAIT)
            except OSError as error:  # somebody holds it
                print("not now:", error.strerror)
            with memoryview(pin) as view:
                print(bytes(view).decode(), end="")  # in place: only bytes() makes a copy
        file.truncate(0)  # now it goes
