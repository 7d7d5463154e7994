# SPDX-License-Identifier: MIT
import ctypes
import errno
import gc
import os

import numpy
import pytest

import holdfast


def test_a_pin_is_the_memory(file):
    with file.pin(4096, 8192, holdfast.WRITE) as pin:
        assert len(pin) == 8192
        with memoryview(pin) as view:
            assert not view.readonly
            assert view[0] == 1 and view[4096] == 2
            view[0] = 77
    assert file.read(1, 4096) == b"\x4d"


def test_read_only(file):
    with file.pin(0, 4096) as pin, memoryview(pin) as view:
        assert view.readonly
        with pytest.raises(TypeError):
            view[0] = 1
        with pytest.raises(TypeError):
            (ctypes.c_char * 4096).from_buffer(pin)


def test_a_view_keeps_it(file):
    pin = file.pin(0, 4096, holdfast.WRITE)
    array = numpy.frombuffer(pin, dtype=numpy.uint32)
    with pytest.raises(BufferError, match="1 views"):
        pin.release()
    with pytest.raises(OSError) as error:
        file.truncate(0, holdfast.NOWAIT)
    assert error.value.errno == errno.EBUSY
    array[:] = 0x01020304
    assert file.read(4) == bytes([4, 3, 2, 1])
    del array
    pin.release()
    pin.release()
    with pytest.raises(ValueError, match="released"):
        memoryview(pin)
    with pytest.raises(ValueError, match="released"):
        pin.pieces()
    with pytest.raises(ValueError, match="released"):
        pin.__enter__()
    assert len(pin) == 0
    file.truncate(0, holdfast.NOWAIT)


def test_a_view_keeps_it_past_its_block(file):
    with pytest.raises(BufferError):
        with file.pin(0, 4096) as pin:
            view = memoryview(pin)
    assert view[0] == 0
    view.release()
    pin.release()


def test_what_is_dropped_is_let_go_of(file):
    pin = file.pin(0, 4096)
    del pin
    file.truncate(0, holdfast.NOWAIT)


def test_pieces(pool):
    with pool.open("/a", os.O_CREAT | os.O_RDWR) as a, pool.open("/b", os.O_CREAT | os.O_RDWR) as b:
        for page in range(40):  # side by side, so that neither is in one piece
            a.write(bytes([page]) * 4096, page * 4096)
            b.write(bytes(4096), page * 4096)
        with a.pin(0, 40 * 4096, holdfast.WRITE) as pin:
            pieces = pin.pieces()
            assert len(pieces) > 16
            assert len(pin) == sum(len(piece) for piece in pieces) == 40 * 4096
            assert b"".join(pieces) == a.read(40 * 4096)
            with pytest.raises(BufferError, match="pieces"):
                memoryview(pin)
            with pytest.raises(BufferError):
                numpy.from_dlpack(pin)
            array = numpy.frombuffer(pieces[1], dtype=numpy.uint8)
            with pytest.raises(BufferError, match="views"):
                pin.release()
            del array, pieces
        with a.lease(0, 40 * 4096) as lease:
            assert b"".join(lease.pieces()) == a.read(40 * 4096)


def capsule(held, version=None):
    return held.__dlpack__(max_version=version) if version else held.__dlpack__()


def test_dlpack(file):
    with file.pin(0, 4096, holdfast.WRITE) as pin:
        assert pin.__dlpack_device__() == (1, 0)
        array = numpy.from_dlpack(pin)
        assert array.dtype == numpy.uint8 and array.shape == (4096,)
        assert array.__array_interface__["data"][0] == numpy.frombuffer(
            pin, dtype=numpy.uint8
        ).__array_interface__["data"][0]
        with pytest.raises(BufferError):
            pin.release()
        del array
        gc.collect()
    with file.pin(0, 4096) as pin:
        with pytest.raises(BufferError, match="read-only"):
            capsule(pin)
        with pytest.raises(BufferError):
            pin.__dlpack__(stream=1)
        with pytest.raises(BufferError):
            pin.__dlpack__(copy=True)


class Versioned(ctypes.Structure):
    """DLManagedTensorVersioned up to its flags, as dlpack.h 1.0 has it."""

    _fields_ = [
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64),
        ("data", ctypes.c_void_p),
    ]


@pytest.mark.parametrize("flags, readonly", [(holdfast.READ, 1), (holdfast.WRITE, 0)])
def test_dlpack_says_read_only(file, flags, readonly):
    """numpy 1.24 does not know versions, so the capsule itself is looked at."""
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    pin = file.pin(0, 4096, flags)
    made = capsule(pin, (1, 0))
    tensor = Versioned.from_address(get(made, b"dltensor_versioned"))
    assert (tensor.major, tensor.flags & 1) == (1, readonly)
    assert ctypes.string_at(tensor.data, 4096) == file.read(4096)
    with pytest.raises(BufferError):
        pin.release()
    del made
    pin.release()
