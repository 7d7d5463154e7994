/* SPDX-License-Identifier: MIT */
/*
 * Owns the growing of a pool: the memory first, then the super record, then the bitmap, all under
 * space_mutex. Killed in between, the memory is longer than anybody knows, which does no harm. The
 * other processes map the new memory when they first meet a block in it.
 */
#include "base/error.h"
#include "fs/txn.h"

#include <errno.h>

static int check(const struct meta_super *super, uint64_t pool_bytes)
{
    if (pool_bytes % HF_HUGE_BYTES)
        return hf_fail(EINVAL, "a pool's size must be a multiple of 2 MiB");
    if (pool_bytes < super->pool_bytes)
        return hf_fail(EINVAL, "the pool has %llu bytes and cannot shrink",
                       (unsigned long long)super->pool_bytes);
    if (pool_bytes > super->limit_bytes)
        return hf_fail(ENOSPC, "the pool was made to grow to %llu bytes at most",
                       (unsigned long long)super->limit_bytes);
    return 0;
}

static int grow(struct fs_txn *txn, uint64_t pool_bytes)
{
    struct meta_super super;
    int rc = meta_super_get(txn->meta, &super);

    rc = rc ? rc : check(&super, pool_bytes);
    rc = rc ? rc : media_grow(&txn->fs->dax.media, pool_bytes);
    if (rc)
        return rc;
    super.pool_bytes = pool_bytes;
    return meta_super_put(txn->meta, &super);
}

int fs_grow(struct fs *fs, uint64_t pool_bytes)
{
    struct fs_txn txn;
    int rc = fs_begin(fs, &txn);

    if (rc)
        return rc;
    rc = grow(&txn, pool_bytes);
    if (rc) {
        fs_abort(&txn);
        return rc;
    }
    txn.grown_blocks = pool_bytes / HF_BLOCK_BYTES;
    return fs_commit(&txn);
}
