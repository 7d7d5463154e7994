/* SPDX-License-Identifier: MIT */
/*
 * Owns the bits of taken blocks and the count of free ones in each group of 512, and makes both
 * from the metadata. Calls meta.
 *
 * They lie in the run segment, where a word may be wrong. A run of blocks counts only inside the
 * pool (bitmap_in_pool()), and the pool is not larger than its tables (shm_pool_blocks()).
 */
#include "fs/space.h"

#include "base/error.h"
#include "base/lab.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

bool bitmap_in_pool(const struct shm *shm, uint64_t block, uint64_t count)
{
    uint64_t blocks = shm_pool_blocks(shm);

    return block < blocks && count <= blocks - block;
}

uint64_t fs_space_next(const struct shm *shm, uint64_t from, uint64_t end, bool taken)
{
    while (from < end) {
        uint64_t word = shm->block_bits[from / 64];

        word = (taken ? word : ~word) & ~UINT64_C(0) << from % 64;
        if (word)
            return fs_min((from & ~UINT64_C(63)) + (uint64_t)__builtin_ctzll(word), end);
        from = (from | 63) + 1;
    }
    return end;
}

static __attribute__((noinline)) unsigned number_of_bits(uint64_t bits)
{
    return (unsigned)__builtin_popcountll(bits);
}

/* `n` bits of one word. How many have changed: nearly always all. */
static inline unsigned mark_in_word(struct shm *shm, uint64_t block, uint64_t n, bool taken)
{
    uint64_t *word = &shm->block_bits[block / 64], flip = taken ? ~UINT64_C(0) : 0;
    uint64_t mask = ~UINT64_C(0) >> (64 - n) << block % 64, change = (*word ^ flip) & mask;
    uint16_t *free = &shm->group_free[block / SHM_GROUP_BLOCKS];
    unsigned bits = __builtin_expect(change == mask, 1) ? (unsigned)n : number_of_bits(change);

    *word ^= change;
    *free += (uint16_t)(taken ? -bits : bits);
    if (bits && *free == SHM_GROUP_BLOCKS)
        hf_store_release(&shm->run->groups_freed, shm->run->groups_freed + 1);
    return bits;
}

static __attribute__((noinline)) uint64_t mark_words(struct shm *shm, uint64_t block,
                                                     uint64_t count, bool taken)
{
    uint64_t changed = 0;

    while (count) {
        uint64_t n = fs_min(count, 64 - block % 64);

        changed += mark_in_word(shm, block, n, taken);
        block += n;
        count -= n;
    }
    return changed;
}

/* Sets or clears the bits of a run. Counts only those that change: in a damaged pool extents may
 * share blocks, and the counts must not run away. */
uint64_t bitmap_mark(struct shm *shm, uint64_t block, uint64_t count, bool taken)
{
    struct shm_run *run = shm->run;
    bool one = count && count <= 64 - block % 64;
    uint64_t changed =
        one ? mark_in_word(shm, block, count, taken) : mark_words(shm, block, count, taken);

    /* relaxed: written under space_mutex; others only show it */
    hf_store_relaxed(&run->free_blocks, run->free_blocks + (taken ? -changed : changed));
    return changed;
}

/* ---- building it from the extents ---- */

static void mark_all_free(struct shm *shm, uint64_t pool_blocks)
{
    uint64_t groups = pool_blocks / SHM_GROUP_BLOCKS;

    memset(shm->block_bits, 0, groups * (SHM_GROUP_BLOCKS / 8));
    for (uint64_t group = 0; group < groups; group++)
        shm->group_free[group] = SHM_GROUP_BLOCKS;
    shm->run->first_free_group = 0;
    hf_store_relaxed(&shm->run->free_blocks, pool_blocks); /* relaxed: as in bitmap_mark() */
}

static int mark_extent(struct shm *shm, const struct meta_extent *extent)
{
    if (!bitmap_in_pool(shm, extent->block, extent->count))
        return dax_refuse_outside(extent->block, extent->count);
    bitmap_mark(shm, extent->block, extent->count, true);
    return 0;
}

/* Those from `page` on, as they are stored: what an intent is still to free is in use. */
static int mark_extents(struct shm *shm, struct meta_txn *txn, uint64_t ino, uint64_t page)
{
    struct meta_extent extent;
    int rc;

    while ((rc = meta_stored_find(txn, ino, page, &extent)) == 0) {
        rc = mark_extent(shm, &extent);
        if (rc)
            return rc;
        page = extent.page + extent.count;
    }
    return rc == -ENOENT ? 0 : rc;
}

/* Noted for the whole pool, so that it costs nothing where no file has any. */
static int mark_capable(struct shm *shm, struct meta_txn *txn, uint64_t ino)
{
    const void *value;
    size_t len;
    int rc = shm->run->capable ? -ENOENT : meta_xattr_get(txn, ino, FS_CAPABILITY, &value, &len);

    if (rc == 0)
        shm->run->capable = 1;
    return rc == -ENOENT ? 0 : rc;
}

/* Most files say all in a few records. */
static int mark_file(struct shm *shm, struct meta_txn *txn, uint64_t ino)
{
    struct meta_file file;
    uint64_t page = 0;
    int rc = meta_file_get(txn, ino, &file);

    for (size_t i = 0; rc == 0 && i < file.count; i++) {
        rc = mark_extent(shm, &file.runs[i]);
        page = file.runs[i].page + file.runs[i].count;
    }
    if (rc || !file.more)
        return rc;
    rc = mark_extents(shm, txn, ino, page);
    return rc ? rc : mark_capable(shm, txn, ino);
}

