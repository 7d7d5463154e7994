/* SPDX-License-Identifier: MIT */
/* Cluster: the caches of all members as one. Opening and closing it, and calls on one key. */
#include "cluster.h"

#include <errno.h>

#define SIZE_GUESS 65536 /* of an object, where the caller does not say */

static PyTypeObject *cluster_type;

/* --- opening and closing --- */

static PyObject *wrap_cluster(PyTypeObject *type, struct hfx *cluster, struct py_server *server)
{
    struct py_cluster *self = PyObject_New(struct py_cluster, type);

    if (!self) {
        UNSHARED_WITHOUT_LOCK(hfx_close(cluster));
        return NULL;
    }
    self->cluster = cluster;
    self->server = server;
    self->busy = 0;
    self->begun = 0;
    if (server) {
        Py_INCREF((PyObject *)server);
        server->busy++;
    }
    return (PyObject *)self;
}

static PyObject *open_cluster(PyTypeObject *type, const struct hfx_options *options,
                              PyObject *given)
{
    struct py_server *server = given == Py_None ? NULL : (struct py_server *)given;
    struct hfx_options with = *options;
    struct hfx *cluster = NULL;
    int rc;

    if (!options->etcd == !options->members)
        return PyErr_Format(PyExc_ValueError, "give either etcd or members");
    if (!server) {
        UNSHARED_WITHOUT_LOCK(rc = hfx_open(&with, &cluster));
        return rc ? cluster_failed(rc) : wrap_cluster(type, cluster, NULL);
    }
    if (!PyObject_TypeCheck(given, server_type))
        return PyErr_Format(PyExc_TypeError, "server is a Server, or None");
    with.server = server->server;
    if (!with.server)
        return PyErr_Format(PyExc_ValueError, "the server is closed");
    WITHOUT_LOCK(server, rc, hfx_open(&with, &cluster));
    return rc ? cluster_failed(rc) : wrap_cluster(type, cluster, server);
}

static PyObject *cluster_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"etcd", "members", "secret",  "prefix", "ca",
                            "cert", "key",     "timeout", "server", NULL};
    struct hfx_options options = {.size = sizeof options};
    struct etcd_names paths = {0};
    PyObject *server = Py_None, *cluster = NULL;
    const char *urls = NULL;
    struct hfx_etcd etcd;
    double timeout = 0;

    if (PyArg_ParseTupleAndKeywords(args, keywords, "|z$zzzO&O&O&dO:Cluster", names, &urls,
                                    &options.members, &options.secret, &paths.prefix,
                                    to_certificate, &paths.ca, to_certificate, &paths.cert,
                                    to_certificate, &paths.key, &timeout, &server) &&
        seconds_to_ns(timeout, &options.timeout_ns)) {
        etcd = name_etcd(urls, &paths);
        options.etcd = urls ? &etcd : NULL;
        cluster = open_cluster(type, &options, server);
    }
    drop_etcd_names(&paths);
    return cluster;
}

static void let_server_go(struct py_cluster *self)
{
    if (!self->server)
        return;
    self->server->busy--;
    Py_CLEAR(self->server);
}

static PyObject *cluster_close(struct py_cluster *self, PyObject *unused)
{
    struct hfx *cluster = self->cluster;
    int rc;

    (void)unused;
    if (!cluster)
        Py_RETURN_NONE;
    if (!not_busy(self->busy))
        return NULL;
    self->cluster = NULL;
    UNSHARED_WITHOUT_LOCK(rc = hfx_close(cluster));
    if (rc) {
        self->cluster = cluster;
        return cluster_failed(rc);
    }
    let_server_go(self);
    Py_RETURN_NONE;
}

static PyObject *cluster_enter(PyObject *self, PyObject *unused)
{
    (void)unused;
    return cluster_is_open((struct py_cluster *)self) ? Py_NewRef(self) : NULL;
}

static PyObject *cluster_exit(struct py_cluster *self, PyObject *args)
{
    (void)args;
    return cluster_close(self, NULL);
}

