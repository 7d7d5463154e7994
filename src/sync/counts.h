/* SPDX-License-Identifier: MIT */
/*
 * Pins as counts, for all engines but the slots ones: a word a block.
 *
 *     0       frozen: no entry leads to the block, and it is not pinned
 *     1 + n   entries may lead to it, and n pins hold it
 *     WAITED  with either: a layout change sleeps on the word itself, which is a futex
 *
 * A block thaws when an entry for it is filled or comes back, or a pin is taken, under the file's
 * layout mutex. The layout change that finds it unpinned freezes it. It stays frozen when that
 * change gives up and no entry leads to it. So a late walk that counts only what is not frozen is
 * never taken for a pin of the block's next file. And a walk that finds an entry never counts from
 * 0.
 */
#ifndef HF_SYNC_COUNTS_H
#define HF_SYNC_COUNTS_H

#include "base/fence.h"
#include "base/futex.h"
#include "shm/shm.h"

#define COUNTS_WAITED (UINT32_C(1) << 31)
#define COUNTS_PINS(word) ((word) & ~COUNTS_WAITED) /* more than 1: pinned */

/* One pin more, of a block that cannot be frozen now.
 * COUNT.DONE/p: acquire, so that what the last holder did is handed on.
 * THAW.PUB/p: after the load of the entry. Pairs with THAW.PUB/m in install_one() and
 * mm_put_root(). Without it: the pin is counted from 0, and the next layout change takes it for
 * none. */
static inline void counts_up(struct shm *shm, uint64_t block)
{
    hf_add_acq_rel(&shm->counts[block], 1);
}

/* One pin more, unless the block is frozen. A full fence when it was not. */
static inline bool counts_up_unless_frozen(struct shm *shm, uint64_t block)
{
    uint32_t *word = &shm->counts[block],
             was = hf_load_relaxed(word); /* relaxed: the swap decides */

    while (COUNTS_PINS(was)) {
        if (hf_cas_acq_rel(word, was, was + 1)) {
            /* COUNT.SB/p: the count must be visible before the entry is read again.
             * Pairs with COUNT.SB/m in refcount_zapped(). Without it: the change sees no count and
             * the second look sees the old entry. */
            hf_fence_after_rmw();
            return true;
        }
        was = hf_load_relaxed(word); /* relaxed: as above */
    }
    return false;
}

/* One pin less, from any thread; wakes a change that waits for the last. Async-signal-safe. */
static inline void counts_down(struct shm *shm, uint64_t block)
{
    /* COUNT.DONE/p: what the holder did comes before the count is seen lower.
     * Pairs with COUNT.DONE/m in counts_freeze(). Without it: the block is reused while the
     * holder's last accesses are still on their way. */
    uint32_t was = hf_sub_acq_rel(&shm->counts[block], 1);

    /* COUNT.WAKE/p: one word says both, so either the change saw the lower count or we see its
     * flag. Pairs with COUNT.WAKE/m in counts_wait(). */
    if (__builtin_expect(was & COUNTS_WAITED && COUNTS_PINS(was) <= 2, 0))
        hf_futex_wake_all(&shm->counts[block]);
}

/* --- under the layout mutex of the block's file --- */

/* An entry for the block is about to be filled. */
void counts_thaw(struct shm *shm, uint64_t block);
/* One pin more, frozen or not. */
void counts_up_locked(struct shm *shm, uint64_t block);
/* L5: from now on the last unpin wakes. Returns the value to sleep on; 0: nobody holds the block
 * any more. */
uint32_t counts_wait(uint32_t *word);
/* The sleep is over, however it ended. */
void counts_wait_ends(uint32_t *word);

#endif
