/* SPDX-License-Identifier: MIT */
/*
 * Owns hf_rename(): one transaction. A replaced regular file becomes an orphan in it and is deleted
 * right after, or with its last close.
 *
 * Owns also the first name of a file that was made without one. The last close of the file would
 * delete it, and decides so under the layout mutex. So that mutex is held here from the look at
 * `orphan` until the file is marked as having a name.
 */
#include "base/error.h"
#include "base/futex.h"
#include "fs/name.h"
#include "fs/orphan.h"
#include "fs/vnode.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define DEPTH_MAX (UINT64_C(1) << 20) /* of directories; the count of inodes may be damaged */

struct renaming {
    struct fs_txn *txn;
    struct fs_at from_at, to_at;
    struct fs_place from, to;
    struct meta_inode from_inode, to_inode; /* before the changes */
    uint64_t orphan;                        /* inode that lost its last name; 0: none */
};

static int check_last_part(const struct fs_place *place, const char *path)
{
    if (place->last == LAST_NAME)
        return 0;
    return hf_fail(EBUSY, "%.200s: \".\", \"..\" and the root cannot be renamed", path);
}

/* Whether `ino` is `dir` or one of the directories above it. */
static int is_above(struct meta_txn *txn, uint64_t ino, uint64_t dir)
{
    struct meta_super super;
    int rc = meta_super_get(txn, &super);

    for (uint64_t steps = 0; rc == 0 && steps <= super.inodes && steps < DEPTH_MAX; steps++) {
        struct meta_inode inode;

        if (dir == ino)
            return 1;
        if (dir == META_ROOT_INO)
            return 0;
        rc = meta_inode_get(txn, dir, &inode);
        if (rc == 0)
            dir = inode.parent;
    }
    return rc == 0 || rc == -ENOENT ? hf_fail(EUCLEAN, "directory %" PRIu64 " is in no tree", dir)
                                    : rc;
}

static int check_loop(struct renaming *r, const struct fs_place *what, const struct fs_place *where)
{
    int rc = S_ISDIR(what->type) ? is_above(r->txn->meta, what->ino, where->dir) : 0;

    if (rc != 1)
        return rc;
    return hf_fail(EINVAL, "%.200s cannot go into itself, to %.200s", r->from_at.path,
                   r->to_at.path);
}

static int check_replaced(struct renaming *r)
{
    struct meta_dirent entry;
    int rc;

    if (S_ISDIR(r->from.type) && !S_ISDIR(r->to.type))
        return hf_fail(ENOTDIR, "%.200s is not a directory", r->to_at.path);
    if (!S_ISDIR(r->from.type) && S_ISDIR(r->to.type))
        return hf_fail(EISDIR, "%.200s is a directory", r->to_at.path);
    if (!S_ISDIR(r->to.type))
        return 0;
    rc = meta_dirent_next(r->txn->meta, r->to.ino, "", &entry);
    if (rc == 0)
        return hf_fail(ENOTEMPTY, "%.200s is not empty", r->to_at.path);
    return rc == -ENOENT ? 0 : rc;
}

static int find_places(struct renaming *r, uint32_t flags)
{
    int rc = fs_walk_to(r->txn->meta, r->from_at, false, &r->from);

    rc = rc ? rc : fs_walk(r->txn->meta, r->to_at, false, &r->to);
    if (rc == 0 && r->to.ino && flags & HF_RENAME_NOREPLACE)
        return hf_fail(EEXIST, "%.200s exists", r->to_at.path);
    rc = rc ? rc : check_last_part(&r->from, r->from_at.path);
    rc = rc ? rc : check_last_part(&r->to, r->to_at.path);
    if (rc)
        return rc;
    if (!r->to.ino && flags & HF_RENAME_EXCHANGE)
        return fs_not_there(r->to_at);
    if (r->to.slash && !r->to.ino && !S_ISDIR(r->from.type))
        return hf_fail(ENOTDIR, "%.200s is not a directory", r->from_at.path);
    return 0;
}

/* ---- changing ---- */

