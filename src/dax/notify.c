/* SPDX-License-Identifier: MIT */
/*
 * Telling the holders of leases what recall.c asks of them.
 *
 * The holder's process reads the request under the layout mutex, drops the mutex, and tells the
 * program. A callback runs in a thread of the library, with no lock held. A program without a
 * callback calls hf_recall_next(). For its own loop, the library's thread signals an eventfd. When
 * the pool has grown, it signals another eventfd, for programs that told a device of the pool's
 * memory. Functions and arguments of callbacks are in the holder's own memory: a process that may
 * write the pool must not choose what another process calls.
 */
#include "dax/notify.h"

#include "base/descriptor.h"
#include "base/error.h"
#include "dax/handle.h"
#include "dax/private.h"
#include "dax/recall.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* How the program hears of the recalls of one of its leases. */
struct served {
    uint64_t key;
    void (*recall)(void *arg, const struct hf_recall *recall);
    void *arg;
};

/* A recall that the program is to hear of. */
struct notice {
    struct notice *next;
    void (*recall)(void *arg, const struct hf_recall *recall);
    struct hf_recall what;
    uint32_t index; /* of the lease */
    uint64_t key;
};

struct queue {
    struct notice *first, **end;
};

struct recalls {
    struct dax *dax;
    pthread_mutex_t mutex; /* inside a layout mutex, never around one */
    struct served *served; /* a hold */
    struct queue calls, next;
    pthread_t thread;
    uint32_t running, stop;
    bool calling;          /* under the mutex: a callback runs, */
    pthread_t caller;      /* in this thread, */
    pthread_cond_t called; /* and now it has ended */
    int fd;                /* -1: the program has not asked for it */
    /* Likewise; readable when there is more memory than the program was told of. */
    int growth_fd;
    uint64_t told_bytes;
};

static pthread_mutex_t making_mutex = PTHREAD_MUTEX_INITIALIZER;

static void append_notice(struct queue *queue, struct notice *notice)
{
    notice->next = NULL;
    *queue->end = notice;
    queue->end = &notice->next;
}

static bool is_own_lease(const struct shm *shm, const struct shm_hold *hold)
{
    uint32_t state = hf_load_acquire(&hold->state);

    return state == SHM_HOLD_STATE(SHM_HOLD_LEASE, shm->self + 1) ||
           state == SHM_HOLD_STATE(SHM_HOLD_GIVEN, shm->self + 1);
}

/* Under recalls->mutex. A lease that was released before is left out: the argument of its callback
 * may be gone. */
static struct notice *take_notice(const struct recalls *recalls, struct queue *queue)
{
    const struct shm *shm = recalls->dax->shm;

    while (queue->first) {
        struct notice *notice = queue->first;
        const struct shm_hold *hold = &shm->holds[notice->index];

        queue->first = notice->next;
        if (!queue->first)
            queue->end = &queue->first;
        if (is_own_lease(shm, hold) && hf_load_acquire(&hold->key) == notice->key)
            return notice;
        free(notice);
    }
    return NULL;
}

static void describe_recall(struct shm_hold *hold, struct hf_recall *what)
{
    const struct shm_want *want = recall_want_of(hold);

    what->off = want->first * HF_BLOCK_BYTES;
    what->len = (want->last - want->first + 1) * HF_BLOCK_BYTES;
    what->why = want->why;
    what->state = hf_load_acquire(&hold->recall.state);
    what->deadline_ns = want->deadline_ns;
}

/* Unless the lease was released since its recall was read: another may have its place by now. */
static void queue_notice(struct recalls *recalls, struct notice *notice)
{
    const struct served *served = &recalls->served[notice->index];
    static const uint64_t one = 1;

    pthread_mutex_lock(&recalls->mutex);
    if (served->key == notice->key) {
        notice->recall = served->recall;
        notice->what.arg = served->arg;
        append_notice(notice->recall ? &recalls->calls : &recalls->next, notice);
        if (!notice->recall && recalls->fd >= 0 && write(recalls->fd, &one, sizeof one) < 0) {
            /* it is readable already */
        }
        notice = NULL;
    }
    pthread_mutex_unlock(&recalls->mutex);
    free(notice);
}

