/* SPDX-License-Identifier: MIT */
/*
 * Reclaiming: detached blocks whose last holder has gone are given back. Owns the end of the
 * records that detach.c makes. Any process may do it at any time: an unpin only raises
 * run->reclaim, since it may neither lock nor wait.
 */
#include "dax/private.h"

/* The record is of the pages that lay on these blocks when the page at `run` lay on its: a shared
 * block can be under several pages of a file. */
static bool same_place(const struct shm_hold *record, const struct meta_detached *run)
{
    return record->range.first - record->block == run->page - run->block;
}

/* Another live record of the list covers the run's first block; its count is cut to the blocks that
 * fare alike. */
static bool is_covered(const struct shm *shm, uint32_t list, struct meta_detached *run)
{
    uint64_t block = run->block, *count = &run->count;
    bool is = false;

    for (uint32_t at = list; at != SHM_NONE; at = shm->holds[at].link) {
        const struct shm_hold *other = &shm->holds[at];
        uint64_t end = other->block + (other->range.last - other->range.first) + 1;

        if (!same_place(other, run) || detach_holder_gone(shm, other))
            continue;
        if (other->block > block && other->block - block < *count)
            *count = other->block - block;
        if (other->block <= block && end > block) {
            is = true;
            *count = end - block < *count ? end - block : *count;
        }
    }
    return is;
}

static int report_gone(const struct shm *shm, const struct shm_vnode *vnode,
                       const struct shm_hold *record, uint32_t others,
                       int (*gone)(void *arg, const struct meta_detached *run), void *arg)
{
    uint64_t left = record->range.last - record->range.first + 1;
    struct meta_detached run = {record->block, 0, vnode->ino, record->range.first, false};
    int rc = 0;

    while (rc == 0 && left) {
        run.count = left;
        if (!is_covered(shm, others, &run))
            rc = gone(arg, &run);
        run.block += run.count;
        run.page += run.count;
        left -= run.count;
    }
    return rc;
}

/* Under the vnode's mutex. A record is freed after its blocks are, so that a death in between
 * repeats `gone`, which finds nothing left to do. */
static int reclaim_vnode(struct shm *shm, struct shm_vnode *vnode,
                         int (*gone)(void *arg, const struct meta_detached *run), void *arg)
{
    uint32_t *link = &vnode->detached;
    int rc = 0;

    while (rc == 0 && *link != SHM_NONE) {
        uint32_t index = *link;
        struct shm_hold *record = &shm->holds[index];

        if (!detach_holder_gone(shm, record)) {
            link = &record->link;
            continue;
        }
        rc = report_gone(shm, vnode, record, vnode->detached, gone, arg);
        if (rc == 0) {
            *link = record->link;
            shm_hold_free(shm, index);
        }
    }
    if (vnode->detached == SHM_NONE)
        hf_store_release(&vnode->waiters, vnode->waiters & ~SHM_DETACHED);
    else if (hf_load_acquire(
                 &shm->run->fences_only)) /* an unpin may have missed SHM_DETACHED: look again */
        hf_store_release(&shm->run->reclaim, 1u);
    return rc;
}

int dax_reclaim(struct dax *dax, int (*gone)(void *arg, const struct meta_detached *run), void *arg)
{
    struct shm *shm = dax->shm;
    uint32_t high = hf_load_acquire(&shm->run->vnodes_high);
    int rc = 0;

    shm_assert_none_held();
    if (!hf_load_acquire(&shm->run->reclaim) || !hf_xchg_acq_rel(&shm->run->reclaim, 0u))
        return 0;
    for (uint32_t i = 0; i < high && rc == 0; i++) {
        struct shm_vnode *vnode = &shm->vnodes[i];

        /* Also where a process was killed between the commit and the list: taking the lock mends
         * that. */
        if (!(hf_load_acquire(&vnode->waiters) & SHM_DETACHED) &&
            !hf_load_acquire(&vnode->pending_version))
            continue;
        if (!dax_lock_moment(dax, vnode)) {
            hf_store_release(&shm->run->reclaim, 1u);
            continue;
        }
        if (vnode->state == SHM_VNODE_READY)
            rc = reclaim_vnode(shm, vnode, gone, arg);
        dax_unlock(dax, vnode);
    }
    if (rc)
        hf_store_release(&shm->run->reclaim, 1u);
    return rc;
}
