# SPDX-License-Identifier: MIT
"""holdfast.Cache: objects of several processes."""

import errno
import os
import signal
import sys
import threading

import numpy
import pytest

import holdfast

MIB = 1 << 20


@pytest.fixture
def cache(pool):
    with holdfast.Cache(pool, "/cache", 4 * MIB) as cache:
        yield cache


def number(error):
    return errno.errorcode[error.value.errno]


def test_put_and_get(cache):
    assert cache.get("key") is None
    cache.put("key", b"small")
    cache.put(b"large", numpy.arange(4096, dtype=numpy.uint32))
    with cache.get(b"key") as got, memoryview(got) as view:
        assert view.readonly and bytes(view) == b"small" and len(got) == 5
    array = numpy.frombuffer(cache.get("large"), numpy.uint32)
    assert array.sum() == sum(range(4096)) and not array.flags.writeable
    got = cache.get("large")
    assert got.__dlpack_device__() == (1, 0) and got.__dlpack__(max_version=(1, 0))
    with pytest.raises(BufferError, match="read-only"):
        got.__dlpack__()


def test_what_is_held_stays(cache):
    cache.put("key", b"a" * 8192)
    array = numpy.frombuffer(cache.get("key"), numpy.uint8)
    cache.put("key", b"b" * 8192)
    assert bytes(cache.get("key"))[:1] == b"b"
    assert cache.remove("key")
    for i in range(64):
        cache.put(str(i), bytes(256 << 10))
    assert cache.stats()["evictions"] > 0 and cache.stats()["held_bytes"] == 8192
    assert (array == ord("a")).all()
    with pytest.raises(OSError) as error:
        cache.put("key", bytes(4 * MIB))
    assert number(error) == "ENOSPC"
    del array
    cache.put("key", bytes(4 * MIB))  # needs all the memory
    assert cache.stats()["held_bytes"] == 0


def test_a_view_keeps_it(cache):
    cache.put("key", b"bytes")
    got = cache.get("key")
    view = memoryview(got)
    with pytest.raises(BufferError, match="1 views"):
        got.release()
    with pytest.raises(BufferError):
        with got:
            pass
    view.release()
    got.release()
    got.release()
    assert len(got) == 0
    for call in (lambda: memoryview(got), got.pieces, got.__enter__):
        with pytest.raises(ValueError, match="released"):
            call()


def test_in_place(cache):
    with cache.put_begin("key", 8192) as put:
        assert len(put) == 8192
        numpy.frombuffer(put, numpy.uint16)[:] = range(4096)
        assert "key" not in cache
    got = numpy.frombuffer(cache.get("key"), numpy.uint16)
    assert (got == range(4096)).all()
    put.abort()
    with pytest.raises(ValueError, match="has ended"):
        put.commit()
    with pytest.raises(ValueError):
        memoryview(put)


def test_a_part_is_committed(cache):
    put = cache.put_begin("key", 8192)
    for wrong in (0, 8193):
        with pytest.raises(ValueError, match="of a put of 8192"):
            put.commit(wrong)
    with pytest.raises(OverflowError):
        put.commit(-1)
    with pytest.raises(TypeError):
        put.commit("all")
    view = memoryview(put)
    view[:3] = b"abc"
    with pytest.raises(BufferError):
        put.commit(3)
    with pytest.raises(BufferError):
        put.abort()
    view.release()
    put.commit(3)
    assert bytes(cache.get("key")) == b"abc"


def test_an_exception_aborts(cache):
    cache.put("key", b"old")
    with pytest.raises(KeyError):
        with cache.put_begin("key", 4096) as put:
            array = numpy.frombuffer(put, numpy.uint8)
            raise KeyError
    with pytest.raises(ValueError, match="has ended"):
        put.commit()
    with pytest.raises(OSError, match="puts") as error:  # the array may still be written to
        cache.close()
    assert number(error) == "EBUSY"
    array[:] = 1
    del array
    assert bytes(cache.get("key")) == b"old"
    assert cache.stats()["held_bytes"] == 0


