/* SPDX-License-Identifier: MIT */
/*
 * The slow path of a pin, and letting go. Under the layout mutex no layout change is between its
 * last look for holders and its transaction, so a pin that is published there on blocks that the
 * extents name there is found by whoever changes them next.
 */
#include "dax/pin_fast.h"

#include "base/error.h"
#include "base/fork.h"
#include "base/trace.h"
#include "dax/fault.h"
#include "dax/private.h"

#include <unistd.h>

/* Entries come from shared memory: one that leads outside the mapped pool counts as missing,
 * whatever wrote it. */
static bool inside(const struct dax *dax, const struct iovec *piece)
{
    uint64_t mapped = hf_load_relaxed(&dax->media.mapped_bytes); /* relaxed: only grows */
    uint64_t at = (uintptr_t)piece->iov_base - (uintptr_t)dax->media.base;

    return at < mapped && piece->iov_len <= mapped - at;
}

/* P3 for any range. The number of pieces; MM_MISS; -E2BIG. */
static int walk(const struct dax *dax, const struct shm_vnode *vnode, uint64_t off, uint64_t len,
                struct iovec *iov, int iovcnt)
{
    struct mm_pieces pieces = {iov, iovcnt, 0};
    /* ENTRY.PUB/p */
    int count = mm_walk(dax->shm, dax->media.base, hf_load_acquire(&vnode->root),
                        off / HF_BLOCK_BYTES, (off + len - 1) / HF_BLOCK_BYTES, &pieces);

    for (int i = 0; i < count; i++)
        if (!inside(dax, &iov[i]))
            return MM_MISS;
    if (count > 0)
        mm_trim(&pieces, off, len);
    return count;
}

void dax_pin_settle(struct dax *dax, struct shm_vnode *vnode)
{
    struct shm_lane *lane = shm_lane_fast(dax->shm);

    if (!lane || lane->wake_due != vnode->index + 1)
        return;
    lane->wake_due = 0;
    slots_wake(dax->shm, vnode, 0, DAX_LAST);
}

/* P1; in steps, the key is on its way. With P1 after P3 the point between the two is here. */
static void publish_fast(struct shm_lane *lane, uint32_t slot, uint64_t key, uint64_t first,
                         uint64_t last)
{
#ifdef HF_LAB
    if (HF_LAB_BROKEN(HF_LAB_LATE_PUBLISH))
        HF_LAB_AT(HF_LAB_WALKED);
    else if (HF_LAB_BROKEN(HF_LAB_STEPS) && hf_lab_stepped) {
        hf_store_release(&lane->pages[slot], SHM_PAGES(first, last));
        hf_lab_keep(&lane->keys[slot], key);
        return;
    }
#endif
    slots_publish(lane, slot, key, first, last);
}

int dax_pin_fast(struct dax *dax, struct shm_vnode *vnode, uint64_t off, uint64_t len,
                 uint32_t flags, struct iovec *iov, int iovcnt, struct hf_pin *pin)
{
    uint64_t first = off / HF_BLOCK_BYTES, last = (off + len - 1) / HF_BLOCK_BYTES, key;
    struct shm *shm = dax->shm;
    struct shm_lane *lane = shm_lane_fast(shm);
    int count = MM_MISS;
    uint32_t hint, slot;

    if (dax->engine->counts)
        return counted_pin(dax, vnode, off, len, flags, iov, iovcnt, pin);
    if (!lane)
        return MM_MISS;
    if (!dax->stacks) /* else each pin comes here, not only the first */
        shm_lane_use(shm);
    if (lane->fenced >= SLOTS_REBIAS_LOOK)
        slots_rebias(shm, lane, vnode);
    hint = slots_begin(lane);
    slot = slots_pick(lane, hint);
    if (slot < SHM_SLOTS) {
        if (HF_LAB_BROKEN(HF_LAB_LATE_PUBLISH))
            count = walk(dax, vnode, off, len, iov, iovcnt);
        key = slots_key_of(lane, slot, vnode, flags);
        publish_fast(lane, slot, key, first, last);
        slots_order(lane, vnode);
        if (!HF_LAB_BROKEN(HF_LAB_LATE_PUBLISH))
            count = walk(dax, vnode, off, len, iov, iovcnt);
        HF_LAB_AT(HF_LAB_WALKED);
        HF_LAB_FENCED(true); /* no store stays away for ever */
    }
    slots_end(lane, slots_next_hint(hint, slot));
    if (slot == SHM_SLOTS)
        return MM_MISS;
    if (off + len > hf_load_acquire(&vnode->size)) /* SIZE.PUB/p */
        count = MM_MISS;                           /* the slow path looks again, and says so */
    if (count <= MM_MISS) {
        if (slots_leave(vnode, &lane->keys[slot])) /* P4 */
            slots_wake(shm, vnode, first, last);
        return count;
    }
    dax_fill_pin(pin, shm, &lane->keys[slot], key, 0);
    return count;
}

