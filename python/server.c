/* SPDX-License-Identifier: MIT */
/* Server: a member of a cluster in this process, which serves a Cache to others. */
#include "cluster.h"

#include <errno.h>

#define SLICE_NS UINT64_C(50000000) /* so often a wait looks for signals */

PyTypeObject *server_type;

/* --- opening and closing --- */

static bool server_is_open(const struct py_server *self)
{
    if (self->server)
        return true;
    PyErr_SetString(PyExc_ValueError, "the server is closed");
    return false;
}

static PyObject *open_server(PyTypeObject *type, struct hfx_server_options *options,
                             struct py_cache *cache)
{
    struct hfx_server *server = NULL;
    struct py_server *self;
    int rc;

    if (!cache->cache)
        return PyErr_Format(PyExc_ValueError, "the cache is closed");
    options->cache = cache->cache;
    WITHOUT_LOCK(cache, rc, hfx_server_open(options, &server));
    if (rc)
        return cluster_failed(rc);
    self = PyObject_New(struct py_server, type);
    if (!self) {
        UNSHARED_WITHOUT_LOCK(hfx_server_close(server));
        return NULL;
    }
    self->server = server;
    self->busy = 0;
    self->cache = (struct py_cache *)Py_NewRef((PyObject *)cache);
    cache->busy++;
    return (PyObject *)self;
}

static PyObject *server_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"cache", "name", "listen", "secret", "stall", NULL};
    struct hfx_server_options options = {.size = sizeof options};
    PyObject *cache;
    double stall = 0;

    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O!s|$zzd:Server", names,
                                     cache_calls->cache_type, &cache, &options.name,
                                     &options.listen, &options.secret, &stall) ||
        !seconds_to_ns(stall, &options.stall_ns))
        return NULL;
    return open_server(type, &options, (struct py_cache *)cache);
}

static void end_server(struct py_server *self)
{
    struct hfx_server *server = self->server;

    if (!server)
        return;
    self->server = NULL;
    UNSHARED_WITHOUT_LOCK(hfx_server_close(server));
    self->cache->busy--;
}

static PyObject *server_close(struct py_server *self, PyObject *unused)
{
    (void)unused;
    if (!not_busy(self->busy))
        return NULL;
    end_server(self);
    Py_RETURN_NONE;
}

static PyObject *server_enter(PyObject *self, PyObject *unused)
{
    (void)unused;
    return server_is_open((struct py_server *)self) ? Py_NewRef(self) : NULL;
}

static PyObject *server_exit(struct py_server *self, PyObject *args)
{
    (void)args;
    return server_close(self, NULL);
}

static void server_dealloc(struct py_server *self)
{
    PyTypeObject *type = Py_TYPE((PyObject *)self);

    end_server(self);
    Py_DECREF((PyObject *)self->cache);
    PyObject_Free(self);
    Py_DECREF(type);
}

/* --- serving --- */

static PyObject *server_start(struct py_server *self, PyObject *args)
{
    const char *members;
    int rc;

    if (!PyArg_ParseTuple(args, "s:start", &members) || !server_is_open(self))
        return NULL;
    WITHOUT_LOCK(self, rc, hfx_server_start(self->server, members));
    return rc ? cluster_failed(rc) : Py_NewRef(Py_None);
}

static PyObject *server_join(struct py_server *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"etcd", "prefix", "ca", "cert", "key", "lease", NULL};
    struct etcd_names paths = {0};
    PyObject *answer = NULL;
    struct hfx_etcd etcd;
    uint32_t lease = 0;
    const char *urls;
    int rc;

    if (PyArg_ParseTupleAndKeywords(args, keywords, "s|$zO&O&O&O&:join", names, &urls,
                                    &paths.prefix, to_certificate, &paths.ca, to_certificate,
                                    &paths.cert, to_certificate, &paths.key, to_uint32, &lease) &&
        server_is_open(self)) {
        etcd = name_etcd(urls, &paths);
        etcd.lease_seconds = lease;
        WITHOUT_LOCK(self, rc, hfx_server_join(self->server, &etcd));
        answer = rc ? cluster_failed(rc) : Py_NewRef(Py_None);
    }
    drop_etcd_names(&paths);
    return answer;
}

