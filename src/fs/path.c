/* SPDX-License-Identifier: MIT */
/*
 * Owns both ways between a path and an inode. The walk along a path runs inside the transaction
 * that acts on what it finds. So nothing changes between the look and the act, and the targets of
 * links can be read where they lie. What is still to be walked is a stack. At the bottom is the
 * rest of the given path, and above it the rest of each link inside it.
 *
 * The way from an inode to a path goes from the inode up to the root, in one snapshot.
 */
#include "fs/name.h"

#include "base/error.h"
#include "fs/vnode.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define LINKS_MAX 40u

struct rest {
    const char *at, *end;
    bool slash; /* one follows its end */
};

struct walk {
    struct meta_txn *txn;
    struct fs_at at; /* as it was given */
    bool follow;
    unsigned links;
    uint64_t dir;
    struct rest *top;
    struct rest rest[1 + LINKS_MAX];
};

int fs_not_there(struct fs_at at)
{
    return hf_fail(ENOENT, "%.200s: there is no such file or directory", fs_said(at));
}

int fs_stale(uint64_t ino)
{
    return hf_fail(ESTALE, "inode %" PRIu64 " is gone", ino);
}

static int too_long(const char *path)
{
    return hf_fail(ENAMETOOLONG, "%.60s...: a name has at most %u bytes, a path %u", path,
                   HF_NAME_MAX, HF_SYMLINK_MAX);
}

/* Takes rests that have ended off the stack, except the last one; true: there was a slash. */
static bool skip_slashes(struct walk *w)
{
    bool skipped = false;

    for (;;) {
        if (w->top->at < w->top->end && *w->top->at != '/')
            return skipped;
        if (w->top->at < w->top->end) {
            skipped = true;
            w->top->at++;
        } else {
            skipped |= w->top->slash;
            if (w->top == w->rest)
                return skipped;
            w->top--;
        }
    }
}

static bool at_end(const struct walk *w)
{
    return w->top->at == w->top->end;
}

/* Cuts the next component off. */
static int cut_name(struct walk *w, struct fs_place *place)
{
    size_t left = (size_t)(w->top->end - w->top->at);
    const char *slash = memchr(w->top->at, '/', left);
    size_t len = slash ? (size_t)(slash - w->top->at) : left;

    if (len > HF_NAME_MAX)
        return too_long(w->at.path);
    memcpy(place->name, w->top->at, len);
    place->name[len] = 0;
    w->top->at += len;
    place->slash = skip_slashes(w);
    return 0;
}

/* Puts the link's target in front of the rest. */
static int enter_link(struct walk *w, const struct fs_place *place)
{
    const char *target;
    size_t len;
    int rc;

    if (++w->links > LINKS_MAX)
        return hf_fail(ELOOP, "%.200s: more than %u symbolic links", w->at.path, LINKS_MAX);
    rc = meta_symlink_get(w->txn, place->ino, &target, &len);
    if (rc)
        return rc == -ENOENT
                   ? hf_fail(EUCLEAN, "inode %" PRIu64 " is a symbolic link without a target",
                             place->ino)
                   : rc;
    *++w->top = (struct rest){.at = target, .end = target + len, .slash = place->slash};
    if (*target == '/')
        w->dir = META_ROOT_INO;
    skip_slashes(w);
    return 0;
}

static int step_up(struct walk *w)
{
    struct meta_inode inode;
    int rc = meta_inode_get(w->txn, w->dir, &inode);

    if (rc == -ENOENT || (rc == 0 && inode.parent == 0))
        return hf_fail(EUCLEAN, "directory %" PRIu64 " has no parent", w->dir);
    if (rc == 0)
        w->dir = inode.parent;
    return rc;
}

static int ends_in(const struct walk *w, enum fs_last last, struct fs_place *place)
{
    place->last = last;
    place->dir = place->ino = w->dir;
    place->type = S_IFDIR;
    return 0;
}

