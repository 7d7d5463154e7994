/* SPDX-License-Identifier: MIT */
/*
 * Layout changes, L1 to L7. One predicate says whether a range is busy (find_holders()): in the
 * first look, and in every look after a wait. Every way in which a pin can end goes through
 * slots_wake() or the reaper's wake.
 *
 *   L1  take the layout mutex; wait for other gates over the range; close our gate
 *   L2  zap
 *   L3  engine->zapped(): fence, and the heavy barrier when the file was biased. An engine that
 *       waits for walks may fail in L2 or L3: then go to L5, and come again
 *   L4  scan the lanes and the tree of holds
 *   L5  holders: as the policy says. To wait: set waiters, engine->before_wait(), scan again, drop
 *       the mutex, sleep until a pin goes, a tick, or the deadline
 *   L6  the caller's transaction, under the mutex
 *   L7  open the gate, drop the mutex
 *
 * The gate is closed before the zap, and both happen under the mutex. So no thread fills an entry
 * of the range between L2 and L7. A change that gives up, in L5 or in its transaction, leaves a
 * table with fewer entries, and nothing else. docs/ORDERING.md 3.30 says what each step leaves, and
 * what undoes it.
 */
#include "dax/private.h"

#include "base/error.h"
#include "base/fence.h"
#include "base/trace.h"
#include "sync/counts.h"

#include <errno.h>
#include <inttypes.h>
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
    gate->term++;
    hf_store_relaxed(&gate->given_up, 0u); /* relaxed: the store of lane follows */
    /* GATE.RULE/m: closed last, so that a thread that finds it closed finds its owner there; under
     * the mutex, before the zap. Pairs with GATE.RULE/p in dax_lock() and between_gates(). */
    hf_store_release(&gate->lane, shm_lane_index(shm, lane) + 1);
    change->gate = (uint32_t)(gate - change->vnode->gates);
}

static int say_why(const struct dax_change *change, int err, const char *what)
{
    char last[40] = "the end";

    if (change->last != DAX_LAST)
        snprintf(last, sizeof last, "%" PRIu64, change->last);
    return hf_fail(err, "pages %" PRIu64 " to %s of inode %" PRIu64 ": %s", change->first, last,
                   change->vnode->ino, what);
}

static int give_up(struct dax_change *change, int err, const char *what)
{
    dax_count_end(change->dax, -err);
    return say_why(change, err, what);
}

/* Keeps the sentence of the failure. */
static int give_up_as_said(struct dax_change *change, int err)
{
    char what[200];

    snprintf(what, sizeof what, "%s", hf_strerror_detail());
    return give_up(change, err, what);
}

static bool may_wait(const struct hf_policy *policy)
{
    return policy->kind != HF_POLICY_NOWAIT;
}

static int in_cycle(struct dax_change *change)
{
    dax_count(&change->dax->shm->run->stats.deadlocks, 1);
    return say_why(change, EDEADLK,
                   "layout changes wait for each other's pins in a circle, and this is the "
                   "youngest: unpin first");
}

/* Fails with the process that has the gate, for the sentence. */
static int at_gate_of(struct dax_change *change, int err, const struct shm_gate *other)
{
    const struct shm *shm = change->dax->shm;
    const struct shm_process *process = shm_process_at(shm, other->process);
    char what[160];

    snprintf(what, sizeof what, "another layout change is under way there, of process %u (%.15s)%s",
             process->pid, process->command,
             shm_process_stopped(shm, other->process) ? ", which is stopped" : "");
    return give_up(change, err, what);
}

/* Sleeps once at the gate of another layout change. 0: look again; else the mutex is not held. */
static int sleep_at_gate(struct dax_change *change, const struct shm_gate *other,
                         struct shm_waiting *waiting)
{
    struct dax *dax = change->dax;
    struct shm_bound before = shm_bound;
    int rc;

