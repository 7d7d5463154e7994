/* SPDX-License-Identifier: MIT */
/* Methods of Cluster for many keys: one batch for all, and for gets of unknown lengths a few. */
#include "cluster.h"

#include <errno.h>

#define SIZE_GUESS 65536
#define GROUP 256 /* so many objects have memory for their guessed size at a time */

struct many {
    struct keys keys;
    struct hfx_request *requests;
    int64_t *results;
    Py_buffer *buffers;
    int buffer_count;
};

static void drop_many(struct many *many)
{
    while (many->buffer_count)
        PyBuffer_Release(&many->buffers[--many->buffer_count]);
    PyMem_Free(many->buffers);
    PyMem_Free(many->requests);
    PyMem_Free(many->results);
    drop_keys(&many->keys);
}

/* For drop_many(), also when it fails. */
static bool take_many(PyObject *given, uint32_t space, struct many *many)
{
    size_t count;

    *many = (struct many){0};
    if (!take_keys(given, space, &many->keys)) {
        many->keys = (struct keys){0};
        return false;
    }
    count = (size_t)many->keys.count;
    many->requests = PyMem_Malloc(count * sizeof *many->requests);
    many->results = PyMem_Malloc(count * sizeof *many->results);
    many->buffers = PyMem_Malloc(count * sizeof *many->buffers);
    if (!many->requests || !many->results || !many->buffers) {
        PyErr_NoMemory();
        return false;
    }
    for (size_t i = 0; i < count; i++)
        many->requests[i] = (struct hfx_request){.key = many->keys.keys[i]};
    return true;
}

/* As many as keys. */
static bool take_buffers(PyObject *given, const char *format, struct many *many)
{
    PyObject *tuple = PySequence_Tuple(given);
    bool whole = tuple != NULL;

    if (whole && PyTuple_Size(tuple) != many->keys.count) {
        PyErr_Format(PyExc_ValueError, "%zd buffers for %d keys", PyTuple_Size(tuple),
                     many->keys.count);
        whole = false;
    }
    for (int i = 0; whole && i < many->keys.count; i++) {
        Py_buffer *buffer = &many->buffers[i];

        whole = PyArg_Parse(PyTuple_GetItem(tuple, i), format, buffer);
        if (!whole)
            break;
        many->buffer_count++;
        many->requests[i].bytes = buffer->buf;
        many->requests[i].len = (size_t)buffer->len;
    }
    Py_XDECREF(tuple); /* a view keeps its object */
    return whole;
}

/* False: the whole batch failed, with an exception. */
static bool batch_run(struct py_cluster *self, struct hfx_request *requests, int count,
                      int64_t *results)
{
    int rc;

    if (count == 0)
        return true;
    WITHOUT_LOCK(self, rc, hfx_batch(self->cluster, requests, (unsigned)count, results));
    if (rc < 0)
        cluster_failed(rc);
    return rc >= 0;
}

static bool is_failure(uint32_t operation, int64_t result)
{
    return result < 0 && (result != -ENOENT || operation == HFX_PUT);
}

/* An answer to each; or the last failure. */
static PyObject *list_answers(const struct many *many, uint32_t operation, PyObject **objects,
                              bool return_exceptions)
{
    int last = many->keys.count - 1;
    PyObject *list;

    while (last >= 0 && !is_failure(operation, many->results[last]))
        last--;
    if (last >= 0 && !return_exceptions) {
        PyObject *error = cluster_error(many->results[last]);

        if (error)
            PyErr_SetObject((PyObject *)Py_TYPE(error), error);
        Py_XDECREF(error);
        return NULL;
    }
    list = PyList_New(0);
    for (int i = 0; list && i < many->keys.count; i++) {
        PyObject *one = is_failure(operation, many->results[i]) ? cluster_error(many->results[i])
                        : objects && objects[i]                 ? Py_NewRef(objects[i])
                                                : cluster_answer(operation, many->results[i]);

        if (!one || PyList_Append(list, one))
            Py_CLEAR(list);
        Py_XDECREF(one);
    }
    return list;
}

static PyObject *run_many(struct py_cluster *self, struct many *many, uint32_t operation,
                          int return_exceptions)
{
    for (int i = 0; i < many->keys.count; i++)
        many->requests[i].operation = operation;
    return cluster_is_open(self) && batch_run(self, many->requests, many->keys.count, many->results)
               ? list_answers(many, operation, NULL, return_exceptions)
               : NULL;
}

/* --- keys, and keys with buffers --- */

static PyObject *on_keys(struct py_cluster *self, PyObject *args, PyObject *keywords,
                         const char *format, uint32_t operation)
{
    static char *names[] = {"keys", "space", "return_exceptions", NULL};
    PyObject *given, *list = NULL;
    int return_exceptions = 0;
    uint32_t space = 0;
    struct many many;

    if (!PyArg_ParseTupleAndKeywords(args, keywords, format, names, &given, to_uint32, &space,
                                     &return_exceptions))
        return NULL;
    if (take_many(given, space, &many))
        list = run_many(self, &many, operation, return_exceptions);
    drop_many(&many);
    return list;
}

static PyObject *on_buffers(struct py_cluster *self, PyObject *args, PyObject *keywords,
                            char *names[], const char *format, const char *buffer,
                            uint32_t operation)
{
    PyObject *given, *buffers, *list = NULL;
    int return_exceptions = 0;
    uint32_t space = 0;
    struct many many;

    if (!PyArg_ParseTupleAndKeywords(args, keywords, format, names, &given, &buffers, to_uint32,
                                     &space, &return_exceptions))
        return NULL;
    if (take_many(given, space, &many) && take_buffers(buffers, buffer, &many))
        list = run_many(self, &many, operation, return_exceptions);
    drop_many(&many);
    return list;
}