/* By slices, so that a signal ends it. */
static PyObject *server_wait(struct py_server *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"timeout", NULL};
    uint64_t left_ns = 0;
    double seconds;
    int rc;

    if (!PyArg_ParseTupleAndKeywords(args, keywords, "d:wait", names, &seconds) ||
        !seconds_to_ns(seconds, &left_ns))
        return NULL;
    for (;;) {
        uint64_t slice_ns = left_ns < SLICE_NS ? left_ns : SLICE_NS;

        if (!server_is_open(self))
            return NULL;
        WITHOUT_LOCK(self, rc, hfx_server_await(self->server, slice_ns));
        left_ns -= slice_ns;
        if (rc != -ETIMEDOUT || left_ns == 0)
            break;
        if (PyErr_CheckSignals())
            return NULL;
    }
    return rc ? cluster_failed(rc) : Py_NewRef(Py_None);
}

static PyObject *server_address(struct py_server *self, PyObject *unused)
{
    (void)unused;
    return server_is_open(self) ? PyUnicode_FromString(hfx_server_address(self->server)) : NULL;
}

/* --- the type --- */

static PyMethodDef server_methods[] = {
    {"address", ALONE(server_address), "address()\n--\n\nHOST:PORT where it listens."},
    {"start", PLAIN(server_start),
     "start(members, /)\n--\n\nBegins to answer, in a thread of its own, for the keys that belong to\n"
     "its name in the list of members, \"NAME=HOST:PORT,...\".\n\n"
     "OSError EINVAL: the list is wrong or does not have its name, or it serves already."},
    {"join", NAMED(server_join),
     "join(etcd, *, prefix=None, ca=None, cert=None, key=None, lease=0)\n--\n\nBegins to answer\n"
     "likewise, and joins the members in etcd, in threads of its own. It drops all objects of the\n"
     "cache before it joins, and those whose keys move to others. lease: seconds of silence after\n"
     "which a member is out; 0: five. The rest as of Cluster.\n\n"
     "OSError EINVAL: an option is wrong, the cache has a second tier, or it serves already."},
    {"wait", NAMED(server_wait),
     "wait(timeout)\n--\n\nWaits until the others know it as a member.\n\n"
     "TimeoutError: timeout seconds have gone; it says what has failed last."},
    {"close", ALONE(server_close),
     "close()\n--\n\nLeaves the others, ends what is under way (two seconds at most) and closes.\n\n"
     "OSError EBUSY: a Cluster of this process has it, or another thread is in a call on it."},
    {"__enter__", ALONE(server_enter), NULL},
    {"__exit__", PLAIN(server_exit), NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot server_slots[] = {
    {Py_tp_doc,
     "Server(cache, name, *, listen=None, secret=None, stall=0.0)\n--\n\n"
     "A member of a cluster, that serves a holdfast.Cache to others when start() or join() is\n"
     "called. A context manager that closes it. The cache cannot be closed before it.\n\n"
     "name: of the member, which all of the cluster know. listen: \"HOST:PORT\" of this machine;\n"
     "None: 127.0.0.1 and any port. secret: as of Cluster. stall: a connection on which a transfer\n"
     "has not moved for so many seconds is closed; 0: ten.\n\n"
     "PermissionError: no secret, and the address is not a loopback address. OSError EINVAL,\n"
     "EADDRNOTAVAIL, EADDRINUSE."},
    {Py_tp_new, server_new},
    {Py_tp_dealloc, server_dealloc},
    {Py_tp_methods, server_methods},
    {0, NULL},
};
static PyType_Spec server_spec = {"holdfast.cluster.Server", sizeof(struct py_server), 0,
                                  Py_TPFLAGS_DEFAULT, server_slots};

int add_server(PyObject *module)
{
    return (server_type = add_type(module, &server_spec)) ? 0 : -1;
}
