/* SPDX-License-Identifier: MIT */
/*
 * Cached and CachePut: memory of a cache, as buffers. What was got stays held while a view of it
 * lives. What is put may be published only when no view can change it any more.
 */
#include "cache.h"
#include "held.h"

#include <errno.h>

static PyTypeObject *cached_type, *put_type;

struct py_cached {
    struct py_held held;
    struct hfc_ref ref;
};

struct py_put {
    struct py_held held;
    struct py_cache *cache;
    struct hfc_put *put; /* null: it has ended */
};

/* --- what was got --- */

PyObject *cached_from(struct py_cache *cache, const struct iovec *iov, int pieces,
                      const struct hfc_ref *ref)
{
    struct py_cached *self = (struct py_cached *)held_new(cached_type, cache->pool, false);
    int room = 1;

    while (self && room < pieces && held_room(&self->held, &room))
        ;
    if (!self || room < pieces) {
        struct hfc_ref unused = *ref;

        hfc_release(&unused);
        Py_XDECREF((PyObject *)self);
        return NULL;
    }
    memcpy(self->held.iov, iov, (size_t)pieces * sizeof *iov);
    self->held.pieces = pieces;
    self->held.live = true;
    self->ref = *ref;
    return (PyObject *)self;
}

static int get_into(struct py_cached *self, struct hfc *cache, const struct hfc_key *key, int room,
                    enum get_how how, uint64_t tag)
{
    struct iovec *iov = self->held.iov;

    return how == GET_HELD      ? hfc_get(cache, key, iov, room, &self->ref)
           : how == GET_FETCHED ? hfc_fetch(cache, key, iov, room, &self->ref)
                                : hfc_fetch_begin(cache, key, tag, iov, room, &self->ref);
}

PyObject *get_one(struct py_cache *cache, const struct hfc_key *key, enum get_how how, uint64_t tag)
{
    struct py_cached *self = (struct py_cached *)held_new(cached_type, cache->pool, false);
    int room = 1, rc;

    if (!self)
        return NULL;
    do {
        WITHOUT_LOCK(cache, rc, get_into(self, cache->cache, key, room, how, tag));
    } while (rc == -E2BIG && held_room(&self->held, &room));
    if (rc > 0) {
        self->held.pieces = rc;
        self->held.live = true;
        return (PyObject *)self;
    }
    Py_DECREF((PyObject *)self);
    if (rc == -ENOENT)
        Py_RETURN_NONE;
    if (rc == 0)
        Py_RETURN_TRUE;
    return PyErr_Occurred() ? NULL : cache_failed(rc); /* no memory for the pieces */
}

/* The exception that is set, as an object. */
static PyObject *take_exception(void)
{
    PyObject *type, *value, *trace;

    PyErr_Fetch(&type, &value, &trace);
    PyErr_NormalizeException(&type, &value, &trace);
    Py_XDECREF(type);
    Py_XDECREF(trace);
    return value;
}

/* (tag, thing); takes over the reference to it, which may be null. */
static PyObject *tag_thing(uint64_t tag, PyObject *thing)
{
    return thing ? Py_BuildValue("KN", (unsigned long long)tag, thing) : NULL;
}

PyObject *next_fetched(struct py_cache *cache)
{
    struct py_cached *self = (struct py_cached *)held_new(cached_type, cache->pool, false);
    struct hfc_fetched fetched;
    int room = 1, rc;

    if (!self)
        return NULL;
    do {
        rc = hfc_fetch_next(cache->cache, self->held.iov, room, &fetched);
    } while (rc == -E2BIG && held_room(&self->held, &room));
    if (rc == 1 && fetched.pieces > 0) {
        self->held.pieces = fetched.pieces;
        self->held.live = true;
        self->ref = fetched.ref;
        return tag_thing(fetched.tag, (PyObject *)self);
    }
    Py_DECREF((PyObject *)self);
    if (rc < 0)
        return PyErr_Occurred() ? NULL : cache_failed(rc);
    if (rc == 0)
        Py_RETURN_NONE;
    if (fetched.pieces == -ENOENT)
        return tag_thing(fetched.tag, Py_NewRef(Py_None));
    cache_failed(fetched.pieces);
    return tag_thing(fetched.tag, take_exception());
}

/* What one call got of several. */
struct batch {
    struct iovec *iov;
    struct hfc_got *got;
    int room;
};

static PyObject *take_got(struct py_cache *self, const struct hfc_key *key,
                          const struct batch *batch, int index)
{
    const struct hfc_got *got = &batch->got[index];

    if (got->pieces > 0)
        return cached_from(self, &batch->iov[got->first], got->pieces, &got->ref);
    if (got->pieces == -E2BIG)
        return get_one(self, key, GET_HELD, 0);
    if (got->pieces == -ENOENT)
        Py_RETURN_NONE;
    return cache_failed(got->pieces);
}

