/* SPDX-License-Identifier: MIT */
/*
 * Owns, in debug builds, the list of the shared mutexes that each thread holds. It is the thread's
 * own, so it needs no lock. A signal handler takes no shared mutex. So it finds the list whole, or
 * with one entry too many or too few. Only a thread between two locks could tell the difference.
 *
 * The list of a thread has few places in thread-local memory. A program that loads the library late
 * (Python does) has little room for such memory. A thread that holds more mutexes gets a longer
 * list, for as long as it holds them.
 */
#include "shm/lock_check.h"

#ifdef HF_DEBUG

#include "base/error.h"

#include <stdio.h>
#include <stdlib.h>

#define HELD_FEW 8u

static _Thread_local const struct shm_mutex *few[HELD_FEW], **many; /* many: those after them */
static _Thread_local unsigned held_count;

static const struct shm_mutex **place_of(unsigned i)
{
    return i < HELD_FEW ? &few[i] : &many[i - HELD_FEW];
}

void shm_note_locked(const struct shm_mutex *mutex)
{
    HF_BUG_ON(held_count == SHM_HELD_MAX);
    if (held_count == HELD_FEW)
        many = calloc(SHM_HELD_MAX - HELD_FEW, sizeof(*many));
    HF_BUG_ON(held_count >= HELD_FEW && !many);
    *place_of(held_count++) = mutex;
}

void shm_note_unlocked(const struct shm_mutex *mutex)
{
    unsigned i = held_count;

    while (i && *place_of(i - 1) != mutex)
        i--;
    HF_BUG_ON(i == 0);
    held_count--;
    *place_of(i - 1) = *place_of(held_count);
    if (held_count > HELD_FEW)
        return;
    free(many);
    many = NULL;
}

bool shm_holds_mutex(const struct shm_mutex *mutex)
{
    for (unsigned i = 0; i < held_count; i++)
        if (*place_of(i) == mutex)
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
