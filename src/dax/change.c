/* SPDX-License-Identifier: MIT */
/*
 * Layout changes, L1 to L7. One predicate says 'busy' (find_holders), for the first look and for every
 * look after a wait; every way a pin can end goes through slots_wake() or the reaper's wake.
 *
 *   L1  take the layout mutex; wait for other gates over the range; close our gate
 *   L2  zap
 *   L3  engine->zapped(): fence, and the heavy barrier when the file was biased
 *   L4  scan the lanes and the tree of holds
 *   L5  holders: as the policy says. To wait: set waiters, engine->before_wait(), scan again, drop the
 *       mutex, sleep until a pin goes, a tick, or the deadline
 *   L6  the caller's transaction, under the mutex
 *   L7  open the gate, drop the mutex
 *
 * The gate is closed before the zap and both happen under the mutex, so nobody fills an entry of the
 * range between L2 and L7. A change that gives up in L5 leaves a table with fewer entries, and nothing
 * else.
 */
#include "dax/private.h"

#include "base/error.h"
#include "sync/counts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --- L1 --- */

static void close_gate(struct dax_change *change, struct shm_lane *lane, struct shm_gate *gate)
{
    struct shm *shm = change->dax->shm;

    gate->first = change->first;
    gate->last = change->last;
    gate->process = shm->self;
    gate->life = shm->processes[shm->self].life;
    gate->waits = 0;
    gate->since_ns = 0;
    /* GATE.RULE/m: closed last, so that who finds it closed finds whose it is; under the mutex, before
     * the zap. Pairs with GATE.RULE/p in dax_lock() and between_gates(). */
    hf_store_release(&gate->lane, shm_lane_index(shm, lane) + 1);
    change->gate = (uint32_t)(gate - change->vnode->gates);
}

static int give_up(struct dax_change *change, int err, const char *what)
{
    char last[40] = "the end";

    if (change->last != DAX_LAST)
        snprintf(last, sizeof last, "%llu", (unsigned long long)change->last);
    dax_count(&change->dax->shm->run->stats.timeouts, 1);
    return hf_fail(err, "pages %llu to %s of inode %llu: %s", (unsigned long long)change->first,
                   last, (unsigned long long)change->vnode->ino, what);
}

static bool may_wait(const struct hf_policy *policy)
{
    return policy->kind != HF_POLICY_NOWAIT;
}

/* Waits at a gate of another layout change. That one may wait for pins of ours. */
static int at_other_gate(struct dax_change *change, struct shm_lane *lane, struct shm_gate *other)
{
    struct dax *dax = change->dax;
    int rc;

    if (gate_owner_died(dax, other)) {
        gate_open_of_dead(change->vnode, other);
        return 0;
    }
    if (!may_wait(&change->policy))
        return give_up(change, EBUSY, "another layout change is under way there");
    if (gate_self_holds(dax, change->vnode, lane, other->first, other->last))
        return give_up(change, EDEADLK,
                       "a layout change there waits for a pin of this thread: unpin first");
    rc = gate_wait(dax, change->vnode, change->until_ns);
    if (rc == -EINTR)
        return give_up(change, EINTR, "interrupted by a signal");
    if (rc == -ETIMEDOUT)
        return give_up(change, ETIMEDOUT, "another layout change is under way there");
    return rc;
}

static struct shm_gate *free_gate(struct shm_vnode *vnode)
{
    for (unsigned i = 0; i < SHM_GATES; i++)
        if (!vnode->gates[i].lane)
            return &vnode->gates[i];
    return NULL;
}

static int take_gate(struct dax_change *change, struct shm_lane *lane)
{
    struct shm_vnode *vnode = change->vnode;

    dax_lock_any(change->dax, vnode);
    for (;;) {
        struct shm_gate *other = gate_over(vnode, change->first, change->last, NULL);
        struct shm_gate *gate = free_gate(vnode);
        int rc;

        if (!other && gate) {
            close_gate(change, lane, gate);
            return 0;
        }
        rc = at_other_gate(change, lane, other ? other : &vnode->gates[0]);
        if (rc) {
            dax_unlock(change->dax, vnode);
            return rc;
        }
    }
}

/* --- L2, L3 --- */

