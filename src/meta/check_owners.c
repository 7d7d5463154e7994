/* SPDX-License-Identifier: MIT */
/*
 * Owns the check of the table of owners, and of the feature bit that goes with it. It comes once it
 * is known which claims keep which blocks, and counts the table again from these. Calls record.c
 * and check.c.
 */
#include "meta/check_blocks.h"

#include <inttypes.h>

static bool any_shared(const struct segments *segments)
{
    for (size_t i = 0; i < segments->count; i++)
        if (segments->list[i].kept_records || check_is_shared(&segments->list[i]))
            return true;
    return false;
}

void check_feature(struct checker *check, const struct segments *segments)
{
    if (check->super.incompat & META_INCOMPAT_SHARED)
        return;
    if (any_shared(segments)) {
        if (check_problem(check, true,
                          "files share blocks, and the super record does not say that they may; "
                          "repair sets its feature bit"))
            check->super_changed = true;
        check->super.incompat |= META_INCOMPAT_SHARED;
        return;
    }
    for (size_t i = 0; i < check->claim_count; i++) {
        struct check_claim *claim = &check->claims[i];

        if (claim->ino == 0 || !(claim->flags & CLAIM_SHARED))
            continue;
        if (!(claim->flags & CLAIM_ODD))
            check_problem(check, true,
                          "inode %" PRIu64 ": the extent at page %" PRIu64
                          " is marked as shared in a pool that "
                          "shares nothing; repair removes the mark",
                          claim->ino, claim->page);
        claim->flags &= ~(uint32_t)CLAIM_SHARED;
        claim->flags |= CLAIM_ODD;
    }
}

/* The next run that the table must have, from segment *at on. False: there is none. */
static bool next_run(const struct segments *segments, size_t *at, struct meta_owners *run)
{
    const struct segment *list = segments->list;

    while (*at < segments->count && list[*at].kept_records == 0 && !check_is_shared(&list[*at]))
        ++*at;
    if (*at == segments->count)
        return false;
    *run = (struct meta_owners){list[*at].block, 0, list[*at].kept_extents, list[*at].kept_records};
    while (list[*at].kept_extents == run->extents && list[*at].kept_records == run->records)
        ++*at; /* the last segment has none */
    run->count = list[*at].block - run->block;
    return true;
}

static int store_found(struct checker *check, const struct meta_owners *run)
{
    struct meta_disk_owners disk = {run->count, run->extents, run->records};
    struct meta_key key;

    meta_key_number(&key, META_OWNERS, run->block);
    return meta_store(check->txn, &key, &disk, sizeof disk);
}

/* A run that the table has, and must not have like this. */
static int surplus(struct checker *check, const struct meta_owners *run)
{
    struct meta_key key;

    if (!check_problem(check, true,
                       "the table of owners has %" PRIu64 " blocks at %" PRIu64
                       " with %u extents and %u detached "
                       "records, and they have others; repair counts them",
                       run->count, run->block, run->extents, run->records))
        return 0;
    meta_key_number(&key, META_OWNERS, run->block);
    return meta_erase_key(check->txn, &key);
}

static int lacking(struct checker *check, const struct meta_owners *run)
{
    if (!check_problem(check, true,
                       "%" PRIu64 " blocks at %" PRIu64
                       " have %u extents and %u detached records, and the table "
                       "of owners does not say so; repair enters them",
                       run->count, run->block, run->extents, run->records))
        return 0;
    return store_found(check, run);
}

int check_owners(struct checker *check, const struct segments *segments)
{
    const struct meta_owners *there = check->owners;
    const struct meta_owners *end = there ? there + check->owners_count : there;
    struct meta_owners right;
    size_t at = 0;
    bool more = next_run(segments, &at, &right);
    int rc = 0;

    while (rc == 0 && (more || there < end)) {
        bool same = more && there < end && there->block == right.block;

        if (same && there->count == right.count && there->extents == right.extents &&
            there->records == right.records) {
            there++;
            more = next_run(segments, &at, &right);
        } else if (same || (there < end && (!more || there->block < right.block))) {
            rc = surplus(check, there++);
        } else {
            rc = lacking(check, &right);
            more = next_run(segments, &at, &right);
        }
    }
    return rc;
}
