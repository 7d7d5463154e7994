/* SPDX-License-Identifier: MIT */
/*
 * The paths of all inodes of a pool, read in one walk from the root: O(names), where one
 * hf_path() an inode would be O(names) each. Files removed meanwhile are simply missing.
 */
#include "cli.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct inode_name {
    uint64_t ino;
    char *path;
    bool directory;
};

struct cli_inode_names {
    struct inode_name *list;
    size_t count, room;
};

static void remember(struct cli_inode_names *names, const struct hf_dirent *entry, char *path)
{
    names->list = cli_grow(names->list, names->count, &names->room, sizeof(names->list[0]));
    names->list[names->count++] = (struct inode_name){
        .ino = entry->ino,
        .path = path,
        .directory = S_ISDIR(entry->type),
    };
}

/* Directories found are appended to the list, and so read later by the caller's loop. */
static int read_directory(struct hf_pool *pool, struct cli_inode_names *names, const char *path)
{
    struct hf_dirent entry;
    struct hf_dir *dir;
    int rc = hf_opendir(pool, path, &dir);

    if (rc != 0)
        return rc == -ENOENT || rc == -ENOTDIR ? 0 : rc;
    while ((rc = hf_readdir(dir, &entry)) > 0) {
        if (strcmp(entry.name, ".") != 0 && strcmp(entry.name, "..") != 0)
            remember(names, &entry, cli_join(path, entry.name));
    }
    hf_closedir(dir);
    return rc;
}

static int by_ino(const void *a, const void *b)
{
    const struct inode_name *left = a, *right = b;

    return (left->ino > right->ino) - (left->ino < right->ino);
}

int cli_inode_names_read(struct hf_pool *pool, struct cli_inode_names **out)
{
    struct cli_inode_names *names = cli_alloc(sizeof(*names));
    int rc = read_directory(pool, names, "/");

    for (size_t i = 0; rc == 0 && i < names->count; i++) {
        if (names->list[i].directory)
            rc = read_directory(pool, names, names->list[i].path);
    }
    if (rc != 0) {
        cli_inode_names_free(names);
        return rc;
    }
    if (names->count > 0)
        qsort(names->list, names->count, sizeof(names->list[0]), by_ino);
    *out = names;
    return 0;
}

const char *cli_inode_name(const struct cli_inode_names *names, uint64_t ino)
{
    const struct inode_name key = {.ino = ino};
    const struct inode_name *found;

    if (names->count == 0)
        return NULL;
    found = bsearch(&key, names->list, names->count, sizeof(key), by_ino);
    return found != NULL ? found->path : NULL;
}

const char *cli_inode_title(const struct cli_inode_names *names, uint64_t ino,
                            char buf[CLI_LOST_NAME_TEXT])
{
    const char *path = cli_inode_name(names, ino);

    if (path != NULL)
        return path;
    snprintf(buf, CLI_LOST_NAME_TEXT, "(deleted, inode %" PRIu64 ")", ino);
    return buf;
}

void cli_inode_names_free(struct cli_inode_names *names)
{
    for (size_t i = 0; i < names->count; i++)
        free(names->list[i].path);
    free(names->list);
    free(names);
}
