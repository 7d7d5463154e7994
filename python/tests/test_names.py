# SPDX-License-Identifier: MIT
import ast
import errno
import gc
import inspect
import os
import pathlib
import stat
import subprocess
import sys

import pytest

import holdfast


def test_names(pool):
    pool.mkdir("/d", 0o750)
    pool.open("/d/a", os.O_CREAT | os.O_RDWR).close()
    pool.link("/d/a", "/d/b")
    pool.symlink("a", pathlib.PurePosixPath("/d/s"))
    assert pool.readlink("/d/s") == "a"
    assert stat.S_ISLNK(pool.stat("/d/s", follow_symlinks=False).st_mode)
    assert pool.stat("/d/s").st_ino == pool.stat("/d/b").st_ino
    assert pool.stat("/d/a").st_nlink == 2
    with pool.opendir("/d") as entries:
        found = [(entry.name, stat.S_IFMT(entry.type)) for entry in entries]
    assert found == [("a", stat.S_IFREG), ("b", stat.S_IFREG), ("s", stat.S_IFLNK)]
    with pool.opendir("/d") as entries:
        entries.seek("a")
        assert [entry.name for entry in entries] == ["b", "s"]
        entries.seek(None)
        assert next(entries).name == "a"
    with pytest.raises(FileExistsError):
        pool.rename("/d/a", "/d/s", holdfast.RENAME_NOREPLACE)
    pool.rename("/d/a", "/d/c")
    assert pool.path(pool.stat("/d/c").st_ino) in ("/d/b", "/d/c")
    for name in ("b", "c", "s"):
        pool.unlink("/d/" + name)
    pool.rmdir("/d")
    with pytest.raises(FileNotFoundError):
        pool.stat("/d")


def test_names_of_any_bytes(pool):
    pool.mkdir(b"/\xff\xfe")
    with pool.opendir("/") as entries:
        assert [os.fsencode(entry.name) for entry in entries] == [b"\xff\xfe"]
    assert pool.stat(os.fsdecode(b"/\xff\xfe")).st_ino


def test_attributes(pool):
    pool.mkdir("/d")
    pool.chmod("/d", 0o700)
    pool.chown("/d", 7, -1)
    pool.utime("/d", ns=(-1, 1234567890123456789))
    status = pool.stat("/d")
    assert stat.S_IMODE(status.st_mode) == 0o700
    assert status.st_uid == 7
    assert status.st_atime_ns == -1
    assert status.st_mtime_ns == 1234567890123456789
    assert status.st_mtime == pytest.approx(1234567890.1234567)
    pool.utime("/d")
    assert pool.stat("/d").st_mtime_ns > status.st_mtime_ns
    pool.setxattr("/d", "user.a", b"one")
    pool.setxattr("/d", "user.b", bytes(60000))
    assert pool.getxattr("/d", "user.a") == b"one"
    assert len(pool.getxattr("/d", "user.b")) == 60000
    assert pool.listxattr("/d") == ["user.a", "user.b"]
    with pytest.raises(FileExistsError):
        pool.setxattr("/d", "user.a", b"two", holdfast.XATTR_CREATE)
    pool.removexattr("/d", "user.a")
    with pytest.raises(OSError) as error:
        pool.getxattr("/d", "user.a")
    assert error.value.errno == errno.ENODATA
    assert pool.listxattr("/") == []


def test_looking(pool, file):
    info = pool.info()
    assert info.pool_bytes == 16 << 20
    assert info.engine == "slots" and info.media == "memfd" and not info.durable
    assert info.policy == holdfast.WAIT
    assert info.files == 1 and info.registrations == 0
    with file.pin(4096, 4096, holdfast.WRITE):
        (pin,) = pool.pins()
        assert (pin.off, pin.len, pin.pid) == (4096, 4096, os.getpid())
        assert pin.flags & holdfast.WRITE and pin.state == holdfast.PIN_HELD
    ino = pool.stat("/file").st_ino
    assert sum(extent.len for extent in pool.extents(ino)) == 4 * 4096
    changes = pool.stats().changes
    file.truncate(0)
    assert pool.stats().changes > changes
    resident = pool.info().resident_bytes
    given = pool.trim()
    assert given == resident - pool.info().resident_bytes > 0
    assert pool.trim(4096) == 0
    pool.grow(32 << 20)
    assert pool.info().pool_bytes == 32 << 20
    pool.shrink(16 << 20, policy=holdfast.NOWAIT)
    assert pool.info().pool_bytes == 16 << 20
    with pytest.raises(OSError, match="16777216") as refused:
        pool.shrink(32 << 20)
    assert refused.value.errno == errno.EINVAL


