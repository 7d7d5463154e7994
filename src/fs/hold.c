/* SPDX-License-Identifier: MIT */
/*
 * Owns what becomes of blocks that leave a file while a pin holds them. Calls txn.c.
 *
 * Shared blocks can come back to the same pages while the pin is there, by a clone or a move. Then
 * they can leave again under a second pin. Even then, a block at a page of a file is in one record
 * only, so the table of owners counts it once. The block stays in that record until no pin holds
 * it, whichever change detached it first. Records are cut where the blocks that leave begin and
 * end. So each holder of a record has all of it (free_shared() in reclaim.c).
 */
#include "fs/hold.h"

#include <errno.h>

/* It has its blocks at the pages where the run has them, or would have them. */
static bool has_place_of(const struct meta_detached *record, const struct meta_detached *run)
{
    return record->shared && record->ino == run->ino &&
           record->page - run->page == record->block - run->block;
}

static bool covers(const struct meta_detached *record, uint64_t block)
{
    return record->shared && record->block <= block && record->count > block - record->block;
}

/* The record of the same place that covers `block` and begins before it. Looks back twice as far
 * each time, until it has seen all that cover it. */
static int find_before(struct meta_txn *txn, const struct meta_detached *run, uint64_t block,
                       uint32_t covering, struct meta_detached *out)
{
    for (uint64_t back = 1;; back *= 2) {
        uint64_t from = back < block ? block - back : 0;
        uint32_t seen = 0;
        int rc = meta_detached_from(txn, from, out);

        for (; rc == 0 && out->block <= block; rc = meta_detached_after(txn, out, out)) {
            if (!covers(out, block))
                continue;
            if (out->block < block && has_place_of(out, run))
                return 0;
            seen++;
        }
        if (rc && rc != -ENOENT)
            return rc;
        if (from == 0 || seen >= covering)
            return -ENOENT;
    }
}

/* No record of the same place goes across `block` afterwards. */
static int cut_at(struct meta_txn *txn, const struct meta_detached *run, uint64_t block)
{
    struct meta_detached left, right;
    struct meta_owners owners;
    int rc = meta_owners_find(txn, block, 1, &owners);

    if (rc || owners.records == 0)
        return rc;
    rc = find_before(txn, run, block, owners.records, &left);
    if (rc)
        return rc == -ENOENT ? 0 : rc;
    right = left;
    left.count = block - left.block;
    right.block += left.count;
    right.page += left.count;
    right.count -= left.count;
    rc = meta_detached_put(txn, &left);
    return rc ? rc : meta_detached_put(txn, &right);
}

/* How many blocks from the first on are in no record of the same place. The first is in none. */
static int until_next(struct meta_txn *txn, const struct meta_detached *run, uint64_t *count)
{
    struct meta_detached next;
    int rc = meta_detached_from(txn, run->block + 1, &next);

    while (rc == 0 && next.block < run->block + run->count && !has_place_of(&next, run))
        rc = meta_detached_after(txn, &next, &next);
    *count = run->count;
    if (rc == 0 && next.block < run->block + run->count)
        *count = next.block - run->block;
    return rc == -ENOENT ? 0 : rc;
}

/* The first blocks of the run, as many as are alike; *count says how many. */
static int hold_first(struct fs_txn *txn, const struct meta_detached *run, uint64_t *count)
{
    struct meta_detached part = *run, found;
    int rc = meta_detached_get(txn->meta, run, &found);

    if (rc == 0) {
        *count = fs_min(found.count, run->count);
        return fs_txn_change_owners(txn, run->block, *count, -1, 0);
    }
    if (rc == -ENOENT)
        rc = until_next(txn->meta, run, count);
    if (rc)
        return rc;
    part.count = *count;
    rc = meta_detached_put(txn->meta, &part);
    return rc ? rc : fs_txn_change_owners(txn, part.block, part.count, -1, 1);
}

static int hold_shared(struct fs_txn *txn, const struct meta_detached *run)
{
    struct meta_detached rest = *run;
    uint64_t count;
    int rc = cut_at(txn->meta, run, run->block);

    rc = rc ? rc : cut_at(txn->meta, run, run->block + run->count);
    while (rc == 0 && rest.count) {
        rc = hold_first(txn, &rest, &count);
        rest.block += count;
        rest.page += count;
        rest.count -= count;
    }
    return rc;
}

int fs_hold(struct fs_txn *txn, uint64_t ino, const struct meta_extent *run)
{
    struct meta_detached record = {run->block, run->count, ino, run->page, run->shared};

    if (run->shared)
        return hold_shared(txn, &record);
    txn->detached += (int64_t)run->count;
    return meta_detached_put(txn->meta, &record);
}
