/* SPDX-License-Identifier: MIT */
/*
 * Leases: holds of a process, in the tree of their file like pins that found no slot, and released
 * like pins. Beyond that a lease can be recalled (recall.c), and it can change hands. Then its key
 * stays the same, since detached blocks name their holder by it.
 */
#include "dax/fault.h"
#include "dax/pin_fast.h"
#include "dax/notify.h"
#include "dax/private.h"
#include "dax/recall.h"

#include "base/error.h"
#include "base/lab.h"

#include <errno.h>

int dax_lease(struct dax *dax, struct shm_vnode *vnode, const struct dax_request *request,
              struct hf_lease *lease, struct meta_extent *hole)
{
    struct shm_hold *hold;
    struct hf_pin pin;
    int rc = notify_ready(dax, request->lease->recall != NULL);

    if (rc)
        return rc;
    rc = dax_pin_slow(dax, vnode, request, &pin, hole);
    if (rc < 0)
        return rc;
    hold = dax_handle_hold(pin.hf_opaque[0]);
    dax_fill_lease(lease, dax->shm, hold, pin.hf_opaque[1]);
    /* For the process that takes the lease: it is not given before this returns. */
    hold->off = request->off;
    hold->len = request->len;
    return rc;
}

/* 0 with *hold when the handle names a live hold; the owner may have given it away. */
static int check_handle(const struct hf_lease *lease, struct shm_hold **hold)
{
    const struct shm *shm = (const struct shm *)(uintptr_t)lease->hf_opaque[2];

    if (!shm || !(lease->hf_opaque[0] & DAX_PIN_HOLD))
        return -EINVAL;
    if (shm->fork_count != hf_fork_count)
        return -ECHILD;
    *hold = dax_handle_hold(lease->hf_opaque[0]);
    if (shm_hold_given_up(hf_load_acquire(&(*hold)->state)))
        return -EINVAL;
    return hf_load_acquire(&(*hold)->key) == lease->hf_opaque[1] ? 0 : -EINVAL;
}

/* Changes the kind of a hold of this process. A lease becomes an offered one, or a plain pin, which
 * is released like others, and back. */
static bool change_state(const struct hf_lease *lease, struct shm_hold *hold, uint32_t from,
                         uint32_t to)
{
    uint32_t self = ((const struct shm *)(uintptr_t)lease->hf_opaque[2])->self + 1;

    return hf_cas_acq_rel(&hold->state, SHM_HOLD_STATE(from, self), SHM_HOLD_STATE(to, self));
}

int dax_lease_release(const struct hf_lease *lease)
{
    struct hf_pin pin = {{lease->hf_opaque[0], lease->hf_opaque[1], lease->hf_opaque[2]}};
    struct shm_hold *hold;
    int rc = check_handle(lease, &hold);

    if (rc)
        return rc;
    if (!change_state(lease, hold, SHM_HOLD_LEASE, SHM_HOLD_PIN))
        return -EINVAL;
    rc = dax_unpin(&pin);
    if (rc) /* it was another by then: a second release beside the first */
        change_state(lease, hold, SHM_HOLD_PIN, SHM_HOLD_LEASE);
    return rc;
}

int dax_lease_quarantine(const struct hf_lease *lease)
{
    struct shm *shm = (struct shm *)(uintptr_t)lease->hf_opaque[2];
    uint64_t key = lease->hf_opaque[1], first, last;
    struct shm_hold *hold;
    int rc = check_handle(lease, &hold);

    if (rc)
        return rc;
    if (HF_LAB_BROKEN(HF_LAB_GIVEN_UP_FREE))
        return dax_lease_release(lease);
    first = hf_load_acquire(&hold->range.first);
    last = hf_load_acquire(&hold->range.last);
    if (!shm_give_up(shm, hold, key))
        return -EINVAL;
    /* UNPIN.WAKE/p: as of a key, the state is stored before `waiters` is read. A change that waits
     * finds the lease in quarantine, and waits for it no more. */
    slots_wake(shm, shm_vnode_of_key(shm, key), first, last);
    watch_let_go(shm, key, first, last);
    return 0;
}

int dax_lease_state(const struct hf_lease *lease)
{
    struct shm_hold *hold;
    int rc = check_handle(lease, &hold), state;

    if (rc)
        return rc;
    state = (int)hf_load_acquire(&hold->recall.state);
    return hf_load_acquire(&hold->key) == lease->hf_opaque[1] ? state : -EINVAL;
}

int dax_lease_give(const struct hf_lease *lease, struct hf_lease_token *out)
{
    struct shm *shm = (struct shm *)(uintptr_t)lease->hf_opaque[2];
    struct shm_hold *hold;
    uint64_t first, last;
    int rc = check_handle(lease, &hold);

    if (rc)
        return rc;
    first = hf_load_acquire(&hold->range.first);
    last = hf_load_acquire(&hold->range.last);
    /* GIVE.TAKE/m: what the giver did with the lease comes before the offer.
     * Pairs with GIVE.TAKE/p in change_hands(). Without it: the taker reads bytes from before the
     * giver's last. */
    if (!change_state(lease, hold, SHM_HOLD_LEASE, SHM_HOLD_GIVEN))
        return -EINVAL;
    hf_fence_light();
    watch_let_go(shm, lease->hf_opaque[1], first,
                 last); /* the taker too is told what was written */
    out->hf_opaque[0] = shm_place(shm, hold);
    out->hf_opaque[1] = lease->hf_opaque[1];
    return 0;
}

