/* SPDX-License-Identifier: MIT */
/*
 * Owns the copy that a file gets before it writes to a shared block.
 *
 * A block is written only while one file has it alone. So every way to memory that is written in
 * place comes here first when the extent says that its blocks may have other owners. Adding an
 * owner marks the file's extents, which needs the file's layout mutex. So blocks that are found to
 * be exclusive stay so until the mutex is dropped.
 *
 * There is no wait: a pin that is found on the old block is a pin for reading, and keeps that block
 * by a record. So there is no gate either, and a thread that was let through another change's gate
 * can do it too (docs/ORDERING.md 3.34).
 */
#include "fs/unshare.h"

#include "base/error.h"
#include "fs/fill.h"
#include "fs/layout.h"
#include "sync/engine.h"

#include <errno.h>

/* The pages' blocks have no other owner any more. */
static int unmark(struct fs *fs, struct shm_vnode *vnode, const struct meta_extent *run)
{
    struct meta_inode inode;
    struct fs_txn txn;
    int rc = fs_vnode_begin(fs, vnode, &txn, &inode);

    if (rc)
        return rc;
    rc = meta_extent_mark(txn.meta, vnode->ino, run->page, run->count, false);
    if (rc) {
        fs_abort(&txn);
        return rc;
    }
    return fs_vnode_commit(vnode, &txn, &inode);
}

static int swap(struct fs_layout *l, const struct meta_extent *run, struct fs_reservation *blocks)
{
    int rc = fs_layout_begin(l);

    rc = rc ? rc : fs_layout_remove(l, run->page, run->count);
    rc = rc ? rc : fs_layout_place(l, run->page, run->count, blocks);
    return rc ? rc : fs_layout_commit(l, l->vnode->size);
}

/* Copies as many pages of the run as it finds free blocks for; *done says how many. */
static int copy_run_part(struct fs *fs, struct shm_vnode *vnode, struct meta_extent run,
                         uint64_t *done)
{
    struct fs_reservation blocks;
    struct fs_layout l;
    int rc;

    run.count = run.count < FILL_CHUNK_PAGES ? run.count : FILL_CHUNK_PAGES;
    fs_reservation_init(&blocks);
    rc = fs_reserve(fs, run.page, SPACE_NO_GOAL, run.count, &blocks);
    if (rc)
        return rc;
    run.count = *done = blocks.blocks;
    rc = fs_layout_now(&l, fs, vnode, run.page, run.page + run.count - 1);
    if (rc == 0) {
        rc = fs_copy_run(fs, &run, &blocks);
        fs_reservation_rewind(&blocks);
        rc = rc ? rc : swap(&l, &run, &blocks);
        rc = fs_layout_close(&l, rc);
    }
    fs_reservation_drop(fs, &blocks);
    return rc;
}

/* Whether the run's first blocks have other owners, and for how many of them the answer is the
 * same. */
static int look_up_owners(struct fs *fs, struct meta_extent *run, bool *exclusive)
{
    struct meta_owners owners;
    struct meta_txn *txn;
    int rc = meta_begin_read(fs->dax.meta, &txn);

    if (rc)
        return rc;
    rc = meta_owners_find(txn, run->block, run->count, &owners);
    meta_end_read(txn);
    run->count = owners.count;
    *exclusive = owners.extents + owners.records == 1;
    return rc;
}

int fs_unshare_locked(struct fs *fs, struct shm_vnode *vnode, uint64_t page, uint64_t count)
{
    uint64_t end = page + count, done;
    struct meta_extent extent;
    int rc = 0;

    shm_assert_held(&vnode->mutex);
    while (rc == 0 && page < end) {
        bool exclusive = false;

        rc = fs_extent_at(fs, vnode->ino, page, &extent);
        if (rc < 0 || !extent.count || extent.page >= end)
            return rc < 0 ? rc : 0;
        done = extent.page + extent.count;
        rc = 0;
        if (extent.shared) {
            uint64_t skip = page > extent.page ? page - extent.page : 0;
            struct meta_extent run = {extent.page + skip, extent.block + skip, extent.count - skip,
                                      true};

            run.count = run.count < end - run.page ? run.count : end - run.page;
            rc = look_up_owners(fs, &run, &exclusive);
            done = run.count;
            if (rc == 0)
                rc = exclusive ? unmark(fs, vnode, &run) : copy_run_part(fs, vnode, run, &done);
            done += run.page;
        }
        page = done;
    }
    return rc;
}

static int unshare_once(struct fs *fs, struct shm_vnode *vnode, uint64_t page, uint64_t count)
{
    int rc = dax_lock(&fs->dax, vnode, page, page + count - 1);

    if (rc < 0)
        return rc;
    rc = fs_unshare_locked(fs, vnode, page, count);
    dax_unlock(&fs->dax, vnode);
    return rc;
}

int fs_unshare(struct fs *fs, struct shm_vnode *vnode, uint64_t page, uint64_t count)
{
    int rc = unshare_once(fs, vnode, page, count);

    shm_assert_none_held();
    if (rc != -ENOSPC && rc != -ENOLCK)
        return rc;
    fs_make_room(fs);
    rc = unshare_once(fs, vnode, page, count);
    return rc == -ENOSPC ? fs_no_space(fs, count) : rc;
}

int fs_may_share(const struct fs *fs)
{
    int rc = fs_may_write(fs);

    if (rc || sync_knows_holders(fs->dax.engine))
        return rc;
    return hf_fail(EOPNOTSUPP, "engine %s does not know who holds, so nothing can be shared",
                   fs->dax.engine->name);
}

/* Records of detached blocks are holds too, and those of dead processes stay until their blocks are
 * given back. */
static bool holds_given_back(struct fs *fs)
{
    uint32_t before = shm_holds_in_use(fs->dax.shm);

    fs_reclaim(fs);
    return shm_holds_in_use(fs->dax.shm) < before;
}

int fs_provide(struct fs *fs, struct shm_vnode *vnode, int rc, const struct meta_extent *pages)
{
    if (rc == -ENODATA)
        return fs_fill(fs, vnode, pages->page, pages->count);
    if (rc == -EMLINK)
        return fs_unshare(fs, vnode, pages->page, pages->count);
    return rc == -ENOLCK && holds_given_back(fs) ? 0 : rc;
}
