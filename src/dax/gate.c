/* SPDX-License-Identifier: MIT */
/*
 * The layout mutex and the gates. GATE.RULE: while a layout change waits for pins it holds no lock,
 * but its gate keeps its range empty of entries. A thread that takes the layout mutex to fill
 * entries or holes there waits until the gate opens. It does not wait if it holds a pin: two such
 * threads at each other's gates would wait for ever. The layout change finds what such a thread has
 * done in the range, since it looks again under the mutex before it changes anything.
 *
 * The mutex is robust. A thread that gets it from a dead owner first makes the vnode whole. The
 * version in LMDB says on which side of its commit the owner died.
 */
#include "dax/private.h"

#include "base/error.h"
#include "base/lab.h"

#include <errno.h>
#include <inttypes.h>

struct shm_gate *gate_over(struct shm_vnode *vnode, uint64_t first, uint64_t last,
                           const struct shm_gate *own)
{
    shm_assert_held(&vnode->mutex);
    for (unsigned i = 0; i < SHM_GATES; i++) {
        struct shm_gate *gate = &vnode->gates[i];

        if (gate->lane && gate != own && gate->first <= last && gate->last >= first)
            return gate;
    }
    return NULL;
}

bool gate_owner_died(struct dax *dax, const struct shm_gate *gate)
{
    uint32_t owner = hf_load_acquire(&gate->process);
    const struct shm_process *process = shm_process_at(dax->shm, owner);

    if (hf_load_acquire(&gate->given_up) || owner >= dax->shm->limits.processes ||
        hf_load_acquire(&gate->lane) > dax->shm->limits.lanes)
        return true;
    return hf_load_acquire(&process->state) != SHM_PROCESS_LIVE || process->life != gate->life ||
           !shm_process_alive(dax->shm, owner);
}

void gate_waits_changed(struct shm_vnode *vnode)
{
    uint32_t waiters = vnode->waiters & ~SHM_WAITS;
    uint64_t first = UINT64_MAX, last = 0;

    shm_assert_held(&vnode->mutex);
    for (unsigned i = 0; i < SHM_GATES; i++) {
        const struct shm_gate *gate = &vnode->gates[i];

        if (!gate->lane || !gate->waits)
            continue;
        waiters |= SHM_WAITS;
        first = gate->first < first ? gate->first : first;
        last = gate->last > last ? gate->last : last;
    }
    if (vnode->waiters == waiters && !(waiters & SHM_WAITS))
        return;
    hf_store_release(&vnode->wait_first, first);
    hf_store_release(&vnode->wait_last, last);
    hf_store_seq_cst(&vnode->waiters, waiters);
}

void gate_open(struct shm_vnode *vnode, struct shm_gate *gate)
{
    shm_assert_held(&vnode->mutex);
    gate->waits = 0;
    hf_store_release(&gate->lane, 0u);
    gate_waits_changed(vnode);
    if (!vnode->gate_waiters)
        return;
    vnode->gate_waiters = 0;
    hf_add_acq_rel(&vnode->gate_seq, 1);
    hf_futex_wake_all(&vnode->gate_seq);
}

/* It may have taken the root out. */
void gate_open_of_dead(struct shm_vnode *vnode, struct shm_gate *gate)
{
    shm_assert_held(&vnode->mutex);
    vnode->stray_nodes = 1;
    gate_open(vnode, gate);
}

static int wait_failed(struct dax *dax, struct shm_waiting *waiting, int rc)
{
    shm_waiting_end(waiting);
    return shm_waiting_failed(dax->shm, waiting, rc, "a gate over the pages");
}

int gate_wait(struct dax *dax, struct shm_vnode *vnode, const struct shm_gate *gate,
              struct shm_waiting *waiting)
{
    uint32_t seq = hf_load_acquire(&vnode->gate_seq);
    uint64_t until_ns = shm_bound.until_ns ? shm_bound.until_ns : HF_NEVER;
    int rc = shm_waiting_goes_on(dax->shm, waiting, gate->process + 1, gate->term);

    if (rc == 0)
        vnode->gate_waiters = 1;
    dax_unlock(dax, vnode);
    if (rc)
        return wait_failed(dax, waiting, rc);
    if (hf_futex_wait(&vnode->gate_seq, seq, dax_tick(dax, until_ns)) == -EINTR)
        return wait_failed(dax, waiting, -EINTR);
    rc = dax_lock_any(dax, vnode);
    if (rc)
        shm_waiting_end(waiting);
    return rc;
}

