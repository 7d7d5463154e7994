/* SPDX-License-Identifier: MIT */
/*
 * Owns the requests about names. The kernel checks permissions before it asks
 * (default_permissions), walks paths and follows links itself: a request has a directory's number
 * and one name. Meanwhile it holds a lock on the directory in the kernel. So none of these requests
 * waits for pins: blocks of a removed file are detached where they are held.
 */
#include "private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

static const struct hf_policy detach = {.kind = HF_POLICY_DETACH};

/* Replies with what `name` is now. The kernel keeps it as long as the mount's options say. It never
 * keeps that a name is missing. */
static void reply_entry(fuse_req_t req, struct mount *mount, int result, fuse_ino_t parent,
                        const char *name)
{
    struct fuse_entry_param entry = {0};
    ssize_t rc = result;

    if (rc == 0) {
        rc = mount_lookup(mount, parent, name, &entry.attr);
        if (rc == -EAGAIN || rc == -ENOLCK)
            mount_call_made(parent, name);
    }
    if (!mount_call_leave(req, &rc))
        return;
    entry.ino = entry.attr.st_ino;
    entry.entry_timeout = mount->entry_seconds;
    entry.attr_timeout = mount_attr_seconds(mount, entry.attr.st_mode);
    if (rc)
        fuse_reply_err(req, (int)-rc);
    else
        fuse_reply_entry(req, &entry);
}

/* The kernel looks "." up to find the inode of a file handle, of any type, after dropping it. */
void on_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct mount *mount = mount_call_enter(req);

    reply_entry(req, mount, 0, parent, strcmp(name, ".") == 0 ? "" : name);
}

void on_forget(fuse_req_t req, fuse_ino_t ino, uint64_t count)
{
    struct mount *mount = fuse_req_userdata(req);

    (void)count;
    mount_files_evict(mount, ino);
    mount_inode_forget(mount->inodes, ino);
    fuse_reply_none(req);
}

void on_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
    struct mount *mount = mount_call_enter(req);

    reply_entry(req, mount, hf_mknodat(mount->pool, parent, name, mode, rdev), parent, name);
}

void on_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
    struct mount *mount = mount_call_enter(req);

    reply_entry(req, mount, hf_mkdirat(mount->pool, parent, name, mode & 07777), parent, name);
}

void on_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
    struct mount *mount = mount_call_enter(req);

    reply_entry(req, mount, hf_symlinkat(mount->pool, target, parent, name), parent, name);
}

void on_readlink(fuse_req_t req, fuse_ino_t ino)
{
    struct mount *mount = mount_call_enter(req);
    char target[HF_SYMLINK_MAX + 1];
    ssize_t rc = hf_readlinkat(mount->pool, ino, "", target, sizeof target - 1);

    if (rc == -ESTALE)
        rc = mount_lookup_target(mount->lookups, ino, target, sizeof target - 1);
    if (!mount_call_leave(req, &rc))
        return;
    if (rc < 0) {
        fuse_reply_err(req, (int)-rc);
        return;
    }
    target[rc] = '\0';
    fuse_reply_readlink(req, target);
}

void on_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
    struct mount *mount = mount_call_enter(req);

    reply_entry(req, mount, hf_linkat(mount->pool, ino, "", parent, name), parent, name);
}

/* Also for O_TMPFILE: a file without a name. The kernel lets it get one (on_link()), unless it was
 * opened with O_EXCL. */
void on_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
               struct fuse_file_info *fi)
{
    struct mount *mount = mount_call_enter(req);
    bool unnamed = mount_call_header()->opcode == FUSE_TMPFILE;
    int flags = O_RDWR | (unnamed ? O_TMPFILE : O_CREAT | O_EXCL);
    struct fuse_entry_param entry = {0};
    struct hf_file *file;
    ssize_t rc = mount_file_open(mount, parent, unnamed ? "" : name, flags, mode & 07777, &file);