/* Entries exist only below end of file. A change of the whole file takes the root out. */
static void zap(struct dax_change *change)
{
    struct shm_vnode *vnode = change->vnode;
    struct shm *shm = change->dax->shm;
    uint64_t pages = (hf_load_relaxed(&vnode->size) + HF_BLOCK_BYTES - 1) / HF_BLOCK_BYTES;
    uint64_t last = change->last < pages ? change->last : pages - 1;
    uint32_t pending = vnode->zap_pending;
    const struct sync_engine *engine = change->dax->engine;
    bool cleared = false;

    if (engine->zap_begins)
        engine->zap_begins(shm);
    if (vnode->root && pages && change->first <= last) {
        hf_store_relaxed(&vnode->zap_pending,
                         1u); /* relaxed: for who finds us dead, through the mutex */
        if (change->first == 0 && last == pages - 1) {
            change->old_root = mm_take_root(vnode);
            cleared = true;
        } else {
            cleared = mm_zap(shm, vnode, change->first, last);
        }
    }
    if (!cleared)
        hf_store_relaxed(&vnode->zap_pending, pending); /* relaxed: as above */
    engine->zapped(shm, vnode, cleared);
}

/* --- L4 --- */

/* What a scan has found, and what it makes of it. */
struct finding {
    struct dax_change *change;
    const struct shm_lane *self;
    bool own;         /* a pin of this thread */
    bool copying;     /* a write that is under way */
    uint32_t process; /* of a holder */
    bool collect;     /* remember all, for a detaching policy; else the first will do */
    unsigned count;
    uint32_t *busy; /* nothing else was found but that this block is counted */
};

static int remember(struct dax_change *change, const struct dax_holder *holder)
{
    if (change->holder_count == change->holder_room) {
        unsigned room = change->holder_room ? change->holder_room * 2 : 16;
        struct dax_holder *more = realloc(change->holders, room * sizeof *more);

        if (!more)
            return hf_fail(ENOMEM, "no memory for a list of %u holders", room);
        change->holders = more;
        change->holder_room = room;
    }
    change->holders[change->holder_count++] = *holder;
    return 0;
}

/* Ends a scan that need not go on: 1. */
static int found(struct finding *finding, uint64_t *word, uint64_t key,
                 const struct shm_range *range, uint32_t process, bool own)
{
    struct dax_change *change = finding->change;
    struct shm *shm = change->dax->shm;
    struct dax_holder holder = {shm_at(shm, word), key,
                                range->first > change->first ? range->first : change->first,
                                range->last < change->last ? range->last : change->last};

    if (change->vnode->detached != SHM_NONE &&
        !detach_still_holds(shm, change->vnode, holder.at, key, holder.first, holder.last))
        return 0;
    finding->count++;
    finding->own |= own;
    finding->copying |= SHM_WHO_FLAGS(range->who) & DAX_PIN_COPY;
    finding->process = process;
    if (finding->collect)
        return remember(change, &holder);
    return own; /* another thread's pin: go on, ours may follow, and is the news that matters */
}

static int found_slot(void *arg, const struct sync_holder *holder)
{
    struct finding *finding = arg;

    return found(finding, holder->key, holder->value, &holder->range,
                 hf_load_acquire(&holder->lane->owner) - 1,
                 holder->lane == finding->self &&
                     SHM_WHO_TID(holder->range.who) == finding->self->tid);
}

static int found_hold(void *arg, uint32_t index)
{
    struct finding *finding = arg;
    struct shm_hold *hold = &finding->change->dax->shm->holds[index];
    uint64_t key = hf_load_acquire(&hold->key); /* UNPIN.DONE/m */

    if (!key)
        return 0;
    return found(finding, &hold->key, key, &hold->range,
                 SHM_HOLD_OWNER(hf_load_acquire(&hold->state)) - 1,
                 &finding->change->dax->shm->lanes[hold->lane] == finding->self &&
                     SHM_WHO_TID(hold->range.who) == finding->self->tid);
}

/* The one predicate: fills `finding`. -ENOMEM. */
static int find_holders(struct dax_change *change, bool collect, struct finding *finding)
{
    struct dax *dax = change->dax;
    struct shm_vnode *vnode = change->vnode;
    int rc;

    *finding =
        (struct finding){.change = change, .self = shm_lane_fast(dax->shm), .collect = collect};
    change->holder_count = 0;
    rc =
        dax->engine->scan(dax->shm, vnode->index, change->first, change->last, found_slot, finding);
    if (rc == 0 && (vnode->hold_root != SHM_NONE || vnode->holds_stale)) {
        holds_settle(dax->shm, vnode);
        rc = holds_scan(dax->shm, vnode, change->first, change->last, found_hold, finding);
    }
    if (rc == 0 && finding->count == 0 && dax->engine->counts) {
        rc = counted_find(dax, vnode, change->first, change->last, &finding->busy);
        finding->count = rc > 0;
        finding->process = dax->shm->self; /* as good as any that is alive: nobody knows */
    }
    return rc < 0 ? rc : 0;
}