/* The memory of requests that have begun must not go before they have ended. */
static void cluster_dealloc(struct py_cluster *self)
{
    PyTypeObject *type = Py_TYPE((PyObject *)self);

    if (self->cluster) {
        cluster_drain(self);
        UNSHARED_WITHOUT_LOCK(hfx_close(self->cluster));
    }
    let_server_go(self);
    PyObject_Free(self);
    Py_DECREF(type);
}

/* --- gets --- */

/* Takes over the reference to `whole`, of which the first bytes are meant. */
static PyObject *first_bytes(PyObject *whole, Py_ssize_t len)
{
    PyObject *bytes;

    if (len == PyBytes_Size(whole))
        return whole;
    bytes = PyBytes_FromStringAndSize(PyBytes_AsString(whole), len);
    Py_DECREF(whole);
    return bytes;
}

/* It may be another object each time, of another length. */
static PyObject *get_bytes(struct py_cluster *self, const struct hfc_key *key, uint64_t size)
{
    PyObject *bytes = NULL;
    ssize_t rc = size ? (ssize_t)size : -EMSGSIZE;

    if (size > PY_SSIZE_T_MAX)
        return PyErr_NoMemory();
    do {
        if (rc == -EMSGSIZE)
            WITHOUT_LOCK(self, rc, hfx_length(self->cluster, key));
        if (rc < 0)
            break;
        bytes = PyBytes_FromStringAndSize(NULL, rc);
        if (!bytes)
            return NULL;
        WITHOUT_LOCK(
            self, rc,
            hfx_get(self->cluster, key, PyBytes_AsString(bytes), (size_t)PyBytes_Size(bytes)));
        if (rc >= 0)
            return first_bytes(bytes, rc);
        Py_CLEAR(bytes);
    } while (rc == -EMSGSIZE);
    return rc == -ENOENT ? Py_NewRef(Py_None) : cluster_failed(rc);
}

static PyObject *cluster_get(struct py_cluster *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"key", "size", "space", NULL};
    unsigned long long size = SIZE_GUESS;
    PyObject *object = NULL;
    uint32_t space = 0;
    struct hfc_key key;
    Py_buffer view;

    if (!PyArg_ParseTupleAndKeywords(args, keywords, "s*|$O&O&:get", names, &view, to_uint64, &size,
                                     to_uint32, &space))
        return NULL;
    name_key(&view, space, &key);
    if (cluster_is_open(self))
        object = get_bytes(self, &key, size);
    PyBuffer_Release(&view);
    return object;
}

static PyObject *cluster_get_into(struct py_cluster *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"key", "buffer", "space", NULL};
    PyObject *answer = NULL;
    Py_buffer view, buffer;
    uint32_t space = 0;
    struct hfc_key key;
    ssize_t rc;

    if (!PyArg_ParseTupleAndKeywords(args, keywords, "s*w*|$O&:get_into", names, &view, &buffer,
                                     to_uint32, &space))
        return NULL;
    name_key(&view, space, &key);
    if (cluster_is_open(self)) {
        WITHOUT_LOCK(self, rc, hfx_get(self->cluster, &key, buffer.buf, (size_t)buffer.len));
        answer = rc < 0 && rc != -ENOENT ? cluster_failed(rc) : cluster_answer(HFX_GET, rc);
    }
    PyBuffer_Release(&buffer);
    PyBuffer_Release(&view);
    return answer;
}

/* --- copies in a cache of this machine --- */

#define PIECES 16
#define PIECES_MAX 65536

static PyObject *get_held_copy(struct py_cluster *self, const struct hfc_key *key,
                               struct py_cache *local, size_t size)
{
    struct iovec few[PIECES], *iov = few;
    PyObject *cached = NULL;
    struct hfc_ref ref;
    int rc, room = PIECES;

    for (;;) {
        local->busy++;
        WITHOUT_LOCK(self, rc,
                     hfx_get_copy(self->cluster, key, local->cache, size, iov, room, &ref));
        local->busy--;
        if (rc != -E2BIG || room == PIECES_MAX)
            break;
        room = PIECES_MAX;
        iov = PyMem_Malloc(PIECES_MAX * sizeof *iov);
        if (!iov)
            return PyErr_NoMemory();
    }
    if (rc > 0)
        cached = cache_calls->cached_from(local, iov, rc, &ref);
    else if (rc == -ENOENT)
        cached = Py_NewRef(Py_None);
    else
        cluster_failed(rc);
    if (iov != few)
        PyMem_Free(iov);
    return cached;
}

