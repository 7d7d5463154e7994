/* SPDX-License-Identifier: MIT */
/*
 * The engine without a protocol, as the kernel was before 2018. The walk counts, the change looks
 * at the counts, and nothing makes one of them see the other. A walk that has read an entry and not
 * counted yet is missed. Wrong on purpose, in lab builds only: the torture must catch it, the
 * benchmark shows what the others pay.
 */
#include "base/lab.h"
#include "sync/counts.h"
#include "sync/engine.h"

static int unpatched_zapped(struct shm *shm, struct shm_vnode *vnode, bool cleared)
{
    (void)shm, (void)cleared;
    sync_zap_settled(vnode);
    return 0;
}

const struct sync_engine sync_unpatched = {
    .name = "unpatched",
    .zapped = unpatched_zapped,
    .scan = counts_scan,
    .freeze = counts_freeze,
    .before_wait = slots_before_wait,
};
