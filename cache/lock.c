/* SPDX-License-Identifier: MIT */
/*
 * The lock that all changes of the index take. It is a robust mutex in the run state. When its
 * owner dies, the next one makes the whole run state again from the index. So no change has to be
 * undone, and only the index has to make sense after each store.
 *
 * Its owner may be stopped. So it is waited for LOCK_SECONDS, and then the sentence names the
 * owner. Neither a signal nor hf_cancel() ends that wait.
 */
#include "private.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

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

/* ---- its owner ---- */

/* /proc/TID/status of the owner; "" if there is none, or it cannot be read. The kernel wants the
 * thread's number in the first word of a robust mutex. */
static void read_owner(const struct run *run, char *text, size_t room)
{
    uint32_t tid = load_relaxed((const uint32_t *)(const void *)&run->mutex) & FUTEX_TID_MASK;
    char path[32];
    ssize_t len;
    int fd;

    text[0] = 0;
    snprintf(path, sizeof path, "/proc/%u/status", tid);
    fd = tid ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    len = read(fd, text, room - 1);
    close(fd);
    text[len > 0 ? len : 0] = 0;
}

static int not_had(const struct run *run)
{
    char text[512], name[16] = "", state = 0;
    const char *at;
    unsigned pid = 0;

    read_owner(run, text, sizeof text);
    at = strstr(text, "\nState:");
    if (at && sscanf(at, " State: %c", &state) != 1)
        state = 0;
    at = strstr(text, "\nTgid:");
    if (!at || sscanf(at, " Tgid: %u", &pid) != 1 || sscanf(text, "Name: %15[^\n]", name) != 1)
        return cache_fail(-EBUSY,
                          "the lock of the cache is held by another process, for %d seconds",
                          LOCK_SECONDS);
    return cache_fail(-EBUSY, "the lock of the cache is held by process %u (%s)%s", pid, name,
                      state == 'T' || state == 't' ? ", which is stopped: continue it or end it"
                                                   : "; others may have had it before");
}

/* ---- the lock ---- */

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
        return rc == ETIMEDOUT ? not_had(run)
                               : cache_fail(-EUCLEAN, "the lock of the cache is damaged (%d)", rc);
    cache->unknown = 0;
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
