/* SPDX-License-Identifier: MIT */
/*
 * Owns the check of the super record, field by field, against the other records and the memory.
 * Calls record.c and check.c. Its caller knows which limits, policies and engines there are
 * (meta_check.mend_super), and judges them by the function that opening a pool uses.
 *
 * The record is read without its bounds: a field that cannot be does not cost the others. A wrong
 * field is set as other records or the memory say, else as in a new pool.
 *
 * The size of the pool. The memory may be longer than it. Where vouched extents lie past the size
 * and inside the memory, the size is wrong; so is one past its limit. Else, where the memory is
 * shorter, memory is missing. When no extent lies in the missing part, a pool that was growing has
 * lost its new length, and fs makes the memory longer again. When extents lie there, no record says
 * what was in them, so nothing is repaired, and nothing is taken from the files.
 *
 * Inode numbers. next_ino must have a free stretch after it, so that no new inode gets a number in
 * use. A single inode with a number far beyond may be a legal one, or damage, and does not use up
 * the numbers before it. The stretch that is taken then is the longest there is.
 */
#include "meta/check.h"

#include "base/error.h"

#include <errno.h>
#include <inttypes.h>
#include <sys/random.h>
#include <sys/stat.h>

#define UNIT_BYTES (UINT64_C(2) << 20) /* sizes of a pool are multiples of this */
#define LIMIT_BYTES_MAX (UINT64_C(1) << 45)
#define GROWTH 64u                       /* a new pool's limit in sizes of the pool */
#define NUMBERS_FREE (UINT64_C(1) << 48) /* after next_ino: 89 years with 100,000 files a second */

#define FRESH_SENTENCE                                                                             \
    "block %" PRIu64 " is in use, and blocks from %" PRIu64 " on are said to be unused so far"

static const struct meta_key super_key = {1, {META_SUPER}};

static uint64_t round_down(uint64_t bytes)
{
    return bytes - bytes % UNIT_BYTES;
}

/* --- finding it --- */

/* A copy of the super record under another key. */
static int find_elsewhere(struct checker *check, struct meta_disk_super *disk)
{
    struct meta_key key = {1, {0}};
    MDB_val found, value;
    int rc = check_seek(check, &key, false, &found, &value);

    while (rc == 0) {
        if (value.mv_size == sizeof *disk && memcmp(value.mv_data, "HOLDFAST", 8) == 0 &&
            found.mv_size != META_KEY_PREFIX) {
            memcpy(disk, value.mv_data, sizeof *disk);
            return 0;
        }
        rc = meta_step(check->txn, MDB_NEXT, &found, &value);
    }
    return rc;
}

/* The values of a new pool; its bounds come later. */
static int invent(struct meta_disk_super *disk)
{
    memset(disk, 0, sizeof *disk);
    disk->format = META_FORMAT;
    disk->flags = 1; /* durable: that is safe whatever it was */
    disk->policy_kind = 1;
    disk->next_ino = META_ROOT_INO + 1;
    disk->compat = META_COMPAT_TRIMMED; /* it may have been */
    disk->fresh_block = UINT64_MAX;     /* which blocks are still zero is not known: none */
    if (getrandom(disk->uuid, sizeof disk->uuid, 0) != sizeof disk->uuid)
        return hf_fail_errno(errno, "random bytes for the pool's uuid");
    disk->uuid[6] = (uint8_t)((disk->uuid[6] & 0x0f) | 0x40);
    disk->uuid[8] = (uint8_t)((disk->uuid[8] & 0x3f) | 0x80);
    return 0;
}

