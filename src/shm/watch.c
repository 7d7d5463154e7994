/* SPDX-License-Identifier: MIT */
/*
 * Owns the reports to processes that keep copies of pages. Each such process has a ring, to which
 * any process and any signal handler may add. A writer may be killed or stopped at any instruction,
 * so there is no lock. A writer draws a ticket, and marks each word with it. The ticket says where
 * in the ring it writes, and how far the watcher has to read. Where a ticket was drawn, a watcher
 * may find another mark. Then it knows that something was reported, but not what, and all that it
 * has may be old. The same holds when the ring has gone round.
 */
#include "base/fence.h"
#include "base/futex.h"
#include "shm/shm.h"

static uint64_t *bits_of(const struct shm *shm, uint64_t *all, const struct shm_vnode *vnode)
{
    return all + (uint64_t)(vnode - shm->vnodes) * shm->open_words;
}

bool shm_is_watched_by(const struct shm *shm, const struct shm_vnode *vnode, uint32_t process)
{
    return hf_load_acquire(&bits_of(shm, shm->watches, vnode)[process / 64]) & UINT64_C(1)
                                                                                   << process % 64;
}

static uint32_t first_from(const struct shm *shm, const uint64_t *bits, uint32_t process)
{
    uint64_t skip = (UINT64_C(1) << process % 64) - 1;

    for (uint32_t i = process / 64; i < shm->open_words; i++, skip = 0) {
        uint64_t left = hf_load_acquire(&bits[i]) & ~skip;

        if (left) {
            process = i * 64 + (uint32_t)__builtin_ctzll(left);
            return process < shm->limits.processes ? process : SHM_NONE;
        }
    }
    return SHM_NONE;
}

uint32_t shm_watcher_from(const struct shm *shm, const struct shm_vnode *vnode, uint32_t process)
{
    return first_from(shm, bits_of(shm, shm->watches, vnode), process);
}

uint32_t shm_asker_from(const struct shm *shm, const struct shm_vnode *vnode, uint32_t process)
{
    return first_from(shm, bits_of(shm, shm->asks, vnode), process);
}

void shm_watch_settle(struct shm *shm, struct shm_vnode *vnode)
{
    uint32_t waiters = vnode->waiters & ~(SHM_WATCHED | SHM_ASKED);

    shm_assert_held(&vnode->mutex);
    if (shm_watcher_from(shm, vnode, 0) != SHM_NONE)
        waiters |= SHM_WATCHED;
    if (shm_asker_from(shm, vnode, 0) != SHM_NONE)
        waiters |= SHM_ASKED;
    if (waiters != vnode->waiters)
        hf_store_seq_cst(&vnode->waiters, waiters);
}

/* One handle of this process more or less: its bit. Returns how many there are. */
static uint32_t count_handle(struct shm *shm, uint64_t *bits, uint32_t *handles, int change)
{
    uint64_t *word = bits + shm->self / 64, bit = UINT64_C(1) << shm->self % 64;
    uint32_t now;

    pthread_mutex_lock(&shm->handles_mutex);
    now = *handles += (uint32_t)change;
    if (now)
        hf_or_acq_rel(word, bit);
    else
        hf_and_acq_rel(word, ~bit);
    pthread_mutex_unlock(&shm->handles_mutex);
    return now;
}

bool shm_watch(struct shm *shm, struct shm_vnode *vnode, int change)
{
    uint32_t handles = count_handle(shm, bits_of(shm, shm->watches, vnode),
                                    &shm->local_watches[vnode - shm->vnodes], change);

    shm_assert_held(&vnode->mutex);
    shm_watch_settle(shm, vnode);
    if (handles == 0) /* no writer need wait for reports that it has not dealt with */
        hf_futex_wake_all(&shm->watchers[shm->self].came_back);
    return handles == 1 && change > 0;
}

