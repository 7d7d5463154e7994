/* SPDX-License-Identifier: MIT */
/*
 * Owns making and removing names, rename excepted. Each call is one transaction that walks, checks
 * and changes. Links of a directory: its name, its ".", and the ".." of each directory in it.
 */
#include "fs/name.h"

#include "base/error.h"
#include "base/futex.h"
#include "fs/vnode.h"

#include <errno.h>
#include <string.h>

/* ---- new names ---- */

/* The place for a new name. */
static int walk_to_new(struct fs_txn *txn, struct fs_at at, bool is_dir, struct fs_place *place)
{
    int rc = fs_walk(txn->meta, at, false, place);

    if (rc)
        return rc;
    if (place->ino)
        return hf_fail(EEXIST, "%.200s exists", at.path);
    return place->slash && !is_dir ? fs_not_there(at) : 0;
}

static int put_new(struct fs_txn *txn, const struct fs_place *place, uint64_t ino,
                   const struct meta_inode *inode)
{
    int rc = meta_inode_put(txn->meta, ino, inode);

    rc = rc ? rc : meta_dirent_put(txn->meta, place->dir, place->name, ino, inode->mode & S_IFMT);
    return rc ? rc : fs_dir_changed(txn, place->dir, S_ISDIR(inode->mode) ? 1 : 0);
}

static int make_inode(struct fs_txn *txn, struct fs_at at, mode_t mode, dev_t rdev,
                      const char *target)
{
    struct meta_inode inode;
    struct fs_place place;
    uint64_t ino;
    int rc = walk_to_new(txn, at, S_ISDIR(mode), &place);

    rc = rc ? rc : fs_inode_new(txn, place.dir, mode, &ino, &inode);
    if (rc)
        return rc;
    inode.rdev = S_ISCHR(mode) || S_ISBLK(mode) ? rdev : 0;
    if (S_ISDIR(mode)) {
        inode.nlink = 2;
        inode.parent = place.dir;
    }
    if (target) {
        inode.size = strlen(target);
        rc = meta_symlink_put(txn->meta, ino, target, inode.size);
    }
    return rc ? rc : put_new(txn, &place, ino, &inode);
}

static int make_node(struct fs *fs, struct fs_at at, mode_t mode, dev_t rdev, const char *target)
{
    struct fs_txn txn;
    int rc = fs_begin(fs, &txn);

    return rc ? rc : fs_txn_end(&txn, make_inode(&txn, at, mode, rdev, target));
}

int fs_mkdir(struct fs *fs, struct fs_at at, mode_t mode)
{
    return make_node(fs, at, S_IFDIR | mode, 0, NULL);
}

int fs_mknod(struct fs *fs, struct fs_at at, mode_t mode, dev_t rdev)
{
    return make_node(fs, at, mode, rdev, NULL);
}

int fs_symlink(struct fs *fs, const char *target, struct fs_at at)
{
    return make_node(fs, at, S_IFLNK | 0777, 0, target);
}

/* *nameless: a file that has lost its last name, or never had one. */
static int add_link(struct fs_txn *txn, struct fs_at from, struct fs_at to, bool *nameless)
{
    struct fs_place old, place;
    struct meta_inode inode;
    int rc = fs_walk_to(txn->meta, from, false, &old);

    if (rc == 0 && S_ISDIR(old.type))
        rc = hf_fail(EPERM, "%.200s is a directory: it has one name", fs_said(from));
    rc = rc ? rc : walk_to_new(txn, to, false, &place);
    rc = rc ? rc : meta_inode_get(txn->meta, old.ino, &inode);
    *nameless = rc == 0 && inode.nlink == 0;
    if (*nameless)
        rc = hf_fail(ENOENT, "%.200s has lost its last name", fs_said(from));
    if (rc == 0 && inode.nlink == UINT32_MAX)
        rc = hf_fail(EMLINK, "%.200s has too many names", fs_said(from));
    if (rc)
        return rc;
    inode.nlink++;
    inode.ctime_ns = hf_wall_ns();
    return put_new(txn, &place, old.ino, &inode);
}

static int link_once(struct fs *fs, struct fs_at from, struct fs_at to, bool *nameless)
{
    struct fs_txn txn;
    int rc = fs_begin(fs, &txn);

    *nameless = false;
    return rc ? rc : fs_txn_end(&txn, add_link(&txn, from, to, nameless));
}

static bool has_name(struct fs *fs, uint64_t ino)
{
    struct meta_inode inode;

    return fs_read_inode(fs, ino, &inode) == 0 && inode.nlink;
}

int fs_link(struct fs *fs, struct fs_at from, struct fs_at to)
{
    bool nameless;
    int rc = link_once(fs, from, to, &nameless);

    if (!nameless || *from.path)
        return rc;
    rc = fs_name_first(fs, from.ino, to, HF_RENAME_NOREPLACE);
    if (rc == -ENOENT && has_name(fs, from.ino)) /* another call has named it meanwhile */
        rc = link_once(fs, from, to, &nameless);
    return rc;
}

/* ---- removing a directory ---- */

static int may_remove_dir(struct fs_txn *txn, const struct fs_place *place, const char *path)
{
    struct meta_dirent entry;
    int rc;

    if (place->last == LAST_DOT)
        return hf_fail(EINVAL, "%.200s ends in a dot", path);
    if (place->last == LAST_DOTDOT)
        return hf_fail(ENOTEMPTY, "%.200s is a parent of what it names", path);
    if (place->last == LAST_ROOT)
        return hf_fail(EBUSY, "the root directory stays");
    if (!S_ISDIR(place->type))
        return hf_fail(ENOTDIR, "%.200s is not a directory", path);
    rc = meta_dirent_next(txn->meta, place->ino, "", &entry);
    if (rc == 0)
        return hf_fail(ENOTEMPTY, "%.200s is not empty", path);
    return rc == -ENOENT ? 0 : rc;
}

static int remove_dir(struct fs_txn *txn, struct fs_at at)
{
    struct meta_inode inode;
    struct fs_place place;
    int rc = fs_walk_to(txn->meta, at, false, &place);

    rc = rc ? rc : may_remove_dir(txn, &place, at.path);
    rc = rc ? rc : fs_check_place(txn->meta, &place, &inode);
    rc = rc ? rc : meta_dirent_del(txn->meta, place.dir, place.name);
    rc = rc ? rc : fs_inode_drop(txn, place.ino);
    return rc ? rc : fs_dir_changed(txn, place.dir, -1);
}

int fs_rmdir(struct fs *fs, struct fs_at at)
{
    struct fs_txn txn;
    int rc = fs_begin_freeing(fs, &txn);

    return rc ? rc : fs_txn_end(&txn, remove_dir(&txn, at));
}