PyObject *cluster_get_many_into(struct py_cluster *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"keys", "buffers", "space", "return_exceptions", NULL};

    return on_buffers(self, args, keywords, names, "OO|$O&p:get_many_into", "w*", HFX_GET);
}

PyObject *cluster_put_many(struct py_cluster *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"keys", "data", "space", "return_exceptions", NULL};

    return on_buffers(self, args, keywords, names, "OO|$O&p:put_many", "y*", HFX_PUT);
}

PyObject *cluster_remove_many(struct py_cluster *self, PyObject *args, PyObject *keywords)
{
    return on_keys(self, args, keywords, "O|$O&p:remove_many", HFX_REMOVE);
}

PyObject *cluster_length_many(struct py_cluster *self, PyObject *args, PyObject *keywords)
{
    return on_keys(self, args, keywords, "O|$O&p:length_many", HFX_LENGTH);
}

/* --- gets of unknown lengths --- */

/* Of a group, those that a batch is for. */
struct picked {
    int at[GROUP], count;
    struct hfx_request requests[GROUP];
    int64_t results[GROUP];
};

static void pick(struct picked *picked, const struct many *many, int at, uint32_t operation)
{
    struct hfx_request *request = &picked->requests[picked->count];

    *request = many->requests[at];
    request->operation = operation;
    picked->at[picked->count++] = at;
}

/* The length of each that is wanted, where the room is 0. */
static bool learn_lengths(struct py_cluster *self, struct many *many, int first, int end)
{
    struct picked picked;

    picked.count = 0;
    for (int i = first; i < end; i++)
        if (many->results[i] == -EMSGSIZE && many->requests[i].len == 0)
            pick(&picked, many, i, HFX_LENGTH);
    if (!batch_run(self, picked.requests, picked.count, picked.results))
        return false;
    for (int i = 0; i < picked.count; i++) {
        if (picked.results[i] < 0)
            many->results[picked.at[i]] = picked.results[i];
        else
            many->requests[picked.at[i]].len = (size_t)picked.results[i];
    }
    return true;
}

/* Cuts off what a guess had too much. */
static PyObject *got_bytes(PyObject *whole, int64_t len)
{
    return len == PyBytes_Size(whole)
               ? Py_NewRef(whole)
               : PyBytes_FromStringAndSize(PyBytes_AsString(whole), (Py_ssize_t)len);
}

static bool give_bytes(struct many *many, int at, PyObject **object)
{
    Py_XDECREF(*object);
    *object = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)many->requests[at].len);
    if (*object)
        many->requests[at].bytes = PyBytes_AsString(*object);
    return *object != NULL;
}

/* A get of each that is wanted. What has grown too large is wanted again. */
static bool get_wanted(struct py_cluster *self, struct many *many, int first, int end,
                       PyObject **objects)
{
    struct picked picked;

    picked.count = 0;
    for (int i = first; i < end; i++) {
        if (many->results[i] != -EMSGSIZE)
            continue;
        if (!give_bytes(many, i, &objects[i]))
            return false;
        pick(&picked, many, i, HFX_GET);
    }
    if (!batch_run(self, picked.requests, picked.count, picked.results))
        return false;
    for (int i = 0; i < picked.count; i++) {
        int at = picked.at[i];
        PyObject *whole = objects[at];

        many->results[at] = picked.results[i];
        many->requests[at].len = 0;
        objects[at] = picked.results[i] >= 0 ? got_bytes(whole, picked.results[i]) : NULL;
        Py_DECREF(whole);
        if (picked.results[i] >= 0 && !objects[at])
            return false;
    }
    return true;
}

static bool is_wanted(const struct many *many, int first, int end)
{
    for (int i = first; i < end; i++)
        if (many->results[i] == -EMSGSIZE)
            return true;
    return false;
}

static bool get_group(struct py_cluster *self, struct many *many, int first, int end,
                      PyObject **objects)
{
    while (is_wanted(many, first, end))
        if (!learn_lengths(self, many, first, end) || !get_wanted(self, many, first, end, objects))
            return false;
    return true;
}

static PyObject *get_all(struct py_cluster *self, struct many *many, size_t size,
                         int return_exceptions)
{
    int count = many->keys.count;
    PyObject **objects = PyMem_Calloc((size_t)count, sizeof(PyObject *)), *list;
    bool whole = objects != NULL;

    if (!objects)
        PyErr_NoMemory();
    for (int i = 0; i < count; i++) {
        many->results[i] = -EMSGSIZE; /* wanted */
        many->requests[i].len = size;
    }
    for (int first = 0; whole && first < count; first += GROUP)
        whole =
            get_group(self, many, first, first + GROUP < count ? first + GROUP : count, objects);
    list = whole ? list_answers(many, HFX_GET, objects, return_exceptions) : NULL;
    for (int i = 0; objects && i < count; i++)
        Py_XDECREF(objects[i]);
    PyMem_Free(objects);
    return list;
}

PyObject *cluster_get_many(struct py_cluster *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"keys", "size", "space", "return_exceptions", NULL};
    unsigned long long size = SIZE_GUESS;
    PyObject *given, *list = NULL;
    int return_exceptions = 0;
    uint32_t space = 0;
    struct many many;

    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O|$O&O&p:get_many", names, &given, to_uint64,
                                     &size, to_uint32, &space, &return_exceptions))
        return NULL;
    if (size > PY_SSIZE_T_MAX)
        return PyErr_NoMemory();
    if (take_many(given, space, &many) && cluster_is_open(self))
        list = get_all(self, &many, (size_t)size, return_exceptions);
    drop_many(&many);
    return list;
}
