/* SPDX-License-Identifier: MIT */
/*
 * Owns reading directories. A handle is a place in the order of names, not a snapshot. Each entry
 * is looked up when it is asked for, so an open directory costs the same at any size.
 */
#include "base/error.h"
#include "fs/name.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct hf_dir {
    struct fs *fs;
    uint64_t ino;
    unsigned dots; /* of "." and "..", how many have been told */
    char last[HF_NAME_MAX + 1];
};

struct fs *fs_of_dir(const struct hf_dir *dir)
{
    return dir->fs;
}

int fs_opendir(struct fs *fs, struct fs_at at, struct hf_dir **out)
{
    struct meta_inode inode;
    struct fs_place place;
    struct hf_dir *dir;
    int rc = fs_lookup(fs, at, true, &place, &inode);

    if (rc)
        return rc;
    if (!S_ISDIR(inode.mode))
        return hf_fail(ENOTDIR, "%.200s is not a directory", fs_said(at));
    dir = calloc(1, sizeof *dir);
    if (!dir)
        return hf_fail(ENOMEM, "out of memory");
    dir->fs = fs;
    dir->ino = place.ino;
    hf_add_relaxed(&fs->handles, 1); /* relaxed: a count */
    *out = dir;
    return 0;
}

static void fill_dirent(struct hf_dirent *out, uint64_t ino, uint32_t type, const char *name)
{
    out->ino = ino;
    out->type = type;
    memcpy(out->name, name, strlen(name) + 1);
}

static int read_entry(struct hf_dir *dir, struct meta_txn *txn, struct hf_dirent *out)
{
    struct meta_dirent entry;
    struct meta_inode inode;
    int rc;

    if (dir->dots < 2) {
        rc = meta_inode_get(txn, dir->ino, &inode);
        if (rc)
            return rc;
        dir->dots++;
        fill_dirent(out, dir->dots == 1 ? dir->ino : inode.parent, S_IFDIR,
                    dir->dots == 1 ? "." : "..");
        return 0;
    }
    rc = meta_dirent_next(txn, dir->ino, dir->last, &entry);
    if (rc)
        return rc;
    memcpy(dir->last, entry.name, strlen(entry.name) + 1);
    fill_dirent(out, entry.ino, entry.type, entry.name);
    return 0;
}

/* A directory that was removed meanwhile is at its end. */
int fs_readdir(struct hf_dir *dir, struct hf_dirent *out)
{
    struct meta_txn *txn;
    int rc = meta_begin_read(dir->fs->dax.meta, &txn);

    if (rc)
        return rc;
    rc = read_entry(dir, txn, out);
    meta_end_read(txn);
    if (rc == -ENOENT)
        return 0;
    return rc ? rc : 1;
}

int fs_seekdir(struct hf_dir *dir, const char *name)
{
    size_t len = name ? strlen(name) : 0;

    if (len > HF_NAME_MAX)
        return hf_fail(ENAMETOOLONG, "%.60s...: a name has at most %u bytes", name, HF_NAME_MAX);
    dir->dots = !name ? 0 : strcmp(name, ".") == 0 ? 1 : 2;
    if (dir->dots < 2 || strcmp(name, "..") == 0)
        len = 0;
    memcpy(dir->last, len ? name : "", len + 1);
    return 0;
}

int fs_closedir(struct hf_dir *dir)
{
    hf_sub_acq_rel(&dir->fs->handles, 1);
    free(dir);
    return 0;
}
