# SPDX-License-Identifier: MIT
"""A pool on tmpfs for each test, and one of this process alone."""

import os
import shutil
import subprocess
import sys
import tempfile

import pytest

import holdfast

MIB = 1 << 20


@pytest.fixture
def path():
    folder = tempfile.mkdtemp(prefix="holdfast-python-", dir="/dev/shm")
    yield os.path.join(folder, "pool")
    shutil.rmtree(folder)


@pytest.fixture
def shared(path):
    """The path of a pool that other processes can open."""
    holdfast.create(path, 16 * MIB)
    return path


@pytest.fixture
def pool():
    with holdfast.Pool.anonymous(16 * MIB) as pool:
        yield pool


@pytest.fixture
def file(pool):
    """Four pages, each full of its number."""
    with pool.open("/file", os.O_RDWR | os.O_CREAT) as file:
        for page in range(4):
            file.write(bytes([page]) * 4096, page * 4096)
        yield file


@pytest.fixture
def start(shared):
    """Runs a program with the pool's path, until it says that it holds something. The end of the
    test ends it."""
    started = []

    def run(program):
        process = subprocess.Popen(
            [sys.executable, "-c", program, shared],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()
