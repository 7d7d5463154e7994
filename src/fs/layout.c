/* SPDX-License-Identifier: MIT */
/*
 * Owns the order of things in a layout change, for all of its kinds:
 *
 *     drain (dax) > look, reserve, copy > transaction > intend > commit > open the gate
 *
 * Until the commit, nothing has changed that a reader of the file or a later process can see; after
 * it everything has. If the process is killed in between, dax recovers the vnode by the version
 * that `intend` announced.
 */
#include "fs/layout.h"
#include "fs/hold.h"

#include "base/error.h"
#include "base/futex.h"

#include <errno.h>
#include <string.h>

int fs_layout_open(struct fs_layout *l, struct fs *fs, struct shm_vnode *vnode, uint64_t first,
                   uint64_t last, enum hf_change_kind why, const struct hf_policy *policy)
{
    int rc = fs_may_write(fs);

    shm_assert_none_held();
    if (rc)
        return rc;
    if (hf_load_acquire(&fs->dax.shm->run->reclaim))
        fs_reclaim(fs);
    l->fs = fs;
    l->vnode = vnode;
    l->in_txn = l->committed = l->keep_times = l->steps = false;
    if (why != HF_CHANGE_MOVE && why != HF_CHANGE_DELETE)
        dax_will_change(&fs->dax, vnode, first, last);
    return dax_change_begin(&fs->dax, vnode, first, last, why, policy, &l->change);
}

static int prepare_now(struct fs_layout *l, struct fs *fs, struct shm_vnode *vnode)
{
    l->fs = fs;
    l->vnode = vnode;
    l->in_txn = l->committed = l->steps = false;
    l->keep_times = true;
    return fs_may_write(fs);
}

int fs_layout_now(struct fs_layout *l, struct fs *fs, struct shm_vnode *vnode, uint64_t first,
                  uint64_t last)
{
    int rc = prepare_now(l, fs, vnode);

    return rc ? rc : dax_change_now(&fs->dax, vnode, first, last, &l->change);
}

int fs_layout_collapse(struct fs_layout *l, struct fs *fs, struct shm_vnode *vnode, uint64_t first)
{
    int rc = prepare_now(l, fs, vnode);

    return rc ? rc : dax_collapse_begin(&fs->dax, vnode, first, &l->change);
}

static bool takes_away(const struct fs_layout *l)
{
    enum hf_change_kind why = l->change.why;

    return why == HF_CHANGE_TRUNCATE || why == HF_CHANGE_PUNCH || why == HF_CHANGE_COLLAPSE ||
           why == HF_CHANGE_DELETE;
}

static int begin_either(struct fs_layout *l, bool joint)
{
    int rc;

    shm_assert_held(&l->vnode->mutex);
    if (l->committed)
        dax_change_landed(&l->change);
    rc = joint ? fs_vnode_begin_joint(l->fs, l->vnode, &l->txn, &l->inode)
               : fs_vnode_begin(l->fs, l->vnode, &l->txn, &l->inode);
    l->in_txn = rc == 0;
    if (rc == 0 && takes_away(l))
        meta_txn_frees(l->txn.meta);
    return rc || l->keep_times ? rc : fs_txn_uncapable(&l->txn, l->vnode->ino);
}

int fs_layout_begin(struct fs_layout *l)
{
    return begin_either(l, false);
}

int fs_layout_begin_joint(struct fs_layout *l)
{
    return begin_either(l, true);
}

static void leaves(struct fs_layout *l, uint64_t count)
{
    l->inode.blocks = l->inode.blocks > count ? l->inode.blocks - count : 0;
}

static int free_part(void *arg, const struct meta_extent *part)
{
    struct fs_layout *l = arg;

    leaves(l, part->count);
    return fs_txn_free(&l->txn, part);
}

static int held_part(void *arg, const struct meta_extent *part)
{
    struct fs_layout *l = arg;

    leaves(l, part->count);
    return fs_hold(&l->txn, l->vnode->ino, part);
}

static int removed(void *arg, const struct meta_extent *run)
{
    struct fs_layout *l = arg;

    return dax_change_split(&l->change, run, free_part, held_part, l);
}

int fs_layout_remove(struct fs_layout *l, uint64_t page, uint64_t count)
{
    shm_assert_held(&l->vnode->mutex);
    return meta_extent_remove(l->txn.meta, l->vnode->ino, page, count, removed, l);
}

