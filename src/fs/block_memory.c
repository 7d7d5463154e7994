/* SPDX-License-Identifier: MIT */
/*
 * Owns the way from blocks to their memory: it is inside the pool, and mapped here. The kernel maps
 * it around a touch at once, rather than page by page.
 */
#include "fs/space.h"

#define AROUND_BYTES 65536u /* of Linux, if it is not told otherwise */

int fs_memory(struct fs *fs, uint64_t block, uint64_t count, char **out)
{
    struct media *media = &fs->dax.media;
    uint64_t blocks = shm_pool_blocks(fs->dax.shm);
    int rc;

    if (__builtin_expect(block >= blocks || count > blocks - block, 0))
        return dax_refuse_outside(block, count);
    if (__builtin_expect((block + count) * HF_BLOCK_BYTES > hf_load_acquire(&media->mapped_bytes),
                         0)) {
        rc = dax_map_pool(&fs->dax);
        if (rc)
            return rc;
    }
    *out = media->base + block * HF_BLOCK_BYTES;
    return 0;
}

/* The value read is not used, so nothing races with it, whatever ThreadSanitizer would say. */
__attribute__((no_sanitize("thread"))) void fs_map_around(const struct fs *fs, const char *at,
                                                          uint64_t bytes)
{
    for (uint64_t off = 0; !fs->durable && off < bytes; off += AROUND_BYTES)
        (void)*(const volatile char *)(at + off);
}
