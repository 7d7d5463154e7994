/* SPDX-License-Identifier: MIT */
/*
 * Owns the end of files without names. An inode without names has an orphan record in LMDB from the
 * transaction that took its last name until the one that deletes it. So it is found whichever
 * process dies in between. The last close finds it, or a sweep after a death, or the next process
 * that is the first to attach.
 *
 * Several processes may try to delete one. Each looks under the layout mutex whether it is the only
 * one that has the file open. If it is not, it leaves, and the last process to leave tries again. A
 * file that was made without a name may get one meanwhile, also under the layout mutex (rename.c):
 * then it is left alone.
 *
 * A file with many extents is deleted in several transactions, all under the layout mutex. After
 * each of them the inode has the blocks that its extents name, and is an orphan as before. So a
 * process that is killed in between leaves an orphan like any other. Nobody can look at the file
 * meanwhile, since nobody has it open and no name leads to it.
 */
#include "fs/orphan.h"

#include "base/error.h"
#include "dax/client.h"
#include "fs/layout.h"
#include "fs/name.h"
#include "sync/engine.h"

#include <errno.h>
#include <inttypes.h>

/* Where nothing can be detached, a file that is still pinned is left to a later reclaim. */
static const struct hf_policy detach = {.kind = HF_POLICY_DETACH};
static const struct hf_policy nowait = {.kind = HF_POLICY_NOWAIT};

/* Takes extents away. 1: there are more. 0: the transaction is open, for the rest. */
static int delete_some(struct fs_layout *l)
{
    uint64_t end;
    int rc = fs_layout_begin(l);

    if (rc)
        return rc;
    if (l->inode.nlink) /* it has got a name since it was looked at */
        return -ENOENT;
    rc = fs_layout_first_step(l, &end);
    if (rc <= 0)
        return rc;
    rc = fs_layout_remove(l, 0, end);
    rc = rc ? rc : fs_layout_commit(l, l->vnode->size);
    return rc ? rc : 1;
}

static int delete_file(struct fs_layout *l, uint64_t ino)
{
    int rc;

    l->keep_times = true; /* of a file that nobody can see */
    while ((rc = delete_some(l)) == 1)
        fs_steps_pause();
    l->keep_times = false;
    if (rc)
        return rc;
    rc = fs_layout_remove(l, 0, UINT64_MAX);
    rc = rc ? rc : meta_orphan_del(l->txn.meta, ino);
    rc = rc ? rc : fs_inode_drop(&l->txn, ino);
    return rc ? rc : fs_layout_commit_gone(l);
}

/* A file that is held, or locked by a stopped process, is left to a later reclaim. */
static int leave_busy(struct fs *fs, int rc)
{
    if (rc != -EBUSY)
        return rc;
    hf_store_release(&fs->dax.shm->run->reclaim, 1u);
    return -EAGAIN;
}

/* -EBUSY: another process has it open, or had a moment ago. */
static int try_orphan(struct fs *fs, struct shm_vnode *vnode, uint64_t ino)
{
    bool detaches = sync_knows_holders(fs->dax.engine);
    struct fs_layout l;
    int rc =
        fs_layout_open(&l, fs, vnode, 0, DAX_LAST, HF_CHANGE_DELETE, detaches ? &detach : &nowait);

    if (rc)
        return leave_busy(fs, rc);
    rc = fs_vnode_only_mine(fs, vnode) ? leave_busy(fs, delete_file(&l, ino)) : -EBUSY;
    return fs_layout_close(&l, rc);
}

void fs_orphan_delete(struct fs *fs, uint64_t ino)
{
    const struct hf_client client = dax_client;
    struct shm_vnode *vnode;
    int rc;

    shm_assert_none_held();
    if (fs->dax.readonly)
        return;
    dax_client = (struct hf_client){
        0}; /* made for no call, so it waits for no pin, and a moment for another's gate */
    do {
        rc = fs_vnode_open_orphan(fs, ino, &vnode);
        if (rc)
            break;
        rc = hf_load_acquire(&vnode->orphan) ? try_orphan(fs, vnode, ino) : -ENOENT;
        if (!shm_vnode_put(fs->dax.shm, vnode))
            break;
        if (rc == 0)
            dax_shrink_vnode(&fs->dax, vnode);
    } while (rc == -EBUSY);
    dax_client = client;
}

void fs_orphan_made(struct fs *fs, uint64_t ino)
{
    struct shm_vnode *vnode;

    shm_assert_none_held();
    if (fs_vnode_open_orphan(fs, ino, &vnode))
        return;
    dax_gone(&fs->dax, vnode); /* a process that only watches it may close it */
    fs_vnode_close(fs, vnode);
}

static int next_orphan(struct fs *fs, uint64_t *ino)
{
    struct meta_txn *txn;
    int rc = meta_begin_read(fs->dax.meta, &txn);

    if (rc)
        return rc;
    rc = meta_orphan_next(txn, ino);
    meta_end_read(txn);
    return rc;
}

void fs_orphans_sweep(struct fs *fs)
{
    shm_assert_none_held();
    for (uint64_t ino = 0; next_orphan(fs, &ino) == 0; ino++) {
        struct shm_vnode *vnode;

        if (shm_vnode_find(fs->dax.shm, ino, &vnode))
            return;
        if (!vnode || !shm_vnode_is_open(fs->dax.shm, vnode))
            fs_orphan_delete(fs, ino);
    }
}
