/* SPDX-License-Identifier: MIT */
/*
 * The one predicate of what is held: pins in slots, then pins and leases in the tree of holds, without
 * those whose blocks have left the file. For the drain, for who looks whether it holds something itself, and
 * for who looks for circles.
 */
#include "dax/private.h"

struct scan {
    struct dax *dax;
    struct shm_vnode *vnode;
    uint64_t first, last;
    held_found *found;
    void *arg;
};

static int tell(const struct scan *scan, const struct held *held)
{
    struct shm *shm = scan->dax->shm;
    uint64_t first = held->range.first > scan->first ? held->range.first : scan->first;
    uint64_t last = held->range.last < scan->last ? held->range.last : scan->last;

    if (scan->vnode->detached != SHM_NONE &&
        !detach_still_holds(shm, scan->vnode, shm_at(shm, held->word), held->key, first, last))
        return 0;
    return scan->found(scan->arg, held);
}

static int found_slot(void *arg, const struct sync_holder *holder)
{
    const struct scan *scan = arg;
    struct held held = {.word = holder->key,
                        .key = holder->value,
                        .range = holder->range,
                        .process = hf_load_acquire(&holder->lane->owner) - 1,
                        .lane = shm_lane_index(scan->dax->shm, holder->lane)};

    return tell(scan, &held);
}

static int found_hold(void *arg, uint32_t index)
{
    const struct scan *scan = arg;
    struct shm_hold *hold = &scan->dax->shm->holds[index];
    struct held held = {.word = &hold->key,
                        .key = hf_load_acquire(&hold->key), /* UNPIN.DONE/m */
                        .range = hold->range,
                        .process = SHM_HOLD_OWNER(hf_load_acquire(&hold->state)) - 1,
                        .lane = hold->lane,
                        .hold = hold};

    return held.key ? tell(scan, &held) : 0;
}

int held_scan(struct dax *dax, struct shm_vnode *vnode, uint64_t first, uint64_t last,
              held_found *found, void *arg)
{
    struct scan scan = {dax, vnode, first, last, found, arg};
    int rc = dax->engine->scan(dax->shm, vnode->index, first, last, found_slot, &scan);

    if (rc || (vnode->hold_root == SHM_NONE && !vnode->holds_stale))
        return rc;
    holds_settle(dax->shm, vnode);
    return holds_scan(dax->shm, vnode, first, last, found_hold, &scan);
}

bool held_is_lease(const struct held *held)
{
    uint32_t kind = held->hold ? SHM_HOLD_KIND(hf_load_acquire(&held->hold->state)) : SHM_HOLD_FREE;

    return kind == SHM_HOLD_LEASE || kind == SHM_HOLD_GIVEN;
}

bool held_by_thread(const struct held *held, const struct shm *shm, uint32_t lane)
{
    return held->lane == lane &&
           SHM_WHO_TID(held->range.who) == hf_load_acquire(&shm->lanes[lane].tid) &&
           !(held_is_lease(held) && held->hold->recall.served);
}

struct thread {
    const struct shm *shm;
    uint32_t lane;
};

static int by_thread(void *arg, const struct held *held)
{
    const struct thread *thread = arg;

    return held_by_thread(held, thread->shm, thread->lane);
}

bool held_by_self(struct dax *dax, struct shm_vnode *vnode, const struct shm_lane *lane,
                  uint64_t first, uint64_t last)
{
    struct thread self = {dax->shm, shm_lane_index(dax->shm, lane)};

    return held_scan(dax, vnode, first, last, by_thread, &self) != 0;
}
