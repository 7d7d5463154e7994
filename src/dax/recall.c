/* SPDX-License-Identifier: MIT */
/*
 * Recall: a layout change that meets a lease asks its holder to let go.
 *
 * The asking process writes what it wants into the hold, under the layout mutex, puts the hold's
 * number into the holder's process entry and wakes that. The holder's process looks, under the same
 * mutex, and tells: a callback, in a thread of the library, with no lock held; or hf_recall_next(),
 * with an eventfd for the program's own loop, which the same thread feeds. Functions and arguments
 * of callbacks are kept in the holder's own memory: whoever may write the pool must not be able to
 * have another process call what he likes.
 */
#include "dax/recall.h"

#include "base/descriptor.h"
#include "base/error.h"
#include "base/trace.h"
#include "dax/private.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* Of a lease of this process. */
struct served {
    uint64_t key;
    void (*recall)(void *arg, const struct hf_recall *recall);
    void *arg;
};

/* One that is to be told. */
struct told {
    struct told *next;
    void (*recall)(void *arg, const struct hf_recall *recall);
    struct hf_recall what;
    uint32_t index; /* of the lease */
    uint64_t key;
};

struct queue {
    struct told *first, **end;
};

struct recalls {
    struct dax *dax;
    pthread_mutex_t mutex; /* inside a layout mutex, never around one */
    struct served *served; /* a hold */
    struct queue calls, next;
    pthread_t thread;
    uint32_t running, stop;
    bool calling;          /* under the mutex: a callback runs, */
    pthread_cond_t called; /* and now it has ended */
    int fd;                /* -1: nobody has asked for it */
};

static pthread_mutex_t making_mutex = PTHREAD_MUTEX_INITIALIZER;

/* --- asking --- */

static void wake_holder(struct shm_process *process)
{
    /* RECALL.WAKE/m: raised after the hold's number was posted.
     * Pairs with RECALL.WAKE/p in serve(). Without it: the holder sleeps over a recall. */
    hf_add_acq_rel(&process->recall_seq, 1);
    hf_futex_wake_all(&process->recall_seq);
}

/* The want that counts. */
static struct shm_want *wanted(struct shm_hold *hold)
{
    return &hold->recall.wants[hf_load_acquire(&hold->recall.asked) & SHM_ASKED_WHICH];
}

static bool is_pending(const struct shm_hold *hold)
{
    return hf_load_acquire(&hold->recall.asked) & SHM_ASKED_PENDING;
}

static void post(struct shm *shm, struct shm_hold *hold)
{
    uint32_t owner = SHM_HOLD_OWNER(hf_load_acquire(&hold->state)), i = 0;
    struct shm_process *process = &shm->processes[owner - 1];

    while (i < SHM_RECALLS &&
           !hf_cas_acq_rel(&process->recalls[i], 0u, (uint32_t)(hold - shm->holds) + 1))
        i++;
    if (i == SHM_RECALLS)
        hf_store_release(&process->recalls_more, 1u);
    HF_TRACE(recall, shm->vnodes[hold->vnode].ino, wanted(hold)->first, wanted(hold)->last,
             process->pid, wanted(hold)->why);
    wake_holder(process);
}

/* Of a lease that has changed hands or is pending still, too. */
static void pend(struct shm *shm, struct shm_hold *hold)
{
    hf_store_release(&hold->recall.asked, hf_load_acquire(&hold->recall.asked) | SHM_ASKED_PENDING);
    post(shm, hold);
}

/* Blocks that have left do not come back. */
static void raise_state(struct shm_hold *hold, uint32_t state)
{
    if (state > hf_load_acquire(&hold->recall.state))
        hf_store_release(&hold->recall.state, state);
}

static void ask(struct shm *shm, struct shm_hold *hold, const struct shm_want *want)
{
    uint32_t other = (hf_load_acquire(&hold->recall.asked) & SHM_ASKED_WHICH) ^ SHM_ASKED_WHICH;

    hold->recall.wants[other] = *want;
    hf_store_release(&hold->recall.asked, other | SHM_ASKED_PENDING);
    raise_state(hold, want->state);
    post(shm, hold);
}

