/* SPDX-License-Identifier: MIT */
/*
 * Recall: a layout change that meets a lease asks its holder to release it. The asking process
 * writes what it wants into the hold, puts the hold's number into the holder's process entry, and
 * wakes the holder. All of it happens under the file's layout mutex. The holder's side is notify.c.
 */
#include "dax/recall.h"

#include "base/trace.h"
#include "dax/private.h"

void recall_wake(struct shm_process *process)
{
    /* RECALL.WAKE/m: raised after the hold's number was posted.
     * Pairs with RECALL.WAKE/p in serve(). Without it: the holder sleeps over a recall. */
    hf_add_acq_rel(&process->recall_seq, 1);
    hf_futex_wake_all(&process->recall_seq);
}

static void post(struct shm *shm, struct shm_hold *hold)
{
    uint32_t owner = SHM_HOLD_OWNER(hf_load_acquire(&hold->state)), i = 0;
    struct shm_process *process = shm_process_at(shm, owner - 1);

    while (i < SHM_RECALLS &&
           !hf_cas_acq_rel(&process->recalls[i], 0u, (uint32_t)(hold - shm->holds) + 1))
        i++;
    if (i == SHM_RECALLS)
        hf_store_release(&process->recalls_more, 1u);
    HF_TRACE(recall, shm_vnode_at(shm, hold->vnode)->ino, recall_want_of(hold)->first,
             recall_want_of(hold)->last, process->pid, recall_want_of(hold)->why);
    recall_wake(process);
}

/* Also for a lease that has changed hands, or with a recall that is still pending. */
static void pend(struct shm *shm, struct shm_hold *hold)
{
    hf_store_release(&hold->recall.asked, hf_load_acquire(&hold->recall.asked) | SHM_ASKED_PENDING);
    post(shm, hold);
}

/* Blocks that have left do not come back. */
static void raise_state(struct shm_hold *hold, uint32_t state)
{
    if (state > hf_load_acquire(&hold->recall.state))
        hf_store_release(&hold->recall.state, state);
}

static void ask(struct shm *shm, struct shm_hold *hold, const struct shm_want *want)
{
    uint32_t other = (hf_load_acquire(&hold->recall.asked) & SHM_ASKED_WHICH) ^ SHM_ASKED_WHICH;

    hold->recall.wants[other] = *want;
    hf_store_release(&hold->recall.asked, other | SHM_ASKED_PENDING);
    raise_state(hold, want->state);
    post(shm, hold);
}

struct shm_want recall_make_want(const struct dax_change *change, const struct shm_range *range,
                                 uint32_t state)
{
    bool waits = change->policy.kind != HF_POLICY_NOWAIT &&
                 change->policy.kind != HF_POLICY_DETACH && !dax_client_nowait();

    return (struct shm_want){
        .change = change->id,
        .first = range->first > change->first ? range->first : change->first,
        .last = range->last < change->last ? range->last : change->last,
        .deadline_ns = waits ? change->until_ns : 0,
        .why = change->why,
        .state = state,
    };
}

static void ask_for(struct dax_change *change, struct shm_hold *hold)
{
    struct shm_want want = recall_make_want(change, &hold->range, HF_LEASE_RECALLED);

    ask(change->dax->shm, hold, &want);
}

void recall_ask(struct dax_change *change, struct shm_hold *hold)
{
    shm_assert_held(&change->vnode->mutex);
    /* Of two changes that wait, the later one counts. Otherwise each look of one would undo what
     * the other has noted, and ask again. */
    if (recall_want_of(hold)->change >= change->id || change->policy.kind == HF_POLICY_DETACH)
        return;
    dax_count(&change->dax->shm->run->stats.recalls, 1);
    ask_for(change, hold);
}

void recall_before_detach(struct dax_change *change, struct shm_hold *hold)
{
    shm_assert_held(&change->vnode->mutex);
    if (recall_want_of(hold)->change != change->id)
        ask_for(change, hold);
    else if (!recall_is_pending(hold))
        pend(change->dax->shm, hold);
}

void recall_detached(struct shm *shm, const struct shm_vnode *vnode, struct shm_hold *hold,
                     const struct shm_want *want)
{
    const struct shm_want *before = recall_want_of(hold);
    struct shm_want all = *want;

    shm_assert_held(&vnode->mutex);
    if (recall_is_pending(hold) && before->change == want->change && before->state == want->state) {
        all.first = before->first < all.first ? before->first : all.first;
        all.last = before->last > all.last ? before->last : all.last;
    }
    ask(shm, hold, &all);
}

void recall_again(struct shm *shm, const struct shm_vnode *vnode, struct shm_hold *hold)
{
    shm_assert_held(&vnode->mutex);
    if (hf_load_acquire(&hold->recall.state) != HF_LEASE_HELD)
        pend(shm, hold);
}

void recall_recover(struct shm *shm, const struct shm_vnode *vnode)
{
    shm_assert_held(&vnode->mutex);
    for (uint32_t i = 0; i < shm_holds_high(shm); i++) {
        struct shm_hold *hold = &shm->holds[i];

        if (hf_load_acquire(&hold->vnode) != shm_vnode_number(shm, vnode) || !hold_is_lease(hold) ||
            !recall_is_pending(hold))
            continue;
        raise_state(hold, recall_want_of(hold)->state);
        post(shm, hold);
    }
}
