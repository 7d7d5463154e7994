/* SPDX-License-Identifier: MIT */
/* File: content and layout. Offsets and lengths are bytes. */
#include "hfpy.h"

#include <errno.h>
#include <holdfast/compact.h>

PyTypeObject *file_type;
static PyTypeObject *dedup_type, *compact_type;

bool file_is_open(struct py_file *self)
{
    if (self->file)
        return true;
    PyErr_SetString(PyExc_ValueError, "the file is closed");
    return false;
}

PyObject *make_file(struct py_pool *pool, struct hf_file *file)
{
    struct py_file *self = PyObject_New(struct py_file, file_type);

    if (!self) {
        UNSHARED_WITHOUT_LOCK(hf_close(file));
        return NULL;
    }
    self->pool = (struct py_pool *)Py_NewRef((PyObject *)pool);
    self->file = file;
    self->busy = 0;
    return (PyObject *)self;
}

static PyObject *file_close(struct py_file *self, PyObject *unused)
{
    struct hf_file *file = self->file;
    int rc;

    (void)unused;
    if (!file)
        Py_RETURN_NONE;
    if (!not_busy(self->busy))
        return NULL;
    self->file = NULL;
    UNSHARED_WITHOUT_LOCK(rc = hf_close(file));
    return done(rc);
}

static PyObject *file_enter(PyObject *self, PyObject *unused)
{
    (void)unused;
    return file_is_open((struct py_file *)self) ? Py_NewRef(self) : NULL;
}

static PyObject *file_exit(struct py_file *self, PyObject *args)
{
    (void)args;
    return file_close(self, NULL);
}

static void file_dealloc(struct py_file *self)
{
    PyTypeObject *type = Py_TYPE((PyObject *)self);

    if (self->file)
        UNSHARED_WITHOUT_LOCK(hf_close(self->file));
    Py_DECREF((PyObject *)self->pool);
    PyObject_Free(self);
    Py_DECREF(type);
}

/* --- content --- */

static PyObject *file_read(struct py_file *self, PyObject *args)
{
    unsigned long long off = 0;
    PyObject *bytes;
    Py_ssize_t len;
    ssize_t got;

    if (!PyArg_ParseTuple(args, "n|O&:read", &len, to_uint64, &off) || !file_is_open(self))
        return NULL;
    if (len < 0)
        return PyErr_Format(PyExc_ValueError, "a length of %zd: it is not negative", len);
    bytes = PyBytes_FromStringAndSize(NULL, len);
    if (!bytes)
        return NULL;
    WITHOUT_LOCK(self, got, hf_read(self->file, PyBytes_AsString(bytes), (size_t)len, off));
    if (got == len)
        return bytes;
    if (got < 0) {
        failed(got);
        Py_DECREF(bytes);
        return NULL;
    }
    PyObject *shorter = PyBytes_FromStringAndSize(PyBytes_AsString(bytes), got);
    Py_DECREF(bytes);
    return shorter;
}

static PyObject *make_count(ssize_t count)
{
    return count < 0 ? failed(count) : PyLong_FromSsize_t(count);
}

static PyObject *file_readinto(struct py_file *self, PyObject *args)
{
    unsigned long long off = 0;
    Py_buffer buffer;
    ssize_t got = 0;
    bool opened;

    if (!PyArg_ParseTuple(args, "w*|O&:readinto", &buffer, to_uint64, &off))
        return NULL;
    opened = file_is_open(self);
    if (opened)
        WITHOUT_LOCK(self, got, hf_read(self->file, buffer.buf, (size_t)buffer.len, off));
    PyBuffer_Release(&buffer);
    return opened ? make_count(got) : NULL;
}

static PyObject *file_write(struct py_file *self, PyObject *args)
{
    unsigned long long off = 0;
    Py_buffer buffer;
    ssize_t put = 0;
    bool opened;

    if (!PyArg_ParseTuple(args, "y*|O&:write", &buffer, to_uint64, &off))
        return NULL;
    opened = file_is_open(self);
    if (opened)
        WITHOUT_LOCK(self, put, hf_write(self->file, buffer.buf, (size_t)buffer.len, off));
    PyBuffer_Release(&buffer);
    return opened ? make_count(put) : NULL;
}

static PyObject *file_append(struct py_file *self, PyObject *args)
{
    uint64_t off = 0;
    Py_buffer buffer;
    ssize_t put = 0;
    bool opened;

    if (!PyArg_ParseTuple(args, "y*:append", &buffer))
        return NULL;
    opened = file_is_open(self);
    if (opened)
        WITHOUT_LOCK(self, put, hf_append(self->file, buffer.buf, (size_t)buffer.len, &off));
    PyBuffer_Release(&buffer);
    if (!opened)
        return NULL;
    return put < 0 ? failed(put) : Py_BuildValue("(nK)", put, (unsigned long long)off);
}

