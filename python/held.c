/* SPDX-License-Identifier: MIT */
/*
 * Pin, and what Pin and Lease have in common: memory as buffers and as DLPack tensors. The memory
 * may be touched as long as a view of it lives, so it stays held until then. Before that release()
 * raises BufferError, and a view keeps the object alive.
 */
#include "held.h"

#include <errno.h>
#include <stdlib.h>

static PyTypeObject *pin_type, *piece_type;

/* One of several pieces. */
struct py_piece {
    PyObject_HEAD struct py_held *held;
    int index;
};

/* --- the memory --- */

bool held_is_live(const struct py_held *self)
{
    if (self->live)
        return true;
    PyErr_SetString(PyExc_ValueError, "it has been released");
    return false;
}

bool held_has_no_view(const struct py_held *self)
{
    if (self->views == 0)
        return true;
    PyErr_Format(PyExc_BufferError, "%zd views of it are alive: release them first", self->views);
    return false;
}

struct py_held *held_new(PyTypeObject *type, struct py_pool *pool, bool writable)
{
    struct py_held *self = PyObject_New(struct py_held, type);

    if (!self)
        return NULL;
    memset((char *)self + sizeof(PyObject), 0, sizeof *self - sizeof(PyObject));
    self->pool = (struct py_pool *)Py_NewRef((PyObject *)pool);
    self->iov = &self->one;
    self->writable = writable;
    return self;
}

void held_drop(struct py_held *self)
{
    if (self->iov != &self->one)
        PyMem_Free(self->iov);
    Py_XDECREF(self->recall);
    Py_DECREF((PyObject *)self->pool);
}

bool held_room(struct py_held *self, int *room)
{
    int more = *room * 16;
    struct iovec *iov = PyMem_Malloc((size_t)more * sizeof *iov);

    if (!iov) {
        PyErr_NoMemory();
        return false;
    }
    if (self->iov != &self->one)
        PyMem_Free(self->iov);
    self->iov = iov;
    *room = more;
    return true;
}

static int fill_view(PyObject *exporter, struct py_held *held, int index, Py_buffer *view,
                     int flags)
{
    const struct iovec *piece = &held->iov[index];

    if (!held_is_live(held)) {
        view->obj = NULL;
        return -1;
    }
    if (PyBuffer_FillInfo(view, exporter, piece->iov_base, (Py_ssize_t)piece->iov_len,
                          !held->writable, flags))
        return -1;
    held->views++;
    return 0;
}

int held_get_buffer(PyObject *object, Py_buffer *view, int flags)
{
    struct py_held *self = (struct py_held *)object;

    if (self->live && self->pieces > 1) {
        PyErr_Format(PyExc_BufferError, "it lies in %d places: pieces() has a buffer for each",
                     self->pieces);
        view->obj = NULL;
        return -1;
    }
    return fill_view(object, self, 0, view, flags);
}

static void end_view(struct py_held *held)
{
    if (--held->views == 0 && held->unseen)
        held->unseen(held);
}

void held_release_buffer(PyObject *object, Py_buffer *view)
{
    (void)view;
    end_view((struct py_held *)object);
}

PyObject *held_pieces(struct py_held *self, PyObject *unused)
{
    PyObject *tuple;

    (void)unused;
    if (!held_is_live(self))
        return NULL;
    tuple = PyTuple_New(self->pieces);
    for (int i = 0; tuple && i < self->pieces; i++) {
        struct py_piece *piece = PyObject_New(struct py_piece, piece_type);

        if (!piece) {
            Py_CLEAR(tuple);
            break;
        }
        piece->held = (struct py_held *)Py_NewRef((PyObject *)self);
        piece->index = i;
        PyTuple_SetItem(tuple, i, (PyObject *)piece);
    }
    return tuple;
}

Py_ssize_t held_len(PyObject *object)
{
    const struct py_held *self = (const struct py_held *)object;
    size_t len = 0;

    for (int i = 0; self->live && i < self->pieces; i++)
        len += self->iov[i].iov_len;
    return (Py_ssize_t)len;
}

/* --- DLPack (dlpack.h, versions 0.8 and 1.0) --- */

struct tensor {
    void *data;
    struct {
        int32_t type, id;
    } device;
    int32_t dimensions;
    struct {
        uint8_t code, bits;
        uint16_t lanes;
    } element;
    int64_t *shape, *strides;
    uint64_t byte_offset;
};

struct managed {
    struct tensor tensor;
    void *context;
    void (*deleter)(struct managed *self);
};