struct shm_want recall_want(const struct dax_change *change, const struct shm_range *range,
                            uint32_t state)
{
    bool waits = change->policy.kind != HF_POLICY_NOWAIT &&
                 change->policy.kind != HF_POLICY_DETACH && !dax_client_nowait();

    return (struct shm_want){
        .change = change->id,
        .first = range->first > change->first ? range->first : change->first,
        .last = range->last < change->last ? range->last : change->last,
        .deadline_ns = waits ? change->until_ns : 0,
        .why = change->why,
        .state = state,
    };
}

static void ask_for(struct dax_change *change, struct shm_hold *hold)
{
    struct shm_want want = recall_want(change, &hold->range, HF_LEASE_RECALLED);

    ask(change->dax->shm, hold, &want);
}

void recall_ask(struct dax_change *change, struct shm_hold *hold)
{
    /* Of two that wait, the later one: else each of their looks would undo what the other has
     * noted, and ask again. */
    if (wanted(hold)->change >= change->id || change->policy.kind == HF_POLICY_DETACH)
        return;
    dax_count(&change->dax->shm->run->stats.recalls, 1);
    ask_for(change, hold);
}

void recall_before_detach(struct dax_change *change, struct shm_hold *hold)
{
    if (wanted(hold)->change != change->id)
        ask_for(change, hold);
    else if (!is_pending(hold))
        pend(change->dax->shm, hold);
}

void recall_detached(struct shm *shm, struct shm_hold *hold, const struct shm_want *want)
{
    const struct shm_want *before = wanted(hold);
    struct shm_want all = *want;

    if (is_pending(hold) && before->change == want->change && before->state == want->state) {
        all.first = before->first < all.first ? before->first : all.first;
        all.last = before->last > all.last ? before->last : all.last;
    }
    ask(shm, hold, &all);
}

void recall_again(struct dax *dax, struct shm_hold *hold)
{
    if (hf_load_acquire(&hold->recall.state) != HF_LEASE_HELD)
        pend(dax->shm, hold);
}

void recall_recover(struct shm *shm, const struct shm_vnode *vnode)
{
    for (uint32_t i = 0; i < hf_load_acquire(&shm->run->holds_high); i++) {
        struct shm_hold *hold = &shm->holds[i];
        struct held held = {.hold = hold};

        if (hf_load_acquire(&hold->vnode) != vnode->index || !held_is_lease(&held) ||
            !is_pending(hold))
            continue;
        raise_state(hold, wanted(hold)->state);
        post(shm, hold);
    }
}

/* --- telling --- */

static void put(struct queue *queue, struct told *told)
{
    told->next = NULL;
    *queue->end = told;
    queue->end = &told->next;
}

static bool is_ours(const struct shm *shm, const struct shm_hold *hold)
{
    uint32_t state = hf_load_acquire(&hold->state);

    return state == SHM_HOLD_STATE(SHM_HOLD_LEASE, shm->self + 1) ||
           state == SHM_HOLD_STATE(SHM_HOLD_GIVEN, shm->self + 1);
}

/* Under the mutex. Nobody is told of a lease that was let go of before: its argument may be no
 * more. */
static struct told *take(const struct recalls *recalls, struct queue *queue)
{
    const struct shm *shm = recalls->dax->shm;

    while (queue->first) {
        struct told *told = queue->first;
        const struct shm_hold *hold = &shm->holds[told->index];

        queue->first = told->next;
        if (!queue->first)
            queue->end = &queue->first;
        if (is_ours(shm, hold) && hf_load_acquire(&hold->key) == told->key)
            return told;
        free(told);
    }
    return NULL;
}

static void describe(struct shm_hold *hold, struct hf_recall *what)
{
    const struct shm_want *want = wanted(hold);

    what->off = want->first * HF_BLOCK_BYTES;
    what->len = (want->last - want->first + 1) * HF_BLOCK_BYTES;
    what->why = want->why;
    what->state = hf_load_acquire(&hold->recall.state);
    what->deadline_ns = want->deadline_ns;
}

