/* SPDX-License-Identifier: MIT */
/*
 * Sleepable RCU, in shared memory: two counters a lane, and an index that says which one the
 * sections that begin now use. The walk counts inside a section; the change waits, after its zap,
 * for the sections that had begun.
 *
 * A: a section raises its counter, fences, walks; the change zaps, fences, reads the counter.
 * Either the change sees the section, and waits until its counts are made, or the walk sees the
 * zap. Each counter of each lane is seen at 0 once after the zap. Progress: the other counter is
 * waited for first, which only walks enter that read the index before its last flip. Then the index
 * flips, and no walk enters where is waited next.
 */
#include "base/fence.h"
#include "sync/engine.h"
#include "sync/sections.h"

static int srcu_enter(struct shm *shm, struct shm_lane *lane, bool nowait)
{
    int index = (int)(hf_load_relaxed(&shm->run->grace_index) & 1); /* relaxed: either will do */

    (void)nowait;
    section_enter(lane, index);
    /* SRCU.SB/p: the section must be visible before the entries are read.
     * Pairs with SRCU.SB/m in srcu_zapped(). Without it: the change sees no section and the walk
     * reads an old entry, which it counts too late. */
    hf_fence_full();
    return index;
}

static void srcu_leave(struct shm *shm, struct shm_lane *lane, int section)
{
    (void)shm;
    section_leave(lane, section);
}

static void srcu_zapped(struct shm *shm, struct shm_vnode *vnode, bool cleared)
{
    uint32_t index;

    if (!sync_zap_pending(vnode, cleared))
        return;
    sections_lock(shm);
    index = shm->run->grace_index;
    /* SRCU.SB/m: the zap must be visible before the counters are read. Pairs with SRCU.SB/p in
     * srcu_enter(). */
    hf_fence_full();
    sections_wait(shm, (int)(index + 1) & 1);
    hf_store_release(&shm->run->grace_index, index + 1);
    hf_fence_full();
    sections_wait(shm, (int)index & 1);
    sections_unlock(shm);
    sync_zap_settled(vnode);
}

const struct sync_engine sync_srcu = {
    .name = "srcu",
    .enter = srcu_enter,
    .leave = srcu_leave,
    .zapped = srcu_zapped,
    .scan = counts_scan,
    .freeze = counts_freeze,
    .before_wait = slots_before_wait,
};
