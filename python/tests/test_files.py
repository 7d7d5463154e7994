# SPDX-License-Identifier: MIT
import errno
import os

import pytest

import holdfast


def test_read_and_write(pool):
    with pool.open("/f", os.O_RDWR | os.O_CREAT, 0o640) as file:
        assert file.write(b"hello, world") == 12
        assert file.read(5) == b"hello"
        assert file.read(100, 7) == b"world"
        assert file.read(4, 100) == b""
        buffer = bytearray(5)
        assert file.readinto(buffer, 7) == 5
        assert buffer == b"world"
        assert file.append(b"!") == (1, 12)
        assert file.stat().st_size == 13
        assert file.stat().st_mode & 0o777 == 0o640
        file.fsync()


def test_layout(file):
    file.punch(4096, 4096)
    assert file.read(4096, 4096) == bytes(4096)
    assert file.seek_hole(0) == 4096
    assert file.seek_data(4096) == 8192
    file.collapse(0, 8192)
    assert file.read(1) == b"\2"
    file.insert(0, 4096)
    assert file.read(1, 4096) == b"\2"
    file.zero(4096, 4096)
    assert file.read(4096, 4096) == bytes(4096)
    file.allocate(0, 4096)
    file.allocate(1 << 20, 4096, keep_size=True)
    assert file.stat().st_size == 3 * 4096
    file.move(0, 3 * 4096)
    assert file.read(1, 8192) == b"\3"
    file.truncate(1)
    assert file.stat().st_size == 1
    with pytest.raises(OSError) as error:
        file.seek_data(4096)
    assert error.value.errno == errno.ENXIO


def test_two_files(pool, file):
    before = pool.info().free_bytes
    with pool.open("/clone", os.O_RDWR | os.O_CREAT) as clone:
        file.clone_range(0, clone, 0, 0)
        assert clone.read(4 * 4096) == file.read(4 * 4096)
        assert pool.info().saved_bytes == 4 * 4096
        assert pool.info().free_bytes == before
        clone.write(b"x")
        assert file.read(1) == b"\0"
        assert file.copy_range(4096, clone, 0, 4096) == 4096
        assert clone.read(1) == b"\1"
    with pool.open("/same", os.O_RDWR | os.O_CREAT) as same:
        same.write(file.read(4 * 4096))
        result = file.dedup_range(0, same, 0, 4 * 4096)
        assert result.same and result.shared_bytes == 4 * 4096 and result.held_bytes == 0
        same.write(b"x")
        assert not file.dedup_range(0, same, 0, 4096).same


def test_compact(pool):
    pages = 2 * holdfast.HUGE_BYTES // 4096
    with pool.open("/scattered", os.O_RDWR | os.O_CREAT) as file:
        for page in reversed(range(pages)):
            file.write(bytes([page % 251]) * 4096, page * 4096)
        look = file.compact(look=True)
        assert (look.run_bytes, look.huge_bytes) == (2 * holdfast.HUGE_BYTES, 0)
        with file.pin(5, 1):
            result = file.compact()
        assert (result.held_bytes, result.moved_bytes) == (holdfast.HUGE_BYTES,) * 2
        result = file.compact(policy=holdfast.WAIT)
        assert (result.was_huge, result.huge_bytes) == (holdfast.HUGE_BYTES, 2 * holdfast.HUGE_BYTES)
        assert all(file.read(1, page * 4096)[0] == page % 251 for page in range(pages))
        with pytest.raises(OSError, match="detaches"):
            file.compact(policy=holdfast.DETACH)


def test_closed(pool):
    file = pool.open("/f", os.O_RDWR | os.O_CREAT)
    file.close()
    file.close()
    for call in (
        lambda: file.read(1),
        lambda: file.readinto(bytearray(1)),
        lambda: file.write(b"x"),
        lambda: file.append(b"x"),
        lambda: file.truncate(0),
        lambda: file.pin(0, 1),
        lambda: file.lease(0, 1),
        lambda: file.stat(),
        lambda: file.__enter__(),
    ):
        with pytest.raises(ValueError, match="closed"):
            call()


def test_errors_have_the_sentence(pool, file):
    with pytest.raises(FileNotFoundError) as error:
        pool.open("/none")
    assert "none" in str(error.value)
    with pytest.raises(IsADirectoryError):
        pool.open("/")
    with pytest.raises(OSError) as error:
        file.truncate(1 << 60)
    assert error.value.errno == errno.EFBIG and "bytes" in error.value.strerror
    with pool.open("/file") as readonly, pytest.raises(OSError) as error:
        readonly.write(b"x")
    assert error.value.errno == errno.EBADF


def test_wrong_arguments(file):
    for call in (
        lambda: file.pin(0),
        lambda: file.pin("0", 1),
        lambda: file.pin(-1, 1),
        lambda: file.pin(0, 1 << 64),
        lambda: file.truncate(0, "wait"),
        lambda: file.truncate(0, (1, 0)),
        lambda: file.lease(0, 1, recall=3),
        lambda: file.clone_range(0, None, 0, 0),
        lambda: file.write("text"),
    ):
        with pytest.raises((TypeError, OverflowError)):
            call()
    with pytest.raises(ValueError):
        holdfast.deadline(-1)
    with pytest.raises(ValueError):
        holdfast.deadline(float("nan"))
    for flags in (1 << 31, 1 << 40):
        with pytest.raises(OSError) as error:
            file.pin(0, 1, flags)
        assert error.value.errno == errno.EINVAL


