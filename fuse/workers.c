/* SPDX-License-Identifier: MIT */
/*
 * Owns the worker threads, which read requests from /dev/fuse and run them.
 *
 * One of them waits for the next request and the others rest. If several waited, the kernel would
 * wake the one that has waited longest, wherever it last ran. With one, a program and its server
 * take turns on one processor, which is a fifth faster.
 *
 * A worker that has read a slow request wakes another worker, then runs the request. While there is
 * work, a further thread, the lookout, checks a hundred times a second whether requests are there
 * and no worker reads. Then requests are many, or one takes unexpectedly long, and the lookout
 * wakes another worker. A worker that finds another waiting, and nothing left to do, goes to rest.
 * The lookout also releases what lookups have held long enough.
 */
#include "private.h"

#include <errno.h>
#include <poll.h>
#include <semaphore.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define REQUEST_BYTES ((1u << 20) + 4096u) /* the largest request: 1 MiB to write, and its header */
#define PAGE 4096u /* content to be written begins on one: the kernel copies page by page */
#define WORKERS_MAX 16u
#define LOOK_NS 10000000 /* if shorter, a program and its server share a processor less often */

struct workers {
    struct mount *mount;
    sem_t rest;       /* a worker rests here */
    sem_t look;       /* the lookout, while nothing happens */
    uint32_t reading; /* workers that are in read(2) */
    uint32_t busy;    /* a request has come since the lookout looked */
    uint32_t idle;    /* the lookout is to be woken by the next one */
    uint32_t over;    /* it is unmounted */
};

static bool requests_lie_there(const struct workers *workers)
{
    struct pollfd fuse = {.fd = workers->mount->fd, .events = POLLIN};

    return poll(&fuse, 1, 0) > 0;
}

static uint32_t reading(const struct workers *workers)
{
    return __atomic_load_n(&workers->reading, __ATOMIC_SEQ_CST);
}

static bool worth_another_try(int error)
{
    return error == EINTR || error == ENOENT || error == EAGAIN;
}

/* `reading` falls before `idle` is looked at: the lookout sets `idle`, then looks at `reading`. */
static ssize_t read_request(struct workers *workers, char *request)
{
    ssize_t len;

    __atomic_add_fetch(&workers->reading, 1u, __ATOMIC_SEQ_CST);
    len = read(workers->mount->fd, request, REQUEST_BYTES);
    __atomic_store_n(&workers->busy, 1u, __ATOMIC_RELAXED);
    __atomic_sub_fetch(&workers->reading, 1u, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&workers->idle, __ATOMIC_SEQ_CST) &&
        __atomic_exchange_n(&workers->idle, 0u, __ATOMIC_SEQ_CST))
        sem_post(&workers->look);
    return len;
}

static void wake_another(struct workers *workers)
{
    int awake;

    if (sem_getvalue(&workers->rest, &awake) == 0 && awake == 0)
        sem_post(&workers->rest);
}

static bool may_take_long(const char *request)
{
    const struct fuse_in_header *in = (const void *)request;

    return in->opcode == FUSE_FALLOCATE || in->opcode == FUSE_COPY_FILE_RANGE;
}

static void *run_worker(void *arg)
{
    struct workers *workers = arg;
    struct mount *mount = workers->mount;
    char *memory = aligned_alloc(PAGE, REQUEST_BYTES + PAGE);
    char *request = memory + PAGE - sizeof(struct fuse_in_header) - sizeof(struct fuse_write_in);
    ssize_t len;

    while (memory) {
        if (reading(workers) && !requests_lie_there(workers)) {
            sem_wait(&workers->rest);
            continue;
        }
        len = read_request(workers, request);
        if (len < 0 && !worth_another_try(errno))
            break; /* ENODEV: unmounted */
        if (len > 0 && may_take_long(request))
            wake_another(workers);
        if (len > 0 && mount_call_run(mount, request, (size_t)len, false))
            mount_wait(mount->waiting, request, (size_t)len);
    }
    free(memory);
    sem_post(&workers->rest); /* wakes the next worker, which ends too */
    return NULL;
}

static void *look_out(void *arg)
{
    static const struct timespec pause = {.tv_nsec = LOOK_NS};
    struct workers *workers = arg;

    while (!__atomic_load_n(&workers->over, __ATOMIC_SEQ_CST)) {
        nanosleep(&pause, NULL);
        if (!reading(workers) && requests_lie_there(workers))
            wake_another(workers);
        if (mount_lookups_active(workers->mount->lookups)) {
            mount_lookups_expire(workers->mount, false);
            continue;
        }
        if (__atomic_exchange_n(&workers->busy, 0u, __ATOMIC_SEQ_CST) || !reading(workers))
            continue;
        __atomic_store_n(&workers->idle, 1u, __ATOMIC_SEQ_CST);
        if (reading(workers) || !__atomic_exchange_n(&workers->idle, 0u, __ATOMIC_SEQ_CST))
            sem_wait(&workers->look);
    }
    return NULL;
}

/* Twice as many as there are processors, since some of them may be waiting for a mutex; at least
 * 4, and at most WORKERS_MAX. */
static unsigned worker_count(void)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);

    if (processors < 2)
        return 4;
    return processors * 2 < (long)WORKERS_MAX ? (unsigned)processors * 2 : WORKERS_MAX;
}

int mount_workers_run(struct mount *mount)
{
    static struct workers workers; /* outlives what still runs after a failure */
    pthread_t threads[WORKERS_MAX], lookout;
    unsigned count = worker_count(), started = 0;

    workers.mount = mount;
    sem_init(&workers.rest, 0, 0);
    sem_init(&workers.look, 0, 0);
    while (started < count && pthread_create(&threads[started], NULL, run_worker, &workers) == 0)
        started++;
    if (!started || pthread_create(&lookout, NULL, look_out, &workers) != 0)
        return -EAGAIN;
    for (unsigned i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
    __atomic_store_n(&workers.over, 1u, __ATOMIC_SEQ_CST);
    sem_post(&workers.look);
    pthread_join(lookout, NULL);
    return 0;
}
