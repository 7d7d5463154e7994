/* SPDX-License-Identifier: MIT */
/*
 * Owns hf_unlink(). When a file is not open anywhere, its last name and its blocks go in one
 * transaction, under a gate over the whole file. So a policy that does not want to wait leaves the
 * name in place. A file that is open becomes an orphan (orphan.c). Whether it is open is decided
 * under the layout mutex; vnode.c says why that is enough.
 *
 * Of a file with many extents only the name goes in that transaction, after all holders that the
 * policy waits for have gone. The file is an orphan from then on. Its deletion takes the blocks, in
 * steps that do not hold up others.
 */
#include "fs/layout.h"
#include "fs/name.h"
#include "fs/orphan.h"

#include "base/error.h"

#include <errno.h>

#define LOOK_AGAIN (-ERESTART) /* something has changed since we looked; stays in this file */

/* Inside a transaction: the path still names this inode. */
static int walk_to_same(struct fs_txn *txn, struct fs_at at, uint64_t ino, struct fs_place *place)
{
    int rc = fs_walk_to(txn->meta, at, false, place);

    return rc == 0 && place->ino != ino ? LOOK_AGAIN : rc;
}

static int drop_name(struct fs_txn *txn, const struct fs_place *place)
{
    int rc = meta_dirent_del(txn->meta, place->dir, place->name);

    return rc ? rc : fs_dir_changed(txn, place->dir, 0);
}

/* Takes the name away and leaves the content to the last close. */
static int unlink_name(struct fs *fs, struct fs_at at, uint64_t ino, bool may_orphan)
{
    struct fs_place place;
    struct fs_txn txn;
    bool orphan = false;
    int rc = fs_begin_freeing(fs, &txn);

    if (rc)
        return rc;
    rc = walk_to_same(&txn, at, ino, &place);
    rc = rc ? rc : drop_name(&txn, &place);
    rc = rc ? rc : fs_inode_unlinked(&txn, ino, &orphan);
    if (rc == 0 && orphan && !may_orphan)
        rc = LOOK_AGAIN; /* it had another name when we looked */
    rc = fs_txn_end(&txn, rc);
    if (rc == 0 && orphan)
        fs_orphan_made(fs, ino);
    return rc;
}

/* The end of a transaction that has dropped the last name. */
static int make_orphan(struct fs_layout *l)
{
    int rc = meta_orphan_put(l->txn.meta, l->vnode->ino);

    l->inode.nlink = 0;
    return rc ? rc : fs_layout_commit(l, l->vnode->size);
}

static int delete_at_once(struct fs_layout *l, uint64_t ino)
{
    int rc = fs_layout_remove(l, 0, UINT64_MAX);

    rc = rc ? rc : fs_inode_drop(&l->txn, ino);
    return rc ? rc : fs_layout_commit_gone(l);
}

/* *orphan: the name has gone, and the file has not. */
static int delete_with_name(struct fs_layout *l, struct fs_at at, uint64_t ino, bool *orphan)
{
    struct fs_place place;
    uint64_t end;
    int rc = fs_layout_begin(l);

    rc = rc ? rc : walk_to_same(&l->txn, at, ino, &place);
    if (rc == 0 && l->inode.nlink != 1)
        rc = LOOK_AGAIN;
    rc = rc ? rc : drop_name(&l->txn, &place);
    rc = rc ? rc : fs_layout_first_step(l, &end);
    if (rc < 0)
        return rc;
    if (rc == 0)
        return delete_at_once(l, ino);
    rc = make_orphan(l);
    *orphan = rc == 0;
    return rc;
}

/* -EBUSY with *open: another process, or another handle, has it open. */
static int try_delete(struct fs *fs, struct shm_vnode *vnode, struct fs_at at,
                      const struct hf_policy *policy, bool *open, bool *orphan)
{
    uint64_t ino = vnode->ino;
    struct fs_layout l;
    int rc;

    *open = !fs_vnode_only_mine(fs, vnode);
    if (*open)
        return -EBUSY;
    rc = fs_layout_open(&l, fs, vnode, 0, DAX_LAST, HF_CHANGE_DELETE, policy);
    if (rc)
        return rc;
    *open = !fs_vnode_only_mine(fs, vnode);
    rc = *open ? -EBUSY : delete_with_name(&l, at, ino, orphan);
    return fs_layout_close(&l, rc);
}

static int unlink_last(struct fs *fs, struct fs_at at, uint64_t ino, const struct hf_policy *policy)
{
    struct shm_vnode *vnode;
    bool open, orphan = false, left;
    int rc = fs_vnode_open(fs, ino, &vnode);

    if (rc)
        return rc == -ENOENT ? LOOK_AGAIN : rc;
    rc = try_delete(fs, vnode, at, policy, &open, &orphan);
    if (open) {
        fs_reap(fs);               /* a dead process has nothing open, */
        dax_gone(&fs->dax, vnode); /* and a process that only watches it may close it */
        rc = try_delete(fs, vnode, at, policy, &open, &orphan);
    }
    if (open)
        rc = unlink_name(fs, at, ino, true);
    if (orphan)
        fs_orphan_made(fs, ino);
    left = rc || open || orphan;
    if (left)
        fs_vnode_close(fs, vnode);
    else if (shm_vnode_put(fs->dax.shm, vnode))
        dax_shrink_vnode(&fs->dax, vnode);
    return rc;
}

static int unlink_once(struct fs *fs, struct fs_at at, const struct hf_policy *policy)
{
    struct meta_inode inode;
    struct fs_place place;
    int rc = fs_lookup(fs, at, false, &place, &inode);

    if (rc)
        return rc;
    if (S_ISDIR(place.type))
        return hf_fail(EISDIR, "%.200s is a directory (hf_rmdir)", at.path);
    rc = fs_check_entry(&place, &inode); /* else we would look again for ever */
    if (rc)
        return rc;
    if (S_ISREG(place.type) && inode.nlink <= 1)
        return unlink_last(fs, at, place.ino, policy);
    return unlink_name(fs, at, place.ino, false);
}

int fs_unlink(struct fs *fs, struct fs_at at, const struct hf_policy *policy)
{
    int rc = fs_may_write(fs), again;
    unsigned looks = 0;

    if (rc)
        return rc;
    do {
        rc = unlink_once(fs, at, policy);
        again = rc == LOOK_AGAIN ? fs_look_again(&looks) : rc;
    } while (rc == LOOK_AGAIN && again == 0);
    return again;
}
