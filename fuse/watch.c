/* SPDX-License-Identifier: MIT */
/*
 * Owns the thread that keeps the kernel's cache true (cache=auto). When other processes change a
 * watched file, it has the kernel drop that part (drop.c). Their calls return after that; see
 * hf_watch(3).
 */
#include "private.h"

#include <errno.h>
#include <signal.h>
#include <time.h>

static void *run_watch(void *arg)
{
    struct mount *mount = arg;
    struct hf_watch_report report;
    int rc;

    do {
        rc = hf_watch_next(mount->pool, UINT64_MAX, &report);
        if (rc > 0)
            mount_drop(mount, &report);
    } while ((rc >= 0 || rc == -EINTR) && !__atomic_load_n(&mount->over, __ATOMIC_ACQUIRE));
    __atomic_store_n(&mount->watch_over, true, __ATOMIC_RELEASE);
    return NULL;
}

static void interrupt_watch(int number)
{
    (void)number; /* hf_watch_next() returns -EINTR */
}

int mount_watch_start(struct mount *mount)
{
    struct sigaction action = {.sa_handler = interrupt_watch};
    int error;

    sigaction(SIGUSR1, &action, NULL);
    error = pthread_create(&mount->watch, NULL, run_watch, mount);
    return -error;
}

/* Sends signals until the thread has ended, since it may be about to wait when one comes. */
void mount_watch_stop(struct mount *mount)
{
    static const struct timespec moment = {.tv_nsec = 1000000};

    __atomic_store_n(&mount->over, true, __ATOMIC_RELEASE);
    while (!__atomic_load_n(&mount->watch_over, __ATOMIC_ACQUIRE)) {
        pthread_kill(mount->watch, SIGUSR1);
        nanosleep(&moment, NULL);
    }
    pthread_join(mount->watch, NULL);
}
