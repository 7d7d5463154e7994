/* SPDX-License-Identifier: MIT */
/*
 * The paths of all inodes of a pool, read in one walk from the root: O(names), where one
 * hf_path() an inode would be O(names) each. Files removed meanwhile are simply missing. A path
 * that no call would take is not kept, or deep directories would cost their depth squared.
 */
#include "cli.h"

#include <holdfast/serve.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct inode_name {
    uint64_t ino;
    char *path; /* null: longer than HF_SYMLINK_MAX */
};

struct cli_inode_names {
    struct inode_name *list;
    size_t count, room;
    int status;
};

static bool remember_name(void *arg, const struct cli_found *found)
{
    struct cli_inode_names *names = arg;
    bool short_enough = strlen(found->path) <= HF_SYMLINK_MAX;

    names->list = cli_grow(names->list, names->count, &names->room, sizeof(names->list[0]));
    names->list[names->count++] =
        (struct inode_name){found->ino, short_enough ? cli_strdup(found->path) : NULL};
    return true;
}

static bool skip_unreadable(void *arg, const char *path, int rc)
{
    struct cli_inode_names *names = arg;

    names->status = cli_fail(path, rc);
    return false;
}

static int by_ino(const void *a, const void *b)
{
    const struct inode_name *left = a, *right = b;

    return (left->ino > right->ino) - (left->ino < right->ino);
}

int cli_inode_names_read(struct hf_pool *pool, struct cli_inode_names **out)
{
    struct cli_inode_names *names = cli_alloc(sizeof(*names));
    const struct cli_visitor visitor = {.below = true,
                                        .entry = remember_name,
                                        .failed = skip_unreadable,
                                        .status = &names->status,
                                        .arg = names};

    names->status = EX_OK;
    cli_walk(pool, HF_ROOT_INO, "/", &visitor);
    if (names->count > 0)
        qsort(names->list, names->count, sizeof(names->list[0]), by_ino);
    *out = names;
    return names->status;
}

static const struct inode_name *find_inode_name(const struct cli_inode_names *names, uint64_t ino)
{
    const struct inode_name key = {.ino = ino};

    return names->count == 0 ? NULL : bsearch(&key, names->list, names->count, sizeof(key), by_ino);
}

const char *cli_inode_name(const struct cli_inode_names *names, uint64_t ino)
{
    const struct inode_name *found = find_inode_name(names, ino);

    return found != NULL ? found->path : NULL;
}

const char *cli_inode_title(const struct cli_inode_names *names, uint64_t ino,
                            char buf[CLI_LOST_NAME_TEXT])
{
    const struct inode_name *found = find_inode_name(names, ino);

    if (found != NULL && found->path != NULL)
        return found->path;
    snprintf(buf, CLI_LOST_NAME_TEXT, "(%s, inode %" PRIu64 ")",
             found != NULL ? "path too long" : "deleted", ino);
    return buf;
}

void cli_inode_names_free(struct cli_inode_names *names)
{
    for (size_t i = 0; i < names->count; i++)
        free(names->list[i].path);
    free(names->list);
    free(names);
}
