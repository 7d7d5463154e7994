#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What can be done in part only, on a mount: the program is told.

usage: partial.py store FILE PAGES msync|fsync|close
                                  stores x in a shared mapping of a new hole, of which not all fits; prints where an error was told
       partial.py read FILE       prints what came: h for a page of zeros, g for one of g, then "end" or an error's name
       partial.py write FILE BYTES   prints how many bytes write(2) says it has written, then what the next says
       partial.py hurt DATA_MDB INO PAGE   the extent of that file which begins at that page leads out of the pool
"""
import ctypes
import errno
import mmap
import os
import sys

PAGE = 4096
MS_SYNC = 4

# Python's own mappings have a descriptor of their own, and the close of that one would be told.
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
libc.msync.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


def check(result):
    if result != 0:
        raise OSError(ctypes.get_errno(), "")


def store(path, pages, ask):
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    os.ftruncate(fd, pages * PAGE)
    at = libc.mmap(None, pages * PAGE, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED, fd, 0)
    step = "mmap"
    try:
        check(0 if at != ctypes.c_void_p(-1).value else -1)
        ctypes.memset(at, ord("x"), pages * PAGE)
        step = "msync"
        if ask == "msync":
            check(libc.msync(at, pages * PAGE, MS_SYNC))
        check(libc.munmap(at, pages * PAGE))
        step = "fsync"
        if ask == "fsync":
            os.fsync(fd)
        step = "close"
        os.close(fd)
        print("nowhere")
    except OSError as error:
        print(step, errno.errorcode[error.errno])


def read(path):
    fd = os.open(path, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)  # what the kernel keeps of it is not asked for
    said = ""
    try:
        while content := os.read(fd, 1 << 20):
            said += "".join(chr(content[at]) if content[at] else "h" for at in range(0, len(content), PAGE))
        print(said, "end")
    except OSError as error:
        print(said, errno.errorcode[error.errno])


def write(path, count):
    fd = os.open(path, os.O_WRONLY)
    done = os.write(fd, b"w" * count)
    try:
        os.write(fd, b"w" * (count - done))
        print(done, "and more")
    except OSError as error:
        print(done, errno.errorcode[error.errno])


def hurt(path, ino, page):
    """In place, while the pool is in use. The key: docs/FORMAT.md, "Keys"."""
    key = b"\x10" + ino.to_bytes(8, "big") + b"\x02" + page.to_bytes(8, "big")
    with open(path, "r+b") as file:
        content = file.read(8 << 20)  # the rest is room that the file has
        at = content.find(key)
        assert at >= 0, "there is no such record"
        while at >= 0:
            file.seek(at + len(key))
            file.write((1 << 40).to_bytes(8, "little"))
            at = content.find(key, at + 1)


def main():
    command, path, *more = sys.argv[1:]
    if command == "store":
        store(path, int(more[0]), more[1])
    elif command == "read":
        read(path)
    elif command == "write":
        write(path, int(more[0]))
    else:
        hurt(path, *map(int, more))


main()
