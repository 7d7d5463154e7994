/* SPDX-License-Identifier: MIT */
/*
 * Owns hf_pool_shrink(), in these steps. Blocks past the new end are given out no more
 * (fs_space_bar()). What lies there moves (fs/vacate.c). One transaction lowers the size in the
 * super record. The data file is cut.
 *
 * Why no file loses a block. The transaction is made under space_mutex. Before anything else, it
 * checks in the bitmap that nothing past the end is taken. Blocks are given out under the same
 * mutex, and none past the end is. The bitmap has every block of a file, a detached record, a put
 * and a reservation.
 *
 * Why nobody touches what is cut. Other processes have it mapped for ever, and a touch would be
 * SIGBUS. But a thread touches only two kinds of blocks. It touches blocks of a file, under a pin
 * or the file's layout mutex, and blocks of its own reservation or put. An entry of a page table
 * leads there only while an extent does. The move has cleared it, and has waited for the pins that
 * had read it. A copy that is at work is waited for (fs/vacate.c). A sync of a block that has left
 * its file may still come. msync(2) harms nothing there. Persistent memory, where a flush is a
 * load, keeps its length (media_cut()). When the pool grows again, these mappings show the new
 * memory.
 *
 * Why no device touches it. What is registered is not cut. Registrations are made under
 * table_mutex. The transaction is made under that mutex too, and only if there are none. A
 * registration made later has the new size (memory.c).
 *
 * Killed at any instruction. Before the commit: the pool has its old size, and shrink_to goes with
 * the process (shm/reap.c). After it: the new size, and the next process that locks the bitmap
 * makes it again by that. The file may be longer. That does no harm, and what is there is cut
 * before growing uses it (grow.c). A trim cuts it too, and so does a shrink to the size that the
 * pool has.
 *
 * A power cut: the moves, and then the record, are on the medium before the file is cut.
 */
#include "base/error.h"
#include "base/futex.h"
#include "fs/txn.h"
#include "pool/create.h"
#include "pool/pool.h"

#include <errno.h>
#include <inttypes.h>

/* Under space_mutex. */
static int check_new_size(struct fs *fs, const struct meta_super *super, uint64_t pool_bytes)
{
    uint64_t unit;
    int rc = media_unit(&fs->dax.media, &unit);

    shm_assert_held(&fs->dax.shm->run->space_mutex);
    if (rc)
        return rc;
    if (pool_bytes % HF_HUGE_BYTES || pool_bytes % unit || pool_bytes < POOL_BYTES_MIN)
        return hf_fail(EINVAL,
                       "a pool of %" PRIu64 " bytes: it must be 8 MiB at least, and a multiple of "
                       "%" PRIu64 " bytes",
                       pool_bytes, unit > HF_HUGE_BYTES ? unit : HF_HUGE_BYTES);
    if (pool_bytes > super->pool_bytes)
        return hf_fail(EINVAL, "the pool has %" PRIu64 " bytes: holdfast grow makes it larger",
                       super->pool_bytes);
    return 0;
}

static int check_unregistered(struct fs *fs)
{
    uint32_t count = shm_registrations(fs->dax.shm);

    return count ? hf_fail(EBUSY,
                           "devices have the pool's memory registered (%" PRIu32
                           " times), so it is not cut: holdfast info shows the number",
                           count)
                 : 0;
}

static int begin_shrinking(struct fs *fs, uint64_t pool_bytes)
{
    struct meta_super super;
    struct fs_txn txn;
    int rc = fs_begin(fs, &txn);

    if (rc)
        return rc;
    rc = meta_super_get(txn.meta, &super);
    rc = rc ? rc : check_new_size(fs, &super, pool_bytes);
    rc = rc ? rc : check_unregistered(fs);
    rc = rc ? rc : fs_space_bar(fs, pool_bytes / HF_BLOCK_BYTES);
    fs_abort(&txn);
    return rc;
}

/* In a transaction, with table_mutex. Without the bits, blocks that come back by growing get memory
 * as new ones do. What the file has past the end may be old bytes until it is cut. A process that
 * grows the pool just now has to know that (grow.c). */
static int lower_size(struct fs *fs, struct fs_txn *txn, uint64_t pool_bytes)
{
    uint64_t blocks = pool_bytes / HF_BLOCK_BYTES, old = shm_pool_blocks(fs->dax.shm);
    struct meta_super super;
    int rc = check_unregistered(fs);

    rc = rc ? rc : meta_super_get(txn->meta, &super);
    if (rc)
        return rc;
    if (blocks < old)
        fs_unback(fs, blocks, old - blocks);
    fs->dax.shm->run->tail_changes++;
    super.pool_bytes = pool_bytes;
    super.fresh_block = fs_min(super.fresh_block, blocks);
    txn->shrunk_blocks = blocks;
    return meta_super_put(txn->meta, &super);
}

/* 1: blocks past the end are in use after all. */
static int record_new_size(struct fs *fs, uint64_t pool_bytes)
{
    struct fs_txn txn;
    int rc = fs_begin_freeing(fs, &txn);

    if (rc)
        return rc;
    if (fs_space_used_from(fs, pool_bytes / HF_BLOCK_BYTES)) {
        fs_abort(&txn);
        return 1;
    }
    rc = shm_lock_table(fs->dax.shm);
    if (rc) {
        fs_abort(&txn);
        return rc;
    }
    rc = fs_txn_end(&txn, lower_size(fs, &txn, pool_bytes));
    shm_unlock_table(fs->dax.shm);
    return rc;
}

/* To the size that is recorded now, which may be another's. The pool is smaller already. So where a
 * lock is not to be had, the rest is left to the next trim, growth or shrink. */
static int cut_memory(struct fs *fs)
{
    struct meta_super super;
    struct fs_txn txn;
    int rc = media_is_on_disk(&fs->dax.media) ? meta_sync(fs->dax.meta) : 0;

    if (rc)
        return rc;
    rc = fs_begin(fs, &txn);
    if (rc)
        return rc == -EBUSY || rc == -EINTR || rc == -ETIMEDOUT || rc == -EAGAIN ? 0 : rc;
    rc = meta_super_get(txn.meta, &super);
    rc = rc ? rc : fs_space_cut(fs, super.pool_bytes);
    fs_abort(&txn);
    return rc;
}

int pool_shrink(struct fs *fs, uint64_t pool_bytes, const struct hf_policy *policy)
{
    uint64_t since_ns = policy->deadline_ns ? hf_now_ns() : 0;
    int rc;

    fs_make_room(fs);
    rc = begin_shrinking(fs, pool_bytes);
    if (rc)
        return rc;
    do {
        rc = fs_vacate(fs, pool_bytes / HF_BLOCK_BYTES, policy, since_ns);
        rc = rc ? rc : record_new_size(fs, pool_bytes);
    } while (rc == 1);
    rc = rc ? rc : cut_memory(fs);
    fs_space_unbar(fs);
    return rc;
}
