/* SPDX-License-Identifier: MIT */
/*
 * Owns what calls do at the end of file besides writing bytes. They lock the file from there on,
 * zero the rest of its last page, and grow it over a hole. Calls dax for the mutex and space.c for
 * the memory of a block.
 *
 * Bytes past end of file in the last page may have any value. So they are zeroed before the size
 * grows over them, and a reader sees the size only after that.
 */
#include "fs/end.h"
#include "fs/unshare.h"

#include "base/futex.h"

#include <errno.h>
#include <string.h>

int fs_end_lock(struct fs *fs, struct shm_vnode *vnode, uint64_t off, int *passed)
{
    for (unsigned looks = 0;;) {
        uint64_t size = hf_load_acquire(&vnode->size);
        uint64_t from = fs_page_of(size < off ? size : off);
        int rc = dax_lock(&fs->dax, vnode, from, DAX_LAST);

        if (rc < 0)
            return rc;
        if (fs_page_of(vnode->size) >= from) {
            *passed = rc;
            return 0;
        }
        dax_unlock(&fs->dax, vnode); /* the file was cut short meanwhile */
        rc = fs_look_again(&looks);
        if (rc)
            return rc;
    }
}

int fs_zero_tail(struct fs *fs, const struct shm_vnode *vnode, uint64_t size)
{
    uint64_t old = vnode->size, page = fs_page_of(old), end = (page + 1) * HF_BLOCK_BYTES;
    struct meta_extent extent;
    char *block;
    int rc;

    shm_assert_held(&vnode->mutex);
    if (old % HF_BLOCK_BYTES == 0 || size <= old)
        return 0;
    rc = fs_extent_at(fs, vnode->ino, page, &extent);
    if (rc <= 0)
        return rc;
    if (extent.shared)
        return -EMLINK;
    rc = fs_memory(fs, extent.block + (page - extent.page), 1, &block);
    if (rc)
        return rc;
    end = size < end ? size : end;
    memset(block + old % HF_BLOCK_BYTES, 0, end - old);
    return fs_persist(fs, block + old % HF_BLOCK_BYTES, end - old);
}

int fs_zero_own_tail(struct fs *fs, struct shm_vnode *vnode, uint64_t size)
{
    int rc = fs_zero_tail(fs, vnode, size);

    if (rc != -EMLINK)
        return rc;
    rc = fs_unshare_locked(fs, vnode, fs_page_of(vnode->size), 1);
    return rc ? rc : fs_zero_tail(fs, vnode, size);
}

int fs_grow_file(struct fs *fs, struct shm_vnode *vnode, uint64_t size)
{
    int rc = fs_zero_own_tail(fs, vnode, size);

    shm_assert_held(&vnode->mutex);
    if (rc)
        return rc;
    fs_vnode_set_size(fs, vnode, size);
    return 0;
}

static int record_size(struct fs *fs, struct shm_vnode *vnode, uint64_t size)
{
    struct meta_inode inode;
    struct fs_txn txn;
    int rc = fs_vnode_begin_joint(fs, vnode, &txn, &inode);

    if (rc)
        return rc;
    inode.size = size;
    inode.mtime_ns = inode.ctime_ns = hf_wall_ns();
    return fs_vnode_commit(vnode, &txn, &inode);
}

int fs_grow_recorded(struct fs *fs, struct shm_vnode *vnode, uint64_t size)
{
    int rc;

    if (!fs->durable)
        return fs_grow_file(fs, vnode, size);
    rc = fs_zero_own_tail(fs, vnode, size);
    return rc ? rc : record_size(fs, vnode, size);
}

int fs_grown(struct fs *fs, struct shm_vnode *vnode, uint64_t old, uint64_t size)
{
    int rc;

    shm_assert_none_held();
    if (size <= old)
        return 0;
    rc = fs_uncapable(fs, vnode);
    fs_changed(fs, vnode, fs_page_of(old), fs_page_of(size - 1));
    return rc;
}
