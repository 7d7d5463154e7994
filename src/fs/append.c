/* SPDX-License-Identifier: MIT */
/*
 * Owns appending, and every write past end of file that is made under the layout mutex. An append
 * gets its place, its bytes and the new size in one hold of that mutex. So appends never overlap
 * and leave no gap. The size goes up last, so a killed writer leaves the file with its old end, or
 * with bytes that are all there.
 *
 * Under the mutex, only memory of the library is read. The caller's memory may be a mapping of
 * anything, for example of this file through a mount, which needs the mutex to fetch it. So an
 * append is copied first, and fs_write() past end of file fills blocks before it takes the mutex
 * (FILL_EXTEND), or copies a little.
 */
#include "fs/append.h"
#include "fs/unshare.h"

#include "base/error.h"
#include "base/futex.h"
#include "fs/end.h"
#include "fs/fill.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static ssize_t into_blocks(struct fs *fs, struct shm_vnode *vnode, const char *buf, uint64_t len,
                           uint64_t off, const struct meta_extent *extent)
{
    uint64_t page = fs_page_of(off);
    uint64_t pages = extent->page + extent->count - page;
    uint64_t room;
    char *to;
    int rc;

    pages = pages < FILL_CHUNK_PAGES ? pages : FILL_CHUNK_PAGES;
    if (extent->shared) {
        rc = fs_unshare_locked(fs, vnode, page, fs_page_of(off + len - 1) - page + 1);
        return rc ? rc : fs_append_at(fs, vnode, buf, len, off);
    }
    rc = fs_memory(fs, extent->block + (page - extent->page), pages, &to);
    if (rc)
        return rc;
    room = (page + pages) * HF_BLOCK_BYTES - off;
    len = len < room ? len : room;
    memmove(to + off % HF_BLOCK_BYTES, buf, len); /* as in fill_piece() */
    fs_vnode_set_size(fs, vnode, off + len);
    return (ssize_t)len;
}

struct growth {
    struct fs_vnode_task task;
    uint64_t page, size;
    struct fs_reservation *reservation;
    struct fs_txn txn;
    struct meta_inode inode;
};

static int grow_in_txn(struct fs_vnode_task *task)
{
    struct growth *g = (struct growth *)task;

    g->inode.size = g->size;
    g->inode.mtime_ns = g->inode.ctime_ns = hf_wall_ns();
    return fs_give_blocks(&g->txn, task->vnode->ino, &g->inode, g->page, g->reservation->blocks,
                          g->reservation);
}

static int grow_alone(struct fs *fs, struct growth *g)
{
    struct shm_vnode *vnode = g->task.vnode;
    int rc = fs_vnode_begin_joint(fs, vnode, &g->txn, &g->inode);

    if (rc)
        return rc;
    fs_reservation_rewind(g->reservation);
    rc = grow_in_txn(&g->task);
    if (rc) {
        fs_abort(&g->txn);
        return rc;
    }
    return fs_vnode_commit(vnode, &g->txn, &g->inode);
}

static int give_and_grow(struct fs *fs, struct shm_vnode *vnode, uint64_t page, uint64_t size,
                         struct fs_reservation *reservation)
{
    struct growth g;

    g.task.vnode = vnode;
    g.task.txn = &g.txn;
    g.task.inode = &g.inode;
    g.task.steps = grow_in_txn;
    g.page = page;
    g.size = size;
    g.reservation = reservation;
    if (fs_vnode_task(fs, &g.task))
        return grow_alone(fs, &g);
    fs_vnode_task_done(&g.task);
    return 0;
}

/* `pages` is how long the hole is. */
static ssize_t into_hole(struct fs *fs, struct shm_vnode *vnode, const struct fs_content *all,
                         uint64_t pages, uint64_t goal)
{
    struct fs_reservation reservation;
    struct fs_content content = *all;
    uint64_t off = all->off, page = fs_page_of(off), room;
    uint64_t want = fs_page_of(off + all->len - 1) - page + 1;
    int rc;

    want = want < pages ? want : pages;
    want = want < FILL_CHUNK_PAGES ? want : FILL_CHUNK_PAGES;
    fs_reservation_init(&reservation);
    rc = fs_reserve(fs, page, goal, want, &reservation);
    if (rc)
        return rc;
    room = (page + reservation.blocks) * HF_BLOCK_BYTES - off;
    content.len = all->len < room ? all->len : room;
    rc = fs_fill_blocks(fs, &reservation, page, &content);
    rc = rc ? rc : give_and_grow(fs, vnode, page, off + content.len, &reservation);
    fs_reservation_drop(fs, &reservation);
    return rc ? rc : (ssize_t)content.len;
}

