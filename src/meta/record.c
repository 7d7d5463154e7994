/* SPDX-License-Identifier: MIT */
/*
 * Owns the encoding of records (docs/FORMAT.md) and the few LMDB calls that everything else in this
 * folder is made of. Calls LMDB and base only.
 *
 * Every decoder looks at length and range of every field before it hands out a number. So numbers
 * from a damaged or hostile pool can be wrong but never out of bounds. Fields that LMDB hands out
 * are not aligned: they are copied, never dereferenced.
 */
#include "meta/env.h"

#include "base/error.h"

#include <errno.h>
#include <inttypes.h>
#include <sys/stat.h>

static const char super_magic[8] = {'H', 'O', 'L', 'D', 'F', 'A', 'S', 'T'};

int meta_result(int rc, const char *doing)
{
    switch (rc) {
    case MDB_SUCCESS:
        return 0;
    case MDB_NOTFOUND:
        return -ENOENT;
    case MDB_KEYEXIST:
        return -EEXIST;
    case MDB_MAP_FULL:
        return hf_fail(ENOSPC, "the pool's metadata is full (%s)", doing);
    case MDB_TXN_FULL:
        return hf_fail(ENOSPC, "too many metadata pages change in one transaction (%s)", doing);
    case MDB_READERS_FULL:
        return hf_fail(EBUSY, "all metadata reader slots are taken: make the pool with a larger "
                              "--max-threads");
    default:
        if (rc > 0)
            return hf_fail_errno(rc, "metadata: %s", doing);
        return hf_fail(EUCLEAN, "the pool's metadata is damaged (%s: %s): run `holdfast fsck`",
                       doing, mdb_strerror(rc));
    }
}

int meta_key_name(struct meta_key *key, uint64_t ino, enum meta_part part, const char *name)
{
    size_t len = strnlen(name, META_NAME_MAX + 1);

    if (len > META_NAME_MAX)
        return hf_fail(ENAMETOOLONG, "a name has more than %u bytes", META_NAME_MAX);
    meta_key_part(key, ino, part);
    memcpy(key->bytes + META_KEY_PREFIX, name, len);
    key->len += len;
    return 0;
}

/* --- under the cursor --- */

int meta_seek(struct meta_txn *txn, const struct meta_key *key, MDB_val *value)
{
    MDB_val sought = {key->len, (void *)key->bytes};

    return lmdb_get(txn, &sought, value, MDB_SET);
}

int meta_seek_from(struct meta_txn *txn, const struct meta_key *key, MDB_val *found, MDB_val *value)
{
    *found = (MDB_val){key->len, (void *)key->bytes};
    return lmdb_get(txn, found, value, MDB_SET_RANGE);
}

int meta_seek_table(struct meta_txn *txn, enum meta_table table, uint64_t number, MDB_val *found,
                    MDB_val *value)
{
    struct meta_key key;
    int rc;

    meta_key_number(&key, table, number);
    rc = meta_seek_from(txn, &key, found, value);
    return rc == 0 && *(const unsigned char *)found->mv_data != table ? -ENOENT : rc;
}

int meta_seek_last(struct meta_txn *txn, MDB_val *found, MDB_val *value)
{
    return lmdb_get(txn, found, value, MDB_LAST);
}

int meta_step(struct meta_txn *txn, MDB_cursor_op step, MDB_val *found, MDB_val *value)
{
    return lmdb_get(txn, found, value, step);
}

static int put(struct meta_txn *txn, const struct meta_key *key, const void *value, size_t len,
               unsigned flags)
{
    MDB_val at = {key->len, (void *)key->bytes}, what = {len, (void *)value};
    int rc = meta_charge(txn, len);

    return rc ? rc : lmdb_put(txn, &at, &what, flags);
}

int meta_store(struct meta_txn *txn, const struct meta_key *key, const void *value, size_t len)
{
    return put(txn, key, value, len, 0);
}

int meta_store_new(struct meta_txn *txn, const struct meta_key *key, const void *value, size_t len)
{
    return put(txn, key, value, len, MDB_NOOVERWRITE);
}

int meta_overwrite(struct meta_txn *txn, const struct meta_key *key, const void *value, size_t len)
{
    return put(txn, key, value, len, MDB_CURRENT);
}

int meta_erase(struct meta_txn *txn)
{
    int rc = meta_charge(txn, 0);

    return rc ? rc : lmdb_del(txn);
}

int meta_erase_key(struct meta_txn *txn, const struct meta_key *key)
{
    MDB_val value;
    int rc = meta_seek(txn, key, &value);

    return rc ? rc : meta_erase(txn);
}

/* --- super record --- */

