/* SPDX-License-Identifier: MIT */
/*
 * Owns the filling of holes. Blocks are reserved, filled and (durable pools) persisted before any
 * lock is taken. The transaction that gives them to the file looks again, under the layout mutex,
 * whether the pages are still holes. So a killed process leaves a hole or the whole content, never
 * a block with another file's old bytes. And the caller's memory, which may be a mapping that is
 * slow to arrive, is read while nothing is held.
 */
#include "fs/fill.h"
#include "fs/unshare.h"

#include "base/error.h"
#include "base/futex.h"
#include "fs/end.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define ZERO_CHUNK_PAGES 16384u /* 64 MiB: the most that a fill with zeros takes at once */

/* Memory for file bytes [at, at+len). The first `old` of them may hold anything, the rest are
 * zeros. */
static void fill_piece(const struct fs *fs, char *to, uint64_t at, uint64_t len, uint64_t old,
                       const struct fs_content *content)
{
    uint64_t from = at + len, end = from; /* the content's part of it */

    if (content && content->off < at + len && content->off + content->len > at) {
        from = content->off > at ? content->off : at;
        end = content->off + content->len < end ? content->off + content->len : end;
    }
    fs_map_around(fs, to, old);
    memset(to, 0, from - at < old ? from - at : old);
    if (from < end)
        fs_map_around(fs, to + (from - at), end - from);
    if (from < end)
        /* Pinned memory may be the source, and a wrong bitmap gives a block twice. */
        memmove(to + (from - at), content->buf + (from - content->off), end - from);
    if (end - at < old)
        memset(to + (end - at), 0, old - (end - at));
}

int fs_fill_blocks(struct fs *fs, struct fs_reservation *reservation, uint64_t page,
                   const struct fs_content *content)
{
    struct fs_reserved_run run;
    int rc = 0;

    while (rc == 0 && fs_reservation_take(reservation, UINT64_MAX, &run)) {
        uint64_t bytes = run.count * HF_BLOCK_BYTES;
        char *to;

        rc = fs_memory(fs, run.block, run.count, &to);
        if (rc)
            break;
        fill_piece(fs, to, page * HF_BLOCK_BYTES, bytes, run.used_before * HF_BLOCK_BYTES, content);
        rc = fs_persist(fs, to, bytes);
        page += run.count;
    }
    fs_reservation_rewind(reservation);
    return rc;
}

int fs_give_blocks(struct fs_txn *txn, uint64_t ino, struct meta_inode *inode, uint64_t page,
                   uint64_t count, struct fs_reservation *reservation)
{
    struct fs_reserved_run run;

    txn->reservation = reservation;
    while (fs_reservation_take(reservation, count, &run)) {
        struct meta_extent extent = {page, run.block, run.count, false};
        int rc = meta_extent_insert(txn->meta, ino, &extent);

        if (rc)
            return rc;
        inode->blocks += run.count;
        page += run.count;
        count -= run.count;
    }
    HF_BUG_ON(count);
    return 0;
}

/* How many of `count` pages, from `page` on, are one hole that may be filled. */
static int hole_now(struct meta_txn *txn, const struct shm_vnode *vnode, uint64_t page,
                    uint64_t count, enum fs_fill_kind kind, const struct fs_content *content,
                    uint64_t *pages)
{
    uint64_t size = vnode->size, end = dax_pages_up(size);
    struct meta_extent next;
    int rc;

    *pages = 0;
    if (kind == FILL_WRITE && content->off + content->len > size)
        return 0;
    if (kind == FILL_EXTEND && content->off < size)
        return 0;
    if (kind == FILL_FOR_PIN && page >= end)
        return 0;
    if (kind == FILL_FOR_PIN && count > end - page)
        count = end - page;
    rc = meta_extent_find(txn, vnode->ino, page, &next);
    if (rc && rc != -ENOENT)
        return rc;
    if (rc == 0 && next.page <= page)
        count = 0;
    else if (rc == 0 && next.page - page < count)
        count = next.page - page;
    *pages = count;
    return 0;
}

/* A file gets blocks, in a transaction. */
struct filling {
    struct fs_vnode_task task;
    uint64_t page;
    enum fs_fill_kind kind;
    const struct fs_content *content;
    struct fs_reservation *reservation;
    uint64_t pages; /* that it gets; 0: there is no hole any more */
    struct fs_txn txn;
    struct meta_inode inode;
};

