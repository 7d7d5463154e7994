/* SPDX-License-Identifier: MIT */
/* The fast path of a pin: P1 to P4, on present pages. No lock, no allocation, no system call. */
#ifndef HF_DAX_PIN_FAST_H
#define HF_DAX_PIN_FAST_H

#include "base/fork.h"
#include "dax/dax.h"
#include "mm/mm.h"
#include "sync/slots.h"

#include <errno.h>

#define DAX_PIN_TOUCHERS HF_PIN_GPU /* the bits that say who touches the memory */
#define DAX_PIN_HOLD UINT64_C(1)    /* in hf_opaque[0]: the key word is a hold's, not a slot's */

/* P3 for one page: where it lies; null: missing. Entries lead only to blocks below limit_bytes, but this
 * process may not have mapped yet what the pool has grown by. */
static inline char *dax_walk_page(const struct dax *dax, const struct shm_vnode *vnode, uint64_t page)
{
    unsigned level = 0;
    /* ENTRY.PUB/p */
    uint64_t entry = mm_lookup(dax->shm, hf_load_acquire(&vnode->root), page, &level);
    uint64_t at = (entry >> MM_SHIFT) * HF_BLOCK_BYTES;

    if (level)
        at += page % MM_HUGE_PAGES * HF_BLOCK_BYTES;
    /* relaxed: only grows */
    if (!(entry & MM_PRESENT) || at >= hf_load_relaxed(&dax->media.mapped_bytes))
        return NULL;
    return dax->media.base + at;
}

static inline void dax_fill_pin(struct hf_pin *pin, struct shm *shm, uint64_t *word, uint64_t key,
                                uint64_t tag)
{
    pin->hf_opaque[0] = (uint64_t)(uintptr_t)word | tag;
    pin->hf_opaque[1] = key;
    pin->hf_opaque[2] = (uint64_t)(uintptr_t)shm;
}

/* The commonest pin of all, as straight as it can be: bytes of one page, the slot of the last pin free,
 * not in a signal handler. False: nothing is held, ask dax_pin_fast(), which also does U2 and U3 for a slot
 * that is let go here. Calls nothing, so that its caller needs little stack. */
static inline bool dax_pin_page(struct dax *dax, struct shm_vnode *vnode, uint64_t off, uint64_t len,
                                uint32_t flags, struct iovec *iov, struct hf_pin *pin)
{
    struct shm *shm = dax->shm;
    struct shm_lane *lane = shm_last_lane.lane;
    uint64_t page = off / HF_BLOCK_BYTES, key, *word;
    uint32_t slot;
    char *at;

    if (__builtin_expect(!shm_lane_is_last(shm), 0)) /* nor is it in a forked child */
        return false;
    if (__builtin_expect(lane->nest, 0))
        return false;
    lane->nest = 1;
    hf_fence_light();
    slot = lane->hint;
    word = &lane->keys[slot];
    if (__builtin_expect(hf_load_relaxed(word) != 0, 0)) { /* relaxed: only we fill it */
        lane->nest = 0;
        return false;
    }
    key = slots_publish(lane, slot, vnode, page, page, flags);
    if (__builtin_expect(slots_order(lane, vnode), 0))
        goto leave;
    at = dax_walk_page(dax, vnode, page);
    /* SIZE.PUB/p: relaxed: a pin of bytes behind end of file is a mistake that may be found late */
    if (__builtin_expect(!at || off + len > hf_load_relaxed(&vnode->size), 0))
        goto leave;
    hf_fence_light();
    lane->nest = 0;
    iov->iov_base = at + off % HF_BLOCK_BYTES;
    iov->iov_len = len;
    dax_fill_pin(pin, shm, word, key, 0);
    return true;
leave: /* P4 */
    hf_store_release(word, UINT64_C(0));
    hf_fence_light();
    lane->nest = 0;
    return false;
}

/* Any pin that the fast path can do. The number of pieces; MM_MISS: the slow path has to do it; -E2BIG.
 * The arguments are good. */
int dax_pin_fast(struct dax *dax, struct shm_vnode *vnode, uint64_t off, uint64_t len, uint32_t flags,
                 struct iovec *iov, int iovcnt, struct hf_pin *pin);

/* Letting go of what is no slot, no live one, or not this process's; and U3 when somebody waits. */
int dax_unpin_odd(struct hf_pin *pin);
int dax_unpin_wake(struct shm *shm, struct shm_vnode *vnode);

/* U1 to U3 of a slot. */
static inline int dax_unpin_fast(struct hf_pin *pin)
{
    struct shm *shm = (struct shm *)(uintptr_t)pin->hf_opaque[2];
    uint64_t *word = (uint64_t *)(uintptr_t)pin->hf_opaque[0], key = pin->hf_opaque[1];
    struct shm_vnode *vnode;

    /* relaxed: the slot is ours, or it is not */
    if (__builtin_expect(!shm || (uintptr_t)word & DAX_PIN_HOLD || !shm->id || /* 0: in a forked child */
                             hf_load_relaxed(word) != key, 0))
        return dax_unpin_odd(pin);
    vnode = &shm->vnodes[(key & SHM_KEY_VNODE_MASK) - 1];
    if (__builtin_expect(slots_leave_quietly(vnode, word), 0))
        return dax_unpin_wake(shm, vnode);
    return 0;
}

#endif
