/* SPDX-License-Identifier: MIT */
/*
 * Lease and Recall. The library knows a lease of Python's by a number, never by its address: a
 * recall may come when the object has gone. `leases` leads from a number to a weak reference; the
 * interpreter's lock protects it.
 *
 * A recall may come before hf_lease() has returned, so the number is known before, and the recall
 * brings the handle.
 */
#include "held.h"

#include <errno.h>

static PyTypeObject *lease_type;
static PyTypeObject *recall_type;
static PyObject *leases; /* number -> weak reference */
static uint64_t last_number;

static PyStructSequence_Field recall_fields[] = {
    {"lease", "the Lease to release; None: it is not there any more"},
    {"off", "bytes: the part that the layout change covers"},
    {"len", "bytes"},
    {"why", "one of the CHANGE_ constants"},
    {"state", "LEASE_RECALLED or LEASE_DETACHED"},
    {"deadline_ns", "of time.monotonic_ns(), when the layout change detaches or gives up; None: it "
                    "waits as long as it takes; 0: it did not wait"},
    {NULL, NULL},
};
static PyStructSequence_Desc recall_desc = {
    "holdfast.Recall", "A layout change asks for a lease: stop what uses it, then release it.",
    recall_fields, 6};

/* --- which lease --- */

static bool enter_lease(struct py_held *self)
{
    PyObject *key = PyLong_FromUnsignedLongLong(++last_number);
    PyObject *weak = key ? PyWeakref_NewRef((PyObject *)self, NULL) : NULL;
    int rc = weak ? PyDict_SetItem(leases, key, weak) : -1;

    self->number = rc ? 0 : last_number;
    Py_XDECREF(weak);
    Py_XDECREF(key);
    return rc == 0;
}

static void leave_lease(struct py_held *self)
{
    PyObject *type, *value, *trace, *key;

    if (!self->number)
        return;
    PyErr_Fetch(&type, &value, &trace);
    key = PyLong_FromUnsignedLongLong(self->number);
    if (!key || PyDict_DelItem(leases, key))
        PyErr_Clear();
    Py_XDECREF(key);
    PyErr_Restore(type, value, trace);
    self->number = 0;
}

/* A new reference, or null without an exception: it has gone. */
static struct py_held *find_lease(const struct hf_recall *recall)
{
    PyObject *key = PyLong_FromUnsignedLongLong((uint64_t)(uintptr_t)recall->arg);
    PyObject *weak = key ? PyDict_GetItemWithError(leases, key) : NULL;
    PyObject *lease = weak ? PyWeakref_GetObject(weak) : NULL;

    Py_XDECREF(key);
    PyErr_Clear();
    return lease && lease != Py_None ? (struct py_held *)Py_NewRef(lease) : NULL;
}

static PyObject *make_recall(const struct hf_recall *recall, struct py_held *lease)
{
    PyObject *fields[] = {
        Py_NewRef(lease ? (PyObject *)lease : Py_None),
        PyLong_FromUnsignedLongLong(recall->off),
        PyLong_FromUnsignedLongLong(recall->len),
        PyLong_FromUnsignedLong(recall->why),
        PyLong_FromUnsignedLong(recall->state),
        recall->deadline_ns == UINT64_MAX ? Py_NewRef(Py_None)
                                          : PyLong_FromUnsignedLongLong(recall->deadline_ns),
    };

    return make_record(recall_type, fields, 6);
}

/* --- recalls --- */

static void call_recall(struct py_held *lease, const struct hf_recall *recall)
{
    PyObject *argument = make_recall(recall, lease);
    PyObject *result =
        argument ? PyObject_CallFunctionObjArgs(lease->recall, argument, NULL) : NULL;

    if (!result)
        PyErr_WriteUnraisable(lease->recall);
    Py_XDECREF(result);
    Py_XDECREF(argument);
}

/* In a thread of the library. At exit the interpreter may be gone. */
static void lease_recalled(void *arg, const struct hf_recall *recall)
{
    PyGILState_STATE state;
    struct py_held *lease;

    (void)arg;
    if (!Py_IsInitialized())
        return;
    state = PyGILState_Ensure();
    lease = find_lease(recall);
    if (lease) {
        if (!lease->live && !lease->released) {
            lease->lease = recall->lease;
            lease->live = true;
        }
        call_recall(lease, recall);
        Py_DECREF((PyObject *)lease);
    }
    PyGILState_Release(state);
}

PyObject *next_recall(struct py_pool *pool)
{
    struct hf_recall recall;
    struct py_held *lease;
    PyObject *out;
    int rc;

    WITHOUT_LOCK(pool, rc, hf_recall_next(pool->pool, &recall));
    if (rc <= 0)
        return done(rc);
    lease = find_lease(&recall);
    out = make_recall(&recall, lease);
    Py_XDECREF((PyObject *)lease);
    return out;
}

/* --- leases --- */

static struct py_held *begin_lease(struct py_pool *pool, uint32_t flags, PyObject *recall,
                                   struct hf_lease_options *options)
{
    struct py_held *self;

    if (recall != Py_None && !PyCallable_Check(recall)) {
        PyErr_SetString(PyExc_TypeError, "recall is a function or None");
        return NULL;
    }
    self = held_new(lease_type, pool, flags & HF_PIN_WRITE);
    if (!self)
        return NULL;
    if (!enter_lease(self)) {
        Py_DECREF((PyObject *)self);
        return NULL;
    }
    *options = (struct hf_lease_options){.size = sizeof *options,
                                         .flags = flags,
                                         .recall = recall == Py_None ? NULL : lease_recalled,
                                         .arg = (void *)(uintptr_t)self->number};
    if (recall != Py_None)
        self->recall = Py_NewRef(recall);
    return self;
}

