/* SPDX-License-Identifier: MIT */
/* Cache: a cache of objects that processes share, and iterators over its keys. */
#include "cache.h"

#include <errno.h>

static PyTypeObject *cache_type, *entry_type, *entries_type;

PyObject *cache_failed(long rc)
{
    return failed_with(rc, hfc_detail());
}

bool cache_is_open(const struct py_cache *self)
{
    if (self->cache)
        return true;
    PyErr_SetString(PyExc_ValueError, "the cache is closed");
    return false;
}

/* --- opening and closing --- */

static bool take_policy(const char *name, uint32_t *policy)
{
    static const char *const names[] = {
        [HFC_S3FIFO] = "s3fifo", [HFC_LRU] = "lru", [HFC_FIFO] = "fifo"};

    for (uint32_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(name, names[i]) == 0) {
            *policy = i;
            return true;
        }
    }
    PyErr_Format(PyExc_ValueError, "policy is \"s3fifo\", \"lru\" or \"fifo\", not \"%s\"", name);
    return false;
}

static PyObject *open_cache(PyTypeObject *type, struct py_pool *pool, const char *path,
                            const struct hfc_options *options)
{
    struct py_cache *self;
    struct hfc *cache = NULL;
    int rc;

    if (!pool_is_open(pool))
        return NULL;
    WITHOUT_LOCK(pool, rc, hfc_open(pool->pool, path, options, &cache));
    if (rc)
        return cache_failed(rc);
    self = PyObject_New(struct py_cache, type);
    if (!self) {
        UNSHARED_WITHOUT_LOCK(hfc_close(cache));
        return NULL;
    }
    self->pool = (struct py_pool *)Py_NewRef((PyObject *)pool);
    self->cache = cache;
    self->busy = 0;
    self->closing = NULL;
    return (PyObject *)self;
}

/* For "O&": a path, or None. */
static int to_tier(PyObject *object, void *out)
{
    return object == NULL || object == Py_None ? 1 : PyUnicode_FSConverter(object, out);
}

static PyObject *cache_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"pool", "path", "capacity", "policy",    "objects", "high",
                            "low",  "ttl",  "tier",     "tier_size", NULL};
    struct hfc_options options = {.size = sizeof options};
    unsigned long long capacity = 0, high = 0, low = 0, ttl = 0, tier_bytes = 0;
    const char *policy = "s3fifo";
    PyObject *pool, *path, *cache, *tier = NULL;

    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O!O&|O&$sO&O&O&O&O&O&:Cache", names,
                                     pool_type, &pool, PyUnicode_FSConverter, &path, to_uint64,
                                     &capacity, &policy, to_uint32, &options.objects, to_uint64,
                                     &high, to_uint64, &low, to_uint64, &ttl, to_tier, &tier,
                                     to_uint64, &tier_bytes))
        return NULL;
    options.tier = tier ? PyBytes_AsString(tier) : NULL;
    options.tier_bytes = tier_bytes;
    options.capacity_bytes = capacity;
    options.high_bytes = high;
    options.low_bytes = low;
    options.ttl_seconds = ttl;
    cache = take_policy(policy, &options.policy)
                ? open_cache(type, (struct py_pool *)pool, PyBytes_AsString(path),
                             capacity ? &options : NULL)
                : NULL;
    Py_DECREF(path);
    Py_XDECREF(tier);
    return cache;
}

/* What waits for its fetches learns that they will not come. */
static bool tell_of_close(struct py_cache *self)
{
    PyObject *call = self->closing, *result;

    if (!call)
        return true;
    self->closing = NULL;
    result = PyObject_CallNoArgs(call);
    Py_DECREF(call);
    Py_XDECREF(result);
    return result != NULL;
}

static PyObject *cache_close(struct py_cache *self, PyObject *unused)
{
    struct hfc *cache = self->cache;
    int rc;

    (void)unused;
    if (!cache)
        Py_RETURN_NONE;
    if (!not_busy(self->busy) || !tell_of_close(self))
        return NULL;
    self->cache = NULL;
    UNSHARED_WITHOUT_LOCK(rc = hfc_close(cache));
    if (!rc)
        Py_RETURN_NONE;
    self->cache = cache;
    return cache_failed(rc);
}