static int any_slot(void *arg, const struct sync_holder *holder)
{
    (void)arg, (void)holder;
    return 1;
}

bool gate_anybody_over(struct dax *dax, struct shm_vnode *vnode, uint64_t first, uint64_t last)
{
    return dax->engine->scan(dax->shm, shm_vnode_number(dax->shm, vnode), first, last, any_slot,
                             NULL) != 0;
}

bool gate_anybody(struct dax *dax, struct shm_vnode *vnode)
{
    return gate_anybody_over(dax, vnode, 0, DAX_LAST);
}

/* When the owner of a transaction has died, every snapshot says whether it committed
 * (meta/commit.c). */
static int read_committed(struct dax *dax, uint64_t ino, struct meta_inode *inode)
{
    struct meta_txn *txn;
    int rc = meta_begin_look(dax->meta, &txn);

    if (rc)
        return rc;
    rc = meta_inode_get(txn, ino, inode);
    meta_end_look(txn);
    return rc;
}

/* Finds on which side of its commit a transaction died that was to give the inode
 * `pending_version`; *gone: it was the inode's deletion. False: that cannot be told now. */
static bool settle_pending(struct dax *dax, struct shm_vnode *vnode, bool *gone)
{
    struct meta_inode inode;
    bool committed;
    int rc = read_committed(dax, vnode->ino, &inode);

    if (rc && rc != -ENOENT)
        return false;
    *gone = rc == -ENOENT;
    committed = *gone || inode.version >= vnode->pending_version;
    if (committed && !*gone)
        hf_store_release(&vnode->size, vnode->pending_size);
    if (!*gone)
        shm_recent_put(dax->shm, vnode, vnode->size, inode.version);
    detach_recover(dax, vnode, committed);
    hf_store_release(&vnode->pending_version, UINT64_C(0));
    return true;
}

/* The dead owner had settled what it did, or had done nothing. False also when that cannot be told
 * now. */
static bool is_deleted(struct dax *dax, const struct shm_vnode *vnode)
{
    struct meta_inode inode;

    return read_committed(dax, vnode->ino, &inode) == -ENOENT;
}

/* Under the mutex. A living owner of a transaction has cleared pending_version before it drops the
 * mutex. A thread that finds it set knows that its owner died, or that this has failed before. */
static void recover(struct dax *dax, struct shm_vnode *vnode, bool died)
{
    bool gone = false;

    shm_assert_held(&vnode->mutex);
    if (!vnode->pending_version) {
        detach_recover(dax, vnode, false);
        gone = is_deleted(dax, vnode);
    } else if (!settle_pending(dax, vnode, &gone) && !died) {
        return;
    }
    if (!gone) /* its owner may have died between the two */
        shm_recent_size(dax->shm, vnode, vnode->size);
    /* Size or times may be in no record, and a dirty vnode stays until they are recorded. A file
     * that is gone, or was never loaded, has none. */
    hf_store_release(&vnode->dirty, (uint32_t)(!gone && vnode->state == SHM_VNODE_READY));
    vnode->holds_stale = 1;
    vnode->stray_nodes = 1;
    vnode->zap_pending = 1;
    hf_store_release(&vnode->bias, (uint32_t)!hf_load_acquire(&dax->shm->run->fences_only));
    if (!died)
        return;
    recall_recover(dax->shm, vnode);
    shm_lock_mended(&vnode->mutex);
}

int dax_lock_any(struct dax *dax, struct shm_vnode *vnode)
{
    bool died;
    int rc = shm_lock(dax->shm, &vnode->mutex, "the layout of the file", &died);

    if (rc == 0 && __builtin_expect(died || vnode->pending_version, 0))
        recover(dax, vnode, died);
    return rc;
}

bool dax_lock_moment(struct dax *dax, struct shm_vnode *vnode)
{
    bool died;

    if (!shm_lock_moment(&vnode->mutex, &died))
        return false;
    if (died || vnode->pending_version)
        recover(dax, vnode, died);
    return true;
}

