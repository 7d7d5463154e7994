# SPDX-License-Identifier: MIT
from typing import Any, Iterable, Literal, NamedTuple, overload

from typing_extensions import Buffer, Self

from . import Cache, Cached, Path, _Context, _Key

class ClusterMember(NamedTuple):
    name: str
    address: str

class ClusterEntry(NamedTuple):
    key: bytes
    space: int
    len: int

class Server(_Context):
    def __new__(
        cls,
        cache: Cache,
        name: str,
        *,
        listen: str | None = None,
        secret: str | None = None,
        stall: float = 0.0,
    ) -> Self: ...
    def address(self) -> str: ...
    def start(self, members: str, /) -> None: ...
    def join(
        self,
        etcd: str,
        *,
        prefix: str | None = None,
        ca: Path | None = None,
        cert: Path | None = None,
        key: Path | None = None,
        lease: int = 0,
    ) -> None: ...
    def wait(self, timeout: float) -> None: ...
    def close(self) -> None: ...

class Cluster(_Context):
    def __new__(
        cls,
        etcd: str | None = None,
        *,
        members: str | None = None,
        secret: str | None = None,
        prefix: str | None = None,
        ca: Path | None = None,
        cert: Path | None = None,
        key: Path | None = None,
        timeout: float = 2.0,
        server: Server | None = None,
    ) -> Self: ...
    def close(self) -> None: ...
    def get(self, key: _Key, *, size: int = 65536, space: int = 0) -> bytes | None: ...
    def get_into(self, key: _Key, buffer: Buffer, *, space: int = 0) -> int | None: ...
    def get_copy(self, key: _Key, cache: Cache, size: int, *, space: int = 0) -> Cached | None: ...
    def put(self, key: _Key, data: Buffer, *, space: int = 0) -> None: ...
    def remove(self, key: _Key, *, space: int = 0) -> bool: ...
    def length(self, key: _Key, *, space: int = 0) -> int | None: ...
    def exists(self, key: _Key, *, space: int = 0) -> bool: ...
    def __contains__(self, key: _Key, /) -> bool: ...
    @overload
    def get_many(
        self,
        keys: Iterable[_Key],
        *,
        size: int = 65536,
        space: int = 0,
        return_exceptions: Literal[False] = False,
    ) -> list[bytes | None]: ...
    @overload
    def get_many(
        self,
        keys: Iterable[_Key],
        *,
        size: int = 65536,
        space: int = 0,
        return_exceptions: bool,
    ) -> list[bytes | OSError | None]: ...
    @overload
    def get_many_into(
        self,
        keys: Iterable[_Key],
        buffers: Iterable[Buffer],
        *,
        space: int = 0,
        return_exceptions: Literal[False] = False,
    ) -> list[int | None]: ...
    @overload
    def get_many_into(
        self,
        keys: Iterable[_Key],
        buffers: Iterable[Buffer],
        *,
        space: int = 0,
        return_exceptions: bool,
    ) -> list[int | OSError | None]: ...
    def put_many(
        self,
        keys: Iterable[_Key],
        data: Iterable[Buffer],
        *,
        space: int = 0,
        return_exceptions: bool = False,
    ) -> list[OSError | None]: ...
    @overload
    def remove_many(
        self,
        keys: Iterable[_Key],
        *,
        space: int = 0,
        return_exceptions: Literal[False] = False,
    ) -> list[bool]: ...
    @overload
    def remove_many(
        self, keys: Iterable[_Key], *, space: int = 0, return_exceptions: bool
    ) -> list[bool | OSError]: ...
    @overload
    def length_many(
        self,
        keys: Iterable[_Key],
        *,
        space: int = 0,
        return_exceptions: Literal[False] = False,
    ) -> list[int | None]: ...
    @overload
    def length_many(
        self, keys: Iterable[_Key], *, space: int = 0, return_exceptions: bool
    ) -> list[int | OSError | None]: ...
    def begin_get(
        self, key: _Key, buffer: Buffer, tag: object = None, *, space: int = 0
    ) -> None: ...
    def begin_put(
        self, key: _Key, data: Buffer, tag: object = None, *, space: int = 0
    ) -> None: ...
    def begin_remove(self, key: _Key, tag: object = None, *, space: int = 0) -> None: ...
    def begin_length(self, key: _Key, tag: object = None, *, space: int = 0) -> None: ...
    def next(
        self, timeout: float | None = None
    ) -> tuple[Any, int | bool | OSError | None] | None: ...
    def members(self) -> list[ClusterMember]: ...
    def epoch(self) -> int: ...
    def owner(self, key: _Key, *, space: int = 0) -> ClusterMember: ...
    def entries(self, member: str, /) -> list[ClusterEntry]: ...
    def counts(self, member: str, /) -> dict[str, int]: ...
