/* SPDX-License-Identifier: MIT */
/*
 * Put: memory past the end of a file, as a buffer to fill. It may be published only when no view
 * can change it any more. A commit that fails leaves it as it was.
 */
#include "held.h"

#include <errno.h>
#include <holdfast/put.h>

#define PIECES_MOST 32 /* of a put */

static PyTypeObject *file_put_type;

struct py_file_put {
    struct py_held held;
    struct py_file *file;
    struct hf_put put;
    bool begun;
};

/* Also as the object goes, perhaps with an exception on its way. */
static int file_put_give_up(struct py_file_put *self)
{
    struct py_pool *pool = self->held.pool;
    int rc = 0;

    if (!self->begun)
        return 0;
    self->begun = false;
    WITHOUT_LOCK(pool, rc, hf_put_abort(pool->pool, &self->put));
    return rc;
}

/* The last view of a put that an exception has ended. */
static void file_put_unseen(struct py_held *held)
{
    if (!held->live)
        file_put_give_up((struct py_file_put *)held);
}

PyObject *make_put(struct py_file *file, uint64_t off, uint64_t len, uint32_t flags)
{
    struct py_file_put *self = (struct py_file_put *)held_new(file_put_type, file->pool, true);
    int room = 1, rc;

    if (!self)
        return NULL;
    self->file = (struct py_file *)Py_NewRef((PyObject *)file);
    self->begun = false;
    self->held.unseen = file_put_unseen;
    do {
        WITHOUT_LOCK(file, rc,
                     hf_put_begin(file->file, off, len, flags, self->held.iov, room, &self->put));
    } while (rc == -E2BIG && room < PIECES_MOST && (held_room(&self->held, &room) || (rc = 0)));
    if (rc > 0) {
        self->begun = true;
        self->held.pieces = rc;
        self->held.live = true;
        return (PyObject *)self;
    }
    Py_DECREF((PyObject *)self);
    return rc ? failed(rc) : NULL;
}

/* Null: it goes on. */
static PyObject *file_put_end(struct py_file_put *self, uint64_t len, const char *path,
                              uint32_t flags)
{
    int rc;

    if (!held_has_no_view(&self->held))
        return NULL;
    if (!self->file->file) {
        PyErr_SetString(PyExc_ValueError, "the file is closed");
        return NULL;
    }
    self->held.live = false; /* no view begins meanwhile */
    if (path)
        WITHOUT_LOCK(self->file, rc,
                     hf_put_commit_as(self->file->file, &self->put, len, path, flags));
    else
        WITHOUT_LOCK(self->file, rc, hf_put_commit(self->file->file, &self->put, len));
    self->held.live = rc != 0;
    self->begun = rc != 0;
    return done(rc);
}

static bool file_put_is_live(const struct py_file_put *self)
{
    if (self->held.live)
        return true;
    PyErr_SetString(PyExc_ValueError, "the put has ended");
    return false;
}

static PyObject *file_put_commit(struct py_file_put *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"size", "path", "flags", NULL};
    PyObject *given = Py_None, *name = Py_None, *path = NULL, *result = NULL;
    unsigned long long len;
    uint32_t flags = 0;

    if (!PyArg_ParseTupleAndKeywords(args, keywords, "|O$OO&:commit", names, &given, &name,
                                     to_uint32, &flags) ||
        !file_put_is_live(self))
        return NULL;
    len = given == Py_None ? (unsigned long long)held_len((PyObject *)self)
                           : PyLong_AsUnsignedLongLong(given);
    if (PyErr_Occurred() || (name != Py_None && !PyUnicode_FSConverter(name, &path)))
        return NULL;
    result = file_put_end(self, len, path ? PyBytes_AsString(path) : NULL, flags);
    Py_XDECREF(path);
    return result;
}

static PyObject *file_put_abort(struct py_file_put *self, PyObject *unused)
{
    (void)unused;
    if (!self->held.live)
        Py_RETURN_NONE;
    if (!held_has_no_view(&self->held))
        return NULL;
    self->held.live = false;
    return done(file_put_give_up(self));
}

/* After an exception, its traceback may hold views. Then the last of them gives the memory back. */
static PyObject *file_put_exit(struct py_file_put *self, PyObject *args)
{
    PyObject *type, *value, *trace, *result = NULL;

    if (!PyArg_ParseTuple(args, "OOO:__exit__", &type, &value, &trace))
        return NULL;
    if (!self->held.live)
        Py_RETURN_NONE;
    if (type == Py_None) {
        result = file_put_end(self, (uint64_t)held_len((PyObject *)self), NULL, 0);
        if (result || self->held.views)
            return result;
    }
    self->held.live = false;
    if (!self->held.views)
        file_put_give_up(self);
    return type == Py_None ? result : Py_NewRef(Py_None);
}

static void file_put_dealloc(struct py_file_put *self)
{
    PyTypeObject *type = Py_TYPE((PyObject *)self);

    file_put_give_up(self);
    Py_DECREF((PyObject *)self->file);
    held_drop(&self->held);
    PyObject_Free(self);
    Py_DECREF(type);
}

static PyMethodDef file_put_methods[] = {
    HELD_METHODS,
    {"commit", NAMED(file_put_commit),
     "commit(size=None, *, path=None, flags=0)\n--\n\nMakes the first size bytes, or all, a part of "
     "the file, in one step. What fills the memory\nmust have ended. path: the name that a file "
     "of O_TMPFILE gets in the same step; what is there\nis replaced, or not with "
     "RENAME_NOREPLACE.\n\n"
     "After an error the put goes on. BufferError: a view is alive. ValueError: it has ended\n"
     "before, or the file is closed. OSError ESTALE: the file has grown meanwhile. EINVAL: size is\n"
     "0 or more than was begun."},
    {"abort", ALONE(file_put_abort),
     "abort()\n--\n\nGives the memory back; after an end it does nothing.\n\n"
     "BufferError: a view of it is alive."},
    {"__enter__", ALONE(held_enter), NULL},
    {"__exit__", PLAIN(file_put_exit), NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot file_put_slots[] = {
    {Py_tp_doc,
     "Memory past end of a file to fill; File.put_begin() returns it. Nobody else sees it.\n\n"
     "A writable buffer whose bytes may be anything at first. A context manager:\n"
     "its end commits, and an exception aborts. An object that goes without either\n"
     "aborts. BufferError: it lies in several places, use pieces()."},
    {Py_tp_dealloc, file_put_dealloc},
    {Py_tp_methods, file_put_methods},
    {Py_sq_length, held_len},
    {Py_bf_getbuffer, held_get_buffer},
    {Py_bf_releasebuffer, held_release_buffer},
    {0, NULL},
};
static PyType_Spec file_put_spec = {"holdfast.Put", sizeof(struct py_file_put), 0,
                                    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
                                    file_put_slots};

int add_put(PyObject *module)
{
    file_put_type = add_type(module, &file_put_spec);
    return file_put_type ? 0 : -1;
}