static int find_super(struct checker *check, struct meta_disk_super *disk)
{
    MDB_val value;
    int rc = meta_seek(check->txn, &super_key, &value);

    memset(disk, 0, sizeof *disk);
    if (rc == 0) {
        memcpy(disk, value.mv_data, value.mv_size < sizeof *disk ? value.mv_size : sizeof *disk);
        if (value.mv_size != sizeof *disk)
            check->super_changed |= check_problem(
                check, true,
                "the super record has %zu bytes, not %zu; repair keeps those there are",
                value.mv_size, sizeof *disk);
        return 0;
    }
    if (rc != -ENOENT)
        return rc;
    rc = find_elsewhere(check, disk);
    if (rc == -ENOENT) {
        check->super_changed |=
            check_problem(check, true,
                          "there is no super record; repair makes one with the limits of a new "
                          "pool, the size of the memory, and another uuid");
        return invent(disk);
    }
    if (rc == 0)
        check->super_changed |=
            check_problem(check, true, "the super record has another key; repair puts it back");
    return rc;
}

/* --- its fields --- */

/* Bits that make it unreadable here are not taken for damage: a newer Holdfast may have set
 * them. */
static int check_version(struct checker *check, const struct meta_disk_super *disk)
{
    if (disk->format > META_FORMAT)
        return hf_fail(EOPNOTSUPP,
                       "format %u is newer than this Holdfast's %u; if no newer one has made the "
                       "pool, its super record is damaged: restore it from a copy",
                       disk->format, META_FORMAT);
    if (disk->incompat & ~META_KNOWN_INCOMPAT || (check->request->repair && disk->ro_compat))
        return hf_fail(EOPNOTSUPP,
                       "the pool has features 0x%" PRIx64
                       " that this version does not know; if no newer "
                       "one has made the pool, its super record is damaged: restore it from a copy",
                       (disk->incompat & ~META_KNOWN_INCOMPAT) | disk->ro_compat);
    if (disk->ro_compat)
        check_problem(check, false,
                      "the pool has features 0x%" PRIx64
                      " that this version does not know, so it can be "
                      "opened for reading only",
                      disk->ro_compat);
    return 0;
}

static bool mend_field(struct checker *check, const char *what, uint64_t *field, uint64_t right)
{
    bool mended =
        check_problem(check, true, "super record: %s is %" PRIu64 "; repair makes it %" PRIu64,
                      what, *field, right);

    *field = right;
    check->super_changed |= mended;
    return mended;
}

/* The pool's files have its mode. */
static uint32_t mode_of_file(const struct checker *check)
{
    struct stat st;

    if (fstat(check->meta->fd, &st))
        return 0600;
    return (st.st_mode & 0777) | 0600;
}

static void check_sizes(struct checker *check, struct meta_super *super)
{
    uint64_t memory = round_down(check->request->data_bytes);
    uint64_t pool = round_down(super->pool_bytes), limit;

    if (super->pool_bytes == 0 || super->pool_bytes > LIMIT_BYTES_MAX) {
        if (memory == 0)
            memory = super->fresh_block < LIMIT_BYTES_MAX / META_BLOCK_BYTES
                         ? round_down(super->fresh_block * META_BLOCK_BYTES + UNIT_BYTES - 1)
                         : 0;
        pool = memory != 0 ? memory : 4 * UNIT_BYTES;
        pool = pool < LIMIT_BYTES_MAX ? pool : LIMIT_BYTES_MAX;
    }
    if (pool == 0)
        pool = UNIT_BYTES;
    limit = super->limit_bytes;
    if (pool > limit && memory != 0 && memory <= limit && memory < pool)
        pool = memory;
    if (pool != super->pool_bytes)
        mend_field(check, "the size", &super->pool_bytes, pool);
    if (limit % UNIT_BYTES == 0 && limit >= pool && limit <= LIMIT_BYTES_MAX)
        return;
    limit = pool < LIMIT_BYTES_MAX / GROWTH ? pool * GROWTH : LIMIT_BYTES_MAX;
    mend_field(check, "the limit of the size", &super->limit_bytes, limit);
}