static int super_bounds(const struct meta_super *super)
{
    uint64_t blocks = super->pool_bytes / META_BLOCK_BYTES;

    if (super->pool_bytes == 0 || super->pool_bytes % META_BLOCK_BYTES != 0 ||
        super->limit_bytes < super->pool_bytes || super->limit_bytes % META_BLOCK_BYTES != 0 ||
        super->limit_bytes > UINT64_C(1) << 56)
        return hf_fail(EUCLEAN, "super record: pool of %" PRIu64 " bytes with limit %" PRIu64,
                       super->pool_bytes, super->limit_bytes);
    if (super->fresh_block > blocks || super->next_ino <= META_ROOT_INO ||
        super->next_ino > META_INO_END)
        return hf_fail(EUCLEAN,
                       "super record: first fresh block %" PRIu64 " of %" PRIu64
                       ", next inode %" PRIu64,
                       super->fresh_block, blocks, super->next_ino);
    if (super->mode & ~0777u || super->max_threads > 1u << 24 || super->max_processes > 1u << 20 ||
        super->max_files > 1u << 28 || super->max_leases > 1u << 28)
        return hf_fail(EUCLEAN, "super record: mode %o or a maximum is out of range", super->mode);
    return 0;
}

void meta_super_unpack(const struct meta_disk_super *disk, struct meta_super *out)
{
    *out = (struct meta_super){
        .format = disk->format,
        .flags = disk->flags,
        .incompat = disk->incompat,
        .ro_compat = disk->ro_compat,
        .compat = disk->compat,
        .pool_bytes = disk->pool_bytes,
        .limit_bytes = disk->limit_bytes,
        .mode = disk->mode,
        .policy_kind = disk->policy_kind,
        .policy_deadline_ns = disk->policy_deadline_ns,
        .max_processes = disk->max_processes,
        .max_threads = disk->max_threads,
        .max_files = disk->max_files,
        .max_leases = disk->max_leases,
        .next_ino = disk->next_ino,
        .inodes = disk->inodes,
        .fresh_block = disk->fresh_block,
        .quarantine_ns = disk->quarantine_ns,
        .trim_above_bytes = disk->trim_above_bytes,
    };
    memcpy(out->uuid, disk->uuid, sizeof out->uuid);
    memcpy(out->engine, disk->engine, sizeof out->engine);
}

int meta_super_decode(const MDB_val *value, struct meta_super *out)
{
    struct meta_disk_super disk;

    if (value->mv_size != sizeof disk)
        return hf_fail(EUCLEAN, "the super record has %zu bytes, not %zu", value->mv_size,
                       sizeof disk);
    memcpy(&disk, value->mv_data, sizeof disk);
    if (memcmp(disk.magic, super_magic, sizeof super_magic) != 0)
        return hf_fail(EUCLEAN, "the super record does not begin with HOLDFAST");
    if (disk.format > META_FORMAT)
        return hf_fail(EOPNOTSUPP, "format %u is newer than this Holdfast's %u", disk.format,
                       META_FORMAT);
    if (disk.format == 0 || disk.engine[sizeof disk.engine - 1] != 0)
        return hf_fail(EUCLEAN, "super record: format %u or engine name is senseless", disk.format);
    struct meta_super super;
    meta_super_unpack(&disk, &super);
    int rc = super_bounds(&super);
    if (rc == 0)
        *out = super;
    return rc;
}

static const struct meta_key super_key = {1, {META_SUPER}};

int meta_super_get(struct meta_txn *txn, struct meta_super *out)
{
    MDB_val value;
    int rc = meta_seek(txn, &super_key, &value);

    if (rc == -ENOENT)
        return hf_fail(EUCLEAN, "the metadata has no super record: not a Holdfast pool?");
    return rc ? rc : meta_super_decode(&value, out);
}

int meta_super_read(struct meta *meta, struct meta_super *out)
{
    struct meta_txn *txn;
    int rc = meta_begin_read(meta, &txn);

    if (rc)
        return rc;
    rc = meta_super_get(txn, out);
    meta_end_read(txn);
    return rc;
}

int meta_super_put(struct meta_txn *txn, const struct meta_super *super)
{
    struct meta_disk_super disk = {
        .format = super->format,
        .flags = super->flags,
        .incompat = super->incompat,
        .ro_compat = super->ro_compat,
        .compat = super->compat,
        .pool_bytes = super->pool_bytes,
        .limit_bytes = super->limit_bytes,
        .mode = super->mode,
        .policy_kind = super->policy_kind,
        .policy_deadline_ns = super->policy_deadline_ns,
        .max_processes = super->max_processes,
        .max_threads = super->max_threads,
        .max_files = super->max_files,
        .max_leases = super->max_leases,
        .next_ino = super->next_ino,
        .inodes = super->inodes,
        .fresh_block = super->fresh_block,
        .quarantine_ns = super->quarantine_ns,
        .trim_above_bytes = super->trim_above_bytes,
    };
    memcpy(disk.magic, super_magic, sizeof super_magic);
    memcpy(disk.uuid, super->uuid, sizeof disk.uuid);
    memcpy(disk.engine, super->engine, sizeof disk.engine);
    return meta_store(txn, &super_key, &disk, sizeof disk);
}

