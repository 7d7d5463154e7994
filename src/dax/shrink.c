/* SPDX-License-Identifier: MIT */
/*
 * Shrinking: giving up what only saves time. Frees the page tables of files without pins, and the
 * entries of files that are not open. It takes the steps of a layout change of the whole file: zap,
 * barrier, scan. But no block moves.
 */
#include "base/lab.h"
#include "dax/private.h"

static int any_hold(void *arg, uint32_t hold)
{
    (void)arg, (void)hold;
    return 1;
}

/* Opens the gates of the dead. True: no gate is closed now. */
static bool gates_open(struct dax *dax, struct shm_vnode *vnode)
{
    for (unsigned i = 0; i < SHM_GATES; i++) {
        struct shm_gate *gate = &vnode->gates[i];

        if (!gate->lane)
            continue;
        if (!gate_owner_died(dax, gate))
            return false;
        gate_open_of_dead(vnode, gate);
    }
    return true;
}

/* Under the mutex: takes the table out. 1: no walk is in the old nodes, and no pin in a slot; 0:
 * one is; -errno: a walk does not end. */
static int take_root(struct dax *dax, struct shm_vnode *vnode, uint64_t *root)
{
    struct shm *shm = dax->shm;
    int rc = dax->engine->zap_begins ? dax->engine->zap_begins(shm) : 0;

    shm_assert_held(&vnode->mutex);
    if (rc)
        return rc;
    hf_store_release(&vnode->zap_pending, vnode->root ? 1u : vnode->zap_pending);
    *root = mm_take_root(vnode);
    rc = dax->engine->zapped(shm, vnode, *root != 0);
    if (rc == 0 && !gate_anybody(dax, vnode))
        return 1;
    mm_put_root(shm, vnode, *root);
    return rc;
}

/* The reaper may end a hold after the settling, and the scan passes over what has ended. Then the
 * vnode says so after the scan. A vnode that went would take with it the only word that the hold is
 * to be freed. */
static bool has_holds(struct dax *dax, struct shm_vnode *vnode)
{
    holds_settle(dax->shm, vnode);
    HF_LAB_AT(HF_LAB_SHRINKS);
    if (holds_scan(dax->shm, vnode, 0, DAX_LAST, any_hold, NULL))
        return true;
    return holds_unsettled(vnode) && !HF_LAB_BROKEN(HF_LAB_HOLDS_LOST);
}

/* The same, and 1 only if the file is not pinned at all. */
static int take_table(struct dax *dax, struct shm_vnode *vnode, uint64_t *root)
{
    if (!gates_open(dax, vnode) || has_holds(dax, vnode))
        return 0;
    return take_root(dax, vnode, root);
}

void shrink_strays(struct dax *dax, struct shm_vnode *vnode)
{
    uint64_t root = 0;

    shm_assert_held(&vnode->mutex);
    if (!gate_anybody(dax, vnode) && take_root(dax, vnode, &root) == 1)
        mm_free_all(dax->shm, vnode);
}

static void free_nodes(struct shm *shm, struct shm_vnode *vnode, uint64_t root)
{
    if (vnode->stray_nodes)
        mm_free_all(shm, vnode);
    else
        mm_free_tree(shm, vnode, root);
}

static bool may_go(struct dax *dax, const struct shm_vnode *vnode)
{
    return vnode->state != SHM_VNODE_FREE && !shm_vnode_is_open(dax->shm, vnode) && !vnode->dirty &&
           vnode->detached == SHM_NONE;
}

/* Called when the vnode's table is taken out. True: the vnode has gone; false: it has its table
 * again. */
static bool free_vnode(struct dax *dax, struct shm_vnode *vnode, uint64_t root)
{
    bool locked = shm_lock_table_moment(dax->shm);
    bool gone = locked && may_go(dax, vnode); /* nobody has opened it meanwhile, and nobody can */

    if (gone) {
        free_nodes(dax->shm, vnode, root);
        shm_vnode_free(dax->shm, vnode);
    } else {
        mm_put_root(dax->shm, vnode, root);
    }
    if (locked)
        shm_unlock_table(dax->shm);
    return gone;
}

/* 1: it has gone; 0; -errno: a walk does not end. */
static int shrink_vnode(struct dax *dax, struct shm_vnode *vnode)
{
    uint64_t root = 0;
    int rc = 0;

    shm_assert_none_held();
    if (!dax_lock_moment(dax, vnode))
        return 0;
    if (may_go(dax, vnode))
        rc = take_table(dax, vnode, &root);
    if (rc == 1)
        rc = free_vnode(dax, vnode, root);
    dax_unlock(dax, vnode);
    return rc;
}

bool dax_shrink_vnode(struct dax *dax, struct shm_vnode *vnode)
{
    shm_assert_none_held();
    return shrink_vnode(dax, vnode) == 1;
}

static int drop_table(struct dax *dax, struct shm_vnode *vnode)
{
    uint64_t root = 0;
    int rc = 0;

    if (!dax_lock_moment(dax, vnode))
        return 0;
    if (vnode->state == SHM_VNODE_READY && vnode->detached == SHM_NONE)
        rc = take_table(dax, vnode, &root);
    if (rc == 1)
        free_nodes(dax->shm, vnode, root);
    dax_unlock(dax, vnode);
    return rc;
}

uint64_t dax_shrink(struct dax *dax)
{
    uint64_t *used = &dax->shm->run->nodes_used, before = hf_load_acquire(used), after;
    uint32_t high = shm_vnodes_high(dax->shm);
    int rc = 0;

    shm_assert_none_held();
    /* a walk that does not end is in the way of all of them, and each would wait for it */
    for (uint32_t i = 0; i < high && rc >= 0; i++) {
        struct shm_vnode *vnode = &dax->shm->vnodes[i];

        /* also a new one of an opener that was killed before it was ready */
        if (hf_load_acquire(&vnode->state) == SHM_VNODE_FREE)
            continue;
        rc = shrink_vnode(dax, vnode);
        if (rc == 0)
            rc = drop_table(dax, vnode);
    }
    after = hf_load_acquire(used);
    return before > after ? before - after : 0;
}