static void check_fields(struct checker *check, struct meta_super *super)
{
    uint64_t mode = super->mode, blocks;

    check_sizes(check, super);
    blocks = super->pool_bytes / META_BLOCK_BYTES;
    if (super->fresh_block > blocks)
        mend_field(check, "the first unused block", &super->fresh_block, blocks);
    if (mode & ~(uint64_t)0777 || (mode & 0600) != 0600) {
        mend_field(check, "the mode", &mode, mode_of_file(check));
        super->mode = (uint32_t)mode;
    }
    if (super->policy_kind == 0 || super->policy_kind > META_POLICY_KINDS) {
        uint64_t kind = super->policy_kind;

        mend_field(check, "the kind of the policy", &kind, 1);
        super->policy_kind = (uint32_t)kind;
    }
    if (super->quarantine_ns > META_QUARANTINE_NS_MAX)
        mend_field(check, "the quarantine", &super->quarantine_ns, 0);
    if (super->trim_above_bytes % UNIT_BYTES)
        mend_field(check, "the watermark of trims", &super->trim_above_bytes, 0);
}

/* Fields that only the caller can judge: one field a call. */
static int check_limits(struct checker *check, struct meta_super *super)
{
    for (unsigned n = 0; n < 64 && check->request->mend_super; n++) {
        if (check->request->mend_super(super) == 0)
            return 0;
        check->super_changed |=
            check_problem(check, true, "%s; repair sets what a new pool has", hf_error_sentence());
    }
    return 0;
}

int check_super(struct checker *check)
{
    struct meta_disk_super disk;
    int rc = find_super(check, &disk);

    rc = rc ? rc : check_version(check, &disk);
    if (rc)
        return rc;
    if (memcmp(disk.magic, "HOLDFAST", 8) != 0 || disk.format == 0 ||
        disk.engine[sizeof disk.engine - 1] != 0)
        check->super_changed |=
            check_problem(check, true,
                          "the super record does not begin with HOLDFAST, a format, or "
                          "the name of an engine does not end");
    if (disk.format == 0)
        disk.format = META_FORMAT;
    disk.engine[sizeof disk.engine - 1] = 0;
    meta_super_unpack(&disk, &check->super);
    check_fields(check, &check->super);
    rc = check_limits(check, &check->super);
    check->pool_blocks = check->super.pool_bytes / META_BLOCK_BYTES;
    check->meta->limit_blocks = check->super.limit_bytes / META_BLOCK_BYTES;
    return rc;
}

/* --- against the other records --- */

/* Past the last block of extents that their inodes vouch for. */
static uint64_t end_of_blocks(struct checker *check, bool vouched)
{
    uint64_t end = 0;

    for (size_t i = 0; i < check->claim_count; i++) {
        const struct check_claim *claim = &check->claims[i];
        const struct check_inode *inode = check_find(check, claim->ino);

        if (claim->ino == 0 || claim->count > META_FILE_PAGES ||
            claim->block > LIMIT_BYTES_MAX / META_BLOCK_BYTES || !inode ||
            (vouched && inode->blocks != inode->claimed_blocks))
            continue;
        if (claim->block + claim->count > end)
            end = claim->block + claim->count;
    }
    return end;
}

static void fit_to_memory(struct checker *check, uint64_t memory, uint64_t used)
{
    struct meta_super *super = &check->super;

    if (used <= super->pool_bytes || memory <= super->pool_bytes)
        return;
    mend_field(check, "the size", &super->pool_bytes, memory);
    if (super->limit_bytes < memory)
        mend_field(check, "the limit of the size", &super->limit_bytes,
                   memory < LIMIT_BYTES_MAX / GROWTH ? memory * GROWTH : LIMIT_BYTES_MAX);
}

void check_size(struct checker *check)
{
    struct meta_super *super = &check->super;
    uint64_t memory = round_down(check->request->data_bytes);
    uint64_t used = end_of_blocks(check, true) * META_BLOCK_BYTES;

    if (memory != 0 && memory <= LIMIT_BYTES_MAX && used <= memory)
        fit_to_memory(check, memory, used);
    check->pool_blocks = super->pool_bytes / META_BLOCK_BYTES;
    check->meta->limit_blocks = super->limit_bytes / META_BLOCK_BYTES;
    if (super->fresh_block > check->pool_blocks)
        super->fresh_block = check->pool_blocks;
    /* Which blocks from it on are still zero is then unknown: none is taken to be. */
    used = used / META_BLOCK_BYTES;
    used = used < check->pool_blocks ? used : check->pool_blocks;
    if (super->fresh_block < used &&
        check_problem(check, true, FRESH_SENTENCE, used - 1, super->fresh_block))
        check->super_changed = true;
    if (super->fresh_block < used)
        super->fresh_block = check->pool_blocks;
}

