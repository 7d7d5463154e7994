# SPDX-License-Identifier: MIT
from os import PathLike, stat_result
from types import TracebackType
from typing import Any, AsyncIterator, Callable, Iterable, Iterator, Literal, NamedTuple, TypeAlias

from typing_extensions import Buffer, Self

__version__: str

Path: TypeAlias = str | bytes | PathLike[str] | PathLike[bytes]

BLOCK_BYTES: int
HUGE_BYTES: int
POLICY_DEFAULT: int
POLICY_WAIT: int
POLICY_NOWAIT: int
POLICY_DEADLINE: int
POLICY_DETACH: int
POLICY_DEADLINE_DETACH: int
READ: int
WRITE: int
NOFILL: int
YIELD: int
COHERENT: int
IO_URING: int
RDMA: int
GPU: int
PIN_LEASE: int
PIN_RECALLED: int
PIN_STOPPED: int
PIN_PUT: int
PIN_HELD: int
PIN_DETACHED: int
PIN_WAITING: int
PIN_QUARANTINED: int
LEASE_HELD: int
IN_MEMORY: int
ON_DISK: int
LEASE_RECALLED: int
LEASE_DETACHED: int
CHANGE_TRUNCATE: int
CHANGE_PUNCH: int
CHANGE_ZERO: int
CHANGE_COLLAPSE: int
CHANGE_INSERT: int
CHANGE_MOVE: int
CHANGE_DELETE: int
CHANGE_CLONE: int
RENAME_NOREPLACE: int
RENAME_EXCHANGE: int
XATTR_CREATE: int
XATTR_REPLACE: int

class Policy(NamedTuple):
    kind: int
    deadline_ns: int

WAIT: Policy
NOWAIT: Policy
DETACH: Policy

def deadline(seconds: float, /) -> Policy: ...
def deadline_detach(seconds: float, /) -> Policy: ...
def create(
    path: Path,
    pool_bytes: int,
    *,
    data_path: Path | None = None,
    durable: bool = False,
    mode: int = 0,
    engine: str | None = None,
    policy: Policy | None = None,
    max_processes: int = 0,
    max_threads: int = 0,
    max_files: int = 0,
    max_leases: int = 0,
    quarantine: float = 0.0,
    trim_above: int = 0,
) -> None: ...

class CheckResult(NamedTuple):
    problems: int
    repaired: int
    sentences: list[str]
    inodes: int
    extents: int
    dirents: int
    blocks_used: int

def check(path: Path, *, repair: bool = False) -> CheckResult: ...

class PoolInfo(NamedTuple):
    uuid: bytes
    pool_bytes: int
    free_bytes: int
    detached_bytes: int
    shared_bytes: int
    saved_bytes: int
    inodes: int
    limit_bytes: int
    durable: bool
    engine: str
    media: str
    policy: Policy
    processes: int
    threads: int
    files: int
    leases: int
    registrations: int
    resident_bytes: int
    trim_above_bytes: int

class Stats(NamedTuple):
    pins_slow: int
    faults: int
    gate_waits: int
    changes: int
    barriers: int
    drains_waited: int
    detaches: int
    reaped: int
    recalls: int
    wait_ns_total: int
    wait_ns_max: int
    timed_out: int
    busy: int
    cancelled: int
    own_pins: int
    deadlocks: int

class PinInfo(NamedTuple):
    ino: int
    off: int
    len: int
    flags: int
    state: int
    pid: int
    tid: int
    age_ns: int
    command: str
    label: str

class Extent(NamedTuple):
    ino: int
    off: int
    len: int
    block: int
    detached: bool
    shared: bool

class DirEntry(NamedTuple):
    name: str
    ino: int
    type: int

class DedupResult(NamedTuple):
    same: bool
    shared_bytes: int
    held_bytes: int

class CompactResult(NamedTuple):
    run_bytes: int
    was_huge: int
    huge_bytes: int
    moved_bytes: int
    held_bytes: int
    shared_bytes: int
    no_space_bytes: int

class Recall(NamedTuple):
    lease: Lease | None
    off: int
    len: int
    why: int
    state: int
    deadline_ns: int | None

