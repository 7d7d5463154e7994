/* SPDX-License-Identifier: MIT */
/* Slots with a bias that comes with the first layout change and stays: pins fence no more, and each
 * layout change pays a heavy barrier. In lab builds only: it is what the bias is measured
 * against. */
#include "sync/slots.h"

#include "sync/engine.h"

static int always_barrier(struct shm *shm, struct shm_vnode *vnode, bool cleared)
{
    if (!sync_zap_pending(vnode, cleared))
        return 0;
    hf_store_release(&vnode->bias, 1u); /* at any time: every change makes the barrier */
    sync_heavy_barrier(shm);            /* PIN.SB/m */
    sync_zap_settled(vnode);
    return 0;
}

const struct sync_engine sync_slots_membarrier = {
    .name = "slots-membarrier",
    .needs_barrier = true,
    .zapped = always_barrier,
    .scan = slots_scan,
    .before_wait = slots_before_wait,
};