/* Not of a lease that was released since it was looked at: another may have its place by now. */
static void queue_up(struct recalls *recalls, struct told *told)
{
    const struct served *served = &recalls->served[told->index];
    static const uint64_t one = 1;

    pthread_mutex_lock(&recalls->mutex);
    if (served->key == told->key) {
        told->recall = served->recall;
        told->what.arg = served->arg;
        put(told->recall ? &recalls->calls : &recalls->next, told);
        if (!told->recall && recalls->fd >= 0 && write(recalls->fd, &one, sizeof one) < 0) {
            /* it is readable already */
        }
        told = NULL;
    }
    pthread_mutex_unlock(&recalls->mutex);
    free(told);
}

/* False: no memory; it stays pending. */
static bool look_at(struct recalls *recalls, uint32_t index)
{
    struct dax *dax = recalls->dax;
    struct shm_hold *hold = &dax->shm->holds[index];
    struct shm_vnode *vnode = &dax->shm->vnodes[hf_load_acquire(&hold->vnode)];
    struct told *told;

    if (!is_ours(dax->shm, hold) || !is_pending(hold))
        return true;
    told = calloc(1, sizeof *told);
    if (!told)
        return false;
    dax_lock_any(dax, vnode);
    if (is_ours(dax->shm, hold) && &dax->shm->vnodes[hold->vnode] == vnode && is_pending(hold)) {
        told->index = index;
        told->key = hf_load_acquire(&hold->key);
        lease_fill(&told->what.lease, dax->shm, hold, told->key);
        describe(hold, &told->what);
        hf_store_release(&hold->recall.asked,
                         hf_load_acquire(&hold->recall.asked) & SHM_ASKED_WHICH);
    }
    dax_unlock(dax, vnode);
    if (told->key)
        queue_up(recalls, told);
    else
        free(told);
    return true;
}

static void look_at_all(struct recalls *recalls)
{
    const struct shm *shm = recalls->dax->shm;

    for (uint32_t i = 0; i < hf_load_acquire(&shm->run->holds_high); i++)
        look_at(recalls, i);
}

/* Finds out what is to be told. */
static void look(struct recalls *recalls)
{
    const struct shm *shm = recalls->dax->shm;
    struct shm_process *self = &shm->processes[shm->self];

    for (unsigned i = 0; i < SHM_RECALLS; i++) {
        uint32_t entry =
            hf_load_acquire(&self->recalls[i]) ? hf_xchg_acq_rel(&self->recalls[i], 0u) : 0;

        if (entry && entry <= shm->run->limits.holds && !look_at(recalls, entry - 1))
            hf_store_release(&self->recalls_more, 1u);
    }
    if (hf_load_acquire(&self->recalls_more) && hf_xchg_acq_rel(&self->recalls_more, 0u))
        look_at_all(recalls);
}

/* In a callback this thread counts as one that holds a pin: the layout change at whose gate it
 * comes may wait for the very lease it is about to release. */
static void call(struct dax *dax, const struct told *told)
{
    struct shm_process *self = &dax->shm->processes[dax->shm->self];
    struct shm_lane *lane = shm_lane(dax->shm);

    if (lane) {
        hf_store_release(&lane->calls_back, 1u);
        hf_store_release(&self->calls_back, shm_lane_index(dax->shm, lane) + 1);
    }
    told->recall(told->what.arg, &told->what);
    if (lane) {
        hf_store_release(&self->calls_back, 0u);
        hf_store_release(&lane->calls_back, 0u);
    }
}

static struct told *next_call(struct recalls *recalls)
{
    struct told *told;

    pthread_mutex_lock(&recalls->mutex);
    told = take(recalls, &recalls->calls);
    recalls->calling = told != NULL;
    pthread_cond_broadcast(&recalls->called);
    pthread_mutex_unlock(&recalls->mutex);
    return told;
}