def test_pools(path):
    with pytest.raises(FileNotFoundError):
        holdfast.open(path)
    holdfast.create(path, 16 << 20, mode=0o640, policy=holdfast.deadline(0.5), max_files=100)
    with pytest.raises(FileExistsError):
        holdfast.create(path, 16 << 20)
    with pytest.raises(OSError) as error:
        holdfast.create(path + "2", 5)
    assert error.value.errno == errno.EINVAL
    with holdfast.open(path) as pool:
        assert pool.info().policy == holdfast.deadline(0.5)
        file = pool.open("/f", os.O_CREAT | os.O_RDWR)
        with pytest.raises(OSError) as error:
            pool.close()
        assert error.value.errno == errno.EBUSY
        with pytest.raises(OSError) as error:
            holdfast.check(path)
        assert error.value.errno == errno.EBUSY
        file.close()
    for call in (pool.info, pool.stats, pool.pins, lambda: pool.open("/f"), pool.__enter__):
        with pytest.raises(ValueError, match="closed"):
            call()
    result = holdfast.check(path)
    assert result.problems == 0 and result.sentences == [] and result.inodes == 2
    with holdfast.open(path, readonly=True) as pool:
        with pytest.raises(OSError) as error:
            pool.mkdir("/d")
        assert error.value.errno == errno.EROFS


def test_an_exception_is_not_hidden_by_what_it_holds(shared):
    def use():
        with holdfast.Pool(shared) as pool:
            held = [pool.open("/file", os.O_RDWR | os.O_CREAT)]
            held[0].allocate(0, 4096)
            held.append(held[0].pin(0, 1))
            raise KeyError(len(held))

    with pytest.raises(KeyError):
        use()
    gc.collect()
    holdfast.check(shared)  # it wants the pool for itself: it is closed
    with pytest.raises(OSError) as error:
        with holdfast.Pool(shared) as pool:
            file = pool.open("/file")
    assert error.value.errno == errno.EBUSY
    file.close()
    pool.close()


def test_a_check_has_a_sentence_for_each_problem(path):
    holdfast.create(path, 16 << 20)
    with holdfast.open(path) as pool:
        pool.mkdir("/name-to-find")
    with open(path + "/meta/data.mdb", "r+b") as database:
        at = database.read(1 << 20).index(b"name-to-find")
        database.seek(at)
        database.write(b"/")
    found = holdfast.check(path)
    assert found.problems == len(found.sentences) > 0 and found.repaired == 0
    assert any("/ame-to-find" in sentence for sentence in found.sentences)
    assert holdfast.check(path, repair=True).repaired == found.problems
    assert holdfast.check(path).problems == 0


def test_objects_keep_what_they_need():
    file = holdfast.Pool.anonymous(16 << 20).open("/f", os.O_CREAT | os.O_RDWR)
    file.write(b"hello")
    pin = file.pin(0, 5)
    del file
    view = memoryview(pin)
    del pin
    assert view.tobytes() == b"hello"


def stub():
    return ast.parse(pathlib.Path(holdfast.__file__).with_suffix(".pyi").read_text()).body


