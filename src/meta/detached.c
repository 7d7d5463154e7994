/* SPDX-License-Identifier: MIT */
/*
 * Owns the records of blocks and inodes that no name reaches and that are not free yet. Detached
 * runs are blocks that left their file under a pin; orphans are inodes without names that were
 * open. Calls record.c only. The first process to attach frees both kinds, since nobody can hold
 * them any more.
 */
#include "meta/env.h"

#include "base/error.h"

#include <errno.h>
#include <inttypes.h>

int meta_detached_decode(uint64_t limit_blocks, const MDB_val *key, const MDB_val *value,
                         struct meta_detached *out)
{
    const unsigned char *bytes = key->mv_data;
    struct meta_disk_detached disk;
    uint64_t block;
    bool shared = key->mv_size == META_KEY_SHARED;

    if ((key->mv_size != 9 && !shared) || value->mv_size != sizeof disk)
        return hf_fail(EUCLEAN, "a detached run has a key of %zu and a value of %zu bytes",
                       key->mv_size, value->mv_size);
    block = meta_get_be64(bytes + 1);
    memcpy(&disk, value->mv_data, sizeof disk);
    if (disk.count == 0 || block >= limit_blocks || disk.count > limit_blocks - block)
        return hf_fail(EUCLEAN,
                       "the detached run of %" PRIu64 " blocks at %" PRIu64 " is out of bounds",
                       disk.count, block);
    if (shared && (meta_get_be64(bytes + 9) != disk.ino || meta_get_be64(bytes + 17) != disk.page))
        return hf_fail(EUCLEAN, "the detached run at block %" PRIu64 " does not agree with its key",
                       block);
    *out = (struct meta_detached){block, disk.count, disk.ino, disk.page, shared};
    return 0;
}

static void key_of(struct meta_key *key, const struct meta_detached *run)
{
    if (run->shared)
        meta_key_shared(key, run->block, run->ino, run->page);
    else
        meta_key_number(key, META_DETACHED, run->block);
}

int meta_detached_put(struct meta_txn *txn, const struct meta_detached *run)
{
    struct meta_disk_detached disk = {run->count, run->ino, run->page};
    struct meta_key key;

    key_of(&key, run);
    return meta_store(txn, &key, &disk, sizeof disk);
}

int meta_detached_del(struct meta_txn *txn, const struct meta_detached *run)
{
    struct meta_key key;

    key_of(&key, run);
    return meta_erase_key(txn, &key);
}

int meta_detached_get(struct meta_txn *txn, const struct meta_detached *run,
                      struct meta_detached *out)
{
    struct meta_key key;
    MDB_val value;
    int rc;

    key_of(&key, run);
    rc = meta_seek(txn, &key, &value);
    if (rc)
        return rc;
    return meta_detached_decode(txn->meta->limit_blocks, &(MDB_val){key.len, key.bytes}, &value,
                                out);
}

/* The first at or after the key. */
static int seek_from(struct meta_txn *txn, const struct meta_key *key, struct meta_detached *out)
{
    MDB_val found, value;
    int rc = meta_seek_from(txn, key, &found, &value);

    if (rc)
        return rc;
    if (*(const unsigned char *)found.mv_data != META_DETACHED)
        return -ENOENT;
    return meta_detached_decode(txn->meta->limit_blocks, &found, &value, out);
}

int meta_detached_from(struct meta_txn *txn, uint64_t block, struct meta_detached *out)
{
    struct meta_key key;

    meta_key_number(&key, META_DETACHED, block);
    return seek_from(txn, &key, out);
}

int meta_detached_after(struct meta_txn *txn, const struct meta_detached *run,
                        struct meta_detached *out)
{
    struct meta_key key;

    key_of(&key, run);
    key.bytes[key.len++] = 0; /* the next key that there can be */
    return seek_from(txn, &key, out);
}

int meta_orphan_put(struct meta_txn *txn, uint64_t ino)
{
    struct meta_key key;

    meta_key_number(&key, META_ORPHAN, ino);
    return meta_store(txn, &key, "", 0);
}

int meta_orphan_del(struct meta_txn *txn, uint64_t ino)
{
    struct meta_key key;

    meta_key_number(&key, META_ORPHAN, ino);
    return meta_erase_key(txn, &key);
}

int meta_orphan_next(struct meta_txn *txn, uint64_t *ino)
{
    MDB_val found, value;
    int rc = meta_seek_table(txn, META_ORPHAN, *ino, &found, &value);

    if (rc)
        return rc;
    if (found.mv_size == 9 &&
        meta_get_be64((const unsigned char *)found.mv_data + 1) >= META_INO_END)
        return hf_fail(EUCLEAN, "the orphan record of an inode that cannot be: run holdfast fsck");
    if (found.mv_size != 9 || value.mv_size != 0)
        return hf_fail(EUCLEAN, "an orphan record has a key of %zu and a value of %zu bytes",
                       found.mv_size, value.mv_size);
    *ino = meta_get_be64((const unsigned char *)found.mv_data + 1);
    return 0;
}
