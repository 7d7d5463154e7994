/* SPDX-License-Identifier: MIT */
/*
 * Owns what the bitmap knows of a pool that shrinks, and its new end. The word shrink_to says where
 * the end will be: no block past it is given out any more. space.c reads the word under space_mutex
 * (shm_blocks_to_give()). And the cut of the data file to the pool's size, which a process that
 * grows the pool has to know of.
 */
#include "fs/space.h"

#include "base/error.h"

#include <errno.h>
#include <inttypes.h>

/* In whole groups. */
static uint64_t free_from(const struct shm *shm, uint64_t block)
{
    uint64_t groups = shm_pool_blocks(shm) / SHM_GROUP_BLOCKS, sum = 0;

    for (uint64_t group = block / SHM_GROUP_BLOCKS; group < groups; group++)
        sum += hf_load_relaxed(&shm->group_free[group]); /* relaxed: a look, or under the mutex */
    return sum;
}

uint64_t fs_space_used_from(const struct fs *fs, uint64_t block)
{
    const struct shm *shm = fs->dax.shm;
    uint64_t blocks = shm_pool_blocks(shm), after = block < blocks ? blocks - block : 0;

    return after - fs_min(free_from(shm, block), after); /* a count may be wrong */
}

uint64_t fs_space_to_give(const struct fs *fs)
{
    const struct shm *shm = fs->dax.shm;
    uint64_t bound = shm_blocks_to_give(shm);
    /* relaxed: a look */
    uint64_t all = hf_load_relaxed(&shm->run->free_blocks);
    uint64_t cut = bound < shm_pool_blocks(shm) ? free_from(shm, bound) : 0;

    return all > cut ? all - cut : 0;
}

int fs_space_barred(const struct fs *fs)
{
    const struct shm *shm = fs->dax.shm;
    uint64_t process = (hf_load_acquire(&shm->run->shrink_to) >> 32) - 1;

    if (process >= shm->limits.processes)
        return 0;
    return hf_fail(EBUSY, "process %u is shrinking the pool%s: try again when that has ended",
                   hf_load_relaxed(&shm->processes[process].pid), /* relaxed: for a sentence */
                   process != shm->self && shm_process_stopped(shm, (uint32_t)process)
                       ? ", and is stopped"
                       : "");
}

int fs_space_bar(struct fs *fs, uint64_t block)
{
    struct shm *shm = fs->dax.shm;
    struct shm_run *run = shm->run;
    uint64_t used, there;
    int rc = fs_space_barred(fs);

    shm_assert_held(&run->space_mutex);
    if (rc)
        return rc;
    used = fs_space_used_from(fs, block);
    there = run->free_blocks - free_from(shm, block);
    if (used > there)
        return hf_fail(ENOSPC,
                       "%" PRIu64 " KiB in use lie past the new end, and %" PRIu64
                       " KiB before it are free: delete files, or shrink less",
                       used * 4, there * 4);
    hf_store_release(&run->shrink_to, (shm->self + UINT64_C(1)) << 32 | block / SHM_GROUP_BLOCKS);
    return 0;
}

void fs_space_unbar(struct fs *fs)
{
    hf_store_release(&fs->dax.shm->run->shrink_to, UINT64_C(0));
}

/* A process that is killed between the two has cut nothing off. One that grows the pool then takes
 * its first step again for nothing. */
int fs_space_cut(struct fs *fs, uint64_t bytes)
{
    struct shm_run *run = fs->dax.shm->run;
    uint64_t now;
    int rc = media_bytes(&fs->dax.media, &now);

    shm_assert_held(&run->space_mutex);
    if (rc || now <= bytes)
        return rc;
    run->tail_changes++;
    return media_cut(&fs->dax.media, bytes);
}

/* What is cut off is free, and nobody is given it (fs_space_bar()). */
void fs_space_shrink(struct fs *fs, uint64_t pool_blocks)
{
    struct shm_run *run = fs->dax.shm->run;
    uint64_t old = shm_pool_blocks(fs->dax.shm);

    shm_assert_held(&run->space_mutex);
    if (pool_blocks == 0 || pool_blocks >= old)
        return;
    /* relaxed: written under space_mutex; others only show it */
    hf_store_relaxed(&run->free_blocks, run->free_blocks - (old - pool_blocks));
    run->fresh_block = fs_min(run->fresh_block, pool_blocks);
    run->fresh_saved = fs_min(run->fresh_saved, pool_blocks);
    hf_store_release(&run->pool_blocks, pool_blocks);
}