    /* The same wait, however often it is woken. */
    if (!change->lane->wait.number || change->lane->wait.gate_lane != other->lane)
        wait_begins(change, other->lane);
    dax_policy_bound(&shm_bound, &change->policy, change->until_ns);
    rc = gate_wait(dax, change->vnode, other, waiting);
    shm_bound = before;
    if (rc)
        return dax_count_end(change->dax, rc);
    dax_unlock(dax, change->vnode);
    if (wait_cancelled(change))
        return give_up(change, EINTR, "interrupted by a signal, or cancelled");
    if (wait_in_cycle(change))
        return in_cycle(change);
    return dax_count_end(change->dax, dax_lock_any(dax, change->vnode));
}

/* The other change may wait for pins of this thread. 0: wait. */
static int may_wait_at(struct dax_change *change, const struct shm_gate *other)
{
    if (!may_wait(&change->policy))
        return at_gate_of(change, EBUSY, other);
    if (scan_own(change->dax, change->vnode, change->lane, other->first, other->last))
        return give_up(change, EDEADLK,
                       "a layout change there waits for a pin of this thread: unpin first");
    if (dax_client_nowait())
        return at_gate_of(change, EAGAIN, other);
    return 0;
}

/* Waits at a gate of another layout change. 0: look again; else the mutex is not held. */
static int at_other_gate(struct dax_change *change, struct shm_gate *other,
                         struct shm_waiting *waiting)
{
    int rc;

    if (gate_owner_died(change->dax, other)) {
        gate_open_of_dead(change->vnode, other);
        return 0;
    }
    rc = may_wait_at(change, other);
    if (rc == 0)
        return sleep_at_gate(change, other, waiting);
    dax_unlock(change->dax, change->vnode);
    return rc;
}

static struct shm_gate *free_gate(struct shm_vnode *vnode)
{
    for (unsigned i = 0; i < SHM_GATES; i++)
        if (!vnode->gates[i].lane)
            return &vnode->gates[i];
    return NULL;
}

/* All gates are closed, and any of them will do. A change that does not wait for a pin of this
 * thread is preferred. */
static struct shm_gate *any_gate(struct dax_change *change)
{
    struct shm_vnode *vnode = change->vnode;

    for (unsigned i = 0; i < SHM_GATES; i++) {
        struct shm_gate *gate = &vnode->gates[i];

        if (!scan_own(change->dax, vnode, change->lane, gate->first, gate->last))
            return gate;
    }
    return &vnode->gates[0];
}

static int take_gate(struct dax_change *change)
{
    struct shm_vnode *vnode = change->vnode;
    struct shm_waiting waiting;
    int rc = dax_count_end(change->dax, dax_lock_any(change->dax, vnode));

    if (rc)
        return rc;
    shm_waiting_begin(&waiting, true, &change->lane->blocked);
    do {
        struct shm_gate *other = gate_over(vnode, change->first, change->last, NULL);
        struct shm_gate *gate = free_gate(vnode);

        if (!other && gate) {
            close_gate(change, change->lane, gate);
            break;
        }
        rc = at_other_gate(change, other ? other : any_gate(change), &waiting);
    } while (rc == 0);
    shm_waiting_end(&waiting);
    wait_ends(change);
    return rc;
}

/* --- L2, L3 --- */

/* Entries exist only below end of file. A change of the whole file takes the root out. It does not
 * while nodes of an earlier root still wait until the slots of their time go. Else a pin that lives
 * long would keep one more table at each change.
 *
 * -EBUSY, -EINTR: an engine that waits for walks has given that up; zap() again, now or, if the
 * mutex was dropped, later. Until then, zap_pending says that the walks from before are not known
 * to have ended. */
