/* SPDX-License-Identifier: MIT */
/* Methods of Cache for its second tier, and for what leaves. holdfast/_fetches.py makes
 * awaitables of them. */
#include "cache.h"

#include <errno.h>

PyObject *cache_fetch(struct py_cache *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"key", "space", NULL};
    PyObject *object = NULL;
    struct hfc_key key;
    uint32_t space = 0;
    Py_buffer view;

    if (!PyArg_ParseTupleAndKeywords(args, keywords, "s*|$O&:fetch", names, &view, to_uint32,
                                     &space))
        return NULL;
    name_key(&view, space, &key);
    if (cache_is_open(self))
        object = get_one(self, &key, GET_FETCHED, 0);
    PyBuffer_Release(&view);
    return object;
}

PyObject *cache_fetch_begin(struct py_cache *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"key", "tag", "space", NULL};
    PyObject *object = NULL;
    unsigned long long tag;
    struct hfc_key key;
    uint32_t space = 0;
    Py_buffer view;

    if (!PyArg_ParseTupleAndKeywords(args, keywords, "s*O&|$O&:fetch_begin", names, &view,
                                     to_uint64, &tag, to_uint32, &space))
        return NULL;
    name_key(&view, space, &key);
    if (cache_is_open(self))
        object = get_one(self, &key, GET_BEGUN, tag);
    PyBuffer_Release(&view);
    return object;
}

PyObject *cache_fetch_next(struct py_cache *self, PyObject *unused)
{
    (void)unused;
    return cache_is_open(self) ? next_fetched(self) : NULL;
}

PyObject *cache_fetch_fd(struct py_cache *self, PyObject *unused)
{
    int fd;

    (void)unused;
    if (!cache_is_open(self))
        return NULL;
    fd = hfc_fetch_fd(self->cache);
    return fd < 0 ? cache_failed(fd) : PyLong_FromLong(fd);
}

PyObject *cache_before_close(struct py_cache *self, PyObject *args)
{
    PyObject *call, *before = self->closing;

    if (!PyArg_ParseTuple(args, "O:_before_close", &call))
        return NULL;
    self->closing = call == Py_None ? NULL : Py_NewRef(call);
    Py_XDECREF(before);
    Py_RETURN_NONE;
}

PyObject *cache_evict(struct py_cache *self, PyObject *args)
{
    PyObject *given = Py_None;
    uint64_t bytes = UINT64_MAX, gone = 0;
    int rc;

    if (!PyArg_ParseTuple(args, "|O:evict", &given) || !cache_is_open(self))
        return NULL;
    if (given != Py_None)
        bytes = PyLong_AsUnsignedLongLong(given);
    if (PyErr_Occurred())
        return NULL;
    WITHOUT_LOCK(self, rc, hfc_evict(self->cache, bytes, &gone));
    return rc ? cache_failed(rc) : PyLong_FromUnsignedLongLong(gone);
}

static PyObject *tier_dict(const struct hfc_tier_stats *stats)
{
#define FIELD(name) #name, (unsigned long long)stats->name
    return Py_BuildValue("{sz sz sK sK sK sK sK sK sK sK sK sK sK sK si sO sK}", "path",
                         stats->path, "fault", stats->fault, FIELD(capacity_bytes),
                         FIELD(used_bytes), FIELD(demoted), FIELD(demoted_bytes), FIELD(kept),
                         FIELD(skipped), FIELD(promoted), FIELD(promoted_bytes), FIELD(misses),
                         FIELD(damaged), FIELD(write_errors), FIELD(read_errors), "last_error",
                         stats->last_error, "last_error_reading",
                         stats->last_error_reading ? Py_True : Py_False, FIELD(last_error_time));
#undef FIELD
}

PyObject *cache_tier_stats(struct py_cache *self, PyObject *unused)
{
    struct hfc_tier_stats stats = {.size = sizeof stats};
    int rc;

    (void)unused;
    if (!cache_is_open(self))
        return NULL;
    rc = hfc_tier_stats(self->cache, &stats);
    if (rc == -ENOENT)
        Py_RETURN_NONE;
    return rc ? cache_failed(rc) : tier_dict(&stats);
}