static PyObject *file_fsync(struct py_file *self, PyObject *unused)
{
    int rc;

    (void)unused;
    if (!file_is_open(self))
        return NULL;
    WITHOUT_LOCK(self, rc, hf_fsync(self->file));
    return done(rc);
}

static PyObject *file_stat(struct py_file *self, PyObject *unused)
{
    struct stat stat;
    int rc;

    (void)unused;
    if (!file_is_open(self))
        return NULL;
    WITHOUT_LOCK(self, rc, hf_fstat(self->file, &stat));
    return rc ? failed(rc) : make_stat(&stat);
}

static PyObject *seek_data_or_hole(struct py_file *self, PyObject *args, int whence)
{
    unsigned long long off;
    uint64_t out = 0;
    int rc;

    if (!PyArg_ParseTuple(args, "O&", to_uint64, &off) || !file_is_open(self))
        return NULL;
    WITHOUT_LOCK(self, rc, hf_seek(self->file, off, whence, &out));
    return rc ? failed(rc) : PyLong_FromUnsignedLongLong(out);
}

static PyObject *file_seek_data(struct py_file *self, PyObject *args)
{
    return seek_data_or_hole(self, args, HF_SEEK_DATA);
}

static PyObject *file_seek_hole(struct py_file *self, PyObject *args)
{
    return seek_data_or_hole(self, args, HF_SEEK_HOLE);
}

/* --- layout --- */

static PyObject *file_truncate(struct py_file *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"size", "policy", NULL};
    struct hf_policy policy = {0};
    unsigned long long size;
    int rc;

    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O&|O&:truncate", names, to_uint64, &size,
                                     to_policy, &policy) ||
        !file_is_open(self))
        return NULL;
    WITHOUT_LOCK(self, rc, hf_truncate(self->file, size, &policy));
    return done(rc);
}

static PyObject *change(struct py_file *self, PyObject *args, PyObject *keywords, uint32_t mode)
{
    static char *names[] = {"off", "len", "policy", NULL};
    struct hf_policy policy = {0};
    unsigned long long off, len;
    int rc;

    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O&O&|O&", names, to_uint64, &off, to_uint64,
                                     &len, to_policy, &policy) ||
        !file_is_open(self))
        return NULL;
    WITHOUT_LOCK(self, rc, hf_fallocate(self->file, mode, off, len, &policy));
    return done(rc);
}

static PyObject *file_punch(struct py_file *self, PyObject *args, PyObject *keywords)
{
    return change(self, args, keywords, HF_FALLOC_PUNCH_HOLE);
}

static PyObject *file_zero(struct py_file *self, PyObject *args, PyObject *keywords)
{
    return change(self, args, keywords, HF_FALLOC_ZERO_RANGE);
}

static PyObject *file_collapse(struct py_file *self, PyObject *args, PyObject *keywords)
{
    return change(self, args, keywords, HF_FALLOC_COLLAPSE_RANGE);
}

static PyObject *file_insert(struct py_file *self, PyObject *args, PyObject *keywords)
{
    return change(self, args, keywords, HF_FALLOC_INSERT_RANGE);
}

static PyObject *file_move(struct py_file *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"off", "len", "policy", NULL};
    struct hf_policy policy = {0};
    unsigned long long off, len;
    int rc;

    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O&O&|O&:move", names, to_uint64, &off,
                                     to_uint64, &len, to_policy, &policy) ||
        !file_is_open(self))
        return NULL;
    WITHOUT_LOCK(self, rc, hf_move(self->file, off, len, &policy));
    return done(rc);
}

static PyStructSequence_Field compact_fields[] = {
    {"run_bytes", "of whole runs of 2 MiB: what huge entries could map"},
    {"was_huge", "of that, what they mapped before"},
    {"huge_bytes", "and what they map now"},
    {"moved_bytes", "that were copied"},
    {"held_bytes", "left alone: somebody holds a part of the run"},
    {"shared_bytes", "left alone: other files may have some of the blocks too"},
    {"no_space_bytes", "left alone: no free memory lies right"},
    {NULL, NULL},
};
static PyStructSequence_Desc compact_desc = {"holdfast.CompactResult", "What File.compact() did.",
                                             compact_fields, 7};

