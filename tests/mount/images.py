#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Damages a pool's metadata file, mostly where the numbers are that LMDB and Holdfast believe. These are meta pages,
page headers, offsets of nodes, and the content of nodes. Or does with a mounted tree whatever programs do.

usage: images.py damage FILE SEED
       images.py use DIR
"""
import itertools
import os
import random
import stat
import sys

ENTRIES_MAX = 5000  # a damaged tree may have no end

PAGE = 4096
TELLING = [0, 1, 2, 3, 15, 16, 17, 255, 4095, 4096, 32767, 65535, 2**32 - 1, 2**63 - 1, 2**64 - 1]


def tried(call, *arguments, **more):
    """What it returns, or None: an error is as good as an answer."""
    try:
        return call(*arguments, **more)
    except (OSError, ValueError, OverflowError):
        return None


def node_of(image, page):
    """Where a node of the page begins, if it looks like one with nodes."""
    lower = int.from_bytes(image[page + 12 : page + 14], "little")
    if not 16 < lower <= PAGE:
        return page
    place = page + 16 + 2 * random.randrange((lower - 16) // 2 or 1)
    return page + int.from_bytes(image[place : place + 2], "little") % PAGE


def place_in(image):
    page = random.randrange(len(image) // PAGE) * PAGE
    kind = random.randrange(10)
    if kind == 0:
        return random.randrange(2) * PAGE + random.randrange(160)
    if kind == 1:
        return page + random.randrange(80)
    if kind < 8:
        return node_of(image, page) + random.randrange(120)
    return random.randrange(len(image))


def damage(image):
    at = min(place_in(image), len(image) - 8)
    width = 1 << random.randrange(4)
    value = int.from_bytes(image[at : at + 8], "little")
    value = random.choice(
        [value ^ 1 << random.randrange(64), random.choice(TELLING), value + random.randrange(-2, 3), random.getrandbits(64)]
    )
    image[at : at + width] = (value % 2**64).to_bytes(8, "little")[:width]


def used_bytes(file):
    """Up to the last page that is there: the rest is one large hole."""
    end = 0
    while (data := tried(os.lseek, file, end, os.SEEK_DATA)) is not None:
        end = os.lseek(file, data, os.SEEK_HOLE)
    os.lseek(file, 0, os.SEEK_SET)
    return end


def damage_file(path, seed):
    random.seed(int(seed))
    with open(path, "r+b") as file:
        image = bytearray(file.read(used_bytes(file.fileno())))
        for _ in range(random.choice([1, 1, 1, 2, 5])):
            damage(image)
        file.seek(0)
        file.write(image)


def entries(top):
    """All paths below, directories before what is in them; links are not followed."""
    for path, folders, files in os.walk(top):
        yield from (os.path.join(path, name) for name in folders + files)


def look(path):
    status = tried(os.lstat, path)
    for name in tried(os.listxattr, path, follow_symlinks=False) or []:
        tried(os.getxattr, path, name, follow_symlinks=False)
    tried(os.readlink, path)
    tried(os.statvfs, path)
    return status


def read(file, size):
    for off in (0, 4096, size // 2, max(size - 5000, 0), size, 2**44 - 1):
        tried(os.pread, file, 70000, off)
    off = 0
    for _ in range(20):
        off = tried(os.lseek, file, off, os.SEEK_DATA)
        off = off is not None and tried(os.lseek, file, off, os.SEEK_HOLE)
        if not off:
            break


def write(file, size):
    for off in (0, 10000, size // 2, size, 2**44 - 1):
        tried(os.pwrite, file, b"w" * 9000, off)
    tried(os.fsync, file)
    tried(os.posix_fallocate, file, 0, 40000)
    for length in (5000, size, 0, 123456):
        tried(os.ftruncate, file, length)


def change(path):
    tried(os.setxattr, path, "user.new", b"value" * 100, follow_symlinks=False)
    tried(os.removexattr, path, "user.long", follow_symlinks=False)
    tried(os.utime, path, (1, 2), follow_symlinks=False)
    tried(os.chown, path, 3, 4, follow_symlinks=False)
    tried(os.chmod, path, 0o700)
    tried(os.link, path, path + "+", follow_symlinks=False)
    tried(os.rename, path, path + "~")
    tried(os.rename, path + "~", path)
    tried(os.mkdir, path + "/new")
    tried(os.symlink, "target", path + "/link")


def with_file(path, use):
    """Only files: to open another kind may wait, or end at a device."""
    status = tried(os.lstat, path)
    file = tried(os.open, path, os.O_RDWR) if status and stat.S_ISREG(status.st_mode) else None
    if file is not None:
        use(file, status.st_size)
        tried(os.close, file)


def use_tree(top):
    for path in itertools.islice(entries(top), ENTRIES_MAX):
        look(path)
        with_file(path, read)
    paths = list(itertools.islice(entries(top), ENTRIES_MAX))
    for path in paths:
        with_file(path, write)
        change(path)
    for path in reversed(list(itertools.islice(entries(top), ENTRIES_MAX))):
        tried(os.unlink, path)
        tried(os.rmdir, path)
    for number in range(50):
        name = f"{top}/new-{number}"
        tried(os.mkdir, name)
        file = tried(os.open, f"{name}/file", os.O_RDWR | os.O_CREAT)
        if file is not None:
            write(file, number)
            tried(os.close, file)


if sys.argv[1] == "damage":
    damage_file(*sys.argv[2:])
else:
    use_tree(*sys.argv[2:])