static PyObject *cluster_get_copy(struct py_cluster *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"key", "cache", "size", "space", NULL};
    PyObject *given, *cached = NULL;
    unsigned long long size;
    uint32_t space = 0;
    struct hfc_key key;
    Py_buffer view;

    if (!PyArg_ParseTupleAndKeywords(args, keywords, "s*O!O&|$O&:get_copy", names, &view,
                                     cache_calls->cache_type, &given, to_uint64, &size, to_uint32,
                                     &space))
        return NULL;
    name_key(&view, space, &key);
    if (!((struct py_cache *)given)->cache)
        PyErr_SetString(PyExc_ValueError, "the cache is closed");
    else if (cluster_is_open(self))
        cached = get_held_copy(self, &key, (struct py_cache *)given, size);
    PyBuffer_Release(&view);
    return cached;
}

/* --- the rest --- */

static PyObject *cluster_put(struct py_cluster *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"key", "data", "space", NULL};
    Py_buffer view, data;
    uint32_t space = 0;
    struct hfc_key key;
    int rc;

    if (!PyArg_ParseTupleAndKeywords(args, keywords, "s*y*|$O&:put", names, &view, &data, to_uint32,
                                     &space))
        return NULL;
    name_key(&view, space, &key);
    if (cluster_is_open(self)) {
        WITHOUT_LOCK(self, rc, hfx_put(self->cluster, &key, data.buf, (size_t)data.len));
        if (rc)
            cluster_failed(rc);
    }
    PyBuffer_Release(&data);
    PyBuffer_Release(&view);
    return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
}

/* The arguments of a call on a key alone. */
static bool take_cluster_key(struct py_cluster *self, PyObject *args, PyObject *keywords,
                             const char *format, Py_buffer *view, struct hfc_key *key)
{
    static char *names[] = {"key", "space", NULL};
    uint32_t space = 0;

    if (!PyArg_ParseTupleAndKeywords(args, keywords, format, names, view, to_uint32, &space))
        return false;
    name_key(view, space, key);
    if (cluster_is_open(self))
        return true;
    PyBuffer_Release(view);
    return false;
}

static PyObject *cluster_remove(struct py_cluster *self, PyObject *args, PyObject *keywords)
{
    struct hfc_key key;
    Py_buffer view;
    int rc;

    if (!take_cluster_key(self, args, keywords, "s*|$O&:remove", &view, &key))
        return NULL;
    WITHOUT_LOCK(self, rc, hfx_remove(self->cluster, &key));
    PyBuffer_Release(&view);
    return rc && rc != -ENOENT ? cluster_failed(rc) : PyBool_FromLong(rc == 0);
}

static PyObject *cluster_length(struct py_cluster *self, PyObject *args, PyObject *keywords)
{
    struct hfc_key key;
    Py_buffer view;
    ssize_t rc;

    if (!take_cluster_key(self, args, keywords, "s*|$O&:length", &view, &key))
        return NULL;
    WITHOUT_LOCK(self, rc, hfx_length(self->cluster, &key));
    PyBuffer_Release(&view);
    return rc < 0 && rc != -ENOENT ? cluster_failed(rc) : cluster_answer(HFX_LENGTH, rc);
}

static PyObject *cluster_exists(struct py_cluster *self, PyObject *args, PyObject *keywords)
{
    struct hfc_key key;
    Py_buffer view;
    ssize_t rc;

    if (!take_cluster_key(self, args, keywords, "s*|$O&:exists", &view, &key))
        return NULL;
    WITHOUT_LOCK(self, rc, hfx_length(self->cluster, &key));
    PyBuffer_Release(&view);
    return rc < 0 && rc != -ENOENT ? cluster_failed(rc) : PyBool_FromLong(rc >= 0);
}

