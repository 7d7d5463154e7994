/* SPDX-License-Identifier: MIT */
/* Objects for tests of the cache. What is under a key follows from the key and from a number in the
 * object itself. So a reader can tell whether all bytes are of one object, and of that key. */
#ifndef HF_TESTS_CACHE_OBJECTS_H
#define HF_TESTS_CACHE_OBJECTS_H

#include "support.h"

#include <holdfast/cache.h>

#define OBJECT_PIECES 64

struct object_key {
    char bytes[HFC_KEY_MAX];
    struct hfc_key key;
};

/* Keys have from 4 bytes to HFC_KEY_MAX, as their number says. */
void object_key(struct object_key *key, uint64_t number, uint32_t space);
/* Fills memory that may lie in pieces. `version` tells puts of one key apart. */
void object_fill(const struct iovec *iov, int pieces, uint64_t number, uint64_t version);
/* All bytes are one object's of that number: its version. Else the test fails. len 0: any. */
uint64_t object_check(const struct iovec *iov, int pieces, uint64_t number, uint64_t len);
/* A put by copy, expected to succeed, and one in place. */
void object_put(struct hfc *cache, uint64_t number, uint32_t space, uint64_t version, uint64_t len);
int object_try_put(struct hfc *cache, uint64_t number, uint32_t space, uint64_t version,
                   uint64_t len);
int object_try_put_in_place(struct hfc *cache, uint64_t number, uint32_t space, uint64_t version,
                            uint64_t len);
/* Gets, checks, and lets go: the version, or -errno. */
int64_t object_get(struct hfc *cache, uint64_t number, uint32_t space, uint64_t len);
/* The whole cache: each object that iteration shows can be got and is whole. How many. `still`: no
 * other thread or process changes the cache meanwhile. */
uint64_t object_check_all(struct hfc *cache, bool still);
struct hfc_stats object_stats(struct hfc *cache);
struct hfc *object_cache(struct hf_pool *pool, uint64_t capacity, uint32_t policy,
                         uint32_t objects);

#endif
