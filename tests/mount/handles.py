#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""File handles, as servers of NFS use them.

usage: handles.py get DIR NAME     prints the handle of DIR/NAME
       handles.py open DIR HANDLE  prints what it leads to on the file system of DIR: its number, and its content or its last name
"""
import ctypes
import errno
import os
import stat
import struct
import sys

HEADER = struct.Struct("Ii")
ROOM = 128
libc = ctypes.CDLL(None, use_errno=True)


def check(rc):
    if rc < 0:
        print(errno.errorcode[ctypes.get_errno()])
        sys.exit(0)
    return rc


def get(folder, name):
    handle = ctypes.create_string_buffer(HEADER.pack(ROOM, 0), HEADER.size + ROOM)
    mount = ctypes.c_int()
    check(libc.name_to_handle_at(folder, name.encode(), handle, ctypes.byref(mount), 0))
    size, _ = HEADER.unpack_from(handle)
    print(handle.raw[:HEADER.size + size].hex())


def open_it(folder, text):
    handle = ctypes.create_string_buffer(bytes.fromhex(text))
    fd = check(libc.open_by_handle_at(folder, handle, os.O_PATH | os.O_NOFOLLOW))
    path = os.readlink(f"/proc/self/fd/{fd}")
    content = None
    if stat.S_ISREG(os.fstat(fd).st_mode):
        with open(f"/proc/self/fd/{fd}", encoding="utf-8") as file:
            content = file.read().strip()
    print(os.fstat(fd).st_ino, content or os.path.basename(path))


if __name__ == "__main__":
    {"get": get, "open": open_it}[sys.argv[1]](os.open(sys.argv[2], os.O_RDONLY | os.O_DIRECTORY), sys.argv[3])