static PyObject *cache_enter(PyObject *self, PyObject *unused)
{
    (void)unused;
    return cache_is_open((struct py_cache *)self) ? Py_NewRef(self) : NULL;
}

static PyObject *cache_exit(struct py_cache *self, PyObject *args)
{
    (void)args;
    return cache_close(self, NULL);
}

static void cache_dealloc(struct py_cache *self)
{
    PyTypeObject *type = Py_TYPE((PyObject *)self);

    if (self->cache)
        UNSHARED_WITHOUT_LOCK(hfc_close(self->cache));
    Py_XDECREF(self->closing);
    Py_DECREF((PyObject *)self->pool);
    PyObject_Free(self);
    Py_DECREF(type);
}

static PyObject *cache_quota(struct py_cache *self, PyObject *args)
{
    unsigned long long bytes;
    uint32_t space;
    int rc;

    if (!PyArg_ParseTuple(args, "O&O&:quota", to_uint32, &space, to_uint64, &bytes) ||
        !cache_is_open(self))
        return NULL;
    WITHOUT_LOCK(self, rc, hfc_quota(self->cache, space, bytes));
    if (rc)
        return cache_failed(rc);
    Py_RETURN_NONE;
}

/* --- one key --- */

/* The arguments of a call on a key alone. */
static bool take_key(struct py_cache *self, PyObject *args, PyObject *keywords, const char *format,
                     Py_buffer *view, struct hfc_key *key)
{
    static char *names[] = {"key", "space", NULL};
    uint32_t space = 0;

    if (!PyArg_ParseTupleAndKeywords(args, keywords, format, names, view, to_uint32, &space))
        return false;
    name_key(view, space, key);
    if (cache_is_open(self))
        return true;
    PyBuffer_Release(view);
    return false;
}

static PyObject *cache_get(struct py_cache *self, PyObject *args, PyObject *keywords)
{
    struct hfc_key key;
    PyObject *object;
    Py_buffer view;

    if (!take_key(self, args, keywords, "s*|$O&:get", &view, &key))
        return NULL;
    object = get_one(self, &key, GET_HELD, 0);
    PyBuffer_Release(&view);
    return object;
}

/* True, or False for -ENOENT. */
static PyObject *was_there(int rc)
{
    if (rc < 0 && rc != -ENOENT)
        return cache_failed(rc);
    return PyBool_FromLong(rc >= 0);
}

static PyObject *where_it_is(int rc)
{
    return rc < 0 ? cache_failed(rc) : PyLong_FromLong(rc);
}

