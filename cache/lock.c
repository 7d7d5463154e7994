/* SPDX-License-Identifier: MIT */
/*
 * The lock that all changes of the index take. It is a robust mutex in the run state. When its
 * owner dies, the next one makes the whole run state again from the index. So no change has to be
 * undone, and only the index has to make sense after each store.
 */
#include "private.h"

#include <errno.h>
#include <time.h>

#define LOCK_SECONDS 5

#ifdef __SANITIZE_THREAD__ /* GCC's does not see what pthread_mutex_clocklock() locks */
#define LOCK_CLOCK CLOCK_REALTIME
#define lock_until(mutex, until) pthread_mutex_timedlock(mutex, until)
#else
#define LOCK_CLOCK CLOCK_MONOTONIC /* the other one can be set */
#define lock_until(mutex, until) pthread_mutex_clocklock(mutex, CLOCK_MONOTONIC, until)
#endif

int lock_make(struct run *run)
{
    pthread_mutexattr_t attributes;
    int rc = pthread_mutexattr_init(&attributes);

    rc = rc ? rc : pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    rc = rc ? rc : pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    rc = rc ? rc : pthread_mutex_init(&run->mutex, &attributes);
    return rc ? cache_fail(-rc, "a mutex cannot be made: %d", rc) : 0;
}

int cache_lock(struct hfc *cache)
{
    struct run *run = cache_run(cache);
    struct timespec until;
    int rc = pthread_mutex_trylock(&run->mutex);

    if (rc == EBUSY) {
        clock_gettime(LOCK_CLOCK, &until);
        until.tv_sec += LOCK_SECONDS;
        rc = lock_until(&run->mutex, &until);
    }
    if (rc == EOWNERDEAD) {
        if (!CACHE_BROKEN(CACHE_LAB_NO_MEND))
            run->mended = 0;
        pthread_mutex_consistent(&run->mutex);
        rc = 0;
    }
    if (rc)
        return rc == ETIMEDOUT
                   ? cache_fail(-EBUSY,
                                "a process has had the lock of the cache for %d seconds; "
                                "perhaps it is stopped",
                                LOCK_SECONDS)
                   : cache_fail(-EUCLEAN, "the lock of the cache is damaged (%d)", rc);
    if (run->mended)
        return 0;
    rc = cache_mend(cache);
    if (rc)
        cache_unlock(cache);
    else
        run->mended = 1;
    return rc;
}

void cache_unlock(struct hfc *cache)
{
    pthread_mutex_unlock(&cache_run(cache)->mutex);
}
