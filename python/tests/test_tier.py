# SPDX-License-Identifier: MIT
"""The second tier of a holdfast.Cache: what is evicted goes to a file on a disk, and comes back."""

import asyncio
import errno
import gc
import select

import numpy
import pytest

import holdfast

MIB = 1 << 20
COUNT = 24


@pytest.fixture
def cache(pool, tmp_path):
    with holdfast.Cache(pool, "/cache", 4 * MIB, tier=tmp_path, tier_size=32 * MIB) as cache:
        if fault := cache.tier_stats()["fault"]:
            pytest.skip(fault)
        yield cache


def put_all(cache):
    for number in range(COUNT):
        cache.put(f"key {number}", numpy.full(64 << 10, number, numpy.uint8))
    assert cache.evict() >= COUNT * (64 << 10)
    assert cache.exists_many([f"key {number}" for number in range(COUNT)]) == [holdfast.ON_DISK] * COUNT


def is_whole(got, number):
    return (numpy.frombuffer(got, numpy.uint8) == number).all() and len(got) == 64 << 10


def test_without_one(pool):
    with holdfast.Cache(pool, "/plain", MIB) as cache:
        assert cache.tier_stats() is None
        cache.put("key", b"bytes")
        assert cache.exists("key") == holdfast.IN_MEMORY
        assert bytes(cache.fetch("key")) == b"bytes" and cache.fetch("other") is None
        assert bytes(cache.fetch_begin("key", 1)) == b"bytes" and cache.fetch_begin("other", 2) is None
        assert cache.fetch_next() is None
        assert asyncio.run(holdfast.fetch(cache, "other")) is None
        assert bytes(asyncio.run(holdfast.fetch(cache, "key"))) == b"bytes"


def test_evict(pool):
    with holdfast.Cache(pool, "/plain", MIB) as cache:
        for key in "abcd":
            cache.put(key, bytes(64 << 10))
        assert cache.evict(100) == 64 << 10 and len(list(cache)) == 3
        assert cache.evict() == 192 << 10 and cache.evict() == 0
        with pytest.raises(OverflowError):
            cache.evict(-1)


def test_options(pool, tmp_path):
    for options in {"tier": tmp_path}, {"tier_size": 8 * MIB}, {"tier": "relative", "tier_size": 8 * MIB}:
        with pytest.raises(OSError) as error:
            holdfast.Cache(pool, "/cache", 4 * MIB, **options)
        assert error.value.errno == errno.EINVAL
    with pytest.raises(FileNotFoundError, match="nowhere"):
        holdfast.Cache(pool, "/cache", 4 * MIB, tier=tmp_path / "nowhere", tier_size=8 * MIB)


def test_fetch(cache):
    put_all(cache)
    for number in range(COUNT):
        key = f"key {number}"
        assert key in cache and cache.get(key) is None
        assert is_whole(cache.fetch(key), number)
        assert is_whole(cache.get(key), number) and cache.exists(key) == holdfast.IN_MEMORY
    stats = cache.tier_stats()
    assert stats["promoted"] == COUNT and stats["last_error"] == 0 and stats["fault"] is None
    assert cache.fetch("nowhere") is None and cache.tier_stats()["misses"] == stats["misses"] + 1


def test_begun(cache):
    put_all(cache)
    for number in range(COUNT):
        assert cache.fetch_begin(f"key {number}", number) is True
    came = set()
    while len(came) < COUNT:
        select.select([cache.fetch_fd()], [], [])
        number, got = cache.fetch_next()
        assert is_whole(got, number)
        came.add(number)
    assert came == set(range(COUNT))
    assert cache.fetch_next() is None
    assert select.select([cache.fetch_fd()], [], [], 0) == ([], [], [])
    assert is_whole(cache.fetch_begin("key 0", 1), 0)


def test_asyncio(cache):
    put_all(cache)

    async def fetch(number):
        return is_whole(await holdfast.fetch(cache, f"key {number}"), number)

    async def fetch_all():
        many = await asyncio.gather(*(fetch(number) for number in list(range(COUNT)) * 60))
        assert await holdfast.fetch(cache, "nowhere") is None
        return all(many)

    before = cache.tier_stats()["promoted"]
    assert asyncio.run(fetch_all())
    assert cache.tier_stats()["promoted"] - before == COUNT
    assert asyncio.run(fetch_all())  # in another loop, from memory


def test_cancelled(cache):
    put_all(cache)

    async def give_up():
        tasks = [asyncio.create_task(holdfast.fetch(cache, f"key {number}")) for number in range(COUNT)]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    ended = asyncio.run(give_up())
    assert all(isinstance(one, (asyncio.CancelledError, holdfast.Cached)) for one in ended)
    del ended
    assert is_whole(asyncio.run(holdfast.fetch(cache, "key 0")), 0)


def test_closed(pool, tmp_path):
    cache = holdfast.Cache(pool, "/cache", 4 * MIB, tier=tmp_path, tier_size=32 * MIB)
    if cache.tier_stats()["fault"]:
        pytest.skip("no second tier here")
    put_all(cache)

    async def close():
        tasks = [asyncio.create_task(holdfast.fetch(cache, f"key {number}")) for number in range(COUNT)]
        await asyncio.sleep(0)
        cache.close()
        return await asyncio.gather(*tasks, return_exceptions=True)

    ended = asyncio.run(close())
    assert len(ended) == COUNT and all(isinstance(one, ValueError) for one in ended)
    with pytest.raises(ValueError, match="closed"):
        asyncio.run(holdfast.fetch(cache, "key 0"))
    for call in cache.fetch_fd, cache.fetch_next, cache.tier_stats:
        with pytest.raises(ValueError, match="closed"):
            call()
    gc.collect()
    with holdfast.Cache(pool, "/cache") as cache:
        assert cache.stats()["held_bytes"] == 0
