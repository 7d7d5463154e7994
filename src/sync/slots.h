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

#define SLOTS_OWN (SHM_FAR_MARK - SHM_SIGNAL_SLOTS)
/* After so many unbiased pins a thread looks whether the bias may come back. */
#define SLOTS_REBIAS_LOOK 64u

/* Gives the file its bias back when layout changes have been away for long enough. */
void slots_rebias(struct shm *shm, struct shm_lane *lane, struct shm_vnode *vnode);

/* Taking a slot begins with slots_begin() and ends with slots_end(). A signal handler that
 * interrupts its own thread in between finds the hint busy. */
static inline uint32_t slots_begin(struct shm_lane *lane)
{
    uint32_t hint = lane->hint;

    hf_store_own(&lane->hint, (uint8_t)SHM_SLOTS); /* SEEN.ALL/p: before the generation is raised */
    hf_fence_light();
    return hint;
}

static inline void slots_end(struct shm_lane *lane, uint32_t hint)
{
    hf_fence_light();
    /* SEEN.ALL/p: the key was stored before. Pairs with SEEN.ALL/m in read_lane(). Without it: a
     * look finds that no slot is being taken, and leaves out a lane with a live pin. */
    hf_store_own(&lane->hint, (uint8_t)hint);
}

/* A slot that no other call will take; SHM_SLOTS: there is none. A signal handler that interrupts
 * the taking of one finds the hint busy. It takes from slots that the interrupted call never looks
 * at. Handlers nest, so a compare-and-swap there settles the rest. UNPIN.DONE/p: the free key is
 * acquired, so that what the last holder did is handed on with the next. */
static inline uint32_t slots_pick(struct shm_lane *lane, uint32_t hint)
{
    if (hint == SHM_SLOTS) {
        for (uint32_t i = SLOTS_OWN; i < SHM_FAR_MARK; i++) {
            if (!hf_load_acquire(&lane->keys[i]) &&
                hf_cas_acq_rel(&lane->keys[i], UINT64_C(0), SHM_KEY_CLAIMED))
                return i;
        }
        return SHM_SLOTS;
    }
    if (hint < SHM_SLOTS && !hf_load_acquire(&lane->keys[hint]))
        return hint;
    for (uint32_t i = 0; i < SLOTS_OWN; i++)
        if (!hf_load_acquire(&lane->keys[i]))
            return i;
    return SHM_SLOTS;
}

/* One of those for devices; not in a signal handler that finds the hint busy. FAR.MARK/p: the mark
 * is stored before the key. Both are before P2, so a look that has to see the key sees the mark.
 * It stays as long as its thread, so any pin of the thread may go where a hint leads that was there
 * once. Pairs with FAR.MARK/m in slots_to_read(). Without it: the look leaves the slot out. */
static inline uint32_t slots_pick_far(struct shm_lane *lane)
{
    for (uint32_t i = SHM_NEAR_SLOTS; i < SHM_SLOTS; i++)
        if (!hf_load_acquire(&lane->keys[i])) { /* UNPIN.DONE/p, as in slots_pick() */
            if (!HF_LAB_BROKEN(HF_LAB_UNMARKED))
                hf_store_release(&lane->keys[SHM_FAR_MARK], SHM_KEY_CLAIMED);
            return i;
        }
    return SHM_SLOTS;
}

/* A slot for a pin with these flags, as slots_pick(). */
static inline uint32_t slots_pick_for(struct shm_lane *lane, uint32_t hint, uint32_t flags)
{
    uint32_t slot = slots_pick(lane, hint);

    return slot == SHM_SLOTS && hint != SHM_SLOTS && SHM_FOR_DEVICE(flags) ? slots_pick_far(lane)
                                                                           : slot;
}

/* Not a signal handler's. */
static inline bool slots_is_own(size_t slot)
{
    return slot < SLOTS_OWN || (slot >= SHM_NEAR_SLOTS && slot < SHM_SLOTS);
}

/* The hint to end with when `slot` was picked. */
static inline uint32_t slots_next_hint(uint32_t hint, uint32_t slot)
{
    return hint != SHM_SLOTS && slots_is_own(slot) ? slot : hint;
}

/* The round of a thread that has used slots for devices goes on there after the own ones. Own slot
 * 0 is tried, or else the one after the hint. False: neither is free. */