/* False: no memory, or the mutex cannot be had; it stays pending. */
static bool read_recall(struct recalls *recalls, uint32_t index)
{
    struct dax *dax = recalls->dax;
    struct shm_hold *hold = &dax->shm->holds[index];
    struct shm_vnode *vnode = shm_vnode_at(dax->shm, hf_load_acquire(&hold->vnode));
    struct notice *notice;

    if (!is_own_lease(dax->shm, hold) || !recall_is_pending(hold))
        return true;
    notice = calloc(1, sizeof *notice);
    if (!notice)
        return false;
    if (!dax_lock_moment(dax, vnode)) {
        free(notice);
        return false;
    }
    if (is_own_lease(dax->shm, hold) && shm_vnode_at(dax->shm, hold->vnode) == vnode &&
        recall_is_pending(hold)) {
        notice->index = index;
        notice->key = hf_load_acquire(&hold->key);
        dax_fill_lease(&notice->what.lease, dax->shm, hold, notice->key);
        describe_recall(hold, &notice->what);
        hf_store_release(&hold->recall.asked,
                         hf_load_acquire(&hold->recall.asked) & SHM_ASKED_WHICH);
    }
    dax_unlock(dax, vnode);
    if (notice->key)
        queue_notice(recalls, notice);
    else
        free(notice);
    return true;
}

static bool read_all_recalls(struct recalls *recalls)
{
    const struct shm *shm = recalls->dax->shm;
    bool all = true;

    for (uint32_t i = 0; i < shm_holds_high(shm); i++)
        all &= read_recall(recalls, i);
    return all;
}

/* Reads the recalls that this process was sent since the last time. */
static void read_recalls(struct recalls *recalls)
{
    const struct shm *shm = recalls->dax->shm;
    struct shm_process *self = &shm->processes[shm->self];

    for (unsigned i = 0; i < SHM_RECALLS; i++) {
        uint32_t entry =
            hf_load_acquire(&self->recalls[i]) ? hf_xchg_acq_rel(&self->recalls[i], 0u) : 0;

        if (entry && entry <= shm->limits.holds && !read_recall(recalls, entry - 1))
            hf_store_release(&self->recalls_more, 1u);
    }
    if (hf_load_acquire(&self->recalls_more) && hf_xchg_acq_rel(&self->recalls_more, 0u) &&
        !read_all_recalls(recalls))
        hf_store_release(&self->recalls_more, 1u);
}

static uint64_t pool_bytes(const struct dax *dax)
{
    return hf_load_acquire(&dax->shm->run->pool_blocks) * HF_BLOCK_BYTES;
}

/* Under recalls->mutex. */
static void look_for_growth(struct recalls *recalls)
{
    static const uint64_t one = 1;

    if (recalls->growth_fd >= 0 && pool_bytes(recalls->dax) > recalls->told_bytes &&
        write(recalls->growth_fd, &one, sizeof one) < 0) {
        /* it is readable already */
    }
}

static int start_notifier(struct recalls *recalls);

/* A callback that runs. */
struct callback {
    struct recalls *recalls;
    struct shm_lane *lane;
    struct notice *notice;
};

static void callback_ends(const struct callback *callback)
{
    struct shm *shm = callback->recalls->dax->shm;

    if (callback->lane) {
        hf_store_release(&shm->processes[shm->self].calls_back, 0u);
        hf_store_release(&callback->lane->calls_back, 0u);
    }
    free(callback->notice);
}

/* The callback has called pthread_exit(). Another thread takes over, unless the pool is being
 * closed, which joins this one. */
static void end_thread(void *arg)
{
    const struct callback *callback = arg;
    struct recalls *recalls = callback->recalls;

    callback_ends(callback);
    pthread_mutex_lock(&recalls->mutex);
    recalls->calling = false;
    pthread_cond_broadcast(&recalls->called);
    pthread_mutex_unlock(&recalls->mutex);
    pthread_mutex_lock(&making_mutex);
    if (!hf_load_acquire(&recalls->stop)) {
        pthread_detach(pthread_self());
        hf_store_release(&recalls->running, 0u);
        start_notifier(recalls); /* else the next lease with a callback makes one */
    }
    pthread_mutex_unlock(&making_mutex);
}

/* In a callback this thread passes gates, as a thread with a pin does. The change behind a gate may
 * wait for the very lease that the callback is about to release. */