/* --- inodes --- */

static bool known_type(uint32_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG:
    case S_IFDIR:
    case S_IFLNK:
    case S_IFIFO:
    case S_IFSOCK:
    case S_IFCHR:
    case S_IFBLK:
        return (mode & ~(uint32_t)(S_IFMT | 07777)) == 0;
    default:
        return false;
    }
}

int meta_inode_decode(uint64_t ino, const MDB_val *value, struct meta_inode *out)
{
    struct meta_disk_inode disk;

    if (value->mv_size != sizeof disk)
        return hf_fail(EUCLEAN, "inode %" PRIu64 ": its record has %zu bytes, not %zu", ino,
                       value->mv_size, sizeof disk);
    memcpy(&disk, value->mv_data, sizeof disk);
    if (!known_type(disk.mode))
        return hf_fail(EUCLEAN, "inode %" PRIu64 ": mode %o is of no known type", ino, disk.mode);
    if (disk.size > META_FILE_PAGES * META_BLOCK_BYTES || disk.blocks > META_FILE_PAGES)
        return hf_fail(EUCLEAN,
                       "inode %" PRIu64 ": %" PRIu64 " bytes on %" PRIu64 " blocks is too large",
                       ino, disk.size, disk.blocks);
    *out = (struct meta_inode){
        .mode = disk.mode,
        .uid = disk.uid,
        .gid = disk.gid,
        .nlink = disk.nlink,
        .size = disk.size,
        .blocks = disk.blocks,
        .rdev = disk.rdev,
        .parent = disk.parent,
        .atime_ns = disk.atime_ns,
        .mtime_ns = disk.mtime_ns,
        .ctime_ns = disk.ctime_ns,
        .btime_ns = disk.btime_ns,
        .version = disk.version,
    };
    return 0;
}

int meta_inode_get(struct meta_txn *txn, uint64_t ino, struct meta_inode *out)
{
    struct meta_key key;
    MDB_val value;

    meta_key_part(&key, ino, META_ATTRIBUTES);
    int rc = meta_seek(txn, &key, &value);
    return rc ? rc : meta_inode_decode(ino, &value, out);
}

int meta_inode_put(struct meta_txn *txn, uint64_t ino, const struct meta_inode *inode)
{
    struct meta_disk_inode disk = {
        .mode = inode->mode,
        .uid = inode->uid,
        .gid = inode->gid,
        .nlink = inode->nlink,
        .size = inode->size,
        .blocks = inode->blocks,
        .rdev = inode->rdev,
        .parent = inode->parent,
        .atime_ns = inode->atime_ns,
        .mtime_ns = inode->mtime_ns,
        .ctime_ns = inode->ctime_ns,
        .btime_ns = inode->btime_ns,
        .version = inode->version,
    };
    struct meta_key key;

    meta_key_part(&key, ino, META_ATTRIBUTES);
    return meta_store(txn, &key, &disk, sizeof disk);
}

int meta_inode_del(struct meta_txn *txn, uint64_t ino)
{
    struct meta_key key;
    MDB_val found, value;
    int rc;

    meta_key_number(&key, META_INODE, ino);
    rc = meta_seek_from(txn, &key, &found, &value);
    while (rc == 0 && found.mv_size >= key.len && memcmp(found.mv_data, key.bytes, key.len) == 0) {
        rc = meta_erase(txn);
        if (rc == 0)
            rc = meta_seek_from(txn, &key, &found, &value);
    }
    return rc == -ENOENT ? 0 : rc;
}

int meta_inode_next(struct meta_txn *txn, uint64_t *ino, struct meta_inode *out)
{
    struct meta_key key;
    MDB_val found, value;
    const unsigned char *bytes;

    meta_key_part(&key, *ino, META_ATTRIBUTES);
    int rc = meta_seek_from(txn, &key, &found, &value);
    if (rc)
        return rc;
    bytes = found.mv_data;
    if (bytes[0] != META_INODE)
        return -ENOENT;
    if (found.mv_size != META_KEY_PREFIX || bytes[9] != META_ATTRIBUTES)
        return hf_fail(EUCLEAN, "records of an inode at or after %" PRIu64 " lie without it", *ino);
    uint64_t next = meta_get_be64(bytes + 1);
    if (next == 0 || next >= META_INO_END)
        return hf_fail(EUCLEAN, "inode %" PRIu64 " cannot be: run holdfast fsck", next);
    rc = meta_inode_decode(next, &value, out);
    if (rc == 0)
        *ino = next;
    return rc;
}
