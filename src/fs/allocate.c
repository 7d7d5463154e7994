/* SPDX-License-Identifier: MIT */
/*
 * Owns hf_fallocate() without a punching mode: every hole in the range gets blocks of zeros. No
 * page loses a block, so it is not a layout change and waits for no pin. It is done in chunks, each
 * a transaction. Before the first one the call looks whether there is room for all of them.
 */
#include "fs/end.h"
#include "fs/fill.h"

#include "base/error.h"

#include <errno.h>

#define CHUNK_PAGES 16384u /* 64 MiB */

/* Pages of [page, end) that are holes. */
static int count_holes(struct fs *fs, uint64_t ino, uint64_t page, uint64_t end, uint64_t *holes)
{
    struct meta_extent extent;
    struct meta_txn *txn;
    int rc = meta_begin_read(fs->dax.meta, &txn);

    *holes = 0;
    if (rc)
        return rc;
    while (rc == 0 && page < end) {
        rc = meta_extent_find(txn, ino, page, &extent);
        if (rc)
            break;
        if (extent.page > page)
            *holes += (extent.page < end ? extent.page : end) - page;
        page = extent.page + extent.count;
    }
    if (rc == -ENOENT) {
        *holes += end - page;
        rc = 0;
    }
    meta_end_read(txn);
    return rc;
}

/* Fills the hole at *page, or steps over pages that have blocks. */
static int allocate_some(struct fs *fs, struct shm_vnode *vnode, uint64_t *page, uint64_t end)
{
    struct meta_extent extent;
    uint64_t count, filled = 0;
    int rc = fs_extent_at(fs, vnode->ino, *page, &extent);

    if (rc < 0)
        return rc;
    if (rc) {
        *page = extent.page + extent.count;
        return 0;
    }
    count = (extent.count && extent.page < end ? extent.page : end) - *page;
    rc = fs_fill_hole(fs, vnode, *page, count < CHUNK_PAGES ? count : CHUNK_PAGES, FILL_ALLOCATE,
                      NULL, &filled);
    *page += filled;
    return rc;
}

static int grow_to(struct fs *fs, struct shm_vnode *vnode, uint64_t size)
{
    uint64_t old;
    int passed;
    int rc = fs_uncapable(fs, vnode);

    rc = rc ? rc : fs_end_lock(fs, vnode, UINT64_MAX, &passed);
    if (rc)
        return rc;
    old = vnode->size;
    if (size > old) {
        rc = fs_grow_recorded(fs, vnode, size);
        vnode->passed += passed ? 1 : 0;
    }
    dax_unlock(&fs->dax, vnode);
    return rc ? rc : fs_grown(fs, vnode, old, size);
}

int fs_allocate(struct fs *fs, struct shm_vnode *vnode, uint64_t off, uint64_t len, bool keep_size)
{
    uint64_t page = off / HF_BLOCK_BYTES, end = (off + len - 1) / HF_BLOCK_BYTES + 1, holes;
    int rc = fs_may_write(fs);

    rc = rc ? rc : count_holes(fs, vnode->ino, page, end, &holes);
    rc = rc ? rc : fs_room_for(fs, holes);
    while (rc == 0 && page < end)
        rc = allocate_some(fs, vnode, &page, end);
    if (rc == 0 && !keep_size)
        rc = grow_to(fs, vnode, off + len);
    return rc;
}
