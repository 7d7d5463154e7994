/* SPDX-License-Identifier: MIT */
/* The fast path of a pin: P1 to P4, on present pages. No lock, no allocation, no system call. */
#ifndef HF_DAX_PIN_FAST_H
#define HF_DAX_PIN_FAST_H

#include "base/fork.h"
#include "dax/dax.h"
#include "dax/handle.h"
#include "mm/mm.h"
#include "sync/slots.h"

#include <errno.h>

/* P3 for one page: its address; null: it is missing. Entries lead only to blocks below limit_bytes,
 * but this process may not have mapped yet what the pool has grown by. */
static inline char *dax_walk_page(const struct dax *dax, const struct shm_vnode *vnode,
                                  uint64_t page, uint64_t absent)
{
    /* ENTRY.PUB/p */
    uint64_t entry = mm_lookup(dax->shm, hf_load_acquire(&vnode->root), page);
    uint64_t at = entry & ~MM_FLAGS;

    if (__builtin_expect(entry & MM_HUGE, 0))
        at += page % MM_HUGE_PAGES * HF_BLOCK_BYTES;
    /* relaxed: only grows */
    if ((entry & (MM_PRESENT | absent)) != MM_PRESENT ||
        at >= hf_load_relaxed(&dax->media.mapped_bytes))
        return NULL;
    return dax->media.base + at;
}

enum dax_page_pin { DAX_PAGE_NOT, DAX_PAGE_LEFT, DAX_PAGE_HELD };

/* The most common pin, as a straight line. It has bytes of one page, finds the slot of the last pin
 * free, and is not in a signal handler. DAX_PAGE_NOT: nothing was tried. DAX_PAGE_LEFT: the page
 * was missing or past end of file, and U3, slots_wake(), is left to the caller. After both, the
 * caller goes on with dax_pin_fast(). The line calls no function, and reads *flags back from the
 * slot when it needs them again, so that its caller needs hardly any stack. `absent` is a constant:
 * MM_READONLY for flags of DAX_PIN_OWNS, else 0. */
static inline __attribute__((always_inline)) enum dax_page_pin dax_pin_page(
    struct dax *dax, struct shm_vnode *vnode, uint64_t off, uint64_t len, uint32_t *flags,
    uint64_t absent, struct iovec *iov, struct hf_pin *pin)
{
    struct shm *shm = dax->shm;
    const struct shm_lane_of_thread *mine = shm_last_lane;
    uint64_t page = off / HF_BLOCK_BYTES, key, *word;
    struct shm_lane *lane;
    uint32_t slot;
    char *at;

    if (__builtin_expect(mine->shm != shm, 0) || /* nor is it in a forked child */
        HF_LAB_BROKEN(HF_LAB_LATE_PUBLISH | HF_LAB_STEPS))
        return DAX_PAGE_NOT;
    lane = mine->lane;
    slot = slots_begin(lane);
    word = slots_word(lane->keys, slot);
    if (__builtin_expect(hf_load_acquire(word) != 0, 0)) { /* UNPIN.DONE/p, as in slots_pick() */
        slots_end(lane, slot);
        return DAX_PAGE_NOT;
    }
    key = slots_key(lane, vnode, *flags);
    slots_publish(lane, slot, key, page, page);
    if (__builtin_expect(slots_order(lane, vnode), 0))
        goto leave;
    at = dax_walk_page(dax, vnode, page, absent);
    /* SIZE.PUB/p: the bytes below the size are as the thread that raised it left them.
     * Pairs with SIZE.PUB/m where the size is stored (src/fs). Without it: old bytes past end of
     * file. */
    if (__builtin_expect(!at || off + len > hf_load_acquire(&vnode->size), 0))
        goto leave;
    slots_end(lane, slot);
    iov->iov_base = at + off % HF_BLOCK_BYTES;
    iov->iov_len = len;
    dax_fill_pin(pin, shm, word, key, 0);
    return DAX_PAGE_HELD;
leave:                                             /* P4; U3 is wake_left() */
    *flags = SHM_KEY_FLAGS(hf_load_relaxed(word)); /* relaxed: ours */
    slots_leave(vnode, word);
    slots_end(lane, slot);
    return DAX_PAGE_LEFT;
}

/* Any pin that the fast path can do. Returns the number of pieces; MM_MISS: the slow path has to do
 * it; -E2BIG. The arguments are good. */
int dax_pin_fast(struct dax *dax, struct shm_vnode *vnode, const struct dax_request *request,
                 struct hf_pin *pin);

/* The first unpins anything but a live slot of the thread's own lane; the second is U3 when a
 * layout change waits. */
int dax_unpin_odd(struct hf_pin *pin);
int dax_unpin_wake(struct shm *shm, const uint64_t *word, uint64_t key);

/* The key word is in the lane that this thread has used last. That is false for holds, for null
 * pins, and for pins that a forked child has from its parent. A thread that has used no lane yet
 * has one without pins in its place. */
static inline bool dax_own_slot(const uint64_t *word)
{
    return (uintptr_t)word - (uintptr_t)shm_last_lane->lane < sizeof(struct shm_lane);
}

/* U1 to U3 of a slot. */
static inline int dax_unpin_fast(struct hf_pin *pin)
{
    uint64_t *word = (uint64_t *)(uintptr_t)pin->hf_opaque[0], key = pin->hf_opaque[1];
    const struct shm_vnode *vnode;
    struct shm *shm;

    /* relaxed: the pin is this thread's, or is not live */
    if (__builtin_expect(!dax_own_slot(word) || hf_load_relaxed(word) != key, 0))
        return dax_unpin_odd(pin);
    shm = (struct shm *)(uintptr_t)pin->hf_opaque[2];
    vnode = shm_vnode_near_key(shm, key);
    if (__builtin_expect(slots_leave(vnode, word), 0))
        return dax_unpin_wake(shm, word, key);
    return 0;
}

#endif
