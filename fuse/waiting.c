/* SPDX-License-Identifier: MIT */
/*
 * Owns the requests that have to wait for pins. Each gets a thread of its own, which runs it again
 * and may wait. When such threads take half of the pool's thread entries, further requests are
 * parked. One thread tries all of them again every 10 ms. A thread that has ended its own request
 * takes the oldest. So a request for a free range never waits for others.
 */
#include "private.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define STACK_BYTES (256u << 10)
#define RETRY_NS 10000000

struct parked {
    struct parked *next;
    struct mount_waiting *waiting;
    size_t len;
    char request[];
};

struct mount_waiting {
    struct mount *mount;
    pthread_mutex_t mutex;
    unsigned threads;
    struct parked *first, **last;
    pthread_cond_t parks; /* something was parked */
};

static bool start_thread(void *(*run)(void *), void *arg)
{
    pthread_attr_t attr;
    pthread_t thread;
    bool started;

    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    started = pthread_create(&thread, &attr, run, arg) == 0;
    pthread_attr_destroy(&attr);
    return started;
}

/* Under the mutex. */
static struct parked *take_parked(struct mount_waiting *waiting)
{
    struct parked *one = waiting->first;

    if (!one)
        return NULL;
    waiting->first = one->next;
    if (!waiting->first)
        waiting->last = &waiting->first;
    return one;
}

/* Under the mutex. */
static void park(struct mount_waiting *waiting, struct parked *one)
{
    one->next = NULL;
    *waiting->last = one;
    waiting->last = &one->next;
    pthread_cond_signal(&waiting->parks);
}

/* Tries each parked request once, and parks again those that still have to wait. */
static void retry_parked(struct mount_waiting *waiting)
{
    struct parked *one, *all;

    pthread_mutex_lock(&waiting->mutex);
    all = waiting->first;
    waiting->first = NULL;
    waiting->last = &waiting->first;
    pthread_mutex_unlock(&waiting->mutex);
    while ((one = all)) {
        all = one->next;
        if (!mount_call_run(waiting->mount, one->request, one->len, false)) {
            free(one);
            continue;
        }
        pthread_mutex_lock(&waiting->mutex);
        park(waiting, one);
        pthread_mutex_unlock(&waiting->mutex);
    }
}

static void *run_retries(void *arg)
{
    static const struct timespec pause = {.tv_nsec = RETRY_NS};
    struct mount_waiting *waiting = arg;

    for (;;) {
        pthread_mutex_lock(&waiting->mutex);
        while (!waiting->first)
            pthread_cond_wait(&waiting->parks, &waiting->mutex);
        pthread_mutex_unlock(&waiting->mutex);
        nanosleep(&pause, NULL);
        retry_parked(waiting);
    }
    return NULL;
}

struct mount_waiting *mount_waiting_new(struct mount *mount)
{
    struct mount_waiting *waiting = calloc(1, sizeof *waiting);

    if (!waiting)
        return NULL;
    waiting->mount = mount;
    waiting->last = &waiting->first;
    pthread_mutex_init(&waiting->mutex, NULL);
    pthread_cond_init(&waiting->parks, NULL);
    if (start_thread(run_retries, waiting))
        return waiting;
    free(waiting);
    return NULL;
}

static void *run_waiting(void *arg)
{
    struct parked *one = arg;
    struct mount_waiting *waiting = one->waiting;

    while (one) {
        bool deferred = mount_call_run(waiting->mount, one->request, one->len, true);

        pthread_mutex_lock(&waiting->mutex);
        if (deferred) /* no thread entry is left in the pool: others have them */
            park(waiting, one);
        else
            free(one);
        one = deferred ? NULL : take_parked(waiting);
        if (!one)
            waiting->threads--;
        pthread_mutex_unlock(&waiting->mutex);
    }
    return NULL;
}

void mount_wait(struct mount_waiting *waiting, const char *request, size_t len)
{
    struct parked *one;

    while (!(one = malloc(sizeof *one + len))) /* the request must not be lost */
        nanosleep(&(struct timespec){.tv_nsec = RETRY_NS}, NULL);
    one->waiting = waiting;
    one->len = len;
    memcpy(one->request, request, len);
    pthread_mutex_lock(&waiting->mutex);
    if (waiting->threads < waiting->mount->threads_max && start_thread(run_waiting, one))
        waiting->threads++;
    else
        park(waiting, one);
    pthread_mutex_unlock(&waiting->mutex);
}

bool mount_is_waiting(struct mount_waiting *waiting)
{
    bool any;

    pthread_mutex_lock(&waiting->mutex);
    any = waiting->threads || waiting->first;
    pthread_mutex_unlock(&waiting->mutex);
    return any;
}