static int zap(struct dax_change *change)
{
    struct shm_vnode *vnode = change->vnode;
    struct shm *shm = change->dax->shm;
    uint64_t pages = dax_pages_up(hf_load_relaxed(&vnode->size));
    uint64_t last = change->last < pages ? change->last : pages - 1;
    uint32_t pending = vnode->zap_pending;
    const struct sync_engine *engine = change->dax->engine;
    bool cleared = false;
    int rc = engine->zap_begins ? engine->zap_begins(shm) : 0;

    if (rc)
        return rc;
    if (vnode->root && pages && change->first <= last) {
        /* GRACE.KEEP/p: set before the zap, and as it was where nothing is cleared. Pairs with
         * GRACE.KEEP/m in srcu_zapped(). Relaxed: read through the mutex, also after our death. */
        hf_store_relaxed(&vnode->zap_pending, 1u);
        if (change->collapses)
            change->leaf = mm_take_leaf(shm, vnode, change->first);
        if (change->leaf.link) {
            cleared = true;
        } else if (change->first == 0 && last == pages - 1 && !vnode->stray_nodes && !change->now &&
                   !change->old_root) {
            change->old_root = mm_take_root(vnode);
            change->gateless = vnode->gateless;
            cleared = true;
        } else {
            cleared = mm_zap(shm, vnode, change->first, last);
        }
    }
    if (!cleared)
        hf_store_relaxed(&vnode->zap_pending, pending); /* relaxed: as above */
    rc = engine->zapped(shm, vnode, cleared);
    change->zapped = rc == 0;
    HF_TRACE(zap, vnode->ino, change->first, change->last, (uint32_t)cleared);
    return rc;
}

/* --- L4 --- */

/* What a scan has found, and what follows from it. */
struct finding {
    struct dax_change *change;
    bool all;          /* goes on after the first that has to be waited for */
    bool own;          /* a pin of this thread */
    bool copying;      /* a write that is under way */
    unsigned count;    /* that have to be waited for, or detached as the policy says */
    uint32_t *busy;    /* nothing else was found but that this block is counted */
    bool walking;      /* nor was looked for, since walks from before L2 are under way */
    struct held first; /* of those counted, or the first that copies */
};

static int remember_holder(struct dax_change *change, const struct held *held)
{
    const struct shm_range *range = &held->range;
    const struct dax_holder holder = {
        .at = shm_place(change->dax->shm, held->word),
        .key = held->key,
        .first = range->first > change->first ? range->first : change->first,
        .last = range->last < change->last ? range->last : change->last,
    };

    return holders_add(change, &holder);
}

/* A device may still write for a process that died before this run segment was made. */
static int remember_ghosts(struct dax_change *change)
{
    struct shm_run *run = change->dax->shm->run;
    struct held ghosts = {.word = &run->ghost_key, .key = 1, .range = {0, MM_LAST_PAGE, 0}};

    return hf_load_acquire(&run->ghost_key) ? remember_holder(change, &ghosts) : 0;
}

static bool detaches(const struct dax_change *change)
{
    return dax_policy_detaches(change->policy.kind);
}

/* A device may still be writing to blocks for a dead process. These are detached whatever the
 * policy says, since no process can be asked to release them. After another's pin the scan goes on:
 * a pin of our own may follow, and that one decides. */
static int note_holder(void *arg, const struct held *held)
{
    struct finding *finding = arg;
    struct dax_change *change = finding->change;
    struct shm *shm = change->dax->shm;
    bool copying;

    if (held_in_quarantine(shm, held) || change->now ||
        (change->shares &&
         (hold_is_lease(held->hold) || !(SHM_WHO_FLAGS(held->range.who) & HF_PIN_WRITE))))
        return remember_holder(change, held);
    copying = SHM_WHO_FLAGS(held->range.who) & DAX_PIN_COPY;
    if (finding->count++ == 0 || (copying && !finding->copying))
        finding->first = *held;
    finding->own |= held_by_caller(held, shm, change->lane);
    finding->copying |= copying;
    if (hold_is_lease(held->hold))
        recall_ask(change, held->hold);
    if (detaches(change))
        return remember_holder(change, held);
    return finding->own || !finding->all;
}