int pin_as_hold(struct dax *dax, struct shm_lane *lane, struct shm_vnode *vnode,
                const struct shm_range *range, const struct hf_lease_options *lease,
                struct hf_pin *pin)
{
    struct shm *shm = dax->shm;
    uint32_t index = shm_hold_alloc(shm);
    struct shm_hold *hold;
    uint64_t key;

    if (index == SHM_NONE)
        return shm_no_hold(shm);
    holds_settle(shm, vnode);
    hold = &shm->holds[index];
    hold->range = *range;
    hold->generation =
        (hold->generation ? hold->generation : shm->run->hold_generations) + SHM_KEY_STEP;
    key = shm_key(hold->generation, SHM_WHO_FLAGS(range->who), vnode->index);
    hf_store_release(&hold->vnode, (uint32_t)vnode->index); /* notify.c looks before it locks */
    hold->lane = shm_lane_index(shm, lane);
    hold->since_ns = hf_now_ns();
    hold->recall = (struct shm_recall){.served = lease && lease->recall};
    hf_add_acq_rel(&lane->slow_pins, 1);
    if (hold->recall.served)
        hf_add_acq_rel(&lane->served, 1);
    hf_store_release(&hold->key, key);
    hf_store_release(&hold->state,
                     SHM_HOLD_STATE(lease ? SHM_HOLD_LEASE : SHM_HOLD_PIN, shm->self + 1));
    holds_insert(shm, vnode, index);
    dax_fill_pin(pin, shm, &hold->key, key, DAX_PIN_HOLD);
    return 0;
}

/* Under the layout mutex: records the pin in a slot; there is a generous number of holds in the
 * pool for those that find none, and for leases. */
static int publish(struct dax *dax, struct shm_lane *lane, struct shm_vnode *vnode,
                   const struct shm_range *range, const struct mm_pieces *pieces,
                   const struct hf_lease_options *lease, struct hf_pin *pin)
{
    uint32_t hint, slot;
    int rc = 0;

    if (lease)
        return lease_publish(dax, lane, vnode, range, lease, pin);
    if (dax->engine->counts) {
        if (counted_publish(dax, vnode, lane, SHM_WHO_FLAGS(range->who), pieces, pin))
            return 0;
        return pin_as_hold(dax, lane, vnode, range, NULL, pin);
    }
    hint = slots_begin(lane);
    slot = slots_pick(lane, hint);

    if (slot == SHM_SLOTS) {
        rc = pin_as_hold(dax, lane, vnode, range, NULL, pin);
    } else {
        uint64_t key = slots_key_of(lane, slot, vnode, SHM_WHO_FLAGS(range->who));

        slots_publish(lane, slot, key, range->first, range->last);
        slots_order(lane, vnode);
        dax_fill_pin(pin, dax->shm, &lane->keys[slot], key, 0);
    }
    slots_end(lane, slots_next_hint(hint, slot));
    return rc;
}

static int pin_locked(struct dax *dax, struct shm_lane *lane, struct shm_vnode *vnode, uint64_t off,
                      uint64_t len, uint32_t flags, const struct hf_lease_options *lease,
                      struct mm_pieces *pieces, struct hf_pin *pin, struct meta_extent *hole)
{
    struct shm_range range = {off / HF_BLOCK_BYTES, (off + len - 1) / HF_BLOCK_BYTES,
                              lane->who | flags};
    uint64_t size = hf_load_relaxed(&vnode->size); /* relaxed: changes under the mutex */
    int rc;

    if (off + len > size)
        return hf_fail(EFAULT, "bytes %llu to %llu are asked for, the file ends at %llu",
                       (unsigned long long)off, (unsigned long long)(off + len - 1),
                       (unsigned long long)size);
    rc = dax_fault(dax, vnode, range.first, range.last, pieces, hole);
    return rc ? rc : publish(dax, lane, vnode, &range, pieces, lease, pin);
}

static int pin_once(struct dax *dax, struct shm_vnode *vnode, uint64_t off, uint64_t len,
                    uint32_t flags, const struct hf_lease_options *lease, struct iovec *iov,
                    int iovcnt, struct hf_pin *pin, struct meta_extent *hole)
{
    struct mm_pieces pieces = {iov, iovcnt, 0};
    struct shm_lane *lane = shm_lane(dax->shm);
    int rc = dax_lock(dax, vnode, off / HF_BLOCK_BYTES, (off + len - 1) / HF_BLOCK_BYTES);
    if (rc < 0)
        return rc;
    rc = pin_locked(dax, lane, vnode, off, len, flags, lease, &pieces, pin, hole);
    if (rc == 0)
        mm_trim(&pieces, off, len);
    dax_unlock(dax, vnode);
    return rc ? rc : pieces.count;
}