static PyObject *file_compact(struct py_file *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"off", "len", "look", "policy", NULL};
    struct hf_compact_result result = {.size = sizeof result};
    struct hf_policy policy = {0};
    unsigned long long off = 0, len = 0;
    int look = 0, rc;

    if (!PyArg_ParseTupleAndKeywords(args, keywords, "|O&O&$pO&:compact", names, to_uint64, &off,
                                     to_uint64, &len, &look, to_policy, &policy) ||
        !file_is_open(self))
        return NULL;
    WITHOUT_LOCK(self, rc,
                 hf_compact(self->file, off, len, look ? HF_COMPACT_LOOK : 0,
                            policy.kind ? &policy : NULL, &result));
    if (rc)
        return failed(rc);
    PyObject *fields[] = {PyLong_FromUnsignedLongLong(result.run_bytes),
                          PyLong_FromUnsignedLongLong(result.was_huge),
                          PyLong_FromUnsignedLongLong(result.huge_bytes),
                          PyLong_FromUnsignedLongLong(result.moved_bytes),
                          PyLong_FromUnsignedLongLong(result.held_bytes),
                          PyLong_FromUnsignedLongLong(result.shared_bytes),
                          PyLong_FromUnsignedLongLong(result.no_space_bytes)};
    return make_record(compact_type, fields, 7);
}

static PyObject *file_allocate(struct py_file *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"off", "len", "keep_size", NULL};
    unsigned long long off, len;
    int keep = 0, rc;

    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O&O&|$p:allocate", names, to_uint64, &off,
                                     to_uint64, &len, &keep) ||
        !file_is_open(self))
        return NULL;
    WITHOUT_LOCK(self, rc,
                 hf_fallocate(self->file, keep ? HF_FALLOC_KEEP_SIZE : 0, off, len, NULL));
    return done(rc);
}

/* --- two files --- */

static PyObject *file_copy_range(struct py_file *self, PyObject *args)
{
    unsigned long long from, to_off, len;
    struct py_file *to;
    ssize_t copied;

    if (!PyArg_ParseTuple(args, "O&O!O&O&:copy_range", to_uint64, &from, file_type, &to, to_uint64,
                          &to_off, to_uint64, &len) ||
        !file_is_open(self) || !file_is_open(to))
        return NULL;
    to->busy++;
    WITHOUT_LOCK(self, copied, hf_copy_range(self->file, from, to->file, to_off, len));
    to->busy--;
    return make_count(copied);
}

static PyObject *file_clone_range(struct py_file *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"off", "to", "to_off", "len", "policy", NULL};
    unsigned long long from, to_off, len;
    struct hf_policy policy = {0};
    struct py_file *to;
    int rc;

    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O&O!O&O&|O&:clone_range", names, to_uint64,
                                     &from, file_type, &to, to_uint64, &to_off, to_uint64, &len,
                                     to_policy, &policy) ||
        !file_is_open(self) || !file_is_open(to))
        return NULL;
    to->busy++;
    WITHOUT_LOCK(self, rc, hf_clone_range(self->file, from, to->file, to_off, len, &policy));
    to->busy--;
    return done(rc);
}

static PyStructSequence_Field dedup_fields[] = {
    {"same", "whether all bytes were the same"},
    {"shared_bytes", "that share blocks now and did not before"},
    {"held_bytes", "the same, but left alone: somebody holds them"},
    {NULL, NULL},
};
static PyStructSequence_Desc dedup_desc = {"holdfast.DedupResult", "What File.dedup_range() did.",
                                           dedup_fields, 3};

static PyObject *file_dedup_range(struct py_file *self, PyObject *args)
{
    struct hf_dedup_result result = {.size = sizeof result};
    unsigned long long off, other_off, len;
    struct py_file *other;
    int rc;

    if (!PyArg_ParseTuple(args, "O&O!O&O&:dedup_range", to_uint64, &off, file_type, &other,
                          to_uint64, &other_off, to_uint64, &len) ||
        !file_is_open(self) || !file_is_open(other))
        return NULL;
    other->busy++;
    WITHOUT_LOCK(self, rc, hf_dedup_range(self->file, off, other->file, other_off, len, &result));
    other->busy--;
    if (rc)
        return failed(rc);
    PyObject *fields[] = {PyBool_FromLong(result.same),
                          PyLong_FromUnsignedLongLong(result.shared_bytes),
                          PyLong_FromUnsignedLongLong(result.held_bytes)};
    return make_record(dedup_type, fields, 3);
}

/* --- holding --- */