static void run_callback(struct recalls *recalls, struct notice *notice)
{
    struct shm *shm = recalls->dax->shm;
    struct callback callback = {recalls, shm_lane(shm), notice};

    if (callback.lane) {
        hf_store_release(&callback.lane->calls_back, 1u);
        hf_store_release(&shm->processes[shm->self].calls_back,
                         shm_lane_index(shm, callback.lane) + 1);
    }
    pthread_cleanup_push(end_thread, &callback);
    notice->recall(notice->what.arg, &notice->what);
    pthread_cleanup_pop(0);
    callback_ends(&callback);
}

static struct notice *next_call(struct recalls *recalls)
{
    struct notice *notice;

    pthread_mutex_lock(&recalls->mutex);
    look_for_growth(recalls);
    notice = take_notice(recalls, &recalls->calls);
    recalls->calling = notice != NULL;
    recalls->caller = pthread_self();
    pthread_cond_broadcast(&recalls->called);
    pthread_mutex_unlock(&recalls->mutex);
    return notice;
}

static void *serve(void *arg)
{
    struct recalls *recalls = arg;
    struct shm *shm = recalls->dax->shm;
    struct shm_process *self = &shm->processes[shm->self];
    struct notice *notice;

    while (!hf_load_acquire(&recalls->stop)) {
        /* RECALL.WAKE/p: read before it looks; what is posted later finds another number to sleep
         * on. Pairs with RECALL.WAKE/m in recall_wake(). */
        uint32_t seq = hf_load_acquire(&self->recall_seq);

        shm_call_begins();
        read_recalls(recalls);
        while ((notice = next_call(recalls)))
            run_callback(recalls, notice);
        if (!hf_load_acquire(&recalls->stop))
            hf_futex_wait(&self->recall_seq, seq,
                          hf_load_acquire(&self->recalls_more) ? hf_now_ns() + DAX_TICK_NS
                                                               : HF_NEVER);
    }
    return NULL;
}

/* Takes no signals: they are the program's. */
static int start_notifier(struct recalls *recalls)
{
    sigset_t all, before;
    int rc;

    if (recalls->running)
        return 0;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    rc = pthread_create(&recalls->thread, NULL, serve, recalls);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    hf_store_release(&recalls->running, (uint32_t)(rc == 0));
    return rc ? hf_fail(EAGAIN, "no thread could be made that tells of recalls") : 0;
}

static int make_recalls(struct dax *dax)
{
    struct recalls *recalls = calloc(1, sizeof *recalls);

    if (!recalls)
        return hf_fail(ENOMEM, "out of memory");
    recalls->served = calloc(dax->shm->limits.holds, sizeof *recalls->served);
    if (!recalls->served) {
        free(recalls);
        return hf_fail(ENOMEM, "out of memory");
    }
    recalls->dax = dax;
    recalls->fd = -1;
    recalls->growth_fd = -1;
    recalls->calls.end = &recalls->calls.first;
    recalls->next.end = &recalls->next.first;
    pthread_mutex_init(&recalls->mutex, NULL);
    pthread_cond_init(&recalls->called, NULL);
    hf_store_release(&dax->recalls, recalls);
    return 0;
}

void dax_recall_in_child(void)
{
    making_mutex = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
}

int notify_ready(struct dax *dax, bool callbacks)
{
    const struct recalls *recalls = hf_load_acquire(&dax->recalls);
    int rc = 0;

    if (recalls && (!callbacks || hf_load_acquire(&recalls->running)))
        return 0;
    pthread_mutex_lock(&making_mutex);
    if (!dax->recalls)
        rc = make_recalls(dax);
    if (rc == 0 && callbacks)
        rc = start_notifier(dax->recalls);
    pthread_mutex_unlock(&making_mutex);
    return rc;
}

void notify_register(struct dax *dax, const struct shm_vnode *vnode, const struct shm_hold *hold,
                     uint64_t key, const struct hf_lease_options *options)
{
    struct recalls *recalls = dax->recalls;

    shm_assert_held(&vnode->mutex);
    pthread_mutex_lock(&recalls->mutex);
    recalls->served[hold - dax->shm->holds] = (struct served){key, options->recall, options->arg};
    pthread_mutex_unlock(&recalls->mutex);
}

int dax_recall_fd(struct dax *dax)
{
    int rc = notify_ready(dax, true), fd;
    struct recalls *recalls = dax->recalls;

    if (rc)
        return rc;
    pthread_mutex_lock(&recalls->mutex);
    if (recalls->fd < 0)
        recalls->fd = hf_fd_eventfd(recalls->next.first != NULL, EFD_NONBLOCK);
    fd = recalls->fd;
    pthread_mutex_unlock(&recalls->mutex);
    return fd < 0 ? hf_fail_errno(errno, "eventfd") : fd;
}

