/* SPDX-License-Identifier: MIT */
/*
 * Owns which blocks have memory. A pool's file on a tmpfs is sparse, and a touch of a block without
 * memory is SIGBUS when the tmpfs is full. So blocks are given memory when they are reserved, which
 * may fail, and keep it. Then no program is killed for what it does with a block of a file.
 *
 * The memory is given 64 blocks at a time, and a bit for each 64 says that it was done since the
 * segment was made. Where there is not so much left, it is given to the blocks that are wanted, or
 * to the first of them. Blocks that were given out before the segment was made have memory, unless
 * the file is a copy that has holes where there were zeros. fs_back_used() fills those.
 *
 * A wrong bit has blocks given out without memory, as they were before there were bits.
 */
#include "fs/space.h"

#include "base/error.h"

#include <errno.h>

static uint8_t *byte_of(const struct shm *shm, uint64_t step)
{
    return &shm->group_backed[step / (SHM_GROUP_BLOCKS / SHM_BACKED_BLOCKS)];
}

static unsigned bit_of(uint64_t step)
{
    return 1u << step % (SHM_GROUP_BLOCKS / SHM_BACKED_BLOCKS);
}

static bool is_backed(const struct shm *shm, uint64_t step)
{
    return *byte_of(shm, step) & bit_of(step);
}

static int back_blocks(const struct fs *fs, uint64_t block, uint64_t count)
{
    return media_back(&fs->dax.media, block * HF_BLOCK_BYTES, count * HF_BLOCK_BYTES);
}

/* The steps that hold [block, end), and are in the pool as a whole. */
static int back_steps(const struct fs *fs, uint64_t block, uint64_t end)
{
    struct shm *shm = fs->dax.shm;
    uint64_t first = block / SHM_BACKED_BLOCKS, last = (end - 1) / SHM_BACKED_BLOCKS;
    int rc;

    while (first <= last && is_backed(shm, first))
        first++;
    while (last > first && is_backed(shm, last))
        last--;
    if (first > last)
        return 0;
    rc = back_blocks(fs, first * SHM_BACKED_BLOCKS, (last - first + 1) * SHM_BACKED_BLOCKS);
    for (; rc == 0 && first <= last; first++)
        *byte_of(shm, first) |= (uint8_t)bit_of(first);
    return rc;
}

int fs_back(struct fs *fs, uint64_t block, uint64_t *count)
{
    uint64_t n = *count;
    char *at;
    int rc;

    shm_assert_held(&fs->dax.shm->run->space_mutex);
    if (!media_sparse(&fs->dax.media))
        return 0;
    rc = fs_memory(fs, block, *count, &at); /* mapped */
    rc = rc ? rc : back_steps(fs, block, block + *count);
    if (rc != -ENOSPC)
        return rc;
    rc = back_blocks(fs, block, 1);
    while (rc == 0 && n > 1 && back_blocks(fs, block, n))
        n /= 2;
    if (rc == 0)
        *count = n;
    return rc;
}

uint64_t fs_next_backed(const struct fs *fs, uint64_t block, uint64_t end)
{
    return media_next_memory(&fs->dax.media, block * HF_BLOCK_BYTES, end * HF_BLOCK_BYTES) /
           HF_BLOCK_BYTES;
}

/* Blocks of files and of detached runs in a hole of the memory. */
static int back_hole(struct fs *fs, uint64_t block, uint64_t end)
{
    int rc = 0;

    while (rc == 0 && (block = fs_space_next(fs->dax.shm, block, end, true)) < end) {
        uint64_t after = fs_space_next(fs->dax.shm, block, end, false);

        rc = back_blocks(fs, block, after - block);
        block = after;
    }
    return rc;
}

int fs_back_used(struct fs *fs)
{
    const struct media *media = &fs->dax.media;
    uint64_t end = shm_pool_blocks(fs->dax.shm) * HF_BLOCK_BYTES, at = 0;
    int rc = 0;

    if (shm_recent_has_memory(fs->dax.shm, media->fd))
        return 0;
    while (rc == 0 && (at = media_next_hole(media, at, end)) < end) {
        uint64_t after = media_next_memory(media, at, end);

        rc = back_hole(fs, at / HF_BLOCK_BYTES, after / HF_BLOCK_BYTES);
        at = after;
    }
    if (rc == 0)
        shm_recent_note_memory(fs->dax.shm, media->fd);
    return rc;
}