static int fill_in_txn(struct filling *f)
{
    const struct shm_vnode *vnode = f->task.vnode;
    int rc = hole_now(f->txn.meta, vnode, f->page, f->reservation->blocks, f->kind, f->content,
                      &f->pages);

    if (rc || !f->pages)
        return rc;
    rc = fs_give_blocks(&f->txn, vnode->ino, &f->inode, f->page, f->pages, f->reservation);
    if (f->kind != FILL_FOR_PIN)
        f->inode.mtime_ns = f->inode.ctime_ns = hf_wall_ns();
    if (f->kind == FILL_EXTEND)
        f->inode.size =
            fs_min(f->content->off + f->content->len, (f->page + f->pages) * HF_BLOCK_BYTES);
    return rc;
}

static int fill_task(struct fs_vnode_task *task)
{
    struct filling *f = (struct filling *)task;
    int rc = fill_in_txn(f);

    return rc ? rc : f->pages ? 0 : FS_ALONE;
}

static int fill_alone(struct fs *fs, struct filling *f)
{
    struct shm_vnode *vnode = f->task.vnode;
    int rc = fs_vnode_begin_joint(fs, vnode, &f->txn, &f->inode);

    if (rc)
        return rc;
    fs_reservation_rewind(f->reservation);
    rc = fill_in_txn(f);
    if (rc == 0 && f->pages)
        return fs_vnode_commit(vnode, &f->txn, &f->inode);
    fs_abort(&f->txn);
    f->pages = 0;
    return rc;
}

static int give_if_hole(struct fs *fs, struct shm_vnode *vnode, uint64_t page,
                        enum fs_fill_kind kind, const struct fs_content *content,
                        struct fs_reservation *reservation, uint64_t *filled)
{
    struct filling f;
    int rc;

    f.task.vnode = vnode;
    f.task.txn = &f.txn;
    f.task.inode = &f.inode;
    f.task.steps = fill_task;
    f.page = page;
    f.kind = kind;
    f.content = content;
    f.reservation = reservation;
    rc = fs_vnode_task(fs, &f.task);
    if (rc == 0)
        fs_vnode_task_done(&f.task);
    else
        rc = fill_alone(fs, &f);
    *filled = f.pages;
    return rc;
}

/* To grow the file, it locks everything from the end on, and zeros the bytes up to the content.
 * -EMLINK: as fs_zero_tail(). */
static int lock_range(struct fs *fs, struct shm_vnode *vnode, uint64_t page, uint64_t count,
                      const struct fs_content *extends)
{
    int rc, passed;

    if (!extends)
        return dax_lock(&fs->dax, vnode, page, page + count - 1);
    rc = fs_end_lock(fs, vnode, extends->off, &passed);
    if (rc)
        return rc;
    rc = extends->off >= vnode->size ? fs_zero_tail(fs, vnode, extends->off) : 0;
    if (rc)
        dax_unlock(&fs->dax, vnode);
    return rc;
}

int fs_fill_hole(struct fs *fs, struct shm_vnode *vnode, uint64_t page, uint64_t count,
                 enum fs_fill_kind kind, const struct fs_content *content, uint64_t *filled)
{
    struct fs_reservation reservation;
    int rc;

    shm_assert_none_held();
    fs_reservation_init(&reservation);
    rc = fs_reserve_hard(fs, page, fs_goal(fs, vnode->ino, page), count, &reservation);
    if (rc)
        return rc;
    rc = fs_fill_blocks(fs, &reservation, page, content);
    if (rc == 0) {
        rc = lock_range(fs, vnode, page, reservation.blocks, kind == FILL_EXTEND ? content : NULL);
        if (rc >= 0) {
            rc = give_if_hole(fs, vnode, page, kind, content, &reservation, filled);
            dax_unlock(&fs->dax, vnode);
        }
    }
    fs_reservation_drop(fs, &reservation);
    if (rc == -EMLINK) {
        *filled = 0;
        rc = fs_unshare(fs, vnode, hf_load_acquire(&vnode->size) / HF_BLOCK_BYTES, 1);
    }
    return rc;
}

int fs_fill(struct fs *fs, struct shm_vnode *vnode, uint64_t page, uint64_t count)
{
    uint64_t end = page + count;
    int rc;

    shm_assert_none_held();
    if (fs->dax.readonly)
        return hf_fail(EROFS,
                       "page %" PRIu64 " of inode %" PRIu64
                       " is a hole, and the pool is open for reading only",
                       page, vnode->ino);
    rc = fs_room_for(fs, count); /* a pin gets all of its range or nothing */
    while (rc == 0 && page < end) {
        uint64_t want = end - page < ZERO_CHUNK_PAGES ? end - page : ZERO_CHUNK_PAGES, filled = 0;

        rc = fs_fill_hole(fs, vnode, page, want, FILL_FOR_PIN, NULL, &filled);
        if (filled == 0) /* another thread has filled it, or the file is shorter: look again */
            break;
        page += filled;
    }
    return rc;
}
