# SPDX-License-Identifier: MIT
"""What a pin costs in Python, beside its peers: medians of interleaved rounds, one run.

usage: python3 python/bench/pins.py [--rounds N]

`holdfast bench python` has this script measure, beside the same calls in C. With --serve it reads
the keys of rows from its standard input. For each it prints the ns of one go.
"""

import argparse
import mmap
import os
import statistics
import sys
import tempfile
import time

import holdfast

try:
    import numpy
except ImportError:
    numpy = None

LOOPS = 20000
PAGE = 4096
PAGES = 4096


def hold_bytearray(buffer):
    for _ in range(LOOPS):
        view = memoryview(buffer)
        view.release()


def hold_pin(file):
    for _ in range(LOOPS):
        pin = file.pin(0, PAGE)
        view = memoryview(pin)
        view.release()
        pin.release()


def array_of_bytearray(buffer):
    frombuffer, kind = numpy.frombuffer, numpy.uint8
    for _ in range(LOOPS):
        array = frombuffer(buffer, kind)
        del array


def array_of_pin(file):
    frombuffer, kind = numpy.frombuffer, numpy.uint8
    for _ in range(LOOPS):
        array = frombuffer(file.pin(0, PAGE), kind)
        del array


def sum_pins(file):
    total = 0
    for page in range(PAGES):
        pin = file.pin(page * PAGE, PAGE)
        view = memoryview(pin)
        total += view[100]
        view.release()
        pin.release()
    return total


def sum_pread(fd):
    total = 0
    for page in range(PAGES):
        total += os.pread(fd, PAGE, page * PAGE)[100]
    return total


def sum_mmap(mapping):
    total = 0
    for page in range(PAGES):
        view = mapping[page]
        total += view[100]
    return total


class Rows:
    """key: goes, call, its argument, what it is called."""

    def __init__(self):
        self.pool = holdfast.Pool.anonymous(64 << 20)
        self.file = self.pool.open("/f", os.O_RDWR | os.O_CREAT)
        self.plain = tempfile.TemporaryFile(dir="/dev/shm")
        for page in range(PAGES):
            self.file.write(b"x" * PAGE, page * PAGE)
        self.plain.write(b"x" * PAGE * PAGES)
        self.plain.flush()
        whole = memoryview(mmap.mmap(self.plain.fileno(), 0))
        parts = [whole[page * PAGE : (page + 1) * PAGE] for page in range(PAGES)]
        buffer = bytearray(PAGE)
        self.rows = {
            "hold.bytearray": (LOOPS, hold_bytearray, buffer, "memoryview of a bytearray, release"),
            "hold.pin": (LOOPS, hold_pin, self.file, "pin, memoryview, release, release"),
            "read.pread": (PAGES, sum_pread, self.plain.fileno(), "os.pread on tmpfs"),
            "read.pin": (PAGES, sum_pins, self.file, "pin, memoryview, release, release"),
            "read.mmap": (PAGES, sum_mmap, parts, "mmap of tmpfs, views made before"),
        }
        if numpy:
            self.rows |= {
                "array.bytearray": (LOOPS, array_of_bytearray, buffer, "frombuffer of a bytearray"),
                "array.pin": (LOOPS, array_of_pin, self.file, "frombuffer of a pin"),
            }

    def measure(self, key):
        goes, call, argument, _ = self.rows[key]
        begin = time.thread_time_ns()  # what others do on the machine meanwhile does not count
        call(argument)
        return (time.thread_time_ns() - begin) / goes


def print_table(title, rows, medians, start):
    print(title)
    base = None
    for key, ns in medians.items():
        if key.startswith(start):
            base = base or ns
            print(f"  {rows.rows[key][3]:44} {ns:10.0f} ns {ns / base:6.2f}")


def print_tables(rounds):
    rows = Rows()
    samples = {key: [] for key in rows.rows}
    for _ in range(rounds):
        for key in samples:
            samples[key].append(rows.measure(key))
    medians = {key: statistics.median(values) for key, values in samples.items()}
    print_table("holding a page (bar: at most 3)", rows, medians, "hold.")
    if numpy:
        print_table("an array on a page", rows, medians, "array.")
    print_table("reading one byte of each of 4,096 pages", rows, medians, "read.")


def serve():
    rows = Rows()
    print(*rows.rows, flush=True)
    for line in sys.stdin:
        print(rows.measure(line.strip()), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--serve", action="store_true")
    arguments = parser.parse_args()
    if arguments.serve:
        serve()
    else:
        print_tables(arguments.rounds)


if __name__ == "__main__":
    main()