static inline bool slots_seek_far(struct shm_lane *lane, uint32_t hint)
{
    uint32_t at = hint < SLOTS_OWN ? SHM_NEAR_SLOTS : hint + 1;

    if (!hf_load_acquire(&lane->keys[0])) /* UNPIN.DONE/p, as in slots_pick() */
        at = 0;
    else if (at == SHM_SLOTS || hf_load_acquire(&lane->keys[at]))
        return false;
    hf_store_own(&lane->hint, (uint8_t)at);
    return true;
}

/* Leads the hint to a free slot, if there is one: for a pin that goes only where it leads. Such
 * pins mostly end in the order in which they began, so the slots are tried in a round. A signal
 * handler that comes in between may take that slot, and then the pin finds it taken. One that
 * interrupts the taking of a slot finds the hint busy, and leaves it. */
static inline void slots_seek(struct shm_lane *lane, uint32_t flags)
{
    uint32_t hint = lane->hint, at = hint < SLOTS_OWN ? hint : 0;

    if (hint >= SHM_SLOTS || !hf_load_acquire(&lane->keys[hint]))
        return;
    if (hint >= SLOTS_OWN - 1 && SHM_FOR_DEVICE(flags) &&
        hf_load_relaxed(&lane->keys[SHM_FAR_MARK]) && /* relaxed: only this thread sets it */
        slots_seek_far(lane, hint))
        return;
    for (uint32_t i = 0; i < SLOTS_OWN; i++) {
        at = at + 1 < SLOTS_OWN ? at + 1 : 0;
        if (!hf_load_acquire(&lane->keys[at])) {
            hf_store_own(&lane->hint, (uint8_t)at);
            return;
        }
    }
    if (SHM_FOR_DEVICE(flags) && (at = slots_pick_far(lane)) < SHM_SLOTS)
        hf_store_own(&lane->hint, (uint8_t)at);
}

/* Word `slot`. A wrong hint leads past the array, but not out of the segment; see shm_lane. So the
 * bounds of the array are not looked at. */
static inline uint64_t *slots_word(uint64_t *words, uint64_t slot)
{
    return words + slot;
}

/* What is computed from x is computed again, instead of being kept in a register that the function
 * would have to save. */
#define SLOTS_AGAIN(x) __asm__("" : "+r"(x))

/* P1: publishes the range in a slot of the thread's own lane, with these words for pages and key,
 * under `key`, a new one. */
static inline void slots_publish_words(uint64_t *pages, uint64_t *word, uint64_t key,
                                       uint64_t first, uint64_t last)
{
    /* Release: a scan that sees this range has what was handed on with the slot. */
    hf_store_release(pages, SHM_PAGES(first, last));
    /* SLOT.PUB/p: the range is visible before the key that says it counts.
     * Pairs with SLOT.PUB/m in slots_scan(). Without it: the scan compares an old range. */
    hf_store_release(word, key);
}
static inline void slots_publish(struct shm_lane *lane, uint32_t slot, uint64_t key, uint64_t first,
                                 uint64_t last)
{
    slots_publish_words(slots_word(lane->pages, slot), slots_word(lane->keys, slot), key, first,
                        last);
}

/* The lane of a slot's key word. */
static inline const struct shm_lane *slots_lane_of(const struct shm *shm, const uint64_t *word)
{
    size_t at = (size_t)((const char *)word - (const char *)shm->lanes);

    return &shm->lanes[at / sizeof *shm->lanes];
}

/* A key for one of the lane's own slots, of a pin with `what`: shm_key() without a generation. */
static inline uint64_t slots_key(struct shm_lane *lane, uint64_t what)
{
    /* SEEN.ALL/p: raised after the hint became busy, and before the key is stored. */
    hf_add_own(&lane->generation, SHM_KEY_STEP);
    hf_fence_light(); /* else the sum would be kept in a register, which takes more instructions */
    return what + lane->generation;
}

/* A key for any slot. Handlers nest: those of their slots are counted apart, and atomically. */
static inline uint64_t slots_key_of(struct shm_lane *lane, uint32_t slot,
                                    const struct shm_vnode *vnode, uint32_t flags)
{
    if (slots_is_own(slot))
        return slots_key(lane, shm_key(0, flags, (uint32_t)vnode->index));
    return shm_key(hf_add_acq_rel(&lane->signal_generation, SHM_KEY_STEP) + SHM_KEY_STEP, flags,
                   vnode->index);
}

