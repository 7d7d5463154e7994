/* SPDX-License-Identifier: MIT */
/*
 * Owns the records of what is no longer reachable by name but not free either: detached runs
 * (blocks that left their file under a pin) and orphans (inodes without names that were open).
 * Calls record.c only. The first process to attach frees both kinds: nobody can hold them any more.
 */
#include "meta/env.h"

#include "base/error.h"

#include <errno.h>

int meta_detached_decode(uint64_t limit_blocks, const MDB_val *key, const MDB_val *value,
                         struct meta_detached *out)
{
    struct meta_disk_detached disk;
    uint64_t block;

    if (key->mv_size != 9 || value->mv_size != sizeof disk)
        return hf_fail(EUCLEAN, "a detached run has a key of %zu and a value of %zu bytes",
                       key->mv_size, value->mv_size);
    block = meta_get_be64((const unsigned char *)key->mv_data + 1);
    memcpy(&disk, value->mv_data, sizeof disk);
    if (disk.count == 0 || block >= limit_blocks || disk.count > limit_blocks - block)
        return hf_fail(EUCLEAN, "the detached run of %llu blocks at %llu is out of bounds",
                       (unsigned long long)disk.count, (unsigned long long)block);
    *out = (struct meta_detached){block, disk.count, disk.ino, disk.page};
    return 0;
}

int meta_detached_put(struct meta_txn *txn, const struct meta_detached *run)
{
    struct meta_disk_detached disk = {run->count, run->ino, run->page};
    struct meta_key key;

    meta_key_number(&key, META_DETACHED, run->block);
    return meta_store(txn, &key, &disk, sizeof disk);
}

int meta_detached_del(struct meta_txn *txn, uint64_t block)
{
    struct meta_key key;

    meta_key_number(&key, META_DETACHED, block);
    return meta_erase_key(txn, &key);
}

int meta_detached_next(struct meta_txn *txn, uint64_t block, struct meta_detached *out)
{
    struct meta_key key;
    MDB_val found, value;
    int rc;

    meta_key_number(&key, META_DETACHED, block);
    rc = meta_seek_from(txn, &key, &found, &value);
    if (rc)
        return rc;
    if (*(const unsigned char *)found.mv_data != META_DETACHED)
        return -ENOENT;
    return meta_detached_decode(txn->meta->limit_blocks, &found, &value, out);
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
    struct meta_key key;
    MDB_val found, value;
    int rc;

    meta_key_number(&key, META_ORPHAN, *ino);
    rc = meta_seek_from(txn, &key, &found, &value);
    if (rc)
        return rc;
    if (*(const unsigned char *)found.mv_data != META_ORPHAN)
        return -ENOENT;
    if (found.mv_size == 9 &&
        meta_get_be64((const unsigned char *)found.mv_data + 1) >= META_INO_END)
        return hf_fail(EUCLEAN, "the orphan record of an inode that cannot be: run holdfast fsck");
    if (found.mv_size != 9 || value.mv_size != 0)
        return hf_fail(EUCLEAN, "an orphan record has a key of %zu and a value of %zu bytes",
                       found.mv_size, value.mv_size);
    *ino = meta_get_be64((const unsigned char *)found.mv_data + 1);
    return 0;
}
