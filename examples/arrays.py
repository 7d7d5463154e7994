# SPDX-License-Identifier: MIT
"""An array that several processes work on in place, and that nobody can cut short meanwhile."""

import os
import shutil
import subprocess
import sys
import tempfile

import numpy

import holdfast

ROWS, COLUMNS = 64, 1024


def array_of(pin):
    return numpy.frombuffer(pin, dtype=numpy.float32).reshape(ROWS, COLUMNS)


def add_row(path, row):
    with holdfast.Pool(path) as pool, pool.open("/matrix", os.O_RDWR) as file:
        with file.pin(0, ROWS * COLUMNS * 4, holdfast.WRITE) as pin:
            matrix = array_of(pin)
            matrix[row] += row
            del matrix  # a pin goes after its last view


def main():
    folder = tempfile.mkdtemp(dir="/dev/shm")
    path = os.path.join(folder, "pool")
    try:
        holdfast.create(path, 64 << 20)
        with holdfast.Pool(path) as pool:
            with pool.open("/matrix", os.O_RDWR | os.O_CREAT) as file:
                file.allocate(0, ROWS * COLUMNS * 4)
                workers = [
                    subprocess.Popen([sys.executable, __file__, path, str(row)]) for row in (1, 2)
                ]
                if any(worker.wait() for worker in workers):
                    raise SystemExit("a worker failed")
                with file.pin(0, ROWS * COLUMNS * 4) as pin:
                    matrix = array_of(pin)
                    print("sums of rows 0 to 3:", *(int(matrix[row].sum()) for row in range(4)))
                    del matrix
    finally:
        shutil.rmtree(folder)


if len(sys.argv) == 3:
    add_row(sys.argv[1], int(sys.argv[2]))
else:
    main()
