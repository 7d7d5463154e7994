/* SPDX-License-Identifier: MIT */
/*
 * Reclaiming: detached blocks that have lost their last holder are given back. Owns the end of the
 * records that detach.c makes. Any process may do it at any time: an unpin only raises
 * run->reclaim, since it may neither lock nor wait.
 */
#include "dax/private.h"

#include "base/error.h"
#include "base/lab.h"

#include <errno.h>
#include <stdlib.h>

#define BATCH 256u /* runs in a transaction */

/* One end of a record. Two records are of the same place when a page lies on the same block in
 * both. A shared block can be under several pages of a file. */
struct end {
    uint64_t place; /* page minus block, modulo 2^64 */
    uint64_t page;  /* after the last, of a right end */
    bool gone, right;
};

struct sweep {
    struct dax *dax;
    struct shm_vnode *vnode;
    int (*gone)(void *arg, const struct meta_detached *runs, size_t count);
    void *arg;
    struct end *ends;
    bool *judged; /* of each record of the list: its holder had gone */
    size_t records;
    struct meta_detached runs[BATCH];
    size_t run_count;
};

static int by_place(const void *left, const void *right)
{
    const struct end *a = left, *b = right;

    HF_LAB_AT(HF_LAB_COMPARES);
    if (a->place != b->place)
        return a->place < b->place ? -1 : 1;
    return a->page < b->page ? -1 : a->page > b->page;
}

/* How many pages the record has; 0: it is wrong. */
static uint64_t length_of(const struct shm *shm, uint64_t first, uint64_t last, uint64_t block)
{
    uint64_t blocks = shm->limits.limit_blocks;

    if (first > last || last > MM_LAST_PAGE || block >= blocks || last - first >= blocks - block)
        return 0;
    return last - first + 1;
}

/* Looks once at each holder, so that blocks and records agree on holders that go meanwhile. Returns
 * how many have gone. */
static size_t judge_all(struct sweep *sweep)
{
    const struct shm *shm = sweep->dax->shm;
    const struct shm_vnode *vnode = sweep->vnode;
    size_t i = 0, gone = 0;

    for (uint32_t at = detach_record_at(shm, vnode, &vnode->detached);
         at != SHM_NONE && i < sweep->records;
         at = detach_record_at(shm, vnode, &shm->holds[at].link), i++) {
        const struct shm_hold *record = &shm->holds[at];
        struct end *left = &sweep->ends[2 * i], *right = left + 1;
        uint64_t first = hf_load_acquire(&record->range.first);
        uint64_t block = hf_load_acquire(&record->block);

        HF_LAB_AT(HF_LAB_COMPARES);
        sweep->judged[i] = detach_holder_gone(shm, record);
        gone += sweep->judged[i];
        *left = (struct end){first - block, first, sweep->judged[i], false};
        *right = *left;
        right->page += length_of(shm, first, hf_load_acquire(&record->range.last), block);
        right->right = true;
    }
    sweep->records = i;
    return gone;
}

static int give_back(struct sweep *sweep)
{
    int rc = sweep->run_count ? sweep->gone(sweep->arg, sweep->runs, sweep->run_count) : 0;

    sweep->run_count = 0;
    return rc;
}

/* Goes from end to end, in order, and finds the blocks that only records of gone holders cover. */
static int sweep_ends(struct sweep *sweep)
{
    size_t count = 2 * sweep->records;
    uint64_t live = 0, gone = 0;
    int rc = 0;

    qsort(sweep->ends, count, sizeof *sweep->ends, by_place);
    for (size_t i = 0; i < count && rc == 0; i++) {
        const struct end *end = &sweep->ends[i], *next = end + 1;
        uint64_t *covers = end->gone ? &gone : &live;

        *covers += end->right ? UINT64_MAX : 1;
        if (!gone || live || next->page == end->page)
            continue;
        sweep->runs[sweep->run_count++] = (struct meta_detached){
            end->page - end->place, next->page - end->page, sweep->vnode->ino, end->page, false};
        if (sweep->run_count == BATCH)
            rc = give_back(sweep);
    }
    return rc ? rc : give_back(sweep);
}

