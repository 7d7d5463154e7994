/* SPDX-License-Identifier: MIT */
/*
 * Count, then read the entry again: what get_user_pages_fast and dax_layout_busy_page do in the
 * kernel.
 *
 * A: the walk counts, fences, reads the entry again; the change zaps, fences, reads the count. One
 * of them sees the other: the walk takes its count back, or the change finds the pin. Both may:
 * then the change waits for a moment, and the walk's counts_down() wakes it. F: a walk that is
 * still in freed nodes may read an entry of another file, and count that file's block. Its second
 * look begins at the root, finds that the entry is not its page's, and it takes the count back.
 */
#include "sync/counts.h"
#include "sync/engine.h"

static int refcount_zapped(struct shm *shm, struct shm_vnode *vnode, bool cleared)
{
    (void)shm;
    if (!sync_zap_pending(vnode, cleared))
        return 0;
    /* COUNT.SB/m: the zap must be visible before the counts are read. Pairs with COUNT.SB/p in
     * counts_up_unless_frozen(). */
    hf_fence_full();
    sync_zap_settled(vnode);
    return 0;
}

const struct sync_engine sync_refcount = {
    .name = "refcount",
    .looks_again = true,
    .zapped = refcount_zapped,
    .scan = counts_scan,
    .freeze = counts_freeze,
    .before_wait = slots_before_wait,
};
