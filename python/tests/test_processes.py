# SPDX-License-Identifier: MIT
"""Other processes: a fork, one that is killed, one that is stopped."""

import errno
import os
import signal
import subprocess
import sys

import numpy
import pytest

import holdfast

HOLDER = """
import os, sys, holdfast
pool = holdfast.Pool(sys.argv[1])
file = pool.open("/array", os.O_RDWR)
pin = file.pin(0, 4096, holdfast.WRITE)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def array(shared):
    with holdfast.Pool(shared) as pool, pool.open("/array", os.O_RDWR | os.O_CREAT) as file:
        file.write(numpy.arange(1024, dtype=numpy.uint32))
        yield pool, file, shared


@pytest.fixture
def holder(array, start):
    return start(HOLDER)


def test_who_holds(array, holder):
    pool, file, _ = array
    with pytest.raises(OSError) as error:
        file.truncate(0, holdfast.NOWAIT)
    assert f"process {holder.pid}" in error.value.strerror
    assert [pin.pid for pin in pool.pins()] == [holder.pid]


def test_one_that_is_killed_holds_nothing(array, holder):
    _, file, _ = array
    holder.kill()
    holder.wait()
    file.truncate(0, holdfast.NOWAIT)


def test_one_that_is_stopped_is_named(array, holder):
    _, file, _ = array
    holder.send_signal(signal.SIGSTOP)
    os.waitpid(holder.pid, os.WUNTRACED)
    try:
        with pytest.raises(TimeoutError, match="stopped"):
            file.truncate(0, holdfast.deadline(0.2))
    finally:
        holder.send_signal(signal.SIGCONT)


def test_fork(array):
    pool, file, path = array
    pin = file.pin(0, 4096)
    view = memoryview(pin)
    child = os.fork()
    if child == 0:
        wrong = 1
        try:
            for call in (pool.info, file.stat, lambda: file.pin(0, 1)):
                try:
                    call()
                except ChildProcessError:
                    continue
                os._exit(2)
            view.release()
            try:
                pin.release()
            except ChildProcessError:
                wrong = 0
            with holdfast.Pool(path) as mine, mine.open("/array") as again:
                if again.read(4, 4) != b"\1\0\0\0":
                    wrong = 3
        finally:
            os._exit(wrong)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert bytes(view[4:8]) == b"\1\0\0\0"
    view.release()
    pin.release()


TAKER = """
import sys, numpy, holdfast
with holdfast.Pool(sys.argv[1]) as pool:
    with pool.take(bytes.fromhex(sys.stdin.readline())) as lease:
        array = numpy.frombuffer(lease, dtype=numpy.uint32)
        array += 1
        print(int(array.sum()))
        del array
"""


def test_a_lease_changes_hands(array):
    _, file, path = array
    process = subprocess.Popen(
        [sys.executable, "-c", TAKER, path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    token = file.lease(0, 4096, holdfast.WRITE).give()
    out, _ = process.communicate(token.hex() + "\n")
    assert process.returncode == 0 and int(out) == sum(range(1, 1025))
    assert file.read(4) == b"\1\0\0\0"
    with pytest.raises(OSError) as error:
        file.pin(1 << 20, 1)
    assert error.value.errno == errno.EFAULT
