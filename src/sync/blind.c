/* SPDX-License-Identifier: MIT */
/* Slots, and a layout change that does not look at them. Stores that trust time-outs work in this
 * way. In lab builds only: the demo shows the corruption, the benchmark what a look costs. */
#include "sync/engine.h"

static int blind_zapped(struct shm *shm, struct shm_vnode *vnode, bool cleared)
{
    (void)shm, (void)vnode, (void)cleared;
    return 0;
}

static int blind_scan(struct shm *shm, uint32_t vnode, uint64_t first, uint64_t last,
                      sync_found *found, void *arg)
{
    (void)shm, (void)vnode, (void)first, (void)last, (void)found, (void)arg;
    return 0;
}

const struct sync_engine sync_blind = {
    .name = "blind",
    .zapped = blind_zapped,
    .scan = blind_scan,
    .before_wait = slots_before_wait,
};
