/* SPDX-License-Identifier: MIT */
/*
 * Sleepable RCU, in shared memory: two counters a lane, and an index that says which one the
 * sections that begin now use. The walk counts inside a section; the change waits, after its zap,
 * for the sections that had begun.
 *
 * A: a section raises its counter, fences, walks; the change zaps, fences, reads the counter.
 * Either the change sees the section, and waits until its counts are made, or the walk sees the
 * zap. Each counter of each lane is seen at 0 once after the zap. Progress: the counter that new
 * sections do not use is waited for first. Only walks that read the index before its last flip
 * enter it. Then the index flips, and new walks do not enter the counter that is waited for next.
 */
#include "base/fence.h"
#include "base/lab.h"
#include "sync/engine.h"
#include "sync/sections.h"

static int begin_section(struct shm *shm, struct shm_lane *lane, bool nowait)
{
    (void)nowait;
    return srcu_enter(shm, lane);
}

static void end_section(struct shm *shm, struct shm_lane *lane, int section)
{
    (void)shm;
    section_leave(lane, section);
}

/* One that gives up leaves the index as it is, flipped or not: the next one waits for both counters
 * again. */
static int wait_for_both(struct shm *shm)
{
    uint32_t index = shm->run->grace_index;
    int rc;

    shm_assert_held(&shm->run->grace_mutex);
    /* SRCU.SB/m: the zap must be visible before the counters are read. Pairs with SRCU.SB/p in
     * srcu_enter(). */
    hf_fence_full();
    rc = sections_wait(shm, (int)(index + 1) & 1);
    if (rc)
        return rc;
    hf_store_release(&shm->run->grace_index, index + 1);
    hf_fence_full();
    return sections_wait(shm, (int)index & 1);
}

static int srcu_zapped(struct shm *shm, struct shm_vnode *vnode, bool cleared)
{
    bool died;
    int rc;

    if (!sync_zap_pending(vnode, cleared))
        return 0;
    rc = sections_lock(shm, &died);
    if (rc)
        return rc;
    rc = wait_for_both(shm);
    sections_unlock(shm);
    /* GRACE.KEEP/m: only a wait that has come to its end. Pairs with GRACE.KEEP/p in zap().
     * Without it: the next change finds nothing to clear, waits for no walk, and frees a block that
     * an old walk is about to count. */
    if (rc == 0 || HF_LAB_BROKEN(HF_LAB_NO_GRACE_KEPT))
        sync_zap_settled(vnode);
    return rc;
}

const struct sync_engine sync_srcu = {
    .name = "srcu",
    .enter = begin_section,
    .leave = end_section,
    .zapped = srcu_zapped,
    .scan = counts_scan,
    .freeze = counts_freeze,
    .before_wait = slots_before_wait,
};
