# SPDX-License-Identifier: MIT
"""Holdfast: a cache that is spread over machines.

    import holdfast.cluster, numpy

    with holdfast.cluster.Cluster("http://etcd:2379", secret=secret) as cluster:
        cluster.put("key", array)                       # its member has it
        data = cluster.get("key")                       # bytes; None: it is not there
        length = cluster.get_into("key", array)         # into memory of the caller
        cluster.get_many_into(keys, list(rows))         # all at once

Each member serves a holdfast.Cache of its machine: by `holdfast serve`, or by a Server here. A key
belongs to one member, which each client finds by the key and the names of the members. An object is
in that member alone, and goes with it. Keys that move to another member miss until they are put
again. No call ever returns bytes of another object.

Members find each other by etcd, or are given as a list, which is the same for all:

    members = "a=10.0.0.1:7070,b=10.0.0.2:7070"
    with holdfast.cluster.Cluster(members=members, secret=secret) as cluster: ...

A member that does not answer costs an error, after timeout seconds: TimeoutError, or OSError
ENOTCONN when it cannot be reached. Both may be taken for a miss.

Many at once: get_many(), get_many_into(), put_many(), remove_many() and length_many() send all of
their requests, and wait for all. When some fail, one of the errors is raised, also though others
have been done. With return_exceptions=True, each error stands in the list instead.

Without waiting: begin_get(), begin_put(), begin_remove() and begin_length() begin a request, and
next() tells of those that have ended, with the tag of each:

    for number, row in enumerate(rows):
        cluster.begin_get(f"key {number}", row, number)
    while ended := cluster.next():
        number, length = ended                          # None: a miss; or an OSError

A buffer that was given to begin_get() or begin_put() is kept until then, and must be left alone.
With asyncio: `await asyncio.to_thread(cluster.get, key)`.

A copy in this machine: get_copy() looks into a holdfast.Cache of this machine first, and keeps there
what it gets. It returns a holdfast.Cached, which holds the object in place.

A member in this process serves a Cache to others, also while this process uses it:

    with holdfast.Cache(pool, "/cache", 1 << 30) as cache:
        with holdfast.cluster.Server(cache, "a", listen="10.0.0.1:7070", secret=secret) as server:
            server.join("http://etcd:2379")
            with holdfast.cluster.Cluster("http://etcd:2379", secret=secret, server=server) as cluster:
                ...                                     # own keys take no message

Threads: any thread may make any call but close() at any time. A call that may wait lets other
threads run. A signal ends next() and Server.wait(); other calls end after timeout seconds at most,
and the signal's handler runs then.

Fork: in a child every call raises ChildProcessError. Open the cluster again there.

The secret keeps strangers out. Bytes on the network are not encrypted. hfx_open(3) and docs/CLUSTER.md
say more. This module needs the library of Debian's package libholdfast-cluster0; the others do not.
"""

try:
    from ._cluster import Cluster, ClusterEntry, ClusterMember, Server
except ImportError as error:
    raise ImportError(
        "holdfast.cluster needs libholdfast-cluster: install Debian's package libholdfast-cluster0, or build"
        f" Holdfast with its option cluster ({error})",
        name=__name__,
    ) from error

__all__ = ["Cluster", "ClusterEntry", "ClusterMember", "Server"]