/* --- L5 --- */

static void record_wait(struct dax_change *change, uint64_t since)
{
    struct shm_stats *stats = &change->dax->shm->run->stats;
    uint64_t ns = hf_now_ns() - since, max;
    unsigned bucket = 63 - (unsigned)__builtin_clzll(ns | 1);

    dax_count(&stats->drains_waited, 1);
    dax_count(&stats->wait_ns_total, ns);
    dax_count(&stats->wait_log2_ns[bucket < SHM_WAIT_BUCKETS ? bucket : SHM_WAIT_BUCKETS - 1], 1);
    while ((max = hf_load_relaxed(&stats->wait_ns_max)) < ns && /* relaxed: a measure */
           !hf_cas_acq_rel(&stats->wait_ns_max, max, ns))
        ;
}

/* Sleeps once, without the mutex, and looks for the dead when that is due, also when others keep waking
 * us. 0: look again; -EINTR. */
static int sleep_once(struct dax_change *change, uint32_t *busy, uint32_t seq, uint64_t *reap_ns)
{
    struct dax *dax = change->dax;
    uint32_t *word = busy ? busy : &change->vnode->drain_seq;
    int rc;

    if (busy) {
        seq = counts_wait(busy);
        if (!seq)
            return 0;
    }
    dax_unlock(dax, change->vnode);
    rc = hf_futex_wait(word, seq, dax_tick(dax, change->until_ns));
    if (busy)
        counts_wait_ends(busy);
    if (hf_now_ns() >= *reap_ns) {
        shm_reap(dax->shm);
        *reap_ns = hf_now_ns() + DAX_TICK_NS;
    }
    dax_lock_any(dax, change->vnode);
    return rc == -EINTR ? rc : 0;
}

static bool detaches(const struct dax_change *change)
{
    return change->policy.kind == HF_POLICY_DETACH ||
           change->policy.kind == HF_POLICY_DEADLINE_DETACH;
}

static bool past_deadline(const struct dax_change *change)
{
    return change->until_ns != HF_NEVER && hf_now_ns() >= change->until_ns;
}

/* What the policy makes of the holders that were found. 1: wait; 0: go on; -errno. */
static int judge(struct dax_change *change, const struct finding *finding)
{
    uint32_t kind = change->policy.kind;

    if (finding->count == 0)
        return 0;
    if (kind == HF_POLICY_NOWAIT)
        return give_up(change, EBUSY, "pinned (holdfast pins says by whom)");
    if (kind == HF_POLICY_DETACH)
        return finding->copying;
    if (finding->own)
        return give_up(change, EDEADLK, "this thread holds a pin there itself: unpin first");
    if (!past_deadline(change))
        return 1;
    if (kind == HF_POLICY_DEADLINE)
        return give_up(change, ETIMEDOUT,
                       "still pinned at the deadline (holdfast pins says by whom)");
    return finding->copying;
}

static int drain(struct dax_change *change)
{
    struct dax *dax = change->dax;
    struct shm_vnode *vnode = change->vnode;
    struct shm_gate *gate = &vnode->gates[change->gate];
    struct finding finding;
    uint64_t since = 0, reap_ns = 0;
    bool reaped = false;
    int rc;

    for (;;) {
        uint32_t seq = hf_load_acquire(&vnode->drain_seq);

        rc = find_holders(change, detaches(change), &finding);
        if (rc == 0 && finding.count && !reaped && !shm_process_alive(dax->shm, finding.process)) {
            reaped = true; /* nobody is refused, or waits, because of the dead */
            shm_reap(dax->shm);
            continue;
        }
        rc = rc ? rc : judge(change, &finding);
        if (rc != 1)
            break;
        if (!gate->waits) {
            since = since ? since : hf_now_ns();
            gate->since_ns = since;
            gate->waits = 1;
            gate_waits_changed(vnode);
            reap_ns = since + DAX_TICK_NS;
            dax->engine->before_wait(dax->shm, vnode);
            continue; /* and look once more, now that every unpin wakes */
        }
        rc = sleep_once(change, finding.busy, seq, &reap_ns);
        if (rc) {
            rc = give_up(change, EINTR, "interrupted by a signal while it was pinned");
            break;
        }
    }
    if (since) {
        record_wait(change, since);
        gate->waits = 0;
        gate_waits_changed(vnode);
    }
    return rc;
}

