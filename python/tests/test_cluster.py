# SPDX-License-Identifier: MIT
"""holdfast.cluster: the caches of several members as one, by one call, many at once and without waiting."""

import contextlib
import errno
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading

import numpy
import pytest

import holdfast

try:
    import holdfast.cluster
except ImportError as missing:
    if "No module named 'holdfast._cluster'" not in str(missing):
        raise
    pytest.skip("built without libholdfast-cluster", allow_module_level=True)

MIB = 1 << 20
SECRET = "a secret of this test"
PATIENCE = 600.0
SIZES = (1, 100, 8192, 8193, 65536, 65537, 3 * MIB)


def number(error):
    return errno.errorcode[error.value.errno]


def data(size, seed=0):
    return numpy.random.default_rng(size + seed).integers(0, 256, size, numpy.uint8)


class Members:
    """Members a, b ... of this process."""

    def __init__(self, count, **options):
        self.stack = contextlib.ExitStack()
        self.caches, self.servers = [], []
        for index in range(count):
            pool = self.stack.enter_context(holdfast.Pool.anonymous(48 * MIB))
            cache = self.stack.enter_context(holdfast.Cache(pool, "/cache", 32 * MIB))
            server = holdfast.cluster.Server(cache, chr(ord("a") + index), secret=SECRET, **options)
            self.servers.append(self.stack.enter_context(server))
            self.caches.append(cache)
        self.list = ",".join(f"{chr(ord('a') + i)}={s.address()}" for i, s in enumerate(self.servers))
        for server in self.servers:
            server.start(self.list)

    def open(self, timeout=PATIENCE, **options):
        return holdfast.cluster.Cluster(members=self.list, secret=SECRET, timeout=timeout, **options)


@pytest.fixture
def members():
    members = Members(2)
    with members.stack:
        yield members


@pytest.fixture
def cluster(members):
    with members.open() as cluster:
        yield cluster


