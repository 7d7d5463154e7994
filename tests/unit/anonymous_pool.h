/* SPDX-License-Identifier: MIT */
/* A pool that each test of a group has for itself. */
#ifndef HF_TESTS_ANONYMOUS_POOL_H
#define HF_TESTS_ANONYMOUS_POOL_H

#include <holdfast/holdfast.h>

static inline int open_pool_of(void **state, uint64_t bytes)
{
    struct hf_pool_options options = {.size = sizeof options, .pool_bytes = bytes};
    struct hf_pool *pool;

    if (hf_pool_open_anonymous(&options, &pool))
        return -1;
    *state = pool;
    return 0;
}

static inline int close_pool(void **state)
{
    return hf_pool_close(*state);
}

#endif
