/* SPDX-License-Identifier: MIT */
/*
 * The pin side of the slots engines, inline because it is all that a pin costs. The proof of the
 * protocol is in docs/ORDERING.md; its steps P1, P2, U1..U3 stand here, L3..L5 in slots.c.
 */
#ifndef HF_SYNC_SLOTS_H
#define HF_SYNC_SLOTS_H

#include "base/fence.h"
#include "base/futex.h"
#include "base/lab.h"
#include "shm/shm.h"

#define SLOTS_OWN (SHM_SLOTS - SHM_SIGNAL_SLOTS)
/* Of so many unbiased pins one looks whether the bias may come back. */
#define SLOTS_REBIAS_LOOK 64u

/* Gives the file its bias back when layout changes have been away for long enough. */
void slots_rebias(struct shm *shm, struct shm_vnode *vnode);

/* A slot that nobody else will take: SHM_SLOTS when there is none. A signal handler that interrupts
 * a library call of its own thread (nest > 0) takes from slots that the interrupted call never
 * looks at; handlers nest, so a compare-and-swap there settles the rest. */
static inline uint32_t slots_pick(struct shm_lane *lane, uint32_t nest)
{
    uint32_t hint = hf_load_relaxed(&lane->hint); /* relaxed: a hint */

    if (__builtin_expect(nest > 0, 0)) {
        for (uint32_t i = SLOTS_OWN; i < SHM_SLOTS; i++)
            if (!hf_load_relaxed(&lane->keys[i]) && /* relaxed: the swap decides */
                hf_cas_acq_rel(&lane->keys[i], UINT64_C(0), SHM_KEY_CLAIMED))
                return i;
        return SHM_SLOTS;
    }
    if (__builtin_expect(!hf_load_relaxed(&lane->keys[hint]), 1)) /* relaxed: only we fill it */
        return hint;
    for (uint32_t i = 0; i < SLOTS_OWN; i++)
        if (!hf_load_relaxed(&lane->keys[i])) { /* relaxed: likewise */
            hf_store_relaxed(&lane->hint, i);
            return i;
        }
    return SHM_SLOTS;
}

/* P1 and P2: publishes the range in slot `slot` of the thread's own lane; returns the key. */
static inline uint64_t slots_enter(struct shm *shm, struct shm_lane *lane, uint32_t slot,
                                   struct shm_vnode *vnode, uint64_t first, uint64_t last,
                                   uint32_t flags)
{
    uint64_t generation = ++lane->generation;
    uint64_t key = generation << SHM_KEY_VNODE_BITS | (shm_vnode_index(shm, vnode) + 1);
    struct shm_range *range = &lane->ranges[slot];

    /* relaxed: published by the key */
    hf_store_relaxed(&range->first, first);
    hf_store_relaxed(&range->last, last);
    hf_store_relaxed(&range->flags, flags);
    hf_store_relaxed(&range->tid, lane->tid);
    /* SLOT.PUB/p: the range is visible before the key that says it counts.
     * Pairs with SLOT.PUB/m in slots_scan(). Without it: the scan compares an old range. */
    hf_store_release(&lane->keys[slot], key);
    /* PIN.SB/p: the slot must be visible before the entries are read. While the bias is set the heavy
     * barrier of the layout change sees to that.
     * Pairs with PIN.SB/m in slots_zapped(). Without it: the scan finds no slot and the walk reads an
     * old entry, and the block is reused under the pin. */
    hf_fence_light();
    if (!hf_load_acquire(&vnode->bias) && !HF_LAB_BROKEN(HF_LAB_NO_PIN_FENCE)) {
        hf_fence_full();
        if (++lane->fenced % SLOTS_REBIAS_LOOK == 0)
            slots_rebias(shm, vnode);
    }
    return key;
}

/* U2 and U3. Async-signal-safe. */
static inline void slots_wake(struct shm *shm, struct shm_vnode *vnode)
{
    uint32_t waiters;

    /* UNPIN.WAKE/p: the empty slot must be visible before waiters is read; the heavy barrier in
     * slots_before_wait() sees to that.
     * Pairs with UNPIN.WAKE/m there. Without it: the layout change sleeps on a pin that has gone. */
    hf_fence_light();
    waiters = hf_load_acquire(&vnode->waiters);

    if (__builtin_expect(waiters & SHM_WAITS, 0)) {
        hf_add_acq_rel(&vnode->drain_seq, 1);
        hf_futex_wake_all(&vnode->drain_seq);
    }
    if (__builtin_expect(waiters & SHM_DETACHED, 0))
        hf_store_release(&shm->run->collect, 1u);
}

/* U1 to U3, on the vnode that the key names. Async-signal-safe, from any thread. */
static inline void slots_leave(struct shm *shm, struct shm_vnode *vnode, uint64_t *key)
{
    /* UNPIN.DONE/p: what the holder did comes before the slot is seen empty.
     * Pairs with UNPIN.DONE/m in slots_scan(). Without it: the block is reused while the
     * holder's last accesses are still on their way. */
    hf_store_release(key, UINT64_C(0));
    slots_wake(shm, vnode);
}

#endif
