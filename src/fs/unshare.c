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
 *
 * A write of whole pages needs no copy of what they held. It fills the new blocks before any lock
 * is taken, as a write into a hole does (fill.c). The pages get them under the mutex.
 */
#include "fs/unshare.h"

#include "base/error.h"
#include "base/futex.h"
#include "fs/fill.h"
#include "fs/layout.h"
#include "sync/engine.h"

#include <errno.h>
#include <inttypes.h>

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
    uint64_t done = 0, more;
    int rc = fs_layout_begin(l);

    rc = rc ? rc : fs_layout_swap(l, run->page, run->count, blocks, &done, &more);
    if (rc == 0 && done < run->count)
        rc = hf_fail(EUCLEAN,
                     "inode %" PRIu64 ": the extent at page %" PRIu64
                     " is not what it was: run holdfast fsck",
                     l->vnode->ino, run->page);
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

/* The first run, from `page` on, of which the extent says "shared". -ENOENT: none begins before
 * `end`. */
static int find_shared(struct meta_txn *txn, uint64_t ino, uint64_t page, uint64_t end,
                       struct meta_extent *run)
{
    struct meta_extent extent;

    for (; page < end; page = extent.page + extent.count) {
        int rc = meta_extent_find(txn, ino, page, &extent);
        uint64_t skip = rc == 0 && page > extent.page ? page - extent.page : 0;

        if (rc || extent.page >= end)
            return rc ? rc : -ENOENT;
        if (!extent.shared)
            continue;
        *run = (struct meta_extent){extent.page + skip, extent.block + skip, extent.count - skip,
                                    true};
        return 0;
    }
    return -ENOENT;
}

/* The same, as far as the answer to whether its blocks have other owners is the same. A run that
 * has none may go on past `end`: one look is enough for all of it. */
static int next_shared(struct fs *fs, const struct shm_vnode *vnode, uint64_t page, uint64_t end,
                       struct meta_extent *run, bool *exclusive)
{
    struct meta_owners owners;
    struct meta_txn *txn;
    int rc = meta_begin_read(fs->dax.meta, &txn);

    if (rc)
        return rc;
    rc = find_shared(txn, vnode->ino, page, end, run);
    rc = rc ? rc : meta_owners_find(txn, run->block, run->count, &owners);
    meta_end_read(txn);
    if (rc)
        return rc;
    *exclusive = owners.extents + owners.records == 1;
    run->count = *exclusive ? owners.count : fs_min(owners.count, end - run->page);
    return 0;
}

int fs_unshare_locked(struct fs *fs, struct shm_vnode *vnode, uint64_t page, uint64_t count)
{
    uint64_t end = page + count, done;
    struct meta_extent run;
    bool exclusive;
    int rc;

    shm_assert_held(&vnode->mutex);
    while ((rc = next_shared(fs, vnode, page, end, &run, &exclusive)) == 0) {
        done = run.count;
        rc = exclusive ? unmark(fs, vnode, &run) : copy_run_part(fs, vnode, run, &done);
        if (rc)
            return rc;
        page = run.page + done;
    }
    return rc == -ENOENT ? 0 : rc;
}

static int unshare_once(struct fs *fs, struct shm_vnode *vnode, uint64_t page, uint64_t count)
{
    int rc = dax_lock(&fs->dax, vnode, page, page + count - 1);

    if (rc < 0)
        return rc;
    rc = fs_unshare_locked(fs, vnode, page, count);
    dax_unlock(&fs->dax, vnode);
    fs_trim_follow(fs);
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

/* ---- writes of whole pages ---- */

/* -EMLINK: some of the pages have their block alone already, so the write may go there. */
static int place_written(struct fs_layout *l, uint64_t page, uint64_t end,
                         struct fs_reservation *blocks, uint64_t *done, uint64_t *more)
{
    uint64_t count;
    int rc = fs_layout_begin(l);

    rc = rc ? rc : fs_layout_swap(l, page, end - page, blocks, &count, more);
    if (rc || !count)
        return rc;
    if (l->txn.freed.count || l->txn.detached)
        return -EMLINK;
    l->inode.mtime_ns = l->inode.ctime_ns = hf_wall_ns();
    rc = fs_layout_commit(l, l->vnode->size);
    *done = rc ? 0 : count;
    return rc;
}

/* Under the mutex. The pages from the first on that still are inside the file and on shared blocks
 * get the blocks, which hold what is written. *done: so many; 0: look again. -EMLINK: as above. */
static int take_written(struct fs *fs, struct shm_vnode *vnode, uint64_t page,
                        struct fs_reservation *blocks, uint64_t *done, uint64_t *more)
{
    uint64_t end = fs_min(page + blocks->blocks, vnode->size / HF_BLOCK_BYTES);
    struct fs_layout l;
    int rc = page < end ? fs_layout_now(&l, fs, vnode, page, end - 1) : 0;

    shm_assert_held(&vnode->mutex);
    if (rc || page >= end)
        return rc;
    return fs_layout_close(&l, place_written(&l, page, end, blocks, done, more));
}

int fs_write_shared(struct fs *fs, struct shm_vnode *vnode, uint64_t page, uint64_t count,
                    const char *buf, uint64_t *done, uint64_t *more)
{
    struct fs_content content = {buf, page * HF_BLOCK_BYTES, count * HF_BLOCK_BYTES};
    struct fs_reservation blocks;
    int rc;

    shm_assert_none_held();
    *done = *more = 0;
    fs_reservation_init(&blocks);
    rc = fs_reserve(fs, page, SPACE_NO_GOAL, count, &blocks);
    rc = rc ? rc : fs_fill_blocks(fs, &blocks, page, &content);
    rc = rc ? rc : dax_lock(&fs->dax, vnode, page, page + blocks.blocks - 1);
    if (rc >= 0) {
        rc = take_written(fs, vnode, page, &blocks, done, more);
        dax_unlock(&fs->dax, vnode);
    }
    fs_reservation_drop(fs, &blocks);
    fs_trim_follow(fs);
    return rc == -EMLINK ? fs_unshare(fs, vnode, page, 1) : rc;
}

int fs_may_share(const struct fs *fs)
{
    int rc = fs_may_write(fs);

    if (rc || sync_shares(fs->dax.engine))
        return rc;
    return hf_fail(EOPNOTSUPP,
                   "engine %s waits for walks before it looks for pins, so nothing can be shared",
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

int fs_no_pin(const struct fs *fs, uint64_t page)
{
    return hf_fail(ENODATA, "pin: page %" PRIu64 " is shared, and engine %s pins no shared block",
                   page, fs->dax.engine->name);
}

int fs_provide(struct fs *fs, struct shm_vnode *vnode, int rc, const struct meta_extent *pages)
{
    if (rc == -ENODATA)
        return fs_fill(fs, vnode, pages->page, pages->count);
    if (rc == -EMLINK) {
        rc = fs_may_write(fs);
        return rc ? rc : fs_unshare(fs, vnode, pages->page, pages->count);
    }
    return rc == -ENOLCK && holds_given_back(fs) ? 0 : rc;
}