class _Context:
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None: ...

class Dir(_Context, Iterator[DirEntry]):
    def __next__(self) -> DirEntry: ...
    def seek(self, name: Path | None, /) -> None: ...
    def close(self) -> None: ...

class Pool(_Context):
    def __new__(cls, path: Path, *, readonly: bool = False, engine: str | None = None) -> Self: ...
    @classmethod
    def anonymous(
        cls, pool_bytes: int, *, engine: str | None = None, policy: Policy | None = None
    ) -> Self: ...
    def close(self) -> None: ...
    def grow(self, pool_bytes: int, /) -> None: ...
    def shrink(self, pool_bytes: int, /, policy: Policy | None = None) -> None: ...
    def trim(self, keep_bytes: int = 0, /) -> int: ...
    def open(self, path: Path, flags: int = 0, mode: int = 0o666) -> File: ...
    def mkdir(self, path: Path, mode: int = 0o777) -> None: ...
    def rmdir(self, path: Path) -> None: ...
    def unlink(self, path: Path, policy: Policy | None = None) -> None: ...
    def rename(self, from_path: Path, to_path: Path, flags: int = 0) -> None: ...
    def link(self, from_path: Path, to_path: Path) -> None: ...
    def symlink(self, target: Path, path: Path) -> None: ...
    def readlink(self, path: Path, /) -> str: ...
    def stat(self, path: Path, *, follow_symlinks: bool = True) -> stat_result: ...
    def chmod(self, path: Path, mode: int) -> None: ...
    def chown(self, path: Path, uid: int, gid: int, *, follow_symlinks: bool = True) -> None: ...
    def utime(
        self, path: Path, *, ns: tuple[int, int] | None = None, follow_symlinks: bool = True
    ) -> None: ...
    def setxattr(self, path: Path, name: str, value: Buffer, flags: int = 0) -> None: ...
    def getxattr(self, path: Path, name: str, /) -> bytes: ...
    def listxattr(self, path: Path, /) -> list[str]: ...
    def removexattr(self, path: Path, name: str) -> None: ...
    def opendir(self, path: Path, /) -> Dir: ...
    def info(self) -> PoolInfo: ...
    def stats(self) -> Stats: ...
    def pins(self) -> list[PinInfo]: ...
    def extents(self, ino: int = 0, /) -> list[Extent]: ...
    def path(self, ino: int, /) -> str: ...
    def cancel(self, native_id: int, /) -> None: ...
    def take(self, token: bytes, *, recall: Callable[[Recall], Any] | None = None) -> Lease: ...
    def recall_fd(self) -> int: ...
    def next_recall(self) -> Recall | None: ...

open = Pool

class _Held(_Context):
    def __len__(self) -> int: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...
    def __dlpack__(
        self,
        *,
        stream: Any = None,
        max_version: tuple[int, int] | None = None,
        dl_device: Any = None,
        copy: bool | None = None,
    ) -> Any: ...
    def __dlpack_device__(self) -> tuple[int, int]: ...

class Piece(_Held): ...

class Pin(_Held):
    def pieces(self) -> tuple[Piece, ...]: ...
    def release(self) -> None: ...

class Lease(_Held):
    def pieces(self) -> tuple[Piece, ...]: ...
    def release(self) -> None: ...
    def state(self) -> int: ...
    def quarantine(self) -> None: ...
    def give(self) -> bytes: ...

class Put(_Held):
    def pieces(self) -> tuple[Piece, ...]: ...
    def commit(
        self, size: int | None = None, *, path: Path | None = None, flags: int = 0
    ) -> None: ...
    def abort(self) -> None: ...