/* Frees the holds that were let go of, or were a dead process's, and are still in the trees of
 * their files. */
static void settle_all(struct dax *dax)
{
    uint32_t high = hf_load_acquire(&dax->shm->run->vnodes_high);

    shm_reap(dax->shm);
    for (uint32_t i = 0; i < high; i++) {
        struct shm_vnode *vnode = &dax->shm->vnodes[i];

        if (hf_load_acquire(&vnode->state) == SHM_VNODE_FREE ||
            (hf_load_acquire(&vnode->released) == SHM_NONE &&
             !hf_load_acquire(&vnode->holds_stale)))
            continue;
        dax_lock_any(dax, vnode);
        if (vnode->state != SHM_VNODE_FREE)
            holds_settle(dax->shm, vnode);
        dax_unlock(dax, vnode);
    }
}

int pin_slow(struct dax *dax, struct shm_vnode *vnode, uint64_t off, uint64_t len, uint32_t flags,
             const struct hf_lease_options *lease, struct iovec *iov, int iovcnt,
             struct hf_pin *pin, struct meta_extent *hole)
{
    int rc;

    dax_count(&dax->shm->run->stats.pins_slow, 1);
    if (dax->engine->join)
        dax->engine->join();
    HF_TRACE(pin_slow, vnode->ino, off / HF_BLOCK_BYTES, (off + len - 1) / HF_BLOCK_BYTES, flags);
    rc = pin_once(dax, vnode, off, len, flags, lease, iov, iovcnt, pin, hole);
    if (rc == -ENOLCK) {
        settle_all(dax);
        rc = pin_once(dax, vnode, off, len, flags, lease, iov, iovcnt, pin, hole);
    }
    if (hf_load_relaxed(&dax->shm->run->nodes_used) >=
        dax->shm->run->limits.nodes) /* relaxed: a count */
        dax_shrink(dax);
    return rc;
}

int dax_pin_slow(struct dax *dax, struct shm_vnode *vnode, uint64_t off, uint64_t len,
                 uint32_t flags, struct iovec *iov, int iovcnt, struct hf_pin *pin,
                 struct meta_extent *hole)
{
    return pin_slow(dax, vnode, off, len, flags, NULL, iov, iovcnt, pin, hole);
}

int dax_pin(struct dax *dax, struct shm_vnode *vnode, uint64_t off, uint64_t len, uint32_t flags,
            struct iovec *iov, int iovcnt, struct hf_pin *pin, struct meta_extent *hole)
{
    int rc = dax_pin_fast(dax, vnode, off, len, flags, iov, iovcnt, pin);

    if (rc != MM_MISS)
        return rc;
    return dax_pin_slow(dax, vnode, off, len, flags, iov, iovcnt, pin, hole);
}

int dax_unpin_odd(struct hf_pin *pin)
{
    struct shm *shm = (struct shm *)(uintptr_t)pin->hf_opaque[2];
    uint64_t *word = (uint64_t *)(uintptr_t)(pin->hf_opaque[0] & ~DAX_PIN_HOLD);
    uint64_t key = pin->hf_opaque[1];
    const struct shm_hold *hold = (const struct shm_hold *)word; /* if it is one */
    uint64_t first, last;

    if (!shm)
        return -EINVAL;
    if (shm->fork_count != hf_fork_count)
        return -ECHILD;
    if (pin->hf_opaque[0] & DAX_PIN_COUNTED)
        return counted_unpin(pin);
    if (!(key & SHM_KEY_VNODE_MASK) || !(pin->hf_opaque[0] & DAX_PIN_HOLD))
        return -EINVAL;
    first = hf_load_acquire(&hold->range.first);
    last = hf_load_acquire(&hold->range.last);
    if (!holds_release(shm, word, key))
        return -EINVAL;
    slots_wake(shm, shm_vnode_of_key(shm, key), first, last);
    watch_let_go(shm, key, first, last);
    return 0;
}

int dax_unpin_wake(struct shm *shm, struct shm_vnode *vnode, const uint64_t *word, uint64_t key)
{
    uint32_t waiters = hf_load_acquire(&vnode->waiters); /* UNPIN.WAKE/p, as in slots_leave() */

    if (waiters & SHM_WATCHED && SHM_KEY_FLAGS(key) & HF_PIN_WRITE)
        watch_let_go_slot(shm, key, word);
    if (waiters & ~(SHM_WATCHED | SHM_ASKED))
        slots_wake_slot(shm, vnode, word);
    return 0;
}

int dax_unpin(struct hf_pin *pin)
{
    return dax_unpin_fast(pin);
}