/* The moved inode gets its time, and a directory its parent. */
static int record_move(struct fs_txn *txn, uint64_t ino, struct meta_inode *inode, uint64_t dir)
{
    inode->ctime_ns = hf_wall_ns();
    if (S_ISDIR(inode->mode))
        inode->parent = dir;
    return meta_inode_put(txn->meta, ino, inode);
}

static int dirs_changed(struct renaming *r, int from_links, int to_links)
{
    int rc;

    if (r->from.dir == r->to.dir)
        return fs_dir_changed(r->txn, r->from.dir, from_links + to_links);
    rc = fs_dir_changed(r->txn, r->from.dir, from_links);
    return rc ? rc : fs_dir_changed(r->txn, r->to.dir, to_links);
}

static int drop_replaced(struct renaming *r)
{
    bool orphan;
    int rc;

    if (S_ISDIR(r->to.type))
        return fs_inode_drop(r->txn, r->to.ino);
    rc = fs_inode_unlinked(r->txn, r->to.ino, &orphan);
    if (rc == 0 && orphan)
        r->orphan = r->to.ino;
    return rc;
}

/* Frees the old name, or leaves a whiteout under it. */
static int leave_old_name(struct renaming *r, bool whiteout)
{
    struct meta_inode inode;
    uint64_t ino;
    int rc;

    if (!whiteout)
        return meta_dirent_del(r->txn->meta, r->from.dir, r->from.name);
    rc = fs_inode_new(r->txn, r->from.dir, S_IFCHR, &ino, &inode);
    rc = rc ? rc : meta_inode_put(r->txn->meta, ino, &inode);
    return rc ? rc : meta_dirent_put(r->txn->meta, r->from.dir, r->from.name, ino, S_IFCHR);
}

static int replace(struct renaming *r, bool whiteout)
{
    int links = S_ISDIR(r->from.type) ? 1 : 0;
    int rc = check_loop(r, &r->from, &r->to);

    if (rc == 0 && r->to.ino) {
        rc = check_replaced(r);
        rc = rc ? rc : drop_replaced(r);
    }
    rc = rc ? rc : leave_old_name(r, whiteout);
    rc = rc ? rc : meta_dirent_put(r->txn->meta, r->to.dir, r->to.name, r->from.ino, r->from.type);
    rc = rc ? rc : record_move(r->txn, r->from.ino, &r->from_inode, r->to.dir);
    return rc ? rc : dirs_changed(r, -links, r->to.ino ? 0 : links);
}

static int exchange(struct renaming *r)
{
    int links = (S_ISDIR(r->from.type) ? 1 : 0) - (S_ISDIR(r->to.type) ? 1 : 0);
    int rc = check_loop(r, &r->from, &r->to);

    rc = rc ? rc : check_loop(r, &r->to, &r->from);
    rc = rc ? rc : meta_dirent_put(r->txn->meta, r->to.dir, r->to.name, r->from.ino, r->from.type);
    rc = rc ? rc : meta_dirent_put(r->txn->meta, r->from.dir, r->from.name, r->to.ino, r->to.type);
    rc = rc ? rc : record_move(r->txn, r->from.ino, &r->from_inode, r->to.dir);
    rc = rc ? rc : record_move(r->txn, r->to.ino, &r->to_inode, r->from.dir);
    return rc ? rc : dirs_changed(r, -links, links);
}

/* ---- a file that has no name yet ---- */

static int put_first_name(struct renaming *r, uint32_t flags)
{
    struct meta_inode inode;
    int rc = fs_walk(r->txn->meta, r->to_at, false, &r->to);

    if (rc == 0 && r->to.ino && flags & HF_RENAME_NOREPLACE)
        return hf_fail(EEXIST, "%.200s exists", r->to_at.path);
    rc = rc ? rc : check_last_part(&r->to, r->to_at.path);
    if (rc == 0 && r->to.slash)
        rc = hf_fail(ENOTDIR, "%.200s ends in a slash", r->to_at.path);
    rc = rc ? rc : meta_inode_get(r->txn->meta, r->from.ino, &inode);
    if (rc == 0 && r->to.ino) {
        rc = fs_check_place(r->txn->meta, &r->to, &r->to_inode);
        rc = rc ? rc : check_replaced(r);
        rc = rc ? rc : drop_replaced(r);
    }
    if (rc)
        return rc;
    inode.nlink = 1;
    inode.ctime_ns = hf_wall_ns();
    rc = meta_inode_put(r->txn->meta, r->from.ino, &inode);
    rc = rc ? rc : meta_orphan_del(r->txn->meta, r->from.ino);
    rc = rc ? rc : meta_dirent_put(r->txn->meta, r->to.dir, r->to.name, r->from.ino, S_IFREG);
    return rc ? rc : fs_dir_changed(r->txn, r->to.dir, 0);
}

