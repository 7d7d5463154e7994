/* SPDX-License-Identifier: MIT */
/*
 * Owns the growing of a pool: the memory first, then the super record, then the bitmap. A process
 * killed in between leaves memory that is longer than the record says, which does no harm. The
 * other processes map the new memory when they first meet a block in it, or ask for it. Those that
 * told a device of the memory are told that there is more.
 *
 * In a durable pool the memory's new length is on the medium before the super record names it. A
 * pool does not open when its record says more than POOL/data has. Syncing the file writes whatever
 * else is dirty in it, so it is done with nothing held, between two transactions. The first one
 * makes the memory longer under space_mutex, so that two growing processes do not meet in the file.
 * Before the second one, another process may grow the pool further. Then that process wins, and
 * ours fails.
 *
 * The blocks past the old end are taken to hold zeros. So what a killed shrink has left in the file
 * past the recorded size is cut off before the file is made longer. Nobody uses it: shrink.c.
 *
 * Other processes may change what ours has added. A trim cuts it off, and so do a shrink and the
 * first step of another growth. A shrink that is killed before its cut leaves old bytes below the
 * old size. The length of the file tells none of that: a growth that has not synced yet may have
 * made it as long again. So each of them first raises a count (tail_changes). Where the second
 * transaction finds another count, it makes the memory longer once more, and syncs it, with
 * space_mutex held. That sync is short, since another one has just written nearly all. Two
 * processes that grow the pool at once both end, in whatever order they take their steps.
 *
 * A memory pool is not synced. After a power cut its record may say more than POOL/data has:
 * mend.c.
 */
#include "base/error.h"
#include "base/lab.h"
#include "fs/txn.h"
#include "pool/pool.h"

#include <errno.h>
#include <inttypes.h>

static int check_size(const struct meta_super *super, uint64_t pool_bytes)
{
    if (pool_bytes % HF_HUGE_BYTES)
        return hf_fail(EINVAL, "a pool's size must be a multiple of 2 MiB");
    if (pool_bytes < super->pool_bytes)
        return hf_fail(EINVAL, "the pool has %" PRIu64 " bytes already: holdfast shrink cuts it",
                       super->pool_bytes);
    if (pool_bytes > super->limit_bytes)
        return hf_fail(ENOSPC, "the pool was made to grow to %" PRIu64 " bytes at most",
                       super->limit_bytes);
    return 0;
}

/* -EINVAL, -ENOSPC: the pool cannot be so large. Nothing is begun then. */
static int begin_growing(struct fs *fs, uint64_t pool_bytes, struct fs_txn *txn,
                         struct meta_super *super)
{
    int rc = fs_begin(fs, txn);

    if (rc)
        return rc;
    rc = meta_super_get(txn->meta, super);
    rc = rc ? rc : check_size(super, pool_bytes);
    rc = rc ? rc : fs_space_barred(fs);
    if (rc)
        fs_abort(txn);
    return rc;
}

/* In a transaction, which keeps others from the file. */
static int lengthen_memory(struct fs *fs, const struct meta_super *super, uint64_t pool_bytes)
{
    int rc = HF_LAB_BROKEN(HF_LAB_TAIL_STAYS) ? 0 : fs_space_cut(fs, super->pool_bytes);

    return rc ? rc : media_grow(&fs->dax.media, super->pool_bytes, pool_bytes);
}

static int sync_memory(struct fs *fs)
{
    return fs->durable ? media_sync(&fs->dax.media) : 0;
}

/* *changes: the count of changes that it was made after. */
static int lengthen(struct fs *fs, uint64_t pool_bytes, uint64_t *changes)
{
    struct meta_super super;
    struct fs_txn txn;
    int rc = begin_growing(fs, pool_bytes, &txn, &super);

    if (rc)
        return rc;
    rc = shm_reserve_space(fs->dax.shm, pool_bytes / HF_BLOCK_BYTES);
    rc = rc ? rc : lengthen_memory(fs, &super, pool_bytes);
    *changes = fs->dax.shm->run->tail_changes;
    fs_abort(&txn);
    return rc;
}

static bool is_as_left(const struct fs *fs, uint64_t changes)
{
    return fs->dax.shm->run->tail_changes == changes || HF_LAB_BROKEN(HF_LAB_TAIL_STAYS);
}

static int record_blocks(struct fs *fs, uint64_t pool_bytes, uint64_t changes)
{
    struct meta_super super;
    struct fs_txn txn;
    int rc = begin_growing(fs, pool_bytes, &txn, &super);

    if (rc)
        return rc;
    if (!is_as_left(fs, changes)) {
        rc = lengthen_memory(fs, &super, pool_bytes);
        rc = rc ? rc : sync_memory(fs);
    }
    super.pool_bytes = pool_bytes;
    txn.grown_blocks = pool_bytes / HF_BLOCK_BYTES;
    return fs_txn_end(&txn, rc ? rc : meta_super_put(txn.meta, &super));
}

int pool_grow(struct fs *fs, uint64_t pool_bytes)
{
    uint64_t changes;
    int rc = lengthen(fs, pool_bytes, &changes);

    rc = rc ? rc : sync_memory(fs);
    HF_LAB_AT(HF_LAB_GROWS);
    rc = rc ? rc : record_blocks(fs, pool_bytes, changes);
    if (rc == 0)
        dax_tell_growth(&fs->dax);
    return rc;
}
