/* SPDX-License-Identifier: MIT */
/*
 * The slow path of a pin, and its release. Under the layout mutex no layout change is between its
 * last look for holders and its transaction. So a pin that is published there, on blocks that the
 * extents name there, is found by the next change of those extents.
 */
#include "dax/pin_fast.h"

#include "base/error.h"
#include "base/fork.h"
#include "base/trace.h"
#include "dax/fault.h"
#include "dax/notify.h"
#include "dax/private.h"

#include <inttypes.h>

static int publish_lease(struct dax *dax, struct shm_lane *lane, struct shm_vnode *vnode,
                         const struct shm_range *range, const struct hf_lease_options *options,
                         struct hf_pin *pin)
{
    int rc = holds_publish(dax->shm, lane, vnode, range, options, pin);

    if (rc == 0)
        notify_register(dax, vnode, dax_handle_hold(pin->hf_opaque[0]), pin->hf_opaque[1], options);
    return rc;
}

bool dax_use_engine(struct dax *dax, const char *name)
{
    dax->engine = sync_engine_find(name);
    if (!dax->engine)
        return false;
    dax->pinning = sync_knows_holders(dax->engine) ? &pinning_slots : &pinning_counted;
    return true;
}

struct dax_line dax_line_of(const struct dax *dax, struct shm_vnode *vnode, bool readable)
{
    struct dax_line line = {
        .shm = dax->shm,
        .vnode = vnode,
        .key = shm_key(0, 0, shm_vnode_number(dax->shm, vnode)),
        .base = dax->media.base - MM_PRESENT,
        .nodes = {(char *)dax->shm->nodes, dax->shm->node_mask},
        .one = dax->pinning->one ? dax->pinning->one(dax->engine) : NULL,
        .counts = dax->shm,
    };

    if (!readable || line.one) /* an address that is not a segment's: no lane's entry may match */
        line.shm = (const struct shm *)(const void *)vnode;
    dax_line_look(dax, &line);
    return line;
}

int dax_pin_fast(struct dax *dax, struct shm_vnode *vnode, const struct dax_request *request,
                 struct hf_pin *pin)
{
    return dax->pinning->pin(dax, vnode, request, pin);
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

    shm_assert_held(&vnode->mutex);
    if (end > size)
        return hf_fail(EFAULT,
                       "bytes %" PRIu64 " to %" PRIu64 " are asked for, the file ends at %" PRIu64,
                       request->off, end - 1, size);
    rc = dax_fault(dax, vnode, range.first, range.last,
                   request->lease || request->flags & DAX_PIN_OWNS, pieces, hole);
    if (rc)
        return rc;
    if (request->lease)
        return publish_lease(dax, lane, vnode, &range, request->lease, pin);
    return dax->pinning->publish(dax, lane, vnode, &range, pieces, pin);
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

void dax_settle_holds(struct dax *dax)
{
    uint32_t high = shm_vnodes_high(dax->shm);

    shm_reap(dax->shm);
    for (uint32_t i = 0; i < high; i++) {
        struct shm_vnode *vnode = &dax->shm->vnodes[i];

        if (hf_load_acquire(&vnode->state) == SHM_VNODE_FREE || !holds_unsettled(vnode))
            continue;
        if (!dax_lock_moment(dax, vnode))
            continue;
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
        dax_settle_holds(dax);
        rc = pin_once(dax, vnode, request, pin, hole);
    }
    if (hf_load_relaxed(&dax->shm->run->nodes_used) >=
        dax->shm->limits.nodes) /* relaxed: a count */
        dax_shrink(dax);
    return rc;
}

int dax_pin(struct dax *dax, struct shm_vnode *vnode, const struct dax_request *request,
            struct hf_pin *pin, struct meta_extent *hole)
{
    int rc = dax_pin_fast(dax, vnode, request, pin);

    return rc != MM_MISS ? rc : dax_pin_slow(dax, vnode, request, pin, hole);
}

/* Another thread may release the same pin at this moment, and the pin's own thread may put the next
 * one into the slot. */
static int unpin_elsewhere(struct shm *shm, uint64_t *word, uint64_t key)
{
    struct shm_vnode *vnode = shm_vnode_of_key(shm, key);
    uint32_t waiters;

    if (!slots_leave_elsewhere(vnode, word, key, &waiters))
        return -EINVAL;
    return waiters ? dax_unpin_wake(shm, word, key) : 0;
}

static __attribute__((noinline)) int unpin_other(struct hf_pin *pin)
{
    struct shm *shm = dax_handle_shm(pin);
    uint64_t *word = (uint64_t *)(uintptr_t)(pin->hf_opaque[0] & ~DAX_PIN_HOLD);
    uint64_t key = pin->hf_opaque[1];
    const struct shm_hold *hold = (const struct shm_hold *)word; /* if it is one */
    uint64_t first, last;

    if (!shm)
        return -EINVAL;
    if (shm->fork_count != hf_fork_count)
        return -ECHILD;
    if (!(key & SHM_KEY_VNODE_MASK))
        return -EINVAL;
    if (!(pin->hf_opaque[0] & DAX_PIN_HOLD))
        return unpin_elsewhere(shm, word, key);
    first = hf_load_acquire(&hold->range.first);
    last = hf_load_acquire(&hold->range.last);
    if (!holds_release(shm, word, key))
        return -EINVAL;
    slots_wake(shm, shm_vnode_of_key(shm, key), first, last);
    watch_let_go(shm, key, first, last);
    return 0;
}

int dax_unpin_odd(struct hf_pin *pin)
{
    return pin->hf_opaque[0] & DAX_PIN_COUNTED ? pin_counted_unpin(pin) : unpin_other(pin);
}

int dax_unpin_wake(struct shm *shm, const uint64_t *word, uint64_t key)
{
    struct shm_vnode *vnode = shm_vnode_of_key(shm, key);
    uint32_t waiters = hf_load_acquire(&vnode->waiters); /* UNPIN.WAKE/p, as in slots_leave() */

    if (waiters & SHM_WATCHED && SHM_KEY_FLAGS(key) & HF_PIN_WRITE)
        watch_let_go_slot(shm, key, word);
    if (waiters & ~(SHM_WATCHED | SHM_ASKED))
        slots_wake_slot(shm, vnode, word, key);
    return 0;
}

int dax_unpin(struct hf_pin *pin)
{
    return dax_unpin_fast(pin);
}