static int mark_files(struct shm *shm, struct meta_txn *txn)
{
    struct meta_inode inode;
    uint64_t ino = 0;
    int rc;

    while ((rc = meta_inode_next(txn, &ino, &inode)) == 0) {
        rc = S_ISREG(inode.mode) ? mark_file(shm, txn, ino) : 0;
        if (rc)
            return rc;
        ino++;
    }
    return rc == -ENOENT ? 0 : rc;
}

static int mark_detached(struct shm *shm, struct meta_txn *txn)
{
    struct meta_detached run;
    uint64_t blocks = 0;
    int rc;

    for (rc = meta_detached_from(txn, 0, &run); rc == 0;
         rc = meta_detached_after(txn, &run, &run)) {
        if (!bitmap_in_pool(shm, run.block, run.count))
            return dax_refuse_outside(run.block, run.count);
        blocks += bitmap_mark(shm, run.block, run.count, true);
    }
    hf_store_relaxed(&shm->run->detached_blocks, blocks); /* relaxed: as in bitmap_mark() */
    return rc == -ENOENT ? 0 : rc;
}

/* relaxed: as in bitmap_mark() */
static int count_shared(struct shm *shm, struct meta_txn *txn)
{
    struct meta_owners run;
    uint64_t block = 0, shared = 0, saved = 0;
    int rc;

    while ((rc = meta_owners_next(txn, block, &run)) == 0) {
        shared += run.extents > 1 ? run.count : 0;
        saved += run.extents > 1 ? run.count * (run.extents - 1) : 0;
        block = run.block + run.count;
    }
    hf_store_relaxed(&shm->run->shared_blocks, shared);
    hf_store_relaxed(&shm->run->saved_blocks, saved);
    return rc == -ENOENT ? 0 : rc;
}

struct shm_run_of_blocks bitmap_reserved(const struct shm_lane *lane, unsigned r)
{
    return (struct shm_run_of_blocks){hf_load_acquire(&lane->reserved[r].block),
                                      hf_load_acquire(&lane->reserved[r].count)};
}

/* The record of a put for a device, which says of its blocks what the hold does. */
static bool has_record(struct meta_txn *txn, const struct shm_hold *hold, uint64_t count)
{
    struct meta_detached record = {.block = hold->block};

    return SHM_FOR_DEVICE(SHM_KEY_FLAGS(hf_load_acquire(&hold->key))) &&
           meta_detached_get(txn, &record, &record) == 0 && record.count == count && !record.ino;
}

/* A put that has a block in common with the extents was committed, and its process died before it
 * could say so here. */
static void mark_puts(struct shm *shm, struct meta_txn *txn)
{
    for (uint32_t i = 0; i < shm_holds_high(shm); i++) {
        struct shm_hold *hold = &shm->holds[i];
        uint32_t state = hf_load_acquire(&hold->state);
        uint64_t block = hf_load_acquire(&hold->block);
        uint64_t count = hf_load_acquire(&hold->range.last) - hold->range.first + 1;

        if (!shm_hold_is_put(state) || HF_LAB_BROKEN(HF_LAB_PUTS_FORGOTTEN))
            continue;
        if (SHM_HOLD_KIND(state) == SHM_HOLD_PUT_LEFT)
            hf_store_release(&shm->run->puts_left, 1u);
        if (count && bitmap_in_pool(shm, block, count) &&
            (has_record(txn, hold, count) ||
             fs_space_next(shm, block, block + count, true) == block + count))
            bitmap_mark(shm, block, count, true);
        else
            shm_hold_free(shm, i);
    }
}

/* A run that has a block in common with the extents is not reserved any more. A transaction gave it
 * to a file, and the process died before it could say so here. */
static void mark_reserved(struct shm *shm)
{
    uint32_t used = shm_lanes_used(shm);

    for (uint32_t i = 0; i < used; i++) {
        struct shm_lane *lane = &shm->lanes[i];
        uint32_t owner = hf_load_acquire(&lane->owner);

        for (unsigned r = 0; r < SHM_RESERVED; r++) {
            struct shm_run_of_blocks run = bitmap_reserved(lane, r);
            uint64_t end = run.block + run.count;

            if (run.count && owner && owner != SHM_LANE_RESIDUE &&
                bitmap_in_pool(shm, run.block, run.count) &&
                fs_space_next(shm, run.block, end, true) == end)
                bitmap_mark(shm, run.block, run.count, true);
            else
                lane->reserved[r].count = 0;
        }
    }
}

int fs_space_build(struct fs *fs, struct meta_txn *txn)
{
    struct shm *shm = fs->dax.shm;
    struct meta_super super;
    int rc = meta_super_get(txn, &super);

    shm_assert_held_or_alone(&fs->dax.shm->run->space_mutex,
                             !hf_load_acquire(&fs->dax.shm->run->ready));
    if (rc)
        return rc;
    if (super.pool_bytes / HF_BLOCK_BYTES > shm->limits.limit_blocks ||
        super.pool_bytes % HF_HUGE_BYTES)
        return hf_fail(EUCLEAN, "the pool's size of %" PRIu64 " bytes is beyond its limit",
                       super.pool_bytes);
    rc = shm_reserve_space(shm, super.pool_bytes / HF_BLOCK_BYTES);
    if (rc)
        return rc;
    hf_store_release(&shm->run->pool_blocks, super.pool_bytes / HF_BLOCK_BYTES);
    mark_all_free(shm, super.pool_bytes / HF_BLOCK_BYTES);
    shm->run->fresh_saved = super.fresh_block;
    if (shm->run->fresh_block == 0)
        shm->run->fresh_block = super.fresh_block;
    rc = mark_files(shm, txn);
    if (rc == 0)
        rc = mark_detached(shm, txn);
    if (rc == 0)
        rc = count_shared(shm, txn);
    if (rc == 0) {
        mark_puts(shm, txn);
        mark_reserved(shm);
    }
    return rc;
}
