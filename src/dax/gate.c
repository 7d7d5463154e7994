/* SPDX-License-Identifier: MIT */
/*
 * The layout mutex and the gates. GATE.RULE: while a layout change waits for pins it holds no lock,
 * but its gate keeps its range empty of entries: whoever takes the layout mutex to fill entries or
 * holes there waits until the gate opens, unless it holds a pin already (two threads that hold and
 * wait for each other's gates would never end). What such a thread does in the range is found by
 * the layout change, which looks again under the mutex before it changes anything.
 *
 * The mutex is robust. Who gets it from a dead owner first makes the vnode whole: which side of the
 * commit the owner died on is told by the version that LMDB has.
 */
#include "dax/private.h"

#include "base/error.h"
#include "base/lab.h"

#include <errno.h>

struct shm_gate *gate_over(struct shm_vnode *vnode, uint64_t first, uint64_t last,
                           const struct shm_gate *own)
{
    for (unsigned i = 0; i < SHM_GATES; i++) {
        struct shm_gate *gate = &vnode->gates[i];

        if (gate->lane && gate != own && gate->first <= last && gate->last >= first)
            return gate;
    }
    return NULL;
}

bool gate_owner_died(struct dax *dax, const struct shm_gate *gate)
{
    const struct shm_process *process = &dax->shm->processes[gate->process];

    return hf_load_acquire(&process->state) != SHM_PROCESS_LIVE || process->life != gate->life ||
           !shm_process_alive(dax->shm, gate->process);
}

void gate_open(struct shm_vnode *vnode, struct shm_gate *gate)
{
    uint32_t waiters = vnode->waiters & SHM_DETACHED;

    gate->lane = gate->waits = 0;
    for (unsigned i = 0; i < SHM_GATES; i++)
        waiters |= vnode->gates[i].lane ? vnode->gates[i].waits : 0;
    if (vnode->waiters != waiters)
        hf_store_release(&vnode->waiters, waiters);
    if (!vnode->gate_waiters)
        return;
    vnode->gate_waiters = 0;
    hf_add_acq_rel(&vnode->gate_seq, 1);
    hf_futex_wake_all(&vnode->gate_seq);
}

int gate_wait(struct dax *dax, struct shm_vnode *vnode, uint64_t until_ns)
{
    uint32_t seq = hf_load_acquire(&vnode->gate_seq);
    int rc;

    vnode->gate_waiters = 1;
    dax_unlock(dax, vnode);
    rc = hf_futex_wait(&vnode->gate_seq, seq, dax_tick(dax, until_ns));
    dax_lock_any(dax, vnode);
    if (rc == -ETIMEDOUT)
        return hf_now_ns() >= until_ns ? -ETIMEDOUT : 0;
    return rc;
}

struct self {
    struct shm *shm;
    struct shm_lane *lane;
};

static int own_slot(void *arg, const struct sync_holder *holder)
{
    struct self *self = arg;

    return holder->lane == self->lane && SHM_WHO_TID(holder->range.who) == self->lane->tid;
}

static int own_hold(void *arg, uint32_t index)
{
    struct self *self = arg;
    const struct shm_hold *hold = &self->shm->holds[index];

    return hf_load_acquire(&hold->key) && &self->shm->lanes[hold->lane] == self->lane &&
           SHM_WHO_TID(hold->range.who) == self->lane->tid;
}

bool gate_self_holds(struct dax *dax, struct shm_vnode *vnode, struct shm_lane *lane, uint64_t first,
                     uint64_t last)
{
    struct self self = {dax->shm, lane};

    return dax->engine->scan(dax->shm, shm_vnode_index(dax->shm, vnode), first, last, own_slot, &self) ||
           holds_scan(dax->shm, vnode, first, last, own_hold, &self);
}

static void recover(struct dax *dax, struct shm_vnode *vnode)
{
    struct meta_inode inode;
    struct meta_txn *txn;
    bool committed = false;

    if (vnode->pending_version) {
        int rc = meta_begin_read(dax->meta, &txn);

        if (rc == 0) {
            rc = meta_inode_get(txn, vnode->ino, &inode);
            meta_end_read(txn);
        }
        committed = rc == -ENOENT || (rc == 0 && inode.version >= vnode->pending_version);
        if (committed)
            hf_store_release(&vnode->size, rc == -ENOENT ? 0 : vnode->pending_size);
    }
    detach_recover(dax->shm, vnode, committed);
    vnode->pending_version = 0;
    vnode->holds_stale = 1;
    vnode->stray_nodes = 1;
    vnode->zap_pending = 1;
    shm_lock_mended(&vnode->mutex);
}

void dax_lock_any(struct dax *dax, struct shm_vnode *vnode)
{
    if (shm_lock(dax->shm, &vnode->mutex))
        recover(dax, vnode);
}

void dax_unlock(struct dax *dax, struct shm_vnode *vnode)
{
    (void)dax;
    shm_unlock(&vnode->mutex);
}

int dax_lock(struct dax *dax, struct shm_vnode *vnode, uint64_t first, uint64_t last)
{
    struct shm_lane *lane = shm_lane(dax->shm);
    struct shm_gate *gate;
    bool counted = false;

    if (!lane)
        return hf_fail(ENOLCK, "all %u thread entries are taken (mkpool --max-threads)",
                       dax->shm->run->limits.lanes);
    dax_lock_any(dax, vnode);
    while ((gate = gate_over(vnode, first, last, NULL)) && !HF_LAB_BROKEN(HF_LAB_NO_GATE)) {
        if (gate_owner_died(dax, gate)) {
            gate_open(vnode, gate);
            continue;
        }
        if (shm_lane_pins(lane))
            return 1;
        if (!counted)
            dax_count(&dax->shm->run->stats.gate_waits, 1);
        counted = true;
        if (gate_wait(dax, vnode, HF_NEVER) == -EINTR) {
            dax_unlock(dax, vnode);
            return hf_fail(EINTR, "interrupted by a signal while a layout change held the range");
        }
    }
    return 0;
}