int fs_name_in(struct fs_txn *txn, const struct shm_vnode *vnode, struct fs_first_name *name)
{
    struct renaming r = {
        .txn = txn, .from = {.ino = vnode->ino, .type = S_IFREG}, .to_at = name->to};
    int rc;

    shm_assert_held(&vnode->mutex);
    if (hf_load_acquire(&vnode->orphan) != SHM_ORPHAN_UNNAMED)
        return hf_fail(ENOENT, "inode %" PRIu64 " was not made to get a name later (O_TMPFILE)",
                       vnode->ino);
    rc = put_first_name(&r, name->flags);
    name->orphan = r.orphan;
    return rc;
}

void fs_named(struct shm_vnode *vnode)
{
    shm_assert_held(&vnode->mutex);
    hf_store_release(&vnode->orphan, 0u);
}

/* Under the layout mutex of the file. */
static int name_locked(struct fs *fs, struct shm_vnode *vnode, struct fs_first_name *name)
{
    struct fs_txn txn;
    int rc = fs_begin(fs, &txn);

    shm_assert_held(&vnode->mutex);
    rc = rc ? rc : fs_txn_end(&txn, fs_name_in(&txn, vnode, name));
    if (rc == 0)
        fs_named(vnode);
    return rc;
}

int fs_name_first(struct fs *fs, uint64_t ino, struct fs_at to, uint32_t flags)
{
    struct fs_first_name name = {.to = to, .flags = flags};
    struct meta_inode inode;
    struct fs_place place;
    struct shm_vnode *vnode;
    int rc = fs_lookup(fs, (struct fs_at){ino, ""}, false, &place, &inode);

    if (rc == 0 && !S_ISREG(inode.mode))
        rc = hf_fail(ENOENT, "the path is empty");
    if (rc)
        return rc;
    rc = fs_vnode_open(fs, ino, &vnode);
    if (rc)
        return rc == -ENOENT ? fs_stale(ino) : rc;
    rc = dax_lock_any(&fs->dax, vnode);
    if (rc == 0) {
        rc = name_locked(fs, vnode, &name);
        dax_unlock(&fs->dax, vnode);
    }
    fs_vnode_close(fs, vnode);
    if (rc == 0 && name.orphan)
        fs_orphan_made(fs, name.orphan);
    return rc;
}

int fs_rename(struct fs *fs, struct fs_at from, struct fs_at to, uint32_t flags)
{
    struct fs_txn txn;
    struct renaming r = {.txn = &txn, .from_at = from, .to_at = to};
    int rc;

    if (!*from.path)
        return fs_name_first(fs, from.ino, to, flags);
    rc = fs_begin(fs, r.txn);
    if (rc)
        return rc;
    rc = find_places(&r, flags);
    if (rc || r.from.ino == r.to.ino) { /* two names of one file: nothing to do */
        fs_abort(r.txn);
        return rc;
    }
    rc = fs_check_place(r.txn->meta, &r.from, &r.from_inode);
    if (rc == 0 && r.to.ino)
        rc = fs_check_place(r.txn->meta, &r.to, &r.to_inode);
    if (rc == 0)
        rc = flags & HF_RENAME_EXCHANGE ? exchange(&r) : replace(&r, flags & HF_RENAME_WHITEOUT);
    rc = fs_txn_end(r.txn, rc);
    if (rc == 0 && r.orphan)
        fs_orphan_made(fs, r.orphan);
    return rc;
}
