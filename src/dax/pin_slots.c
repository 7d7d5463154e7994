/* SPDX-License-Identifier: MIT */
/*
 * Pins under the engines with slots: P1 to P4 for any range, and publishing under the layout mutex.
 * A pin of one page is mostly done before it comes here, in pin_fast.h.
 */
#include "dax/pin_fast.h"
#include "dax/private.h"

/* Entries come from shared memory: one that leads outside the mapped pool counts as missing,
 * whatever wrote it. */
static bool inside(const struct dax *dax, const struct iovec *piece)
{
    uint64_t mapped = hf_load_relaxed(&dax->media.mapped_bytes); /* relaxed: only grows */
    uint64_t at = (uintptr_t)piece->iov_base - (uintptr_t)dax->media.base;

    return at < mapped && piece->iov_len <= mapped - at;
}

/* P3 for any range. The number of pieces; MM_MISS; -E2BIG. */
static int walk_range(const struct dax *dax, const struct shm_vnode *vnode,
                      const struct dax_request *request)
{
    struct mm_pieces pieces = {request->iov, request->iovcnt, 0};
    /* ENTRY.PUB/p */
    int count =
        mm_walk(dax->shm, dax->media.base, hf_load_acquire(&vnode->root), request_first(request),
                request_last(request), request->flags & DAX_PIN_OWNS ? MM_READONLY : 0, &pieces);

    for (int i = 0; i < count; i++)
        if (!inside(dax, &request->iov[i]))
            return MM_MISS;
    if (count > 0)
        mm_trim(&pieces, request->off, request->len);
    return count;
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

static int pin_in_slot(struct dax *dax, struct shm_vnode *vnode, const struct dax_request *request,
                       struct hf_pin *pin)
{
    uint64_t first = request_first(request), last = request_last(request), key;
    struct shm *shm = dax->shm;
    const struct shm_lane_of_thread *mine = shm_lane_entry(shm);
    struct shm_lane *lane;
    int count = MM_MISS;
    uint32_t hint, slot;

    if (!mine)
        return MM_MISS;
    lane = mine->lane;
    if (!dax->stacks) /* else each pin comes here, not only the first */
        shm_lane_use(shm);
    if (lane->fenced >= SLOTS_REBIAS_LOOK)
        slots_rebias(shm, lane, vnode);
    hint = slots_begin(lane);
    slot = slots_pick_for(lane, hint, request->flags);
    if (slot < SHM_SLOTS) {
        if (HF_LAB_BROKEN(HF_LAB_LATE_PUBLISH))
            count = walk_range(dax, vnode, request);
        key = slots_key_of(lane, slot, vnode, request->flags);
        HF_LAB_AT(HF_LAB_TAKES);
        publish_fast(lane, slot, key, first, last);
        slots_order(lane, vnode);
        slots_be_marked(lane, vnode);
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
    dax_fill_pin(pin, mine, &lane->keys[slot], key);
    return count;
}

/* There is a generous number of holds in the pool for pins that find no slot, and for leases. */
static int publish_slot(struct dax *dax, struct shm_lane *lane, struct shm_vnode *vnode,
                        const struct shm_range *range, const struct mm_pieces *pieces,
                        struct hf_pin *pin)
{
    uint32_t hint = slots_begin(lane), slot = slots_pick_for(lane, hint, SHM_WHO_FLAGS(range->who));
    int rc = 0;

    (void)pieces;
    if (slot == SHM_SLOTS) {
        rc = holds_publish(dax->shm, lane, vnode, range, NULL, pin);
    } else {
        uint64_t key = slots_key_of(lane, slot, vnode, SHM_WHO_FLAGS(range->who));

        slots_publish(lane, slot, key, range->first, range->last);
        slots_order(lane, vnode);
        slots_be_marked(lane, vnode);
        dax_fill_pin(pin, shm_lane_entry(dax->shm), &lane->keys[slot], key);
    }
    slots_end(lane, slots_next_hint(hint, slot));
    return rc;
}

/* scan_held() finds all of them. */
static int find_none(struct dax *dax, const struct shm_vnode *vnode, uint64_t first, uint64_t last,
                     dax_found_count *found, void *arg)
{
    (void)dax, (void)vnode, (void)first, (void)last, (void)found, (void)arg;
    return 0;
}

const struct dax_pinning pinning_slots = {
    .pin = pin_in_slot,
    .publish = publish_slot,
    .find = find_none,
};