    /* Another process made it since the kernel looked: the kernel looks again, and opens that. */
    if (rc == -EEXIST && !(fi->flags & O_EXCL))
        rc = -ESTALE;
    if (rc == 0) {
        rc = hf_fstat(file, &entry.attr);
        rc = rc ? rc : mount_file_answer(mount, file, entry.attr.st_ino, fi);
        if (rc)
            mount_file_close(mount, file);
    }
    if (!mount_call_leave(req, &rc))
        return;
    entry.ino = entry.attr.st_ino;
    entry.entry_timeout = mount->entry_seconds;
    entry.attr_timeout = mount->attr_seconds;
    if (rc)
        fuse_reply_err(req, (int)-rc);
    else if (fuse_reply_create(req, &entry, fi) == -ENOENT)
        mount_file_abandon(mount, entry.ino, fi);
}

/* ---- removing ---- */

/* Whether an inode is about to lose its last name. It is then no longer kept for the kernel's
 * cache, and counts as gone from here on. Its last attributes are asked for only when the pool has
 * it no more, and another request may ask as soon as that is so. */
static bool is_last_name(struct mount *mount, fuse_ino_t parent, const char *name, struct stat *out)
{
    if (hf_statat(mount->pool, parent, name, HF_AT_NOFOLLOW, out) != 0 ||
        (!S_ISDIR(out->st_mode) && out->st_nlink != 1))
        return false;
    mount_inode_gone(mount->inodes, out);
    mount_files_evict(mount, out->st_ino);
    return true;
}

/* Evicted once more, since a program may have closed the file meanwhile, or another process have
 * removed another name of it. */
static void forget_name(struct mount *mount, const struct stat *last, bool is_last, int rc)
{
    if (rc == 0)
        mount_files_evict(mount, last->st_ino);
    else if (is_last)
        mount_inode_forget(mount->inodes, last->st_ino); /* it is not gone */
}

/* Engines that count cannot detach, and another process can have a layout change of the file under
 * way. But a file that is open when it loses its last name goes with its last close and its last
 * pin. */
static int unlink_open(struct mount *mount, fuse_ino_t parent, const char *name)
{
    struct hf_file *file;
    int rc = hf_openat(mount->pool, parent, name, O_RDONLY | O_NOFOLLOW, 0, &file);

    if (rc)
        return rc;
    rc = hf_unlinkat(mount->pool, parent, name, NULL);
    hf_close(file);
    return rc;
}

void on_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct mount *mount = mount_call_enter(req);
    struct stat last = {0};
    bool is_last = is_last_name(mount, parent, name, &last);
    int rc = hf_unlinkat(mount->pool, parent, name, &detach);

    if (rc == -EOPNOTSUPP || rc == -EAGAIN)
        rc = unlink_open(mount, parent, name);
    forget_name(mount, &last, is_last, rc);
    mount_call_reply(req, rc);
}

void on_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct mount *mount = mount_call_enter(req);
    struct stat last = {0};
    bool is_last = is_last_name(mount, parent, name, &last);
    int rc = hf_rmdirat(mount->pool, parent, name);

    forget_name(mount, &last, is_last, rc);
    mount_call_reply(req, rc);
}

void on_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t to_parent,
               const char *to_name, unsigned flags)
{
    struct mount *mount = mount_call_enter(req);
    uint32_t how = (flags & RENAME_NOREPLACE ? HF_RENAME_NOREPLACE : 0) |
                   (flags & RENAME_EXCHANGE ? HF_RENAME_EXCHANGE : 0) |
                   (flags & RENAME_WHITEOUT ? HF_RENAME_WHITEOUT : 0);
    bool replaces = !(flags & (RENAME_NOREPLACE | RENAME_EXCHANGE));
    struct stat last = {0};
    bool is_last = replaces && is_last_name(mount, to_parent, to_name, &last);
    int rc = flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT)
                 ? -EINVAL
                 : hf_renameat(mount->pool, parent, name, to_parent, to_name, how);

    forget_name(mount, &last, is_last, rc);
    mount_call_reply(req, rc);
}