int fs_layout_first_step(struct fs_layout *l, uint64_t *end)
{
    int rc;

    if (l->inode.blocks <= META_STEP_EXTENTS) /* an extent has a block at least */
        return 0;
    rc = meta_extent_nth(l->txn.meta, l->vnode->ino, 0, META_STEP_EXTENTS, end);
    return rc ? (rc == -ENOENT ? 0 : rc) : 1;
}

int fs_layout_place(struct fs_layout *l, uint64_t page, uint64_t count,
                    struct fs_reservation *reservation)
{
    struct fs_reserved_run run;

    shm_assert_held(&l->vnode->mutex);
    l->txn.reservation = reservation;
    while (count && fs_reservation_take(reservation, count, &run)) {
        struct meta_extent extent = {page, run.block, run.count, false};
        int rc = meta_extent_insert(l->txn.meta, l->vnode->ino, &extent);

        if (rc)
            return rc;
        l->inode.blocks += run.count;
        page += run.count;
        count -= run.count;
    }
    HF_BUG_ON(count);
    return 0;
}

int fs_layout_swap(struct fs_layout *l, uint64_t page, uint64_t count,
                   struct fs_reservation *blocks, uint64_t *done, uint64_t *more)
{
    struct meta_extent pages, gone;
    struct fs_reserved_run run;
    int rc = 0;

    shm_assert_held(&l->vnode->mutex);
    l->txn.reservation = blocks;
    *done = *more = 0;
    while (rc == 0 && *done < count && fs_reservation_take(blocks, count - *done, &run)) {
        pages = (struct meta_extent){page + *done, run.block, run.count, false};
        rc = meta_extent_swap(l->txn.meta, l->vnode->ino, &pages, &gone, more);
        fs_reservation_put_back(blocks, run.count - pages.count);
        if (rc || !pages.count)
            break;
        l->inode.blocks += gone.count;
        rc = removed(l, &gone);
        *done += gone.count;
    }
    return rc;
}

int fs_layout_commit(struct fs_layout *l, uint64_t size)
{
    int rc;

    shm_assert_held(&l->vnode->mutex);
    l->inode.size = size;
    if (!l->keep_times)
        l->inode.mtime_ns = l->inode.ctime_ns = hf_wall_ns();
    l->in_txn = false;
    rc = fs_vnode_record(l->vnode, &l->txn, &l->inode);
    if (rc == 0)
        l->committed = true;
    else
        dax_change_failed(&l->change);
    return rc;
}

int fs_layout_commit_gone(struct fs_layout *l)
{
    int rc;

    shm_assert_held(&l->vnode->mutex);
    /* A look that found the file before still finds the size that it had then. */
    dax_change_intend(&l->change, l->inode.version + 1, l->vnode->size);
    l->in_txn = false;
    rc = fs_commit(&l->txn);
    if (rc == 0) {
        hf_store_release(&l->vnode->dirty, 0u);
        hf_store_release(&l->vnode->orphan, 0u); /* nothing is left to be deleted */
        l->committed = true;
    } else {
        dax_change_intend(&l->change, 0, 0);
    }
    return rc;
}

/* The file is what it will be, and nobody sees the steps. A death from here on leaves them to
 * others, and so does a step that fails. */
static void take_steps(struct fs_layout *l)
{
    /* SIZE.PUB/m: as in dax_change_end(), and before pending_version, which says it too. */
    hf_store_release(&l->vnode->size, l->inode.size);
    dax_change_landed(&l->change);
    fs_steps_pause();
    if (fs_steps_finish(l->fs, l->vnode))
        hf_store_release(&l->fs->dax.shm->run->reclaim, 1u);
}

/* When a later transaction of the change fails, the file stays as the last committed one left it.
 * All of them have the same size in the inode, and vnode->size has not been touched. */
int fs_layout_close(struct fs_layout *l, int rc)
{
    uint64_t old = l->vnode->size, size = l->committed ? l->inode.size : old;
    uint64_t first = l->change.first * HF_BLOCK_BYTES;

    shm_assert_held(&l->vnode->mutex);
    if (l->in_txn) {
        fs_abort(&l->txn);
        dax_change_failed(&l->change);
    }
    if (l->committed && l->steps)
        take_steps(l);
    dax_change_end(&l->change, l->committed);
    if (size > old && old < first) /* zeros in between, which were not there */
        first = old;
    if (l->committed && !l->keep_times && first < (old > size ? old : size))
        fs_changed(l->fs, l->vnode, first / HF_BLOCK_BYTES, l->change.last);
    if (l->committed && !l->change.now) /* no mutex is held any more */
        fs_trim_follow(l->fs);
    return rc;
}