/* Releases what take_got() has not taken. */
static void drop_got(struct batch *batch, int first, int count)
{
    for (int i = first; i < count; i++)
        if (batch->got[i].pieces > 0)
            hfc_release(&batch->got[i].ref);
}

/* Appends the objects; returns how many, or -1. With HFC_PREFIX, one that lies in too many pieces
 * is the last of this call. */
static int get_some(struct py_cache *self, const struct hfc_key *keys, int count, uint32_t flags,
                    struct batch *batch, PyObject *list)
{
    int rc;

    WITHOUT_LOCK(
        self, rc,
        hfc_get_many(self->cache, keys, count, flags, batch->iov, batch->room, batch->got));
    if (rc < 0) {
        cache_failed(rc);
        return -1;
    }
    for (int i = 0; i < count; i++) {
        PyObject *one = take_got(self, &keys[i], batch, i);
        bool missing = one == Py_None;

        rc = one ? PyList_Append(list, one) : -1;
        Py_XDECREF(one);
        if (rc) {
            drop_got(batch, i + 1, count);
            return -1;
        }
        if (flags & HFC_PREFIX && batch->got[i].pieces == -E2BIG && !missing)
            return i + 1;
    }
    return count;
}

PyObject *get_each(struct py_cache *self, const struct hfc_key *keys, int count, uint32_t flags)
{
    struct batch batch = {.room = count < INT_MAX / 4 ? 2 * count + 14 : count};
    PyObject *list = PyList_New(0);
    int taken = 0, rc = list ? 0 : -1;

    batch.iov = PyMem_Malloc((size_t)batch.room * sizeof *batch.iov);
    batch.got = PyMem_Malloc((size_t)count * sizeof *batch.got);
    if (!batch.iov || !batch.got) {
        PyErr_NoMemory();
        rc = -1;
    }
    while (rc >= 0 && taken < count) {
        rc = get_some(self, keys + taken, count - taken, flags, &batch, list);
        taken += rc;
    }
    PyMem_Free(batch.iov);
    PyMem_Free(batch.got);
    if (rc < 0)
        Py_CLEAR(list);
    return list;
}

static PyObject *cached_release(struct py_cached *self, PyObject *unused)
{
    int rc;

    (void)unused;
    if (!self->held.live)
        Py_RETURN_NONE;
    if (!held_has_no_view(&self->held))
        return NULL;
    self->held.live = false;
    rc = hfc_release(&self->ref);
    return done(rc);
}

static PyObject *cached_exit(struct py_cached *self, PyObject *args)
{
    (void)args;
    return cached_release(self, NULL);
}

static void cached_dealloc(struct py_cached *self)
{
    PyTypeObject *type = Py_TYPE((PyObject *)self);

    if (self->held.live)
        hfc_release(&self->ref);
    held_drop(&self->held);
    PyObject_Free(self);
    Py_DECREF(type);
}

/* --- what is put --- */

/* Also as the object goes, perhaps with an exception on its way. */
static void put_give_up(struct py_put *self)
{
    struct hfc_put *put = self->put;

    self->put = NULL;
    if (!put)
        return;
    self->cache->busy++;
    UNSHARED_WITHOUT_LOCK(hfc_put_abort(put));
    self->cache->busy--;
}

/* The last view of a put that an exception has ended. */
static void put_unseen(struct py_held *held)
{
    if (!held->live)
        put_give_up((struct py_put *)held);
}

PyObject *begin_put(struct py_cache *cache, const struct hfc_key *key, uint64_t len, uint32_t flags)
{
    struct py_put *self = (struct py_put *)held_new(put_type, cache->pool, true);
    struct hfc_put *put = NULL;
    int room = 1, rc;

    if (!self)
        return NULL;
    self->cache = (struct py_cache *)Py_NewRef((PyObject *)cache);
    self->put = NULL;
    self->held.unseen = put_unseen;
    do {
        WITHOUT_LOCK(cache, rc,
                     hfc_put_begin(cache->cache, key, len, flags, self->held.iov, room, &put));
    } while (rc == -E2BIG && (held_room(&self->held, &room) || (rc = 0)));
    if (rc > 0) {
        self->put = put;
        self->held.pieces = rc;
        self->held.live = true;
        return (PyObject *)self;
    }
    Py_DECREF((PyObject *)self);
    return rc ? cache_failed(rc) : NULL;
}

static bool put_is_live(const struct py_put *self)
{
    if (self->held.live)
        return true;
    PyErr_SetString(PyExc_ValueError, "the put has ended");
    return false;
}

static PyObject *put_end(struct py_put *self, uint64_t len)
{
    struct hfc_put *put = self->put;
    int rc;

    if (!held_has_no_view(&self->held))
        return NULL;
    self->held.live = false;
    self->put = NULL;
    WITHOUT_LOCK(self->cache, rc, hfc_put_commit(put, len));
    if (rc)
        return cache_failed(rc);
    Py_RETURN_NONE;
}

