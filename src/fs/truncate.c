/* SPDX-License-Identifier: MIT */
/*
 * Owns hf_truncate(). Down: one layout change from the page that keeps the last byte on, and one
 * transaction that frees the pages after it. Up: not a layout change, since no page loses a block.
 */
#include "fs/end.h"
#include "fs/layout.h"

#include "base/error.h"

#include <errno.h>
#include <inttypes.h>

static int truncate_up(struct fs *fs, struct shm_vnode *vnode, uint64_t size)
{
    bool tail = hf_load_acquire(&vnode->size) % HF_BLOCK_BYTES != 0;
    uint64_t old;
    int passed = 0, rc = fs_may_write(fs);

    rc = rc ? rc : fs_uncapable(fs, vnode);
    if (rc)
        return rc;
    if (tail) {
        rc = fs_end_lock(fs, vnode, UINT64_MAX, &passed);
        if (rc)
            return rc;
    } else {
        rc = dax_lock_any(&fs->dax, vnode); /* no page changes: nobody's gate is in the way */
        if (rc)
            return rc;
    }
    old = vnode->size;
    if (size < old || (!tail && old % HF_BLOCK_BYTES))
        rc = -ESTALE; /* it has changed meanwhile */
    else
        rc = fs_grow_recorded(fs, vnode, size);
    vnode->passed += passed ? 1 : 0;
    dax_unlock(&fs->dax, vnode);
    return rc ? rc : fs_grown(fs, vnode, old, size);
}

/* The last page stays; a pin that is detached from it would see its tail zeroed when the file
 * grows. */
static int keep_last_page(struct fs_layout *l, uint64_t size, struct fs_reservation *copy)
{
    uint64_t page = size / HF_BLOCK_BYTES;

    if (!l->change.holder_count || size % HF_BLOCK_BYTES == 0)
        return 0;
    fs_reservation_init(copy);
    return fs_layout_copy_held(l, page, page, copy);
}

static int cut_pages(struct fs_layout *l, uint64_t size, struct fs_reservation *copy)
{
    uint64_t page = size / HF_BLOCK_BYTES;
    int rc = fs_layout_cut(l, dax_pages_up(size), UINT64_MAX, size);

    if (rc != FS_ALONE)
        return rc;
    rc = fs_layout_begin_joint(l);
    if (rc)
        return rc;
    if (size % HF_BLOCK_BYTES)
        rc = fs_layout_swap_held(l, page, page, copy);
    rc = rc ? rc : fs_layout_take_out(l, dax_pages_up(size), UINT64_MAX);
    return rc ? rc : fs_layout_commit(l, size);
}

static int truncate_down(struct fs *fs, struct shm_vnode *vnode, uint64_t size,
                         const struct hf_policy *policy)
{
    struct fs_reservation copy;
    bool same = hf_load_acquire(&vnode->size) == size; /* then no page that a pin can hold goes */
    uint64_t first = same ? dax_pages_up(size) : size / HF_BLOCK_BYTES;
    struct fs_layout l;
    int rc = fs_layout_open(&l, fs, vnode, first, DAX_LAST, HF_CHANGE_TRUNCATE, policy);

    if (rc)
        return rc;
    if (size > vnode->size || (same && size != vnode->size))
        return fs_layout_close(&l, -ESTALE); /* it has changed meanwhile */
    copy.count = 0;
    rc = keep_last_page(&l, size, &copy);
    rc = rc ? rc : cut_pages(&l, size, &copy);
    fs_layout_close(&l, rc);
    fs_reservation_drop(fs, &copy);
    return rc;
}

/* A truncate to the present size also frees blocks past end of file. */
int fs_truncate(struct fs *fs, struct shm_vnode *vnode, uint64_t size,
                const struct hf_policy *policy)
{
    unsigned looks = 0;
    int rc, again;

    if (size > HF_FILE_BYTES_MAX)
        return hf_fail(EFBIG, "a file ends at %" PRIu64 " bytes", HF_FILE_BYTES_MAX);
    do {
        if (size > hf_load_acquire(&vnode->size))
            rc = truncate_up(fs, vnode, size);
        else
            rc = truncate_down(fs, vnode, size, policy);
        again = rc == -ESTALE ? fs_look_again(&looks) : rc;
    } while (rc == -ESTALE && again == 0);
    return again;
}
