/* SPDX-License-Identifier: MIT */
/* Keys as Python gives them. Both extensions have a copy of this file and of values.c. */
#include "cache.h"

void name_key(const Py_buffer *view, unsigned space, struct hfc_key *key)
{
    *key = (struct hfc_key){.bytes = view->buf,
                            .len = view->len > UINT32_MAX ? UINT32_MAX : (uint32_t)view->len,
                            .space = space};
}

void drop_keys(struct keys *keys)
{
    while (keys->count)
        PyBuffer_Release(&keys->views[--keys->count]);
    PyMem_Free(keys->views);
    PyMem_Free(keys->keys);
}

static PyObject *tuple_of(PyObject *given, Py_ssize_t *count)
{
    PyObject *tuple;

    if (PyUnicode_Check(given) || PyObject_CheckBuffer(given)) {
        PyErr_SetString(PyExc_TypeError, "keys are given as a list or tuple, also one alone");
        return NULL;
    }
    tuple = PySequence_Tuple(given);
    *count = tuple ? PyTuple_Size(tuple) : 0;
    if (*count <= INT_MAX)
        return tuple;
    Py_DECREF(tuple);
    PyErr_SetString(PyExc_ValueError, "more than 2,147,483,647 keys");
    return NULL;
}

bool take_keys(PyObject *given, unsigned space, struct keys *keys)
{
    Py_ssize_t count = 0;
    PyObject *tuple = tuple_of(given, &count);
    bool whole = tuple != NULL;

    *keys = (struct keys){0};
    if (!tuple)
        return false;
    keys->keys = PyMem_Malloc((size_t)count * sizeof *keys->keys);
    keys->views = PyMem_Malloc((size_t)count * sizeof *keys->views);
    if (!keys->keys || !keys->views) {
        PyErr_NoMemory();
        whole = false;
    }
    for (Py_ssize_t i = 0; i < count && whole; i++) {
        whole = PyArg_Parse(PyTuple_GetItem(tuple, i), "s*:key", &keys->views[i]);
        if (whole) {
            name_key(&keys->views[i], space, &keys->keys[i]);
            keys->count++;
        }
    }
    Py_DECREF(tuple); /* a view keeps its object */
    if (!whole)
        drop_keys(keys);
    return whole;
}
