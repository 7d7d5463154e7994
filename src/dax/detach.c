/* SPDX-License-Identifier: MIT */
/*
 * Detached blocks: they are in no file any more, but a pin still holds them. They stay off the free
 * list until no pin does.
 *
 * Each (holder, run of blocks) is one record in the table of holds. So n holders whose ranges nest
 * make n records of a run, though they cut it into 2n - 1 pieces. The records are in a list of the
 * vnode that the blocks came from, under its layout mutex. A record names the holder by its key and
 * the place of that key: once another key is there, the holder has gone. The record also says for
 * which pages of the file the pin no longer counts.
 *
 * Records are made before the transaction commits and linked after it. When a process dies in
 * between, pending_version says whether its transaction had committed; without a pending_version it
 * had not. From the commit on, the blocks are in LMDB's detached table. So no block is lost when
 * the records are (all processes die).
 *
 * A lease among the holders is recalled before the commit. Its holder is told of the detaching
 * after the commit, from the record, by the process that links the record. That is the record's
 * maker, or a process that mends what a dead maker has left (docs/ORDERING.md 3.21).
 */
#include "dax/private.h"

#include "base/error.h"
#include "base/lab.h"
#include "base/trace.h"

#include <errno.h>

/* The hold that has its key word there; null: it is a slot, or the ghosts' word. */
static struct shm_hold *hold_of_key(const struct shm *shm, uint64_t at)
{
    uint64_t holds = shm_place(shm, shm->holds);
    uint64_t end = holds + shm->limits.holds * sizeof(struct shm_hold);

    return at < holds || at >= end ? NULL : &shm->holds[(at - holds) / sizeof(struct shm_hold)];
}

/* The lease that holds the record's blocks; null: it has been released, or the holder is a pin. */
static struct shm_hold *lease_of(const struct shm *shm, const struct shm_hold *record)
{
    struct shm_hold *hold = hold_of_key(shm, record->holder);

    return hold_is_lease(hold) && !detach_holder_gone(shm, record) ? hold : NULL;
}

/* A run of blocks that leaves the file, as its holders are told of it. */
struct leaving {
    struct dax_change *change;
    struct meta_extent part;
};

static int record_holder(void *arg, const struct dax_holder *holder)
{
    const struct leaving *leaving = arg;
    struct dax_change *change = leaving->change;
    const struct meta_extent *part = &leaving->part;
    struct shm *shm = change->dax->shm;
    uint64_t last = part->page + part->count - 1;
    uint32_t index = shm_hold_alloc(shm);
    struct shm_hold *record, *lease;

    if (index == SHM_NONE)
        return shm_no_hold(shm);
    record = &shm->holds[index];
    record->range.first = holder->first > part->page ? holder->first : part->page;
    record->range.last = holder->last < last ? holder->last : last;
    record->block = part->block + (record->range.first - part->page);
    record->holder = holder->at;
    record->holder_key = holder->key;
    hf_store_release(&record->vnode,
                     shm_vnode_number(shm, change->vnode)); /* as in holds_publish() */
    record->since_ns = hf_now_ns();
    record->recall.wants[0] = recall_make_want(change, &record->range, HF_LEASE_DETACHED);
    record->link = change->detached;
    change->detached = index;
    hf_store_release(&record->state, SHM_HOLD_STATE(SHM_HOLD_DETACHED, shm->self + 1));
    lease = lease_of(shm, record);
    if (lease && !HF_LAB_BROKEN(HF_LAB_NO_EARLY_RECALL))
        recall_before_detach(change, lease);
    return 0;
}

/* A record in LMDB has blocks with the same holders, which are freed together. A record of a holder
 * has all that it holds of the run. */
static __attribute__((noinline)) int split_held(
    struct dax_change *change, const struct meta_extent *run,
    int (*free_run)(void *arg, const struct meta_extent *part),
    int (*held_run)(void *arg, const struct meta_extent *part), void *arg)
{
    struct leaving leaving = {.change = change, .part = *run};
    struct meta_extent rest = *run;
    int rc = 0;

    while (rc == 0 && rest.count) {
        struct meta_extent part = rest;
        bool held;

        part.count = holders_alike(change, rest.page, rest.count, &held);
        rc = held ? held_run(arg, &part) : free_run(arg, &part);
        rest.page += part.count;
        rest.block += part.count;
        rest.count -= part.count;
    }
    return rc ? rc
              : holders_over(change, run->page, run->page + run->count - 1, record_holder,
                             &leaving);
}