ssize_t fs_append_at(struct fs *fs, struct shm_vnode *vnode, const char *buf, uint64_t len,
                     uint64_t off)
{
    struct fs_content content = {buf, off, len};
    struct meta_extent extent;
    uint64_t goal;
    int rc = fs_zero_own_tail(fs, vnode, off);

    shm_assert_held(&vnode->mutex);
    rc = rc ? rc : fs_extent_or_goal(fs, vnode->ino, fs_page_of(off), &extent, &goal);
    if (rc < 0)
        return rc;
    if (rc)
        return into_blocks(fs, vnode, buf, len, off, &extent);
    return into_hole(fs, vnode, &content, extent.count ? extent.page - fs_page_of(off) : UINT64_MAX,
                     goal);
}

/* ---- appending ---- */

static ssize_t append_locked(struct hf_file *file, const char *buf, uint64_t len, uint64_t off)
{
    uint64_t done = 0;

    while (done < len) {
        ssize_t n = fs_append_at(file->fs, file->vnode, buf + done, len - done, off + done);

        if (n < 0)
            return done ? (ssize_t)done : n;
        done += (uint64_t)n;
    }
    return (ssize_t)done;
}

static ssize_t append_once(struct hf_file *file, const char *buf, uint64_t len, uint64_t *place)
{
    struct shm_vnode *vnode = file->vnode;
    uint64_t room;
    ssize_t done;
    int passed;
    int rc = fs_end_lock(file->fs, vnode, UINT64_MAX, &passed);

    if (rc)
        return rc;
    *place = vnode->size;
    room = *place < HF_FILE_BYTES_MAX ? HF_FILE_BYTES_MAX - *place : 0;
    if (room == 0)
        done = hf_fail(EFBIG, "the file is as large as a file can be");
    else
        done = append_locked(file, buf, len < room ? len : room, *place);
    vnode->passed += passed ? 1 : 0;
    dax_unlock(&file->fs->dax, vnode);
    return done;
}

static ssize_t append_hard(struct hf_file *file, const void *buf, size_t len, uint64_t *place)
{
    struct fs *fs = file->fs;
    ssize_t done = append_once(file, buf, len, place);

    if (done != -ENOSPC)
        return done;
    fs_make_room(fs);
    done = append_once(file, buf, len, place);
    return done == -ENOSPC ? fs_no_space(fs, 1) : done;
}

static ssize_t append_copied(struct hf_file *file, const void *buf, size_t len, uint64_t *place)
{
    uint64_t pool_bytes = shm_pool_blocks(file->fs->dax.shm) * HF_BLOCK_BYTES;
    char few[FS_COPIED_BYTES], *copy = few;
    ssize_t done;

    len = len < pool_bytes ? len : pool_bytes; /* more finds no room anyway */
    if (len > sizeof few)
        copy = malloc(len);
    if (!copy)
        return hf_fail(ENOMEM, "no memory for a copy of the %zu bytes to append", len);
    memcpy(copy, buf, len);
    done = append_hard(file, copy, len, place);
    if (copy != few)
        free(copy);
    return done;
}

ssize_t fs_append(struct hf_file *file, const void *buf, size_t len, uint64_t *off)
{
    struct fs *fs = file->fs;
    uint64_t place;
    ssize_t done;
    int rc;

    if (len == 0) {
        if (off)
            *off = hf_load_acquire(&file->vnode->size);
        return 0;
    }
    rc = fs_uncapable(fs, file->vnode);
    if (rc)
        return rc;
    if (hf_load_acquire(&fs->dax.shm->run->reclaim))
        fs_reclaim(fs);
    fs_will_change(fs, file->vnode, hf_load_acquire(&file->vnode->size), len);
    done = append_copied(file, buf, len, &place);
    if (done <= 0)
        return done;
    fs_trim_follow(fs);
    rc = fs_uncapable(fs, file->vnode);
    fs_changed(fs, file->vnode, fs_page_of(place), fs_page_of(place + (uint64_t)done - 1));
    if (rc)
        return rc;
    if (off)
        *off = place;
    return done;
}
