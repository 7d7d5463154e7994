/* SPDX-License-Identifier: MIT */
/* Functions that show a pool: its numbers, which process holds what, and where files lie. */
#include "hfpy.h"

#include <errno.h>
#include <stdlib.h>

static PyTypeObject *info_type, *stats_type, *pin_info_type, *extent_type;

static PyStructSequence_Field info_fields[] = {
    {"uuid", "bytes"},
    {"pool_bytes", "memory for files"},
    {"free_bytes", "in no file and not detached"},
    {"detached_bytes", "in no file, still held"},
    {"shared_bytes", "blocks that several places of files lie on, each counted once"},
    {"saved_bytes", "how much more would be in use without sharing"},
    {"inodes", "files, directories and links, in all"},
    {"limit_bytes", "how far grow() can go"},
    {"durable", "whether it survives a power cut"},
    {"engine", "how pins are known to layout changes"},
    {"media", "\"tmpfs\", \"hugetlbfs\", \"file\", \"memfd\", \"device-dax\" or \"pmem\""},
    {"policy", "of layout changes that give none"},
    {"processes", "attached now"},
    {"threads", "that use the pool now"},
    {"files", "open now"},
    {"leases", "leases, and pins beyond a thread's slots"},
    {"registrations", "of the pool's memory with devices, by all processes"},
    {"resident_bytes", "that the system keeps for the pool's memory"},
    {"trim_above_bytes", "free memory above this is given back by itself; 0: none is"},
    {NULL, NULL},
};
static PyStructSequence_Desc info_desc = {"holdfast.PoolInfo", "What a pool is and holds.",
                                          info_fields, 19};

PyObject *pool_info(struct py_pool *self, PyObject *unused)
{
    struct hf_pool_info info = {.size = sizeof info};
    int rc;

    (void)unused;
    if (!pool_is_open(self))
        return NULL;
    WITHOUT_LOCK(self, rc, hf_pool_info(self->pool, &info));
    if (rc)
        return failed(rc);
    PyObject *fields[] = {
        PyBytes_FromStringAndSize((const char *)info.uuid, sizeof info.uuid),
        PyLong_FromUnsignedLongLong(info.pool_bytes),
        PyLong_FromUnsignedLongLong(info.free_bytes),
        PyLong_FromUnsignedLongLong(info.detached_bytes),
        PyLong_FromUnsignedLongLong(info.shared_bytes),
        PyLong_FromUnsignedLongLong(info.saved_bytes),
        PyLong_FromUnsignedLongLong(info.inodes),
        PyLong_FromUnsignedLongLong(info.limit_bytes),
        PyBool_FromLong(info.flags & HF_POOL_DURABLE),
        PyUnicode_FromString(info.engine),
        PyUnicode_FromString(info.media),
        from_policy(&info.policy),
        PyLong_FromUnsignedLong(info.processes),
        PyLong_FromUnsignedLong(info.threads),
        PyLong_FromUnsignedLong(info.files),
        PyLong_FromUnsignedLong(info.leases),
        PyLong_FromUnsignedLong(info.registrations),
        PyLong_FromUnsignedLongLong(info.resident_bytes),
        PyLong_FromUnsignedLongLong(info.trim_above_bytes),
    };
    return make_record(info_type, fields, 19);
}

static PyStructSequence_Field stats_fields[] = {
    {"pins_slow", "pins that left the fast path"},
    {"faults", "entries filled"},
    {"gate_waits", "pins and faults that waited at a gate"},
    {"changes", "layout changes begun"},
    {"barriers", "heavy barriers paid"},
    {"drains_waited", "layout changes that found a holder and waited"},
    {"detaches", "layout changes that detached blocks"},
    {"reaped", "pins of dead processes dropped"},
    {"recalls", "leases that layout changes asked for"},
    {"wait_ns_total", "nanoseconds that layout changes have waited"},
    {"wait_ns_max", "the longest of these waits"},
    {"timed_out", "layout changes that gave up at their deadline"},
    {"busy", "those that were not to wait"},
    {"cancelled", "those whose wait a signal or another thread ended"},
    {"own_pins", "those that would have waited for a pin of their own thread"},
    {"deadlocks", "those that were the youngest in a cycle"},
    {NULL, NULL},
};
static PyStructSequence_Desc stats_desc = {
    "holdfast.Stats", "Since the first process attached, all processes together.", stats_fields,
    16};

PyObject *pool_stats(struct py_pool *self, PyObject *unused)
{
    struct hf_stats stats = {.size = sizeof stats};
    int rc;

    (void)unused;
    if (!pool_is_open(self))
        return NULL;
    rc = hf_stats(self->pool, &stats);
    if (rc)
        return failed(rc);
    const uint64_t values[] = {
        stats.pins_slow, stats.faults,        stats.gate_waits,  stats.changes,
        stats.barriers,  stats.drains_waited, stats.detaches,    stats.reaped,
        stats.recalls,   stats.wait_ns_total, stats.wait_ns_max, stats.timed_out,
        stats.busy,      stats.cancelled,     stats.own_pins,    stats.deadlocks};
    PyObject *fields[16];

    for (unsigned i = 0; i < 16; i++)
        fields[i] = PyLong_FromUnsignedLongLong(values[i]);
    return make_record(stats_type, fields, 16);
}

/* What a call reports, kept until the interpreter's lock is there again. */
struct kept {
    void *items;
    size_t size, count, room;
};

