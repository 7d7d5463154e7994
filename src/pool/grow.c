/* SPDX-License-Identifier: MIT */
/*
 * Owns the growing of a pool: the memory first, then the super record, then the bitmap. Killed in
 * between, the memory is longer than anybody knows, which does no harm. The other processes map the
 * new memory when they first meet a block in it.
 *
 * Of a durable pool the memory's new length is on the medium before the super record names it: a
 * super record that says more than POOL/data has is a pool that does not open. Syncing the file
 * writes whatever else is dirty in it, so it is done with nothing held, between two transactions.
 * The first one makes the memory longer under space_mutex, so that two that grow do not meet in the
 * file; it is given up then. Who grows the pool further meanwhile wins, and we are too late to make
 * it smaller.
 *
 * A memory pool is not synced. What a power cut leaves of it may have a super record that says more
 * than POOL/data has: mend.c.
 */
#include "base/error.h"
#include "fs/txn.h"
#include "pool/pool.h"

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

/* -EINVAL, -ENOSPC: the pool cannot be so large. */
static int read_super(struct fs_txn *txn, uint64_t pool_bytes, struct meta_super *super)
{
    int rc = meta_super_get(txn->meta, super);

    return rc ? rc : check(super, pool_bytes);
}

static int lengthen(struct fs *fs, uint64_t pool_bytes)
{
    struct meta_super super;
    struct fs_txn txn;
    int rc = fs_begin(fs, &txn);

    if (rc)
        return rc;
    rc = read_super(&txn, pool_bytes, &super);
    rc = rc ? rc : media_grow(&fs->dax.media, pool_bytes);
    fs_abort(&txn);
    return rc;
}

static int record(struct fs *fs, uint64_t pool_bytes)
{
    struct meta_super super;
    struct fs_txn txn;
    int rc = fs_begin(fs, &txn);

    if (rc)
        return rc;
    rc = read_super(&txn, pool_bytes, &super);
    if (rc == 0) {
        super.pool_bytes = pool_bytes;
        rc = meta_super_put(txn.meta, &super);
    }
    if (rc) {
        fs_abort(&txn);
        return rc;
    }
    txn.grown_blocks = pool_bytes / HF_BLOCK_BYTES;
    return fs_commit(&txn);
}

int pool_grow(struct fs *fs, uint64_t pool_bytes)
{
    int rc = lengthen(fs, pool_bytes);

    if (rc == 0 && fs->durable)
        rc = media_sync(&fs->dax.media);
    return rc ? rc : record(fs, pool_bytes);
}
