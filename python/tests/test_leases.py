# SPDX-License-Identifier: MIT
import asyncio
import errno
import gc
import os
import select
import sys
import threading
import time

import pytest

import holdfast


def test_recall_calls_the_function(file):
    seen = []

    def recall(recall):
        seen.append((recall.off, recall.len, recall.why, recall.lease is lease))
        recall.lease.release()

    lease = file.lease(0, 8192, holdfast.WRITE | holdfast.GPU, recall=recall)
    with memoryview(lease) as view:
        view[0] = 9
    assert lease.state() == holdfast.LEASE_HELD
    file.truncate(4096)  # waits for it
    assert seen == [(4096, 4096, holdfast.CHANGE_TRUNCATE, True)]
    with pytest.raises(ValueError, match="released"):
        lease.state()
    assert file.read(1) == b"\t"


def test_recall_by_descriptor(pool, file):
    lease = file.lease(0, 4096)
    assert pool.next_recall() is None
    with pytest.raises(OSError) as error:
        file.truncate(0, holdfast.NOWAIT)
    assert error.value.errno == errno.EBUSY
    assert select.select([pool.recall_fd()], [], [], 60)[0]
    recall = pool.next_recall()
    assert recall.lease is lease and recall.deadline_ns == 0
    assert lease.state() == holdfast.LEASE_RECALLED
    lease.release()
    file.truncate(0, holdfast.NOWAIT)


def test_recall_on_asyncio(pool, file):
    async def serve():
        async for recall in holdfast.recalls(pool):
            recall.lease.release()
            return recall.why

    async def both():
        lease = file.lease(0, 4096)
        served = asyncio.create_task(serve())
        await asyncio.to_thread(file.punch, 0, 4096)
        why = await served
        assert len(lease) == 0
        return why

    assert asyncio.run(both()) == holdfast.CHANGE_PUNCH


def test_detached(file):
    lease = file.lease(0, 4096, holdfast.WRITE)
    view = memoryview(lease)
    file.truncate(0, holdfast.DETACH)
    assert lease.state() == holdfast.LEASE_DETACHED
    view[0] = 200  # its own memory now
    assert file.stat().st_size == 0
    view.release()
    lease.release()


def test_given_up(pool, file):
    lease = file.lease(0, 4096, holdfast.WRITE)
    view = memoryview(lease)
    with pytest.raises(BufferError):
        lease.quarantine()
    view.release()
    lease.quarantine()
    with pytest.raises(ValueError):
        lease.state()
    assert [pin.state for pin in pool.pins()] == [holdfast.PIN_QUARANTINED]
    file.truncate(0, holdfast.NOWAIT)
    assert pool.info().detached_bytes == 4096


def test_give_and_take(pool, file):
    lease = file.lease(4096, 4096, holdfast.WRITE)
    view = memoryview(lease)
    with pytest.raises(BufferError):
        lease.give()
    view.release()
    token = lease.give()
    with pytest.raises(ValueError):
        memoryview(lease)
    with pytest.raises(OSError):
        file.truncate(0, holdfast.NOWAIT)
    with pool.take(token) as taken, memoryview(taken) as view:
        assert view[0] == 1
    with pytest.raises(FileNotFoundError):
        pool.take(token)
    with pytest.raises(ValueError):
        pool.take(b"short")
    token = file.lease(0, 4096, holdfast.WRITE).give()
    with pool.take(token[:16]) as taken, memoryview(taken) as view:  # as C has it
        assert view.readonly
    file.truncate(0, holdfast.NOWAIT)


def test_a_lease_that_is_dropped_is_released(pool, file):
    lease = file.lease(0, 4096)
    with pytest.raises(OSError):
        file.truncate(0, holdfast.NOWAIT)
    del lease
    gc.collect()
    file.truncate(0, holdfast.NOWAIT)
    recall = pool.next_recall()
    assert recall is None or recall.lease is None


def test_a_function_that_raises(file, monkeypatch):
    def recall(recall):
        recall.lease.release()
        raise RuntimeError("on purpose")

    told, kinds = threading.Event(), []

    def tell(what):
        kinds.append(what.exc_type)
        told.set()

    monkeypatch.setattr(sys, "unraisablehook", tell)
    lease = file.lease(0, 4096, recall=recall)
    file.truncate(0)
    assert told.wait(60)
    assert kinds == [RuntimeError]
    assert len(lease) == 0


ASKER = """
import os, sys, holdfast
with holdfast.Pool(sys.argv[1]) as pool, pool.open("/file", os.O_RDWR | os.O_CREAT) as file:
    file.allocate(0, 4096)
    print("held", flush=True)
    for line in sys.stdin:
        try:
            file.truncate(0, holdfast.NOWAIT)
        except OSError:
            pass
"""


def leased(path, recall):
    pool = holdfast.Pool(path)
    file = pool.open("/file", os.O_RDWR)
    return pool, file, file.lease(0, 4096, recall=recall)


def ask(process):
    process.stdin.write("\n")
    process.stdin.flush()


def test_a_pool_goes_as_a_recall_comes(shared, start):
    """The library's thread waits for the interpreter's lock, and the close of the pool waits for that thread."""
    asker = start(ASKER)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1000)  # no thread gives the lock away but in a call
    try:
        for _ in range(5):
            pool, file, lease = leased(shared, lambda recall: None)
            ask(asker)
            while lease.state() == holdfast.LEASE_HELD:
                pass
            until = time.monotonic() + 0.1
            while time.monotonic() < until:
                pass
            del lease, file, pool
    finally:
        sys.setswitchinterval(before)


@pytest.fixture
def close_in_recall(shared, start):
    """A pool that the function of a recall gets as the only one, after all that was made of it is closed."""
    kept, called, go, ended = [], threading.Event(), threading.Event(), threading.Event()

    def recall(recall):
        called.set()
        go.wait()
        recall.lease.release()
        kept.pop().close()
        kept.pop()(kept)
        ended.set()

    def run(close):
        asker = start(ASKER)
        pool, file, lease = leased(shared, recall)
        kept.extend((pool, close, file))
        ask(asker)
        called.wait()
        del pool, file, lease
        go.set()
        ended.wait()
        asker.communicate()
        while True:  # another thread may close the pool
            try:
                return holdfast.check(shared)
            except OSError as error:
                assert error.errno == errno.EBUSY

    return run


def test_a_recall_drops_the_pool(close_in_recall):
    assert close_in_recall(list.clear).problems == 0


def test_a_recall_does_not_close_the_pool(close_in_recall):
    raised = []

    def close(kept):
        try:
            kept[0].close()
        except OSError as error:
            raised.append(error.errno)
            kept.pop().info()

    assert close_in_recall(close).problems == 0
    assert raised == [errno.EDEADLK]


def test_a_view_keeps_it(file):
    lease = file.lease(0, 4096)
    view = memoryview(lease)
    assert view.readonly
    with pytest.raises(BufferError, match="1 views"):
        lease.release()
    with pytest.raises(BufferError):
        with lease:
            pass
    assert lease.state() == holdfast.LEASE_HELD
    view.release()
    lease.release()


def test_label(pool, file):
    with file.lease(0, 4096, holdfast.RDMA, label="192.0.2.7:4711"), file.lease(0, 4096):
        assert sorted(pin.label for pin in pool.pins()) == ["", "192.0.2.7:4711"]


def test_names_of_flags(file):
    with pytest.raises(OSError) as error:
        file.lease(0, 4096, holdfast.NOFILL)
    assert error.value.errno == errno.EINVAL
    with pytest.raises(OSError) as error:
        file.lease(0, 1 << 30)
    assert error.value.errno == errno.EFAULT