static int keep_item(struct kept *kept, const void *item)
{
    if (kept->count == kept->room) {
        size_t room = kept->room ? 2 * kept->room : 64;
        void *items = realloc(kept->items, room * kept->size);

        if (!items)
            return -ENOMEM;
        kept->items = items;
        kept->room = room;
    }
    memcpy((char *)kept->items + kept->count++ * kept->size, item, kept->size);
    return 0;
}

static PyObject *list_of(struct kept *kept, long rc, PyObject *(*make)(const void *item))
{
    PyObject *list = rc < 0 ? failed(rc) : PyList_New((Py_ssize_t)kept->count);

    for (size_t i = 0; list && i < kept->count; i++) {
        PyObject *item = make((char *)kept->items + i * kept->size);

        if (!item)
            Py_CLEAR(list);
        else
            PyList_SetItem(list, (Py_ssize_t)i, item);
    }
    free(kept->items);
    return list;
}

static PyStructSequence_Field pin_fields[] = {
    {"ino", "the file's inode number"},
    {"off", "bytes, whole pages"},
    {"len", "bytes, whole pages"},
    {"flags", "WRITE, IO_URING, RDMA, GPU, PIN_LEASE, PIN_RECALLED, PIN_STOPPED"},
    {"state", "PIN_HELD, PIN_DETACHED, PIN_WAITING (a layout change) or PIN_QUARANTINED"},
    {"pid", "of the holder"},
    {"tid", "of its thread"},
    {"age_ns", "since when; 0: not known"},
    {"command", "the process's name"},
    {"label", "what its holder said of a lease: for which peer or device it is"},
    {NULL, NULL},
};
static PyStructSequence_Desc pin_desc = {"holdfast.PinInfo", "A pin, a lease or a waiting change.",
                                         pin_fields, 10};

static int keep_pin_info(void *kept, const struct hf_pin_info *info)
{
    return keep_item(kept, info);
}

static PyObject *make_pin_info(const void *item)
{
    const struct hf_pin_info *info = item;
    PyObject *fields[] = {
        PyLong_FromUnsignedLongLong(info->ino),
        PyLong_FromUnsignedLongLong(info->off),
        PyLong_FromUnsignedLongLong(info->len),
        PyLong_FromUnsignedLong(info->flags),
        PyLong_FromUnsignedLong(info->state),
        PyLong_FromLong(info->pid),
        PyLong_FromLong(info->tid),
        PyLong_FromUnsignedLongLong(info->age_ns),
        PyUnicode_DecodeFSDefault(info->command),
        PyUnicode_DecodeFSDefault(info->label),
    };

    return make_record(pin_info_type, fields, 10);
}

PyObject *pool_pins(struct py_pool *self, PyObject *unused)
{
    struct kept kept = {.size = sizeof(struct hf_pin_info)};
    int rc;

    (void)unused;
    if (!pool_is_open(self))
        return NULL;
    WITHOUT_LOCK(self, rc, hf_pins(self->pool, keep_pin_info, &kept));
    return list_of(&kept, rc, make_pin_info);
}

static PyStructSequence_Field extent_fields[] = {
    {"ino", "the file's inode number"},
    {"off", "bytes in the file"},
    {"len", "bytes"},
    {"block", "its first block; block * BLOCK_BYTES is its place in the pool"},
    {"detached", "whether it is in no file any more"},
    {"shared", "whether other places of files may have the blocks too"},
    {NULL, NULL},
};
static PyStructSequence_Desc extent_desc = {"holdfast.Extent", "Where a part of a file lies.",
                                            extent_fields, 6};

static int keep_extent_info(void *kept, const struct hf_extent_info *info)
{
    return keep_item(kept, info);
}

static PyObject *make_extent(const void *item)
{
    const struct hf_extent_info *info = item;
    PyObject *fields[] = {
        PyLong_FromUnsignedLongLong(info->ino), PyLong_FromUnsignedLongLong(info->off),
        PyLong_FromUnsignedLongLong(info->len), PyLong_FromUnsignedLongLong(info->block),
        PyBool_FromLong(info->detached),        PyBool_FromLong(info->shared),
    };

    return make_record(extent_type, fields, 6);
}

PyObject *pool_extents(struct py_pool *self, PyObject *args)
{
    struct kept kept = {.size = sizeof(struct hf_extent_info)};
    unsigned long long ino = 0;
    int rc;

    if (!PyArg_ParseTuple(args, "|O&:extents", to_uint64, &ino) || !pool_is_open(self))
        return NULL;
    WITHOUT_LOCK(self, rc, hf_extents(self->pool, ino, keep_extent_info, &kept));
    return list_of(&kept, rc, make_extent);
}

PyObject *pool_path(struct py_pool *self, PyObject *args)
{
    char path[HF_SYMLINK_MAX + 1];
    unsigned long long ino;
    int rc;

    if (!PyArg_ParseTuple(args, "O&:path", to_uint64, &ino) || !pool_is_open(self))
        return NULL;
    WITHOUT_LOCK(self, rc, hf_path(self->pool, ino, path, sizeof path));
    return rc ? failed(rc) : PyUnicode_DecodeFSDefault(path);
}

int add_looking(PyObject *module)
{
    return (info_type = add_record(module, &info_desc)) &&
                   (stats_type = add_record(module, &stats_desc)) &&
                   (pin_info_type = add_record(module, &pin_desc)) &&
                   (extent_type = add_record(module, &extent_desc))
               ? 0
               : -1;
}
