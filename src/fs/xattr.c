/* SPDX-License-Identifier: MIT */
/* Owns extended attributes: records beside the inode, one transaction or snapshot a call. acl.c
 * does those that are ACLs. */
#include "base/error.h"
#include "base/futex.h"
#include "fs/acl.h"
#include "fs/name.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int no_attribute(struct fs_at at, const char *name)
{
    return hf_fail(ENODATA, "%.200s has no attribute %.100s", fs_said(at), name);
}

/* ---- reading ---- */

static int begin_look(struct fs *fs, struct fs_at at, struct meta_txn **txn, uint64_t *ino)
{
    struct fs_place place;
    int rc = fs_check_itself(fs, at);

    rc = rc ? rc : meta_begin_read(fs->dax.meta, txn);
    if (rc)
        return rc;
    rc = fs_walk_to(*txn, at, true, &place);
    if (rc)
        meta_end_read(*txn);
    *ino = place.ino;
    return rc;
}

ssize_t fs_getxattr(struct fs *fs, struct fs_at at, const char *name, void *value, size_t len)
{
    struct meta_txn *txn;
    const void *found;
    size_t found_len = 0;
    uint64_t ino;
    int rc = begin_look(fs, at, &txn, &ino);

    if (rc)
        return rc;
    rc = meta_xattr_get(txn, ino, name, &found, &found_len);
    if (rc == -ENOENT)
        rc = no_attribute(at, name);
    else if (rc == 0 && len && found_len > len)
        rc = hf_fail(ERANGE, "the value has %zu bytes", found_len);
    else if (rc == 0 && len)
        memcpy(value, found, found_len);
    meta_end_read(txn);
    return rc ? rc : (ssize_t)found_len;
}

ssize_t fs_listxattr(struct fs *fs, struct fs_at at, char *list, size_t len)
{
    char name[HF_NAME_MAX + 1] = "";
    struct meta_txn *txn;
    size_t used = 0;
    uint64_t ino;
    int rc = begin_look(fs, at, &txn, &ino);

    if (rc)
        return rc;
    while ((rc = meta_xattr_next(txn, ino, name, name)) == 0) {
        size_t bytes = strlen(name) + 1;

        if (len && used + bytes > len) {
            rc = hf_fail(ERANGE, "the names take more than %zu bytes", len);
            break;
        }
        if (len)
            memcpy(list + used, name, bytes);
        used += bytes;
    }
    meta_end_read(txn);
    return rc == -ENOENT ? (ssize_t)used : rc;
}

/* ---- changing ---- */

static int stamp_ctime(struct fs_txn *txn, uint64_t ino)
{
    struct meta_inode inode;
    int rc = meta_inode_get(txn->meta, ino, &inode);

    if (rc)
        return rc;
    inode.ctime_ns = hf_wall_ns();
    return meta_inode_put(txn->meta, ino, &inode);
}

static int begin_change(struct fs *fs, struct fs_at at, struct fs_txn *txn, uint64_t *ino)
{
    struct fs_place place;
    int rc = fs_check_itself(fs, at);

    rc = rc ? rc : fs_begin(fs, txn);
    if (rc)
        return rc;
    rc = fs_walk_to(txn->meta, at, true, &place);
    rc = rc ? rc : stamp_ctime(txn, place.ino);
    if (rc)
        fs_abort(txn);
    *ino = place.ino;
    return rc;
}

static int may_set(struct fs_txn *txn, struct fs_at at, uint64_t ino, const char *name,
                   uint32_t flags)
{
    const void *value;
    size_t len;
    int rc = meta_xattr_get(txn->meta, ino, name, &value, &len);

    if (rc == 0 && flags & HF_XATTR_CREATE)
        return hf_fail(EEXIST, "%.200s has an attribute %.100s", fs_said(at), name);
    if (rc == -ENOENT)
        return flags & HF_XATTR_REPLACE ? no_attribute(at, name) : 0;
    return rc;
}

/* ---- file capabilities ---- */

/* A program that has been changed must lose its capabilities, as on Linux. A transaction that
 * changes content takes them away itself. A write without a transaction takes them away before it
 * writes, so that it can still fail, and looks again afterwards. A process that sets a capability
 * says so first. So either the write came before, or the capability goes. A write can find at its
 * end that one was set meanwhile, and fail to take it away because a wait ended early. Then the
 * call fails, and has to be made again. */
int fs_txn_uncapable(struct fs_txn *txn, uint64_t ino)
{
    int rc;

    if (__builtin_expect(!hf_load_acquire(&txn->fs->dax.shm->run->capable), 1))
        return 0;
    rc = meta_xattr_del(txn->meta, ino, FS_CAPABILITY);
    return rc == -ENOENT ? 0 : rc;
}

/* The look waits for no lock of the pool. For a file without capabilities it fails only where all
 * reading of the metadata does. */
int fs_drop_capability(struct fs *fs, uint64_t ino)
{
    struct meta_txn *look;
    struct fs_txn txn;
    const void *value;
    size_t len;
    int rc = meta_begin_read(fs->dax.meta, &look);

    if (rc)
        return rc;
    rc = meta_xattr_get(look, ino, FS_CAPABILITY, &value, &len);
    meta_end_read(look);
    if (rc)
        return rc == -ENOENT ? 0 : rc;
    rc = fs_begin(fs, &txn);
    return rc ? rc : fs_txn_end(&txn, fs_txn_uncapable(&txn, ino));
}

static int set_copied(struct fs *fs, struct fs_at at, const char *name, const void *value,
                      size_t len, uint32_t flags)
{
    bool acl = fs_acl_is(name);
    struct fs_txn txn;
    uint64_t ino;
    int rc = acl ? fs_acl_check(value, len) : 0;

    if (strcmp(name, FS_CAPABILITY) == 0)
        hf_store_release(&fs->dax.shm->run->capable, 1u);
    rc = rc ? rc : begin_change(fs, at, &txn, &ino);
    if (rc)
        return rc;
    rc = may_set(&txn, at, ino, name, flags);
    if (rc == 0 && acl)
        rc = fs_acl_set(&txn, ino, name, value, len);
    else if (rc == 0)
        rc = meta_xattr_put(txn.meta, ino, name, value, len);
    return fs_txn_end(&txn, rc);
}

/* The value is copied first, since the transaction holds the lock of the whole pool. The caller's
 * memory may be slow to arrive, or change meanwhile. */
int fs_setxattr(struct fs *fs, struct fs_at at, const char *name, const void *value, size_t len,
                uint32_t flags)
{
    void *copy = malloc(len + 1);
    int rc;

    if (!copy)
        return hf_fail(ENOMEM, "no memory for a value of %zu bytes", len);
    if (len)
        memcpy(copy, value, len);
    rc = set_copied(fs, at, name, copy, len, flags);
    free(copy);
    return rc;
}

int fs_removexattr(struct fs *fs, struct fs_at at, const char *name)
{
    struct fs_txn txn;
    uint64_t ino;
    int rc = begin_change(fs, at, &txn, &ino);

    if (rc)
        return rc;
    if (fs_acl_is(name))
        return fs_txn_end(&txn, fs_acl_set(&txn, ino, name, NULL, 0));
    rc = meta_xattr_del(txn.meta, ino, name);
    return fs_txn_end(&txn, rc == -ENOENT ? no_attribute(at, name) : rc);
}