/* A call on a key that says whether it is there. */
#define ON_KEY(name, call, answer)                                                                 \
    static PyObject *cache_##name(struct py_cache *self, PyObject *args, PyObject *keywords)       \
    {                                                                                              \
        struct hfc_key key;                                                                        \
        Py_buffer view;                                                                            \
        int rc;                                                                                    \
                                                                                                   \
        if (!take_key(self, args, keywords, "s*|$O&:" #name, &view, &key))                         \
            return NULL;                                                                           \
        WITHOUT_LOCK(self, rc, call(self->cache, &key));                                           \
        PyBuffer_Release(&view);                                                                   \
        return answer(rc);                                                                         \
    }

static int exists_one(struct hfc *cache, const struct hfc_key *key)
{
    uint8_t there;
    int rc = hfc_exists(cache, key, 1, &there);

    return rc < 0 ? rc : there;
}

ON_KEY(exists, exists_one, where_it_is)
ON_KEY(remove, hfc_remove, was_there)
ON_KEY(touch, hfc_touch, was_there)

static int cache_contains(PyObject *object, PyObject *given)
{
    struct py_cache *self = (struct py_cache *)object;
    struct hfc_key key;
    Py_buffer view;
    int rc;

    if (!PyArg_Parse(given, "s*:in", &view))
        return -1;
    name_key(&view, 0, &key);
    rc = cache_is_open(self) ? exists_one(self->cache, &key) : 0;
    PyBuffer_Release(&view);
    if (rc < 0)
        cache_failed(rc);
    return PyErr_Occurred() ? -1 : rc > 0;
}

static PyObject *cache_put(struct py_cache *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"key", "data", "space", NULL};
    Py_buffer view, data;
    struct hfc_key key;
    uint32_t space = 0;
    int rc = 0;

    if (!PyArg_ParseTupleAndKeywords(args, keywords, "s*y*|$O&:put", names, &view, &data, to_uint32,
                                     &space))
        return NULL;
    name_key(&view, space, &key);
    if (cache_is_open(self)) {
        WITHOUT_LOCK(self, rc, hfc_put(self->cache, &key, data.buf, (size_t)data.len));
        if (rc)
            cache_failed(rc);
    }
    PyBuffer_Release(&data);
    PyBuffer_Release(&view);
    return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
}

static PyObject *cache_put_begin(struct py_cache *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"key", "size", "flags", "space", NULL};
    uint32_t space = 0, flags = 0;
    unsigned long long size;
    struct hfc_key key;
    PyObject *put;
    Py_buffer view;

    if (!PyArg_ParseTupleAndKeywords(args, keywords, "s*O&|$O&O&:put_begin", names, &view,
                                     to_uint64, &size, to_uint32, &flags, to_uint32, &space))
        return NULL;
    name_key(&view, space, &key);
    put = cache_is_open(self) ? begin_put(self, &key, size, flags) : NULL;
    PyBuffer_Release(&view);
    return put;
}

/* --- several keys --- */

static PyObject *cache_get_many(struct py_cache *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"keys", "prefix", "space", NULL};
    PyObject *given, *list;
    uint32_t space = 0;
    struct keys keys;
    int prefix = 0;

    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O|$pO&:get_many", names, &given, &prefix,
                                     to_uint32, &space) ||
        !take_keys(given, space, &keys))
        return NULL;
    list =
        cache_is_open(self) ? get_each(self, keys.keys, keys.count, prefix ? HFC_PREFIX : 0) : NULL;
    drop_keys(&keys);
    return list;
}

static PyObject *numbers(const uint8_t *bytes, int count)
{
    PyObject *list = PyList_New(count);

    for (int i = 0; list && i < count; i++)
        PyList_SetItem(list, i, PyLong_FromLong(bytes[i]));
    return list;
}

static PyObject *cache_exists_many(struct py_cache *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"keys", "space", NULL};
    PyObject *given, *list = NULL;
    uint32_t space = 0;
    struct keys keys;
    uint8_t *there;
    int rc;

    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O|$O&:exists_many", names, &given, to_uint32,
                                     &space) ||
        !take_keys(given, space, &keys))
        return NULL;
    there = PyMem_Malloc((size_t)keys.count);
    if (!there) {
        PyErr_NoMemory();
    } else if (cache_is_open(self)) {
        WITHOUT_LOCK(self, rc, hfc_exists(self->cache, keys.keys, keys.count, there));
        list = rc < 0 ? cache_failed(rc) : numbers(there, keys.count);
    }
    PyMem_Free(there);
    drop_keys(&keys);
    return list;
}

/* --- looking --- */

struct py_entries {
    PyObject_HEAD struct py_cache *cache;
    uint64_t cursor;
    bool keys; /* of space 0, instead of entries */
};

static PyStructSequence_Field entry_fields[] = {
    {"key", "bytes"},
    {"space", "its namespace"},
    {"len", "bytes of the object"},
    {NULL, NULL},
};
static PyStructSequence_Desc entry_desc = {"holdfast.CacheEntry", "An object of a cache.",
                                           entry_fields, 3};

static PyObject *make_entries(struct py_cache *cache, bool keys)
{
    struct py_entries *self;

    if (!cache_is_open(cache))
        return NULL;
    self = PyObject_New(struct py_entries, entries_type);
    if (!self)
        return NULL;
    self->cache = (struct py_cache *)Py_NewRef((PyObject *)cache);
    self->cursor = 0;
    self->keys = keys;
    return (PyObject *)self;
}

static PyObject *cache_entries(struct py_cache *self, PyObject *unused)
{
    (void)unused;
    return make_entries(self, false);
}

