# SPDX-License-Identifier: MIT
"""The plugin against LMCache's interface as it was published, which is written down here."""

import inspect
import os
import select
import shutil
import sys
import tempfile

import numpy
import pytest

import holdfast

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from holdfast_lmcache import Connector  # noqa: E402

MIB = 1 << 20
BLOCK = 256 << 10

# What lmcache/v1/distributed/l2_adapters/native_plugin_l2_adapter.py (commit 68c638a6) requires, and
# native_connector_l2_adapter.py (commit 0b43a455) calls, all by position.
PUBLISHED = {
    "event_fd": 0,
    "submit_batch_get": 2,
    "submit_batch_set": 2,
    "submit_batch_exists": 1,
    "submit_batch_delete": 1,
    "drain_completions": 0,
    "close": 0,
}


def key(number):
    """As _object_key_to_string() makes them: model, rank, group, hash."""
    return f"meta-llama/Llama-3.1-8B@{0:08x}@{0:x}@{number:064x}"


@pytest.fixture
def folders():
    memory, disk = tempfile.mkdtemp(prefix="holdfast-", dir="/dev/shm"), tempfile.mkdtemp(prefix="holdfast-")
    holdfast.create(os.path.join(memory, "pool"), 32 * MIB)
    yield os.path.join(memory, "pool"), disk
    shutil.rmtree(memory)
    shutil.rmtree(disk)


@pytest.fixture
def connector(folders):
    pool, disk = folders
    connector = Connector(pool=pool, capacity=8 * MIB, tier=disk, tier_size=32 * MIB)
    yield connector
    connector.close()


def ends(connector, number):
    """The completion of one call: what LMCache's thread does."""
    poller = select.poll()
    poller.register(connector.event_fd(), select.POLLIN)
    assert poller.poll(600000)
    [(ended, ok, error, result)] = connector.drain_completions()
    assert ended == number and isinstance(ok, bool) and isinstance(error, str)
    return ok, error, result


def block(number):
    return numpy.full(BLOCK, number, numpy.uint8)


def test_published():
    for name, count in PUBLISHED.items():
        method = inspect.signature(getattr(Connector, name))
        method.bind(None, *range(count))
        assert len(method.parameters) == count + 1


def test_calls(connector):
    blocks = [block(number) for number in range(4)]
    keys = [key(number) for number in range(4)]
    assert ends(connector, connector.submit_batch_exists(keys)) == (True, "", [False] * 4)
    assert ends(connector, connector.submit_batch_set(keys, [memoryview(one) for one in blocks]))[0]
    assert ends(connector, connector.submit_batch_exists(keys + [key(9)])) == (True, "", [True] * 4 + [False])
    into = [numpy.zeros(BLOCK, numpy.uint8) for _ in range(5)]
    ok, _, result = ends(connector, connector.submit_batch_get(keys + [key(9)], [memoryview(one) for one in into]))
    assert ok and result == [True] * 4 + [False]
    assert all((got == one).all() for got, one in zip(into, blocks)) and not into[4].any()
    small = memoryview(bytearray(16))
    assert ends(connector, connector.submit_batch_get(keys[:1], [small])) == (True, "", [False])
    assert ends(connector, connector.submit_batch_delete(keys[:1] + [key(9)])) == (True, "", [True, False])
    assert ends(connector, connector.submit_batch_exists(keys)) == (True, "", [False, True, True, True])
    assert connector.drain_completions() == []


def test_more_than_fits(connector):
    """What was evicted comes back from the disk, whole, or is a miss."""
    keys = [key(number) for number in range(64)]
    for number in range(64):
        ok, error, _ = ends(connector, connector.submit_batch_set([keys[number]], [memoryview(block(number))]))
        assert ok, error
    _, _, there = ends(connector, connector.submit_batch_exists(keys))
    assert there.count(True) >= 24
    came = 0
    for number in range(64):
        into = numpy.zeros(BLOCK, numpy.uint8)
        ok, _, [loaded] = ends(connector, connector.submit_batch_get([keys[number]], [memoryview(into)]))
        assert ok and (not loaded or (into == number).all())
        came += loaded
    assert came >= 24


def test_errors(connector):
    ok, error, result = ends(connector, connector.submit_batch_set([key(1)], [memoryview(bytes(9 * MIB))]))
    assert not ok and "cache" in error and result is None
    ok, error, _ = ends(connector, connector.submit_batch_set([key(1)], []))
    assert not ok
    long = "model" * 200
    assert ends(connector, connector.submit_batch_set([long], [memoryview(block(1))]))[0]
    assert ends(connector, connector.submit_batch_exists([long, long + "x"])) == (True, "", [True, False])
    connector.close()
    connector.close()
    with pytest.raises(ValueError, match="closed"):
        connector.submit_batch_exists([key(1)])


def test_two_servers(connector, folders):
    """Another process of the machine finds what this one has put."""
    assert ends(connector, connector.submit_batch_set([key(7)], [memoryview(block(7))]))[0]
    pid = os.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, __file__, folders[0]])
    assert os.waitpid(pid, 0)[1] == 0


if __name__ == "__main__":
    other = Connector(pool=sys.argv[1])
    into = numpy.zeros(BLOCK, numpy.uint8)
    assert ends(other, other.submit_batch_get([key(7)], [memoryview(into)])) == (True, "", [True])
    assert (into == 7).all()
    other.close()