struct managed_versioned {
    struct {
        uint32_t major, minor;
    } version;
    void *context;
    void (*deleter)(struct managed_versioned *self);
    uint64_t flags;
    struct tensor tensor;
};

#define TENSOR_READ_ONLY UINT64_C(1)
#define DEVICE_CPU 1
#define ELEMENT_UINT 1

/* What a capsule stands for: a view, which ends with its consumer. */
struct exported {
    union {
        struct managed plain;
        struct managed_versioned versioned;
    } is;
    Py_buffer view;
    int64_t shape;
};

static void end_export(struct exported *exported)
{
    PyGILState_STATE state = PyGILState_Ensure();

    PyBuffer_Release(&exported->view);
    PyGILState_Release(state);
    free(exported);
}

static void delete_plain(struct managed *self)
{
    end_export(self->context);
}

static void delete_versioned(struct managed_versioned *self)
{
    end_export(self->context);
}

/* A consumer renames what it has taken over. */
static void drop_capsule(PyObject *capsule)
{
    if (PyCapsule_IsValid(capsule, "dltensor"))
        end_export(PyCapsule_GetPointer(capsule, "dltensor"));
    else if (PyCapsule_IsValid(capsule, "dltensor_versioned"))
        end_export(PyCapsule_GetPointer(capsule, "dltensor_versioned"));
}

static void describe_tensor(struct exported *exported, struct tensor *tensor)
{
    exported->shape = exported->view.len;
    *tensor = (struct tensor){.data = exported->view.buf,
                              .device = {DEVICE_CPU, 0},
                              .dimensions = 1,
                              .element = {ELEMENT_UINT, 8, 1},
                              .shape = &exported->shape};
}

static PyObject *make_capsule(struct exported *exported, bool versioned)
{
    PyObject *capsule;

    if (versioned) {
        exported->is.versioned = (struct managed_versioned){
            .version = {1, 0},
            .context = exported,
            .deleter = delete_versioned,
            .flags = exported->view.readonly ? TENSOR_READ_ONLY : 0,
        };
        describe_tensor(exported, &exported->is.versioned.tensor);
    } else {
        exported->is.plain = (struct managed){.context = exported, .deleter = delete_plain};
        describe_tensor(exported, &exported->is.plain.tensor);
    }
    capsule =
        PyCapsule_New(&exported->is, versioned ? "dltensor_versioned" : "dltensor", drop_capsule);
    if (!capsule)
        end_export(exported);
    return capsule;
}

static PyObject *export(PyObject *object, bool versioned)
{
    struct exported *exported = calloc(1, sizeof *exported);

    if (!exported)
        return PyErr_NoMemory();
    if (PyObject_GetBuffer(object, &exported->view, PyBUF_SIMPLE)) {
        free(exported);
        return NULL;
    }
    if (exported->view.readonly && !versioned) {
        PyBuffer_Release(&exported->view);
        free(exported);
        PyErr_SetString(PyExc_BufferError,
                        "it is read-only, which the consumer's version of DLPack "
                        "cannot say: pin with WRITE, or use the buffer");
        return NULL;
    }
    return make_capsule(exported, versioned);
}

PyObject *held_dlpack(PyObject *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"stream", "max_version", "dl_device", "copy", NULL};
    PyObject *stream = Py_None, *version = Py_None, *device = Py_None, *copy = Py_None;
    int major = 0, minor = 0;

    if (!PyArg_ParseTupleAndKeywords(args, keywords, "|$OOOO:__dlpack__", names, &stream, &version,
                                     &device, &copy) ||
        (version != Py_None && !PyArg_ParseTuple(version, "ii", &major, &minor)))
        return NULL;
    if (stream != Py_None || copy == Py_True) {
        PyErr_SetString(PyExc_BufferError, "memory of the CPU has no stream, and is not copied");
        return NULL;
    }
    return export(self, major >= 1);
}

PyObject *held_dlpack_device(PyObject *self, PyObject *unused)
{
    (void)self, (void)unused;
    return Py_BuildValue("(ii)", DEVICE_CPU, 0);
}

/* --- pieces --- */

static int piece_get_buffer(PyObject *object, Py_buffer *view, int flags)
{
    struct py_piece *self = (struct py_piece *)object;

    return fill_view(object, self->held, self->index, view, flags);
}

static void piece_release_buffer(PyObject *object, Py_buffer *view)
{
    (void)view;
    end_view(((struct py_piece *)object)->held);
}

static Py_ssize_t piece_len(PyObject *object)
{
    const struct py_piece *self = (const struct py_piece *)object;

    return self->held->live ? (Py_ssize_t)self->held->iov[self->index].iov_len : 0;
}

