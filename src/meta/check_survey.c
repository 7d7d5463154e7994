/* SPDX-License-Identifier: MIT */
/*
 * Owns the first look of a round. It makes one entry for each inode that has any record, and one
 * for each run of blocks that a record names. It notes what the entries of directories say of
 * inodes. It repairs and reports nothing, so that the stages after it judge a record with all
 * others in sight.
 *
 * Records are read leniently: one of a wrong length says what the bytes that are there say. Whether
 * that can be believed is for a later stage to judge.
 */
#include "meta/check.h"

#include <errno.h>

/* No pool has so many blocks; sums of such counts do not overflow soon. */
#define COUNT_MAX (UINT64_C(1) << 50)

static uint64_t add_saturated(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

static bool legal_ino(uint64_t ino)
{
    return ino != 0 && ino < META_INO_END;
}

static int add_claim(struct checker *check, const struct check_claim *claim)
{
    struct check_claim *claims = check_grow(check->claims, check->claim_count, &check->claim_room,
                                            sizeof *claims, "runs of blocks");

    if (!claims)
        return -ENOMEM;
    check->claims = claims;
    check->claims[check->claim_count++] = *claim;
    return 0;
}

/* --- one record --- */

/* Copies the bytes that are there, and puts zeros for the rest. */
static bool read_value(const MDB_val *value, void *out, size_t len)
{
    size_t there = value->mv_size < len ? value->mv_size : len;

    memset(out, 0, len);
    memcpy(out, value->mv_data, there);
    return value->mv_size == len;
}

static void note_attributes(struct check_inode *inode, const MDB_val *value)
{
    struct meta_disk_inode disk;

    if (!read_value(value, &disk, sizeof disk))
        inode->flags |= INODE_ODD;
    if (value->mv_size < offsetof(struct meta_disk_inode, rdev))
        return;
    inode->flags |= INODE_ATTRIBUTES;
    inode->mode = disk.mode;
    inode->nlink = disk.nlink;
    inode->size = disk.size;
    inode->blocks = disk.blocks;
    inode->rdev = disk.rdev;
    inode->parent = disk.parent;
}

static int note_extent(struct checker *check, struct check_inode *inode, const MDB_val *key,
                       const MDB_val *value)
{
    struct check_claim claim = {.ino = inode->ino};
    struct meta_disk_extent disk;

    inode->flags |= INODE_EXTENTS;
    check->request->extents++;
    if (!read_value(value, &disk, sizeof disk))
        claim.flags = CLAIM_ODD;
    claim.page = meta_get_be64((const unsigned char *)key->mv_data + META_KEY_PREFIX);
    claim.block = disk.block;
    claim.flags |= disk.count & META_COUNT_SHARED ? CLAIM_SHARED : 0;
    disk.count &= ~META_COUNT_SHARED;
    claim.count = disk.count < COUNT_MAX ? disk.count : COUNT_MAX;
    if (inode->claim_count++ == 0)
        inode->first_claim = check->claim_count;
    inode->claimed_blocks = add_saturated(inode->claimed_blocks, claim.count);
    return add_claim(check, &claim);
}

static void note_target(struct check_inode *inode, const MDB_val *value)
{
    if (value->mv_size == 0 || value->mv_size > META_SYMLINK_MAX ||
        memchr(value->mv_data, 0, value->mv_size))
        return;
    inode->flags |= INODE_TARGET;
    inode->target_len = (uint32_t)value->mv_size;
}

static int note_part(struct checker *check, const MDB_val *key, const MDB_val *value)
{
    const unsigned char *bytes = key->mv_data;
    uint64_t ino = meta_get_be64(bytes + 1);
    enum meta_part part = bytes[META_KEY_PREFIX - 1];
    size_t rest = key->mv_size - META_KEY_PREFIX;
    struct check_inode *inode;
    int rc;

    if (!legal_ino(ino))
        return 0;
    rc = check_add(check, ino, &inode); /* also for one that is of no kind: see check_records.c */
    if (rc || ((part == META_ATTRIBUTES || part == META_TARGET) && rest != 0) ||
        (part == META_EXTENT && rest != 8) || (part == META_DIRENT && rest == 0))
        return rc;
    if (part == META_ATTRIBUTES)
        note_attributes(inode, value);
    else if (part == META_EXTENT)
        return note_extent(check, inode, key, value);
    else if (part == META_DIRENT)
        inode->flags |= INODE_ENTRIES;
    else if (part == META_TARGET)
        note_target(inode, value);
    return 0;
}

static int note_detached(struct checker *check, const MDB_val *key, const MDB_val *value)
{
    struct meta_detached run;

    if (meta_detached_decode(UINT64_MAX, key, value, &run))
        return 0; /* for check_records.c */
    return add_claim(check,
                     &(struct check_claim){.page = run.page,
                                           .from = run.ino,
                                           .flags = run.shared ? CLAIM_SHARED : 0,
                                           .block = run.block,
                                           .count = run.count < COUNT_MAX ? run.count : COUNT_MAX});
}

static int note_owners(struct checker *check, const MDB_val *key, const MDB_val *value)
{
    struct meta_owners run, *owners;

    if (meta_owners_decode(UINT64_MAX, key, value, &run))
        return 0; /* for check_records.c */
    owners = check_grow(check->owners, check->owners_count, &check->owners_room, sizeof *owners,
                        "runs of shared blocks");
    if (!owners)
        return -ENOMEM;
    check->owners = owners;
    check->owners[check->owners_count++] = run;
    return 0;
}

static int note_record(struct checker *check, const MDB_val *key, const MDB_val *value)
{
    const unsigned char *bytes = key->mv_data;

    if (bytes[0] == META_INODE && key->mv_size >= META_KEY_PREFIX)
        return note_part(check, key, value);
    if (bytes[0] == META_DETACHED)
        return note_detached(check, key, value);
    return bytes[0] == META_OWNERS ? note_owners(check, key, value) : 0;
}

/* --- what entries say --- */

static void note_entry(struct checker *check, const struct meta_dirent *entry)
{
    struct check_inode *inode = check_find(check, entry->ino);

    check->request->dirents++;
    if (!inode)
        return;
    if (inode->named_count == 0)
        inode->named_type = entry->type;
    else if (inode->named_type != entry->type)
        inode->named_type = 0;
    inode->named_count++;
}

static int read_entries(struct checker *check, struct check_inode *inode)
{
    uint64_t dir = inode->ino;
    struct meta_dirent entry;
    struct meta_key key;
    MDB_val found, value;
    int rc;

    meta_key_part(&key, dir, META_DIRENT);
    rc = check_seek(check, &key, true, &found, &value);
    while (rc == 0 && meta_key_is_part(&found, dir, META_DIRENT)) {
        if (meta_dirent_decode(&found, &value, &entry) == 0) {
            note_entry(check, &entry);
            inode->named_subdirs += S_ISDIR(entry.type);
        }
        rc = meta_step(check->txn, MDB_NEXT, &found, &value);
    }
    return rc == -ENOENT ? 0 : rc;
}

int check_survey(struct checker *check)
{
    struct meta_key key = {1, {0}};
    struct check_inode *root;
    MDB_val found, value;
    int rc = check_add(check, META_ROOT_INO, &root); /* there, whatever the records say */

    rc = rc ? rc : check_seek(check, &key, false, &found, &value);
    while (rc == 0) {
        rc = note_record(check, &found, &value);
        check_count_record(check);
        if (rc == 0)
            rc = meta_step(check->txn, MDB_NEXT, &found, &value);
    }
    rc = rc == -ENOENT ? 0 : rc;
    for (size_t i = 0; rc == 0 && i < check->inode_count; i++)
        if (check->inodes[i].flags & INODE_ENTRIES)
            rc = read_entries(check, &check->inodes[i]);
    return rc;
}