def test_a_piece_ends_an_abandoned_put(cache):
    with pytest.raises(KeyError):
        with cache.put_begin("key", 4096) as put:
            view = memoryview(put.pieces()[0])
            raise KeyError
    view[0] = 1
    assert cache.stats()["held_bytes"] == 4096
    view.release()
    assert cache.stats()["held_bytes"] == 0


def test_a_put_that_goes_aborts(cache):
    put = cache.put_begin("key", 4096)
    put.abort()
    put = cache.put_begin("key", 4096)
    assert cache.stats()["held_bytes"] == 4096
    del put
    assert cache.stats()["held_bytes"] == 0 and cache.get("key") is None


@pytest.fixture
def scattered(pool, cache):
    """A pool whose free blocks are single ones."""
    with pool.open("/filler", os.O_RDWR | os.O_CREAT) as file:
        size = 0
        try:
            while True:
                file.allocate(size, 4096)
                size += 4096
        except OSError as error:
            assert error.errno == errno.ENOSPC
        for off in range(0, size, 8192):
            file.punch(off, 4096)
    return cache


def test_pieces(scattered):
    data = numpy.random.default_rng(20260101).integers(0, 256, 40 * 4096, numpy.uint8)
    with scattered.put_begin("key", len(data)) as put:
        pieces = put.pieces()
        assert len(pieces) > 16 and sum(map(len, pieces)) == len(data)
        with pytest.raises(BufferError, match=r"pieces\(\)"):
            memoryview(put)
        off = 0
        for piece in pieces:
            numpy.frombuffer(piece, numpy.uint8)[:] = data[off : off + len(piece)]
            off += len(piece)
    for got in (scattered.get("key"), *scattered.get_many(["key"])):
        parts = [numpy.frombuffer(piece, numpy.uint8) for piece in got.pieces()]
        assert len(parts) == len(pieces)
        assert (numpy.concatenate(parts) == data).all()
        assert b"".join(got.pieces()) == data.tobytes()
    scattered.put("other", data)
    for keys, prefix in (("key", "no", "other"), False), (("key", "other", "no", "key"), True):
        got = scattered.get_many(keys, prefix=prefix)
        assert [one and len(one) for one in got] == (
            [len(data), len(data), None, None] if prefix else [len(data), None, len(data)]
        )


def test_one_piece(pool):
    before = pool.info().free_bytes
    with holdfast.Cache(pool, "/cache", 8 * MIB, high=6 * MIB) as cache:
        made = pool.info().free_bytes
        whole = 0
        for i in range(200):
            cache.put("key" + str(i), bytes(1 + i * 7919 % (600 << 10)))
            whole += len(cache.get("key" + str(i)).pieces()) == 1
        assert whole >= 180 and cache.stats()["evictions"] > 0
        cache.evict(cache.stats()["used_bytes"])
        assert pool.info().free_bytes < made
        cache.evict()
        assert pool.info().free_bytes == made <= before
        numpy.frombuffer(cache.put_begin("large", 2 * MIB + 4096), numpy.uint8)


def test_many(cache):
    for i in range(0, 100, 2):
        cache.put(f"{i}", bytes([i]) * (i + 1))
    keys = [f"{i}" for i in range(100)]
    got = cache.get_many(keys)
    assert [bytes(one) if one else None for one in got] == [
        None if i % 2 else bytes([i]) * (i + 1) for i in range(100)
    ]
    assert cache.exists_many(keys) == [i % 2 == 0 for i in range(100)]
    assert cache.get_many(("0", "2", "3", "4"), prefix=True)[2:] == [None, None]
    assert cache.get_many(iter(["0"]))[0] is not None
    assert cache.get_many([]) == [] and cache.exists_many([]) == []


def test_wrong_keys(cache):
    for call in (cache.get, cache.exists, cache.remove, cache.touch, lambda key: key in cache):
        for key in b"", b"x" * 513:
            with pytest.raises(OSError) as error:
                call(key)
            assert number(error) == "EINVAL"
        with pytest.raises(TypeError):
            call(1)
    for call in cache.get_many, cache.exists_many:
        for keys in "key", b"key":
            with pytest.raises(TypeError, match="list or tuple"):
                call(keys)
        with pytest.raises(TypeError):
            call(["key", 1])
        with pytest.raises(TypeError):
            call(1)
        with pytest.raises(OSError) as error:
            call(["key", b""])
        assert number(error) == "EINVAL"
    with pytest.raises(OSError) as error:
        cache.get("key", space=64)
    assert number(error) == "EINVAL"