static int note_counted(void *arg, uint64_t page, uint32_t *count)
{
    struct finding *finding = arg;

    if (finding->change->now)
        return holders_add_counted(finding->change, page);
    finding->busy = count;
    return finding->count = 1;
}

/* Fills `finding`; `all`: to recall all leases, or to remember all holders for a policy that
 * detaches. -ENOMEM. */
static int find_holders(struct dax_change *change, bool all, struct finding *finding)
{
    struct dax *dax = change->dax;
    int rc;

    memset(finding, 0, offsetof(struct finding, first));
    finding->change = change;
    finding->all = all;
    change->holder_count = 0;
    rc = remember_ghosts(change);
    rc = rc ? rc : scan_held(dax, change->vnode, change->first, change->last, note_holder, finding);
    if (rc == 0 && finding->count == 0)
        rc = dax->pinning->find(dax, change->vnode, change->first, change->last, note_counted,
                                finding);
    if (rc >= 0 && change->holder_count)
        rc = holders_order(change);
    return rc < 0 ? rc : 0;
}

/* L2 and L3, unless they are done, and L4. A walk that does not end is waited for like a pin. */
static int look_for_pins(struct dax_change *change, bool all, struct finding *finding)
{
    int rc = change->zapped ? 0 : zap(change);

    if (rc == 0)
        return find_holders(change, all, finding);
    *finding = (struct finding){.change = change, .count = 1, .walking = true};
    return rc == -EBUSY ? 0 : give_up_as_said(change, -rc);
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

/* Looks for the dead and for cycles now and then, also when others keep waking us. True: this
 * change is the youngest in a cycle. Without the mutex. */
static bool look_around(struct dax_change *change, uint64_t *look_ns)
{
    if (hf_now_ns() < *look_ns)
        return false;
    shm_reap(change->dax->shm);
    *look_ns = hf_now_ns() + DAX_TICK_NS;
    return wait_in_cycle(change);
}

static bool past_deadline(const struct dax_change *change)
{
    return change->until_ns != HF_NEVER && hf_now_ns() >= change->until_ns;
}

/* Takes the mutex again. An error: it cannot be had, so nobody can open the gate now. */
static int lock_again(struct dax_change *change)
{
    int rc = dax_count_end(change->dax, dax_lock_any(change->dax, change->vnode));

    change->lost = rc != 0;
    return rc;
}

/* Under the mutex; drops it to sleep. 0: look again; -EINTR, -EDEADLK; others: lock_again(). */
static int sleep_once(struct dax_change *change, uint32_t *busy, uint32_t seq, uint64_t *look_ns)
{
    struct dax *dax = change->dax;
    uint32_t *word = busy ? busy : &change->vnode->drain_seq;
    uint64_t until = dax_tick(dax, past_deadline(change) ? HF_NEVER : change->until_ns);
    bool cycle;
    int rc, lost;

    shm_assert_held(&change->vnode->mutex);
    if (wait_cancelled(change))
        return -EINTR;
    if (busy) {
        seq = counts_wait(busy);
        if (!seq)
            return 0;
    }
    dax_unlock(dax, change->vnode);
    rc = hf_futex_wait(word, seq, until < *look_ns ? until : *look_ns);
    if (busy)
        counts_wait_ends(busy);
    cycle = look_around(change, look_ns);
    lost = lock_again(change);
    if (lost)
        return lost;
    if (rc == -EINTR || wait_cancelled(change))
        return -EINTR;
    return cycle ? -EDEADLK : 0;
}

/* Fails with a sentence that names a holder. */
static int held_by_others(struct dax_change *change, int err, const struct finding *finding)
{
    const struct shm *shm = change->dax->shm;
    char what[160];

    if (finding->walking)
        return give_up_as_said(change, err);
    if (finding->busy) {
        snprintf(what, sizeof what, "pinned; engine %s does not know which process holds it",
                 change->dax->engine->name);
    } else {
        const struct shm_process *process = &shm->processes[finding->first.process];

        snprintf(what, sizeof what, "%s by process %u (%.15s)%s; holdfast pins says more",
                 hold_is_lease(finding->first.hold) ? "leased" : "pinned", process->pid,
                 process->command,
                 err != EAGAIN && shm_process_stopped(shm, finding->first.process)
                     ? ", which is stopped and cannot let go"
                     : "");
    }
    return give_up(change, err, what);
}

/* Held pages that stay in the file are copied, so the file has what a write had copied before it
 * was detached. The write is made again at the same place. But a collapse or an insert moves its
 * bytes, and then some of them would be in the file twice. */
static bool writes_go_again(const struct dax_change *change)
{
    return change->why != HF_CHANGE_COLLAPSE && change->why != HF_CHANGE_INSERT;
}

/* The policy detaches, and only a write is to be waited for. */
static int await_copy(struct dax_change *change, const struct finding *finding, uint64_t since)
{
    if (!since || hf_now_ns() - since < SHM_MOMENT_NS ||
        !shm_process_stopped(change->dax->shm, finding->first.process))
        return 1;
    return held_by_others(change, change->policy.kind == HF_POLICY_DETACH ? EBUSY : ETIMEDOUT,
                          finding);
}

/* What the policy says of the holders that were found, with a wait since then (0: not yet). 1:
 * wait; 0: go on; -errno. */
static int apply_policy(struct dax_change *change, const struct finding *finding, uint64_t since)
{
    uint32_t kind = change->policy.kind;
    bool copying = finding->copying && !writes_go_again(change);

    if (finding->count == 0)
        return 0;
    if (kind == HF_POLICY_NOWAIT)
        return held_by_others(change, EBUSY, finding);
    if (kind == HF_POLICY_DETACH)
        return copying ? await_copy(change, finding, since) : 0;
    if (finding->own)
        return give_up(change, EDEADLK,
                       "this thread holds a pin there itself, or the one that it acts for: unpin "
                       "first");
    if (!past_deadline(change))
        return 1;
    if (kind == HF_POLICY_DEADLINE)
        return held_by_others(change, ETIMEDOUT, finding);
    return copying ? await_copy(change, finding, since) : 0;
}

/* Writes that copy into the range are detached like pins, and told to copy again. Under the mutex,
 * before any page of the range is copied. */
static int detach_writes(struct dax_change *change)
{
    struct finding finding;

    shm_assert_held(&change->vnode->mutex);
    hf_store_release(&change->vnode->redo, change->vnode->redo + 1);
    /* COPY.SB/m: the word is raised before the slots are looked at once more. Pairs with COPY.SB/p
     * in write_inside(). Without it: a write that is found here does not go again, and what it
     * copies from now on is lost. */
    hf_fence_full();
    return find_holders(change, true, &finding);
}

/* A holder belongs to a dead process: reaps dead processes, so that no change fails or waits
 * because of them. */
static bool found_dead(struct dax_change *change, const struct finding *finding)
{
    struct shm *shm = change->dax->shm;

    if (finding->count == 0 || finding->busy || finding->walking ||
        shm_process_alive(shm, finding->first.process))
        return false;
    shm_reap(shm);
    return true;
}

static void begin_waiting(struct dax_change *change, struct shm_gate *gate)
{
    gate->waits = 1;
    gate_waits_changed(change->vnode);
    wait_begins(change, 0);
    change->dax->engine->before_wait(change->dax->shm, change->vnode);
}

static int drain(struct dax_change *change)
{
    struct shm_vnode *vnode = change->vnode;
    struct shm_gate *gate = &vnode->gates[change->gate];
    struct finding finding;
    uint64_t since = 0, look_ns = 0;
    bool reaped = false;
    int rc;

    for (;;) {
        uint32_t seq = hf_load_acquire(&vnode->drain_seq);

        rc = look_for_pins(change, !since || detaches(change), &finding);
        if (rc == 0 && !reaped && found_dead(change, &finding)) {
            reaped = true;
            continue;
        }
        rc = rc ? rc : apply_policy(change, &finding, since);
        if (rc == 1 && dax_client_nowait())
            rc = held_by_others(change, EAGAIN, &finding);
        if (rc != 1)
            break;
        if (!since) {
            since = hf_now_ns();
            look_ns = since + DAX_FIRST_LOOK_NS;
            begin_waiting(change, gate);
            HF_TRACE(drain_wait_begin, vnode->ino, change->first, change->last, finding.count);
            continue; /* and look once more, now that every unpin wakes */
        }
        rc = sleep_once(change, finding.busy, seq, &look_ns);
        if (change->lost)
            break;
        if (rc) {
            rc = rc == -EDEADLK
                     ? in_cycle(change)
                     : give_up(change, EINTR,
                               "interrupted by a signal, or cancelled, while it was held");
            break;
        }
    }
    if (rc == 0 && finding.copying)
        rc = detach_writes(change);
    if (since) {
        record_wait(change, since);
        HF_TRACE(drain_wait_end, vnode->ino, change->first, change->last, hf_now_ns() - since,
                 (uint32_t)-rc);
        wait_ends(change);
    }
    if (since && !change->lost) {
        gate->waits = 0;
        gate_waits_changed(vnode);
    }
    return rc;
}

/* --- the whole --- */

static void set_policy(struct dax_change *change, const struct hf_policy *policy)
{
    change->policy = *policy;
    change->until_ns = HF_NEVER;
    if (dax_policy_timed(policy->kind)) /* of the call, which has begun before */
        change->until_ns = shm_bound.until_ns ? shm_bound.until_ns : dax_policy_until(policy);
}

static int set_up(struct dax *dax, struct shm_vnode *vnode, uint64_t first, uint64_t last,
                  struct dax_change *change)
{
    struct shm_lane *lane = shm_lane(dax->shm);

    *change = (struct dax_change){.dax = dax,
                                  .vnode = vnode,
                                  .lane = lane,
                                  .first = first,
                                  .last = last,
                                  .detached = SHM_NONE};
    return lane ? 0 : shm_no_lane(dax->shm);
}

/* After L1. */
static void count_change(struct dax_change *change)
{
    uint64_t *changes = &change->dax->shm->run->stats.changes;
    struct shm_vnode *vnode = change->vnode;

    change->id = hf_add_relaxed(changes, 1) + 1; /* relaxed: only its being unique */
    /* Keeps the bias away, also during our barrier. */
    hf_store_release(&vnode->changes, vnode->changes + 1);
}

/* L1 to L5. */
static int begin(struct dax_change *change, const struct hf_policy *policy)
{
    struct dax *dax = change->dax;
    int rc = 0;

    shm_assert_none_held();
    set_policy(change, policy);
    HF_BUG_ON(change->shares && detaches(change));
    if (detaches(change) && !sync_knows_holders(dax->engine))
        rc = hf_fail(EOPNOTSUPP, "engine %s does not know who holds, so nothing can be detached",
                     dax->engine->name);
    rc = rc ? rc : take_gate(change);
    if (rc)
        return rc;
    count_change(change);
    rc = drain(change);
    if (rc)
        dax_change_end(change, false);
    return rc;
}

int dax_change_begin(struct dax *dax, struct shm_vnode *vnode, uint64_t first, uint64_t last,
                     enum hf_change_kind why, const struct hf_policy *policy,
                     struct dax_change *change)
{
    int rc = set_up(dax, vnode, first, last, change);

    change->why = why;
    return rc ? rc : begin(change, policy);
}

int dax_share_begin(struct dax *dax, struct shm_vnode *vnode, uint64_t first, uint64_t last,
                    const struct hf_policy *policy, struct dax_change *change)
{
    int rc = set_up(dax, vnode, first, last, change);

    change->shares = true;
    return rc ? rc : begin(change, policy);
}

/* After set_up(), under the mutex. */
static int begin_now(struct dax_change *change)
{
    struct shm_vnode *vnode = change->vnode;
    struct finding finding;
    int rc;

    shm_assert_held(&change->vnode->mutex);
    change->now = change->keeps_mutex = true;
    hf_store_relaxed(&vnode->gateless, vnode->gateless + 1); /* relaxed: under the mutex */
    count_change(change);
    rc = zap(change);
    if (rc == 0)
        tables_look(change);
    rc = rc ? rc : find_holders(change, true, &finding);
    if (rc)
        dax_change_end(change, false);
    return rc;
}

int dax_change_now(struct dax *dax, struct shm_vnode *vnode, uint64_t first, uint64_t last,
                   struct dax_change *change)
{
    int rc = set_up(dax, vnode, first, last, change);

    shm_assert_held(&vnode->mutex);
    return rc ? rc : begin_now(change);
}

int dax_collapse_begin(struct dax *dax, struct shm_vnode *vnode, uint64_t first,
                       struct dax_change *change)
{
    int rc = set_up(dax, vnode, first, first + MM_HUGE_PAGES - 1, change);

    shm_assert_held(&vnode->mutex);
    change->collapses = true;
    return rc ? rc : begin_now(change);
}

void dax_change_pause(struct dax_change *change)
{
    shm_assert_held(&change->vnode->mutex);
    change->passed = change->vnode->passed;
    dax_unlock(change->dax, change->vnode);
}

int dax_change_look(struct dax_change *change)
{
    struct finding finding;
    int rc;

    shm_assert_held(&change->vnode->mutex);
    rc = find_holders(change, true, &finding);
    rc = rc ? rc : apply_policy(change, &finding, 0);
    return rc == 0 && finding.copying ? detach_writes(change) : rc;
}

int dax_change_resume(struct dax_change *change)
{
    int rc = lock_again(change);

    rc = rc ? rc : drain(change);
    if (rc)
        dax_change_end(change, false);
    return rc ? rc : change->vnode->passed != change->passed;
}

void dax_change_give_up(struct dax_change *change)
{
    (void)lock_again(change); /* else the gate is left: abandon() */
    dax_change_end(change, false);
}

void dax_change_landed(struct dax_change *change)
{
    shm_assert_held(&change->vnode->mutex);
    detach_commit(change);
    hf_store_release(&change->vnode->pending_version, UINT64_C(0));
}

void dax_change_failed(struct dax_change *change)
{
    shm_assert_held(&change->vnode->mutex);
    detach_abort(change);
}

void dax_change_intend(struct dax_change *change, uint64_t version, uint64_t size)
{
    shm_assert_held(&change->vnode->mutex);
    change->vnode->pending_size = size;
    hf_store_release(&change->vnode->pending_version, version);
}

/* In L5, when the mutex cannot be had: the gate is left to a thread that meets it, as if this one
 * had died there. */
static void abandon(struct dax_change *change)
{
    hf_store_release(&change->vnode->gates[change->gate].given_up, 1u);
    holders_drop(change);
}

void dax_change_end(struct dax_change *change, bool committed)
{
    struct shm_vnode *vnode = change->vnode;

    if (change->lost) {
        abandon(change);
        return;
    }
    shm_assert_held(&change->vnode->mutex);
    if (committed) {
        /* SIZE.PUB/m: relaxed readers may see it late; the gate opens after it. */
        hf_store_release(&vnode->size, vnode->pending_size);
        dax_change_landed(change);
    } else {
        detach_abort(change); /* a commit that failed has cleared pending_version itself */
    }
    tables_settle(change, committed);
    if (!change->now)
        gate_open(vnode, &vnode->gates[change->gate]);
    if (!change->keeps_mutex)
        dax_unlock(change->dax, vnode);
    holders_drop(change);
}