static void *serve(void *arg)
{
    struct recalls *recalls = arg;
    struct shm *shm = recalls->dax->shm;
    struct shm_process *self = &shm->processes[shm->self];
    struct told *told;

    while (!hf_load_acquire(&recalls->stop)) {
        /* RECALL.WAKE/p: read before it looks; what is posted later finds another number to sleep
         * on. Pairs with RECALL.WAKE/m in wake_holder(). */
        uint32_t seq = hf_load_acquire(&self->recall_seq);

        look(recalls);
        while ((told = next_call(recalls))) {
            call(recalls->dax, told);
            free(told);
        }
        if (!hf_load_acquire(&recalls->stop))
            hf_futex_wait(&self->recall_seq, seq, HF_NEVER);
    }
    return NULL;
}

/* Takes no signals: they are the program's. */
static int start_thread(struct recalls *recalls)
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

static int make(struct dax *dax)
{
    struct recalls *recalls = calloc(1, sizeof *recalls);

    if (!recalls)
        return hf_fail(ENOMEM, "out of memory");
    recalls->served = calloc(dax->shm->run->limits.holds, sizeof *recalls->served);
    if (!recalls->served) {
        free(recalls);
        return hf_fail(ENOMEM, "out of memory");
    }
    recalls->dax = dax;
    recalls->fd = -1;
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

int recall_ready(struct dax *dax, bool callbacks)
{
    const struct recalls *recalls = hf_load_acquire(&dax->recalls);
    int rc = 0;

    if (recalls && (!callbacks || hf_load_acquire(&recalls->running)))
        return 0;
    pthread_mutex_lock(&making_mutex);
    if (!dax->recalls)
        rc = make(dax);
    if (rc == 0 && callbacks)
        rc = start_thread(dax->recalls);
    pthread_mutex_unlock(&making_mutex);
    return rc;
}

void recall_serve(struct dax *dax, const struct shm_hold *hold, uint64_t key,
                  const struct hf_lease_options *options)
{
    struct recalls *recalls = dax->recalls;

    pthread_mutex_lock(&recalls->mutex);
    recalls->served[hold - dax->shm->holds] = (struct served){key, options->recall, options->arg};
    pthread_mutex_unlock(&recalls->mutex);
}

int dax_recall_fd(struct dax *dax)
{
    int rc = recall_ready(dax, true), fd;
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
    struct told *told;
    uint64_t count;

    if (!recalls)
        return 0;
    look(recalls);
    pthread_mutex_lock(&recalls->mutex);
    if (recalls->calls.first)
        wake_holder(&dax->shm->processes[dax->shm->self]);
    told = take(recalls, &recalls->next);
    if (!recalls->next.first && recalls->fd >= 0 && read(recalls->fd, &count, sizeof count) < 0) {
        /* it was not readable */
    }
    pthread_mutex_unlock(&recalls->mutex);
    if (!told)
        return 0;
    *out = told->what;
    free(told);
    return 1;
}

bool dax_recall_calls(struct dax *dax, bool await_end)
{
    struct recalls *recalls = hf_load_acquire(&dax->recalls);
    bool calls;

    if (!recalls)
        return false;
    pthread_mutex_lock(&recalls->mutex);
    while (await_end && recalls->calling)
        pthread_cond_wait(&recalls->called, &recalls->mutex);
    calls = recalls->calling;
    pthread_mutex_unlock(&recalls->mutex);
    return calls;
}

static void empty(struct queue *queue)
{
    while (queue->first) {
        struct told *told = queue->first;

        queue->first = told->next;
        free(told);
    }
}

void dax_recall_end(struct dax *dax)
{
    struct recalls *recalls = dax->recalls;

    if (!recalls)
        return;
    hf_store_release(&recalls->stop, 1u);
    wake_holder(&dax->shm->processes[dax->shm->self]);
    if (recalls->running)
        pthread_join(recalls->thread, NULL);
    if (recalls->fd >= 0)
        close(recalls->fd);
    empty(&recalls->calls);
    empty(&recalls->next);
    pthread_cond_destroy(&recalls->called);
    pthread_mutex_destroy(&recalls->mutex);
    free(recalls->served);
    free(recalls);
    dax->recalls = NULL;
}