def test_put_in_place(pool):
    before = pool.info().free_bytes
    with pool.open("/put", os.O_RDWR | os.O_CREAT) as file:
        put = file.put_begin(0, 8192)
        assert len(put) == 8192 and pool.info().free_bytes == before - 8192
        with memoryview(put) as view:
            assert not view.readonly
            view[:12] = b"hello, world"
            with pytest.raises(BufferError):
                put.commit()
        assert file.stat().st_size == 0
        with pytest.raises(OSError) as error:
            put.commit(8193)
        assert error.value.errno == errno.EINVAL
        put.commit(12)
        assert file.read(100) == b"hello, world" and file.stat().st_size == 12
        for ended in put.commit, lambda: memoryview(put), put.pieces:
            with pytest.raises(ValueError):
                ended()
        put.abort()
        with file.put_begin(4096, 4096, flags=holdfast.IO_URING) as put, memoryview(put) as view:
            view[:] = b"x" * 4096
        assert file.read(4096, 4096) == b"x" * 4096
    assert pool.info().free_bytes == before - 8192


def test_a_put_that_is_not_committed(pool):
    before = pool.info().free_bytes
    with pool.open("/put", os.O_RDWR | os.O_CREAT) as file:
        with pytest.raises(KeyError):
            with file.put_begin(0, 4096) as put:
                view = memoryview(put.pieces()[0])
                raise KeyError
        view[0] = 1
        assert pool.info().free_bytes == before - 4096
        view.release()
        assert pool.info().free_bytes == before
        put = file.put_begin(0, 4096)
        del put
        assert pool.info().free_bytes == before
        with pytest.raises(OSError) as error:
            with file.put_begin(0, 4096):
                file.write(b"faster")
        assert error.value.errno == errno.ESTALE
        put = file.put_begin(4096, 4096)
    with pytest.raises(ValueError, match="closed"):
        put.commit()
    with pytest.raises(OSError) as error:
        pool.close()
    assert error.value.errno == errno.EBUSY
    put.abort()
    put.abort()
    assert pool.info().free_bytes == before - 4096


@pytest.mark.parametrize("number", [-1, 1 << 64, (1 << 64) + 4096, -(1 << 70)])
def test_numbers_that_do_not_fit(pool, tmp_path, number):
    """None is taken modulo 2^64, at which a write would go to another place."""
    with pool.open("/numbers", os.O_RDWR | os.O_CREAT) as file:
        file.write(b"content")
        for call in (
            lambda: file.read(1, number),
            lambda: file.readinto(bytearray(1), number),
            lambda: file.write(b"X", number),
            lambda: file.seek_data(number),
            lambda: file.truncate(number),
            lambda: file.punch(number, 4096),
            lambda: file.zero(0, number),
            lambda: file.collapse(number, 4096),
            lambda: file.insert(number, 4096),
            lambda: file.move(0, number),
            lambda: file.compact(number),
            lambda: file.allocate(number, 1),
            lambda: file.copy_range(0, file, number, 1),
            lambda: file.copy_range(0, file, 1, number),
            lambda: file.clone_range(0, file, number, 0),
            lambda: file.dedup_range(number, file, 0, 0),
            lambda: file.put_begin(number, 1),
            lambda: file.lease(number, 1),
            lambda: pool.grow(number),
            lambda: pool.shrink(number),
            lambda: pool.trim(number),
            lambda: pool.extents(number),
            lambda: pool.path(number),
            lambda: holdfast.Pool.anonymous(number),
            lambda: holdfast.create(tmp_path / "other", number),
        ):
            with pytest.raises(OverflowError):
                call()
        with pytest.raises(ValueError):
            file.read(-1)
        assert file.read(100) == b"content"


def test_a_put_with_a_name(pool):
    with pool.open("/name", os.O_RDWR | os.O_CREAT) as file:
        file.write(b"old")
    with pool.open("/", os.O_RDWR | os.O_TMPFILE) as file:
        put = file.put_begin(0, 3)
        with memoryview(put) as view:
            view[:] = b"new"
        with pytest.raises(FileExistsError):
            put.commit(path="/name", flags=holdfast.RENAME_NOREPLACE)
        with pytest.raises(TypeError):
            put.commit(path=1)
        with pytest.raises(OverflowError):
            put.commit(-1)
        put.commit(path="/name")
    with pool.open("/name") as file:
        assert file.read(10) == b"new"


def test_puts_that_are_refused(pool):
    with pool.open("/put", os.O_RDWR | os.O_CREAT) as file:
        for off, size, flags, number in (
            (1, 1, 0, errno.EINVAL),
            (0, 0, 0, errno.EINVAL),
            (0, 1, holdfast.NOFILL, errno.EINVAL),
            (0, 1 << 40, 0, errno.ENOSPC),
        ):
            with pytest.raises(OSError) as error:
                file.put_begin(off, size, flags=flags)
            assert error.value.errno == number, (off, size)
        with pool.open("/filler", os.O_RDWR | os.O_CREAT) as filler:
            free = pool.info().free_bytes
            filler.allocate(0, free)
            for off in range(0, 80 * 4096, 8192):
                filler.punch(off, 4096)
            with pytest.raises(OSError) as error:
                file.put_begin(0, 40 * 4096)
            assert error.value.errno == errno.E2BIG
            put = file.put_begin(0, 32 * 4096)
            assert len(put.pieces()) == 32
            with pytest.raises(BufferError, match="pieces"):
                memoryview(put)
            put.abort()
    with pytest.raises(ValueError, match="closed"):
        file.put_begin(0, 1)