static void piece_dealloc(struct py_piece *self)
{
    PyTypeObject *type = Py_TYPE((PyObject *)self);

    Py_DECREF((PyObject *)self->held);
    PyObject_Free(self);
    Py_DECREF(type);
}

/* --- pins --- */

/* First what needs no wait, with the interpreter's lock; then the rest. */
static int pin_held(struct py_file *file, uint64_t off, uint64_t len, uint32_t flags,
                    struct py_held *self)
{
    int room = 1, rc;

    rc = hf_pin(file->file, off, len, flags | HF_PIN_NOWAIT, self->iov, room, &self->pin);
    if (rc > 0)
        return rc;
    for (;;) {
        WITHOUT_LOCK(file, rc, hf_pin(file->file, off, len, flags, self->iov, room, &self->pin));
        if (rc != -E2BIG)
            return rc;
        if (!held_room(self, &room))
            return 0;
    }
}

PyObject *make_pin(struct py_file *file, uint64_t off, uint64_t len, uint32_t flags)
{
    struct py_held *self = held_new(pin_type, file->pool, flags & HF_PIN_WRITE);
    int rc;

    if (!self)
        return NULL;
    rc = pin_held(file, off, len, flags, self);
    if (rc > 0) {
        self->pieces = rc;
        self->live = true;
        return (PyObject *)self;
    }
    if (rc < 0)
        failed(rc);
    Py_DECREF((PyObject *)self);
    return NULL;
}

static PyObject *pin_release(struct py_held *self, PyObject *unused)
{
    (void)unused;
    if (!self->live)
        Py_RETURN_NONE;
    if (!held_has_no_view(self))
        return NULL;
    self->live = false;
    return done(hf_unpin(&self->pin));
}

PyObject *held_enter(PyObject *self, PyObject *unused)
{
    (void)unused;
    return held_is_live((struct py_held *)self) ? Py_NewRef(self) : NULL;
}

static PyObject *pin_exit(struct py_held *self, PyObject *const *args, Py_ssize_t count)
{
    (void)args, (void)count;
    return pin_release(self, NULL);
}

static void pin_dealloc(struct py_held *self)
{
    PyTypeObject *type = Py_TYPE((PyObject *)self);

    if (self->live)
        hf_unpin(&self->pin);
    held_drop(self);
    PyObject_Free(self);
    Py_DECREF(type);
}

static PyMethodDef pin_methods[] = {
    HELD_METHODS,
    {"release", (PyCFunction)pin_release, METH_NOARGS,
     "release()\n--\n\nReleases the range; a second call does nothing.\n\n"
     "BufferError: a view of it is alive."},
    {"__enter__", held_enter, METH_NOARGS, NULL},
    {"__exit__", (PyCFunction)(void (*)(void))pin_exit, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot pin_slots[] = {
    {Py_tp_doc, "A range of a file that is held; File.pin() makes one.\n\n"
                "It is a buffer: memoryview(pin), numpy.frombuffer(pin, dtype). It is a context\n"
                "manager that releases it, and has a len(), in bytes. Read-only unless it was\n"
                "pinned with WRITE. BufferError: it lies in several places, use pieces()."},
    {Py_tp_dealloc, pin_dealloc},
    {Py_tp_methods, pin_methods},
    {Py_sq_length, held_len},
    {Py_bf_getbuffer, held_get_buffer},
    {Py_bf_releasebuffer, held_release_buffer},
    {0, NULL},
};
static PyType_Spec pin_spec = {"holdfast.Pin", sizeof(struct py_held), 0,
                               Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, pin_slots};

static PyMethodDef piece_methods[] = {
    {"__dlpack__", (PyCFunction)(void (*)(void))held_dlpack, METH_VARARGS | METH_KEYWORDS, NULL},
    {"__dlpack_device__", held_dlpack_device, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot piece_slots[] = {
    {Py_tp_doc, "A place where a part of a pin or lease lies: a buffer. It keeps the pin alive."},
    {Py_tp_dealloc, piece_dealloc},
    {Py_tp_methods, piece_methods},
    {Py_sq_length, piece_len},
    {Py_bf_getbuffer, piece_get_buffer},
    {Py_bf_releasebuffer, piece_release_buffer},
    {0, NULL},
};
static PyType_Spec piece_spec = {"holdfast.Piece", sizeof(struct py_piece), 0,
                                 Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
                                 piece_slots};

int add_held(PyObject *module)
{
    return (pin_type = add_type(module, &pin_spec)) && (piece_type = add_type(module, &piece_spec))
               ? 0
               : -1;
}
