/* SPDX-License-Identifier: MIT */
/*
 * Counts of a cache for somebody who only looks: from the pages of its files, by reads. It takes no
 * lock, leases nothing and mends nothing, so it is the same to the cache's processes whether
 * somebody looks. The run state may be remade between two reads. Then counts are of two moments,
 * which is all that can come of it.
 */
#include "tier.h"

#include <errno.h>
#include <fcntl.h>
#include <holdfast/serve.h>
#include <stdio.h>
#include <string.h>

#define PATH_BYTES (HF_SYMLINK_MAX + 16)

struct pages {
    _Alignas(8) char first[HF_BLOCK_BYTES], second[HF_BLOCK_BYTES];
};

static int peek_page(struct hf_file *file, char page[HF_BLOCK_BYTES], uint64_t off)
{
    ssize_t got = hf_read(file, page, HF_BLOCK_BYTES, off);

    return got == (ssize_t)HF_BLOCK_BYTES
               ? 0
               : cache_fail(got < 0 ? (int)got : -EUCLEAN, "a file of the cache is too short");
}

static void fill_run(const struct pages *pages, struct hfc_stats *out)
{
    const struct run *run = (const void *)pages->first;
    const struct shard *shards = (const void *)pages->second;

    out->used_bytes = run->busy_pages * CACHE_PAGE;
    out->held_bytes = run->leaving_pages * CACHE_PAGE;
    out->objects = run->objects;
    out->packed_pages = run->packed_pages;
    out->puts = run->puts;
    out->put_bytes = run->put_bytes;
    out->evictions = run->evictions;
    out->removals = run->removals;
    out->ghost_hits = run->ghost_hits;
    out->compacted = run->compacted;
    out->mended = run->mendings;
    out->dropped = run->dropped;
    out->evicted_age_seconds = run->evicted_age;
    for (uint32_t i = 0; i < CACHE_SHARDS; i++) {
        out->hits += shards[i].hits;
        out->misses += shards[i].misses;
        out->expired += shards[i].expired;
    }
}

/* 1: a process has the cache open, and its counts are there; 0: none has. */
static int peek_run(struct hf_pool *pool, uint64_t ino, uint64_t index_ino, struct hfc_stats *out)
{
    const struct run *run;
    struct pages pages;
    struct hf_file *file;
    int rc = ino ? hf_openat(pool, ino, "", O_RDONLY, 0, &file) : -ENOENT;

    if (rc) /* it went with its last process */
        return 0;
    run = (const void *)pages.first;
    rc = peek_page(file, pages.first, 0);
    rc = rc ? rc : peek_page(file, pages.second, CACHE_PAGE);
    hf_close(file);
    if (rc || run->magic != CACHE_RUN_MAGIC || run->index_ino != index_ino)
        return 0;
    fill_run(&pages, out);
    return 1;
}

static int peek_tier(struct hf_file *index, const struct header *header, struct hfc_tier_stats *out)
{
    _Alignas(8) char page[HF_BLOCK_BYTES];
    int rc = 0;

    if (!header->tier_sets)
        return 0;
    rc = peek_page(index, page, tier_page_at(header));
    if (rc == 0)
        tier_fill_stats((const void *)page, out);
    return rc;
}

static int peek_index(struct hf_pool *pool, struct hf_file *index, struct hfc_stats *out,
                      struct hfc_tier_stats *tier)
{
    _Alignas(8) char page[HF_BLOCK_BYTES];
    const struct header *header = (const void *)page;
    struct stat st;
    int rc = hf_fstat(index, &st);

    rc = rc ? cache_fail_pool(rc) : peek_page(index, page, 0);
    rc = rc ? rc : index_check_format(header);
    if (rc)
        return rc;
    out->capacity_bytes = header->capacity_pages * CACHE_PAGE;
    out->objects_max = header->cells;
    rc = peek_tier(index, header, tier);
    return rc ? rc : peek_run(pool, header->run_ino, st.st_ino, out);
}

int hfc_peek(struct hf_pool *pool, const char *path, struct hfc_stats *out,
             struct hfc_tier_stats *tier)
{
    char name[PATH_BYTES];
    struct hf_file *index;
    int rc;

    if (!pool || !path || !out || out->size != sizeof *out || !tier || tier->size != sizeof *tier)
        return cache_fail(-EINVAL, "pool, path, out or tier is null, or a size is wrong");
    if (strlen(path) > HF_SYMLINK_MAX - 8)
        return cache_fail(-ENAMETOOLONG, "the path has more than %u bytes", HF_SYMLINK_MAX - 8);
    *out = (struct hfc_stats){.size = sizeof *out};
    *tier = (struct hfc_tier_stats){.size = sizeof *tier};
    snprintf(name, sizeof name, "%s/index", path);
    rc = hf_open(pool, name, O_RDONLY, 0, &index);
    if (rc)
        return rc == -ENOENT ? cache_fail(rc, "there is no cache in %s", path)
                             : cache_fail_pool(rc);
    rc = peek_index(pool, index, out, tier);
    hf_close(index);
    return rc;
}
