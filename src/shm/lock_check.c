/* SPDX-License-Identifier: MIT */
/*
 * Owns, in debug builds, the list of the shared mutexes that each thread holds. It is the thread's
 * own, so it needs no lock. Signal handlers take no shared mutex. So they find the list whole, or
 * one entry too long or too short, which only a thread between two locks could tell.
 */
#include "shm/lock_check.h"

#ifdef HF_DEBUG

#include "base/error.h"

#include <stdio.h>
#include <stdlib.h>

static _Thread_local const struct shm_mutex *held[SHM_HELD_MAX];
static _Thread_local unsigned held_count;

void shm_note_locked(const struct shm_mutex *mutex)
{
    HF_BUG_ON(held_count == SHM_HELD_MAX);
    held[held_count++] = mutex;
}

void shm_note_unlocked(const struct shm_mutex *mutex)
{
    unsigned i = held_count;

    while (i && held[i - 1] != mutex)
        i--;
    HF_BUG_ON(i == 0);
    held[i - 1] = held[--held_count];
}

bool shm_holds_mutex(const struct shm_mutex *mutex)
{
    for (unsigned i = 0; i < held_count; i++)
        if (held[i] == mutex)
            return true;
    return false;
}

bool shm_holds_no_mutex(void)
{
    return held_count == 0;
}

_Noreturn void shm_lock_broken(const char *function, const char *what)
{
    fprintf(stderr, "holdfast: %s() was called %s\n", function, what);
    abort();
}

#endif
