# SPDX-License-Identifier: MIT
import errno
import os
import signal
import threading

import pytest

import holdfast


def waiting(pool):
    """Returns when a layout change waits for a pin."""
    while not any(pin.state == holdfast.PIN_WAITING for pin in pool.pins()):
        os.sched_yield()


def test_policies(file):
    pin = file.pin(0, 4096)
    raised = []

    def truncate():
        for policy in (holdfast.NOWAIT, holdfast.deadline(0.01)):
            try:
                file.truncate(0, policy)
            except OSError as error:
                raised.append(error)
        file.truncate(0, holdfast.deadline_detach(0.01))

    thread = threading.Thread(target=truncate)
    thread.start()
    thread.join()
    assert raised[0].errno == errno.EBUSY
    assert isinstance(raised[1], TimeoutError) and "pinned by process" in raised[1].strerror
    assert file.stat().st_size == 0
    with memoryview(pin) as view:
        assert bytes(view) == bytes(4096)
    pin.release()


def test_own_pin(file):
    with file.pin(0, 4096), pytest.raises(OSError) as error:
        file.truncate(0)
    assert error.value.errno == errno.EDEADLK


def test_others_run_while_one_waits(pool, file):
    pin = file.pin(0, 4096)
    thread = threading.Thread(target=file.truncate, args=(0,))
    thread.start()
    waiting(pool)
    with pytest.raises(OSError) as error:
        file.close()
    assert error.value.errno == errno.EBUSY and "thread" in error.value.strerror
    with pytest.raises(OSError):
        pool.close()
    pin.release()
    thread.join()
    assert file.stat().st_size == 0


def test_cancel(pool, file):
    raised = []

    def truncate():
        with pytest.raises(InterruptedError) as error:
            file.truncate(0)
        raised.append(error.value)

    with file.pin(0, 4096):
        thread = threading.Thread(target=truncate)
        thread.start()
        waiting(pool)
        pool.cancel(thread.native_id)
        thread.join()
    assert raised and file.stat().st_size == 4 * 4096
    with pytest.raises(ProcessLookupError):
        pool.cancel(threading.get_native_id())


def wait_in_main(pool, file, number=signal.SIGUSR1, call=None):
    """The main thread waits for a pin of another thread, or with a call at the gate of its truncate; then a signal
    comes."""
    held, go = threading.Event(), threading.Event()
    gates = pool.stats().gate_waits

    def hold():
        with file.pin(0, 4096):
            held.set()
            waiting(pool)
            while call and pool.stats().gate_waits == gates:
                os.sched_yield()
            while not go.is_set():  # a signal between two sleeps ends none
                os.kill(os.getpid(), number)
                go.wait(0.01)

    def truncate():
        with pytest.raises(InterruptedError):
            file.truncate(0)

    threads = [threading.Thread(target=hold)] + ([threading.Thread(target=truncate)] if call else [])
    threads[0].start()
    held.wait()
    try:
        if call:
            threads[1].start()
            waiting(pool)
            call(file)
        else:
            file.truncate(0)
    finally:
        if call:
            pool.cancel(threads[1].native_id)
        go.set()
        for thread in threads:
            thread.join()


@pytest.fixture
def ctrl_c():
    """Python's own handler of Ctrl-C, for the first of several signals."""

    def handler(number, frame):
        signal.signal(number, signal.SIG_IGN)
        signal.default_int_handler(number, frame)

    before = signal.signal(signal.SIGINT, handler)
    yield signal.SIGINT
    signal.signal(signal.SIGINT, before)


AT_A_GATE = [
    lambda file: file.pin(0, 4096),
    lambda file: file.lease(0, 4096),
    lambda file: file.write(b"x"),
    lambda file: file.append(b"x"),
    lambda file: file.allocate(4 * 4096, 4096),
]


@pytest.mark.parametrize("call", [None, *AT_A_GATE])
def test_ctrl_c_ends_a_wait(pool, file, ctrl_c, call):
    with pytest.raises(KeyboardInterrupt):
        wait_in_main(pool, file, ctrl_c, call)
    assert file.stat().st_size == 4 * 4096 and file.read(4 * 4096, 0)[0] == 0
    assert not pool.pins()


def test_a_handler_that_returns(pool, file):
    before = signal.signal(signal.SIGUSR1, lambda number, frame: None)
    try:
        with pytest.raises(InterruptedError):
            wait_in_main(pool, file)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert file.stat().st_size == 4 * 4096
