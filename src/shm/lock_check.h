/* SPDX-License-Identifier: MIT */
/*
 * Which shared mutexes the calling thread holds, and assertions on them. They check what comments
 * say with "under the mutex" or "with no lock held". Only debug builds (-DHF_DEBUG) check it. In
 * others nothing of it is left, and the arguments are not evaluated.
 */
#ifndef HF_SHM_LOCK_CHECK_H
#define HF_SHM_LOCK_CHECK_H

#include "shm/lock.h"

#include <stdbool.h>

#ifdef HF_DEBUG

void shm_note_locked(const struct shm_mutex *mutex);
void shm_note_unlocked(const struct shm_mutex *mutex);
bool shm_holds_mutex(const struct shm_mutex *mutex);
bool shm_holds_no_mutex(void);
_Noreturn void shm_lock_broken(const char *function, const char *what);

/* The calling thread holds the mutex. */
#define shm_assert_held(mutex)                                                                     \
    do {                                                                                           \
        if (!shm_holds_mutex(mutex))                                                               \
            shm_lock_broken(__func__, "without " #mutex);                                          \
    } while (0)
/* It does, or nobody else can use the segment. */
#define shm_assert_held_or_alone(mutex, alone)                                                     \
    do {                                                                                           \
        if (!(alone))                                                                              \
            shm_assert_held(mutex);                                                                \
    } while (0)
/* It does not: it is about to take one that comes before this one. */
#define shm_assert_not_held(mutex)                                                                 \
    do {                                                                                           \
        if (shm_holds_mutex(mutex))                                                                \
            shm_lock_broken(__func__, "inside " #mutex);                                           \
    } while (0)
/* It holds no mutex of any segment. */
#define shm_assert_none_held()                                                                     \
    do {                                                                                           \
        if (!shm_holds_no_mutex())                                                                 \
            shm_lock_broken(__func__, "with a mutex held");                                        \
    } while (0)

#else

#define shm_note_locked(mutex) ((void)sizeof(mutex))
#define shm_note_unlocked(mutex) ((void)sizeof(mutex))
#define shm_assert_held(mutex) ((void)sizeof(mutex))
#define shm_assert_not_held(mutex) ((void)sizeof(mutex))
#define shm_assert_held_or_alone(mutex, alone) ((void)sizeof(mutex), (void)sizeof(alone))
#define shm_assert_none_held() ((void)0)

#endif

#endif