int dax_change_split(struct dax_change *change, const struct meta_extent *run,
                     int (*free_run)(void *arg, const struct meta_extent *part),
                     int (*held_run)(void *arg, const struct meta_extent *part), void *arg)
{
    shm_assert_held(&change->vnode->mutex);
    return change->holder_count ? split_held(change, run, free_run, held_run, arg)
                                : free_run(arg, run);
}

/* A freed record does not count as one, so a ring ends. */
void detach_abort(struct dax_change *change)
{
    struct shm *shm = change->dax->shm;
    uint32_t at = detach_record_at(shm, change->vnode, &change->detached), next;

    shm_assert_held(&change->vnode->mutex);
    for (; at != SHM_NONE; at = next) {
        next = detach_record_at(shm, change->vnode, &shm->holds[at].link);
        shm_hold_free(shm, at);
        next = next == at ? SHM_NONE : next;
    }
    change->detached = SHM_NONE;
}

/* A holder that releases its pin from now on sees SHM_DETACHED. The barrier makes earlier releases
 * visible, as in a wait, and the reclaim that is asked for here finds them. */
static void announce(struct dax *dax, struct shm_vnode *vnode)
{
    hf_store_seq_cst(&vnode->waiters, vnode->waiters | SHM_DETACHED);
    dax->engine->before_wait(dax->shm, vnode);
    hf_store_release(&dax->shm->run->reclaim, 1u);
}

static void tell_holder(struct shm *shm, const struct shm_vnode *vnode,
                        const struct shm_hold *record)
{
    struct shm_hold *lease = lease_of(shm, record);

    if (lease)
        recall_detached(shm, vnode, lease, &record->recall.wants[0]);
}

void detach_commit(struct dax_change *change)
{
    struct shm *shm = change->dax->shm;
    struct shm_vnode *vnode = change->vnode;
    uint32_t last = change->detached, steps = 0;

    shm_assert_held(&change->vnode->mutex);
    if (last == SHM_NONE)
        return;
    HF_LAB_AT(HF_LAB_COMMITTED);
    for (uint32_t at = last; at != SHM_NONE && steps < shm->limits.holds; steps++) {
        tell_holder(shm, vnode, &shm->holds[at]);
        last = at;
        at = detach_record_at(shm, vnode, &shm->holds[at].link);
    }
    shm->holds[last].link = vnode->detached;
    vnode->detached = change->detached;
    change->detached = SHM_NONE;
    announce(change->dax, vnode);
    dax_count(&shm->run->stats.detaches, 1);
    HF_TRACE(detach, vnode->ino, change->first, change->last, change->holder_count);
}

/* Says in `left`, which is for trees and free in a record, whether the record is in the list. */
static void mark_listed(struct shm *shm, const struct shm_vnode *vnode)
{
    uint32_t at = detach_record_at(shm, vnode, &vnode->detached);

    for (uint32_t i = 0; i < shm_holds_high(shm); i++)
        if (detach_is_record(shm, &shm->holds[i], vnode))
            shm->holds[i].left = SHM_NONE;
    for (uint32_t steps = 0; at != SHM_NONE && steps < shm->limits.holds; steps++) {
        shm->holds[at].left = at;
        at = detach_record_at(shm, vnode, &shm->holds[at].link);
    }
}

/* A record that is not in a list belongs to a dead process. A living maker has the mutex until its
 * records are linked or freed. They are made before pending_version is set. */
void detach_recover(struct dax *dax, struct shm_vnode *vnode, bool committed)
{
    struct shm *shm = dax->shm;

    shm_assert_held(&vnode->mutex);
    mark_listed(shm, vnode);
    for (uint32_t i = 0; i < shm_holds_high(shm); i++) {
        struct shm_hold *record = &shm->holds[i];

        if (!detach_is_record(shm, record, vnode) || record->left == i)
            continue;
        if (committed) {
            if (!HF_LAB_BROKEN(HF_LAB_NO_LATE_RECALL))
                tell_holder(shm, vnode, record);
            record->link = vnode->detached;
            vnode->detached = i;
        } else {
            shm_hold_free(shm, i);
        }
    }
    if (vnode->detached != SHM_NONE)
        announce(dax, vnode);
}