/* ---- pages that stay, held by detached pins ---- */

static int find_extent(struct fs_layout *l, uint64_t page, struct meta_extent *out)
{
    int rc;

    if (l->in_txn)
        return meta_extent_find(l->txn.meta, l->vnode->ino, page, out);
    rc = fs_extent_at(l->fs, l->vnode->ino, page, out);
    if (rc < 0)
        return rc;
    return out->count ? 0 : -ENOENT;
}

/* The first run of pages in [page, last] that has blocks and is held. -ENOENT: none. */
static int next_held(struct fs_layout *l, uint64_t page, uint64_t last, struct meta_extent *run)
{
    struct meta_extent extent;
    struct dax_run held;

    while (page <= last) {
        int rc = find_extent(l, page, &extent);
        uint64_t from, end;

        if (rc)
            return rc;
        from = extent.page > page ? extent.page : page;
        end = extent.page + extent.count;
        end = last < end ? last + 1 : end;
        if (from >= end)
            return -ENOENT;
        if (dax_change_held_run(&l->change, from, end - 1, &held)) {
            *run = (struct meta_extent){held.first, extent.block + (held.first - extent.page),
                                        held.last - held.first + 1, extent.shared};
            return 0;
        }
        page = end;
    }
    return -ENOENT;
}

static int reserve_all(struct fs *fs, const struct meta_extent *run, struct fs_reservation *copies)
{
    uint64_t want = copies->blocks + run->count;
    int rc = 0;

    while (rc == 0 && copies->blocks < want)
        rc = fs_reserve(fs, run->page, SPACE_NO_GOAL, want - copies->blocks, copies);
    return rc == -ENOSPC ? fs_no_space(fs, run->count) : rc;
}

int fs_copy_run(struct fs *fs, const struct meta_extent *run, struct fs_reservation *copies)
{
    struct fs_reserved_run to;
    uint64_t done = 0;

    while (done < run->count && fs_reservation_take(copies, run->count - done, &to)) {
        char *from_at, *to_at;
        int rc = fs_memory(fs, run->block + done, to.count, &from_at);

        rc = rc ? rc : fs_memory(fs, to.block, to.count, &to_at);
        if (rc)
            return rc;
        fs_map_around(fs, to_at, to.count * HF_BLOCK_BYTES);
        memmove(to_at, from_at, to.count * HF_BLOCK_BYTES); /* a wrong bitmap gives a block twice */
        rc = fs_persist(fs, to_at, to.count * HF_BLOCK_BYTES);
        if (rc)
            return rc;
        done += to.count;
    }
    return 0;
}

int fs_layout_copy_held(struct fs_layout *l, uint64_t first, uint64_t last,
                        struct fs_reservation *copies)
{
    struct meta_extent run;
    int rc = 0;

    shm_assert_held(&l->vnode->mutex);
    if (!l->change.holder_count)
        return 0;
    while (rc == 0 && first <= last && (rc = next_held(l, first, last, &run)) == 0) {
        rc = reserve_all(l->fs, &run, copies);
        rc = rc ? rc : fs_copy_run(l->fs, &run, copies);
        first = run.page + run.count;
    }
    fs_reservation_rewind(copies);
    return rc == -ENOENT ? 0 : rc;
}

int fs_layout_swap_held(struct fs_layout *l, uint64_t first, uint64_t last,
                        struct fs_reservation *copies)
{
    struct meta_extent run;
    int rc = 0;

    shm_assert_held(&l->vnode->mutex);
    if (!l->change.holder_count)
        return 0;
    while (rc == 0 && first <= last && (rc = next_held(l, first, last, &run)) == 0) {
        rc = fs_layout_remove(l, run.page, run.count);
        rc = rc ? rc : fs_layout_place(l, run.page, run.count, copies);
        first = run.page + run.count;
    }
    return rc == -ENOENT ? 0 : rc;
}

/* ---- in steps ---- */

