/* SPDX-License-Identifier: MIT */
/*
 * Owns the named records of an inode: directory entries and extended attributes, and the target of
 * a symbolic link. Calls record.c only. Names are bytes without a NUL, compared bytewise. Further
 * rules (no '/', a namespace) are for the caller to keep and for check.c to check.
 */
#include "meta/env.h"

#include "base/error.h"

#include <errno.h>
#include <inttypes.h>

static void copy_name(char name[META_NAME_MAX + 1], const MDB_val *key)
{
    size_t len = key->mv_size - META_KEY_PREFIX;

    memcpy(name, (const char *)key->mv_data + META_KEY_PREFIX, len);
    name[len] = '\0';
}

static int check_name(const MDB_val *key)
{
    const unsigned char *bytes = key->mv_data;
    size_t len = key->mv_size - META_KEY_PREFIX;

    if (len == 0 || len > META_NAME_MAX || memchr(bytes + META_KEY_PREFIX, 0, len))
        return hf_fail(EUCLEAN,
                       "inode %" PRIu64 ": a name of %zu bytes is empty, too long or holds a NUL",
                       meta_get_be64(bytes + 1), len);
    return 0;
}

/* The record of that part whose name is bytewise greater than `after`. */
static int next_name(struct meta_txn *txn, uint64_t ino, enum meta_part part, const char *after,
                     MDB_val *found, MDB_val *value)
{
    struct meta_key key;
    int rc = meta_key_name(&key, ino, part, after);

    if (!rc)
        rc = meta_seek_from(txn, &key, found, value);
    if (rc == 0 && found->mv_size == key.len && memcmp(found->mv_data, key.bytes, key.len) == 0)
        rc = meta_step(txn, MDB_NEXT, found, value);
    if (rc)
        return rc;
    if (!meta_key_is_part(found, ino, part))
        return -ENOENT;
    return check_name(found);
}

/* --- directory entries --- */

int meta_dirent_decode(const MDB_val *key, const MDB_val *value, struct meta_dirent *out)
{
    struct meta_disk_dirent disk;
    int rc = check_name(key);

    if (rc)
        return rc;
    if (value->mv_size != sizeof disk)
        return hf_fail(EUCLEAN, "inode %" PRIu64 ": a directory entry has a value of %zu bytes",
                       meta_get_be64((const unsigned char *)key->mv_data + 1), value->mv_size);
    memcpy(&disk, value->mv_data, sizeof disk);
    out->ino = disk.ino;
    out->type = disk.type;
    copy_name(out->name, key);
    return 0;
}

int meta_dirent_get(struct meta_txn *txn, uint64_t dir, const char *name, struct meta_dirent *out)
{
    struct meta_key key;
    MDB_val value;
    int rc = meta_key_name(&key, dir, META_DIRENT, name);

    if (!rc)
        rc = meta_seek(txn, &key, &value);
    return rc ? rc : meta_dirent_decode(&(MDB_val){key.len, key.bytes}, &value, out);
}

int meta_dirent_put(struct meta_txn *txn, uint64_t dir, const char *name, uint64_t ino,
                    uint32_t type)
{
    struct meta_disk_dirent disk = {ino, type, 0};
    struct meta_key key;
    int rc = meta_key_name(&key, dir, META_DIRENT, name);

    return rc ? rc : meta_store(txn, &key, &disk, sizeof disk);
}

int meta_dirent_add(struct meta_txn *txn, uint64_t dir, const char *name, uint64_t ino,
                    uint32_t type)
{
    struct meta_disk_dirent disk = {ino, type, 0};
    struct meta_key key;
    int rc = meta_key_name(&key, dir, META_DIRENT, name);

    return rc ? rc : meta_store_new(txn, &key, &disk, sizeof disk);
}

int meta_dirent_del(struct meta_txn *txn, uint64_t dir, const char *name)
{
    struct meta_key key;
    int rc = meta_key_name(&key, dir, META_DIRENT, name);

    return rc ? rc : meta_erase_key(txn, &key);
}

int meta_dirent_next(struct meta_txn *txn, uint64_t dir, const char *after, struct meta_dirent *out)
{
    MDB_val found, value;
    int rc = next_name(txn, dir, META_DIRENT, after, &found, &value);

    return rc ? rc : meta_dirent_decode(&found, &value, out);
}

int meta_dirent_step(struct meta_txn *txn, uint64_t dir, struct meta_dirent *out)
{
    MDB_val found, value;
    int rc = meta_step(txn, MDB_NEXT, &found, &value);

    if (rc == 0 && !meta_key_is_part(&found, dir, META_DIRENT))
        rc = -ENOENT;
    return rc ? rc : meta_dirent_decode(&found, &value, out);
}

/* --- extended attributes --- */

int meta_xattr_get(struct meta_txn *txn, uint64_t ino, const char *name, const void **value,
                   size_t *len)
{
    struct meta_key key;
    MDB_val found;
    int rc = meta_key_name(&key, ino, META_XATTR, name);

    if (!rc)
        rc = meta_seek(txn, &key, &found);
    if (rc)
        return rc;
    if (found.mv_size > META_XATTR_MAX)
        return hf_fail(EUCLEAN, "inode %" PRIu64 ": an attribute has %zu bytes", ino,
                       found.mv_size);
    *value = found.mv_data;
    *len = found.mv_size;
    return 0;
}

int meta_xattr_put(struct meta_txn *txn, uint64_t ino, const char *name, const void *value,
                   size_t len)
{
    struct meta_key key;
    int rc = meta_key_name(&key, ino, META_XATTR, name);

    if (!rc && len > META_XATTR_MAX)
        rc = hf_fail(E2BIG, "an attribute has at most %u bytes", META_XATTR_MAX);
    return rc ? rc : meta_store(txn, &key, value, len);
}

int meta_xattr_del(struct meta_txn *txn, uint64_t ino, const char *name)
{
    struct meta_key key;
    int rc = meta_key_name(&key, ino, META_XATTR, name);

    return rc ? rc : meta_erase_key(txn, &key);
}

int meta_xattr_next(struct meta_txn *txn, uint64_t ino, const char *after, char name[256])
{
    MDB_val found, value;
    int rc = next_name(txn, ino, META_XATTR, after, &found, &value);

    if (rc == 0)
        copy_name(name, &found);
    return rc;
}

/* --- symbolic links --- */

int meta_symlink_get(struct meta_txn *txn, uint64_t ino, const char **target, size_t *len)
{
    struct meta_key key;
    MDB_val found;
    int rc;

    meta_key_part(&key, ino, META_TARGET);
    rc = meta_seek(txn, &key, &found);
    if (rc)
        return rc;
    if (found.mv_size == 0 || found.mv_size > META_SYMLINK_MAX ||
        memchr(found.mv_data, 0, found.mv_size))
        return hf_fail(EUCLEAN,
                       "inode %" PRIu64 ": a link target of %zu bytes is empty, too long or holds "
                       "a NUL",
                       ino, found.mv_size);
    *target = found.mv_data;
    *len = found.mv_size;
    return 0;
}

int meta_symlink_put(struct meta_txn *txn, uint64_t ino, const char *target, size_t len)
{
    struct meta_key key;

    if (len == 0 || len > META_SYMLINK_MAX)
        return hf_fail(ENAMETOOLONG, "a link target has 1 to %u bytes", META_SYMLINK_MAX);
    meta_key_part(&key, ino, META_TARGET);
    return meta_store(txn, &key, target, len);
}