static int cluster_contains(PyObject *object, PyObject *given)
{
    struct py_cluster *self = (struct py_cluster *)object;
    ssize_t rc = -ENOENT;
    struct hfc_key key;
    Py_buffer view;

    if (!PyArg_Parse(given, "s*:in", &view))
        return -1;
    name_key(&view, 0, &key);
    if (cluster_is_open(self))
        WITHOUT_LOCK(self, rc, hfx_length(self->cluster, &key));
    PyBuffer_Release(&view);
    if (rc < 0 && rc != -ENOENT)
        cluster_failed(rc);
    return PyErr_Occurred() ? -1 : rc >= 0;
}

/* --- the type --- */

static PyMethodDef cluster_methods[] = {
    {"close", ALONE(cluster_close),
     "close()\n--\n\nCloses all connections.\n\n"
     "OSError EBUSY: requests were begun that next() has not told of, or another thread is in a\n"
     "call on it."},
    {"get", NAMED(cluster_get),
     "get(key, *, size=65536, space=0)\n--\n\nA copy of the object, as bytes; None: it is not in the\n"
     "cluster. An object of up to size bytes takes one message. A larger one takes two more, and\n"
     "so does each with size=0, which asks for the length first.\n\n"
     "OSError EINVAL: a key has 1 to 512 bytes, space is below 64. Of this and each other call\n"
     "on a key or a member: TimeoutError, ENOTCONN: the member did not answer, cannot be reached,\n"
     "or the connection broke. PermissionError: it does not have the secret. EPROTO, ESTALE and\n"
     "others: hfx_open(3)."},
    {"get_into", NAMED(cluster_get_into),
     "get_into(key, buffer, *, space=0)\n--\n\nCopies the object into a writable buffer, as a numpy\n"
     "array, and returns its length; None: it is not in the cluster. The member writes what is\n"
     "larger than 8 KiB straight into that memory. After an error the buffer may hold anything.\n\n"
     "OSError EMSGSIZE: it is larger than the buffer; length() tells. Others as get()."},
    {"get_copy", NAMED(cluster_get_copy),
     "get_copy(key, cache, size, *, space=0)\n--\n\nHolds the object in the holdfast.Cache of this\n"
     "machine, and returns a Cached as its get() does. If it is not there, a copy from its member\n"
     "becomes an object of that cache, of at most size bytes. None: it is in neither. The copy\n"
     "does not change with the cluster, so this is for objects that do not change.\n\n"
     "OSError EMSGSIZE: it has more than size bytes. Others as get(), and as put() of the cache."},
    {"put", NAMED(cluster_put),
     "put(key, data, *, space=0)\n--\n\nCopies a buffer under the key; replaces what is there, in one\n"
     "step. Returns when its member has all of it.\n\n"
     "OSError as get(), and EINVAL, EFBIG, ENOSPC as holdfast.Cache.put() in the member. After\n"
     "TimeoutError or ENOTCONN it may have been done."},
    {"remove", NAMED(cluster_remove),
     "remove(key, *, space=0)\n--\n\nTakes the object out. Returns whether it was in the cluster.\n\n"
     "OSError as get(). After TimeoutError or ENOTCONN it may have been done."},
    {"length", NAMED(cluster_length),
     "length(key, *, space=0)\n--\n\nThe bytes of the object; None: it is not in the cluster.\n\n"
     "OSError as get()."},
    {"exists", NAMED(cluster_exists),
     "exists(key, *, space=0)\n--\n\nWhether it is in the cluster. `key in cluster`: in space 0.\n\n"
     "OSError as get()."},
    {"get_many", NAMED(cluster_get_many),
     "get_many(keys, *, size=65536, space=0, return_exceptions=False)\n--\n\nAs get() of each key, all\n"
     "at once: a list of bytes and None, in their order. Of errors one is raised when all have\n"
     "ended; with return_exceptions, each is in its place in the list."},
    {"get_many_into", NAMED(cluster_get_many_into),
     "get_many_into(keys, buffers, *, space=0, return_exceptions=False)\n--\n\nAs get_into() of each\n"
     "key and the buffer in its place, all at once: a list of lengths and None. The rows of an\n"
     "array are such buffers. Errors as get_many()."},
    {"put_many", NAMED(cluster_put_many),
     "put_many(keys, data, *, space=0, return_exceptions=False)\n--\n\nAs put() of each key and the\n"
     "buffer in its place, all at once: a list of None. Errors as get_many()."},
    {"remove_many", NAMED(cluster_remove_many),
     "remove_many(keys, *, space=0, return_exceptions=False)\n--\n\nAs remove() of each key, all at\n"
     "once: a list. Errors as get_many()."},
    {"length_many", NAMED(cluster_length_many),
     "length_many(keys, *, space=0, return_exceptions=False)\n--\n\nAs length() of each key, all at\n"
     "once: a list. Errors as get_many()."},
    {"begin_get", NAMED(cluster_begin_get),
     "begin_get(key, buffer, tag=None, *, space=0)\n--\n\nBegins get_into() and does not wait. The\n"
     "buffer belongs to it until next() has told of it. tag: any object, that comes back. Requests\n"
     "for one key are served in the order in which they were begun.\n\n"
     "BlockingIOError: 65,536 were begun, and next() has not told of them."},
    {"begin_put", NAMED(cluster_begin_put),
     "begin_put(key, data, tag=None, *, space=0)\n--\n\nThe same for put(). The data must not be changed\n"
     "until next() has told of it."},
    {"begin_remove", NAMED(cluster_begin_remove),
     "begin_remove(key, tag=None, *, space=0)\n--\n\nThe same for remove()."},
    {"begin_length", NAMED(cluster_begin_length),
     "begin_length(key, tag=None, *, space=0)\n--\n\nThe same for length()."},
    {"next", NAMED(cluster_next),
     "next(timeout=None)\n--\n\nWaits for a request that was begun, of any thread, and returns (tag,\n"
     "what): what the call that does the same returns, or the OSError that it raises. None:\n"
     "timeout seconds have gone, or nothing was begun. Requests move on while a thread is in a\n"
     "call on the cluster."},
    {"members", ALONE(cluster_members),
     "members()\n--\n\nA list of ClusterMember, as far as is known now."},
    {"epoch", ALONE(cluster_epoch),
     "epoch()\n--\n\nA number that grows when members join or leave by etcd."},
    {"owner", NAMED(cluster_owner),
     "owner(key, *, space=0)\n--\n\nThe ClusterMember that the key belongs to."},
    {"entries", PLAIN(cluster_entries),
     "entries(member, /)\n--\n\nA list of ClusterEntry: the objects of the member of that name.\n\n"
     "FileNotFoundError: there is no such member. Others as get()."},
    {"counts", PLAIN(cluster_counts),
     "counts(member, /)\n--\n\nA dict of what the member of that name has done since it began: gets,\n"
     "hits, puts, removals, refused, given_up. Now: connections, objects, used_bytes,\n"
     "capacity_bytes. hfx_open(3) says more.\n\n"
     "FileNotFoundError: there is no such member. Others as get()."},
    {"__enter__", ALONE(cluster_enter), NULL},
    {"__exit__", PLAIN(cluster_exit), NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot cluster_slots[] = {
    {Py_tp_doc,
     "Cluster(etcd=None, *, members=None, secret=None, prefix=None, ca=None, cert=None, key=None,\n"
     "        timeout=2.0, server=None)\n--\n\n"
     "The caches of all members as one. A context manager that closes it. Keys are bytes, or str\n"
     "as UTF-8.\n\n"
     "etcd: \"http://HOST:PORT,...\", where the members find each other, or members: all of them,\n"
     "as \"NAME=HOST:PORT,...\". prefix: of the keys in etcd; None: \"holdfast/\". ca, cert, key:\n"
     "files for https. secret: what all of the cluster know and nobody else. timeout: a member\n"
     "that has not answered after so many seconds is given up. server: the Server of this\n"
     "process, whose keys take no message.\n\n"
     "OSError EINVAL: an option is wrong. TimeoutError: etcd did not tell of members in time."},
    {Py_tp_new, cluster_new},
    {Py_tp_dealloc, cluster_dealloc},
    {Py_tp_methods, cluster_methods},
    {Py_sq_contains, cluster_contains},
    {0, NULL},
};
static PyType_Spec cluster_spec = {"holdfast.cluster.Cluster", sizeof(struct py_cluster), 0,
                                   Py_TPFLAGS_DEFAULT, cluster_slots};

int add_cluster(PyObject *module)
{
    return (cluster_type = add_type(module, &cluster_spec)) ? 0 : -1;
}