/* A component that is not a dot. 1: the walk goes on. */
static int step_down(struct walk *w, struct fs_place *place)
{
    bool is_last = at_end(w);
    struct meta_dirent entry;
    int rc = meta_dirent_get(w->txn, w->dir, place->name, &entry);

    place->last = LAST_NAME;
    place->dir = w->dir;
    place->ino = 0;
    if (rc == -ENOENT)
        return is_last ? 0 : fs_not_there(w->at);
    if (rc)
        return rc;
    place->ino = entry.ino;
    place->type = entry.type;
    if (S_ISLNK(entry.type) && (!is_last || w->follow || place->slash)) {
        rc = enter_link(w, place);
        return rc ? rc : 1;
    }
    if (is_last && !(place->slash && !S_ISDIR(entry.type)))
        return 0;
    if (!S_ISDIR(entry.type))
        return hf_fail(ENOTDIR, "%.200s: %.100s is not a directory", w->at.path, place->name);
    w->dir = entry.ino;
    return 1;
}

/* One component. 1: the walk goes on. */
static int step(struct walk *w, struct fs_place *place)
{
    int rc;

    if (at_end(w)) /* all slashes, or a link to a directory that ended in one */
        return ends_in(w, LAST_ROOT, place);
    rc = cut_name(w, place);
    if (rc)
        return rc;
    if (strcmp(place->name, ".") != 0 && strcmp(place->name, "..") != 0)
        return step_down(w, place);
    if (place->name[1])
        rc = step_up(w);
    if (rc || !at_end(w))
        return rc ? rc : 1;
    return ends_in(w, place->name[1] ? LAST_DOTDOT : LAST_DOT, place);
}

static int type_of(struct meta_txn *txn, uint64_t ino, uint32_t *type)
{
    struct meta_inode inode;
    int rc = meta_inode_get(txn, ino, &inode);

    if (rc == 0)
        *type = inode.mode & S_IFMT;
    return rc == -ENOENT ? fs_stale(ino) : rc;
}

/* The directory that the path starts in. */
static int find_start(struct walk *w)
{
    uint32_t type = S_IFDIR;
    int rc = 0;

    w->dir = *w->at.path == '/' ? META_ROOT_INO : w->at.ino;
    if (w->dir != META_ROOT_INO)
        rc = type_of(w->txn, w->dir, &type);
    if (rc == 0 && !S_ISDIR(type))
        rc = hf_fail(ENOTDIR, "%.200s starts at inode %" PRIu64 ", which is not a directory",
                     w->at.path, w->dir);
    return rc;
}

int fs_walk(struct meta_txn *txn, struct fs_at at, bool follow, struct fs_place *place)
{
    size_t len = strlen(at.path);
    struct walk w;
    int rc;

    memset(place, 0, offsetof(struct fs_place, name) + 1);
    if (len == 0) {
        place->last = LAST_ITSELF;
        place->ino = at.ino;
        return type_of(txn, at.ino, &place->type);
    }
    if (len > HF_SYMLINK_MAX)
        return too_long(at.path);
    w.txn = txn;
    w.at = at;
    w.follow = follow;
    w.links = 0;
    w.top = w.rest;
    w.rest[0] = (struct rest){.at = at.path, .end = at.path + len};
    skip_slashes(&w);
    rc = find_start(&w);
    if (rc)
        return rc;
    do
        rc = step(&w, place);
    while (rc == 1);
    return rc;
}

int fs_walk_to(struct meta_txn *txn, struct fs_at at, bool follow, struct fs_place *place)
{
    int rc = fs_walk(txn, at, follow, place);

    return rc == 0 && place->ino == 0 ? fs_not_there(at) : rc;
}

/* A file without names is there as long as it is open somewhere. 1: it may have got its first name
 * since its record was read, and been closed after that. */
static int look_for_opener(struct fs *fs, uint64_t ino, const struct meta_inode *inode)
{
    struct meta_inode now;
    int rc = fs_vnode_in_use(fs, ino);

    if (rc)
        return rc < 0 ? rc : 0;
    rc = fs_read_inode(fs, ino, &now);
    if (rc == 0 && (now.nlink || now.ctime_ns != inode->ctime_ns)) /* a tick of it may be long */
        return 1;
    return rc == 0 || rc == -ENOENT ? fs_stale(ino) : rc;
}

/* 1: the file has been deleted since the walk, or has lost its last name, so another may have its
 * name. */
static int look_at_file(struct fs *fs, uint64_t ino, struct meta_inode *inode)
{
    bool has_names = inode->nlink;
    int rc = fs_vnode_overlay(fs, ino, inode);

    if (rc)
        return rc == -ENOENT ? 1 : rc;
    return has_names && !inode->nlink;
}