/* A record is freed after its blocks are, so that a death in between repeats `gone`, which finds
 * nothing left to do. */
static void free_records(struct sweep *sweep)
{
    struct shm *shm = sweep->dax->shm;
    uint32_t *link = &sweep->vnode->detached;

    for (size_t i = 0; i < sweep->records; i++) {
        uint32_t index = detach_record_at(shm, sweep->vnode, link);

        if (index == SHM_NONE)
            break;
        if (sweep->judged[i]) {
            *link = shm->holds[index].link;
            shm_hold_free(shm, index);
        } else {
            link = &shm->holds[index].link;
        }
    }
}

static int sweep_records(struct sweep *sweep)
{
    const struct shm *shm = sweep->dax->shm;
    const struct shm_vnode *vnode = sweep->vnode;
    int rc = 0;

    for (uint32_t at = detach_record_at(shm, vnode, &vnode->detached);
         at != SHM_NONE && sweep->records < shm->limits.holds;
         at = detach_record_at(shm, vnode, &shm->holds[at].link))
        sweep->records++;
    sweep->ends = calloc(2 * sweep->records + 1, sizeof *sweep->ends);
    sweep->judged = calloc(sweep->records + 1, sizeof *sweep->judged);
    if (!sweep->ends || !sweep->judged)
        rc = hf_fail(ENOMEM, "no memory to look at %zu records of detached blocks", sweep->records);
    else if (judge_all(sweep))
        rc = sweep_ends(sweep);
    if (rc == 0)
        free_records(sweep);
    free(sweep->ends);
    free(sweep->judged);
    return rc;
}

/* Under the vnode's mutex. */
static int reclaim_vnode(struct sweep *sweep)
{
    struct shm_run *run = sweep->dax->shm->run;
    struct shm_vnode *vnode = sweep->vnode;
    int rc = vnode->detached == SHM_NONE ? 0 : sweep_records(sweep);

    shm_assert_held(&sweep->vnode->mutex);
    if (detach_record_at(sweep->dax->shm, vnode, &vnode->detached) == SHM_NONE)
        vnode->detached = SHM_NONE;
    if (vnode->detached == SHM_NONE)
        hf_store_release(&vnode->waiters, vnode->waiters & ~SHM_DETACHED);
    else if (hf_load_acquire(&run->fences_only))
        /* an unpin may have missed SHM_DETACHED: look again */
        hf_store_release(&run->reclaim, 1u);
    return rc;
}

int dax_reclaim(struct dax *dax,
                int (*gone)(void *arg, const struct meta_detached *runs, size_t count), void *arg)
{
    struct shm *shm = dax->shm;
    uint32_t high = shm_vnodes_high(shm);
    int rc = 0;

    shm_assert_none_held();
    if (!hf_load_acquire(&shm->run->reclaim) || !hf_xchg_acq_rel(&shm->run->reclaim, 0u))
        return 0;
    for (uint32_t i = 0; i < high && rc == 0; i++) {
        struct shm_vnode *vnode = &shm->vnodes[i];

        /* This is right also after a process was killed between the commit and the list: taking the
         * lock mends that. */
        if (!(hf_load_acquire(&vnode->waiters) & SHM_DETACHED) &&
            !hf_load_acquire(&vnode->pending_version))
            continue;
        if (!dax_lock_moment(dax, vnode)) {
            hf_store_release(&shm->run->reclaim, 1u);
            continue;
        }
        if (vnode->state == SHM_VNODE_READY)
            rc = reclaim_vnode(
                &(struct sweep){.dax = dax, .vnode = vnode, .gone = gone, .arg = arg});
        dax_unlock(dax, vnode);
    }
    if (rc)
        hf_store_release(&shm->run->reclaim, 1u);
    return rc;
}
