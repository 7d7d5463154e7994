/* SPDX-License-Identifier: MIT */
/*
 * Owns which blocks have memory. A pool's file on a tmpfs is sparse, and a touch of a block without
 * memory is SIGBUS when the tmpfs is full. Other files are allocated whole, until a trim gives
 * memory of free blocks back (trim.c). So blocks are given memory when they are reserved, which may
 * fail, and keep it while they are not free. Then no program is killed for what it does with a
 * block of a file.
 *
 * The memory is given 64 blocks at a time, and a bit for each 64 says that it was done since the
 * segment was made. Where so many are wanted at once, a group of which no block has memory gets one
 * huge page, if the kernel makes one. That is less work for it than 512 small ones, and a process
 * maps all of it by one fault. For fewer blocks it would keep space_mutex for too long. Where there
 * is not so much left, memory is given to the blocks that are wanted, or to the first of them.
 * Blocks that were given out before the segment was made have memory, unless the file is a copy
 * that has holes where there were zeros. fs_back_used() fills those.
 *
 * An anonymous pool takes memory as it is touched, and is asked for huge pages alone. There a bit
 * says that the kernel was asked, whether or not it made one.
 *
 * At worst, a bit says too little. It is set when the memory is there, and cleared before a trim
 * gives any of it back, all under space_mutex. A process that is killed in between leaves a bit of
 * 0, and the next owner of a block asks once more. A new segment has no bit set. In a pool that was
 * never trimmed, and is not sparse, no bit is looked at.
 *
 * What a block holds is never concluded from its bit. The kernel is asked before the memory is
 * given, since afterwards it cannot tell zeros from old bytes.
 *
 * If a bit is wrongly 1, blocks are given out without memory, as they were before there were bits.
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

bool fs_may_lack_memory(const struct fs *fs)
{
    const struct media *media = &fs->dax.media;

    return media_sparse(media) ||
           (media_may_be_full(media) && hf_load_acquire(&fs->dax.shm->run->trimmed));
}

/* What is synced page by page brings its allocation to the medium with it. Stores to a persistent
 * memory do not, so it is synced here. */
static int back_blocks(struct fs *fs, uint64_t block, uint64_t count)
{
    struct media *media = &fs->dax.media;
    int rc = media_back(media, block * HF_BLOCK_BYTES, count * HF_BLOCK_BYTES);

    return rc || !fs->durable || media->kind != MEDIA_PMEM ? rc : media_sync(media);
}

/* The steps of [block, end) whose bits say nothing; false: there are none. */
static bool find_unbacked(const struct shm *shm, uint64_t block, uint64_t end, uint64_t *first,
                          uint64_t *last)
{
    *first = block / SHM_BACKED_BLOCKS;
    *last = (end - 1) / SHM_BACKED_BLOCKS;
    while (*first <= *last && is_backed(shm, *first))
        ++*first;
    while (*last > *first && is_backed(shm, *last))
        --*last;
    return *first <= *last;
}

static void note_backed(const struct shm *shm, uint64_t first, uint64_t last)
{
    for (; first <= last; first++)
        *byte_of(shm, first) |= (uint8_t)bit_of(first);
}

/* Steps are in the pool as a whole. */
static int back_steps(struct fs *fs, uint64_t first, uint64_t last)
{
    struct shm *shm = fs->dax.shm;
    int rc = back_blocks(fs, first * SHM_BACKED_BLOCKS, (last - first + 1) * SHM_BACKED_BLOCKS);

    if (rc == 0)
        note_backed(shm, first, last);
    hf_store_release(&shm->run->trim_look, 1u);
    return rc;
}

/* No block of the group has memory. */
static bool is_empty(const struct fs *fs, uint64_t group)
{
    uint64_t off = group * SHM_GROUP_BLOCKS * HF_BLOCK_BYTES;
    uint64_t end = off + SHM_GROUP_BLOCKS * HF_BLOCK_BYTES;

    return fs->dax.shm->group_backed[group] == 0 &&
           media_next_memory(&fs->dax.media, off, end) == end;
}