/* --- the whole --- */

/* Sets until_ns; -EINVAL. */
static int resolve_policy(struct dax_change *change, const struct hf_policy *policy)
{
    const struct hf_policy *resolved =
        policy && policy->kind != HF_POLICY_DEFAULT ? policy : &change->dax->policy;
    bool timed =
        resolved->kind == HF_POLICY_DEADLINE || resolved->kind == HF_POLICY_DEADLINE_DETACH;
    uint64_t now;

    if (policy && (policy->kind > HF_POLICY_DEADLINE_DETACH || policy->reserved))
        return hf_fail(EINVAL, "policy kind %u or its reserved field is not known", policy->kind);
    if (policy && policy == resolved && !timed && policy->deadline_ns)
        return hf_fail(EINVAL, "a deadline is given with a policy that has none");
    change->policy = *resolved;
    change->until_ns = HF_NEVER;
    if (timed) {
        now = hf_now_ns();
        change->until_ns =
            resolved->deadline_ns < HF_NEVER - 1 - now ? now + resolved->deadline_ns : HF_NEVER - 1;
    }
    return 0;
}

int dax_change_begin(struct dax *dax, struct shm_vnode *vnode, uint64_t first, uint64_t last,
                     const struct hf_policy *policy, struct dax_change *change)
{
    struct shm_lane *lane = shm_lane(dax->shm);
    int rc;

    *change = (struct dax_change){
        .dax = dax, .vnode = vnode, .first = first, .last = last, .detached = SHM_NONE};
    if (!lane)
        return hf_fail(ENOLCK, "all %u thread entries are taken (mkpool --max-threads)",
                       dax->shm->run->limits.lanes);
    rc = resolve_policy(change, policy);
    if (rc == 0 && dax->engine->counts && detaches(change))
        rc = hf_fail(EOPNOTSUPP, "engine %s does not know who holds, so nothing can be detached",
                     dax->engine->name);
    rc = rc ? rc : take_gate(change, lane);
    if (rc)
        return rc;
    dax_count(&dax->shm->run->stats.changes, 1);
    hf_store_release(&vnode->changes,
                     vnode->changes + 1); /* keeps the bias away, also during our barrier */
    zap(change);
    rc = drain(change);
    if (rc)
        dax_change_end(change, false);
    return rc;
}

void dax_change_pause(struct dax_change *change)
{
    change->passed = change->vnode->passed;
    dax_unlock(change->dax, change->vnode);
}

int dax_change_resume(struct dax_change *change)
{
    int rc;

    dax_lock_any(change->dax, change->vnode);
    rc = drain(change);
    if (rc)
        dax_change_end(change, false);
    return rc ? rc : change->vnode->passed != change->passed;
}

void dax_change_intend(struct dax_change *change, uint64_t version, uint64_t size)
{
    change->vnode->pending_size = size;
    hf_store_release(&change->vnode->pending_version, version);
}

/* L7. A walk of any page of the file, also behind its end, can still be in the nodes of the old root:
 * they are freed when no slot of the file is left, else they stay the vnode's until it goes. A root that
 * was taken out for a change that was given up goes back, since the gate kept new ones away. */
static void settle_tables(struct dax_change *change, bool committed)
{
    struct shm_vnode *vnode = change->vnode;
    struct dax *dax = change->dax;

    if (!change->old_root)
        return;
    if (!committed && !vnode->root)
        hf_store_release(&vnode->root, change->old_root); /* ENTRY.PUB/m */
    else if (gate_anybody(dax, vnode))
        vnode->stray_nodes = 1;
    else if (vnode->stray_nodes && !vnode->root)
        mm_free_all(dax->shm, vnode);
    else
        mm_free_tree(dax->shm, change->old_root);
}

void dax_change_end(struct dax_change *change, bool committed)
{
    struct shm_vnode *vnode = change->vnode;

    if (committed) {
        /* SIZE.PUB/m: relaxed readers may see it late; the gate opens after it. */
        hf_store_release(&vnode->size, vnode->pending_size);
        detach_commit(change);
    } else {
        detach_abort(change);
    }
    hf_store_release(&vnode->pending_version, UINT64_C(0));
    settle_tables(change, committed);
    gate_open(vnode, &vnode->gates[change->gate]);
    dax_unlock(change->dax, vnode);
    free(change->holders);
    change->holders = NULL;
}