void shm_ask(struct shm *shm, struct shm_vnode *vnode, int change)
{
    shm_assert_held(&vnode->mutex);
    count_handle(shm, bits_of(shm, shm->asks, vnode), &shm->local_asks[vnode - shm->vnodes],
                 change);
    shm_watch_settle(shm, vnode);
}

void shm_watch_leave(struct shm *shm, struct shm_vnode *vnode, bool asks)
{
    if (asks)
        count_handle(shm, bits_of(shm, shm->asks, vnode), &shm->local_asks[vnode - shm->vnodes],
                     -1);
    if (count_handle(shm, bits_of(shm, shm->watches, vnode),
                     &shm->local_watches[vnode - shm->vnodes], -1) == 0)
        hf_futex_wake_all(&shm->watchers[shm->self].came_back);
}

static uint64_t marked(uint64_t ticket, uint64_t value)
{
    return (ticket + 1) << 32 | value;
}

static void add_range(struct shm_watcher *watcher, uint64_t vnode, uint64_t first, uint64_t last)
{
    uint64_t ticket = hf_add_acq_rel(&watcher->reported, 1);
    struct shm_report *report = &watcher->reports[ticket % SHM_REPORTS];

    /* REPORT.PUB/m: what has changed is visible before the words that tell of it.
     * Pairs with REPORT.PUB/p in shm_report_take(). Without it: the watcher reads again, and reads
     * what was. */
    hf_store_release(&report->words[0], marked(ticket, first));
    hf_store_release(&report->words[1], marked(ticket, last));
    hf_store_release(&report->words[2], marked(ticket, vnode));
    /* REPORT.WAKE/m: raised after the report was written.
     * Pairs with REPORT.WAKE/p in dax_watch_next(). Without it: the watcher sleeps over a
     * report. */
    hf_add_acq_rel(&watcher->report_seq, 1);
    hf_futex_wake_all(&watcher->report_seq);
}

void shm_report_to(struct shm *shm, uint32_t process, const struct shm_vnode *vnode, uint64_t first,
                   uint64_t last)
{
    add_range(&shm->watchers[process], (uint64_t)(vnode - shm->vnodes), first,
              last < UINT32_MAX ? last : UINT32_MAX);
}

void shm_report(struct shm *shm, const struct shm_vnode *vnode, uint64_t first, uint64_t last,
                uint32_t by)
{
    uint32_t process = 0;

    while ((process = shm_watcher_from(shm, vnode, process)) != SHM_NONE) {
        if (process != by)
            shm_report_to(shm, process, vnode, first, last);
        process++;
    }
}

enum shm_reports shm_report_take(struct shm *shm, bool late, uint32_t *vnode, uint64_t *first,
                                 uint64_t *last)
{
    struct shm_watcher *watcher = &shm->watchers[shm->self];
    uint64_t reported = hf_load_acquire(&watcher->reported), ticket = watcher->taken, words[3];
    const struct shm_report *report = &watcher->reports[ticket % SHM_REPORTS];
    bool whole = true;

    if (reported == ticket)
        return SHM_REPORT_NONE;
    for (unsigned i = 0; i < 3; i++) {
        /* REPORT.PUB/p: acquired before what has changed is read. Pairs with REPORT.PUB/m in
         * add_range(). */
        words[i] = hf_load_acquire(&report->words[i]);
        whole &= words[i] >> 32 == (uint32_t)(ticket + 1);
    }
    if (reported - ticket <= SHM_REPORTS && !whole && !late)
        return SHM_REPORT_LATE;
    if (reported - ticket > SHM_REPORTS || !whole) {
        hf_store_release(&watcher->taken, reported);
        return SHM_REPORT_LOST;
    }
    hf_store_release(&watcher->taken, ticket + 1);
    *first = words[0] & UINT32_MAX;
    *last = words[1] & UINT32_MAX;
    *vnode = (uint32_t)words[2];
    if (*last == UINT32_MAX)
        *last = UINT64_MAX;
    return SHM_REPORT_ONE;
}