static PyObject *cache_iter(struct py_cache *self)
{
    return make_entries(self, true);
}

static PyObject *entries_next(struct py_entries *self)
{
    struct py_cache *cache = self->cache;
    struct hfc_entry entry;
    uint64_t cursor = self->cursor;
    PyObject *key;
    int rc;

    if (!cache_is_open(cache))
        return NULL;
    do {
        WITHOUT_LOCK(cache, rc, hfc_next(cache->cache, &cursor, &entry));
    } while (rc == 1 && self->keys && entry.space);
    self->cursor = cursor;
    if (rc <= 0)
        return rc ? cache_failed(rc) : NULL; /* the end */
    key = PyBytes_FromStringAndSize((const char *)entry.key, entry.key_len);
    if (self->keys)
        return key;
    PyObject *fields[] = {key, PyLong_FromUnsignedLong(entry.space),
                          PyLong_FromUnsignedLongLong(entry.bytes)};
    return make_record(entry_type, fields, 3);
}

static void entries_dealloc(struct py_entries *self)
{
    PyTypeObject *type = Py_TYPE((PyObject *)self);

    Py_DECREF((PyObject *)self->cache);
    PyObject_Free(self);
    Py_DECREF(type);
}

static PyObject *stats_dict(const struct hfc_stats *stats)
{
#define FIELD(name)                                                                                \
    {                                                                                              \
#name, stats->name                                                                         \
    }
    const struct {
        const char *name;
        uint64_t value;
    } fields[] = {
        FIELD(capacity_bytes),
        FIELD(used_bytes),
        FIELD(held_bytes),
        FIELD(objects),
        FIELD(objects_max),
        FIELD(packed_pages),
        FIELD(hits),
        FIELD(misses),
        FIELD(expired),
        FIELD(puts),
        FIELD(put_bytes),
        FIELD(evictions),
        FIELD(removals),
        FIELD(ghost_hits),
        FIELD(compacted),
        FIELD(mended),
        FIELD(dropped),
        FIELD(evicted_age_seconds),
        FIELD(next_age_seconds),
    };
    PyObject *dict = PyDict_New();

    for (unsigned i = 0; dict && i < sizeof fields / sizeof *fields; i++) {
        PyObject *value = PyLong_FromUnsignedLongLong(fields[i].value);

        if (!value || PyDict_SetItemString(dict, fields[i].name, value))
            Py_CLEAR(dict);
        Py_XDECREF(value);
    }
    return dict;
}

static PyObject *cache_stats(struct py_cache *self, PyObject *unused)
{
    struct hfc_stats stats = {.size = sizeof stats};
    int rc;

    (void)unused;
    if (!cache_is_open(self))
        return NULL;
    WITHOUT_LOCK(self, rc, hfc_stats(self->cache, &stats));
    return rc ? cache_failed(rc) : stats_dict(&stats);
}

/* --- the types --- */

