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

/* As mm_lookup(), with a shorter way through the table of a small file, which is one node. */
static inline __attribute__((always_inline)) uint64_t dax_entry(const struct dax_line *line,
                                                                uint64_t root, uint64_t page)
{
    if (__builtin_expect((root - MM_BITS) % (MM_FLAGS + 1) == 0 && page < SHM_NODE_ENTRIES, 1)) {
        const uint64_t *node = mm_node_in(&line->nodes, root);

        __asm__("" : "+r"(node)); /* else the sum of node and page takes two instructions more */
        return hf_load_acquire(node + page); /* ENTRY.PUB/p */
    }
    return mm_lookup(&line->nodes, root, page);
}

/* P3 for one page: an entry that leads to it, with no flag but MM_PRESENT. False: it is missing.
 * Entries lead only to blocks below limit_bytes, but this process may not have mapped yet what the
 * pool has grown by. */
static inline __attribute__((always_inline)) bool dax_walk_page(const struct dax_line *line,
                                                                const struct shm_vnode *vnode,
                                                                uint64_t page, uint64_t absent,
                                                                uint64_t *found)
{
    uint64_t root = hf_load_acquire(&vnode->root); /* ENTRY.PUB/p */
    uint64_t entry = dax_entry(line, root, page);

    if (__builtin_expect(!hf_is_above(&line->mapped, dax_turned(entry)), 0)) {
        uint64_t mapped = hf_load_relaxed(&line->mapped); /* relaxed: only grows */

        if ((entry & (MM_PRESENT | absent)) != MM_PRESENT)
            return false;
        if (entry & MM_HUGE)
            entry += page % MM_HUGE_PAGES * HF_BLOCK_BYTES;
        entry = (entry & ~MM_FLAGS) + MM_PRESENT;
        if (dax_turned(entry) >= mapped)
            return false;
    }
    *found = entry;
    return true;
}

/* The most common pin, as a straight line that calls no function. It has bytes of one page, finds
 * the slot of the last pin free, and is not in a signal handler. False: nothing was tried. Or the
 * page was missing or past end of file, and U3, slots_wake(), is left to the caller, which goes on
 * with dax_pin_fast(). The handle is filled early, so that its words need no registers. `absent` is
 * MM_READONLY for flags of DAX_PIN_OWNS, else 0. */
static inline __attribute__((always_inline)) bool dax_pin_page(const struct dax_line *line,
                                                               uint64_t off, const size_t *len,
                                                               uint32_t flags, uint64_t absent,
                                                               char **address, struct hf_pin *pin)
{
    const struct shm_lane_of_thread *mine = shm_last_lane;
    const struct shm_vnode *vnode;
    uint64_t page, key, entry, slot, *word; /* a slot is a whole word, for addresses */
    struct shm_lane *lane;

    if (__builtin_expect(mine->shm != line->shm, 0) || /* nor is it in a forked child */
        HF_LAB_BROKEN(HF_LAB_LATE_PUBLISH | HF_LAB_STEPS))
        return false;
    lane = mine->lane;
    slot = slots_begin(lane);
    word = slots_word(lane->keys, slot);
    if (__builtin_expect(!hf_is(word, 0), 0)) { /* UNPIN.DONE/p, as in slots_pick() */
        slots_end(lane, slot);
        return false;
    }
    dax_fill_slot(pin, mine, word);
    key = slots_key(lane, line->key + shm_key_flags(flags));
    pin->hf_opaque[1] = key;
    hf_fence_light(); /* now the words of the handle have left their registers */
    SLOTS_AGAIN(slot);
    page = off / HF_BLOCK_BYTES;
    slots_publish_words(slots_word(lane->pages, slot), word, key, page, page);
    vnode = line->vnode;
    if (__builtin_expect(slots_order(lane, vnode), 0) ||
        __builtin_expect(!dax_walk_page(line, vnode, page, absent, &entry), 0))
        goto leave;
    /* SIZE.PUB/p: the bytes below the size are as the thread that raised it left them.
     * Pairs with SIZE.PUB/m where the size is stored (src/fs). Without it: old bytes past end of
     * file. */
    if (__builtin_expect(hf_is_below(&line->vnode->size, off + *len), 0))
        goto leave;
    slots_end(lane, slot);
    *address = line->base + entry + off % HF_BLOCK_BYTES;
    return true;
leave: /* P4; U3 is wake_left() */
    SLOTS_AGAIN(lane);
    SLOTS_AGAIN(slot);
    slots_leave(line->vnode, slots_word(lane->keys, slot));
    slots_end(lane, slot);
    return false;
}

/* Any pin that the fast path can do. Returns the number of pieces; MM_MISS: the slow path has to do
 * it; -E2BIG. The arguments are good. */
int dax_pin_fast(struct dax *dax, struct shm_vnode *vnode, const struct dax_request *request,
                 struct hf_pin *pin);

/* The first unpins anything but a live slot of the thread's own lane; the second is U3 when a
 * layout change waits. */
int dax_unpin_odd(struct hf_pin *pin);
int dax_unpin_wake(struct shm *shm, const uint64_t *word, uint64_t key);

/* U1 to U3 of a slot. Where the handle has the entry that this thread has used last, the lane is
 * this thread's own. So it is not for holds, for null pins, and for pins that a forked child has
 * from its parent. */
static inline int dax_unpin_fast(struct hf_pin *pin)
{
    const struct shm_lane_of_thread *mine = shm_last_lane;
    uint64_t *word = (uint64_t *)(uintptr_t)pin->hf_opaque[0], key = pin->hf_opaque[1];
    const struct shm_vnode *vnode;

    /* the pin is this thread's, or is not live */
    if (__builtin_expect(pin->hf_opaque[2] != (uint64_t)(uintptr_t)mine || !hf_is(word, key), 0))
        return dax_unpin_odd(pin);
    vnode = shm_vnode_near_key(mine->vnodes, mine->key_mask, key);
    if (__builtin_expect(slots_leave(vnode, word), 0))
        return dax_unpin_wake(mine->shm, word, key);
    return 0;
}

#endif