/* 1: it has changed meanwhile. */
static int look_once(struct fs *fs, struct fs_at at, bool follow, struct fs_place *place,
                     struct meta_inode *inode)
{
    struct meta_txn *txn;
    int rc = meta_begin_read(fs->dax.meta, &txn);

    if (rc)
        return rc;
    rc = fs_walk_to(txn, at, follow, place);
    if (rc == 0)
        rc = meta_inode_get(txn, place->ino, inode);
    meta_end_read(txn);
    if (rc == -ENOENT && place->ino)
        return hf_fail(EUCLEAN, "%.200s: its inode %" PRIu64 " is missing", at.path, place->ino);
    if (rc == 0 && !*at.path && inode->nlink == 0)
        rc = look_for_opener(fs, at.ino, inode);
    if (rc == 0 && S_ISREG(inode->mode))
        rc = look_at_file(fs, place->ino, inode);
    return rc;
}

int fs_lookup(struct fs *fs, struct fs_at at, bool follow, struct fs_place *place,
              struct meta_inode *inode)
{
    int rc;

    do
        rc = look_once(fs, at, follow, place, inode);
    while (rc == 1);
    return rc;
}

int fs_check_itself(struct fs *fs, struct fs_at at)
{
    struct meta_inode inode;
    struct fs_place place;

    return *at.path ? 0 : fs_lookup(fs, at, false, &place, &inode);
}

/* ---- from an inode to a path ---- */

/* A path that grows from its end. */
struct path {
    char text[HF_SYMLINK_MAX + 1];
    size_t at;
};

static int put_front(struct path *path, const char *name)
{
    size_t len = strlen(name);

    if (len + 1 > path->at)
        return hf_fail(ENAMETOOLONG, "the path is longer than %u bytes", HF_SYMLINK_MAX);
    path->at -= len;
    memcpy(path->text + path->at, name, len);
    path->text[--path->at] = '/';
    return 0;
}

static int name_in(struct meta_txn *txn, uint64_t dir, uint64_t ino, struct meta_dirent *entry)
{
    int rc;

    entry->name[0] = 0;
    while ((rc = meta_dirent_next(txn, dir, entry->name, entry)) == 0 && entry->ino != ino)
        ;
    return rc;
}

/* The first directory that has a name of it. */
static int find_name(struct meta_txn *txn, uint64_t ino, uint64_t *dir, struct meta_dirent *entry)
{
    struct meta_inode inode;
    int rc;

    for (*dir = 0; (rc = meta_inode_next(txn, dir, &inode)) == 0; (*dir)++) {
        if (!S_ISDIR(inode.mode))
            continue;
        rc = name_in(txn, *dir, ino, entry);
        if (rc != -ENOENT)
            return rc;
    }
    return rc;
}

/* A directory knows its parent, so only the last step has to look everywhere. Each step up makes
 * the path longer, so a loop of a damaged pool ends. */
static int build_path(struct meta_txn *txn, uint64_t ino, struct path *path)
{
    struct meta_inode inode;
    struct meta_dirent entry;
    int rc = 0;

    while (ino != META_ROOT_INO) {
        uint64_t dir;

        rc = meta_inode_get(txn, ino, &inode);
        if (rc)
            return rc;
        dir = inode.parent;
        rc = S_ISDIR(inode.mode) ? name_in(txn, dir, ino, &entry)
                                 : find_name(txn, ino, &dir, &entry);
        rc = rc ? rc : put_front(path, entry.name);
        if (rc)
            return rc;
        ino = dir;
    }
    return path->text[path->at] ? 0 : put_front(path, "");
}

int fs_path(struct fs *fs, uint64_t ino, char *buf, size_t len)
{
    struct path path = {.at = HF_SYMLINK_MAX};
    struct meta_txn *txn;
    size_t bytes;
    int rc = meta_begin_read(fs->dax.meta, &txn);

    if (rc)
        return rc;
    rc = build_path(txn, ino, &path);
    meta_end_read(txn);
    if (rc == -ENOENT)
        return hf_fail(ENOENT, "inode %" PRIu64 " has no name", ino);
    if (rc)
        return rc;
    bytes = sizeof path.text - path.at;
    if (bytes > len)
        return hf_fail(ERANGE, "the path takes %zu bytes", bytes);
    memcpy(buf, path.text + path.at, bytes);
    return 0;
}
