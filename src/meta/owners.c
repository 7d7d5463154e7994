/* SPDX-License-Identifier: MIT */
/*
 * Owns the table of blocks that are not one extent's alone. For each run of them it has how many
 * extents and how many detached records name its blocks. Calls record.c only.
 *
 * A block that the table does not list is named by one extent at most, and by no record that says
 * "shared". So the table of a pool that shares nothing is empty. It is not even looked into:
 * extents and records say themselves whether their blocks are to be looked up here.
 *
 * What keeps it right: a caller that adds or deletes a name of a block says so here in the same
 * transaction. Runs never overlap. Runs that continue each other and have the same numbers are one.
 */
#include "meta/env.h"

#include "base/error.h"

#include <errno.h>
#include <inttypes.h>

static uint64_t owners_end(const struct meta_owners *run)
{
    return run->block + run->count;
}

int meta_owners_decode(uint64_t limit_blocks, const MDB_val *key, const MDB_val *value,
                       struct meta_owners *out)
{
    struct meta_disk_owners disk;
    uint64_t block;

    if (key->mv_size != 9 || value->mv_size != sizeof disk)
        return hf_fail(EUCLEAN, "a run of shared blocks has a key of %zu and a value of %zu bytes",
                       key->mv_size, value->mv_size);
    block = meta_get_be64((const unsigned char *)key->mv_data + 1);
    memcpy(&disk, value->mv_data, sizeof disk);
    if (disk.count == 0 || block >= limit_blocks || disk.count > limit_blocks - block)
        return hf_fail(EUCLEAN,
                       "the run of %" PRIu64 " shared blocks at %" PRIu64 " is out of bounds",
                       disk.count, block);
    if (disk.extents + (uint64_t)disk.records == 0 || (disk.extents == 1 && disk.records == 0))
        return hf_fail(EUCLEAN,
                       "the shared blocks at %" PRIu64 " have %" PRIu32 " extents and %" PRIu32
                       " detached records",
                       block, disk.extents, disk.records);
    *out = (struct meta_owners){block, disk.count, disk.extents, disk.records};
    return 0;
}

static int store_owners(struct meta_txn *txn, const struct meta_owners *run)
{
    struct meta_disk_owners disk = {run->count, run->extents, run->records};
    struct meta_key key;

    meta_key_number(&key, META_OWNERS, run->block);
    return meta_store(txn, &key, &disk, sizeof disk);
}

/* The cursor is on the run of the table that begins there. */
static int shorten_owners(struct meta_txn *txn, const struct meta_owners *run)
{
    struct meta_disk_owners disk = {run->count, run->extents, run->records};
    struct meta_key key;

    meta_key_number(&key, META_OWNERS, run->block);
    return meta_overwrite(txn, &key, &disk, sizeof disk);
}

static int erase_owners(struct meta_txn *txn, uint64_t block)
{
    struct meta_key key;

    meta_key_number(&key, META_OWNERS, block);
    return meta_erase_key(txn, &key);
}

static int decode_owners(struct meta_txn *txn, const MDB_val *key, const MDB_val *value,
                         struct meta_owners *out)
{
    return meta_owners_decode(txn->meta->limit_blocks, key, value, out);
}

static bool is_owners(const MDB_val *found)
{
    return found->mv_size && *(const unsigned char *)found->mv_data == META_OWNERS;
}

/* The runs that begin before `block` and at or after it: counts of 0 where there is none. Leaves
 * the cursor on the one before, if there is one. */
static int owners_around(struct meta_txn *txn, uint64_t block, struct meta_owners *before,
                         struct meta_owners *after)
{
    struct meta_key key;
    MDB_val found, value;
    int rc;

    before->count = after->count = 0;
    meta_key_number(&key, META_OWNERS, block);
    rc = meta_seek_from(txn, &key, &found, &value);
    if (rc == 0 && is_owners(&found))
        rc = decode_owners(txn, &found, &value, after);
    if (rc && rc != -ENOENT)
        return rc;
    rc = rc == -ENOENT ? meta_seek_last(txn, &found, &value)
                       : meta_step(txn, MDB_PREV, &found, &value);
    if (rc == -ENOENT)
        return 0;
    if (rc == 0 && is_owners(&found))
        rc = decode_owners(txn, &found, &value, before);
    if (rc == 0 && before->count && after->count && owners_end(before) > after->block)
        return hf_fail(EUCLEAN, "the runs of shared blocks at %" PRIu64 " and %" PRIu64 " overlap",
                       before->block, after->block);
    return rc;
}

