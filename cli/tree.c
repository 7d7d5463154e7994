/* SPDX-License-Identifier: MIT */
/*
 * Walks everything below a directory, from inode to inode. So a path that is too long for a system
 * call, or deeper than a stack, hides nothing. A directory that cannot be read ends only the walk
 * of itself.
 */
#include "cli.h"

#include <errno.h>
#include <holdfast/serve.h>
#include <stdlib.h>
#include <string.h>

struct level {
    struct hf_dir *dir;
    struct cli_found
        found; /* the directory itself, as an entry of the one above; name is not set */
    size_t path_len;
    size_t name_at;
    bool fine;
};

struct walk {
    struct hf_pool *pool;
    const struct cli_visitor *visitor;
    struct level *levels;
    size_t depth, room;
    char *path;
    size_t path_room;
};

/* "dir/name" of the innermost directory into the path; returns where the name begins. */
static size_t put_name(struct walk *walk, size_t path_len, const char *name)
{
    size_t len = strlen(name);

    while (path_len > 0 && walk->path[path_len - 1] == '/')
        path_len--;
    while (walk->path_room < path_len + len + 2)
        walk->path = cli_grow(walk->path, walk->path_room, &walk->path_room, 1);
    walk->path[path_len] = '/';
    memcpy(walk->path + path_len + 1, name, len + 1);
    return path_len + 1;
}

/* In a damaged pool a directory may be below itself. */
static bool walk_is_inside(const struct walk *walk, uint64_t ino)
{
    for (size_t i = 0; i < walk->depth; i++)
        if (walk->levels[i].found.ino == ino)
            return true;
    return false;
}

static bool enter(struct walk *walk, const struct cli_found *found, size_t name_at)
{
    struct level *level;
    struct hf_dir *dir;
    int rc;

    if (walk_is_inside(walk, found->ino)) {
        cli_note("%s: this directory is below itself: the pool is damaged, run `holdfast fsck`",
                 walk->path);
        *walk->visitor->status = EX_DATAERR;
        return false;
    }
    rc = hf_opendirat(walk->pool, found->ino, "", &dir);
    if (rc == -ENOENT || rc == -ENOTDIR || rc == -ESTALE) /* removed meanwhile */
        return true;
    if (rc != 0)
        return walk->visitor->failed(walk->visitor->arg, walk->path, rc);
    walk->levels = cli_grow(walk->levels, walk->depth, &walk->room, sizeof(*walk->levels));
    level = &walk->levels[walk->depth++];
    *level = (struct level){dir, *found, strlen(walk->path), name_at, true};
    return true;
}

/* Leaves the innermost directory; the one above is fine only if this one is. */
static bool leave(struct walk *walk)
{
    struct level *level = &walk->levels[--walk->depth];
    bool fine = level->fine;

    hf_closedir(level->dir);
    walk->path[level->path_len] = '\0';
    if (walk->depth == 0)
        return fine;
    level->found.path = walk->path;
    level->found.name = walk->path + level->name_at;
    if (walk->visitor->leave != NULL)
        fine = walk->visitor->leave(walk->visitor->arg, &level->found, fine);
    walk->levels[walk->depth - 1].fine &= fine;
    return fine;
}

static bool is_dots(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

static void visit_entry(struct walk *walk, const struct hf_dirent *entry)
{
    size_t top = walk->depth - 1;
    size_t name_at = put_name(walk, walk->levels[top].path_len, entry->name);
    struct cli_found found = {walk->levels[top].found.ino, entry->ino, entry->type,
                              walk->path + name_at, walk->path};
    bool fine = walk->visitor->entry(walk->visitor->arg, &found);

    if (fine && walk->visitor->below && S_ISDIR(entry->type))
        fine = enter(walk, &found, name_at);
    walk->levels[top].fine &= fine;
}

bool cli_walk(struct hf_pool *pool, uint64_t ino, const char *path,
              const struct cli_visitor *visitor)
{
    const struct cli_found root = {.ino = ino};
    struct walk walk = {.pool = pool, .visitor = visitor, .path = cli_strdup(path)};
    struct hf_dirent entry;
    bool fine;

    walk.path_room = strlen(path) + 1;
    fine = enter(&walk, &root, 0);
    while (walk.depth > 0) {
        struct level *level = &walk.levels[walk.depth - 1];
        bool stop = !visitor->finishes && (cli_interrupted() || ferror(stdout));
        int rc = stop ? 0 : hf_readdir(level->dir, &entry);

        if (rc > 0 && !is_dots(entry.name)) {
            visit_entry(&walk, &entry);
        } else if (rc <= 0) {
            walk.path[level->path_len] = '\0';
            if (rc < 0)
                level->fine = visitor->failed(visitor->arg, walk.path, rc);
            fine = leave(&walk);
        }
    }
    free(walk.levels);
    free(walk.path);
    return fine && !cli_interrupted();
}