@pytest.fixture
def silent():
    """The address of what takes connections, and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield "a=127.0.0.1:{}".format(listening.getsockname()[1])


def test_one_by_one(cluster):
    for size in SIZES:
        key, array, into = f"key {size}", data(size), numpy.zeros(size + 8, numpy.uint8)
        assert cluster.get(key) is None and cluster.get_into(key, into) is None
        assert cluster.length(key) is None and key not in cluster and not cluster.exists(key)
        cluster.put(key, array)
        assert cluster.get(key) == array.tobytes() == cluster.get(key, size=0) == cluster.get(key, size=size)
        assert cluster.get_into(key, into) == size == cluster.length(key) and (into[:size] == array).all()
        assert key in cluster and cluster.exists(key.encode())
        if size > 1:
            with pytest.raises(OSError) as error:
                cluster.get_into(key, bytearray(size - 1))
            assert number(error) == "EMSGSIZE"
        assert cluster.remove(key) and not cluster.remove(key)
        assert cluster.get(key) is None


def test_spaces(cluster):
    cluster.put("key", b"zero")
    cluster.put("key", b"seven", space=7)
    assert cluster.get("key") == b"zero" and cluster.get("key", space=7) == b"seven"
    assert cluster.length("key", space=7) == 5 and not cluster.exists("key", space=6)
    assert cluster.get_many(["key"], space=7) == [b"seven"]
    cluster.begin_length("key", "a tag", space=7)
    assert cluster.next() == ("a tag", 5)
    entries = [entry for member in cluster.members() for entry in cluster.entries(member.name)]
    assert sorted(entries) == [(b"key", 0, 4), (b"key", 7, 5)]
    assert cluster.remove("key", space=7) and cluster.get("key") == b"zero"


def test_many(cluster):
    keys = [f"key {i}" for i in range(600)]
    arrays = [data(SIZES[i % 6], i) for i in range(600)]
    assert cluster.put_many(keys, arrays) == [None] * 600
    assert cluster.remove_many(keys[::3]) == [True] * 200 and cluster.remove_many(keys[:1]) == [False]
    want = [None if i % 3 == 0 else array.tobytes() for i, array in enumerate(arrays)]
    for size in 0, 1000, 65536, 100000:
        assert cluster.get_many(keys, size=size) == want
    assert cluster.length_many(keys) == [one and len(one) for one in want]
    assert cluster.get_many([]) == cluster.length_many([]) == cluster.put_many([], []) == []


def test_rows_of_an_array(cluster):
    rows = numpy.arange(64 * 5000, dtype=numpy.uint32).reshape(64, 5000)
    keys = [f"row {i}" for i in range(64)]
    cluster.put_many(keys, rows)
    cluster.remove("row 5")
    into = numpy.zeros_like(rows)
    got = cluster.get_many_into(keys, into)
    assert got == [None if i == 5 else 20000 for i in range(64)]
    assert (into[5] == 0).all() and (numpy.delete(into, 5, 0) == numpy.delete(rows, 5, 0)).all()


def test_without_waiting(cluster):
    arrays = [data(SIZES[i % 6], i) for i in range(100)]
    for i, array in enumerate(arrays):
        cluster.begin_put(f"key {i}", array, ("put", i))
    ended = [cluster.next() for _ in range(100)]
    assert sorted(ended) == [(("put", i), None) for i in range(100)]
    assert cluster.next() is None  # nothing was begun
    into = [bytearray(len(array)) for array in arrays]
    for i, buffer in enumerate(into):
        cluster.begin_get(f"key {i}", buffer, i)
    with pytest.raises(OSError, match="not taken") as error:
        cluster.close()
    assert number(error) == "EBUSY"
    while ended := cluster.next(PATIENCE):
        i, length = ended
        assert length == len(arrays[i]) and into[i] == arrays[i].tobytes()
        into[i].append(1)  # it is ours again
    assert all(len(buffer) == len(array) + 1 for buffer, array in zip(into, arrays))


def test_kinds_of_answers(cluster):
    cluster.put("key", bytes(9000))
    cluster.begin_get("no", bytearray(1))
    assert cluster.next() == (None, None)
    cluster.begin_length("no", 1)
    assert cluster.next() == (1, None)
    cluster.begin_remove("no", 2)
    assert cluster.next() == (2, False)
    cluster.begin_remove("key", 3)
    assert cluster.next() == (3, True)
    cluster.put("key", bytes(9000))
    cluster.begin_get("key", bytearray(8999), 4)
    tag, error = cluster.next()
    assert tag == 4 and isinstance(error, OSError) and error.errno == errno.EMSGSIZE
    assert cluster.next(0) is None


def test_what_is_begun_keeps_its_memory(members, cluster):
    array = data(65536)
    cluster.put("key", array)
    buffer = bytearray(65536)
    cluster.begin_get("key", buffer)
    with pytest.raises(BufferError):
        buffer.append(1)
    assert cluster.next() == (None, 65536) and buffer == array.tobytes()
    buffer.append(1)
    # An object that goes waits for what it has begun.
    other = members.open()
    for _ in range(50):
        other.begin_get("key", buffer)
    del other
    buffer.append(1)


def test_wrong(cluster):
    calls = (cluster.get, cluster.length, cluster.exists, cluster.remove, cluster.begin_length, cluster.owner)
    for key in b"", b"x" * 513:
        for call in calls:
            with pytest.raises(OSError) as error:
                call(key)
            assert number(error) == "EINVAL"
        with pytest.raises(OSError) as error:
            cluster.put_many(["right", key], [b"1", b"2"])
        assert number(error) == "EINVAL" and "right" not in cluster
    with pytest.raises(OSError, match="64") as error:
        cluster.get("key", space=64)
    assert number(error) == "EINVAL"
    with pytest.raises(OSError, match="at least one byte"):
        cluster.put("key", b"")
    for call in (
        lambda: cluster.get(1),
        lambda: cluster.put("key", "text"),
        lambda: cluster.get_into("key", b"read-only"),
        lambda: cluster.get_many("key"),
        lambda: cluster.get_many([1]),
        lambda: cluster.get_many_into(["key"], [b"read-only"]),
        lambda: cluster.begin_get("key", b"read-only"),
        lambda: cluster.get_copy("key", "no cache", 1),
        lambda: cluster.next("soon"),
    ):
        with pytest.raises(TypeError):
            call()
    with pytest.raises(ValueError, match="1 buffers for 2 keys"):
        cluster.put_many(["a", "b"], [b"1"])
    with pytest.raises(ValueError, match="seconds"):
        cluster.next(-1)
    for size in -1, 1 << 64:
        with pytest.raises(OverflowError):
            cluster.get("key", size=size)
    with pytest.raises(MemoryError):
        cluster.get("key", size=(1 << 64) - 1)
    assert cluster.next() is None


def test_options(members, pool, silent):
    Cluster, Server = holdfast.cluster.Cluster, holdfast.cluster.Server
    for options in {}, {"etcd": "http://127.0.0.1:1", "members": members.list}:
        with pytest.raises(ValueError, match="either etcd or members"):
            Cluster(**options)
    with pytest.raises(TypeError):
        Cluster(members=members.list, server="a")
    with pytest.raises(ValueError, match="seconds"):
        Cluster(members=members.list, timeout=-1)
    with pytest.raises(OSError) as error:
        Cluster(members="nonsense")
    assert number(error) == "EINVAL"
    with pytest.raises(TimeoutError, match="127.0.0.1:1"):
        Cluster("http://127.0.0.1:1", prefix="other/", timeout=0.05)
    with pytest.raises(TimeoutError, match="https://127.0.0.1:1"):
        Cluster("https://127.0.0.1:1", ca="/ca", cert=b"/cert", key="/key", timeout=0.05)
    with holdfast.Cache(pool, "/cache", MIB) as cache:
        with pytest.raises(PermissionError, match="without a secret"):
            Server(cache, "a", listen="0.0.0.0:0")
        with pytest.raises(OSError) as error:
            Server(cache, "")
        assert number(error) == "EINVAL"
        with Server(cache, "z") as server:
            with pytest.raises(OSError, match="not been started"):
                server.wait(1)
            with pytest.raises(OSError) as error:
                server.start("other=127.0.0.1:1")
            assert number(error) == "EINVAL"
            with pytest.raises(OSError, match="a server, uses it") as error:
                cache.close()
            assert number(error) == "EBUSY"
        server.close()
        for call in server.address, server.__enter__, lambda: server.start("a=b"), lambda: server.wait(1):
            with pytest.raises(ValueError, match="closed"):
                call()
    with pytest.raises(ValueError, match="the cache is closed"):
        Server(cache, "a")


def test_joins_by_etcd(pool):
    """None is there: it goes on trying."""
    with holdfast.Cache(pool, "/cache", MIB) as cache, holdfast.cluster.Server(cache, "a") as server:
        server.join("http://127.0.0.1:1", prefix="other/", lease=1)
        with pytest.raises(TimeoutError, match="127.0.0.1:1"):
            server.wait(0.3)
        with pytest.raises(OSError, match="started already"):
            server.join("http://127.0.0.1:1")


def test_other_secret(members):
    with holdfast.cluster.Cluster(members=members.list, secret="another", timeout=PATIENCE) as cluster:
        with pytest.raises(PermissionError, match="secret"):
            cluster.get("key")
    with members.open() as cluster:
        while not any(cluster.counts(member.name)["refused"] for member in cluster.members()):
            pass  # the member learns that the connection has ended


def test_a_member_that_is_silent(silent):
    with holdfast.cluster.Cluster(members=silent, secret=SECRET, timeout=0.1) as cluster:
        with pytest.raises(TimeoutError, match="in time"):
            cluster.get("key")
        buffer = bytearray(65536)
        cluster.begin_get("key", buffer, "tag")
        tag, error = cluster.next()
        assert tag == "tag" and isinstance(error, OSError)
        buffer.append(1)


def test_errors_of_some(members, cluster):
    keys = [f"key {i}" for i in range(40)]
    gone = [cluster.owner(key).name == "b" for key in keys]
    assert 0 < sum(gone) < 40
    cluster.put_many(keys, [b"bytes"] * 40)
    members.servers[1].close()
    for call in (
        cluster.get_many,
        cluster.length_many,
        cluster.remove_many,
        lambda keys, **how: cluster.put_many(keys, [b"x"] * 40, **how),
    ):
        with pytest.raises(OSError) as error:
            call(keys)
        assert number(error) in ("ENOTCONN", "ECONNREFUSED")
        got = call(keys, return_exceptions=True)
        assert [isinstance(one, OSError) for one in got] == gone


def test_server_of_this_process(members):
    with members.open(server=members.servers[0]) as cluster:
        with pytest.raises(OSError, match="uses it") as error:
            members.servers[0].close()
        assert number(error) == "EBUSY"
        keys = [f"key {i}" for i in range(40)]
        cluster.put_many(keys, [key.encode() for key in keys])
        assert cluster.get_many(keys) == [key.encode() for key in keys]
        own = [key.encode() for key in keys if cluster.owner(key).name == "a"]
        assert sorted(members.caches[0]) == sorted(own)
        assert cluster.counts("a")["gets"] == 0 and cluster.counts("b")["gets"] == 40 - len(own)
    members.servers[0].close()
    with pytest.raises(ValueError, match="the server is closed"):
        members.open(server=members.servers[0])


def test_copies(cluster, pool):
    with holdfast.Cache(pool, "/copies", 4 * MIB) as cache:
        assert cluster.get_copy("key", cache, MIB) is None
        array = data(200000)
        cluster.put("key", array)
        got = cluster.get_copy("key", cache, MIB)
        assert (numpy.frombuffer(got, numpy.uint8) == array).all() and isinstance(got, holdfast.Cached)
        cluster.put("key", b"new")
        assert len(cluster.get_copy("key", cache, MIB)) == 200000 == len(cache.get("key"))
        cluster.put("large", array)
        with pytest.raises(OSError) as error:
            cluster.get_copy("large", cache, 199999)
        assert number(error) == "EMSGSIZE" and "large" not in cache
        with pytest.raises(OSError) as error:
            cluster.get_copy("large", cache, 0)
        assert number(error) == "EINVAL"
        cache.remove("key")
        assert (numpy.frombuffer(got, numpy.uint8) == array).all()
        got = None
    with pytest.raises(ValueError, match="the cache is closed"):
        cluster.get_copy("key", cache, MIB)


def test_looking(cluster):
    assert [member.name for member in cluster.members()] == ["a", "b"]
    assert all(member.address.startswith("127.0.0.1:") for member in cluster.members())
    assert isinstance(cluster.epoch(), int) and cluster.owner("key") in cluster.members()
    before = cluster.counts("a")
    for i in range(300):
        cluster.put(f"key {i}", b"bytes")
    entries = {name: cluster.entries(name) for name in "ab"}
    assert sum(map(len, entries.values())) == 300 and all(entries.values())
    for name, some in entries.items():
        assert all(cluster.owner(entry.key).name == name and entry.len == 5 for entry in some)
        assert cluster.counts(name)["objects"] == len(some)
    assert cluster.counts("a")["puts"] == before["puts"] + len(entries["a"])
    for call in cluster.entries, cluster.counts:
        with pytest.raises(FileNotFoundError):
            call("c")
        with pytest.raises(TypeError):
            call(0)


def test_closing(members):
    cluster = members.open()
    cluster.put("key", b"bytes")
    cluster.close()
    cluster.close()
    for call in (
        lambda: cluster.get("key"),
        lambda: cluster.get_into("key", bytearray(1)),
        lambda: cluster.put("key", b"x"),
        lambda: "key" in cluster,
        lambda: cluster.get_many(["key"]),
        lambda: cluster.put_many(["key"], [b"x"]),
        lambda: cluster.begin_put("key", b"x"),
        lambda: cluster.owner("key"),
        lambda: cluster.counts("a"),
        cluster.next,
        cluster.members,
        cluster.epoch,
        cluster.__enter__,
    ):
        with pytest.raises(ValueError, match="closed"):
            call()


def test_threads(cluster):
    """Each puts and gets its own objects, and takes what any of them has begun."""
    wrong, taken = [], []

    def work(own):
        into = numpy.zeros(40000, numpy.uint8)
        for i in range(150):
            key = f"{own} {i % 10}"
            cluster.put(key, numpy.full(20000 + own, i, numpy.uint8))
            if cluster.get_into(key, into) != 20000 + own or (into[: 20000 + own] != i).any():
                wrong.append(key)
            cluster.begin_length(key, own)
            for got in cluster.get_many([key, f"{(own + 1) % 6} {i % 10}"]):
                if got and len(set(got)) != 1:
                    wrong.append(key)
            if ended := cluster.next(0):
                taken.append(ended)

    threads = [threading.Thread(target=work, args=[own]) for own in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    while ended := cluster.next(PATIENCE):
        taken.append(ended)
    assert not wrong and len(taken) == 900
    assert all(length == 20000 + own for own, length in taken)


def test_others_run_meanwhile(silent):
    """While a thread waits for a member that does not answer, others run, and close() is refused."""
    seen = threading.Event()

    def wait():
        while not seen.is_set():
            with contextlib.suppress(OSError):
                cluster.length("key")

    with holdfast.cluster.Cluster(members=silent, secret=SECRET, timeout=0.3) as cluster:
        cluster.begin_length("key")  # so close() cannot come before the thread's first call
        thread = threading.Thread(target=wait)
        thread.start()
        while not seen.is_set():
            with pytest.raises(OSError) as error:
                cluster.close()
            assert number(error) == "EBUSY"
            if "another thread" in str(error.value):
                seen.set()
        thread.join()
        assert isinstance(cluster.next()[1], OSError)


def test_signal_ends_a_wait(silent):
    class Signalled(Exception):
        pass

    def handler(*_):
        raise Signalled

    cluster = holdfast.cluster.Cluster(members=silent, secret=SECRET, timeout=2.0)
    before = signal.signal(signal.SIGUSR1, handler)
    try:
        cluster.begin_length("key")
        with pytest.raises(Signalled):
            os.kill(os.getpid(), signal.SIGUSR1)
            cluster.next()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert isinstance(cluster.next()[1], OSError)
    cluster.close()


def test_fork(members, cluster):
    cluster.put("key", b"bytes")
    child = os.fork()
    if child == 0:
        wrong = 1
        try:
            for call in (
                lambda: cluster.get("key"),
                lambda: cluster.get_many(["key"]),
                lambda: cluster.put("key", b"x"),
                lambda: cluster.begin_length("key"),
                cluster.members,
                cluster.close,
                lambda: members.servers[0].start("a=b"),
                lambda: members.servers[0].wait(1),
            ):
                try:
                    call()
                except ChildProcessError:
                    continue
                os._exit(2)
            assert cluster.epoch() == 0
            members.servers[0].close()  # nothing
            wrong = 0
        finally:
            os._exit(wrong)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert cluster.get("key") == b"bytes"


MEMBER = """
import sys, holdfast, holdfast.cluster
with holdfast.Pool(sys.argv[1]) as pool, holdfast.Cache(pool, "/cache", 8 << 20) as cache:
    with holdfast.cluster.Server(cache, "a", secret=sys.argv[2]) as server:
        members = "a=" + server.address()
        server.start(members)
        print(members, flush=True)
        sys.stdin.read()
