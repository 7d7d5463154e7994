/* SPDX-License-Identifier: MIT */
/*
 * Methods of Cluster for requests that are begun, and end later. The library knows one by the
 * address of its struct begun, which keeps its buffer and its tag until next() has told of it.
 */
#include "cluster.h"

#include <errno.h>
#include <time.h>

#define SLICE_NS UINT64_C(50000000) /* so often a wait looks for signals */
#define FOR_EVER UINT64_MAX

struct begun {
    uint32_t operation;
    Py_buffer buffer; /* of a get or a put */
    PyObject *tag;
};

static bool has_buffer(uint32_t operation)
{
    return operation == HFX_GET || operation == HFX_PUT;
}

static void drop_begun(struct begun *begun)
{
    if (has_buffer(begun->operation))
        PyBuffer_Release(&begun->buffer);
    Py_DECREF(begun->tag);
    PyMem_Free(begun);
}

/* Takes over `begun`. */
static PyObject *begin_begun(struct py_cluster *self, const struct hfc_key *key,
                             struct begun *begun)
{
    struct hfx_request request = {
        .operation = begun->operation, .key = *key, .tag = (uint64_t)(uintptr_t)begun};
    int rc;

    if (!cluster_is_open(self)) {
        drop_begun(begun);
        return NULL;
    }
    if (has_buffer(begun->operation)) {
        request.bytes = begun->buffer.buf;
        request.len = (size_t)begun->buffer.len;
    }
    self->begun++; /* before another thread may be told of it */
    WITHOUT_LOCK(self, rc, hfx_begin(self->cluster, &request, 1));
    if (rc == 0)
        Py_RETURN_NONE;
    self->begun--;
    drop_begun(begun);
    return cluster_failed(rc);
}

static struct begun *make_begun(uint32_t operation, PyObject *tag, const Py_buffer *buffer)
{
    struct begun *begun = PyMem_Malloc(sizeof *begun);

    if (!begun) {
        PyErr_NoMemory();
        return NULL;
    }
    begun->operation = operation;
    begun->tag = Py_NewRef(tag);
    if (buffer)
        begun->buffer = *buffer;
    return begun;
}

static PyObject *begin_with_buffer(struct py_cluster *self, PyObject *args, PyObject *keywords,
                                   char *names[], const char *format, uint32_t operation)
{
    PyObject *tag = Py_None, *answer = NULL;
    Py_buffer view, buffer;
    struct begun *begun;
    uint32_t space = 0;
    struct hfc_key key;

    if (!PyArg_ParseTupleAndKeywords(args, keywords, format, names, &view, &buffer, &tag, to_uint32,
                                     &space))
        return NULL;
    name_key(&view, space, &key);
    begun = make_begun(operation, tag, &buffer);
    if (begun)
        answer = begin_begun(self, &key, begun);
    else
        PyBuffer_Release(&buffer);
    PyBuffer_Release(&view);
    return answer;
}

static PyObject *begin_on_key(struct py_cluster *self, PyObject *args, PyObject *keywords,
                              const char *format, uint32_t operation)
{
    static char *names[] = {"key", "tag", "space", NULL};
    PyObject *tag = Py_None, *answer = NULL;
    struct begun *begun;
    uint32_t space = 0;
    struct hfc_key key;
    Py_buffer view;

    if (!PyArg_ParseTupleAndKeywords(args, keywords, format, names, &view, &tag, to_uint32, &space))
        return NULL;
    name_key(&view, space, &key);
    begun = make_begun(operation, tag, NULL);
    if (begun)
        answer = begin_begun(self, &key, begun);
    PyBuffer_Release(&view);
    return answer;
}

PyObject *cluster_begin_get(struct py_cluster *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"key", "buffer", "tag", "space", NULL};

    return begin_with_buffer(self, args, keywords, names, "s*w*|O$O&:begin_get", HFX_GET);
}

PyObject *cluster_begin_put(struct py_cluster *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"key", "data", "tag", "space", NULL};

    return begin_with_buffer(self, args, keywords, names, "s*y*|O$O&:begin_put", HFX_PUT);
}

PyObject *cluster_begin_remove(struct py_cluster *self, PyObject *args, PyObject *keywords)
{
    return begin_on_key(self, args, keywords, "s*|O$O&:begin_remove", HFX_REMOVE);
}

PyObject *cluster_begin_length(struct py_cluster *self, PyObject *args, PyObject *keywords)
{
    return begin_on_key(self, args, keywords, "s*|O$O&:begin_length", HFX_LENGTH);
}

/* --- their ends --- */

static PyObject *tell_of(struct py_cluster *self, const struct hfx_result *result)
{
    struct begun *begun = (struct begun *)(uintptr_t)result->tag;
    bool fails = result->result < 0 && (result->result != -ENOENT || begun->operation == HFX_PUT);
    PyObject *what =
        fails ? cluster_error(result->result) : cluster_answer(begun->operation, result->result);
    PyObject *told = what ? Py_BuildValue("ON", begun->tag, what) : NULL;

    self->begun--;
    drop_begun(begun);
    return told;
}

static uint64_t begun_clock_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* By slices, so that a signal ends it. */
static PyObject *wait_for_one(struct py_cluster *self, uint64_t until_ns)
{
    for (uint64_t now_ns = begun_clock_ns(); self->begun; now_ns = begun_clock_ns()) {
        uint64_t left_ns = until_ns > now_ns ? until_ns - now_ns : 0;
        struct hfx_result result;
        int rc;

        WITHOUT_LOCK(self, rc,
                     hfx_next(self->cluster, left_ns < SLICE_NS ? left_ns : SLICE_NS, &result, 1));
        if (rc < 0)
            return cluster_failed(rc);
        if (rc == 1)
            return tell_of(self, &result);
        if (left_ns <= SLICE_NS)
            break;
        if (PyErr_CheckSignals())
            return NULL;
    }
    Py_RETURN_NONE;
}

PyObject *cluster_next(struct py_cluster *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"timeout", NULL};
    PyObject *given = Py_None;
    uint64_t wait_ns = 0, until_ns = FOR_EVER;

    if (!PyArg_ParseTupleAndKeywords(args, keywords, "|O:next", names, &given))
        return NULL;
    if (given != Py_None) {
        double seconds = PyFloat_AsDouble(given);

        if (PyErr_Occurred() || !seconds_to_ns(seconds, &wait_ns))
            return NULL;
        until_ns = begun_clock_ns() + wait_ns;
    }
    return cluster_is_open(self) ? wait_for_one(self, until_ns) : NULL;
}

void cluster_drain(struct py_cluster *self)
{
    struct hfx_result result;
    int rc = 1;

    while (self->begun && rc == 1) {
        UNSHARED_WITHOUT_LOCK(rc = hfx_next(self->cluster, FOR_EVER, &result, 1));
        if (rc == 1)
            drop_begun((struct begun *)(uintptr_t)result.tag);
        self->begun -= rc == 1;
    }
}