/* --- taking --- */

/* The hold that a token names. The token comes from outside, so it may be no token at all. */
static struct shm_hold *hold_at(const struct shm *shm, const struct hf_lease_token *token)
{
    uint64_t at = token->hf_opaque[0] - shm_place(shm, shm->holds);
    uint64_t index = at / sizeof(struct shm_hold);
    uint64_t vnode = token->hf_opaque[1] & SHM_KEY_VNODE_MASK;

    if (at % sizeof(struct shm_hold) || index >= shm->limits.holds || vnode == 0 ||
        vnode > shm->limits.vnodes)
        return NULL;
    return &shm->holds[index];
}

static int not_offered(void)
{
    return hf_fail(ENOENT, "nobody offers that lease: it was taken, or its giver has died");
}

static bool is_offered(struct shm *shm, const struct shm_hold *hold, uint64_t key, uint32_t state)
{
    uint32_t giver = SHM_HOLD_OWNER(state) - 1;

    return SHM_HOLD_KIND(state) == SHM_HOLD_GIVEN && hf_load_acquire(&hold->key) == key &&
           !shm_process_quarantined(shm, giver) && shm_process_alive(shm, giver);
}

/* Under table_mutex, which keeps the reaper away. */
static int change_hands(struct shm *shm, struct shm_hold *hold, struct shm_lane *lane, uint64_t key)
{
    /* GIVE.TAKE/p: the offer is acquired. Pairs with GIVE.TAKE/m in dax_lease_give(). */
    uint32_t state = hf_load_acquire(&hold->state);

    shm_assert_held(&shm->run->table_mutex);
    if (!is_offered(shm, hold, key, state) || !shm_hand_over(shm, hold, state, lane))
        return not_offered();
    hf_store_release(&hold->range.who, lane->who | SHM_WHO_FLAGS(hold->range.who));
    return 0;
}

/* The memory of the lease. The hold may be wrong, so its bytes are checked to lie on its pages. */
static int lease_pieces(struct dax *dax, struct shm_vnode *vnode, const struct shm_hold *hold,
                        struct mm_pieces *pieces)
{
    uint64_t first = hf_load_acquire(&hold->range.first), last = hf_load_acquire(&hold->range.last);
    uint64_t off = hf_load_acquire(&hold->off), len = hf_load_acquire(&hold->len);
    struct meta_extent hole;
    int rc;

    if (len == 0 || off > HF_FILE_BYTES_MAX || len > HF_FILE_BYTES_MAX - off ||
        off / HF_BLOCK_BYTES != first || (off + len - 1) / HF_BLOCK_BYTES != last)
        return not_offered();
    rc = hf_load_acquire(&hold->recall.state) == HF_LEASE_DETACHED
             ? -ENODATA
             : dax_fault(dax, vnode, first, last, false, pieces, &hole);
    if (rc == -ENODATA)
        return hf_fail(ESTALE,
                       "blocks of the lease have left the file: its giver has to take it back");
    if (rc == 0)
        mm_trim(pieces, off, len);
    return rc;
}

/* Under the layout mutex of its file. */
static int take_given(struct dax *dax, struct shm_vnode *vnode, struct shm_hold *hold, uint64_t key,
                      struct shm_lane *lane, const struct hf_lease_options *options,
                      struct mm_pieces *pieces)
{
    struct shm *shm = dax->shm;
    int rc = 0;

    shm_assert_held(&vnode->mutex);
    if (!is_offered(shm, hold, key, hf_load_acquire(&hold->state)))
        return not_offered();
    if (pieces->room) {
        rc = dax_check_settled(vnode);
        rc = rc ? rc : lease_pieces(dax, vnode, hold, pieces);
    }
    rc = rc ? rc : shm_lock_table(shm);
    if (rc)
        return rc;
    rc = change_hands(shm, hold, lane, key);
    shm_unlock_table(shm);
    if (rc)
        return rc;
    hold->recall.served = options->recall != NULL;
    if (hold->recall.served)
        hf_add_acq_rel(&lane->served, 1);
    notify_register(dax, vnode, hold, key, options);
    recall_again(shm, vnode, hold);
    return 0;
}

int dax_lease_take(struct dax *dax, const struct hf_lease_token *token,
                   const struct dax_request *request, struct hf_lease *lease)
{
    struct shm_hold *hold = hold_at(dax->shm, token);
    struct mm_pieces pieces = {request->iov, request->iovcnt, 0};
    uint64_t key = token->hf_opaque[1];
    struct shm_lane *lane = shm_lane(dax->shm);
    struct shm_vnode *vnode;
    int rc = notify_ready(dax, request->lease->recall != NULL);

    if (rc)
        return rc;
    if (!hold)
        return not_offered();
    if (!lane)
        return shm_no_lane(dax->shm);
    vnode = shm_vnode_of_key(dax->shm, key);
    if (hf_load_acquire(&vnode->state) == SHM_VNODE_FREE)
        return not_offered();
    rc = dax_lock_any(dax, vnode);
    if (rc)
        return rc;
    rc = take_given(dax, vnode, hold, key, lane, request->lease, &pieces);
    dax_unlock(dax, vnode);
    if (rc)
        return rc;
    dax_fill_lease(lease, dax->shm, hold, key);
    return pieces.count;
}
