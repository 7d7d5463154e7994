/* SPDX-License-Identifier: MIT */
/*
 * Owns how the robust mutexes that processes share are taken. When the owner of one died in it, the
 * next thread to lock it is told so, mends what the mutex protects, and declares it mended.
 */
#include "base/error.h"
#include "shm/private.h"

#include <errno.h>
#include <time.h>

int shm_mutex_init(pthread_mutex_t *mutex)
{
    pthread_mutexattr_t attributes;
    int rc = pthread_mutexattr_init(&attributes);

    if (rc)
        return -rc;
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    rc = pthread_mutex_init(mutex, &attributes);
    pthread_mutexattr_destroy(&attributes);
    return -rc;
}

/* How long at most a sleeper can be forgotten: of two that sleep, one is woken by an unlock and
 * killed before it takes the mutex, a third takes it meanwhile without seeing anybody sleep, and
 * then nobody wakes the other. Neither glibc nor the kernel's robust list covers that, so nobody
 * sleeps for long. */
#define LOOK_AGAIN_NS (10 * 1000000)

/* ThreadSanitizer of gcc 12 does not know pthread_mutex_clocklock(). */
#ifdef __SANITIZE_THREAD__
#define LOCK_CLOCK CLOCK_REALTIME
#define lock_until(mutex, until) pthread_mutex_timedlock((mutex), (until))
#else
#define LOCK_CLOCK CLOCK_MONOTONIC
#define lock_until(mutex, until) pthread_mutex_clocklock((mutex), LOCK_CLOCK, (until))
#endif

static int sleep_for(pthread_mutex_t *mutex)
{
    struct timespec until;

    clock_gettime(LOCK_CLOCK, &until);
    until.tv_nsec += LOOK_AGAIN_NS;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    return lock_until(mutex, &until);
}

bool shm_lock(pthread_mutex_t *mutex)
{
    int rc = pthread_mutex_trylock(mutex);

    while (rc == EBUSY || rc == ETIMEDOUT)
        rc = sleep_for(mutex);
    HF_BUG_ON(rc != 0 && rc != EOWNERDEAD);
    shm_note_locked(mutex);
    return rc == EOWNERDEAD;
}

bool shm_lock_now(pthread_mutex_t *mutex, bool *died)
{
    int rc = pthread_mutex_trylock(mutex);

    *died = rc == EOWNERDEAD;
    if (rc && rc != EOWNERDEAD)
        return false;
    shm_note_locked(mutex);
    return true;
}

void shm_lock_mended(pthread_mutex_t *mutex)
{
    HF_BUG_ON(pthread_mutex_consistent(mutex) != 0);
}

void shm_unlock(pthread_mutex_t *mutex)
{
    shm_note_unlocked(mutex);
    HF_BUG_ON(pthread_mutex_unlock(mutex) != 0);
}

void shm_lock_table(struct shm *shm)
{
    shm_assert_not_held(&shm->run->space_mutex);
    shm_assert_not_held(&shm->run->grace_mutex);
    shm_assert_not_held(&shm->run->barrier_mutex);
    if (!shm_lock(&shm->run->table_mutex))
        return;
    shm_handing_mend(shm);
    shm_hash_rebuild(shm);
    shm_processes_recount(shm);
    hf_store_release(&shm->run->quarantine_ends_ns, UINT64_C(1)); /* a reaper may have died: reap */
    shm_lock_mended(&shm->run->table_mutex);
}

void shm_unlock_table(struct shm *shm)
{
    shm_unlock(&shm->run->table_mutex);
}
