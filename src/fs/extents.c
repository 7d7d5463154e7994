/* SPDX-License-Identifier: MIT */
/*
 * Owns listing extents and finding names of inodes. The list is taken in one snapshot and told
 * after the snapshot has ended, so the callback may use the library.
 */
#include "base/error.h"
#include "fs/fs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- extents ---- */

struct list {
    struct hf_extent_info *info;
    size_t count, room;
};

static int add_run(void *arg, const struct meta_run *run)
{
    struct list *list = arg;

    if (list->count == list->room) {
        size_t room = list->room ? list->room * 2 : 256;
        struct hf_extent_info *more = realloc(list->info, room * sizeof *more);

        if (!more)
            return hf_fail(ENOMEM, "no memory for a list of %zu extents", room);
        list->info = more;
        list->room = room;
    }
    list->info[list->count++] = (struct hf_extent_info){.ino = run->ino,
                                                        .off = run->page * HF_BLOCK_BYTES,
                                                        .len = run->count * HF_BLOCK_BYTES,
                                                        .block = run->block,
                                                        .detached = run->detached};
    return 0;
}

int fs_extents(struct fs *fs, uint64_t ino,
               int (*each)(void *arg, const struct hf_extent_info *info), void *arg)
{
    struct list list = {0};
    struct meta_txn *txn;
    int rc = meta_begin_read(fs->dax.meta, &txn);

    if (rc)
        return rc;
    rc = meta_runs_each(txn, ino, add_run, &list);
    meta_end_read(txn);
    for (size_t i = 0; rc == 0 && i < list.count; i++)
        rc = each(arg, &list.info[i]);
    free(list.info);
    return rc;
}

/* ---- paths ---- */

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
static int build(struct meta_txn *txn, uint64_t ino, struct path *path)
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
    rc = build(txn, ino, &path);
    meta_end_read(txn);
    if (rc == -ENOENT)
        return hf_fail(ENOENT, "inode %llu has no name", (unsigned long long)ino);
    if (rc)
        return rc;
    bytes = sizeof path.text - path.at;
    if (bytes > len)
        return hf_fail(ERANGE, "the path takes %zu bytes", bytes);
    memcpy(buf, path.text + path.at, bytes);
    return 0;
}
