/* SPDX-License-Identifier: MIT */
/*
 * The one predicate that says which pages are held. It finds pins in slots, then pins and leases in
 * the tree of holds. It leaves out those that hold only detached blocks. It serves the drain, the
 * search for cycles, and a thread that asks whether it holds anything itself.
 */
#include "dax/private.h"

struct scan {
    struct dax *dax;
    struct shm_vnode *vnode;
    uint64_t first, last;
    scan_found *found;
    void *arg;
    struct records records;
};

/* It is held no more if its owner has gone since the key was read. */
static int report_held(struct scan *scan, const struct held *held)
{
    struct shm *shm = scan->dax->shm;
    uint64_t first = held->range.first > scan->first ? held->range.first : scan->first;
    uint64_t last = held->range.last < scan->last ? held->range.last : scan->last;

    if (held->process >= shm->limits.processes)
        return 0;
    if (!records_still_hold(shm, scan->vnode, &scan->records, shm_place(shm, held->word), held->key,
                            first, last))
        return 0;
    return scan->found(scan->arg, held);
}

static int found_slot(void *arg, const struct sync_holder *holder)
{
    struct scan *scan = arg;
    struct held held = {.word = holder->key,
                        .key = holder->value,
                        .range = holder->range,
                        .process = hf_load_acquire(&holder->lane->owner) - 1,
                        .lane = shm_lane_index(scan->dax->shm, holder->lane)};

    return report_held(scan, &held);
}

/* Given up by its owner, or the owner is dead: no thread can end it. */
bool held_in_quarantine(const struct shm *shm, const struct held *held)
{
    return shm_process_quarantined(shm, held->process) ||
           (held->hold && shm_hold_given_up(hf_load_acquire(&held->hold->state)));
}

/* The lane of the thread that can end it. For a lease with a callback, that is the lane of the
 * thread that runs callbacks: this lease's turn comes later. None ends a lease in quarantine. */
static uint32_t lane_of(const struct shm *shm, const struct shm_hold *hold, uint32_t process)
{
    uint32_t lane = hf_load_acquire(&hold->recall.served)
                        ? hf_load_acquire(&shm_process_at(shm, process)->calls_back) - 1
                        : hf_load_acquire(&hold->lane);

    if (shm_hold_given_up(hf_load_acquire(&hold->state)))
        return SHM_NONE;
    return lane < shm->limits.lanes ? lane : SHM_NONE;
}

static int found_hold(void *arg, uint32_t index)
{
    struct scan *scan = arg;
    struct shm_hold *hold = &scan->dax->shm->holds[index];
    struct held held = {.word = &hold->key,
                        .key = hf_load_acquire(&hold->key), /* UNPIN.DONE/m */
                        .range = hold->range,
                        .process = SHM_HOLD_OWNER(hf_load_acquire(&hold->state)) - 1,
                        .hold = hold};

    held.lane = lane_of(scan->dax->shm, hold, held.process);
    return held.key ? report_held(scan, &held) : 0;
}

static int scan_holds(struct scan *scan)
{
    struct shm_vnode *vnode = scan->vnode;

    if ((vnode->hold_root & vnode->hold_root_again) == SHM_NONE && !vnode->holds_stale)
        return 0;
    holds_settle(scan->dax->shm, vnode);
    return holds_scan(scan->dax->shm, vnode, scan->first, scan->last, found_hold, scan);
}

int scan_held(struct dax *dax, struct shm_vnode *vnode, uint64_t first, uint64_t last,
              scan_found *found, void *arg)
{
    struct scan scan = {dax, vnode, first, last, found, arg, {0}};
    int rc = dax->engine->scan(dax->shm, shm_vnode_number(dax->shm, vnode), first, last, found_slot,
                               &scan);

    shm_assert_held(&vnode->mutex);
    rc = rc ? rc : scan_holds(&scan);
    records_drop(&scan.records);
    return rc;
}

bool held_by_thread(const struct held *held, const struct shm *shm, uint32_t lane)
{
    if (lane == SHM_NONE || held->lane != lane)
        return false;
    return (held->hold && held->hold->recall.served) ||
           SHM_WHO_TID(held->range.who) == hf_load_acquire(&shm->lanes[lane].tid);
}

bool held_by_caller(const struct held *held, const struct shm *shm, const struct shm_lane *lane)
{
    if (held_by_thread(held, shm, shm_lane_index(shm, lane)))
        return true;
    return held->lane != SHM_NONE && dax_lane_is_client(shm, held->lane) &&
           held_by_thread(held, shm, held->lane);
}

static int is_held(void *arg, const struct held *held)
{
    (void)arg, (void)held;
    return 1;
}

bool dax_is_held(struct dax *dax, struct shm_vnode *vnode, uint64_t first, uint64_t last)
{
    shm_assert_held(&vnode->mutex);
    return hf_load_acquire(&dax->shm->run->ghost_key) ||
           scan_held(dax, vnode, first, last, is_held, NULL) != 0;
}

struct thread {
    const struct shm *shm;
    const struct shm_lane *lane;
};

static int by_thread(void *arg, const struct held *held)
{
    const struct thread *thread = arg;

    return held_by_caller(held, thread->shm, thread->lane);
}

bool scan_own(struct dax *dax, struct shm_vnode *vnode, const struct shm_lane *lane, uint64_t first,
              uint64_t last)
{
    struct thread self = {dax->shm, lane};

    return scan_held(dax, vnode, first, last, by_thread, &self) != 0;
}
