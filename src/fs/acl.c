/* SPDX-License-Identifier: MIT */
/*
 * Owns POSIX ACLs, as acl(5) has them: how they go together with modes, and how they are inherited.
 * The library checks no permissions. For a mounted pool, the kernel checks them, by the same
 * attributes.
 *
 * An access ACL that says no more than the mode is not stored. So at every commit the permission
 * bits of the mode are those of the access ACL, if there is one.
 */
#include "fs/acl.h"

#include "base/error.h"
#include "dax/client.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define PERMISSIONS 0777u

bool fs_acl_is(const char *name)
{
    return strcmp(name, META_ACL_ACCESS) == 0 || strcmp(name, META_ACL_DEFAULT) == 0;
}

int fs_acl_check(const void *value, size_t len)
{
    int rc = meta_acl_empty(len) ? 0 : meta_acl_check(value, len);

    return rc || meta_acl_empty(len) ? rc : meta_acl_check_unique(value, len);
}

/* ---- setting ---- */

static int take_away(struct fs_txn *txn, uint64_t ino, const char *name)
{
    int rc = meta_xattr_del(txn->meta, ino, name);

    return rc == -ENOENT ? 0 : rc;
}

static int set_access(struct fs_txn *txn, uint64_t ino, struct meta_inode *inode, const void *value,
                      size_t len)
{
    uint32_t mode;
    bool more = meta_acl_get_mode(value, len, &mode);
    int rc;

    inode->mode = (inode->mode & ~PERMISSIONS) | mode;
    rc = meta_inode_put(txn->meta, ino, inode);
    if (rc)
        return rc;
    return more ? meta_xattr_put(txn->meta, ino, META_ACL_ACCESS, value, len)
                : take_away(txn, ino, META_ACL_ACCESS);
}

int fs_acl_set(struct fs_txn *txn, uint64_t ino, const char *name, const void *value, size_t len)
{
    struct meta_inode inode;
    int rc = meta_inode_get(txn->meta, ino, &inode);

    if (rc)
        return rc;
    if (S_ISLNK(inode.mode))
        return hf_fail(EOPNOTSUPP, "a symbolic link has no ACL");
    if (meta_acl_empty(len))
        return take_away(txn, ino, name);
    if (strcmp(name, META_ACL_ACCESS) == 0)
        return set_access(txn, ino, &inode, value, len);
    if (!S_ISDIR(inode.mode))
        return hf_fail(EACCES, "only a directory has a default ACL");
    return meta_xattr_put(txn->meta, ino, name, value, len);
}

/* ---- changing and inheriting ---- */

/* A copy of the stored ACL, to be freed. -ENOENT: there is none. */
static int copy_stored(struct fs_txn *txn, uint64_t ino, const char *name, void **value,
                       size_t *len)
{
    const void *stored;
    int rc = meta_xattr_get(txn->meta, ino, name, &stored, len);

    if (rc)
        return rc;
    if (meta_acl_check(stored, *len))
        return hf_fail(EUCLEAN, "%s of inode %" PRIu64 " makes no sense: run holdfast fsck", name,
                       ino);
    *value = malloc(*len);
    if (!*value)
        return hf_fail(ENOMEM, "out of memory");
    memcpy(*value, stored, *len);
    return 0;
}

int fs_acl_chmod(struct fs_txn *txn, uint64_t ino, uint32_t mode)
{
    void *value;
    size_t len;
    int rc = copy_stored(txn, ino, META_ACL_ACCESS, &value, &len);

    if (rc)
        return rc == -ENOENT ? 0 : rc;
    meta_acl_set_mode(value, len, mode);
    rc = meta_xattr_put(txn->meta, ino, META_ACL_ACCESS, value, len);
    free(value);
    return rc;
}

/* The new inode gets the ACL of the directory, without the permissions that inode->mode does not
 * ask for. */
static int inherit(struct fs_txn *txn, uint64_t ino, struct meta_inode *inode, void *value,
                   size_t len)
{
    uint32_t mode;
    bool more = meta_acl_get_mode(value, len, &mode);
    int rc = 0;

    inode->mode &= mode | ~PERMISSIONS;
    if (S_ISDIR(inode->mode))
        rc = meta_xattr_put(txn->meta, ino, META_ACL_DEFAULT, value, len);
    if (rc || !more)
        return rc;
    meta_acl_set_mode(value, len, inode->mode);
    return meta_xattr_put(txn->meta, ino, META_ACL_ACCESS, value, len);
}

int fs_acl_inherit(struct fs_txn *txn, uint64_t dir, uint64_t ino, struct meta_inode *inode)
{
    void *value;
    size_t len;
    int rc;

    if (S_ISLNK(inode->mode))
        return 0;
    rc = copy_stored(txn, dir, META_ACL_DEFAULT, &value, &len);
    if (rc == -ENOENT) {
        inode->mode &= ~(dax_client.umask & PERMISSIONS);
        return 0;
    }
    if (rc)
        return rc;
    rc = inherit(txn, ino, inode, value, len);
    free(value);
    return rc;
}
