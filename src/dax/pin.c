/* SPDX-License-Identifier: MIT */
/*
 * The slow path of a pin, and letting go. Under the layout mutex no layout change is between its
 * last look for holders and its transaction, so a pin that is published there on blocks that the
 * extents name there is found by whoever changes them next.
 */
#include "dax/pin_fast.h"

#include "base/error.h"
#include "base/fork.h"
#include "dax/fault.h"

#include <unistd.h>

static void fill_pin(struct hf_pin *pin, struct shm *shm, uint64_t *word, uint64_t key, uint64_t tag)
{
    pin->hf_opaque[0] = (uint64_t)(uintptr_t)word | tag;
    pin->hf_opaque[1] = key;
    pin->hf_opaque[2] = (uint64_t)(uintptr_t)shm;
}

/* A pin that finds no slot free is a hold; there is a generous number of them in the pool. */
static int take_hold(struct dax *dax, struct shm_lane *lane, struct shm_vnode *vnode,
                     const struct shm_range *range, struct hf_pin *pin)
{
    struct shm *shm = dax->shm;
    uint32_t index = shm_hold_alloc(shm);
    struct shm_hold *hold;
    uint64_t key;

    if (index == SHM_NONE)
        return hf_fail(ENOLCK, "all %u leases are taken (mkpool --max-leases)", shm->run->limits.holds);
    hold = &shm->holds[index];
    key = ++lane->generation << SHM_KEY_VNODE_BITS | (shm_vnode_index(shm, vnode) + 1);
    hold->range = *range;
    hold->vnode = shm_vnode_index(shm, vnode);
    hold->lane = shm_lane_index(shm, lane);
    hold->since_ns = hf_now_ns();
    hf_add_acq_rel(&lane->slow_pins, 1);
    hf_store_release(&hold->key, key);
    hf_store_release(&hold->state, (uint32_t)SHM_HOLD_PIN);
    holds_insert(shm, vnode, index);
    fill_pin(pin, shm, &hold->key, key, DAX_PIN_HOLD);
    return 0;
}

/* Under the layout mutex: records the pin in a slot, else in a hold. */
static int publish(struct dax *dax, struct shm_lane *lane, struct shm_vnode *vnode,
                   const struct shm_range *range, struct hf_pin *pin)
{
    uint32_t nest = lane->nest, slot;
    int rc = 0;

    lane->nest = nest + 1;
    hf_fence_light();
    slot = slots_pick(lane, nest);
    if (slot == SHM_SLOTS) {
        holds_settle(dax->shm, vnode);
        rc = take_hold(dax, lane, vnode, range, pin);
    } else {
        uint64_t key =
            slots_enter(dax->shm, lane, slot, vnode, range->first, range->last, range->flags);

        fill_pin(pin, dax->shm, &lane->keys[slot], key, 0);
    }
    hf_fence_light();
    lane->nest = nest;
    return rc;
}

static int pin_locked(struct dax *dax, struct shm_lane *lane, struct shm_vnode *vnode, uint64_t off,
                      uint64_t len, uint32_t flags, struct mm_pieces *pieces, struct hf_pin *pin,
                      struct meta_extent *hole)
{
    struct shm_range range = {off / HF_BLOCK_BYTES, (off + len - 1) / HF_BLOCK_BYTES, flags, lane->tid};
    uint64_t size = hf_load_relaxed(&vnode->size); /* relaxed: changes under the mutex */
    int rc;

    if (off + len > size)
        return hf_fail(EFAULT, "bytes %llu to %llu are asked for, the file ends at %llu",
                       (unsigned long long)off, (unsigned long long)(off + len - 1),
                       (unsigned long long)size);
    rc = dax_fault(dax, vnode, range.first, range.last, pieces, hole);
    return rc ? rc : publish(dax, lane, vnode, &range, pin);
}

int dax_pin_slow(struct dax *dax, struct shm_vnode *vnode, uint64_t off, uint64_t len, uint32_t flags,
                 struct iovec *iov, int iovcnt, struct hf_pin *pin, struct meta_extent *hole)
{
    struct mm_pieces pieces = {iov, iovcnt, 0};
    struct shm_lane *lane = shm_lane(dax->shm);
    int rc, passed;

    dax_count(&dax->shm->run->stats.pins_slow, 1);
    passed = dax_lock(dax, vnode, off / HF_BLOCK_BYTES, (off + len - 1) / HF_BLOCK_BYTES);
    if (passed < 0)
        return passed;
    rc = pin_locked(dax, lane, vnode, off, len, flags, &pieces, pin, hole);
    if (rc == 0) {
        mm_trim(&pieces, off, len);
        if (passed)
            vnode->passed++;
    }
    dax_unlock(dax, vnode);
    if (hf_load_relaxed(&dax->shm->run->nodes_used) >= dax->shm->run->limits.nodes) /* relaxed: a count */
        dax_shrink(dax);
    return rc ? rc : pieces.count;
}

int dax_pin(struct dax *dax, struct shm_vnode *vnode, uint64_t off, uint64_t len, uint32_t flags,
            struct iovec *iov, int iovcnt, struct hf_pin *pin, struct meta_extent *hole)
{
    int rc = dax_pin_fast(dax, vnode, off, len, flags, iov, iovcnt, pin);

    if (rc != MM_MISS)
        return rc;
    return dax_pin_slow(dax, vnode, off, len, flags, iov, iovcnt, pin, hole);
}

int dax_unpin(struct hf_pin *pin)
{
    struct shm *shm = (struct shm *)(uintptr_t)pin->hf_opaque[2];
    uint64_t *word = (uint64_t *)(uintptr_t)(pin->hf_opaque[0] & ~DAX_PIN_HOLD);
    uint64_t key = pin->hf_opaque[1];
    struct shm_vnode *vnode;

    if (__builtin_expect(!shm || !(key & SHM_KEY_VNODE_MASK), 0))
        return -EINVAL;
    if (__builtin_expect(shm->fork_count != hf_fork_count, 0))
        return -ECHILD;
    vnode = &shm->vnodes[(key & SHM_KEY_VNODE_MASK) - 1];
    if (__builtin_expect(pin->hf_opaque[0] & DAX_PIN_HOLD, 0)) {
        if (!holds_release(shm, word, key))
            return -EINVAL;
        slots_wake(shm, vnode);
    } else {
        if (__builtin_expect(hf_load_relaxed(word) != key, 0)) /* relaxed: it is ours, or it is not */
            return -EINVAL;
        slots_leave(shm, vnode, word);
    }
    return 0;
}