/* The lane's mark in the file is not set: sets it, and fences. Async-signal-safe. */
void slots_mark(const struct shm_lane *lane, struct shm_vnode *vnode);

/* P2, after P1 and before the walk. True: this thread has fenced for long, and slots_rebias() is
 * due; or slots_be_marked() is. */
static inline bool slots_order(struct shm_lane *lane, const struct shm_vnode *vnode)
{
    /* PIN.SB/p: the slot must be visible before the entries are read. While the bias is set the
     * heavy barrier of the layout change sees to that. Pairs with PIN.SB/m in slots_zapped().
     * Without it: the scan finds no slot and the walk reads an old entry, and the block is reused
     * under the pin. */
    hf_fence_light();
    if (__builtin_expect(!hf_is_zero(&vnode->bias), 1))
        return false; /* MARK.BIAS/p: read after the key was stored; no mark is set */
    if (!HF_LAB_BROKEN(HF_LAB_NO_PIN_FENCE)) {
        hf_fence_full();
        HF_LAB_FENCED(true);
    }
    /* MARK.KEEP/p: the key is visible before the mark is read. Pairs with MARK.KEEP/m in
     * clear_marks(). Without it: the mark is read before a look clears it, the look finds no key,
     * and no later one reads this lane. */
    if (__builtin_expect(!hf_load_acquire(shm_mark(vnode, lane->mark)), 0))
        return true;
    return ++lane->fenced >= SLOTS_REBIAS_LOOK;
}

/* The rest of P2, where the straight line has ended: a pin without bias has its lane marked before
 * it walks. */
static inline void slots_be_marked(const struct shm_lane *lane, struct shm_vnode *vnode)
{
    if (!hf_load_acquire(shm_mark(vnode, lane->mark)) && !hf_load_acquire(&vnode->bias))
        slots_mark(lane, vnode);
}

/* U3, when `waiters` of U2 is not 0: wakes changes that wait for pages [first, last].
 * Async-signal-safe. */
void slots_wake(struct shm *shm, struct shm_vnode *vnode, uint64_t first, uint64_t last);
/* The same for a slot that had `key` and has been released: rather needlessly than not at all. */
void slots_wake_slot(struct shm *shm, struct shm_vnode *vnode, const uint64_t *word, uint64_t key);
/* The pages of the pin of `key`, after its slot was released; all pages where that is not known any
 * more. */
void slots_pages_left(const struct shm *shm, const uint64_t *word, uint64_t key, uint64_t *first,
                      uint64_t *last);

/* U1 and U2, on the vnode that the key names. True: slots_wake() is due. Async-signal-safe. For a
 * slot of the caller's own lane: no other thread puts the next pin there between its look at the
 * key and this store. */
static inline bool slots_leave(const struct shm_vnode *vnode, uint64_t *word)
{
    /* UNPIN.DONE/p: what the holder did comes before the slot is seen empty.
     * Pairs with UNPIN.DONE/m in slots_scan(). Without it: the block is reused while the
     * holder's last accesses are still on their way. */
    hf_store_release(word, UINT64_C(0));
    /* UNPIN.WAKE/p: the empty slot must be visible before waiters is read; the heavy barrier in
     * slots_before_wait() sees to that.
     * Pairs with UNPIN.WAKE/m there. Without it: the layout change sleeps on a pin that has
     * gone. */
    hf_fence_light();
    return !hf_is_zero(&vnode->waiters);
}

/* The same from any thread. False: the slot has another key, perhaps of a newer pin. */
static inline bool slots_leave_elsewhere(const struct shm_vnode *vnode, uint64_t *word,
                                         uint64_t key, uint32_t *waiters)
{
    if (!hf_cas_acq_rel(word, key, UINT64_C(0))) /* UNPIN.DONE/p, as in slots_leave() */
        return false;
    hf_fence_light(); /* UNPIN.WAKE/p, as in slots_leave() */
    *waiters = hf_load_acquire(&vnode->waiters);
    return true;
}

#endif
