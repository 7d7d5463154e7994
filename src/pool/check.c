/* SPDX-License-Identifier: MIT */
/* Owns hf_pool_check(). It takes the pool for itself alone, then meta checks it. This file gives
 * what meta cannot know: the memory, which limits, policies and engines there are, and memory that
 * is too short (mend.c). */
#include "base/error.h"
#include "pool/settle.h"
#include "pool/create.h"
#include "pool/pool.h"
#include "pool/mend.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* The memory, mapped when blocks are to be copied: most runs have none to copy. */
struct memory {
    const char *dir;
    uint64_t bytes;
    struct media media;
};

static void look_at_memory(const char *dir, struct meta_check *check)
{
    bool empty = false;
    int rc = media_look(dir, &check->data_bytes, &empty);

    if (rc)
        check->memory = rc == -ENOENT ? META_MEMORY_MISSING : META_MEMORY_UNKNOWN;
    else
        check->memory = empty ? META_MEMORY_EMPTY : META_MEMORY_THERE;
}

static int copy_blocks(void *arg, uint64_t from, uint64_t to, uint64_t count)
{
    struct memory *memory = arg;
    struct media *media = &memory->media;
    size_t bytes = count * HF_BLOCK_BYTES;
    char *target;
    int rc = 0;

    if (!media->private)
        rc = media_open(memory->dir, memory->bytes, memory->bytes, media);
    if (rc)
        return rc;
    if ((from + count) * HF_BLOCK_BYTES > memory->bytes ||
        (to + count) * HF_BLOCK_BYTES > memory->bytes)
        return hf_fail(EUCLEAN, "blocks to be copied are not in the memory");
    target = media->base + to * HF_BLOCK_BYTES;
    rc = media_back(media, from * HF_BLOCK_BYTES, bytes);
    rc = rc ? rc : media_back(media, to * HF_BLOCK_BYTES, bytes);
    if (rc)
        return rc;
    memcpy(target, media->base + from * HF_BLOCK_BYTES, bytes);
    return media_persist(media, target, bytes);
}

/* Called after meta's check has reported it, and has perhaps removed something and so made room. */
static int mend_memory(const char *dir, struct meta_check *check)
{
    struct meta_super super;
    struct meta *meta;
    int rc = meta_reset_lock(dir);

    rc = rc ? rc : meta_open(dir, true, &meta);
    if (rc)
        return rc;
    rc = meta_super_read(meta, &super);
    rc = rc ? rc : pool_mend_memory(meta, dir, &super);
    meta_close_last(meta, dir);
    if (rc == 1) {
        check->repaired++;
        if (check->report)
            check->report(check->arg, "no file has blocks in the missing memory: it is made again, "
                                      "as zeros (repaired)");
    }
    return rc > 0 || rc == -EUCLEAN || rc == -ENOENT ? 0 : rc; /* reported already */
}

static void report_problem(struct meta_check *check, bool repaired, const char *sentence)
{
    check->problems++;
    check->repaired += repaired;
    if (check->report)
        check->report(check->arg, sentence);
}

static int look_at_entry(void *arg, const struct shm_recent *entry)
{
    *(bool *)arg |= entry->size > HF_FILE_BYTES_MAX;
    return 0;
}

/* Whether an entry of POOL/recent fits its record is not looked at here: the next process to
 * attach decides that. */
static int check_recent(const char *dir, const struct meta_super *super, struct meta_check *check)
{
    bool senseless = false;
    struct shm_recent_map map;
    int rc = shm_recent_map(dir, super->uuid, super->max_files, &map);
    bool mend = check->repair;

    if (rc == 0) {
        shm_recent_each(&map, look_at_entry, &senseless);
        shm_recent_unmap(&map);
    }
    if (rc == -ENOENT || (rc == 0 && !senseless))
        return 0;
    if (rc && rc != -EUCLEAN)
        return hf_fail_errno(-rc, "%s/recent", dir);
    mend = mend && shm_recent_make(dir, super->uuid, super->max_files, super->mode) == 0;
    report_problem(check, mend,
                   rc ? mend ? "recent is another pool's or damaged: made again, empty (repaired)"
                             : "recent is another pool's or damaged: it counts for nothing"
                   : mend ? "recent says what makes no sense: made again, empty (repaired)"
                          : "recent says what makes no sense");
    return 0;
}

static int check_files(const char *dir, struct meta_check *check)
{
    struct meta_super super;
    struct meta *meta;
    int rc = meta_reset_lock(dir);

    rc = rc ? rc : meta_open(dir, true, &meta);
    if (rc)
        return 0; /* reported already */
    rc = meta_super_read(meta, &super);
    meta_close_last(meta, dir);
    return rc ? 0 : check_recent(dir, &super, check);
}

int pool_check(const char *path, uint32_t flags, void (*report)(void *arg, const char *sentence),
               void (*progress)(void *arg, uint64_t done, uint64_t total), void *arg,
               struct hf_check_result *out)
{
    struct memory memory = {.dir = path};
    struct shm_attach at;
    struct meta_check check = {.repair = flags & HF_CHECK_REPAIR,
                               .mend_super = pool_super_mend,
                               .copy_arg = &memory,
                               .report = report,
                               .progress = progress,
                               .arg = arg,
                               .under_way = pool_under_way,
                               .under_way_arg = &at};
    int rc = shm_attach_begin(path, true, &at);

    if (rc)
        return rc;
    look_at_memory(path, &check);
    memory.bytes = check.data_bytes - check.data_bytes % HF_HUGE_BYTES;
    if (check.memory == META_MEMORY_THERE)
        check.copy = copy_blocks;
    rc = meta_check(path, &check);
    if (memory.media.private)
        media_close(&memory.media);
    if (rc == 0 && check.repair && check.problems > check.repaired)
        rc = mend_memory(path, &check);
    rc = rc ? rc : check_files(path, &check);
    shm_attach_cancel(&at);
    if (rc)
        return rc;
    out->inodes = check.inodes;
    out->extents = check.extents;
    out->dirents = check.dirents;
    out->blocks_used = check.blocks_used;
    out->problems = check.problems;
    out->repaired = check.repaired;
    return 0;
}