bool dax_lock_now(struct dax *dax, struct shm_vnode *vnode)
{
    bool died;

    if (!shm_lock_now(&vnode->mutex, &died))
        return false;
    if (__builtin_expect(died || vnode->pending_version, 0))
        recover(dax, vnode, died);
    return true;
}

void dax_unlock(struct dax *dax, struct shm_vnode *vnode)
{
    (void)dax;
    shm_unlock(&vnode->mutex);
}

uint64_t dax_size(struct dax *dax, struct shm_vnode *vnode)
{
    if (__builtin_expect(hf_load_acquire(&vnode->pending_version) != 0, 0) &&
        dax_lock_now(dax, vnode))
        dax_unlock(dax, vnode);
    return hf_load_acquire(&vnode->size);
}

/* A layout change may wait for a pin of this thread, and the thread cannot release it while it
 * waits itself. Leases with a callback count only in the thread of callbacks, which ends them. */
static bool needs_through(const struct shm_lane *lane)
{
    return shm_lane_pins(lane) != shm_lane_served(lane) || hf_load_acquire(&lane->calls_back);
}

/* The client waits for this thread, so it cannot release anything either. */
static bool client_needs_through(const struct shm *shm)
{
    const struct shm_lane *lane = dax_client_lane(shm);

    return lane && needs_through(lane);
}

int dax_lock_two(struct dax *dax, struct shm_vnode *a, struct shm_vnode *b)
{
    struct shm_vnode *low = a < b ? a : b, *high = low == a ? b : a;
    int rc = dax_lock_any(dax, low);

    if (rc || low == high)
        return rc;
    rc = dax_lock_any(dax, high);
    if (rc)
        dax_unlock(dax, low);
    return rc;
}

void dax_unlock_two(struct dax *dax, struct shm_vnode *a, struct shm_vnode *b)
{
    dax_unlock(dax, a);
    if (a != b)
        dax_unlock(dax, b);
}

int dax_check_settled(const struct shm_vnode *vnode)
{
    shm_assert_held(&vnode->mutex);
    if (!vnode->pending_version)
        return 0;
    return hf_fail(EIO,
                   "a process died in a transaction on inode %" PRIu64 ", and whether it committed "
                   "cannot be read",
                   vnode->ino);
}

bool dax_gate_over(struct dax *dax, struct shm_vnode *vnode, uint64_t first, uint64_t last)
{
    struct shm_gate *gate;

    shm_assert_held(&vnode->mutex);
    while ((gate = gate_over(vnode, first, last, NULL)) && gate_owner_died(dax, gate))
        gate_open_of_dead(vnode, gate);
    return gate;
}

int dax_lock(struct dax *dax, struct shm_vnode *vnode, uint64_t first, uint64_t last)
{
    struct shm_lane *lane = shm_lane(dax->shm);
    struct shm_waiting waiting;
    struct shm_gate *gate;
    bool waits = false;
    int rc;

    if (!lane)
        return shm_no_lane(dax->shm);
    rc = dax_lock_any(dax, vnode);
    if (rc)
        return rc;
    while ((gate = gate_over(vnode, first, last, NULL)) && !HF_LAB_BROKEN(HF_LAB_NO_GATE)) {
        if (gate_owner_died(dax, gate)) {
            gate_open_of_dead(vnode, gate);
            continue;
        }
        /* GATE.RULE/p: a thread that holds nothing waits. Pairs with GATE.RULE/m in close_gate().
         * Without it: entries come back into a range after its change has looked for holders. A
         * call that yields does not pass: its caller releases its pins meanwhile. */
        if (!dax_yields && (needs_through(lane) || client_needs_through(dax->shm))) {
            vnode->passed++;
            rc = 1;
            break;
        }
        if (dax_yields || dax_client_nowait()) {
            dax_unlock(dax, vnode);
            return hf_fail(EAGAIN, "a layout change holds the range, and %s",
                           dax_yields ? "HF_PIN_YIELD says not to wait"
                                      : "the client is not to wait");
        }
        if (!waits) {
            dax_count(&dax->shm->run->stats.gate_waits, 1);
            shm_waiting_begin(&waiting, true, &lane->blocked);
        }
        waits = true;
        rc = gate_wait(dax, vnode, gate, &waiting);
        if (rc)
            return rc;
    }
    if (waits)
        shm_waiting_end(&waiting);
    return rc;
}