int dax_recall_next(struct dax *dax, struct hf_recall *out)
{
    struct recalls *recalls = hf_load_acquire(&dax->recalls);
    struct notice *notice;
    uint64_t count;

    if (!recalls)
        return 0;
    read_recalls(recalls);
    pthread_mutex_lock(&recalls->mutex);
    if (recalls->calls.first)
        recall_wake(&dax->shm->processes[dax->shm->self]);
    notice = take_notice(recalls, &recalls->next);
    if (!recalls->next.first && recalls->fd >= 0 && read(recalls->fd, &count, sizeof count) < 0) {
        /* it was not readable */
    }
    pthread_mutex_unlock(&recalls->mutex);
    if (!notice)
        return 0;
    *out = notice->what;
    free(notice);
    return 1;
}

/* --- growth of the pool's memory --- */

uint64_t dax_growth_told(struct dax *dax)
{
    struct recalls *recalls = hf_load_acquire(&dax->recalls);
    uint64_t bytes, count;

    if (!recalls)
        return pool_bytes(dax);
    pthread_mutex_lock(&recalls->mutex);
    if (recalls->growth_fd >= 0 && read(recalls->growth_fd, &count, sizeof count) < 0) {
        /* it was not readable */
    }
    bytes = recalls->told_bytes = pool_bytes(dax);
    pthread_mutex_unlock(&recalls->mutex);
    return bytes;
}

/* The program may not know the size from before the descriptor was made, so the descriptor is
 * readable at first. */
int dax_growth_fd(struct dax *dax)
{
    int rc = notify_ready(dax, true), fd;
    struct recalls *recalls = dax->recalls;

    if (rc)
        return rc;
    pthread_mutex_lock(&recalls->mutex);
    if (recalls->growth_fd < 0)
        recalls->growth_fd = hf_fd_eventfd(1, EFD_NONBLOCK);
    fd = recalls->growth_fd;
    pthread_mutex_unlock(&recalls->mutex);
    return fd < 0 ? hf_fail_errno(errno, "eventfd") : fd;
}

void dax_tell_growth(struct dax *dax)
{
    struct shm *shm = dax->shm;

    for (uint32_t i = 0; i < shm->limits.processes; i++)
        if (hf_load_acquire(&shm->processes[i].state) == SHM_PROCESS_LIVE)
            recall_wake(&shm->processes[i]);
}

int dax_recall_calls(struct dax *dax, bool await_end)
{
    struct recalls *recalls = hf_load_acquire(&dax->recalls);
    int rc = 0;

    if (!recalls)
        return 0;
    pthread_mutex_lock(&recalls->mutex);
    if (recalls->calling && pthread_equal(recalls->caller, pthread_self()))
        rc = hf_fail(EDEADLK, "the function of a recall runs in this thread, and the close would "
                              "wait for it: close the pool in another thread");
    while (rc == 0 && await_end && recalls->calling)
        pthread_cond_wait(&recalls->called, &recalls->mutex);
    rc = rc ? rc : recalls->calling;
    pthread_mutex_unlock(&recalls->mutex);
    return rc;
}

static void empty_queue(struct queue *queue)
{
    while (queue->first) {
        struct notice *notice = queue->first;

        queue->first = notice->next;
        free(notice);
    }
}

void dax_recall_end(struct dax *dax)
{
    struct recalls *recalls = dax->recalls;
    uint32_t running;

    if (!recalls)
        return;
    pthread_mutex_lock(&making_mutex); /* from here on no other thread takes over */
    hf_store_release(&recalls->stop, 1u);
    running = hf_load_acquire(&recalls->running);
    pthread_mutex_unlock(&making_mutex);
    recall_wake(&dax->shm->processes[dax->shm->self]);
    if (running)
        pthread_join(recalls->thread, NULL);
    if (recalls->fd >= 0)
        close(recalls->fd);
    if (recalls->growth_fd >= 0)
        close(recalls->growth_fd);
    empty_queue(&recalls->calls);
    empty_queue(&recalls->next);
    pthread_cond_destroy(&recalls->called);
    pthread_mutex_destroy(&recalls->mutex);
    free(recalls->served);
    free(recalls);
    dax->recalls = NULL;
}