static PyObject *put_commit(struct py_put *self, PyObject *args)
{
    PyObject *given = Py_None;
    unsigned long long len;

    if (!PyArg_ParseTuple(args, "|O:commit", &given) || !put_is_live(self))
        return NULL;
    len = (unsigned long long)held_len((PyObject *)self);
    if (given != Py_None) {
        unsigned long long most = len;

        len = PyLong_AsUnsignedLongLong(given);
        if (PyErr_Occurred())
            return NULL;
        if (!len || len > most)
            return PyErr_Format(PyExc_ValueError, "a commit of %llu bytes, of a put of %llu", len,
                                most);
    }
    return put_end(self, len);
}

static PyObject *put_abort(struct py_put *self, PyObject *unused)
{
    (void)unused;
    if (!self->held.live)
        Py_RETURN_NONE;
    if (!held_has_no_view(&self->held))
        return NULL;
    self->held.live = false;
    put_give_up(self);
    Py_RETURN_NONE;
}

/* After an exception, its traceback may hold views. Then the last of them gives the memory back. */
static PyObject *put_exit(struct py_put *self, PyObject *args)
{
    PyObject *type, *value, *trace;

    if (!PyArg_ParseTuple(args, "OOO:__exit__", &type, &value, &trace))
        return NULL;
    if (!self->held.live)
        Py_RETURN_NONE;
    if (type == Py_None)
        return put_end(self, (uint64_t)held_len((PyObject *)self));
    self->held.live = false;
    if (!self->held.views)
        put_give_up(self);
    Py_RETURN_NONE;
}

static void put_dealloc(struct py_put *self)
{
    PyTypeObject *type = Py_TYPE((PyObject *)self);

    put_give_up(self);
    Py_DECREF((PyObject *)self->cache);
    held_drop(&self->held);
    PyObject_Free(self);
    Py_DECREF(type);
}

/* --- the types --- */

static PyMethodDef cached_methods[] = {
    HELD_METHODS,
    {"release", ALONE(cached_release),
     "release()\n--\n\nReleases the object; a second call does nothing.\n\n"
     "BufferError: a view of it is alive."},
    {"__enter__", ALONE(held_enter), NULL},
    {"__exit__", PLAIN(cached_exit), NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot cached_slots[] = {
    {Py_tp_doc,
     "An object of a cache that is held; Cache.get() and get_many() return it.\n\n"
     "A read-only buffer on the memory itself, and a context manager, as Pin. Its bytes\n"
     "do not change, whatever happens to the key meanwhile. BufferError: it lies in\n"
     "several places, as may be in a full cache: use pieces(), or a copy, b\"\".join(pieces())."},
    {Py_tp_dealloc, cached_dealloc},
    {Py_tp_methods, cached_methods},
    {Py_sq_length, held_len},
    {Py_bf_getbuffer, held_get_buffer},
    {Py_bf_releasebuffer, held_release_buffer},
    {0, NULL},
};
static PyType_Spec cached_spec = {"holdfast.Cached", sizeof(struct py_cached), 0,
                                  Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
                                  cached_slots};

static PyMethodDef put_methods[] = {
    HELD_METHODS,
    {"commit", PLAIN(put_commit),
     "commit(size=None, /)\n--\n\nMakes the first size bytes, or all, the object of its key, in one\n"
     "step. What fills the memory must have ended.\n\n"
     "BufferError: a view is alive; the put goes on. ValueError: it has ended before, or size is\n"
     "0 or more than was begun; the put goes on. OSError EBUSY: a process that is stopped has\n"
     "the cache's lock; the put has ended, and the key is as before."},
    {"abort", ALONE(put_abort),
     "abort()\n--\n\nGives the memory back; after an end it does nothing.\n\n"
     "BufferError: a view of it is alive."},
    {"__enter__", ALONE(held_enter), NULL},
    {"__exit__", PLAIN(put_exit), NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot put_slots[] = {
    {Py_tp_doc, "Memory of a cache to fill; Cache.put_begin() returns it. Nobody else sees it.\n\n"
                "A writable buffer whose bytes may be anything at first. A context manager:\n"
                "its end commits, and an exception aborts. An object that goes without either\n"
                "aborts. BufferError: it lies in several places, use pieces()."},
    {Py_tp_dealloc, put_dealloc},
    {Py_tp_methods, put_methods},
    {Py_sq_length, held_len},
    {Py_bf_getbuffer, held_get_buffer},
    {Py_bf_releasebuffer, held_release_buffer},
    {0, NULL},
};
static PyType_Spec put_spec = {"holdfast.CachePut", sizeof(struct py_put), 0,
                               Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, put_slots};

int add_cached(PyObject *module)
{
    return (cached_type = add_type(module, &cached_spec)) &&
                   (put_type = add_type(module, &put_spec))
               ? 0
               : -1;
}
