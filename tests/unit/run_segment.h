/* SPDX-License-Identifier: MIT */
/* A run segment of this process alone, for tests of what lies in it. */
#ifndef TESTS_UNIT_RUN_SEGMENT_H
#define TESTS_UNIT_RUN_SEGMENT_H

#include "shm/shm.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static inline int open_segment(void **state)
{
    static const uint8_t uuid[16] = "unit test";
    const struct shm_limits limits = {.processes = 8,
                                      .lanes = 16,
                                      .vnodes = 64,
                                      .holds = 4096,
                                      .nodes = 4096,
                                      .limit_blocks = 1 << 20};
    struct shm_attach at = {.lock_fd = -1, .first = true, .anonymous = true};
    struct shm *shm;

    if (shm_build(&at, uuid, 0600, "slots", &limits, &shm) || shm_attach_done(&at, shm, false))
        return -1;
    *state = shm;
    return 0;
}

/* Nobody else has it. */
static inline void take_mutex(struct shm_mutex *mutex)
{
    bool died;

    assert_true(shm_lock_now(mutex, &died));
    assert_false(died);
}

static inline int close_segment(void **state)
{
    shm_detach(*state, true);
    return 0;
}

#endif