def test_names(cache):
    assert "key" not in cache and not cache.exists("key") and not cache.touch("key")
    cache.put("key", b"here")
    assert "key" in cache and b"key" in cache and cache.exists(bytearray(b"key"))
    assert cache.touch("key") and cache.remove("key") and not cache.remove("key")


def test_spaces(cache):
    cache.put("key", b"zero")
    cache.put("key", b"seven!", space=7)
    with cache.put_begin("new", 1, space=7) as put:
        put.pieces()
    assert "new" not in cache and cache.exists("new", space=7)
    assert bytes(cache.get("key", space=7)) == b"seven!"
    assert cache.get_many(["new"], space=6) == [None]
    assert cache.exists_many(["key", "new"], space=7) == [True, True]
    assert list(cache) == [b"key"]
    assert sorted(cache.entries()) == [(b"key", 0, 4), (b"key", 7, 6), (b"new", 7, 1)]
    assert cache.touch("new", space=7) and cache.remove("new", space=7)
    cache.quota(7, 8192)
    with pytest.raises(OSError) as error:
        cache.put("large", bytes(12288), space=7)
    assert number(error) == "EFBIG"
    with pytest.raises(OSError) as error:
        cache.quota(64, 0)
    assert number(error) == "EINVAL"


def test_wrong_puts(cache):
    with pytest.raises(OSError, match="at least one byte") as error:
        cache.put("key", b"")
    assert number(error) == "EINVAL"
    with pytest.raises(TypeError):
        cache.put("key", "text")
    for call in (cache.put_begin, lambda key, size: cache.put(key, bytes(size))):
        with pytest.raises(OSError) as error:
            call("key", 5 * MIB)
        assert number(error) == "EFBIG"
    with pytest.raises(OSError) as error:
        cache.put_begin("key", 1, flags=holdfast.NOFILL)
    assert number(error) == "EINVAL"
    puts = [cache.put_begin(f"{i}", MIB) for i in range(4)]
    with pytest.raises(OSError) as error:
        cache.put("key", bytes(MIB))
    assert number(error) == "ENOSPC"
    del puts
    cache.put("key", bytes(MIB))
    cache.put_begin("key", 1, flags=holdfast.IO_URING).commit()


def test_stats(cache):
    before = cache.stats()
    cache.put("key", b"12345")
    cache.get("key")
    cache.get("no")
    stats = cache.stats()
    assert stats["capacity_bytes"] == 4 * MIB and stats["objects"] == 1
    for name, more in ("hits", 1), ("misses", 1), ("puts", 1), ("put_bytes", 5):
        assert stats[name] == before[name] + more
    assert all(isinstance(value, int) for value in stats.values())


def test_opening(pool):
    with pytest.raises(FileNotFoundError, match="no cache in /cache: give a capacity"):
        holdfast.Cache(pool, "/cache")
    with pytest.raises(OSError) as error:
        holdfast.Cache(pool, "/cache", 4096)
    assert number(error) == "EINVAL"
    with pytest.raises(ValueError, match="s3fifo"):
        holdfast.Cache(pool, "/cache", MIB, policy="mru")
    with pytest.raises(TypeError):
        holdfast.Cache("/cache", MIB)
    for policy in "s3fifo", "lru", "fifo":
        holdfast.Cache(
            pool, "/" + policy, 2 * MIB, policy=policy, objects=64, high=MIB, low=MIB, ttl=60
        ).put("key", b"data")
    with holdfast.Cache(pool, b"/lru") as again:
        assert again.stats()["capacity_bytes"] == 2 * MIB