static void back_empty_groups(struct fs *fs, uint64_t first, uint64_t last)
{
    const uint64_t bytes = SHM_GROUP_BLOCKS * HF_BLOCK_BYTES;
    const uint64_t steps = SHM_GROUP_BLOCKS / SHM_BACKED_BLOCKS;
    struct shm *shm = fs->dax.shm;

    for (uint64_t end = first; first <= last; first = ++end) {
        while (end <= last && is_empty(fs, end))
            end++;
        if (end == first)
            continue;
        if (!media_back_huge(&fs->dax.media, first * bytes, (end - first) * bytes))
            return;
        note_backed(shm, first * steps, end * steps - 1);
        hf_store_release(&shm->run->trim_look, 1u);
    }
}

/* In a memfd. Its touch finds memory anyway, so a bit says only that the kernel was asked. */
static int ask_for_huge(struct fs *fs, uint64_t block, uint64_t count)
{
    uint64_t end = block + count, first, last;
    char *at;
    int rc;

    if (count < SHM_BACKED_BLOCKS || !find_unbacked(fs->dax.shm, block, end, &first, &last))
        return 0;
    rc = fs_memory(fs, block, count, &at); /* mapped */
    if (rc)
        return rc;
    back_empty_groups(fs, block / SHM_GROUP_BLOCKS, (end - 1) / SHM_GROUP_BLOCKS);
    note_backed(fs->dax.shm, first, last);
    return 0;
}

int fs_back(struct fs *fs, uint64_t block, uint64_t *count, uint64_t *zeros)
{
    uint64_t n = *count, end = block + n, first, last;
    char *at;
    int rc;

    shm_assert_held(&fs->dax.shm->run->space_mutex);
    *zeros = end;
    if (fs->dax.media.kind == MEDIA_MEMFD)
        return ask_for_huge(fs, block, n);
    if (!fs_may_lack_memory(fs) || !find_unbacked(fs->dax.shm, block, end, &first, &last))
        return 0;
    rc = fs_memory(fs, block, n, &at); /* mapped */
    if (rc)
        return rc;
    *zeros = dax_pages_up(
        media_end_of_memory(&fs->dax.media, block * HF_BLOCK_BYTES, end * HF_BLOCK_BYTES));
    if (n >= SHM_BACKED_BLOCKS)
        back_empty_groups(fs, block / SHM_GROUP_BLOCKS, (end - 1) / SHM_GROUP_BLOCKS);
    if (!find_unbacked(fs->dax.shm, block, end, &first, &last))
        return 0;
    rc = back_steps(fs, first, last);
    if (rc != -ENOSPC)
        return rc;
    rc = back_blocks(fs, block, 1);
    while (rc == 0 && n > 1 && back_blocks(fs, block, n))
        n /= 2;
    if (rc == 0)
        *count = n;
    return rc;
}

void fs_unback(struct fs *fs, uint64_t block, uint64_t count)
{
    uint64_t last = (block + count - 1) / SHM_BACKED_BLOCKS;

    shm_assert_held(&fs->dax.shm->run->space_mutex);
    for (uint64_t step = block / SHM_BACKED_BLOCKS; step <= last; step++)
        *byte_of(fs->dax.shm, step) &= (uint8_t)~bit_of(step);
}

/* Where the file is not sparse, whole groups get memory (media_back()). There a block that got none
 * says that its group is not to be had. */
uint64_t fs_next_backed(const struct fs *fs, uint64_t block, uint64_t end)
{
    const struct media *media = &fs->dax.media;
    uint64_t unit = media_sparse(media) ? 1 : SHM_GROUP_BLOCKS, at;

    block = fs_min((block + unit - 1) / unit * unit, end);
    at = media_next_allocated(media, block * HF_BLOCK_BYTES, end * HF_BLOCK_BYTES) / HF_BLOCK_BYTES;
    return at / unit * unit;
}

/* Blocks that are not free have memory, so the rest of it is that of free ones. */
int fs_backed_free(const struct fs *fs, uint64_t *blocks)
{
    const struct shm *shm = fs->dax.shm;
    /* relaxed: written under space_mutex */
    uint64_t taken = shm_pool_blocks(shm) - hf_load_relaxed(&shm->run->free_blocks);
    uint64_t bytes;
    int rc = media_resident(&fs->dax.media, &bytes);

    if (rc == 0)
        *blocks = bytes / HF_BLOCK_BYTES > taken ? bytes / HF_BLOCK_BYTES - taken : 0;
    return rc;
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

    if (!media_sparse(media) || shm_recent_has_memory(fs->dax.shm, media->fd))
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