static PyMethodDef cache_methods[] = {
    {"close", ALONE(cache_close),
     "close()\n--\n\nCloses it. What was got stays held. Fetches that have not ended are given up.\n\n"
     "OSError EBUSY: puts are under way, or another thread is in a call on it."},
    {"get", NAMED(cache_get),
     "get(key, *, space=0)\n--\n\nHolds the object and returns a Cached, a buffer in place; None:\n"
     "it is not in the cache, or is older than ttl. It takes no lock and waits for nobody who\n"
     "uses the cache.\n\n"
     "OSError EINVAL: a key has 1 to 512 bytes, space is below 64. ENOLCK: the pool's limit of\n"
     "threads is used up."},
    {"get_many", NAMED(cache_get_many),
     "get_many(keys, *, prefix=False, space=0)\n--\n\nAs get() of each key, in one call: a list of\n"
     "Cached and None, in their order. prefix: the first that is not there ends it, and the rest\n"
     "are None. After an error nothing is held."},
    {"exists", NAMED(cache_exists),
     "exists(key, *, space=0)\n--\n\nWhere it is: IN_MEMORY, ON_DISK, which is the second tier, or 0.\n"
     "`key in cache`: it is in one of them, in space 0. Does not count as use."},
    {"exists_many", NAMED(cache_exists_many),
     "exists_many(keys, *, space=0)\n--\n\nAs exists() of each key: a list."},
    {"fetch", NAMED(cache_fetch),
     "fetch(key, *, space=0)\n--\n\nAs get(), but an object of the second tier is brought back into\n"
     "memory. Waits for the disk, and for another reader that brings it. None: it is in\n"
     "neither, or the disk has failed. holdfast.fetch() is the same for asyncio.\n\n"
     "OSError as get(), and as put() when it is brought back."},
    {"fetch_begin", NAMED(cache_fetch_begin),
     "fetch_begin(key, tag, *, space=0)\n--\n\nfetch() for an event loop, that does not wait. A Cached:\n"
     "it was in memory. True: it is on its way, and fetch_next() will have it with this\n"
     "number. None: it is in neither.\n\n"
     "BlockingIOError: 1,024 have begun and were not taken."},
    {"fetch_next", ALONE(cache_fetch_next),
     "fetch_next()\n--\n\nOf the fetches that have ended, the next one: (tag, what), where what is as\n"
     "fetch() would return, or the OSError that it would raise. None: there is no other."},
    {"fetch_fd", ALONE(cache_fetch_fd),
     "fetch_fd()\n--\n\nA descriptor that is readable while fetch_next() has one. It is the cache's\n"
     "own: neither read nor close it."},
    {"tier_stats", ALONE(cache_tier_stats),
     "tier_stats()\n--\n\nA dict of the second tier, or None without one: path, fault (why this\n"
     "process does without it, or None), capacity_bytes, used_bytes, and counts since it was\n"
     "made: demoted, demoted_bytes, kept, skipped, promoted, promoted_bytes, misses, damaged,\n"
     "write_errors, read_errors. Of the last error: last_error, an errno, last_error_reading\n"
     "and last_error_time. hfc_open(3) says more."},
    {"_before_close", PLAIN(cache_before_close),
     "_before_close(call, /)\n--\n\nclose() calls it first; None: nothing. For holdfast.fetch()."},
    {"touch", NAMED(cache_touch),
     "touch(key, *, space=0)\n--\n\nCounts as use of the object, for eviction. Returns whether it is\n"
     "in the cache."},
    {"put", NAMED(cache_put),
     "put(key, data, *, space=0)\n--\n\nCopies a buffer under the key; replaces what is there, in one\n"
     "step. A process that holds it goes on with it. Others are evicted when there is no room.\n\n"
     "OSError EINVAL: data is empty, or the key as in get(). EFBIG: more than the capacity or\n"
     "the quota. ENOSPC: readers and puts hold what could be evicted, or the pool is full.\n"
     "EBUSY: a process that is stopped has the cache's lock."},
    {"put_begin", NAMED(cache_put_begin),
     "put_begin(key, size, *, flags=0, space=0)\n--\n\nReturns a CachePut: memory of size bytes to\n"
     "fill in place, which its commit() makes the object. flags: what fills it, if not the CPU:\n"
     "IO_URING, RDMA or GPU. Errors as put()."},
    {"remove", NAMED(cache_remove),
     "remove(key, *, space=0)\n--\n\nTakes the object out. Returns whether it was in the cache.\n\n"
     "OSError EBUSY: a process that is stopped has the cache's lock."},
    {"evict", PLAIN(cache_evict),
     "evict(bytes=None, /)\n--\n\nEvicts by the policy until objects of so many bytes have left, or\n"
     "all. Without bytes, the memory that nobody holds goes back to the pool; else the cache\n"
     "keeps it. Waits until they are in the second tier, if there is one. Returns the bytes.\n\n"
     "OSError EBUSY: a process that is stopped has the cache's lock."},
    {"quota", PLAIN(cache_quota),
     "quota(space, bytes, /)\n--\n\nWhat a namespace may take at most, for all processes; 0: as much\n"
     "as the cache has. OSError EINVAL: there are 64."},
    {"entries", ALONE(cache_entries),
     "entries()\n--\n\nAn iterator of CacheEntry over all namespaces. An object that is there all the\n"
     "time is seen once."},
    {"stats", ALONE(cache_stats),
     "stats()\n--\n\nA dict, of all processes together. Now: capacity_bytes, used_bytes, held_bytes\n"
     "(of that, by readers and puts), objects, objects_max, packed_pages. Counted since the\n"
     "first process opened it: hits, misses, expired, puts, put_bytes, evictions, removals,\n"
     "ghost_hits, compacted, mended (after deaths), dropped. Since their puts: evicted_age_seconds, of the last\n"
     "object evicted, and next_age_seconds. hfc_open(3) says more.\n\n"
     "OSError EBUSY: a process that is stopped has the cache's lock."},
    {"__enter__", ALONE(cache_enter), NULL},
    {"__exit__", PLAIN(cache_exit), NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot cache_slots[] = {
    {Py_tp_doc,
     "Cache(pool, path, capacity=0, *, policy=\"s3fifo\", objects=0, high=0, low=0, ttl=0,\n"
     "      tier=None, tier_size=0)\n--\n\n"
     "A cache of objects in the directory path of a pool, for any number of processes. A context\n"
     "manager that closes it. `key in cache`, and `for key in cache`: of namespace 0.\n\n"
     "Keys are bytes, or str as UTF-8. A cache that is not there is made with capacity, in\n"
     "bytes of memory, at least 1 MiB; one that is there stays as it is. 0: it must be there.\n"
     "policy: \"s3fifo\", \"lru\" or \"fifo\". objects: at most so many; 0: one for each 16 KiB.\n"
     "high, low: a put that would take more than high bytes evicts down to low; 0: the\n"
     "capacity. With high at 3/4 of it, also a full cache has room for objects of mixed sizes\n"
     "in one piece each. ttl: objects are not found when they are older, in seconds; 0: of any age.\n"
     "tier: a directory of a disk, absolute, for a file of tier_size bytes that gets what is\n"
     "evicted. get() looks in memory alone, fetch() there too.\n\n"
     "FileNotFoundError: there is none, and capacity is 0. OSError EINVAL: an option is out of\n"
     "bounds. EUCLEAN: it is damaged. EOPNOTSUPP: a newer version made it, or the pool's engine\n"
     "does not know which process holds a range. ENOSPC: the pool has no room for its index."},
    {Py_tp_new, cache_new},
    {Py_tp_dealloc, cache_dealloc},
    {Py_tp_iter, cache_iter},
    {Py_tp_methods, cache_methods},
    {Py_sq_contains, cache_contains},
    {0, NULL},
};
static PyType_Spec cache_spec = {"holdfast.Cache", sizeof(struct py_cache), 0, Py_TPFLAGS_DEFAULT,
                                 cache_slots};

static PyType_Slot entries_slots[] = {
    {Py_tp_doc, "An iterator over a cache: of its keys, or of CacheEntry."},
    {Py_tp_dealloc, entries_dealloc},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, entries_next},
    {0, NULL},
};
static PyType_Spec entries_spec = {"holdfast.CacheEntries", sizeof(struct py_entries), 0,
                                   Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
                                   entries_slots};

static struct py_cache_calls calls = {.cached_from = cached_from};

/* For the other extension, if there is one. */
static int add_calls(PyObject *module)
{
    PyObject *capsule;
    int rc;

    calls.cache_type = cache_type;
    capsule = PyCapsule_New(&calls, CACHE_CALLS, NULL);
    rc = add_object(module, "_cache_calls", capsule);
    Py_XDECREF(capsule);
    return rc;
}

int add_cache(PyObject *module)
{
    return (cache_type = add_type(module, &cache_spec)) &&
                   (entries_type = add_type(module, &entries_spec)) &&
                   (entry_type = add_record(module, &entry_desc)) && !add_cached(module) &&
                   !add_calls(module) &&
                   !PyModule_AddIntConstant(module, "IN_MEMORY", HFC_IN_MEMORY) &&
                   !PyModule_AddIntConstant(module, "ON_DISK", HFC_ON_DISK)
               ? 0
               : -1;
}