/* rc 0: MemoryError is set. */
static PyObject *ended(struct py_held *self, int rc)
{
    if (rc > 0) {
        self->pieces = rc;
        self->live = !self->released;
        return (PyObject *)self;
    }
    if (rc < 0)
        failed(rc);
    Py_DECREF((PyObject *)self);
    return NULL;
}

PyObject *make_lease(struct py_file *file, uint64_t off, uint64_t len, uint32_t flags,
                     PyObject *recall, const char *label)
{
    struct hf_lease_options options;
    struct py_held *self = begin_lease(file->pool, flags, recall, &options);
    struct hf_lease lease;
    int room = 1, rc;

    if (!self)
        return NULL;
    options.label = label;
    do {
        WITHOUT_LOCK(file, rc, hf_lease(file->file, off, len, &options, self->iov, room, &lease));
    } while (rc == -E2BIG && (held_room(self, &room) || (rc = 0)));
    if (rc > 0)
        self->lease = lease;
    return ended(self, rc);
}

PyObject *take_lease(struct py_pool *pool, const struct hf_lease_token *token, bool writable,
                     PyObject *recall)
{
    struct hf_lease_options options;
    struct py_held *self = begin_lease(pool, 0, recall, &options);
    struct hf_lease lease;
    int room = 1, rc;

    if (!self)
        return NULL;
    do {
        WITHOUT_LOCK(pool, rc, hf_lease_take(pool->pool, token, &options, self->iov, room, &lease));
    } while (rc == -E2BIG && (held_room(self, &room) || (rc = 0)));
    self->writable = writable;
    if (rc > 0)
        self->lease = lease;
    return ended(self, rc);
}

static PyObject *lease_release(struct py_held *self, PyObject *unused)
{
    (void)unused;
    if (!self->live)
        Py_RETURN_NONE;
    if (!held_has_no_view(self))
        return NULL;
    self->live = false;
    self->released = true;
    leave_lease(self);
    return done(hf_lease_release(&self->lease));
}

static PyObject *lease_quarantine(struct py_held *self, PyObject *unused)
{
    (void)unused;
    if (!held_is_live(self) || !held_has_no_view(self))
        return NULL;
    self->live = false;
    self->released = true;
    leave_lease(self);
    return done(hf_lease_quarantine(&self->lease));
}

static PyObject *lease_state(struct py_held *self, PyObject *unused)
{
    int rc;

    (void)unused;
    if (!held_is_live(self))
        return NULL;
    rc = hf_lease_state(&self->lease);
    return rc < 0 ? failed(rc) : PyLong_FromLong(rc);
}

static PyObject *lease_give(struct py_held *self, PyObject *unused)
{
    struct py_token token = {.writable = self->writable};
    int rc;

    (void)unused;
    if (!held_is_live(self) || !held_has_no_view(self))
        return NULL;
    rc = hf_lease_give(&self->lease, &token.token);
    if (rc)
        return failed(rc);
    self->live = false;
    self->released = true;
    leave_lease(self);
    return PyBytes_FromStringAndSize((const char *)&token, PY_TOKEN_BYTES);
}

static PyObject *lease_exit(struct py_held *self, PyObject *args)
{
    (void)args;
    return lease_release(self, NULL);
}

static void lease_dealloc(struct py_held *self)
{
    PyTypeObject *type = Py_TYPE((PyObject *)self);

    if (self->weak)
        PyObject_ClearWeakRefs((PyObject *)self);
    leave_lease(self);
    if (self->live)
        hf_lease_release(&self->lease);
    held_drop(self);
    PyObject_Free(self);
    Py_DECREF(type);
}

static PyMethodDef lease_methods[] = {
    HELD_METHODS,
    {"release", (PyCFunction)lease_release, METH_NOARGS,
     "release()\n--\n\nReleases the range; its users must have stopped.\n\n"
     "BufferError: a view of it is alive."},
    {"quarantine", (PyCFunction)lease_quarantine, METH_NOARGS,
     "quarantine()\n--\n\nGives up the range when what used it may not have stopped. The memory is\n"
     "given to no other file before the pool's quarantine has passed.\n\n"
     "BufferError: a view of it is alive."},
    {"state", (PyCFunction)lease_state, METH_NOARGS,
     "state()\n--\n\nLEASE_HELD, LEASE_RECALLED or LEASE_DETACHED."},
    {"give", (PyCFunction)lease_give, METH_NOARGS,
     "give()\n--\n\nOffers the lease to any process of the pool, and returns a token for\n"
     "Pool.take(). This object is released then; the range stays held until it is taken, or\n"
     "this process ends."},
    {"__enter__", held_enter, METH_NOARGS, NULL},
    {"__exit__", (PyCFunction)lease_exit, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef lease_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(struct py_held, weak), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot lease_slots[] = {
    {Py_tp_doc,
     "A range of a file that is held for long; File.lease() and Pool.take() make one.\n\n"
     "A buffer and a context manager, as Pin."},
    {Py_tp_dealloc, lease_dealloc},
    {Py_tp_methods, lease_methods},
    {Py_tp_members, lease_members},
    {Py_sq_length, held_len},
    {Py_bf_getbuffer, held_get_buffer},
    {Py_bf_releasebuffer, held_release_buffer},
    {0, NULL},
};
static PyType_Spec lease_spec = {"holdfast.Lease", sizeof(struct py_held), 0,
                                 Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
                                 lease_slots};

int add_lease(PyObject *module)
{
    leases = PyDict_New();
    return leases && (lease_type = add_type(module, &lease_spec)) &&
                   (recall_type = add_record(module, &recall_desc))
               ? 0
               : -1;
}
