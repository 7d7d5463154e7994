/* SPDX-License-Identifier: MIT */
/*
 * What becomes of the page-table nodes that a layout change has taken out: a root with all below
 * it, or one node of small entries. They are freed or put back. Nodes that a walk may still be in
 * are put back, or kept by the vnode until it goes. All of it happens under the layout mutex.
 */
#include "dax/private.h"

#include "base/lab.h"

/* L7. A walk of any page of the file, also past end of file, can still be in the nodes of the old
 * root. They are freed when no slot of the file is left, nor, with an engine that waits for walks,
 * such a walk. Else they stay the vnode's until the vnode goes, or until a change of the whole file
 * finds no slot. A root that was taken out for a change that was given up goes back, since the gate
 * kept new entries away. But a thread that was let through may have given a shared page another
 * block. Then the root has an entry that is not true any more. */
static void settle_tables(struct dax_change *change, bool committed)
{
    struct shm_vnode *vnode = change->vnode;
    struct dax *dax = change->dax;

    if (!change->old_root) {
        if (vnode->stray_nodes && committed && change->first == 0 && change->last == DAX_LAST)
            shrink_strays(dax, vnode);
    } else if (!committed && !vnode->root && vnode->gateless == change->gateless) {
        mm_put_root(dax->shm, vnode, change->old_root);
    } else if (vnode->zap_pending || gate_anybody(dax, vnode)) {
        vnode->stray_nodes = 1;
    } else {
        mm_free_tree(dax->shm, vnode, change->old_root);
    }
}

/* By PIN.SB, a walk that may read in the node is found. It published its slot before it read the
 * word that leads to the node, and that word was cleared before the fence of L3. A slot that comes
 * later is of a walk that finds the word cleared. Slots are looked at, and not what scan_held()
 * leaves of them: a walk whose pages were detached is in there too. */
void tables_look(struct dax_change *change)
{
    shm_assert_held(&change->vnode->mutex);
    if (change->leaf.link && !HF_LAB_BROKEN(HF_LAB_LEAF_UNSEEN))
        change->leaf_in_use =
            gate_anybody_over(change->dax, change->vnode, change->first, change->last);
}

/* The node of small entries is freed when no walk is in it. Otherwise it would become another
 * file's, and the walk would give a pin of that file's blocks out. */
static void settle_leaf(struct dax_change *change, bool committed)
{
    struct shm_vnode *vnode = change->vnode;

    if (!change->leaf.link)
        return;
    if (change->zapped && !change->leaf_in_use)
        mm_free_tree(change->dax->shm, vnode, mm_leaf_tree(&change->leaf));
    else if (!committed)
        mm_put_leaf(&change->leaf);
    else
        vnode->stray_nodes = 1;
}

void tables_settle(struct dax_change *change, bool committed)
{
    shm_assert_held(&change->vnode->mutex);
    settle_tables(change, committed);
    settle_leaf(change, committed);
}

bool dax_has_small(struct dax *dax, struct shm_vnode *vnode, uint64_t page)
{
    shm_assert_held(&vnode->mutex);
    return mm_has_leaf(dax->shm, vnode, page);
}
