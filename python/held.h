/* SPDX-License-Identifier: MIT */
/* What Pin and Lease have in common (held.c). */
#ifndef HFPY_HELD_H
#define HFPY_HELD_H

#include "hfpy.h"

/* With `writable`, and one piece's room; the rest is zero. */
struct py_held *held_new(PyTypeObject *type, struct py_pool *pool, bool writable);
/* Frees what the object refers to, not the object. */
void held_drop(struct py_held *self);
/* More room for pieces. False: MemoryError. */
bool held_room(struct py_held *self, int *room);
/* ValueError when it has been released; BufferError while views live. */
bool held_is_live(const struct py_held *self);
bool held_has_no_view(const struct py_held *self);

int held_get_buffer(PyObject *object, Py_buffer *view, int flags);
void held_release_buffer(PyObject *object, Py_buffer *view);
Py_ssize_t held_len(PyObject *object);
PyObject *held_enter(PyObject *self, PyObject *unused);
PyObject *held_pieces(struct py_held *self, PyObject *unused);
PyObject *held_dlpack(PyObject *self, PyObject *args, PyObject *keywords);
PyObject *held_dlpack_device(PyObject *self, PyObject *unused);

#define HELD_METHODS                                                                               \
    {"pieces", (PyCFunction)held_pieces, METH_NOARGS,                                              \
     "pieces()\n--\n\nReturns a tuple of Piece, in file order: the places where it lies."},        \
        {"__dlpack__", (PyCFunction)(void (*)(void))held_dlpack, METH_VARARGS | METH_KEYWORDS,     \
         "__dlpack__(*, stream=None, max_version=None, dl_device=None, copy=None)\n--\n\n"         \
         "A capsule of bytes, without a copy; a read-only one needs max_version (1, 0)."},         \
    {                                                                                              \
        "__dlpack_device__", held_dlpack_device, METH_NOARGS,                                      \
            "__dlpack_device__()\n--\n\n(1, 0): the CPU."                                          \
    }

#endif
