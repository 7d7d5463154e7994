/* SPDX-License-Identifier: MIT */
/* The fast path of a pin: P1 to P4, on present pages. No lock, no allocation, no system call. */
#ifndef HF_DAX_PIN_FAST_H
#define HF_DAX_PIN_FAST_H

#include "dax/dax.h"
#include "mm/mm.h"
#include "sync/slots.h"

#include <errno.h>

#define DAX_PIN_TOUCHERS HF_PIN_GPU /* the bits that say who touches the memory */
#define DAX_PIN_HOLD UINT64_C(1)    /* in hf_opaque[0]: the key word is a hold's, not a slot's */

/* P3. Entries lead only to blocks below limit_bytes, but this process may not have mapped what the pool
 * has grown by. */
static inline int dax_walk(const struct dax *dax, const struct shm_vnode *vnode, uint64_t first,
                           uint64_t last, struct mm_pieces *pieces)
{
    const char *end;
    unsigned level;
    uint64_t entry;
    int count;

    /* ENTRY.PUB/p and SIZE.PUB/p */
    uint64_t root = hf_load_acquire(&vnode->root);

    if (__builtin_expect(first == last, 1)) {
        entry = mm_lookup(dax->shm, root, first, &level);
        if (!(entry & MM_PRESENT))
            return MM_MISS;
        entry = (entry >> MM_SHIFT) + (level ? first % MM_HUGE_PAGES : 0);
        pieces->iov[0].iov_base = dax->media.base + entry * HF_BLOCK_BYTES;
        pieces->iov[0].iov_len = HF_BLOCK_BYTES;
        count = pieces->count = 1;
    } else {
        count = mm_walk(dax->shm, dax->media.base, root, first, last, pieces);
    }
    end = dax->media.base + hf_load_relaxed(&dax->media.mapped_bytes); /* relaxed: only grows */
    for (int i = 0; i < count; i++)
        if (__builtin_expect((char *)pieces->iov[i].iov_base + pieces->iov[i].iov_len > end, 0))
            return MM_MISS;
    return count;
}

/* The number of pieces; MM_MISS: the slow path has to do it; -E2BIG. The arguments are good. */
static inline int dax_pin_fast(struct dax *dax, struct shm_vnode *vnode, uint64_t off, uint64_t len,
                               uint32_t flags, struct iovec *iov, int iovcnt, struct hf_pin *pin)
{
    uint64_t first = off / HF_BLOCK_BYTES, last = (off + len - 1) / HF_BLOCK_BYTES, key;
    struct mm_pieces pieces = {iov, iovcnt, 0};
    struct shm *shm = dax->shm;
    struct shm_lane *lane = shm_lane_fast(shm);
    uint32_t nest, slot;
    int count;

    if (__builtin_expect(!lane, 0))
        return MM_MISS;
    nest = lane->nest;
    lane->nest = nest + 1;
    hf_fence_light();
    slot = slots_pick(lane, nest);
    if (__builtin_expect(slot == SHM_SLOTS, 0)) {
        lane->nest = nest;
        return MM_MISS;
    }
    if (HF_LAB_BROKEN(HF_LAB_LATE_PUBLISH)) {
        count = dax_walk(dax, vnode, first, last, &pieces);
        key = slots_enter(shm, lane, slot, vnode, first, last, flags);
    } else {
        key = slots_enter(shm, lane, slot, vnode, first, last, flags);
        count = dax_walk(dax, vnode, first, last, &pieces);
    }
    hf_fence_light();
    lane->nest = nest;
    /* relaxed: a pin of bytes behind end of file is a mistake that may be found late */
    if (__builtin_expect(count <= MM_MISS || off + len > hf_load_relaxed(&vnode->size), 0)) {
        slots_leave(shm, vnode, &lane->keys[slot]); /* P4 */
        return count < 0 ? count : MM_MISS;
    }
    mm_trim(&pieces, off, len);
    pin->hf_opaque[0] = (uint64_t)(uintptr_t)&lane->keys[slot];
    pin->hf_opaque[1] = key;
    pin->hf_opaque[2] = (uint64_t)(uintptr_t)shm;
    return count;
}

#endif