def test_closing(pool):
    cache = holdfast.Cache(pool, "/cache", MIB)
    cache.put("key", b"bytes")
    keys, got, put = iter(cache), cache.get("key"), cache.put_begin("key", 1)
    with pytest.raises(OSError, match="puts") as error:
        cache.close()
    assert number(error) == "EBUSY"
    put.abort()
    cache.close()
    cache.close()
    assert bytes(got) == b"bytes"
    for call in (
        lambda: cache.get("key"),
        lambda: cache.get_many(["key"]),
        lambda: cache.exists("key"),
        lambda: cache.exists_many(["key"]),
        lambda: "key" in cache,
        lambda: cache.put("key", b"x"),
        lambda: cache.put_begin("key", 1),
        lambda: cache.quota(0, 0),
        lambda: iter(cache),
        lambda: next(keys),
        cache.entries,
        cache.stats,
        cache.__enter__,
    ):
        with pytest.raises(ValueError, match="closed"):
            call()
    with pytest.raises(OSError) as error:  # the object is held
        pool.close()
    assert number(error) == "EBUSY"
    got.release()


def test_threads(cache):
    wrong = []

    def work(own):
        for i in range(300):
            key = str((own * 7 + i) % 50)
            with cache.put_begin(key, 65536) as put:
                numpy.frombuffer(put, numpy.uint8)[:] = int(key)
            for got in filter(None, cache.get_many([key, str(i % 50)])):
                array = numpy.frombuffer(got, numpy.uint8)
                wrong.extend(array[array != array[0]])

    threads = [threading.Thread(target=work, args=[own]) for own in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# --- other processes ---

PEER = """
import sys, numpy, holdfast
with holdfast.Pool(sys.argv[1]) as pool, holdfast.Cache(pool, "/cache", 4 << 20) as cache:
    cache.put("whole", numpy.arange(4096))
    held = cache.get("whole")
    put = cache.put_begin("begun", 65536)
    numpy.frombuffer(put, numpy.uint8)[:] = 1
    print("held", flush=True)
    sys.stdin.readline()
    numpy.frombuffer(put, numpy.uint8)[:] = 2
    put.commit()
    held.release()
"""


@pytest.fixture
def peer(start):
    return start(PEER)


@pytest.fixture
def ours(shared, peer):
    with holdfast.Pool(shared) as pool, holdfast.Cache(pool, "/cache") as cache:
        yield cache


def test_two_processes(ours, peer):
    whole = numpy.frombuffer(ours.get("whole"), numpy.int64)
    assert (whole == range(4096)).all()
    assert "begun" not in ours and ours.stats()["held_bytes"] == 65536
    peer.communicate("\n")
    assert peer.returncode == 0
    assert set(bytes(ours.get("begun"))) == {2}
    assert sorted(ours) == [b"begun", b"whole"]


def test_one_that_is_killed_has_put_nothing(ours, peer):
    ours.remove("whole")
    assert ours.stats()["held_bytes"] == 65536 + 32768
    peer.send_signal(signal.SIGKILL)
    peer.wait()
    ours.put("other", bytes(4 * MIB - 4096))  # needs all the memory that it held
    assert list(ours) == [b"other"] and ours.get("begun") is None
    assert ours.stats()["held_bytes"] == 0


def test_fork(cache):
    cache.put("key", b"bytes")
    got, put = cache.get("key"), cache.put_begin("key", 1)
    child = os.fork()
    if child == 0:
        wrong = 1
        try:
            for call in (
                lambda: cache.get("key"),
                lambda: cache.get_many(["key"]),
                lambda: "key" in cache,
                lambda: cache.put("key", b"x"),
                lambda: next(iter(cache)),
                cache.stats,
                put.commit,
                got.release,
                cache.close,
            ):
                try:
                    call()
                except ChildProcessError:
                    continue
                os._exit(2)
            wrong = 0
        finally:
            os._exit(wrong)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert bytes(got) == b"bytes"
    put.commit()
    got.release()


def test_help():
    assert "Cache" in holdfast.__doc__ and "CacheEntry" in holdfast.__doc__
    for thing in holdfast.Cache, holdfast.Cached, holdfast.CachePut:
        for name, method in vars(thing).items():
            assert name.startswith("_") or method.__doc__, name
