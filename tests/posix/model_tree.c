/* SPDX-License-Identifier: MIT */
/*
 * Names of the model. Directories are sorted arrays. The walk along a path is written once
 * more here, so that the library's is checked against another reading of POSIX.
 */
#include "model.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINKS_MAX 40 /* symbolic links followed in one path */

struct model_node *model_node_new(struct model *model, const struct model_node *dir, mode_t mode)
{
    bool setgid = dir && dir->mode & S_ISGID;
    struct model_node *node = calloc(1, sizeof(*node));

    node->mode = setgid && S_ISDIR(mode) ? mode | S_ISGID : mode;
    node->uid = geteuid();
    node->gid = setgid ? dir->gid : getegid();
    node->nlink = S_ISDIR(mode) ? 2 : 1;
    node->next = model->all;
    model->all = node;
    return node;
}

void model_init(struct model *model)
{
    *model = (struct model){0};
    model->root = model_node_new(model, NULL, S_IFDIR | 0755);
    model->root->parent = model->root;
}

void model_free(struct model *model)
{
    while (model->all) {
        struct model_node *node = model->all;

        model->all = node->next;
        for (size_t i = 0; i < node->entry_count; i++)
            free(node->entries[i].name);
        while (node->xattr_count > 0)
            model_xattr_remove(node, node->xattrs[0].name);
        content_free(&node->content);
        free(node->entries);
        free(node->xattrs);
        free(node->target);
        free(node);
    }
}

static size_t entry_place(const struct model_node *dir, const char *name)
{
    size_t place = 0;

    while (place < dir->entry_count && strcmp(dir->entries[place].name, name) < 0)
        place++;
    return place;
}

struct model_node *model_lookup(const struct model_node *dir, const char *name)
{
    size_t place = entry_place(dir, name);

    if (place < dir->entry_count && strcmp(dir->entries[place].name, name) == 0)
        return dir->entries[place].node;
    return NULL;
}

void model_enter(struct model_node *dir, const char *name, struct model_node *node)
{
    size_t place = entry_place(dir, name);

    if (dir->entry_count == dir->entry_room) {
        dir->entry_room = dir->entry_room ? dir->entry_room * 2 : 8;
        dir->entries = realloc(dir->entries, dir->entry_room * sizeof(*dir->entries));
    }
    memmove(&dir->entries[place + 1], &dir->entries[place],
            (dir->entry_count - place) * sizeof(*dir->entries));
    dir->entries[place] = (struct model_entry){.name = strdup(name), .node = node};
    dir->entry_count++;
    if (S_ISDIR(node->mode)) {
        node->parent = dir;
        dir->nlink++;
    }
}

void model_remove(struct model_node *dir, const char *name)
{
    size_t place = entry_place(dir, name);

    if (S_ISDIR(dir->entries[place].node->mode))
        dir->nlink--;
    free(dir->entries[place].name);
    memmove(&dir->entries[place], &dir->entries[place + 1],
            (dir->entry_count - place - 1) * sizeof(*dir->entries));
    dir->entry_count--;
}

void model_replace(struct model_node *dir, const char *name, struct model_node *node)
{
    model_remove(dir, name);
    model_enter(dir, name, node);
}

bool model_is_ancestor(const struct model_node *ancestor, const struct model_node *dir)
{
    for (;; dir = dir->parent) {
        if (dir == ancestor)
            return true;
        if (dir == dir->parent)
            return false;
    }
}

/* Looks for the node below `dir`, which has the path in path[0..used). */
static bool path_below(const struct model_node *dir, const struct model_node *node, char *path,
                       size_t used, size_t len)
{
    for (size_t i = 0; i < dir->entry_count; i++) {
        const struct model_entry *entry = &dir->entries[i];
        int more = snprintf(path + used, len - used, "/%s", entry->name);

        if (entry->node == node)
            return true;
        if (S_ISDIR(entry->node->mode) &&
            path_below(entry->node, node, path, used + (size_t)more, len))
            return true;
    }
    return false;
}

bool model_path(const struct model *model, const struct model_node *node, char *path, size_t len)
{
    snprintf(path, len, "/");
    return node == model->root || path_below(model->root, node, path, 0, len);
}

struct walk {
    struct model *model;
    bool follow;
    unsigned links;
};

/* One component, [name, name+len) of a path; `last`: none follows. */
static int step(struct walk *walk, struct model_node *dir, const char *name, size_t len, bool last,
                struct model_place *out);

static int walk_from(struct walk *walk, struct model_node *dir, const char *path, bool at_end,
                     struct model_place *out)
{
    *out = (struct model_place){.dir = dir, .node = dir};
    if (*path == '/')
        out->dir = out->node = walk->model->root;
    for (;;) {
        size_t len;
        bool last;
        int rc;

        path += strspn(path, "/");
        len = strcspn(path, "/");
        if (len == 0)
            return 0;
        if (!out->node)
            return -ENOENT;
        if (!S_ISDIR(out->node->mode))
            return -ENOTDIR;
        last = at_end && path[len + strspn(path + len, "/")] == '\0';
        rc = step(walk, out->node, path, len, last, out);
        if (rc != 0)
            return rc;
        path += len;
    }
}

static int step(struct walk *walk, struct model_node *dir, const char *name, size_t len, bool last,
                struct model_place *out)
{
    if (len > HF_NAME_MAX)
        return -ENAMETOOLONG;
    out->dir = dir;
    memcpy(out->name, name, len);
    out->name[len] = '\0';
    if (strcmp(out->name, ".") == 0)
        out->node = dir;
    else if (strcmp(out->name, "..") == 0)
        out->node = dir->parent;
    else
        out->node = model_lookup(dir, out->name);
    if (!out->node || !S_ISLNK(out->node->mode) || (last && !walk->follow))
        return 0;
    if (++walk->links > LINKS_MAX)
        return -ELOOP;
    return walk_from(walk, dir, out->node->target, last, out);
}

int model_resolve(struct model *model, const char *path, bool follow, struct model_place *out)
{
    struct walk walk = {.model = model, .follow = follow};

    if (*path == '\0')
        return -ENOENT;
    if (strlen(path) > HF_SYMLINK_MAX)
        return -ENAMETOOLONG;
    return walk_from(&walk, model->root, path, true, out);
}

struct model_xattr *model_xattr_find(struct model_node *node, const char *name)
{
    for (size_t i = 0; i < node->xattr_count; i++)
        if (strcmp(node->xattrs[i].name, name) == 0)
            return &node->xattrs[i];
    return NULL;
}

void model_xattr_put(struct model_node *node, const char *name, const void *value, size_t len)
{
    struct model_xattr *xattr = model_xattr_find(node, name);

    if (!xattr) {
        node->xattrs = realloc(node->xattrs, (node->xattr_count + 1) * sizeof(*node->xattrs));
        xattr = &node->xattrs[node->xattr_count++];
        *xattr = (struct model_xattr){.name = strdup(name)};
    }
    free(xattr->value);
    xattr->value = malloc(len ? len : 1);
    memcpy(xattr->value, value, len);
    xattr->len = len;
}

void model_xattr_remove(struct model_node *node, const char *name)
{
    struct model_xattr *xattr = model_xattr_find(node, name);

    free(xattr->name);
    free(xattr->value);
    *xattr = node->xattrs[--node->xattr_count];
}