/* Numbers from `from` on that no inode has, up to the next that one has. */
static uint64_t free_numbers(const struct checker *check, uint64_t from)
{
    for (size_t i = 0; i < check->inode_count; i++)
        if (check->inodes[i].ino >= from)
            return check->inodes[i].ino - from;
    return META_INO_END - from;
}

void check_numbers(struct checker *check)
{
    uint64_t best = META_ROOT_INO + 1, longest = 0;
    struct meta_super *super = &check->super;

    for (size_t i = 0; i < check->inode_count; i++) {
        uint64_t next = i + 1 < check->inode_count ? check->inodes[i + 1].ino : META_INO_END;

        if (next - check->inodes[i].ino > longest) {
            longest = next - check->inodes[i].ino;
            best = check->inodes[i].ino + 1;
        }
    }
    if (super->next_ino == best ||
        (super->next_ino > META_ROOT_INO && super->next_ino < META_INO_END &&
         free_numbers(check, super->next_ino) >= NUMBERS_FREE))
        return;
    mend_field(check, "the next inode number, which is in use, or soon would be,", &super->next_ino,
               best);
}

uint64_t check_new_ino(struct checker *check)
{
    check->super_changed = true;
    return check->super.next_ino++;
}

void check_counts(struct checker *check)
{
    struct meta_super *super = &check->super;

    if (super->inodes != check->inode_count &&
        check_problem(check, true, "the super record counts %" PRIu64 " inodes, and there are %zu",
                      super->inodes, check->inode_count)) {
        super->inodes = check->inode_count;
        check->super_changed = true;
    }
    if (super->fresh_block < check->last_block &&
        check_problem(check, true, FRESH_SENTENCE, check->last_block - 1, super->fresh_block)) {
        super->fresh_block = check->pool_blocks;
        check->super_changed = true;
    }
}

/* --- against the memory --- */

void check_memory(struct checker *check)
{
    static const char *const ways =
        ": restore POOL/data from a copy, or make it again and remove the files (holdfast(1))";
    const struct meta_check *request = check->request;
    uint64_t there = request->data_bytes / META_BLOCK_BYTES, files = 0, blocks = 0, last = 0;

    if (request->memory == META_MEMORY_UNKNOWN)
        return;
    if (request->memory != META_MEMORY_THERE)
        there = 0;
    for (size_t i = 0; i < check->claim_count; i++) {
        const struct check_claim *claim = &check->claims[i];
        uint64_t end = claim->block + claim->count;

        if (claim->ino == 0 || end <= there)
            continue;
        blocks += claim->block < there ? end - there : claim->count;
        files += claim->ino != last;
        last = claim->ino;
    }
    if (request->memory == META_MEMORY_MISSING)
        check_problem(check, false,
                      "the pool's memory is not there: %" PRIu64 " files with %" PRIu64
                      " bytes are lost with "
                      "it%s",
                      files, blocks * META_BLOCK_BYTES, ways);
    else if (request->data_bytes < check->super.pool_bytes)
        check_problem(check, false,
                      "the memory has %" PRIu64 " bytes, and the super record says %" PRIu64
                      ": %" PRIu64 " files with "
                      "%" PRIu64 " bytes are lost%s",
                      request->data_bytes, check->super.pool_bytes, files,
                      blocks * META_BLOCK_BYTES, ways);
    else if (request->memory == META_MEMORY_EMPTY && files)
        check_problem(check, false,
                      "the pool's memory is empty, as if newly made: %" PRIu64
                      " files with %" PRIu64 " bytes "
                      "are lost%s",
                      files, blocks * META_BLOCK_BYTES, ways);
}
