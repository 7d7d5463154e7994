#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Names that are replaced by rename() all the time can always be opened and looked at.

usage: replaced.py READ_DIR WRITE_DIR LOOKS

One process replaces a file and a symbolic link under WRITE_DIR until it is ended. This one opens, maps, asks and
follows them under READ_DIR, LOOKS times each. Every look has to succeed, and a file has to be of one piece. The first
error is printed, and the status is 1.
"""
import mmap
import os
import signal
import sys

BYTES = 5000


def replace_for_ever(where):
    count = 0
    if os.path.lexists(where + "/new-link"): # left by a writer that was ended
        os.unlink(where + "/new-link")
    while True:
        count += 1
        with open(where + "/new", "wb") as file:
            file.write(b"%d" % (count % 10) * BYTES)
        os.rename(where + "/new", where + "/file")
        os.symlink("target%d" % (count % 10), where + "/new-link")
        os.rename(where + "/new-link", where + "/link")


def look_at_content(content):
    if len(content) != BYTES or content.count(content[:1]) != BYTES:
        sys.exit(f"{len(content)} bytes, not of one piece: {content[:20]!r}...")


def look(where):
    with open(where + "/file", "rb") as file:
        look_at_content(file.read())
    with open(where + "/file", "rb") as file:
        with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as memory:
            look_at_content(memory[:])
    if os.stat(where + "/file").st_size != BYTES:
        sys.exit("a size that the file never had")
    os.listxattr(where + "/file")
    if not os.readlink(where + "/link").startswith("target"):
        sys.exit("a target that the link never had")
    os.lstat(where + "/link")
    with open(where + "/link", "rb"): # through the link, which is replaced as well
        pass


def main():
    read_dir, write_dir, looks = sys.argv[1], sys.argv[2], int(sys.argv[3])
    for number in range(10):
        os.link(write_dir + "/file", f"{write_dir}/target{number}")
    writer = os.fork()
    if writer == 0:
        replace_for_ever(write_dir)
    try:
        for _ in range(looks):
            look(read_dir)
    except OSError as error:
        sys.exit(f"{error.filename}: {error.strerror}")
    finally:
        os.kill(writer, signal.SIGKILL)
        status = os.waitpid(writer, 0)[1]
    if not os.WIFSIGNALED(status):
        sys.exit("the writer had ended by itself")


main()
