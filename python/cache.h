/* SPDX-License-Identifier: MIT */
/* What cache.c, which has the calls of a cache, and cached.c, which has its memory, share. */
#ifndef HFPY_CACHE_H
#define HFPY_CACHE_H

#include "hfpy.h"

#include <holdfast/cache.h>

struct py_cache {
    PyObject_HEAD struct py_pool *pool;
    struct hfc *cache; /* null: closed */
    unsigned busy;
    PyObject *closing; /* called before it is closed; or null */
};

/* OSError with the cache's sentence; null, for return. */
PyObject *cache_failed(long rc);

/* ValueError: it is closed. */
bool cache_is_open(const struct py_cache *self);

/* Keys, and the views of what they were given as. */
struct keys {
    struct hfc_key *keys;
    Py_buffer *views;
    int count;
};

/* The view is the caller's to release. The library says what is wrong with a length. */
void name_key(const Py_buffer *view, unsigned space, struct hfc_key *key);
/* For drop_keys(); false with an exception. */
bool take_keys(PyObject *given, unsigned space, struct keys *keys);
void drop_keys(struct keys *keys);

enum get_how { GET_HELD, GET_FETCHED, GET_BEGUN };
/* A Cached, or None when it is not there. True: the fetch has begun, with this tag. */
PyObject *get_one(struct py_cache *self, const struct hfc_key *key, enum get_how how, uint64_t tag);
/* (tag, Cached or None or OSError), or None. */
PyObject *next_fetched(struct py_cache *self);
/* A list of as many. */
PyObject *get_each(struct py_cache *self, const struct hfc_key *keys, int count, uint32_t flags);
PyObject *begin_put(struct py_cache *self, const struct hfc_key *key, uint64_t len, uint32_t flags);

/* Methods of Cache that tier.c has. */
PyObject *cache_fetch(struct py_cache *self, PyObject *args, PyObject *keywords);
PyObject *cache_fetch_begin(struct py_cache *self, PyObject *args, PyObject *keywords);
PyObject *cache_fetch_next(struct py_cache *self, PyObject *unused);
PyObject *cache_fetch_fd(struct py_cache *self, PyObject *unused);
PyObject *cache_evict(struct py_cache *self, PyObject *args);
PyObject *cache_tier_stats(struct py_cache *self, PyObject *unused);
PyObject *cache_before_close(struct py_cache *self, PyObject *args);

int add_cached(PyObject *module);

/* What the other extension (cluster.h) needs of this one, in a capsule of this name. */
struct py_cache_calls {
    PyTypeObject *cache_type;
    /* A Cached. Takes over the reference to the object, also when it fails. */
    PyObject *(*cached_from)(struct py_cache *cache, const struct iovec *iov, int pieces,
                             const struct hfc_ref *ref);
};
#define CACHE_CALLS "holdfast._holdfast._cache_calls"
PyObject *cached_from(struct py_cache *cache, const struct iovec *iov, int pieces,
                      const struct hfc_ref *ref);

#endif