/* As short as can be: a pin in the straight line takes nanoseconds. */
static PyObject *file_pin(struct py_file *self, PyObject *const *args, Py_ssize_t count)
{
    unsigned long long off, len;
    unsigned long flags = 0;

    if (count < 2 || count > 3) {
        PyErr_SetString(PyExc_TypeError, "pin(off, len, flags=READ)");
        return NULL;
    }
    off = PyLong_AsUnsignedLongLong(args[0]);
    len = PyLong_AsUnsignedLongLong(args[1]);
    if (count == 3)
        flags = PyLong_AsUnsignedLong(args[2]);
    if (PyErr_Occurred() || !file_is_open(self))
        return NULL;
    return make_pin(self, off, len, flags > UINT32_MAX ? UINT32_MAX : (uint32_t)flags);
}

static PyObject *file_put_begin(struct py_file *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"off", "size", "flags", NULL};
    unsigned long long off, len;
    uint32_t flags = 0;

    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O&O&|$O&:put_begin", names, to_uint64, &off,
                                     to_uint64, &len, to_uint32, &flags) ||
        !file_is_open(self))
        return NULL;
    return make_put(self, off, len, flags);
}

static PyObject *file_lease(struct py_file *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"off", "len", "flags", "recall", "label", NULL};
    unsigned long long off, len;
    PyObject *recall = Py_None;
    const char *label = NULL;
    uint32_t flags = 0;

    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O&O&|O&$Oz:lease", names, to_uint64, &off,
                                     to_uint64, &len, to_uint32, &flags, &recall, &label) ||
        !file_is_open(self))
        return NULL;
    return make_lease(self, off, len, flags, recall, label);
}

/* --- the type --- */

#define WAITS                                                                                      \
    "\n\nWaits for the pins and leases of that range, as the policy says. OSError EBUSY: NOWAIT\n" \
    "and somebody holds it. TimeoutError: the deadline came first. EDEADLK: this thread holds\n"   \
    "it itself. InterruptedError: a signal or cancel(). After any of these nothing has changed."

