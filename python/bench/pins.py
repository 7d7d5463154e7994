# SPDX-License-Identifier: MIT
"""What a pin costs in Python, beside its peers: medians of interleaved rounds, one run.

usage: python3 python/bench/pins.py [--rounds N]
"""

import argparse
import mmap
import os
import statistics
import tempfile
import time

import holdfast

LOOPS = 20000
PAGE = 4096


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


def sum_pins(file, pages):
    total = 0
    for page in range(pages):
        pin = file.pin(page * PAGE, PAGE)
        view = memoryview(pin)
        total += view[100]
        view.release()
        pin.release()
    return total


def sum_pread(fd, pages):
    total = 0
    for page in range(pages):
        total += os.pread(fd, PAGE, page * PAGE)[100]
    return total


def sum_mmap(mapping, pages):
    total = 0
    for page in range(pages):
        view = mapping[page]
        total += view[100]
    return total


def timed(call, *arguments):
    begin = time.perf_counter_ns()
    call(*arguments)
    return time.perf_counter_ns() - begin


def medians(rounds, rows):
    times = {name: [] for name, *_ in rows}
    for _ in range(rounds):
        for name, count, call, *arguments in rows:
            times[name].append(timed(call, *arguments) / count)
    return {name: statistics.median(values) for name, values in times.items()}


def print_table(title, result, base):
    print(title)
    for name, ns in result.items():
        print(f"  {name:44} {ns:10.0f} ns {ns / result[base]:6.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    pages = 4096
    with holdfast.Pool.anonymous(64 << 20) as pool, tempfile.TemporaryFile(dir="/dev/shm") as plain:
        with pool.open("/f", os.O_RDWR | os.O_CREAT) as file:
            for page in range(pages):
                file.write(b"x" * PAGE, page * PAGE)
            plain.write(b"x" * PAGE * pages)
            plain.flush()
            with mmap.mmap(plain.fileno(), 0) as mapping, memoryview(mapping) as whole:
                parts = [whole[page * PAGE : (page + 1) * PAGE] for page in range(pages)]
                held = medians(
                    rounds,
                    [
                        ("memoryview of a bytearray, release", LOOPS, hold_bytearray, bytearray(PAGE)),
                        ("pin, memoryview, release, release", LOOPS, hold_pin, file),
                    ],
                )
                read = medians(
                    rounds,
                    [
                        ("os.pread on tmpfs", pages, sum_pread, plain.fileno(), pages),
                        ("pin, memoryview, release, release", pages, sum_pins, file, pages),
                        ("mmap of tmpfs, views made before", pages, sum_mmap, parts, pages),
                    ],
                )
                for part in parts:
                    part.release()
    print_table("holding a page (bar: at most 3)", held, "memoryview of a bytearray, release")
    print_table("reading one byte of each of 4,096 pages", read, "os.pread on tmpfs")


if __name__ == "__main__":
    main()
