/* SPDX-License-Identifier: MIT */
/* The layout-change side of pins that are counts. */
#include "sync/counts.h"

#include "sync/engine.h"

void counts_thaw(struct shm *shm, uint64_t block)
{
    if (block < shm->limits.counts)
        hf_cas_acq_rel(&shm->counts[block], 0u, 1u);
}

void counts_up_locked(struct shm *shm, uint64_t block)
{
    counts_thaw(shm, block);
    counts_up(shm, block);
}

/* Walks that come too late raise a count for a moment and lower it again: hence the loop. */
static bool freeze(uint32_t *word)
{
    uint32_t was;

    do {
        /* COUNT.DONE/m: acquire what the last holder did, also by the swap. Pairs with COUNT.DONE/p
         * in counts_down(). */
        was = hf_load_acquire(word);
        if (COUNTS_PINS(was) > 1)
            return false;
    } while (was && !hf_cas_acq_rel(word, was, 0u));
    return true;
}

uint32_t *counts_freeze(struct shm *shm, uint64_t block, uint64_t count)
{
    for (uint64_t i = 0; i < count && block + i < shm->limits.counts; i++)
        if (!freeze(&shm->counts[block + i]))
            return &shm->counts[block + i];
    return NULL;
}

uint32_t counts_wait(uint32_t *word)
{
    /* COUNT.WAKE/m: one step says that we wait and reads how many hold. Pairs with COUNT.WAKE/p in
     * counts_down(). Without it: the last holder goes between the two, and nobody wakes us. */
    uint32_t now = hf_or_acq_rel(word, COUNTS_WAITED) | COUNTS_WAITED;

    return COUNTS_PINS(now) > 1 ? now : 0;
}

void counts_wait_ends(uint32_t *word)
{
    hf_and_acq_rel(word, ~COUNTS_WAITED);
}

int counts_scan(struct shm *shm, uint32_t vnode, uint64_t first, uint64_t last, sync_found *found,
                void *arg)
{
    (void)shm, (void)vnode, (void)first, (void)last, (void)found, (void)arg;
    return 0;
}