/* The run of the table that has the block; a count of 0: none. *next: where the next one begins, at
 * most `end`. If the run begins before the block, the cursor is on it. */
static int owners_of(struct meta_txn *txn, uint64_t block, uint64_t end, struct meta_owners *out,
                     uint64_t *next)
{
    struct meta_owners after;
    int rc = owners_around(txn, block, out, &after);

    if (rc)
        return rc;
    if (after.count && after.block == block)
        *out = after;
    else if (out->count && owners_end(out) <= block)
        out->count = 0;
    *next = after.count && after.block > block && after.block < end ? after.block : end;
    return 0;
}

/* What the table says of the first blocks of a run, given the run of the table that has them. */
static struct meta_owners owners_from(const struct meta_owners *listed, uint64_t block,
                                      uint64_t next)
{
    struct meta_owners out = {block, next - block, 1, 0};

    if (!listed->count)
        return out;
    out.extents = listed->extents;
    out.records = listed->records;
    if (owners_end(listed) < next)
        out.count = owners_end(listed) - block;
    return out;
}

int meta_owners_find(struct meta_txn *txn, uint64_t block, uint64_t count, struct meta_owners *out)
{
    struct meta_owners listed;
    uint64_t next;
    int rc = owners_of(txn, block, block + count, &listed, &next);

    if (rc == 0)
        *out = owners_from(&listed, block, next);
    return rc;
}

int meta_owners_next(struct meta_txn *txn, uint64_t block, struct meta_owners *out)
{
    MDB_val found, value;
    int rc = meta_seek_table(txn, META_OWNERS, block, &found, &value);

    return rc ? rc : decode_owners(txn, &found, &value, out);
}

/* Takes [block, block+count) out of the run of the table that has it, right after owners_of(). */
static int cut_out(struct meta_txn *txn, const struct meta_owners *listed, uint64_t block,
                   uint64_t count)
{
    struct meta_owners head = *listed, tail = *listed;
    int rc;

    head.count = block - head.block;
    tail.block = block + count;
    tail.count = owners_end(listed) - tail.block;
    rc = head.count ? shorten_owners(txn, &head) : erase_owners(txn, block);
    return rc == 0 && tail.count ? store_owners(txn, &tail) : rc;
}

static bool alike(const struct meta_owners *left, const struct meta_owners *right)
{
    return left->count && right->count && owners_end(left) == right->block &&
           left->extents == right->extents && left->records == right->records;
}

/* Puts a run where the table has nothing. */
static int put_in(struct meta_txn *txn, const struct meta_owners *run)
{
    struct meta_owners before, after, merged = *run;
    int rc = owners_around(txn, run->block, &before, &after);

    if (rc == 0 && alike(run, &after)) {
        merged.count += after.count;
        rc = erase_owners(txn, after.block);
    }
    if (rc == 0 && alike(&before, run)) {
        merged.block = before.block;
        merged.count += before.count;
    }
    return rc ? rc : store_owners(txn, &merged);
}

static bool says_something(const struct meta_owners *run)
{
    return run->extents + (uint64_t)run->records > 1 || run->records;
}

static int change_run(struct meta_txn *txn, const struct meta_owners *listed,
                      const struct meta_owners *before, const struct meta_owners *after)
{
    int rc = listed->count ? cut_out(txn, listed, before->block, before->count) : 0;

    return rc == 0 && says_something(after) ? put_in(txn, after) : rc;
}

static int refuse_loss(const struct meta_owners *run, int extents, int records)
{
    if ((extents >= 0 || run->extents) && (records >= 0 || run->records))
        return 0;
    return hf_fail(EUCLEAN,
                   "block %" PRIu64 " loses a name that it does not have: run `holdfast fsck`",
                   run->block);
}

int meta_owners_change(struct meta_txn *txn, uint64_t block, uint64_t count, int extents,
                       int records, meta_owners_changed *changed, void *arg)
{
    uint64_t end = block + count, next;
    struct meta_owners listed, before, after;
    int rc = 0;

    for (; rc == 0 && block < end; block = owners_end(&before)) {
        rc = owners_of(txn, block, end, &listed, &next);
        if (rc)
            break;
        before = owners_from(&listed, block, next);
        rc = refuse_loss(&before, extents, records);
        if (rc)
            break;
        after = before;
        after.extents += (uint32_t)extents;
        after.records += (uint32_t)records;
        rc = change_run(txn, &listed, &before, &after);
        rc = rc ? rc : changed(arg, &before, &after);
    }
    return rc;
}
