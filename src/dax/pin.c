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
#include "dax/notify.h"
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

static uint64_t request_first(const struct dax_request *request)
{
    return request->off / HF_BLOCK_BYTES;
}

static uint64_t request_last(const struct dax_request *request)
{
    return (request->off + request->len - 1) / HF_BLOCK_BYTES;
}

/* P3 for any range. The number of pieces; MM_MISS; -E2BIG. */
static int walk_range(const struct dax *dax, const struct shm_vnode *vnode,
                      const struct dax_request *request)
{
    struct mm_pieces pieces = {request->iov, request->iovcnt, 0};
    /* ENTRY.PUB/p */
    int count = mm_walk(dax->shm, dax->media.base, hf_load_acquire(&vnode->root),
                        request_first(request), request_last(request), &pieces);

    for (int i = 0; i < count; i++)
        if (!inside(dax, &request->iov[i]))
            return MM_MISS;
    if (count > 0)
        mm_trim(&pieces, request->off, request->len);
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

int dax_pin_fast(struct dax *dax, struct shm_vnode *vnode, const struct dax_request *request,
                 struct hf_pin *pin)
{
    uint64_t first = request_first(request), last = request_last(request), key;
    struct shm *shm = dax->shm;
    struct shm_lane *lane = shm_lane_fast(shm);
    int count = MM_MISS;
    uint32_t hint, slot;

    if (dax->engine->counts)
        return counted_pin(dax, vnode, request, pin);
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
            count = walk_range(dax, vnode, request);
        key = slots_key_of(lane, slot, vnode, request->flags);
        publish_fast(lane, slot, key, first, last);
        slots_order(lane, vnode);
        if (!HF_LAB_BROKEN(HF_LAB_LATE_PUBLISH))
            count = walk_range(dax, vnode, request);
        HF_LAB_AT(HF_LAB_WALKED);
        HF_LAB_FENCED(true); /* no store stays away for ever */
    }
    slots_end(lane, slots_next_hint(hint, slot));
    if (slot == SHM_SLOTS)
        return MM_MISS;
    if (request->off + request->len > hf_load_acquire(&vnode->size)) /* SIZE.PUB/p */
        count = MM_MISS; /* the slow path looks again, and says so */
    if (count <= MM_MISS) {
        if (slots_leave(vnode, &lane->keys[slot])) /* P4 */
            slots_wake(shm, vnode, first, last);
        return count;
    }
    dax_fill_pin(pin, shm, &lane->keys[slot], key, 0);
    return count;
}

static int publish_lease(struct dax *dax, struct shm_lane *lane, struct shm_vnode *vnode,
                         const struct shm_range *range, const struct hf_lease_options *options,
                         struct hf_pin *pin)
{
    int rc = holds_publish(dax->shm, lane, vnode, range, options, pin);

    if (rc == 0)
        notify_register(dax, dax_handle_hold(pin->hf_opaque[0]), pin->hf_opaque[1], options);
    return rc;
}

static int publish_counted(struct dax *dax, struct shm_lane *lane, struct shm_vnode *vnode,
                           const struct shm_range *range, const struct mm_pieces *pieces,
                           struct hf_pin *pin)
{
    if (counted_publish(dax, vnode, lane, SHM_WHO_FLAGS(range->who), pieces, pin))
        return 0;
    return holds_publish(dax->shm, lane, vnode, range, NULL, pin);
}

/* There is a generous number of holds in the pool for pins that find no slot, and for leases. */
static int publish_slot(struct dax *dax, struct shm_lane *lane, struct shm_vnode *vnode,
                        const struct shm_range *range, struct hf_pin *pin)
{
    uint32_t hint = slots_begin(lane), slot = slots_pick(lane, hint);
    int rc = 0;

    if (slot == SHM_SLOTS) {
        rc = holds_publish(dax->shm, lane, vnode, range, NULL, pin);
    } else {
        uint64_t key = slots_key_of(lane, slot, vnode, SHM_WHO_FLAGS(range->who));

        slots_publish(lane, slot, key, range->first, range->last);
        slots_order(lane, vnode);
        dax_fill_pin(pin, dax->shm, &lane->keys[slot], key, 0);
    }
    slots_end(lane, slots_next_hint(hint, slot));
    return rc;
}

/* Under the layout mutex. */
static int pin_locked(struct dax *dax, struct shm_vnode *vnode, const struct dax_request *request,
                      struct mm_pieces *pieces, struct hf_pin *pin, struct meta_extent *hole)
{
    struct shm_lane *lane = shm_lane(dax->shm);
    struct shm_range range = {request_first(request), request_last(request),
                              lane->who | request->flags};
    uint64_t size = hf_load_relaxed(&vnode->size); /* relaxed: changes under the mutex */
    uint64_t end = request->off + request->len;
    int rc;

    if (end > size)
        return hf_fail(EFAULT, "bytes %llu to %llu are asked for, the file ends at %llu",
                       (unsigned long long)request->off, (unsigned long long)(end - 1),
                       (unsigned long long)size);
    rc = dax_fault(dax, vnode, range.first, range.last, pieces, hole);
    if (rc)
        return rc;
    if (request->lease)
        return publish_lease(dax, lane, vnode, &range, request->lease, pin);
    if (dax->engine->counts)
        return publish_counted(dax, lane, vnode, &range, pieces, pin);
    return publish_slot(dax, lane, vnode, &range, pin);
}

static int pin_once(struct dax *dax, struct shm_vnode *vnode, const struct dax_request *request,
                    struct hf_pin *pin, struct meta_extent *hole)
{
    struct mm_pieces pieces = {request->iov, request->iovcnt, 0};
    int rc = dax_lock(dax, vnode, request_first(request), request_last(request));

    if (rc < 0)
        return rc;
    rc = pin_locked(dax, vnode, request, &pieces, pin, hole);
    if (rc == 0)
        mm_trim(&pieces, request->off, request->len);
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

int dax_pin_slow(struct dax *dax, struct shm_vnode *vnode, const struct dax_request *request,
                 struct hf_pin *pin, struct meta_extent *hole)
{
    int rc;

    dax_count(&dax->shm->run->stats.pins_slow, 1);
    if (dax->engine->join)
        dax->engine->join();
    HF_TRACE(pin_slow, vnode->ino, request_first(request), request_last(request), request->flags);
    rc = pin_once(dax, vnode, request, pin, hole);
    if (rc == -ENOLCK) {
        settle_all(dax);
        rc = pin_once(dax, vnode, request, pin, hole);
    }
    if (hf_load_relaxed(&dax->shm->run->nodes_used) >=
        dax->shm->run->limits.nodes) /* relaxed: a count */
        dax_shrink(dax);
    return rc;
}

int dax_pin(struct dax *dax, struct shm_vnode *vnode, const struct dax_request *request,
            struct hf_pin *pin, struct meta_extent *hole)
{
    int rc = dax_pin_fast(dax, vnode, request, pin);

    return rc != MM_MISS ? rc : dax_pin_slow(dax, vnode, request, pin, hole);
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
