/* SPDX-License-Identifier: MIT */
/*
 * Owns reading directories. A handle is a place in the order of names, not a snapshot. Each entry
 * is as it is when it is asked for, and an open directory costs the same at any size. While the
 * pool's metadata do not change, entries are looked up some at a time.
 */
#include "base/error.h"
#include "fs/name.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ENTRIES_AHEAD 16u

struct hf_dir {
    struct fs *fs;
    uint64_t ino;
    unsigned dots; /* of "." and "..", how many have been told */
    char last[HF_NAME_MAX + 1];
    uint64_t snapshot; /* in which the entries were found, */
    unsigned found, told;
    struct meta_dirent entries[ENTRIES_AHEAD];
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

/* As long as nothing changes, twice as many as the last time. A program that removes what it reads
 * has no use for them. */
static int find_entries(struct hf_dir *dir, struct meta_txn *txn)
{
    uint64_t snapshot = meta_snapshot_number(txn);
    unsigned want = dir->snapshot == snapshot ? 2 * dir->found : 1;
    int rc = meta_dirent_next(txn, dir->ino, dir->last, &dir->entries[0]);

    dir->snapshot = snapshot;
    dir->told = 0;
    dir->found = rc ? 0 : 1;
    want = want < ENTRIES_AHEAD ? want : ENTRIES_AHEAD;
    while (dir->found && dir->found < want &&
           meta_dirent_step(txn, dir->ino, &dir->entries[dir->found]) == 0)
        dir->found++;
    return rc;
}

static int read_entry(struct hf_dir *dir, struct meta_txn *txn, struct hf_dirent *out)
{
    const struct meta_dirent *entry;
    struct meta_inode inode;
    int rc = 0;

    if (dir->dots < 2) {
        rc = meta_inode_get(txn, dir->ino, &inode);
        if (rc)
            return rc;
        dir->dots++;
        fill_dirent(out, dir->dots == 1 ? dir->ino : inode.parent, S_IFDIR,
                    dir->dots == 1 ? "." : "..");
        return 0;
    }
    if (dir->told == dir->found || dir->snapshot != meta_snapshot_number(txn))
        rc = find_entries(dir, txn);
    if (rc)
        return rc;
    entry = &dir->entries[dir->told++];
    memcpy(dir->last, entry->name, strlen(entry->name) + 1);
    fill_dirent(out, entry->ino, entry->type, entry->name);
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
    dir->found = dir->told = 0;
    return 0;
}

int fs_closedir(struct hf_dir *dir)
{
    hf_sub_acq_rel(&dir->fs->handles, 1);
    free(dir);
    return 0;
}