class File(_Context):
    def close(self) -> None: ...
    def read(self, len: int, off: int = 0, /) -> bytes: ...
    def readinto(self, buffer: Buffer, off: int = 0, /) -> int: ...
    def write(self, data: Buffer, off: int = 0, /) -> int: ...
    def append(self, data: Buffer, /) -> tuple[int, int]: ...
    def fsync(self) -> None: ...
    def stat(self) -> stat_result: ...
    def seek_data(self, off: int, /) -> int: ...
    def seek_hole(self, off: int, /) -> int: ...
    def truncate(self, size: int, policy: Policy | None = None) -> None: ...
    def punch(self, off: int, len: int, policy: Policy | None = None) -> None: ...
    def zero(self, off: int, len: int, policy: Policy | None = None) -> None: ...
    def collapse(self, off: int, len: int, policy: Policy | None = None) -> None: ...
    def insert(self, off: int, len: int, policy: Policy | None = None) -> None: ...
    def move(self, off: int, len: int, policy: Policy | None = None) -> None: ...
    def compact(
        self, off: int = 0, len: int = 0, *, look: bool = False, policy: Policy | None = None
    ) -> CompactResult: ...
    def allocate(self, off: int, len: int, *, keep_size: bool = False) -> None: ...
    def copy_range(self, off: int, to: File, to_off: int, len: int, /) -> int: ...
    def clone_range(
        self, off: int, to: File, to_off: int, len: int, policy: Policy | None = None
    ) -> None: ...
    def dedup_range(self, off: int, other: File, other_off: int, len: int, /) -> DedupResult: ...
    def pin(self, off: int, len: int, flags: int = 0, /) -> Pin: ...
    def put_begin(self, off: int, size: int, *, flags: int = 0) -> Put: ...
    def lease(
        self,
        off: int,
        len: int,
        flags: int = 0,
        *,
        recall: Callable[[Recall], Any] | None = None,
        label: str | None = None,
    ) -> Lease: ...

class CacheEntry(NamedTuple):
    key: bytes
    space: int
    len: int

_Key: TypeAlias = str | Buffer

class Cached(_Held):
    def pieces(self) -> tuple[Piece, ...]: ...
    def release(self) -> None: ...

class CachePut(_Held):
    def pieces(self) -> tuple[Piece, ...]: ...
    def commit(self, size: int | None = None, /) -> None: ...
    def abort(self) -> None: ...

class CacheEntries(Iterator[Any]): ...

class Cache(_Context):
    def __new__(
        cls,
        pool: Pool,
        path: Path,
        capacity: int = 0,
        *,
        policy: str = "s3fifo",
        objects: int = 0,
        high: int = 0,
        low: int = 0,
        ttl: int = 0,
        tier: Path | None = None,
        tier_size: int = 0,
    ) -> Self: ...
    def close(self) -> None: ...
    def get(self, key: _Key, *, space: int = 0) -> Cached | None: ...
    def get_many(
        self, keys: Iterable[_Key], *, prefix: bool = False, space: int = 0
    ) -> list[Cached | None]: ...
    def fetch(self, key: _Key, *, space: int = 0) -> Cached | None: ...
    def fetch_begin(
        self, key: _Key, tag: int, *, space: int = 0
    ) -> Cached | Literal[True] | None: ...
    def fetch_next(self) -> tuple[int, Cached | OSError | None] | None: ...
    def fetch_fd(self) -> int: ...
    def tier_stats(self) -> dict[str, Any] | None: ...
    def _before_close(self, call: Callable[[], object] | None, /) -> None: ...
    def exists(self, key: _Key, *, space: int = 0) -> int: ...
    def exists_many(self, keys: Iterable[_Key], *, space: int = 0) -> list[int]: ...
    def touch(self, key: _Key, *, space: int = 0) -> bool: ...
    def put(self, key: _Key, data: Buffer, *, space: int = 0) -> None: ...
    def put_begin(
        self, key: _Key, size: int, *, flags: int = 0, space: int = 0
    ) -> CachePut: ...
    def remove(self, key: _Key, *, space: int = 0) -> bool: ...
    def evict(self, bytes: int | None = None, /) -> int: ...
    def quota(self, space: int, bytes: int, /) -> None: ...
    def entries(self) -> Iterator[CacheEntry]: ...
    def stats(self) -> dict[str, int]: ...
    def __contains__(self, key: _Key, /) -> bool: ...
    def __iter__(self) -> Iterator[bytes]: ...

async def fetch(cache: Cache, key: _Key, *, space: int = 0) -> Cached | None: ...
def recalls(pool: Pool) -> AsyncIterator[Recall]: ...
