#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A client of NFS version 3 in a process of its own, through libnfs.

usage: nfs.py SERVER PATH    obeys the lines of its input, and answers each by one line; an error is its name
       create NAME           makes a file, of which the handle is kept for what follows
       write OFF TEXT | read OFF LEN | truncate LEN | fill MIB | sum
       mkdir NAME | rename FROM TO | unlink NAME | symlink TARGET NAME | readlink NAME | list NAME
"""
import ctypes
import errno
import hashlib
import sys
import time

libnfs = ctypes.CDLL("libnfs.so.13")
libnfs.nfs_init_context.restype = ctypes.c_void_p
libnfs.nfs_get_error.restype = ctypes.c_char_p
libnfs.nfs_opendir.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
libnfs.nfs_readdir.restype = ctypes.c_void_p
PIECE = 64 << 10


class Entry(ctypes.Structure):
    """The beginning of libnfs's struct nfsdirent."""
    _fields_ = [("next", ctypes.c_void_p), ("name", ctypes.c_char_p)]


class Refused(Exception):
    """What the server has said."""


def connect(server, path):
    """Until the server has come."""
    while True:
        context = ctypes.c_void_p(libnfs.nfs_init_context())
        libnfs.nfs_set_version(context, 3)
        if libnfs.nfs_mount(context, server.encode(), path.encode()) == 0:
            return context
        print(libnfs.nfs_get_error(context).decode(), file=sys.stderr)
        libnfs.nfs_destroy_context(context)
        time.sleep(0.2)


class Client:
    """One mounted export and one open file."""

    def __init__(self, server, path):
        self.context = connect(server, path)
        self.file = ctypes.c_void_p()

    def call(self, name, *arguments):
        """A call of libnfs."""
        rc = getattr(libnfs, name)(self.context, *arguments)
        if rc < 0:
            raise Refused(errno.errorcode.get(-rc, str(rc)))
        return rc

    def create(self, name):
        """Keeps the handle."""
        self.call("nfs_creat", name.encode(), 0o644, ctypes.byref(self.file))

    def write(self, off, text):
        """Some bytes."""
        data = text.encode()
        self.pwrite(int(off), data)
        self.call("nfs_fsync", self.file)

    def pwrite(self, off, data):
        """At most PIECE bytes."""
        if self.call("nfs_pwrite", self.file, ctypes.c_uint64(off), ctypes.c_uint64(len(data)), data) != len(data):
            raise Refused("short")

    def pread(self, off, length):
        """At most PIECE bytes."""
        room = ctypes.create_string_buffer(length)
        count = self.call("nfs_pread", self.file, ctypes.c_uint64(off), ctypes.c_uint64(length), room)
        return room.raw[:count]

    def read(self, off, length):
        """Some bytes, as text."""
        return self.pread(int(off), int(length)).decode().strip()

    def truncate(self, length):
        """Of the open file."""
        self.call("nfs_ftruncate", self.file, ctypes.c_uint64(int(length)))

    def fill(self, mib):
        """Different bytes everywhere; answers with their checksum."""
        whole = hashlib.sha256()
        for off in range(0, int(mib) << 20, PIECE):
            data = hashlib.sha256(str(off).encode()).digest() * (PIECE // 32)
            self.pwrite(off, data)
            whole.update(data)
        self.call("nfs_fsync", self.file)
        return whole.hexdigest()

    def sum(self):
        """The checksum of the open file."""
        whole, off = hashlib.sha256(), 0
        while data := self.pread(off, PIECE):
            whole.update(data)
            off += len(data)
        return whole.hexdigest()

    def list(self, name):
        """Names in a directory, without the dots."""
        folder, names = ctypes.c_void_p(), []
        self.call("nfs_opendir", name.encode(), ctypes.byref(folder))
        while entry := libnfs.nfs_readdir(self.context, folder):
            names.append(ctypes.cast(entry, ctypes.POINTER(Entry)).contents.name.decode())
        libnfs.nfs_closedir(self.context, folder)
        return " ".join(sorted(name for name in names if name not in (".", "..")))

    def readlink(self, name):
        """Where it leads."""
        room = ctypes.create_string_buffer(PIECE)
        self.call("nfs_readlink", name.encode(), room, len(room))
        return room.value.decode()

    def other(self, what, *names):
        """Calls of names alone."""
        self.call("nfs_" + what, *(name.encode() for name in names))

    def obey(self, line):
        """Answers one line."""
        what, *arguments = line.split(" ", 2) if line.startswith("write ") else line.split()
        if what in ("mkdir", "rename", "unlink", "symlink"):
            return self.other(what, *arguments)
        return getattr(self, what)(*arguments)


def main():
    """Until the end of the input."""
    client = Client(*sys.argv[1:])
    for line in sys.stdin:
        try:
            answer = client.obey(line.rstrip("\n"))
        except Refused as refusal:
            answer = refusal
        print("ok" if answer is None else answer, flush=True)


if __name__ == "__main__":
    main()