/* In a transaction: whether more than META_STEP_EXTENTS begin in [page, end). */
static int has_many_extents(struct fs_layout *l, uint64_t page, uint64_t end)
{
    uint64_t at;
    int rc;

    if (end - page <= META_STEP_EXTENTS) /* an extent has a page */
        return 0;
    rc = meta_extent_nth(l->txn.meta, l->vnode->ino, page, META_STEP_EXTENTS, &at);
    return rc ? (rc == -ENOENT ? 0 : rc) : at < end;
}

/* The steps know of no pins. So what pins hold goes into records of detached blocks here. */
static int take_held(struct fs_layout *l, uint64_t page, uint64_t last)
{
    struct meta_extent run;
    int rc = 0;

    if (!l->change.holder_count)
        return 0;
    while (rc == 0 && page <= last && (rc = next_held(l, page, last, &run)) == 0) {
        rc = fs_layout_remove(l, run.page, run.count);
        page = run.page + run.count;
    }
    return rc == -ENOENT ? 0 : rc;
}

static __attribute__((noinline)) int intend_steps(struct fs_layout *l, enum meta_intent_kind kind,
                                                  uint64_t page, uint64_t count)
{
    struct meta_intent intent = {l->vnode->ino, kind, page, count, 0};
    int rc = has_many_extents(l, page, kind == META_INTENT_FREE ? page + count : META_FILE_PAGES);

    if (rc <= 0)
        return rc;
    if (kind == META_INTENT_INSERT) {
        intent.cursor = META_FILE_PAGES;
        rc = meta_extent_split(l->txn.meta, l->vnode->ino, page);
    } else {
        intent.cursor = kind == META_INTENT_COLLAPSE ? page : 0;
        rc = take_held(l, page, page + count - 1);
    }
    rc = rc ? rc : meta_intent_put(l->txn.meta, &intent);
    l->steps = rc == 0;
    return rc ? rc : 1;
}

int fs_layout_intend(struct fs_layout *l, enum meta_intent_kind kind, uint64_t page, uint64_t count)
{
    shm_assert_held(&l->vnode->mutex);
    if (l->inode.blocks <= META_STEP_EXTENTS) /* an extent has a block */
        return 0;
    return intend_steps(l, kind, page, count);
}

static uint64_t count_in_file(uint64_t page, uint64_t count)
{
    if (page >= META_FILE_PAGES)
        return 0;
    return fs_min(count, META_FILE_PAGES - page);
}

int fs_layout_take_out(struct fs_layout *l, uint64_t page, uint64_t count)
{
    int rc;

    count = count_in_file(page, count);
    if (!count)
        return 0;
    rc = fs_layout_intend(l, META_INTENT_FREE, page, count);
    if (rc)
        return rc < 0 ? rc : 0;
    return fs_layout_remove(l, page, count);
}

/* ---- together with others ---- */

struct cut {
    struct fs_vnode_task task;
    struct fs_layout *l;
    uint64_t page, count, size;
};

static int cut_steps(struct fs_vnode_task *task)
{
    struct cut *cut = (struct cut *)task;
    struct fs_layout *l = cut->l;
    int rc = 0;

    if (l->inode.blocks > META_STEP_EXTENTS &&
        has_many_extents(l, cut->page, cut->page + cut->count))
        return FS_ALONE;
    meta_txn_frees(l->txn.meta);
    rc = fs_txn_uncapable(&l->txn, l->vnode->ino);
    if (rc == 0 && cut->count)
        rc = meta_extent_remove(l->txn.meta, l->vnode->ino, cut->page, cut->count, removed, l);
    l->inode.size = cut->size;
    l->inode.mtime_ns = l->inode.ctime_ns = hf_wall_ns();
    return rc;
}

/* What is held may only leave the file in a transaction of its own: to detach it changes more than
 * the transaction can undo. */
int fs_layout_cut(struct fs_layout *l, uint64_t page, uint64_t count, uint64_t size)
{
    struct cut cut = {{.vnode = l->vnode, .txn = &l->txn, .inode = &l->inode, .steps = cut_steps},
                      l,
                      page,
                      count_in_file(page, count),
                      size};
    int rc;

    shm_assert_held(&l->vnode->mutex);
    if (l->change.holder_count || l->committed || l->keep_times || !takes_away(l))
        return FS_ALONE;
    rc = fs_vnode_task(l->fs, &cut.task);
    if (rc == 0)
        l->committed = true;
    return rc;
}