def stub_names(body):
    return {
        name
        for item in body
        for name in (
            [item.name]
            if isinstance(item, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
            else [item.target.id]
            if isinstance(item, ast.AnnAssign)
            else [item.targets[0].id]
            if isinstance(item, ast.Assign)
            else []
        )
        if not name.startswith("_")
    }


def records():
    return {
        name: thing
        for name, thing in vars(holdfast).items()
        if isinstance(thing, type) and issubclass(thing, tuple)
    }


def test_the_stub_names_what_there_is():
    assert stub_names(stub()) - {"Path"} == set(holdfast.__all__) | set(records()) | {"open"}
    for item in stub():
        kind = getattr(holdfast, getattr(item, "name", ""), None)
        if isinstance(item, ast.ClassDef) and kind:
            fields = getattr(kind, "__match_args__", ())
            real = {name for name in vars(kind) if not name.startswith(("_", "n_"))}
            assert stub_names(item.body) == real, item.name
            if fields:
                assert [line.target.id for line in item.body] == list(fields)


def default_of(node):
    return inspect.Parameter.empty if node is None else ast.literal_eval(node)


def stub_parameters(function):
    """Name, kind and default of each, without self and cls."""
    args = function.args
    places = [(arg, inspect.Parameter.POSITIONAL_ONLY) for arg in args.posonlyargs]
    places += [(arg, inspect.Parameter.POSITIONAL_OR_KEYWORD) for arg in args.args]
    defaults = [None] * (len(places) - len(args.defaults)) + args.defaults
    found = [(arg.arg, kind, default_of(node)) for (arg, kind), node in zip(places, defaults)]
    found += [
        (arg.arg, inspect.Parameter.KEYWORD_ONLY, default_of(node))
        for arg, node in zip(args.kwonlyargs, args.kw_defaults)
    ]
    return [parameter for parameter in found if parameter[0] not in ("self", "cls")]


def functions_of_the_stub():
    for item in stub():
        if isinstance(item, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield item, getattr(holdfast, item.name)
        elif isinstance(item, ast.ClassDef) and hasattr(holdfast, item.name):
            kind = getattr(holdfast, item.name)
            for method in item.body:
                if isinstance(method, ast.FunctionDef) and not method.name.startswith("__"):
                    yield method, getattr(kind, method.name)


def test_the_help_has_the_parameters_of_the_stub():
    seen = 0
    for function, thing in functions_of_the_stub():
        real = inspect.signature(thing).parameters.values()
        assert [(p.name, p.kind, p.default) for p in real] == stub_parameters(function), thing
        seen += 1
    assert seen > 60


def test_help_is_enough():
    for name in holdfast.__all__:
        thing = getattr(holdfast, name)
        if callable(thing):
            assert thing.__doc__, name
    for kind in (holdfast.Pool, holdfast.File, holdfast.Pin, holdfast.Lease, holdfast.Dir):
        for name, thing in vars(kind).items():
            if callable(thing) and not name.startswith("__"):
                assert thing.__doc__, f"{kind.__name__}.{name}"
    for name, kind in records().items():
        assert kind.__doc__ in holdfast.__doc__, name
        for field in kind.__match_args__:
            assert getattr(kind, field).__doc__ in holdfast.__doc__, f"{name}.{field}"


def test_without_docstrings():
    subprocess.run([sys.executable, "-OO", "-c", "import holdfast"], check=True)


@pytest.mark.parametrize("wrong", [1 << 32, -1, 1 << 80])
def test_numbers_of_32_bits(pool, file, path, wrong):
    calls = [
        lambda: pool.open("/other", os.O_RDWR | os.O_CREAT, wrong),
        lambda: pool.mkdir("/folder", wrong),
        lambda: pool.chmod("/file", wrong),
        lambda: pool.rename("/file", "/other", wrong),
        lambda: pool.setxattr("/file", "user.x", b"", wrong),
        lambda: file.lease(0, 4096, wrong),
        lambda: file.truncate(0, holdfast.Policy((wrong, 0))),
        lambda: holdfast.create(path, 16 << 20, mode=wrong),
        lambda: holdfast.create(path, 16 << 20, max_files=wrong),
    ]
    if hasattr(holdfast, "Cache"):
        cache = holdfast.Cache(pool, "/cache", 4 << 20)
        calls += [
            lambda: cache.put("key", b"", space=wrong),
            lambda: cache.get("key", space=wrong),
            lambda: cache.get_many(["key"], space=wrong),
            lambda: cache.put_begin("key", 1, flags=wrong),
            lambda: cache.quota(wrong, 0),
        ]
    for call in calls:
        with pytest.raises(OverflowError, match="from 0 to 4294967295"):
            call()
    for name in ("/other", "/folder"):
        with pytest.raises(FileNotFoundError):
            pool.stat(name)
    assert not os.path.exists(path) and file.stat().st_size == 4 * 4096
