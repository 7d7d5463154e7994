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
};

/* OSError with the cache's sentence; null, for return. */
PyObject *cache_failed(long rc);

/* A Cached, or None when it is not there. */
PyObject *get_one(struct py_cache *self, const struct hfc_key *key);
/* A list of as many. */
PyObject *get_each(struct py_cache *self, const struct hfc_key *keys, int count, uint32_t flags);
PyObject *begin_put(struct py_cache *self, const struct hfc_key *key, uint64_t len, uint32_t flags);
int add_cached(PyObject *module);

#endif