static PyMethodDef file_methods[] = {
    {"close", ALONE(file_close),
     "close()\n--\n\nCloses the file. Pins and leases outlive it. Never waits."},
    {"read", PLAIN(file_read),
     "read(len, off=0, /)\n--\n\nReturns bytes, fewer than len only at end of file. It copies."},
    {"readinto", PLAIN(file_readinto),
     "readinto(buffer, off=0, /)\n--\n\nReads into a buffer, a writable array for example; returns the\n"
     "count of bytes, less than the buffer's only at end of file."},
    {"write", PLAIN(file_write),
     "write(data, off=0, /)\n--\n\nWrites a buffer, an array in one piece for example, at off; the\n"
     "file grows as needed. Returns the count of bytes, which is short when the pool fills up.\n\n"
     "OSError ENOSPC: the pool was full before. EBADF: the file is not open for writing."},
    {"append", PLAIN(file_append),
     "append(data, /)\n--\n\nWrites at end of file, atomically; returns (count, off). Errors as\n"
     "write()."},
    {"fsync", ALONE(file_fsync), "fsync()\n--\n\nPersists data and attributes, in a durable pool."},
    {"stat", ALONE(file_stat), "stat()\n--\n\nReturns an os.stat_result."},
    {"seek_data", PLAIN(file_seek_data),
     "seek_data(off, /)\n--\n\nThe next byte at or after off that is not in a hole. OSError ENXIO:\n"
     "there is none."},
    {"seek_hole", PLAIN(file_seek_hole),
     "seek_hole(off, /)\n--\n\nThe next byte at or after off that is in a hole, or end of file."},
    {"truncate", NAMED(file_truncate),
     "truncate(size, policy=None)\n--\n\nSets the size. What is new reads as zero." WAITS},
    {"punch", NAMED(file_punch),
     "punch(off, len, policy=None)\n--\n\nFrees the range; it then reads as zero." WAITS},
    {"zero", NAMED(file_zero),
     "zero(off, len, policy=None)\n--\n\nMakes the range read as zero, with blocks." WAITS},
    {"collapse", NAMED(file_collapse),
     "collapse(off, len, policy=None)\n--\n\nTakes the range out; what follows moves down. Multiples\n"
     "of BLOCK_BYTES, which end before end of file." WAITS},
    {"insert", NAMED(file_insert),
     "insert(off, len, policy=None)\n--\n\nPuts a hole there; what follows moves up. Multiples of\n"
     "BLOCK_BYTES, before end of file." WAITS},
    {"move", NAMED(file_move),
     "move(off, len, policy=None)\n--\n\nCopies the range to other blocks, in fewer pieces where there\n"
     "is room; contents stay. off is a multiple of BLOCK_BYTES; so is len, or it ends at end of\n"
     "file. A failure may leave the first part of a large range moved." WAITS},
    {"compact", NAMED(file_compact),
     "compact(off=0, len=0, *, look=False, policy=None)\n--\n\nLays each whole 2 MiB of the range\n"
     "in one piece that one entry maps; len 0: to the end of file. Contents stay. What is held is\n"
     "left alone, or waited for as policy says (none that detaches). look: changes nothing.\n"
     "Returns a CompactResult.\n\n"
     "OSError EOPNOTSUPP: the pool's engine has no huge entries."},
    {"allocate", NAMED(file_allocate),
     "allocate(off, len, *, keep_size=False)\n--\n\nGives the holes of the range blocks that read as zero,\n"
     "in as few pieces as there is room for. The file grows to off + len unless keep_size.\n\n"
     "OSError ENOSPC: the pool is full; a part of the holes may have got blocks."},
    {"copy_range", PLAIN(file_copy_range),
     "copy_range(off, to, to_off, len, /)\n--\n\nCopies to the File `to`, sharing whole pages where\n"
     "it can; returns the count of bytes. Errors as write()."},
    {"clone_range", NAMED(file_clone_range),
     "clone_range(off, to, to_off, len, policy=None)\n--\n\nMakes the range of the File `to` lie on\n"
     "the same blocks, until one of them writes. Multiples of BLOCK_BYTES; len 0: up to end of\n"
     "file. Of this file, only pins for writing are waited for." WAITS},
    {"dedup_range", PLAIN(file_dedup_range),
     "dedup_range(off, other, other_off, len, /)\n--\n\nCompares, and lets pages of the File `other`\n"
     "that hold the same lie on blocks of this one. Multiples of BLOCK_BYTES, or both ranges end\n"
     "at end of file. Returns a DedupResult. Waits for nobody."},
    {"pin", (PyCFunction)(void (*)(void))file_pin, METH_FASTCALL,
     "pin(off, len, flags=0, /)\n--\n\n"
     "Holds the range and returns a Pin: a buffer on the memory itself, read-only unless flags\n"
     "has WRITE. Its blocks are not reused or moved until it is released. Any off and len, in\n"
     "bytes; all of the range or nothing. Waits only while a truncate or the like is at work.\n\n"
     "flags: READ (0) or WRITE. NOFILL: OSError ENODATA instead of giving a block. COHERENT: also\n"
     "of a page that is shared now, later writes are seen. YIELD: EAGAIN while a layout change\n"
     "holds the range, also in a thread that holds a pin. What touches the memory: IO_URING, RDMA\n"
     "or GPU.\n\n"
     "OSError EFAULT: past end of file. EBADF: the file is not open for it: O_RDONLY for\n"
     "reading, O_RDWR for writing. ENOSPC: a hole got no block. ENOLCK: the pool's limits of\n"
     "threads or leases are used up."},
    {"put_begin", NAMED(file_put_begin),
     "put_begin(off, size, *, flags=0)\n--\n\nReturns a Put: memory of size bytes to fill, which its "
     "commit makes a part of the file from\noff on. off is past end of file, and a multiple of "
     "BLOCK_BYTES. flags says what fills it:\nIO_URING, RDMA or GPU.\n\n"
     "OSError ESTALE: the file is larger. E2BIG: free space lies in more than 32 pieces. ENOSPC: no\n"
     "block is free."},
    {"lease", NAMED(file_lease),
     "lease(off, len, flags=0, *, recall=None, label=None)\n--\n\n"
     "Like pin(), for long: a truncate or the like asks for it. recall(recall) is then called\n"
     "in a thread of the library with a Recall, and releases recall.lease there or later.\n"
     "None: the Recall comes out of Pool.next_recall() or holdfast.recalls(). Pool.pins() and\n"
     "`holdfast pins` show label, cut to 47 bytes of UTF-8: for which peer or device it is.\n\n"
     "flags: READ (0) or WRITE, and IO_URING, RDMA or GPU. Errors as pin()."},
    {"__enter__", ALONE(file_enter), NULL},
    {"__exit__", PLAIN(file_exit), NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot file_slots[] = {
    {Py_tp_doc, "An open file of a pool; Pool.open() makes one. A context manager that closes it."},
    {Py_tp_dealloc, file_dealloc},
    {Py_tp_methods, file_methods},
    {0, NULL},
};
static PyType_Spec file_spec = {"holdfast.File", sizeof(struct py_file), 0,
                                Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, file_slots};

int add_file(PyObject *module)
{
    return (file_type = add_type(module, &file_spec)) &&
                   (dedup_type = add_record(module, &dedup_desc)) &&
                   (compact_type = add_record(module, &compact_desc))
               ? 0
               : -1;
}