"""


def test_another_process(shared):
    member = subprocess.Popen(
        [sys.executable, "-c", MEMBER, shared, SECRET], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        members = member.stdout.readline().strip()
        with holdfast.cluster.Cluster(members=members, secret=SECRET, timeout=PATIENCE) as cluster:
            array = data(MIB)
            cluster.put("key", array)
            assert cluster.get("key") == array.tobytes()
            with holdfast.Pool(shared) as pool, holdfast.Cache(pool, "/cache") as cache:
                assert (numpy.frombuffer(cache.get("key"), numpy.uint8) == array).all()  # in the pool of both
            member.kill()
            member.wait()
            with pytest.raises(OSError) as error:
                cluster.get("key")
            assert number(error) in ("ENOTCONN", "ECONNREFUSED")
    finally:
        member.kill()
        member.communicate()


# --- where the library is missing ---

IMPORT = """
import holdfast
holdfast.Pool.anonymous(8 << 20).close()
try:
    import holdfast.cluster
except ImportError as error:
    print(error)
"""


def import_from(folder):
    with open("/proc/self/maps") as maps:
        libraries = {line.split()[-1] for line in maps if "/libholdfast" in line}
    environment = dict(os.environ, PYTHONPATH=str(folder), LD_LIBRARY_PATH=":".join(map(os.path.dirname, libraries)))
    return subprocess.run([sys.executable, "-c", IMPORT], env=environment, capture_output=True, text=True).stdout


def test_without_the_library(tmp_path):
    """The rest of the package works, and the sentence names what to install."""
    there = os.path.dirname(holdfast.__file__)
    copy = tmp_path / "holdfast"
    shutil.copytree(there, copy, ignore=shutil.ignore_patterns("*.p", "__pycache__"))
    extension = copy / "_cluster.abi3.so"
    bytes_of_it = extension.read_bytes()
    assert bytes_of_it.count(b"libholdfast-cluster.so.0\0") == 1
    extension.write_bytes(bytes_of_it.replace(b"libholdfast-cluster.so.0", b"libholdfast-clusteX.so.0"))
    said = import_from(tmp_path)
    assert "install Debian's package libholdfast-cluster0" in said and "clusteX" in said
    extension.unlink()
    said = import_from(tmp_path)
    assert "libholdfast-cluster0" in said and "option cluster" in said


def test_is_not_loaded_by_the_package():
    program = "import sys, holdfast; print('holdfast._cluster' in sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout
    assert loaded == "False\n"


def test_help():
    for thing in holdfast.cluster.Cluster, holdfast.cluster.Server:
        for name, method in vars(thing).items():
            assert name.startswith("_") or method.__doc__, name
    assert "libholdfast-cluster0" in holdfast.cluster.__doc__
